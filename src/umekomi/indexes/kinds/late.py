"""Token vectors, scored by MaxSim (Khattab & Zaharia 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.indexes.kinds.base import Kind
from umekomi.indexes.scans import Part, empty_hits
from umekomi.parts import similarity as similarities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.indexes.scans import Measure, Ranking


@dataclass
class Late(Kind):
    """Token vectors, every document scored by MaxSim."""

    name: ClassVar[str] = "late"
    outputs: ClassVar[frozenset[str]] = frozenset({"multi"})
    metrics: ClassVar[frozenset[str] | None] = frozenset({"maxsim"})

    def search(self, part: Part, queries: Any, k: int, similarity: Measure | None) -> Ranking:
        from umekomi.parts.kernels.scan import take_best

        scores, rows = empty_hits(queries.items, k)
        for start, stop in _by_tokens(part.vectors.offsets):
            block = np.ascontiguousarray(similarities.maxsim(queries, similarities.rows(part.vectors, start, stop)))
            take_best(block, start, part.allowed, scores, rows)
        return rows, scores


def _by_tokens(offsets: NDArray[np.int64], tokens: int = 1 << 16) -> Iterator[tuple[int, int]]:
    """Ranges of documents with about so many token vectors together."""
    start, last = 0, len(offsets) - 1
    while start < last:
        stop = int(np.searchsorted(offsets, offsets[start] + tokens, side="right")) - 1
        stop = min(max(stop, start + 1), last)
        yield start, stop
        start = stop
