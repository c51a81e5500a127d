"""One run of a recipe: who learns, by which seed, where an interrupted one leaves what the next picks up, and whether
its progress is shown. Every learner of :mod:`umekomi.parts.learning` takes it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from umekomi.progress import Progress


@dataclass(frozen=True)
class Run:
    """``who`` names the recipe in progress and errors; ``checkpoint`` is a folder or None."""

    who: str
    seed: int = 0
    checkpoint: Path | None = None
    progress: bool = False

    def stage(self, name: str) -> Run:
        """The same run in one of its stages: named so, its checkpoints in a folder of their own.

        >>> Run("ruri", checkpoint=Path("c")).stage("weak").checkpoint.as_posix()
        'c/weak'
        """
        return dataclasses.replace(self.at(name), who=f"{self.who}, {name}")

    def at(self, folder: str) -> Run:
        """The same run with its checkpoints in a folder below its own."""
        return dataclasses.replace(self, checkpoint=None if self.checkpoint is None else self.checkpoint / folder)

    def several(self, count: int) -> list[Run]:
        """So many runs of one recipe, each with a seed and checkpoints of its own."""
        return [
            dataclasses.replace(self.stage(f"run {number + 1} of {count}"), seed=self.seed + number)
            for number in range(count)
        ]

    def bar(self, total: int | None, unit: str, done: int = 0) -> Progress:
        """A bar with rate and remaining time (where ``total`` is known), shown where this run shows progress."""
        return Progress(self.who, total, unit, self.progress, done=done)

    def generator(self, *keys: int) -> np.random.Generator:
        """Random numbers of this seed and these keys (an epoch, a thread): the same again for the same keys.

        >>> run = Run("near2", seed=7)
        >>> bool(run.generator(1).random() == run.generator(1).random() != run.generator(2).random())
        True
        """
        return np.random.default_rng([self.seed & 0xFFFFFFFF, *keys])
