"""How vectors compare, by name. Every function takes ``[n, d]`` and ``[m, d]`` and gives float32 ``[n, m]``, higher
is nearer. An embedder keeps the name of its own; nothing that ranks uses another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from umekomi.contracts import Vectors
from umekomi.errors import unknown_name
from umekomi.parts.kernels.threads import cores, run_all, shards

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from umekomi.contracts import Dense, Floats, Output, Sparse

LOOPED = 1 << 30
"""Multiplications of a MaxSim from which its compiled loop pays, though it may have to be loaded for it."""


def normalise(vectors: ArrayLike | Sparse) -> Dense:
    """Rows of length one, however long or short they were; a zero row stays zero. Dense ``[n, d]`` or CSR in, the same
    kind out, float32."""
    if hasattr(vectors, "tocsr"):
        from scipy import sparse

        vectors = vectors.tocsr()
        with np.errstate(over="ignore"):
            lengths = np.sqrt(np.asarray(vectors.multiply(vectors).sum(1)).ravel())
        if _odd(lengths[np.diff(vectors.indptr) > 0]).any():
            rows = np.repeat(np.arange(vectors.shape[0]), np.diff(vectors.indptr))
            largest = np.zeros(vectors.shape[0])
            np.maximum.at(largest, rows, np.abs(vectors.data))
            largest[largest == 0] = 1
            vectors = sparse.csr_matrix(
                (vectors.data.astype(np.float64) / largest[rows], vectors.indices, vectors.indptr), vectors.shape
            )
            lengths = np.sqrt(np.asarray(vectors.multiply(vectors).sum(1)).ravel())
        return sparse.diags_array(1 / np.maximum(lengths, 1e-12)).dot(vectors).tocsr().astype(np.float32)
    given = np.asarray(vectors)
    with np.errstate(over="ignore"):
        vectors = given.astype(np.float32, copy=False)
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    odd = _odd(lengths[..., 0])
    out = vectors / np.where(odd[..., None], 1, lengths)
    if odd.any():
        wide = given[odd].astype(np.float64)
        largest = np.abs(wide).max(-1, keepdims=True, initial=0)
        wide /= np.where(largest == 0, 1, largest)
        out[odd] = wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), 1e-12)
    return out


def _odd(lengths: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Lengths whose squares float32 holds badly or not at all: zero, tiny, huge, infinite."""
    return ~((lengths > 1e-15) & (lengths < 1e15))


def dot(a: Dense, b: Dense) -> Floats:
    """Inner product; dense or CSR."""
    product = a @ b.T
    return np.asarray(product.toarray() if hasattr(product, "toarray") else product, np.float32)


def cosine(a: Dense, b: Dense) -> Floats:
    """Inner product of the rows brought to length one; a zero row is 0 from everything."""
    return dot(normalise(a), normalise(b))


def euclidean(a: ArrayLike, b: ArrayLike) -> Floats:
    """Minus the Euclidean distance."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return -np.sqrt(np.maximum(squared, 0)).astype(np.float32)


def poincare(a: ArrayLike, b: ArrayLike) -> Floats:
    """Minus the distance in the Poincaré ball, arcosh(1 + 2 |u-v|² / ((1-|u|²)(1-|v|²))) (Nickel & Kiela 2017, eq.
    1)."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    inside_a, inside_b = 1 - (a**2).sum(1), 1 - (b**2).sum(1)
    if (inside_a <= 0).any() or (inside_b <= 0).any():
        raise ValueError("a vector of the Poincaré ball must be shorter than 1")
    squared = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0)
    return -np.arccosh(1 + 2 * squared / (inside_a[:, None] * inside_b[None])).astype(np.float32)


def lorentz(a: ArrayLike, b: ArrayLike) -> Floats:
    """Minus the distance on the hyperboloid, arcosh(a₀b₀ - Σ aᵢbᵢ) (Nickel & Kiela 2018, eq. 5). The first coordinate
    is worked out again from the others: rounded to float32, it alone would carry a point off the hyperboloid."""
    a, b = hyperboloid(a), hyperboloid(b)
    product = np.outer(a[:, 0], b[:, 0]) - a[:, 1:] @ b[:, 1:].T
    return -np.arccosh(np.maximum(product, 1)).astype(np.float32)


def hyperboloid(points: ArrayLike) -> NDArray[np.float64]:
    """``points`` ``[n, d]`` with x₀ = sqrt(1 + Σ xᵢ²), float64."""
    points = np.array(points, np.float64)
    points[:, 0] = np.sqrt(1 + (points[:, 1:] ** 2).sum(1))
    return points


