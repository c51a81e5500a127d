"""Token vectors, scored by MaxSim (Khattab & Zaharia 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.indexes.kinds.base import Kind
from umekomi.indexes.scans import Part, empty_hits, merge_hits
from umekomi.parts import similarity as similarities
from umekomi.parts.kernels.threads import cores, run_all, shards

if TYPE_CHECKING:
    from umekomi.indexes.scans import Measure, Ranking

SCORES = 1 << 20
"""Scores that are held at a time."""


@dataclass
class Late(Kind):
    """Token vectors, every document scored by MaxSim."""

    name: ClassVar[str] = "late"
    outputs: ClassVar[frozenset[str]] = frozenset({"multi"})
    metrics: ClassVar[frozenset[str] | None] = frozenset({"maxsim"})
    every_row: ClassVar[bool] = True

    def search(self, part: Part, queries: Any, k: int, similarity: Measure | None) -> Ranking:
        from umekomi.parts.kernels.scan import take_best

        listed = np.flatnonzero(part.allowed) if len(part.allowed) else np.arange(part.rows)
        asked, every = similarities.in_fours(queries), np.zeros(0, np.uint8)
        step = max(SCORES // max(queries.items, 1), 1)

        def some(first: int, last: int) -> Ranking:
            scores, places = empty_hits(queries.items, k)
            for start in range(first, last, step):
                block = similarities.maxsim_of(asked, part.vectors, listed[start : min(start + step, last)])
                take_best(block, start, every, scores, places)
            return places, scores

        places, scores = merge_hits(run_all(some, shards(len(listed), cores()) or [(0, 0)]), k)
        return (np.where(places < 0, -1, listed[places]) if len(listed) else places), scores
