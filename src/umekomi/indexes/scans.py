"""What the kinds of index are made of: a segment as they see it, exact scans, and the recall of a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from umekomi.parts import similarity as similarities
from umekomi.parts.kernels.threads import cores, run_all, shards, single_threaded_blas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats

Ranking: TypeAlias = "tuple[NDArray[np.int64], Floats]"
"""(rows, scores), both ``[queries, k]``, best first; -1 and minus infinity where there are fewer."""
Measure: TypeAlias = "Callable[[Any, Any], Floats]"
"""How vectors compare: higher is nearer, ``[n, m]``."""
ROWS = 8192
SURE = 1.645
"""The standard errors that a one-sided 95 % interval reaches below what was measured."""
FEW = 0.02
"""The share of rows below which those a filter leaves are looked at one by one."""


@dataclass
class Part:
    """A segment as a kind sees it: its vectors and derived arrays (memory maps), and which rows count (uint8, or
    empty). ``proof`` names the file of an array that is not sound."""

    vectors: Any
    arrays: dict[str, Any]
    allowed: Any
    living: int
    proof: Callable[[str, Callable[[Any], None], bool], None] | None = None

    @classmethod
    def fresh(cls, vectors: Any, arrays: dict[str, Any]) -> Part:
        """Of arrays that were just made: every row counts."""
        return cls(vectors, arrays, np.zeros(0, np.uint8), similarities.size(vectors))

    def prove(self, name: str, test: Callable[[Any], None], *, checksum: bool = False) -> None:
        """DataError unless ``test`` takes the array (ValueError says what is wrong) and, with ``checksum``, its file
        has its own; once for each array of a segment. For what is followed unasked by what it is handed to; what was
        just made is taken as it is."""
        if self.proof is not None:
            self.proof(name, test, checksum)

    @property
    def rows(self) -> int:
        """All rows, also those that do not count."""
        return similarities.size(self.vectors)

    def few(self, k: int) -> bool:
        """Do so few rows count that a coarse scan would not pay?"""
        return bool(len(self.allowed)) and self.living <= max(FEW * self.rows, 4 * k)


def empty_hits(queries: int, k: int) -> tuple[Any, Any]:
    """Lists to fill: scores at minus infinity, rows at -1."""
    return np.full((queries, k), -np.inf, np.float32), np.full((queries, k), -1, np.int64)


def merge_hits(lists: list[tuple[Any, Any]], k: int) -> tuple[Any, Any]:
    """The best of several (rows, scores), best first; equals in the order of their rows."""
    if len(lists) == 1:
        return lists[0]
    rows, scores = np.concatenate([each[0] for each in lists], 1), np.concatenate([each[1] for each in lists], 1)
    order = np.lexsort((np.where(rows < 0, np.iinfo(np.int64).max, rows), -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


def ask_all(ask: Callable[[Any, int], Ranking], queries: Any, k: int) -> Ranking:
    """What ``ask(query, threads)`` finds for each query, ``[1, k]``, one under the other: a few queries one after
    another, each over all threads, many of them at once, each in one."""
    threads = cores()
    if len(queries) < 2 * threads:
        hits = [ask(query, threads) for query in queries]
    else:
        some = run_all(lambda low, high: [ask(each, 1) for each in queries[low:high]], shards(len(queries), threads))
        hits = [each for part in some for each in part]
    if not hits:
        return empty_hits(0, k)[::-1]
    return np.concatenate([rows for rows, _ in hits]), np.concatenate([scores for _, scores in hits])


def scan(part: Part, queries: Any, k: int) -> tuple[Any, Any]:
    """Every row's inner product with every query: one query by a compiled scan over all threads, many by matrix
    products."""
    from umekomi.parts.kernels import scan as kernels

    if part.few(k):
        return score_listed(part, queries, np.flatnonzero(part.allowed), k)
    vectors, allowed = part.vectors, part.allowed
    if len(queries) < 4:
        out = []
        for query in queries:
            ranges = shards(part.rows, cores() if part.rows * vectors.shape[1] > 1 << 18 else 1)
            hits = [empty_hits(1, k) for _ in ranges]
            run_all(
                kernels.exact,
                [
                    (vectors, query, allowed, low, high, s[0], r[0])
                    for (low, high), (s, r) in zip(ranges, hits, strict=True)
                ],
            )
            out.append(merge_hits([(r, s) for s, r in hits], k))
        return np.concatenate([rows for rows, _ in out]), np.concatenate([scores for _, scores in out])

    def some(low: int, high: int) -> tuple[Any, Any]:
        scores, rows = empty_hits(len(queries), k)
        for start in range(low, high, ROWS):
            kernels.take_best(queries @ vectors[start : min(start + ROWS, high)].T, start, allowed, scores, rows)
        return rows, scores

    with single_threaded_blas():
        return merge_hits(run_all(some, shards(part.rows, cores())), k)


def score_listed(part: Part, queries: Any, numbers: Any, k: int) -> tuple[Any, Any]:
    """The best of the rows ``numbers``."""
    from umekomi.parts.kernels.scan import chosen

    scores, rows = empty_hits(len(queries), k)
    for q, query in enumerate(queries):
        chosen(part.vectors, query, numbers, part.vectors.shape[1], scores[q], rows[q])
    return rows, scores


def assured_recall(kind: Any, part: Part, k: int, sample: int, seed: int) -> float:
    """What recall at ``k`` a kind's whole search has for sure (:func:`assured`), rows drawn as queries, each without
    itself."""
    asked = sample_queries(part, sample, seed)
    queries = np.asarray(part.vectors[asked], np.float32)
    return assured(found_of(scan(part, queries, k + 1), kind.search(part, queries, k + 1, None), asked, k))


def sample_queries(part: Part, sample: int, seed: int) -> Any:
    """Rows that count, to ask as queries, in rising order."""
    living = np.flatnonzero(part.allowed) if len(part.allowed) else np.arange(part.rows)
    return np.sort(np.random.default_rng(seed).choice(living, min(sample, len(living)), replace=False))


def overlap(true: tuple[Any, Any], found: tuple[Any, Any], own: Any, k: int) -> float | None:
    """Recall at ``k``: the share of the places of true neighbours that rows as near were found for
    (:func:`found_of`). None where no query has a neighbour."""
    return recall_of(found_of(true, found, own, k))


def recall_of(counts: NDArray[np.int64]) -> float | None:
    """The recall over a sample of queries, of what :func:`found_of` gives; None where no query has a neighbour."""
    return float(counts[:, 0].sum() / counts[:, 1].sum()) if len(counts) else None


def found_of(true: tuple[Any, Any], found: tuple[Any, Any], own: Any, k: int) -> NDArray[np.int64]:
    """(the places of its ``k`` true neighbours that rows as near were found for, how many those are) of every query
    that has one, ``[queries, 2]``, its own row left out; of (rows, scores) as a search gives them. Among equals it does
    not matter which one was found."""
    counts = []
    for row, true_rows, true_scores, rows, scores in zip(own, *true, *found, strict=True):
        wanted = true_scores[(true_rows >= 0) & (true_rows != row)][:k]
        if len(wanted):
            near = scores[(rows >= 0) & (rows != row)][:k] >= wanted[-1] - 1e-6 * max(abs(float(wanted[-1])), 1.0)
            counts.append((min(int(near.sum()), len(wanted)), len(wanted)))
    return np.array(counts, np.int64).reshape(-1, 2)


def assured(counts: NDArray[np.int64]) -> float:
    """The recall that a sample of queries makes sure of: the lower end of its one-sided 95 % interval, of what
    :func:`found_of` gives. Queries are the sample, not places: the misses of one come together. With nothing to find
    nothing is missed."""
    recall = recall_of(counts)
    return 1.0 if recall is None else recall - SURE * spread(counts)


def spread(counts: NDArray[np.int64]) -> float:
    """The standard error of the recall over a sample of queries, of what :func:`found_of` gives (that of a ratio of
    sums; Cochran 1977, section 6.3); zero of a single query, which says nothing of others."""
    hits, wanted = counts[:, 0].astype(np.float64), counts[:, 1].astype(np.float64)
    if len(counts) < 2:
        return 0.0
    lacks = hits - wanted * (hits.sum() / wanted.sum())
    return float(np.sqrt(len(counts) / (len(counts) - 1) * (lacks**2).sum()) / wanted.sum())
