"""Vectors as they come, made those that an index holds, or an error that names the first that it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.contracts import Vectors
from umekomi.errors import DataError, WrongUse
from umekomi.indexes.packing import LONG, check_offsets
from umekomi.parts import similarity as similarities

if TYPE_CHECKING:
    from umekomi.contracts import Output

SHORT = 1e-15
"""From this length to :data:`LONG` float32 holds a product of two vectors; a cosine is right for any."""


def fit(vectors: Any, about: Mapping[str, Any], what: str) -> Output:
    """Vectors of the kind, width and measure that an index says ``about`` itself: float32, finite, of length one where
    they compare by cosine, else of a length with which no score overflows or vanishes. ``what`` they are, for the
    error."""
    metric, width = about["metric"], about["dimension"]
    vectors, output = _read(vectors, width, what)
    if output != about["output"]:
        raise WrongUse(f"{what} vectors: this index holds {about['output']} vectors, found {output} ones")
    if width and similarities.width(vectors) != width:
        raise WrongUse(f"{what} vectors: expected {width} dimensions, found {similarities.width(vectors)}")
    data = vectors.flat if output == "multi" else vectors.data if output == "sparse" else vectors
    finite = np.isfinite(data)
    if not finite.all():
        row = _row(vectors, output, ~finite.reshape(len(data), -1).all(1))
        raise DataError(f"{what} vectors: expected finite numbers, found NaN or infinity in row {row}")
    if metric == "cosine":
        vectors = similarities.normalise(vectors)
    else:
        _check_lengths(vectors, output, metric, what)
    if output == "multi":
        return Vectors(np.ascontiguousarray(vectors.flat, np.float32), vectors.offsets)
    return vectors.astype(np.float32, copy=False) if output == "sparse" else np.ascontiguousarray(vectors, np.float32)


def _read(vectors: Any, width: int, what: str) -> tuple[Any, str]:
    """The vectors as arrays of numbers, and which kind of output they are."""
    if isinstance(vectors, Vectors):
        try:
            flat, offsets = _numbers(vectors.flat, what), np.asarray(vectors.offsets, np.int64)
            check_offsets("offsets", offsets, len(flat))
        except (ValueError, TypeError, IndexError) as error:
            raise WrongUse(f"{what} vectors: {error}") from None
        return Vectors(flat.reshape(0, width) if not len(flat) else flat, offsets), "multi"
    if hasattr(vectors, "tocsr"):
        try:
            rows = vectors.tocsr()
            rows.check_format(full_check=True)
        except ValueError as error:
            raise WrongUse(f"{what} vectors: {error}") from None
        if not rows.has_canonical_format:
            rows = rows.copy()
            rows.sum_duplicates()
        return rows, "sparse"
    array = _numbers(vectors, what)
    if not array.size and array.ndim == 1:
        return array.reshape(0, width), "dense"
    if array.ndim != 2:
        raise WrongUse(f"{what} vectors: expected an array of two dimensions, found {array.ndim}")
    return array, "dense"


def _numbers(found: Any, what: str) -> Any:
    try:
        array = np.asarray(found)
        if array.dtype.kind == "O":
            array = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise WrongUse(f"{what} vectors: expected rows of numbers, all as long: {error}") from None
    if array.dtype.kind not in "fiub":
        raise WrongUse(f"{what} vectors: expected numbers, found {array.dtype}")
    # what float32 holds exactly is looked at as it is; wider numbers may be too large or too small for it
    return array if array.dtype == np.float32 else array.astype(np.float64)


def _row(vectors: Any, output: str, bad: Any) -> int:
    """The number, from 1, of the first row with a bad part: of the data of a sparse one, the vectors of many."""
    first = int(np.flatnonzero(bad)[0])
    if output == "dense":
        return first + 1
    return int(np.searchsorted(vectors.offsets if output == "multi" else vectors.indptr, first, side="right"))


def _check_lengths(vectors: Any, output: str, metric: str, what: str) -> None:
    if output == "sparse":
        rows = np.repeat(np.arange(vectors.shape[0]), np.diff(vectors.indptr))
        squares = np.bincount(rows, vectors.data.astype(np.float64) ** 2, vectors.shape[0])
        lengths, nonzero = np.sqrt(squares), squares > 0
    else:
        array = vectors.flat if output == "multi" else vectors
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(array, axis=1)
        nonzero = array.any(1)
        odd = nonzero & ~((lengths >= SHORT) & (lengths <= LONG))
        lengths[odd] = np.abs(array[odd]).max(1, initial=0)  # whose squares no number holds
    # positions compare by their distance, directions by their product: only that vanishes with a small length
    least = SHORT if metric in ("dot", "maxsim") else 0.0
    bad = nonzero & ~((lengths >= least) & (lengths <= LONG))
    if bad.any():
        row = _row(vectors, "dense" if output == "sparse" else output, bad)
        raise WrongUse(
            f"{what} vectors: expected lengths from {least:g} to {LONG:g}, with which a score by {metric} neither "
            f"overflows nor vanishes, found {lengths[bad][0]:.3g} in row {row}"
        )
    if metric == "poincare":
        outside = (vectors.astype(np.float32).astype(np.float64) ** 2).sum(1) >= 1
        if outside.any():
            raise WrongUse(
                f"{what} vectors: expected points of the Poincaré ball, shorter than 1, found another in row "
                f"{_row(vectors, output, outside)}"
            )
