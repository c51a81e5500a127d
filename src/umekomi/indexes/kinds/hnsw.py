"""usearch's graph (Malkov & Yashunin 2018)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.errors import MissingExtra, WrongUse
from umekomi.indexes import graphs
from umekomi.indexes.kinds.base import DEPTHS, USUAL, Kind
from umekomi.indexes.packing import Shape
from umekomi.indexes.scans import ROWS, Part, assured, empty_hits, found_of, scan, score_listed
from umekomi.parts.kernels.threads import cores

if TYPE_CHECKING:
    from umekomi.indexes.scans import Measure, Ranking

MOST = 4096
"""As many candidates as a walk keeps at most; where that is not enough every vector is looked at."""
SHORTEST = 0.01
"""usearch keeps one minus a product in 32 bits: products of shorter vectors would be lost beside the one."""
ALONE = 1000
"""Rows that one thread adds at first: threads that begin a graph together do not see each other's rows, and of 300 rows
one graph in 25 missed near ones. Up to here it is the same graph each time."""
_opening = threading.Lock()


@dataclass
class Hnsw(Kind):
    """usearch's graph: ``connections`` a node (M), ``build_effort`` and ``effort`` candidates when building and
    searching (ef). ``effort`` 0 is tuned; ``reach`` holds (hits, effort) for more hits, effort 0 where no walk finds
    enough. A filter that leaves little is answered by looking at what it leaves."""

    name: ClassVar[str] = "hnsw"
    connections: int = 16
    build_effort: int = 128
    effort: int = 0

    def __post_init__(self) -> None:
        for setting, least, most in (("connections", 2, 1024), ("build_effort", 1, 1 << 20), ("effort", 0, 1 << 20)):
            value = getattr(self, setting)
            if value < least:
                raise WrongUse(f"index kind hnsw, {setting}: expected {least} or more, found {value}")
            if value > most:
                raise WrongUse(f"index kind hnsw, {setting}: expected {most:,} or less, found {value}")

    def _graph(self, width: int) -> Any:
        try:
            from usearch.index import Index as Graph
        except ImportError:
            raise MissingExtra("usearch", "search", "an HNSW index") from None
        return Graph(
            ndim=width,
            metric="ip",
            dtype="f32",
            connectivity=self.connections,
            expansion_add=self.build_effort,
            expansion_search=self.effort or 64,
        )

    def derive(self, vectors: Any) -> dict[str, Any]:
        graph = self._graph(vectors.shape[1])
        longest = 0.0
        start = 0
        while start < len(vectors):
            block = np.asarray(vectors[start : start + (ROWS * 8 if start else ALONE)], np.float32)
            longest = max(longest, float(np.linalg.norm(block, axis=1).max()))
            keys = np.arange(start, start + len(block), dtype=np.uint64)
            graph.add(keys, block, threads=cores() if start else 1)
            start += len(block)
        if 0 < longest < SHORTEST:
            raise WrongUse(
                f"index kind hnsw: expected vectors of which the longest has a length of {SHORTEST} or more, found "
                f"{longest:.3g}: the graph compares them by one minus their product"
            )
        return {"graph": np.frombuffer(bytes(graph.save()), np.uint8)}

    def derived(self, rows: int, width: int) -> dict[str, Shape]:
        return {"graph": ("|u1", (None,))}

    def opened(self, part: Part) -> tuple[Any, threading.Lock]:
        """The graph over the memory map, looked through and opened once a segment; and the lock of its one walker at a
        time: threads that ask in one moment would share its scratch."""
        with _opening:
            if "opened" not in part.arrays:
                part.prove(
                    "graph", lambda data: graphs.check_graph(data, part.vectors, self.connections), checksum=True
                )
                graph = self._graph(part.vectors.shape[1])
                graph.view(memoryview(part.arrays["graph"]))
                part.arrays["opened"] = graph, threading.Lock()
            return part.arrays["opened"]  # type: ignore[no-any-return]

    def tuned(self, parts: list[Part], recall: float, k: int = 10, sample: int = 256, seed: int = 0) -> dict[str, Any]:
        """The efforts that reach ``recall``, asked with rows that were taken out of a copy of the graph: a row that is
        in it is led to its neighbours by its own edges, which no query has. On 8,000 rows of noise in 64 dimensions an
        effort of 16 finds .99 for its own rows, .49 for others of their kind."""
        part = max(parts, key=lambda each: each.rows)
        asked = self.effort
        trial, queries, every = self._without(part, min(sample, part.rows // 8), seed)
        for effort in (16, 32, 64, 128, 256, 512, 1024, 2048, MOST):
            self.effort = effort
            if _share(self, trial, every, queries, k) >= recall:
                break
        own = self.effort
        self.reach = []
        for depth in DEPTHS[1:]:
            if depth >= part.rows - len(queries):
                break
            for effort in (depth, 2 * depth, 4 * depth, MOST):
                self.effort, self.reach = effort, [*[pair for pair in self.reach if pair[0] < depth], (depth, effort)]
                if effort >= own and _share(self, trial, every, queries[: sample // 4], depth) >= recall:
                    break
            else:
                self.reach[-1] = (depth, 0)
        self.effort = asked
        return {"effort": own}

    def _without(self, part: Part, count: int, seed: int) -> tuple[Part, Any, Part]:
        """(a segment with so many rows less in its graph, their vectors, the same rows less to be looked at one by
        one)."""
        graph = self._graph(part.vectors.shape[1])
        self.opened(part)  # looked through before any of it is followed
        graph.load(memoryview(part.arrays["graph"]))
        rows = np.sort(np.random.default_rng(seed).choice(part.rows, count, replace=False))
        if count:
            graph.remove(rows.astype(np.uint64), compact=True)  # their edges, too
        left = np.ones(part.rows, np.uint8)
        left[rows] = 0
        trial = Part(part.vectors, {"opened": (graph, threading.Lock())}, np.zeros(0, np.uint8), part.rows)
        queries = np.asarray(part.vectors[rows], np.float32)
        return trial, queries, Part(part.vectors, {}, left, part.rows - count)

    def needed(self, k: int) -> int:
        """The effort for so many hits, 0 where none is enough: between two that were measured, in proportion."""
        effort = self.effort or 64
        if k <= USUAL:
            return effort
        if not self.reach:  # an index that was tuned for ten hits only
            enough: float = effort * -(-k // DEPTHS[0])
        elif k > self.reach[-1][0]:
            enough = self.reach[-1][1] * k / self.reach[-1][0]
        else:
            (low, least), (high, most) = next(two for two in pairwise([(USUAL, effort), *self.reach]) if k <= two[1][0])
            enough = least + (most - least) * (k - low) / (high - low) if least and most else 0
        return max(int(enough), effort) if 0 < enough <= MOST else 0

    def search(self, part: Part, queries: Any, k: int, similarity: Measure | None) -> Ranking:
        if part.few(k):
            return score_listed(part, queries, np.flatnonzero(part.allowed), k)
        # rows that do not count take places on the walk: ask for more by their share, and scan where that is not enough
        share = part.living / max(part.rows, 1)
        more = min(part.rows, k if share == 1 else int(np.ceil(2 * k / max(share, 1e-9))))
        effort = self.needed(more) if more <= MOST else 0
        if not effort:
            return scan(part, queries, k)
        scores, rows = empty_hits(len(queries), k)
        graph, walking = self.opened(part)
        with walking:
            graph.expansion_search = effort
            lengths = np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-30)
            matches = graph.search(np.ascontiguousarray(queries / lengths), more, threads=cores())
        keys = np.atleast_2d(matches.keys).astype(np.int64)
        distances = np.atleast_2d(matches.distances)
        counts = np.atleast_1d(getattr(matches, "counts", np.full(len(queries), keys.shape[1])))
        short = []
        for q in range(len(queries)):
            near = keys[q, : counts[q]]
            kept = np.flatnonzero(part.allowed[near]) if len(part.allowed) else np.arange(len(near))
            kept = kept[:k]
            rows[q, : len(kept)], scores[q, : len(kept)] = near[kept], (1 - distances[q, kept]) * lengths[q]
            if len(kept) < min(k, part.living):
                short.append(q)
        if short:
            rows[short], scores[short] = scan(part, queries[short], k)
        return rows, scores


def _share(kind: Hnsw, part: Part, every: Part, queries: Any, k: int) -> float:
    """What recall at ``k`` a search in ``part`` has for sure, of what a look at every row finds."""
    return assured(found_of(scan(every, queries, k), kind.search(part, queries, k, None), [-1] * len(queries), k))
