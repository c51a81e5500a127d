"""Rankings: exact search by an embedder's own similarity, and the fusion of several by their ranks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError
from umekomi.parts import similarity as similarities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Embedder, Output

BLOCK = 1 << 25
"""Scores worked out at once."""
RRF_K = 60
"""The constant of reciprocal rank fusion, as Cormack, Clarke & Büttcher (SIGIR 2009) chose it."""


def exact_search(
    model: Embedder, queries: Output, documents: Output, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Exact search with the model's own similarity: (document numbers, scores), both ``[queries, k]``, best first;
    equal scores in the documents' order. A sparse match of zero is no hit: its score is minus infinity. A similarity
    that is no number, or infinite, orders nothing and is an error."""
    count, total = similarities.size(queries), similarities.size(documents)
    k = min(k, total)
    numbers, scores = np.zeros((count, k), np.int64), np.zeros((count, k), np.float32)
    step = max(1, BLOCK // max(total, 1))
    for start in range(0, count, step):
        stop = min(start + step, count)
        block = model.similarity(similarities.rows(queries, start, stop), documents)
        if total and not block.max() < np.inf:  # a NaN anywhere makes the maximum one
            row, column = np.argwhere(~(block < np.inf))[0]
            raise DataError(
                f"{getattr(model, 'name', 'the model')} gives query {start + row + 1} and document {column + 1} the "
                f"similarity {block[row, column]}: expected a finite number"
            )
        if hasattr(documents, "indptr"):
            block = np.where(block == 0, -np.inf, block)
        if k < total:
            # the k-th best value is exact; among equals at the border the first documents stay
            border = np.partition(block, total - k, axis=1)[:, total - k]
            for row in range(stop - start):
                above = np.flatnonzero(block[row] > border[row])
                chosen = np.concatenate([above, np.flatnonzero(block[row] == border[row])[: k - len(above)]])
                order = np.lexsort((chosen, -block[row, chosen]))
                numbers[start + row] = chosen[order]
                scores[start + row] = block[row, chosen[order]]
        else:
            order = np.argsort(-block, axis=1, kind="stable")
            numbers[start:stop], scores[start:stop] = order, np.take_along_axis(block, order, 1)
    return numbers, scores


def fuse_ranks(rankings: Iterable[Any], count: int) -> NDArray[np.float64]:
    """Reciprocal rank fusion: Σ 1 / (60 + rank) over the rankings, float64 ``[count]``. A ranking is the numbers of its
    items, best first, each of 0 to ``count`` - 1 at most once; an item that it lacks gets nothing from it.

    >>> [round(1 / score) for score in fuse_ranks([[2, 0], [2]], 3)[[0, 2]]]
    [62, 30]
    """
    total = np.zeros(count)
    for ranking in rankings:
        total[np.asarray(ranking, np.int64)] += 1 / (RRF_K + 1 + np.arange(len(ranking)))
    return total
