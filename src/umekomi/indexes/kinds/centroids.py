"""Token vectors by the centroids that they lie at, then by the bits of what is left of them, then the best again by
MaxSim (after PLAID, Santhanam et al. 2022, arXiv 2205.09707, WARP, Scheerer et al. 2025, arXiv 2501.17788, and RaBitQ,
Gao & Long 2024, arXiv 2405.12497)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.contracts import Vectors
from umekomi.indexes.kinds.base import DEPTHS, USUAL, Kind
from umekomi.indexes.kinds.binary import bit_planes, signs, turn
from umekomi.indexes.kinds.coarse import shortlist_for
from umekomi.indexes.kinds.late import Late
from umekomi.indexes.packing import Shape, check_offsets
from umekomi.indexes.scans import Part, ask_all, sample_queries
from umekomi.parts import similarity as similarities
from umekomi.parts.kernels.threads import cores, run_all, shards, single_threaded_blas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.indexes.scans import Measure, Ranking

LEARNED = 100_000
"""Token vectors that centroids are learned from."""
TOKENS = 8192
"""Token vectors that are sorted to centroids at a time."""
QUERY_BITS = 2
"""Bits that a query's token is cut to beside the one of a stored dimension: with 4 no neighbour stands higher."""
LONGEST = 32
"""Rows are asked as queries by so many of their tokens when it is tuned: queries are short."""
FEWEST = 1000
"""Up to so many rows every one is looked at."""
AGAIN = 64
"""So many rows, and twice as many more as hits are asked for, are scored exactly after their bits: among 60,000 rows of
25 token vectors of 384 dimensions so many hold all of the ten and hundred true neighbours, and .9994 of a thousand."""


