"""Token vectors by the centroids that they lie at, then the best again by MaxSim (after PLAID, Santhanam et al. 2022,
arXiv 2205.09707, and WARP, Scheerer et al. 2025, arXiv 2501.17788)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.contracts import Vectors
from umekomi.indexes.kinds.base import DEPTHS, USUAL, Kind
from umekomi.indexes.kinds.coarse import shortlist_for
from umekomi.indexes.kinds.late import Late
from umekomi.indexes.packing import Shape, check_offsets
from umekomi.indexes.scans import Part, empty_hits, sample_queries
from umekomi.parts import similarity as similarities
from umekomi.parts.kernels.threads import cores, run_all, shards

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.indexes.scans import Measure, Ranking

LEARNED = 100_000
"""Token vectors that centroids are learned from."""
TOKENS = 8192
"""Token vectors that are sorted to centroids at a time."""
ASKED, LONGEST = 64, 32
"""Rows asked as queries when it is tuned, by so many of their tokens: queries are short, and each costs a look at every
row. With fewer their chance makes the list twice as long, for it is to be long enough for others."""
FEWEST = 1000
"""Up to so many rows every one is looked at."""


@dataclass
class Centroids(Kind):
    """Each row's token vectors at their nearest centroids, in inverted lists. Of a query's token the ``probes`` nearest
    centroids are walked, nearest first: a row's estimate is the sum over the query's tokens of its best centroid's
    product, or of the first one's that was not walked where it has none of them. The ``shortlist`` best are scored by
    MaxSim of the stored vectors. ``shortlist`` 0 is tuned, from a thousand rows on; before, every row is looked at.
    ``reach`` holds (hits, shortlist) for more hits; under a filter that lets a share of the rows through, the list is
    as long as that many hits of all rows would need.

    The number of ``centroids`` is a power of two near four times the root of the number of token vectors (0), a fourth
    of PLAID's: each of them costs a product with every token vector when rows are added."""

    name: ClassVar[str] = "centroids"
    outputs: ClassVar[frozenset[str]] = frozenset({"multi"})
    metrics: ClassVar[frozenset[str] | None] = frozenset({"maxsim"})
    centroids: int = 0
    probes: int = 128
    shortlist: int = 0

    def learn(self, vectors: Any) -> None:
        from sklearn.cluster import MiniBatchKMeans

        tokens = np.asarray(vectors.flat, np.float32)
        generator = np.random.default_rng(0)
        number = self.centroids or 1 << round(np.log2(max(4 * len(tokens) ** 0.5, 16)))
        drawn = tokens[np.sort(generator.permutation(len(tokens))[: max(LEARNED, 16 * number)])]
        number = min(number, len(drawn))
        if not number:
            self.codec = {"centroids": np.zeros((1, tokens.shape[1]), np.float32)}
            return
        fitted = MiniBatchKMeans(number, init="random", n_init=1, batch_size=4096, max_iter=20, random_state=0)
        self.codec = {"centroids": np.ascontiguousarray(fitted.fit(drawn).cluster_centers_, np.float32)}

    def derive(self, vectors: Any) -> dict[str, Any]:
        centres = self.codec["centroids"]
        half = 0.5 * (centres.astype(np.float64) ** 2).sum(1).astype(np.float32)
        nearest = np.empty(len(vectors.flat), np.int64)
        for start in range(0, len(nearest), TOKENS):
            block = np.asarray(vectors.flat[start : start + TOKENS], np.float32)
            nearest[start : start + TOKENS] = (block @ centres.T - half).argmax(1)
        rows = np.repeat(np.arange(vectors.items, dtype=np.int64), np.diff(vectors.offsets))
        pairs = np.unique(nearest * max(vectors.items, 1) + rows)  # a row stands once in a list
        of, members = np.divmod(pairs, max(vectors.items, 1))
        lists = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=len(centres)))]).astype(np.int64)
        return {"lists": lists, "members": members.astype(np.int32)}

    def learned(self, width: int) -> dict[str, Shape]:
        return {"centroids": ("<f4", (None, width))}

    def derived(self, rows: int, width: int) -> dict[str, Shape]:
        return {
            "lists": ("<i8", (len(self.codec["centroids"]) + 1 if self.codec else None,)),
            "members": ("<i4", (None,)),
        }

    def sound(self, arrays: Mapping[str, Any]) -> None:
        check_offsets("lists", arrays["lists"], len(arrays["members"]))

    def tuned(self, parts: list[Part], recall: float, k: int = 10, sample: int = 256, seed: int = 0) -> dict[str, Any]:
        part = max(parts, key=lambda each: each.rows)
        self.reach = []
        if part.living <= FEWEST:
            return {"shortlist": 0}
        own = sample_queries(part, min(sample, ASKED), seed)
        queries = Vectors.of([part.vectors.item(int(row))[:LONGEST] for row in own])
        deepest = max(depth for depth in DEPTHS if depth <= max(part.living // 4, k))
        true, _ = Late().search(part, queries, deepest + 1, None)
        ranks: dict[int, list[NDArray[np.int64]]] = {depth: [] for depth in DEPTHS if depth <= deepest}
        for query, (row, near) in enumerate(zip(own, true, strict=True)):
            estimates = self._estimates(part, queries.item(query))
            estimates[row] = -np.inf
            order = np.sort(estimates)
            near = near[(near >= 0) & (near != row)]
            places = part.rows - np.searchsorted(order, estimates[near], side="left")
            for depth in ranks:
                ranks[depth].append(places[:depth])
        lengths = {depth: shortlist_for(found, recall, depth) for depth, found in ranks.items()}
        first = lengths.pop(DEPTHS[0])
        self.reach = [(float(depth), float(max(length, first))) for depth, length in lengths.items()]
        return {"shortlist": first}

    def needed(self, hits: float) -> int:
        """The shortlist for so many hits: between two that were measured, in proportion."""
        if hits <= USUAL:
            return self.shortlist
        known = [(float(DEPTHS[0]), float(self.shortlist)), *self.reach]
        if hits > known[-1][0]:
            return int(np.ceil(known[-1][1] * hits / known[-1][0]))
        (low, least), (high, most) = next(two for two in pairwise(known) if hits <= two[1][0])
        return int(np.ceil(least + (most - least) * (hits - low) / (high - low)))

    def search(self, part: Part, queries: Any, k: int, similarity: Measure | None) -> Ranking:
        share = part.living / max(part.rows, 1)
        wanted = max(int(np.ceil(self.needed(k / max(share, 1e-9)) * share)), 2 * k)
        if not self.shortlist or part.rows <= FEWEST or wanted >= part.living / 2:
            return _every(part, queries, k)
        lists = part.arrays["lists"]
        part.prove("members", lambda members: _check_lists(lists, members, part.rows))
        scores, rows = empty_hits(queries.items, k)

        def some(first: int, last: int) -> None:
            for query in range(first, last):
                tokens = queries.item(query)
                if not len(tokens):
                    rows[query], scores[query] = (each[0] for each in _every(part, Vectors.of([tokens]), k))
                    continue
                estimates = self._estimates(part, tokens)
                near = np.sort(np.argpartition(estimates, -wanted)[-wanted:])
                exact = _scores(part.vectors, tokens, near)
                order = np.argsort(-exact, kind="stable")[:k]
                rows[query], scores[query] = near[order], exact[order]

        run_all(some, shards(queries.items, cores()) or [(0, 0)])
        return rows, scores

    def _estimates(self, part: Part, tokens: Any) -> NDArray[np.float32]:
        """An estimate for every row, minus infinity for those that do not count; float32 ``[rows]``."""
        from umekomi.parts.kernels.scan import centroid_scores

        products = np.ascontiguousarray(tokens, np.float32) @ self.codec["centroids"].T
        probes = min(self.probes, products.shape[1])
        most = min(probes + 1, products.shape[1])
        order = np.sort(np.argpartition(products, -most, axis=1)[:, -most:], axis=1)
        values = np.take_along_axis(products, order, 1)
        best = np.argsort(-values, axis=1, kind="stable")
        order, values = np.take_along_axis(order, best, 1), np.take_along_axis(values, best, 1)
        estimates = np.full(part.rows, values[:, -1].sum(), np.float32)
        seen = np.full(part.rows, -1, np.int32)
        centroid_scores(order[:, :probes], values, part.arrays["lists"], part.arrays["members"], seen, estimates)
        if len(part.allowed):
            estimates[part.allowed == 0] = -np.inf
        return estimates


def _scores(vectors: Vectors, tokens: Any, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """MaxSim of ``tokens`` with some rows, float32 ``[rows]``."""
    from umekomi.parts.kernels.scan import maxsim_of_rows

    filled = np.zeros((-(-len(tokens) // 4) * 4, tokens.shape[1]), np.float32)
    filled[: len(tokens)] = tokens
    scores = np.empty(len(rows), np.float32)
    maxsim_of_rows(filled, np.asarray(vectors.flat), np.asarray(vectors.offsets), rows, scores)
    return scores


def _every(part: Part, queries: Any, k: int) -> Ranking:
    """MaxSim with every row that counts: those alone where they are few."""
    if not len(part.allowed) or part.living > part.rows / 4:
        return Late().search(part, queries, k, None)
    rows = np.flatnonzero(part.allowed)
    numbers, scores = Late().search(Part.fresh(similarities.take(part.vectors, rows), {}), queries, k, None)
    return np.where(numbers >= 0, rows[np.maximum(numbers, 0)], -1), scores


def _check_lists(lists: NDArray[np.int64], members: NDArray[np.int32], rows: int) -> None:
    from umekomi.parts.kernels.graphs import lists_fault

    fault = lists_fault(lists, members, rows)
    if fault >= 0:
        raise ValueError(f"list {fault:,} has rows that do not rise below {rows:,}")
