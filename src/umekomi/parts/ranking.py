"""Rankings: exact search by an embedder's own similarity, and the fusion of several by their ranks or their scores.

Convex combination: w · s₁ + (1 − w) · s₂ of scores brought to 0 to 1 within each list (S. Bruch, S. Gai, A. Ingber,
"An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023, section 3); weighted reciprocal rank:
w / (60 + r₁) + (1 − w) / (60 + r₂).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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

METHODS = ("convex", "reciprocal rank")


class Fusion(NamedTuple):
    """How two rankings become one: the method of :data:`METHODS`, and the weight of the first ranking, 0 to 1.

    >>> str(Fusion("reciprocal rank", 0.3)), Fusion.read("convex:0.3")
    ('reciprocal-rank:0.3', Fusion(method='convex', weight=0.3))
    """

    method: str
    weight: float

    @property
    def shares(self) -> tuple[float, float]:
        """The weights of both rankings."""
        return self.weight, 1 - self.weight

    def __str__(self) -> str:
        return f"{self.method.replace(' ', '-')}:{self.weight:g}"

    @classmethod
    def read(cls, text: str) -> Fusion:
        """What ``str`` wrote, or ValueError."""
        name, _, weight = text.partition(":")
        method = name.replace("-", " ")
        try:
            share = float(weight)
        except ValueError:
            share = -1.0
        if method not in METHODS or not 0 <= share <= 1:
            raise ValueError(
                f"fusion: expected convex or reciprocal-rank, a colon and the first ranking's weight "
                f"from 0 to 1, such as convex:0.3, found {text[:80]!r}"
            )
        return cls(method, share)


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
        total[np.asarray(ranking, np.int64)] += _reciprocals(len(ranking))
    return total


def _reciprocals(count: int) -> NDArray[np.float64]:
    return 1 / (RRF_K + 1 + np.arange(count))


def fuse(pair: Sequence[Any], fusion: Fusion | None = None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(document numbers, scores) of two rankings of one query, best first; equal scores in the order of the numbers.
    Each ranking is numbers and scores, best first; what has the score minus infinity is not in it. None is reciprocal
    rank as it is published: sums without weights (:func:`fuse_ranks`).

    >>> numbers = np.array([4, 7])
    >>> scores = np.array([2.0, 1.0])
    >>> fuse([(numbers, scores), (numbers[::-1], scores)], Fusion("convex", 0.9))[0].tolist()
    [4, 7]
    """
    method, shares = ("reciprocal rank", (1.0, 1.0)) if fusion is None else (fusion.method, fusion.shares)
    every = np.unique(np.concatenate([numbers[np.isfinite(values)] for numbers, values in pair]))
    total = np.zeros(len(every))
    for share, (numbers, values) in zip(shares, pair, strict=True):
        hits = np.isfinite(values)
        own, places = values[hits].astype(float), np.searchsorted(every, numbers[hits])
        if method == "convex":
            low, high = (own.min(), own.max()) if len(own) else (0.0, 0.0)
            given = (own - low) / (high - low) if high > low else np.ones(len(own))
        else:
            given = _reciprocals(len(own))
        total[places] += share * given
    order = np.argsort(-total, kind="stable")
    return every[order], total[order]