@dataclass
class Centroids(Kind):
    """Each row's token vectors at their nearest centroids, in inverted lists. Of a query's token the ``probes`` nearest
    centroids are walked, nearest first: a row's estimate is the sum over the query's tokens of its best centroid's
    product, or of the first one's that was not walked where it has none of them. The ``shortlist`` best are estimated
    anew from their own token vectors, a centroid and one bit a dimension of what is left, turned at random; the best of
    these are scored by MaxSim of the stored vectors. ``shortlist`` 0 is tuned, from a thousand rows on; before, every
    row is looked at. ``reach`` holds (hits, shortlist) for more hits; under a filter that lets a share of the rows
    through, the list is as long as that many hits of all rows would need.

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
        centres = np.zeros((1, tokens.shape[1]), np.float32)
        if number:
            fitted = MiniBatchKMeans(number, init="random", n_init=1, batch_size=4096, max_iter=20, random_state=0)
            centres = np.ascontiguousarray(fitted.fit(drawn).cluster_centers_, np.float32)
        self.codec = {"centroids": centres, "rotation": turn(tokens.shape[1], 0)}

    def derive(self, vectors: Any) -> dict[str, Any]:
        centres, rotation = self.codec["centroids"], self.codec.get("rotation")
        half = 0.5 * (centres.astype(np.float64) ** 2).sum(1).astype(np.float32)
        nearest = np.empty(len(vectors.flat), np.int32)
        words = 0 if rotation is None else rotation.shape[1] // 64
        codes, factors = np.zeros((len(nearest), words), np.uint64), np.zeros(len(nearest), np.float32)
        for start in range(0, len(nearest), TOKENS):
            block = np.asarray(vectors.flat[start : start + TOKENS], np.float32)
            own = nearest[start : start + TOKENS] = (block @ centres.T - half).argmax(1)
            if rotation is not None:
                left = (block - centres[own]) @ rotation
                by_word, factors[start : start + TOKENS] = signs(left)
                codes[start : start + TOKENS] = by_word.T
        rows = np.repeat(np.arange(vectors.items, dtype=np.int64), np.diff(vectors.offsets))
        pairs = np.unique(nearest.astype(np.int64) * max(vectors.items, 1) + rows)  # a row stands once in a list
        of, members = np.divmod(pairs, max(vectors.items, 1))
        lists = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=len(centres)))]).astype(np.int64)
        bits = {} if rotation is None else {"nearest": nearest, "codes": codes, "factors": factors}
        return {"lists": lists, "members": members.astype(np.int32)} | bits

    def learned(self, width: int) -> dict[str, Shape]:
        turned = {"rotation": ("<f4", (width, -(-width // 64) * 64))} if self._has_bits() else {}
        return {"centroids": ("<f4", (None, width)), **turned}

    def derived(self, rows: int, width: int) -> dict[str, Shape]:
        tokens = (None,)
        bits = {"nearest": ("<i4", tokens), "codes": ("<u8", (None, -(-width // 64))), "factors": ("<f4", tokens)}
        return {
            "lists": ("<i8", (len(self.codec["centroids"]) + 1 if self.codec else None,)),
            "members": ("<i4", (None,)),
        } | (bits if self._has_bits() else {})

    def _has_bits(self) -> bool:
        """Not where the index is older than they are: then the whole list is scored exactly."""
        return not self.codec or "rotation" in self.codec

    def sound(self, arrays: Mapping[str, Any]) -> None:
        check_offsets("lists", arrays["lists"], len(arrays["members"]))
        for name in ("nearest", "factors", "codes") if self._has_bits() else ():
            tokens, found = len(arrays["flat"]), len(arrays[name])
            if found != tokens:
                raise ValueError(f"{name}: expected {tokens:,}, one for each token vector, found {found:,}")

    def tuned(self, parts: list[Part], recall: float, k: int = 10, sample: int = 256, seed: int = 0) -> dict[str, Any]:
        part = max(parts, key=lambda each: each.rows)
        self.reach = []
        if part.living <= FEWEST:
            return {"shortlist": 0}
        own = sample_queries(part, sample, seed)
        queries = Vectors.of([part.vectors.item(int(row))[:LONGEST] for row in own])
        deepest = max(depth for depth in DEPTHS if depth <= max(part.living // 4, k))
        true, _ = Late().search(part, queries, deepest + 1, None)
        ranks: dict[int, list[NDArray[np.int64]]] = {depth: [] for depth in DEPTHS if depth <= deepest}
        for query, (row, near) in enumerate(zip(own, true, strict=True)):
            tokens = np.asarray(queries.item(query), np.float32)
            estimates = self._estimates(part, tokens @ self.codec["centroids"].T, cores())
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
            return Late().search(part, queries, k, None)
        lists = part.arrays["lists"]
        part.prove("members", lambda members: _check_lists(lists, members, part.rows))
        if self._has_bits():
            part.prove("nearest", lambda nearest: _check_nearest(nearest, len(self.codec["centroids"])))

        def ask(tokens: Any, threads: int) -> Ranking:
            if not len(tokens):
                return Late().search(part, Vectors.of([tokens]), k, None)
            tokens = np.ascontiguousarray(tokens, np.float32)
            products = tokens @ self.codec["centroids"].T
            estimates = self._estimates(part, products, threads)
            near = np.sort(np.argpartition(estimates, -wanted)[-wanted:])
            again = AGAIN + 2 * k
            if self._has_bits() and again < wanted:
                by_bits = self._by_bits(part, tokens, products, near, threads)
                near = np.sort(near[np.argpartition(by_bits, -again)[-again:]])
            exact = similarities.maxsim_of(similarities.in_fours(Vectors.of([tokens])), part.vectors, near)[0]
            order = np.argsort(-exact, kind="stable")[:k]
            return near[order][None], exact[order][None]

        with single_threaded_blas():
            return ask_all(ask, [queries.item(query) for query in range(queries.items)], k)

    def _estimates(self, part: Part, products: Any, threads: int) -> NDArray[np.float32]:
        """An estimate for every row from its tokens' products with the centroids, ``[tokens, centroids]``; minus
        infinity for rows that do not count; float32 ``[rows]``."""
        from umekomi.parts.kernels.tokens import centroid_scores

        probes = min(self.probes, products.shape[1])
        most = min(probes + 1, products.shape[1])
        order = np.sort(np.argpartition(products, -most, axis=1)[:, -most:], axis=1)
        values = np.take_along_axis(products, order, 1)
        best = np.argsort(-values, axis=1, kind="stable")
        order, values = np.take_along_axis(order, best, 1), np.take_along_axis(values, best, 1)
        estimates = np.full(part.rows, values[:, -1].sum(), np.float32)
        gains, given = np.zeros(part.rows, np.float32), (part.arrays["lists"], part.arrays["members"])
        nearest = np.ascontiguousarray(order[:, :probes])
        run_all(
            lambda low, high: centroid_scores(nearest, values, *given, low, high, gains, estimates),
            shards(part.rows, threads),
        )
        if len(part.allowed):
            estimates[part.allowed == 0] = -np.inf
        return estimates

    def _by_bits(self, part: Part, tokens: Any, products: Any, rows: Any, threads: int) -> NDArray[np.float32]:
        """Estimates of MaxSim with these rows from the bits of their token vectors; float32 ``[rows]``."""
        from umekomi.parts.kernels.tokens import bit_maxsim

        planes, steps, middle = bit_planes(tokens @ self.codec["rotation"], QUERY_BITS)
        arrays, scores = part.arrays, np.empty(len(rows), np.float32)
        given = (arrays["codes"], arrays["factors"], arrays["nearest"], np.asarray(part.vectors.offsets))
        asked = (planes, steps, np.float32(middle), products)
        run_all(
            lambda low, high: bit_maxsim(*given, rows[low:high], *asked, scores[low:high]),
            shards(len(rows), threads),
        )
        return scores


def _check_lists(lists: NDArray[np.int64], members: NDArray[np.int32], rows: int) -> None:
    from umekomi.parts.kernels.graphs import lists_fault

    fault = lists_fault(lists, members, rows)
    if fault >= 0:
        raise ValueError(f"list {fault:,} has rows that do not rise below {rows:,}")


def _check_nearest(nearest: NDArray[np.int32], centroids: int) -> None:
    if len(nearest) and not 0 <= int(nearest.min()) <= int(nearest.max()) < centroids:
        raise ValueError(f"expected centroids 0 to {centroids - 1:,}, found {nearest.min():,} to {nearest.max():,}")
