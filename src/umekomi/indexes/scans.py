"""What the kinds of index are made of: a segment as they see it, exact scans, a coarse scan with a second look, and how
many candidates a recall needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from umekomi.parts import similarity as similarities
from umekomi.parts.kernels.threads import alone, cores, over, shards

ROWS = 8192
FEW = 0.02
"""The share of rows below which those a filter leaves are looked at one by one."""


@dataclass
class Part:
    """A segment as a kind sees it: its vectors and derived arrays (memory maps), and which rows count (uint8, or
    empty)."""

    vectors: Any
    arrays: dict[str, Any]
    allowed: Any
    living: int

    @property
    def rows(self) -> int:
        """All rows, also those that do not count."""
        return similarities.size(self.vectors)

    def few(self, k: int) -> bool:
        """Do so few rows count that a coarse scan would not pay?"""
        return bool(len(self.allowed)) and self.living <= max(FEW * self.rows, 4 * k)


def blank(queries: int, k: int) -> tuple[Any, Any]:
    """Lists to fill: scores at minus infinity, rows at -1."""
    import numpy as np

    return np.full((queries, k), -np.inf, np.float32), np.full((queries, k), -1, np.int64)


def merged(lists: list[tuple[Any, Any]], k: int) -> tuple[Any, Any]:
    """The best of several (rows, scores), best first; equals in the order of their rows."""
    import numpy as np

    if len(lists) == 1:
        return lists[0]
    rows, scores = np.concatenate([each[0] for each in lists], 1), np.concatenate([each[1] for each in lists], 1)
    order = np.lexsort((np.where(rows < 0, np.iinfo(np.int64).max, rows), -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


def scan(part: Part, queries: Any, k: int) -> tuple[Any, Any]:
    """Every row's inner product with every query: one query by a compiled scan over all threads, many by matrix
    products."""
    import numpy as np

    from umekomi.parts.kernels import scan as kernels

    if part.few(k):
        return listed(part, queries, np.flatnonzero(part.allowed), k)
    vectors, allowed = part.vectors, part.allowed
    if len(queries) < 4:
        out = []
        for query in queries:
            ranges = shards(part.rows, cores() if part.rows * vectors.shape[1] > 1 << 18 else 1)
            found = [blank(1, k) for _ in ranges]
            over(
                kernels.exact,
                [
                    (vectors, query, allowed, low, high, s[0], r[0])
                    for (low, high), (s, r) in zip(ranges, found, strict=True)
                ],
            )
            out.append(merged([(r, s) for s, r in found], k))
        return np.concatenate([rows for rows, _ in out]), np.concatenate([scores for _, scores in out])

    def some(low: int, high: int) -> tuple[Any, Any]:
        scores, rows = blank(len(queries), k)
        for start in range(low, high, ROWS):
            kernels.take_best(queries @ vectors[start : min(start + ROWS, high)].T, start, allowed, scores, rows)
        return rows, scores

    with alone():
        return merged(over(some, shards(part.rows, cores())), k)


def listed(part: Part, queries: Any, numbers: Any, k: int) -> tuple[Any, Any]:
    """The best of the rows ``numbers``."""
    from umekomi.parts.kernels.scan import chosen

    scores, rows = blank(len(queries), k)
    for q, query in enumerate(queries):
        chosen(part.vectors, query, numbers, part.vectors.shape[1], scores[q], rows[q])
    return rows, scores


def scanned(kernel: Any, inputs: tuple[Any, ...], part: Part, threads: int, wanted: int) -> tuple[Any, int]:
    """A coarse scan over all rows: (key of every row, the highest key that ``wanted`` rows reach)."""
    import numpy as np

    from umekomi.parts.kernels.scan import BINS, threshold

    keys = np.empty(part.rows, np.uint16)
    ranges = shards(part.rows, threads)
    counts = np.zeros((len(ranges), BINS), np.int32)
    over(kernel, [(*inputs, wanted, part.allowed, low, high, keys, counts[i]) for i, (low, high) in enumerate(ranges)])
    # a thread leaves out only what `wanted` of its own rows are above: from the threshold up the sum is whole
    return keys, max(threshold(counts.sum(0), wanted), 1)


def coarse_then_exact(part: Part, queries: Any, k: int, wanted: int, keys_of: Any) -> tuple[Any, Any]:
    """A coarse scan, one threshold, the exact look at what reaches it: one query over all threads, many each in one."""
    import numpy as np

    from umekomi.parts.kernels.scan import rescore

    if part.few(k):
        return listed(part, queries, np.flatnonzero(part.allowed), k)
    threads = cores()

    def ask(query: Any, threads: int) -> tuple[Any, Any]:
        keys, least = keys_of(part, query, threads, wanted)
        ranges = shards(part.rows, threads)
        found = [blank(1, k) for _ in ranges]
        over(
            rescore,
            [
                (part.vectors, query, keys, least, low, high, s[0], r[0])
                for (low, high), (s, r) in zip(ranges, found, strict=True)
            ],
        )
        return merged([(r, s) for s, r in found], k)

    if len(queries) < 2 * threads:
        out = [ask(query, threads) for query in queries]
    else:
        out = [
            each
            for some in over(
                lambda low, high: [ask(query, 1) for query in queries[low:high]], shards(len(queries), threads)
            )
            for each in some
        ]
    return np.concatenate([rows for rows, _ in out]), np.concatenate([scores for _, scores in out])


def ranks_of_neighbours(parts: list[Part], keys_of: Any, k: int, sample: int, seed: int) -> Any:
    """For rows drawn as queries: how far down the coarse order each of their ``k`` true neighbours stands (1 is
    first)."""
    import numpy as np

    part = max(parts, key=lambda each: each.rows)
    generator = np.random.default_rng(seed)
    living = np.flatnonzero(part.allowed) if len(part.allowed) else np.arange(part.rows)
    asked = np.sort(generator.choice(living, min(sample, len(living)), replace=False))
    queries = np.asarray(part.vectors[asked], np.float32)
    rows, _ = scan(part, queries, k + 1)
    out = []
    for q, own in enumerate(asked):
        keys, _ = keys_of(part, queries[q])
        counts = np.bincount(keys)
        counts[keys[own]] -= 1
        above = np.cumsum(counts[::-1])[::-1]
        near = [row for row in rows[q] if row >= 0 and row != own][:k]
        out.append([above[keys[row]] for row in near])
    return np.array([rank for ranks in out for rank in ranks])


def found_share(kind: Any, part: Part, k: int, sample: int, seed: int) -> float:
    """Recall at ``k`` of a kind's whole search, rows drawn as queries, each without itself."""
    import numpy as np

    asked = np.random.default_rng(seed).choice(part.rows, min(sample, part.rows), replace=False)
    queries = np.asarray(part.vectors[asked], np.float32)
    return overlap(scan(part, queries, k + 1)[0], kind.search(part, queries, k + 1, None)[0], asked, k)


def shortlist_for(ranks: Any, recall: float, k: int) -> int:
    """The shortlist that holds this share of the true neighbours, a tenth more for chance."""
    import numpy as np

    return (
        max(2 * k, int(np.ceil(1.1 * np.quantile(ranks, min(recall, 1.0), method="higher")))) if len(ranks) else 2 * k
    )


def overlap(true: Any, found: Any, own: Any, k: int) -> float:
    """The share of true neighbours among those found, each query's own row left out: recall at ``k``."""
    hits = total = 0
    for row, (a, b) in zip(own, zip(true, found, strict=True), strict=True):
        wanted = [number for number in a if number >= 0 and number != row][:k]
        hits += len(set(wanted) & set([number for number in b if number != row][:k]))
        total += len(wanted)
    return hits / max(total, 1)
