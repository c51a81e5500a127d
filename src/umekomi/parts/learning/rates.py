"""Learning-rate rules of the papers. A rule is a pure function of where training stands: it gives the factor of the
optimiser's own rate, or None to end the training. It remembers nothing, so an interrupted run needs nothing of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from umekomi.errors import WrongUse


@dataclass(frozen=True)
class Moment:
    """Where training stands: step ``step`` of ``steps`` (None: not known beforehand) in epoch ``epoch`` of ``epochs``,
    both from 0; ``rate`` is the optimiser's own, ``values`` what validation gave after each epoch so far, turned so
    that higher is better."""

    epoch: int
    epochs: int
    step: int
    steps: int | None
    rate: float
    values: Sequence[float] = ()

    @property
    def share(self) -> float:
        """How much of the training lies behind, 0 to 1."""
        if self.steps is None:
            raise WrongUse("this learning-rate rule needs batches whose number is known: expected a sequence an epoch")
        return (self.epoch + self.step / self.steps) / self.epochs


Rule = Callable[[Moment], float | None]


@dataclass(frozen=True)
class Plateau:
    """Divide by ``divide`` after each epoch whose validation does not rise above the best before it, and multiply by
    ``decay`` with every epoch; end where such a division leaves a rate below ``least``. The defaults are InferSent's
    (Conneau+ 2017, its training script), for SGD at 0.1.

    >>> rule = Plateau()
    >>> [round(rule(Moment(epoch, 9, 0, 1, 0.1, [0.5, 0.6, 0.6][:epoch])), 4) for epoch in range(4)]
    [1.0, 0.99, 0.9801, 0.1941]
    """

    divide: float = 5.0
    decay: float = 0.99
    least: float = 1e-5

    def __call__(self, at: Moment) -> float | None:
        if len(at.values) < at.epoch:
            raise WrongUse("learning-rate rule Plateau: expected validation after each epoch, found none")
        failed = [epoch > 0 and value <= max(at.values[:epoch]) for epoch, value in enumerate(at.values[: at.epoch])]
        divided = self.divide ** -sum(failed)
        if failed and failed[-1] and at.rate * divided * self.decay ** (at.epoch - 1) < self.least:
            return None
        return divided * self.decay**at.epoch


@dataclass(frozen=True)
class Decay:
    """Multiply by ``factor`` with every epoch from epoch ``start`` on (from 0).

    >>> [Decay(0.5, start=2)(Moment(epoch, 5, 0, 1, 1.0)) for epoch in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.125]
    """

    factor: float
    start: int = 1

    def __call__(self, at: Moment) -> float:
        return self.factor ** max(0, at.epoch - self.start + 1)


@dataclass(frozen=True)
class Warmup:
    """Rise in a straight line over the first ``share`` of all steps, then fall to zero in a ``"linear"`` or
    ``"cosine"`` way, or stay (``"constant"``).

    >>> rule = Warmup(0.5)
    >>> [rule(Moment(0, 1, step, 8, 1.0)) for step in (0, 1, 3, 4, 6)]
    [0.25, 0.5, 1.0, 1.0, 0.5]
    """

    share: float = 0.1
    then: Literal["linear", "cosine", "constant"] = "linear"

    def __call__(self, at: Moment) -> float:
        done = at.share
        if done < self.share:
            assert at.steps is not None  # what at.share asked for
            return min(1.0, (done + 1 / (at.steps * at.epochs)) / self.share)
        left = (1 - done) / (1 - self.share) if self.share < 1 else 1.0
        if self.then == "cosine":
            return 0.5 - 0.5 * math.cos(math.pi * left)
        return left if self.then == "linear" else 1.0
