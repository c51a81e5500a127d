"""Token vectors, scored by MaxSim (Khattab & Zaharia 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.contracts import Vectors
from umekomi.indexes.kinds.base import Kind
from umekomi.indexes.scans import Part, empty_hits, merge_hits
from umekomi.parts.kernels.threads import cores, run_all, shards

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.indexes.scans import Measure, Ranking

SCORES = 1 << 20
"""Scores that are held at a time."""


@dataclass
class Late(Kind):
    """Token vectors, every document scored by MaxSim."""

    name: ClassVar[str] = "late"
    outputs: ClassVar[frozenset[str]] = frozenset({"multi"})
    metrics: ClassVar[frozenset[str] | None] = frozenset({"maxsim"})

    def search(self, part: Part, queries: Any, k: int, similarity: Measure | None) -> Ranking:
        from umekomi.parts.kernels.scan import take_best

        listed = np.flatnonzero(part.allowed) if len(part.allowed) else np.arange(part.rows)
        asked, every = _filled(queries), np.zeros(0, np.uint8)
        step = max(SCORES // max(queries.items, 1), 1)

        def some(first: int, last: int) -> Ranking:
            scores, places = empty_hits(queries.items, k)
            for start in range(first, last, step):
                block = _maxsim(asked, part.vectors, listed[start : min(start + step, last)])
                take_best(block, start, every, scores, places)
            return places, scores

        places, scores = merge_hits(run_all(some, shards(len(listed), cores()) or [(0, 0)]), k)
        return (np.where(places < 0, -1, listed[places]) if len(listed) else places), scores


def maxsim_of(vectors: Vectors, tokens: Any, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """MaxSim of one query's ``tokens`` with some rows, float32 ``[rows]``."""
    return _maxsim(_filled(Vectors.of([tokens])), vectors, rows)[0]


def _maxsim(asked: Vectors, vectors: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    from umekomi.parts.kernels.tokens import maxsim_of_rows

    scores = np.empty((asked.items, len(rows)), np.float32)
    maxsim_of_rows(asked.flat, asked.offsets, np.asarray(vectors.flat), np.asarray(vectors.offsets), rows, scores)
    return scores


def _filled(queries: Vectors) -> Vectors:
    """The queries with zeros up to multiples of four tokens."""
    sizes = np.diff(queries.offsets)
    starts = np.concatenate([[0], np.cumsum(-(-sizes // 4) * 4)]).astype(np.int64)
    flat = np.zeros((int(starts[-1]), queries.flat.shape[1]), np.float32)
    for query in range(queries.items):
        flat[starts[query] : starts[query] + sizes[query]] = queries.item(query)
    return Vectors(flat, starts)
