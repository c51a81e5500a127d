"""What every kind of index is: what it learns once, derives a segment, and how it is searched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from umekomi.errors import WrongUse
from umekomi.indexes.packing import Shape
from umekomi.indexes.scans import Part

if TYPE_CHECKING:
    from umekomi.contracts import Floats
    from umekomi.indexes.scans import Measure, Ranking

DEPTHS = (10, 100, 1000)
"""The numbers of hits that an approximate kind is tuned for; its settings are those of the first."""
USUAL = DEPTHS[0] + 1
"""Up to so many hits those settings do: a row that is asked as a query finds itself too."""


@dataclass
class Kind(ABC):
    """A way to find candidates. Fields are its settings; :attr:`codec` is what it learned, saved with the index, and
    :attr:`reach` what tuning found for more hits than the first of :data:`DEPTHS`: pairs that the kind reads."""

    name: ClassVar[str]
    outputs: ClassVar[frozenset[str]] = frozenset({"dense"})
    metrics: ClassVar[frozenset[str] | None] = frozenset({"cosine", "dot"})
    every_row: ClassVar[bool] = False
    """Does it look at every row, with nothing derived beside the vectors?"""
    codec: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    reach: list[tuple[float, float]] = field(default_factory=list, init=False, repr=False, compare=False)

    def check(self, output: str, metric: str, dimension: int) -> None:
        """One error for vectors that this kind cannot search."""
        if output not in self.outputs or (self.metrics is not None and metric not in self.metrics):
            raise WrongUse(
                f"index kind {self.name}: expected {' or '.join(sorted(self.outputs))} vectors"
                + (f" compared by {' or '.join(sorted(self.metrics))}" if self.metrics is not None else "")
                + f", found {output} ones compared by {metric}"
            )

    def settings(self) -> dict[str, Any]:
        """The fields, for the manifest."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def learn(self, vectors: Floats) -> None:
        """Learn the codec from a sample, float32 ``[n, d]``; most kinds have none."""
        self.codec = {}

    def derive(self, vectors: Any) -> dict[str, Any]:
        """Arrays to keep beside a segment's vectors."""
        return {}

    def learned(self, width: int) -> dict[str, Shape]:
        """The shapes of the codec's arrays, for vectors of this width."""
        return {}

    def derived(self, rows: int, width: int) -> dict[str, Shape]:
        """The shapes of what :meth:`derive` gives."""
        return {}

    def sound(self, arrays: Mapping[str, Any]) -> None:
        """ValueError where a number in arrays of these shapes would lead compiled code out of them."""
        return

    def tuned(self, parts: list[Part], recall: float, k: int = 10, sample: int = 256, seed: int = 0) -> dict[str, Any]:
        """Settings that reach ``recall`` at ``k`` on rows of the index asked as queries (each without itself);
        :attr:`reach` is filled, so that the recall holds for more hits and for filters too."""
        return {}

    @abstractmethod
    def search(self, part: Part, queries: Any, k: int, similarity: Measure | None) -> Ranking:
        """(rows of the segment int64, scores float32), both ``[queries, k]``, best first; -1 and minus infinity where
        there are fewer."""
