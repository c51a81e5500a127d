"""A task judges an embedder or scorer and keeps the value of every item, so that intervals and paired differences are
resampled from the same items."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from umekomi.statistics import Interval, interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Score(NamedTuple):
    """The value of every item, ``[n]`` or ``[n, k]``, and the name of the statistic that makes one figure of them."""

    values: NDArray[np.float64]
    statistic: str = "mean"

    def interval(self) -> Interval:
        """The figure with its 95 % bootstrap interval over items."""
        return interval(self.values, self.statistic)

    @property
    def value(self) -> float:
        """The figure alone."""
        from umekomi.statistics import STATISTICS

        return STATISTICS[self.statistic](self.values)


def own_role(model: Any, role: str) -> str | None:
    """``role`` where the model has a prompt of its own for it, else None: a task asks for no role a model does not
    know."""
    return role if role in getattr(model, "roles", ()) else None


@dataclass(frozen=True)
class Result:
    """What a task found: scores by metric, the main one first."""

    task: str
    scores: Mapping[str, Score]
    notes: tuple[str, ...] = ()
    hits: Mapping[str, Any] = field(default_factory=dict)
    """Retrieval: for each query id the best document ids and their scores."""

    @property
    def metric(self) -> str:
        """The main metric."""
        return next(iter(self.scores))

    @property
    def main(self) -> Score:
        """The main metric's score."""
        return self.scores[self.metric]

    @property
    def value(self) -> float:
        """The main figure."""
        return self.main.value

    def rows(self) -> list[tuple[str, float, float, float]]:
        """(metric, value, low, high), the main metric first."""
        return [(metric, *score.interval()) for metric, score in self.scores.items()]


class Task(ABC):
    """Data and a way to judge on it. ``kind`` is the name of the way, ``shapes`` the shapes of data it takes."""

    kind: ClassVar[str]
    shapes: ClassVar[tuple[str, ...]]
    scores_pairs: ClassVar[bool] = False
    """Whether a scorer can be judged too."""
    name: str

    @abstractmethod
    def evaluate(self, model: Any, *, batch_size: int = 32, progress: bool = False) -> Result:
        """Judge ``model``; its own prompts and its own ``similarity`` are used."""

    @abstractmethod
    def size(self) -> Mapping[str, int]:
        """How much is judged on: ``{"queries": 300, "documents": 5183}``."""
