"""usearch's graph (Malkov & Yashunin 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from umekomi.errors import MissingExtra, WrongUse
from umekomi.indexes.kinds.base import Kind
from umekomi.indexes.scans import (
    ROWS,
    Part,
    blank,
    found_share,
    listed,
    scan,
)
from umekomi.parts.kernels.threads import cores


@dataclass
class Hnsw(Kind):
    """usearch's graph: ``connections`` a node (M), ``build_effort`` and ``effort`` candidates when building and
    searching (ef). ``effort`` 0 is tuned. A filter that leaves little is answered by looking at what it leaves."""

    name: ClassVar[str] = "hnsw"
    connections: int = 16
    build_effort: int = 128
    effort: int = 0

    def __post_init__(self) -> None:
        for setting, least in (("connections", 2), ("build_effort", 1)):
            if getattr(self, setting) < least:
                raise WrongUse(f"index kind hnsw, {setting}: expected {least} or more, found {getattr(self, setting)}")

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
        import numpy as np

        graph = self._graph(vectors.shape[1])
        for start in range(0, len(vectors), ROWS * 8):
            block = np.asarray(vectors[start : start + ROWS * 8], np.float32)
            graph.add(np.arange(start, start + len(block), dtype=np.uint64), block, threads=cores())
        return {"graph": np.frombuffer(bytes(graph.save()), np.uint8)}

    def opened(self, part: Part) -> Any:
        """The graph over the memory map, opened once a segment."""
        if "opened" not in part.arrays:
            graph = self._graph(part.vectors.shape[1])
            graph.view(memoryview(part.arrays["graph"]))
            part.arrays["opened"] = graph
        return part.arrays["opened"]

    def tuned(self, parts: list[Part], recall: float, k: int = 10, sample: int = 256, seed: int = 0) -> dict[str, Any]:
        part = max(parts, key=lambda each: each.rows)
        for effort in (16, 32, 64, 128, 256, 512, 1024):
            self.effort = effort
            if found_share(self, part, k, sample, seed) >= recall:
                break
        return {"effort": self.effort}

    def search(self, part: Part, queries: Any, k: int, similarity: Any) -> tuple[Any, Any]:
        import numpy as np

        if part.few(k):
            return listed(part, queries, np.flatnonzero(part.allowed), k)
        graph = self.opened(part)
        graph.expansion_search = self.effort or 64
        # rows that do not count take places on the walk: ask for more by their share, and scan where that is not enough
        share = part.living / max(part.rows, 1)
        more = min(part.rows, k if share == 1 else int(np.ceil(2 * k / max(share, 1e-9))))
        scores, rows = blank(len(queries), k)
        if more > 4096:
            return scan(part, queries, k)
        found = graph.search(np.ascontiguousarray(queries), more, threads=cores())
        keys = np.atleast_2d(found.keys).astype(np.int64)
        distances = np.atleast_2d(found.distances)
        counts = np.atleast_1d(getattr(found, "counts", np.full(len(queries), keys.shape[1])))
        short = []
        for q in range(len(queries)):
            near = keys[q, : counts[q]]
            kept = np.flatnonzero(part.allowed[near]) if len(part.allowed) else np.arange(len(near))
            kept = kept[:k]
            rows[q, : len(kept)], scores[q, : len(kept)] = near[kept], 1 - distances[q, kept]
            if len(kept) < min(k, part.living):
                short.append(q)
        if short:
            rows[short], scores[short] = scan(part, queries[short], k)
        return rows, scores
