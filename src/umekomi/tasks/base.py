"""A task judges an embedder or scorer and keeps the value of every item, so that intervals and paired differences are
resampled from the same items."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias, cast

import numpy as np

from umekomi.contracts import Vectors
from umekomi.errors import DataError, WrongUse
from umekomi.models.base import Scorer, describe
from umekomi.statistics import Interval, interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Output
    from umekomi.models.base import EmbedderBase, Scorer
    from umekomi.models.cached import EmbedderProxy


Judged: TypeAlias = "EmbedderBase | Scorer"
"""What a task judges."""


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


def own_role(model: EmbedderBase, role: str) -> str | None:
    """``role`` where the model has a prompt of its own for it, else None: a task asks for no role a model does not
    know."""
    return role if role in getattr(model, "roles", ()) else None


def vectors_of(model: EmbedderBase, items: Sequence[Any], role: str | None, batch_size: int, progress: bool) -> Output:
    """What ``model`` makes of ``items``, every number of it finite: a vector with NaN is no hit for any query, and its
    model would be judged as a bad one where it is a broken one."""
    vectors = model.encode(list(items), role=role, batch_size=batch_size, progress=progress)
    starts: NDArray[np.integer] | None
    if isinstance(vectors, Vectors):
        numbers, starts = vectors.flat, vectors.offsets
    elif not isinstance(vectors, np.ndarray):
        numbers, starts = vectors.data, vectors.indptr
    else:
        numbers, starts = vectors, None
    if not np.isfinite(numbers).all():
        bad = int(np.argwhere(~np.isfinite(np.asarray(numbers)))[0][0])
        if starts is not None:
            bad = int(np.searchsorted(starts, bad, side="right")) - 1
        name = getattr(model, "name", "the model")
        raise DataError(
            f"{name} gives a vector with NaN or infinity for {str(items[bad])[:60]!r}: its weights, or what it "
            "was learned from, are broken"
        )
    return vectors


def count_of(count: int, what: str, many: str = "") -> str:
    """A number and its noun.

    >>> count_of(1, "query", "queries"), count_of(2000, "text")
    ('1 query', '2,000 texts')
    """
    return f"{count:,} {what if count == 1 else many or what + 's'}"


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

    def evaluate(self, model: Judged | EmbedderProxy, *, batch_size: int = 32, progress: bool = False) -> Result:
        """Judge ``model``; its own prompts and its own ``similarity`` are used. Data on which every model would get the
        same figure, and a model whose figure is no number, are errors."""
        self.check()
        if not self.scores_pairs and isinstance(model, Scorer):
            raise WrongUse(f"{self.name} judges embedders; {describe(model)}")
        result = self._evaluate(cast("EmbedderBase", model), batch_size, progress)
        if not math.isfinite(result.value):
            raise DataError(f"{self.name}: the {result.metric} of {model.name} is no number: {self._undefined(result)}")
        return result

    def check(self) -> None:  # noqa: B027 - a task without data of its own has nothing to check
        """One error for data that cannot be judged on: missing values, or nothing that tells a good model from a bad
        one."""

    def edition(self) -> list[str]:
        """What sets figures on these data apart from those that earlier versions gave; empty where they agree."""
        return []

    @abstractmethod
    def _evaluate(self, model: EmbedderBase, batch_size: int, progress: bool) -> Result:
        """Judge ``model`` on data that :meth:`check` has seen; a scorer too, where :attr:`scores_pairs` says so."""

    def _undefined(self, result: Result) -> str:
        """Why the main figure is no number."""
        values = result.main.values
        if values.ndim == 2 and len(values) and np.ptp(values[:, 1]) == 0:
            return f"it gives all {len(values):,} pairs the same score, {values[0, 1]:g}"
        return f"found {result.value} from {count_of(len(values), 'value')}"

    @abstractmethod
    def size(self) -> Mapping[str, int]:
        """How much is judged on: ``{"queries": 300, "documents": 5183}``."""
