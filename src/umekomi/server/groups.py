"""Rows in a few groups by a column of the payload, to give each a colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from umekomi.indexes.payload import as_json, value

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 8


@dataclass(frozen=True)
class Group:
    """``kind``: ``"value"`` (``label`` says which, or from what to what), ``"rest"`` (all other values) or
    ``"missing"``."""

    label: str | None
    kind: str
    count: int


def group_values(values: pa.ChunkedArray) -> tuple[list[Group], bool, list[int]]:
    """(the groups, whether they rise, each row's group) of an Arrow column: numbers and times of more than eight values
    in eight ranges of about as many rows each; everything else by its eight most frequent values, the rest, and what is
    missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    kind = values.type
    missing = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(kind):
        missing |= np.isnan(values.fill_null(np.nan).to_numpy(zero_copy_only=False))
    rises = (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_temporal(kind)
    )
    known = values.filter(pa.array(~missing))
    if not (rises or pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        known = pa.array([str(as_json(value(each))) for each in known], pa.string())
    encoded = known.dictionary_encode()
    words, codes = encoded.dictionary, encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    counts = np.bincount(codes, minlength=len(words))
    if rises and len(words) > MOST:
        order = pc.sort_indices(words).to_numpy()
        below = np.cumsum(counts[order]) - counts[order]  # rows that lie below each value
        group_of = np.empty(len(words), np.int64)
        group_of[order] = np.unique(below * MOST // max(len(codes), 1), return_inverse=True)[1]
        labels = []
        for group in range(int(group_of.max()) + 1):
            inside = order[group_of[order] == group]
            first, last = (_said(value(words[int(place)])) for place in (inside[0], inside[-1]))
            labels.append(first if first == last else f"{first} – {last}")
        groups = [Group(label, "value", int(counts[group_of == group].sum())) for group, label in enumerate(labels)]
    else:
        order = pc.sort_indices(words).to_numpy() if rises else np.argsort(-counts, kind="stable")
        group_of = np.empty(len(words), np.int64)
        group_of[order] = np.minimum(np.arange(len(words)), MOST)
        groups = [Group(_said(value(words[int(place)])), "value", int(counts[place])) for place in order[:MOST]]
        if len(words) > MOST:
            groups.append(Group(None, "rest", int(counts[order[MOST:]].sum())))
    points = np.full(len(values), len(groups), np.int64)
    points[~missing] = group_of[codes]
    if missing.any():
        groups.append(Group(None, "missing", int(missing.sum())))
    return groups, bool(rises), points.tolist()


def _said(found: object) -> str:
    text = f"{found:,.4g}" if isinstance(found, float) else str(found)
    return text if len(text) <= 40 else text[:39] + "…"
