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
from umekomi.models.base import EmbedderBase, Saved, Sort, describe, sort_of
from umekomi.progress import Progress
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


SCORED_AT_ONCE = 2048
"""Pairs that a scorer is asked for in one call: between calls progress is shown, and what is finished can be kept."""


def scores_of(
    model: Any, a: Sequence[Any], b: Sequence[Any], condition: Sequence[str] | None = None, progress: bool = False
) -> NDArray[np.float64]:
    """A scorer's score of every pair ``a[i]``, ``b[i]``, float64 ``[n]``."""
    import numpy as np

    out, end = np.zeros(len(a)), 0
    with Progress(model.name, len(a), "pairs", progress) as bar:
        while end < len(a):
            start, end = end, min(end + SCORED_AT_ONCE, len(a))
            while model.by_query and end < len(a) and a[end] == a[end - 1]:
                end += 1
            part = slice(start, end)
            out[part] = model.score(a[part], b[part], condition=None if condition is None else condition[part])
            bar.advance(len(a[part]))
    return out


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
    judges: ClassVar[tuple[Sort, ...]] = ("embedder",)
    """Which models can be judged on it."""
    name: str

    def evaluate(self, model: Saved | EmbedderProxy, *, batch_size: int = 32, progress: bool = False) -> Result:
        """Judge ``model``; its own prompts and its own ``similarity`` are used. Data on which every model would get the
        same figure, and a model whose figure is no number, are errors."""
        self.check()
        refused = self.refuses(sort_of(model))
        if refused:
            raise WrongUse(f"{self.name}: {refused}; {describe(model)}")
        result = self._evaluate(cast("EmbedderBase", model), batch_size, progress)
        if not math.isfinite(result.value):
            raise DataError(f"{self.name}: the {result.metric} of {model.name} is no number: {self._undefined(result)}")
        return result

    def refuses(self, sort: Sort | None) -> str:
        """Empty where models of this sort can be judged; else what can be: ``similarity judges embedders and
        scorers``."""
        return "" if sort in self.judges else f"{self.kind} judges {' and '.join(f'{each}s' for each in self.judges)}"

    def check(self) -> None:  # noqa: B027 - a task without data of its own has nothing to check
        """One error for data that cannot be judged on: missing values, or nothing that tells a good model from a bad
        one."""

    def edition(self) -> list[str]:
        """What sets figures on these data apart from those that earlier versions gave; empty where they agree."""
        return []

    @abstractmethod
    def _evaluate(self, model: EmbedderBase, batch_size: int, progress: bool) -> Result:
        """Judge ``model`` on data that :meth:`check` has seen; a scorer too, where :attr:`judges` says so."""

    def _undefined(self, result: Result) -> str:
        """Why the main figure is no number."""
        values = result.main.values
        if values.ndim == 2 and len(values) and np.ptp(values[:, 1]) == 0:
            return f"it gives all {len(values):,} pairs the same score, {values[0, 1]:g}"
        return f"found {result.value} from {count_of(len(values), 'value')}"

    @abstractmethod
    def size(self) -> Mapping[str, int]:
        """How much is judged on: ``{"queries": 300, "documents": 5183}``."""