def maxsim(a: Vectors, b: Vectors) -> Floats:
    """Late interaction: for each vector of ``a``'s item its best match in ``b``'s item, summed (Khattab & Zaharia 2020,
    eq. 3). An item without vectors scores 0. Much of it is done by a compiled loop over all threads, which never holds
    the products of all vectors; little of it by matrix products."""
    if len(a.flat) * b.flat.size >= LOOPED:
        asked, rows = in_fours(a), np.arange(b.items)
        blocks = run_all(lambda low, high: maxsim_of(asked, b, rows[low:high]), shards(b.items, cores()))
        return np.concatenate(blocks, axis=1)
    scores = np.zeros((a.items, b.items), np.float32)
    filled = np.flatnonzero(np.diff(b.offsets))
    if not len(filled):
        return scores
    for row in range(a.items):
        vectors = a.item(row)
        if len(vectors):
            scores[row, filled] = np.maximum.reduceat(vectors @ b.flat.T, b.offsets[filled], axis=1).sum(0)
    return scores


def maxsim_of(asked: Vectors, vectors: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """:func:`maxsim` of queries that :func:`in_fours` filled up with some rows, in the thread that asks: float32
    ``[queries, rows]``."""
    from umekomi.parts.kernels.tokens import maxsim_of_rows

    scores = np.empty((asked.items, len(rows)), np.float32)
    maxsim_of_rows(asked.flat, asked.offsets, np.asarray(vectors.flat), np.asarray(vectors.offsets), rows, scores)
    return scores


def in_fours(queries: Vectors) -> Vectors:
    """The queries with zeros up to multiples of four vectors, as the compiled loop reads them; float32."""
    sizes = np.diff(queries.offsets)
    starts = np.concatenate([[0], np.cumsum(-(-sizes // 4) * 4)]).astype(np.int64)
    flat = np.zeros((int(starts[-1]), queries.flat.shape[1]), np.float32)
    for query in range(queries.items):
        flat[starts[query] : starts[query] + sizes[query]] = queries.item(query)
    return Vectors(flat, starts)


SIMILARITIES: dict[str, Callable[[Any, Any], Floats]] = {
    function.__name__: function for function in (cosine, dot, euclidean, poincare, lorentz, maxsim)
}


def similarity_function(name: str) -> Callable[[Any, Any], Floats]:
    """The similarity of this name, or the error with the nearest ones."""
    if name not in SIMILARITIES:
        raise unknown_name("similarity", name, SIMILARITIES)
    return SIMILARITIES[name]


def size(vectors: Output) -> int:
    """How many items: rows of an array or CSR, or items of multi-vectors."""
    return vectors.items if isinstance(vectors, Vectors) else vectors.shape[0]


def width(vectors: Output) -> int:
    """How many dimensions: of an array, a CSR matrix, or each vector of multi-vectors."""
    return int((vectors.flat if isinstance(vectors, Vectors) else vectors).shape[1])


@overload
def rows(vectors: Vectors, start: int, stop: int) -> Vectors: ...
@overload
def rows(vectors: Dense, start: int, stop: int) -> Dense: ...
def rows(vectors: Output, start: int, stop: int) -> Output:
    """A slice of items of any kind of output."""
    if isinstance(vectors, Vectors):
        low, high = vectors.offsets[start], vectors.offsets[stop]
        return Vectors(vectors.flat[low:high], vectors.offsets[start : stop + 1] - low)
    return vectors[start:stop]


@overload
def take(vectors: Vectors, indices: NDArray[np.integer] | Sequence[int]) -> Vectors: ...
@overload
def take(vectors: Dense, indices: NDArray[np.integer] | Sequence[int]) -> Dense: ...
def take(vectors: Output, indices: NDArray[np.integer] | Sequence[int]) -> Output:
    """Items by number, of any kind of output."""
    return Vectors.of([vectors.item(int(i)) for i in indices]) if isinstance(vectors, Vectors) else vectors[indices]


def pair_features(u: Dense | Sparse, v: Dense | Sparse, *, sides: bool = False) -> Dense | Sparse:
    """[|u − v|; u · v] of each pair, ``[n, d]`` or CSR twice in; with ``sides`` [u; v] before them (Conneau+ 2017,
    figure 1)."""
    before = [u, v] if sides else []
    if isinstance(u, np.ndarray):
        return np.concatenate([*before, np.abs(u - v), u * v], 1)
    from scipy import sparse

    return sparse.hstack([*before, abs(u - v), u.multiply(v)], format="csr")


def item_bytes(vectors: Output) -> float:
    """Bytes a stored item takes: the array's own for dense, values and indices for CSR, all tokens for
    multi-vectors."""
    count = max(size(vectors), 1)
    if isinstance(vectors, Vectors):
        return (vectors.flat.nbytes + vectors.offsets.nbytes) / count
    if isinstance(vectors, np.ndarray):
        return vectors.nbytes / count
    return (vectors.data.nbytes + vectors.indices.nbytes + vectors.indptr.nbytes) / count
