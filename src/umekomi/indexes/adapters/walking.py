"""What databases share that answer by walking a graph: the effort of a walk, tuned on rows of the index itself to the
recall asked for and kept in what the index says of itself, and the recall measured."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.errors import WrongUse
from umekomi.indexes.adapters.base import Adapter
from umekomi.indexes.kinds import Exact, Hnsw, Kind, make_kind
from umekomi.indexes.scans import assured, found_of, recall_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.indexes.scans import Ranking

LEAST = 1000
"""Rows below which nothing is tuned: a walk meets most of them."""


class WalkingAdapter(Adapter):
    """An index in a database that may walk a graph."""

    efforts: ClassVar[tuple[int, ...]] = (40, 80, 160, 320, 640, 1000)
    """Candidates of a walk, of which the first that reaches the recall is kept."""

    @property
    def kind(self) -> Kind:
        """``exact``, or ``hnsw`` where the database walks a graph."""
        about = self.about.get("kind")
        if not isinstance(about, dict) or about.get("name") != "hnsw":
            return Exact()
        return make_kind("hnsw", dict(about.get("settings") or {}))

    def check(self, k: int = 10, sample: int = 200, *, seed: int = 1, queries: Any = None) -> float:
        """Recall at ``k`` of what a walk finds against a look at every row: of ``queries``, or of rows of the index,
        each without itself."""
        recall = recall_of(self._counts(k, sample, seed, queries)())
        return 1.0 if recall is None else recall

    def _effort(self, k: int) -> int:
        kind = self.kind
        return min(
            max(kind.effort if isinstance(kind, Hnsw) and kind.effort else self.efforts[0], 2 * k), self.efforts[-1]
        )

    def _tune(self, recall: float, settings: dict[str, Any]) -> None:
        """Keep the least effort that makes sure of ``recall``."""
        counts = self._counts(10, 100, 0) if len(self) >= LEAST else lambda: np.zeros((0, 2), np.int64)
        for effort in self.efforts:
            self.about = self.about | {"kind": {"name": "hnsw", "settings": settings | {"effort": effort}}}
            if assured(counts()) >= recall:
                break
        self._note({"kind": self.about["kind"]})

    def _counts(self, k: int, sample: int, seed: int, queries: Any = None) -> Callable[[], NDArray[np.int64]]:
        """What counts the neighbours found (:func:`umekomi.indexes.scans.found_of`) with the effort of the moment;
        every row is looked at here, once."""
        if queries is None:
            vectors, wanted = self._some(sample, seed), k + 1
            if len(vectors) < 2:
                raise WrongUse(f"{self.where} holds too few rows: there is nothing to check")
        else:
            vectors, wanted = self._vectors(queries, "query", "query"), k
        numbers: dict[str, int] = {}

        def ranked(*, exact: bool) -> Ranking:
            scores = np.full((len(vectors), wanted), -np.inf, np.float32)
            rows = np.full(scores.shape, -1, np.int64)
            for query, vector in enumerate(vectors):
                for place, (name, score) in enumerate(self._scored(vector, wanted, exact=exact)):
                    rows[query, place], scores[query, place] = numbers.setdefault(name, len(numbers)), score
            return rows, scores

        true = ranked(exact=True)
        own = true[0][:, 0] if queries is None else np.full(len(vectors), -1)
        return lambda: found_of(true, ranked(exact=False), own, k)

    @abstractmethod
    def _some(self, sample: int, seed: int) -> Any:
        """Up to so many stored vectors, drawn by ``seed``, float32 ``[sample, d]``."""

    @abstractmethod
    def _scored(self, vector: Any, k: int, *, exact: bool) -> list[tuple[str, float]]:
        """The ids and scores, best first, that a walk finds, or a look at every row."""
