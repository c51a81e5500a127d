"""A coarse scan over all rows, then the exact look at the best: what ``binary`` and ``funnel`` share, and how ``turbo``
measures, too.

The first list is as long as tuning found for 10 hits. For more hits, or under a filter, no length is right: how many
rows a neighbour hides behind depends on how many others are as near. There the first list only says how near the
``k``-th hit is, and a second pass looks at every further row whose estimate comes within a margin of that score.
Tuning measures the margin: what the estimates of rows of some score lack of it, of all but the share that may be
lost. A row as near as the last hit is then met with the probability asked for, a nearer one with more, however many
hits there are and whatever a filter leaves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from umekomi.indexes.kinds.base import DEPTHS, USUAL, Kind
from umekomi.indexes.scans import (
    SURE,
    Part,
    ask_all,
    empty_hits,
    merge_hits,
    sample_queries,
    scan,
    score_listed,
    spread,
)
from umekomi.parts.kernels.threads import cores, run_all, shards

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats
    from umekomi.indexes.scans import Measure, Ranking

DEEPEST = 10_000
"""The neighbours of a query that margins are measured on, beside rows drawn from all."""
ASKED, LOOKED, BINS_OF_SCORES = 64, 64, 16
"""Rows asked as queries for the margins; as many of each one's neighbours, and of all rows, are looked at; and what
they lack is sorted into so many ranges of scores."""
TOGETHER = 8
"""Queries that share a pass over the vectors."""


class Keys(NamedTuple):
    """What a coarse scan says of every row of a segment for one query: uint16 keys, higher is nearer; the key that the
    wanted number of rows reach; and the line from a score to its key, ``scale (score - shift) + BINS / 2``."""

    keys: Any
    least: int
    scale: float
    shift: float

    def of(self, score: float) -> int:
        """The key of a score, held to those that rows may have."""
        from umekomi.parts.kernels.scan import BINS

        return int(min(max(self.scale * (score - self.shift) + BINS / 2, 1), BINS - 1))

    def estimates(self, rows: np.ndarray) -> NDArray[np.float64]:
        """The scores that the keys of these rows stand for, float64."""
        from umekomi.parts.kernels.scan import BINS

        return (self.keys[rows].astype(np.float64) - BINS / 2) / self.scale + self.shift


class Coarse(Kind):
    """A kind with keys for all rows. ``reach`` holds (score, margin), rising, both as shares of a query's length."""

    shortlist: int

    @abstractmethod
    def keys(self, part: Part, query: Floats, threads: int, wanted: int) -> Keys:
        """The keys of all rows for one query; those of rows that do not count are zero."""

    def tuned(self, parts: list[Part], recall: float, k: int = 10, sample: int = 256, seed: int = 0) -> dict[str, Any]:
        part = max(parts, key=lambda each: each.rows)
        self.reach = margins(part, recall, seed, lambda query: self.keys(part, query, cores(), 1).estimates)
        ranks = self.ranks(part, k, sample, seed, cores())
        return {"shortlist": shortlist_for(ranks, recall, k)}

    def search(self, part: Part, queries: Any, k: int, similarity: Measure | None) -> Ranking:
        if not self.shortlist:  # few rows so far: nothing to tune on
            return scan(part, queries, k)
        return self.coarse_then_exact(part, queries, k)

    def coarse_then_exact(self, part: Part, queries: Floats, k: int) -> Ranking:
        """A coarse scan, one threshold, the exact look at what reaches it, a second one where it takes that."""
        from umekomi.parts.kernels.scan import BINS, rescore

        if part.few(k):
            return score_listed(part, queries, np.flatnonzero(part.allowed), k)
        usual = k <= USUAL and not len(part.allowed)
        again = not usual and bool(self.reach)
        if usual:
            wanted = max(self.shortlist, k)
        elif again:
            wanted = max(self.shortlist, 2 * k)
        else:  # an index that was tuned for ten hits only
            wanted = self.shortlist * -(-max(k, DEPTHS[0]) // DEPTHS[0])
        if wanted >= part.living:
            return scan(part, queries, k)

        def ask(query: Floats, threads: int) -> Ranking:
            coarse = self.keys(part, query, threads, wanted)
            ranges = shards(part.rows, threads)
            lists = [empty_hits(1, k) for _ in ranges]

            def look(least: int, below: int) -> tuple[Any, Any]:
                run_all(
                    rescore,
                    [
                        (part.vectors, query, coarse.keys, least, below, low, high, s[0], r[0])
                        for (low, high), (s, r) in zip(ranges, lists, strict=True)
                    ],
                )
                return merge_hits([(r, s) for s, r in lists], k)

            rows, scores = look(coarse.least, BINS)
            if again and rows[0, -1] >= 0:
                last, length = float(scores[0, -1]), max(float(np.linalg.norm(query)), 1e-30)
                least = coarse.of(last - margin_at(self.reach, last / length) * length)
                if least < coarse.least:
                    rows, scores = look(least, coarse.least)
            return rows, scores

        return ask_all(ask, queries, k)

    def ranks(self, part: Part, k: int, sample: int, seed: int, threads: int) -> list[NDArray[np.int64]]:
        """For every row drawn as a query: how far down the coarse order each of its ``k`` true neighbours stands (1 is
        first)."""
        asked = sample_queries(part, sample, seed)
        queries = np.asarray(part.vectors[asked], np.float32)
        rows, _ = scan(part, queries, k + 1)
        out = []
        for q, own in enumerate(asked):
            keys = self.keys(part, queries[q], threads, 1).keys
            counts = np.bincount(keys)
            counts[keys[own]] -= 1
            above = np.cumsum(counts[::-1])[::-1]
            near = [row for row in rows[q] if row >= 0 and row != own][:k]
            out.append(np.array([above[keys[row]] for row in near], np.int64))
        return out


def margin_at(reach: list[tuple[float, float]], score: float) -> float:
    """What estimates may lack of this score, by what :func:`margins` measured."""
    scores, lacks = zip(*reach, strict=True)
    return float(np.interp(score, scores, lacks))


def margins(
    part: Part, recall: float, seed: int, estimates_of: Callable[[Floats], Callable[[np.ndarray], Any]]
) -> list[tuple[float, float]]:
    """(score, what the estimates of rows of about this score lack of it, of all but a share of ``1 - recall``), both as
    shares of a query's length. ``estimates_of`` a query is what estimates the scores of rows by number."""
    generator = np.random.default_rng(seed)
    asked = sample_queries(part, ASKED, seed)
    living = np.flatnonzero(part.allowed) if len(part.allowed) else np.arange(part.rows)
    deepest = min(DEEPEST, len(living) - 1)
    if deepest < 1:
        return []
    ranks = np.unique(np.geomspace(1, deepest, LOOKED).astype(int)) - 1
    pairs = []
    for start in range(0, len(asked), TOGETHER):
        queries = np.asarray(part.vectors[asked[start : start + TOGETHER]], np.float32)
        every = queries @ part.vectors.T
        for query, scores, own in zip(queries, every, asked[start : start + TOGETHER], strict=True):
            estimates = estimates_of(query)
            reachable = scores.copy()
            if len(part.allowed):
                reachable[part.allowed == 0] = -np.inf
            reachable[own] = -np.inf
            near = np.argpartition(reachable, -deepest)[-deepest:]
            near = near[np.argsort(-reachable[near])][ranks]
            rows = np.concatenate([near, generator.choice(living, LOOKED)])
            length = max(float(np.linalg.norm(query)), 1e-30)
            pairs.append(np.stack([scores[rows], scores[rows] - estimates(rows)]) / length)
    scores, lacks = np.concatenate(pairs, axis=1)
    order = np.argsort(scores, kind="stable")
    return [
        (
            round(float(np.median(scores[some])), 9),
            round(float(np.quantile(lacks[some], recall, method="higher")), 9),
        )
        for some in np.array_split(order, BINS_OF_SCORES)
        if len(some)
    ]


def scan_keys(
    kernel: Callable[..., None], inputs: tuple[Any, ...], part: Part, threads: int, wanted: int
) -> tuple[np.ndarray, int]:
    """A coarse scan over all rows: (key of every row, the highest key that ``wanted`` rows reach)."""
    from umekomi.parts.kernels.scan import BINS, threshold

    keys = np.empty(part.rows, np.uint16)
    ranges = shards(part.rows, threads)
    counts = np.zeros((len(ranges), BINS), np.int32)
    run_all(
        kernel, [(*inputs, wanted, part.allowed, low, high, keys, counts[i]) for i, (low, high) in enumerate(ranges)]
    )
    # a thread leaves out only what `wanted` of its own rows are above: from the threshold up the sum is whole
    return keys, max(threshold(counts.sum(0), wanted), 1)


def shortlist_for(ranks: Sequence[NDArray[np.int64]], recall: float, k: int) -> int:
    """The shortlist that holds this share of the true neighbours of all queries, for all that a sample of them can
    say: were it just as long as holds that share of the sample's, it would be too short for others about as often as
    not. So it holds as much more of the sample's as a recall of that share may come out above it by chance, at 95 %:
    :data:`~umekomi.indexes.scans.SURE` standard errors over queries.

    Args:
        ranks: for every query of the sample, how far down the coarse order its true neighbours stand (1 is first).
        recall: the share.
        k: hits; a list is twice as long at least.
    """
    every = np.concatenate([*ranks, np.zeros(0, np.int64)])
    if not len(every):
        return 2 * k
    just = np.quantile(every, min(recall, 1.0), method="higher")
    counts = np.array([((each <= just).sum(), len(each)) for each in ranks if len(each)])
    return max(2 * k, int(np.quantile(every, min(recall + SURE * spread(counts), 1.0), method="higher")))
