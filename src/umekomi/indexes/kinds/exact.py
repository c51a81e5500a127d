"""Every vector looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.indexes.kinds.base import Kind
from umekomi.indexes.scans import ROWS, Part, empty_hits, scan

if TYPE_CHECKING:
    from umekomi.indexes.scans import Measure, Ranking


@dataclass
class Exact(Kind):
    """Every vector, by the model's own similarity."""

    name: ClassVar[str] = "exact"
    metrics: ClassVar[frozenset[str] | None] = None
    every_row: ClassVar[bool] = True

    def search(self, part: Part, queries: Any, k: int, similarity: Measure | None) -> Ranking:
        if similarity is None:
            return scan(part, queries, k)
        from umekomi.parts.kernels.scan import take_best

        scores, rows = empty_hits(len(queries), k)
        for start in range(0, part.rows, ROWS):
            block = np.ascontiguousarray(similarity(queries, part.vectors[start : start + ROWS]), np.float32)
            take_best(block, start, part.allowed, scores, rows)
        return rows, scores
