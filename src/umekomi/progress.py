"""One way to show a long job: what, how far, how fast, how long still. Drawn on standard error, only on a terminal
or when asked; a pipe gets a line every ten seconds instead of a redrawn bar."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from umekomi.errors import without_passwords


class Progress:
    """``with Progress("encoding", total=n, unit="texts") as bar: bar.advance(64)``."""

    def __init__(
        self, what: str, total: int | None = None, unit: str = "items", show: bool = True, done: int = 0
    ) -> None:
        self.what, self.total, self.unit, self.show = what, total, unit, show
        self.start = time.monotonic()
        self.count = self.begun_at = done
        self._said = self.start
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self.show and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            self._bar = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,.0f}/{task.fields[goal]} {task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            goal = f"{self.total:,}" if self.total is not None else "?"
            self._task = self._bar.add_task(self.what, total=self.total, completed=self.count, goal=goal, rate="")
            self._bar.start()
        return self

    @property
    def rate(self) -> float:
        """Items a second since the start."""
        return (self.count - self.begun_at) / max(time.monotonic() - self.start, 1e-9)

    def advance(self, by: int = 1) -> None:
        """``by`` more items are done."""
        self.count += by
        if not self.show:
            return
        rate = f"{self.rate:,.0f} {self.unit}/s" if self.rate >= 10 else f"{self.rate:.1f} {self.unit}/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=self.count, rate=rate)
        elif time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            left = ""
            if self.total is not None and self.rate > 0:
                left = f", {(self.total - self.count) / self.rate:,.0f} s left"
            goal = f"/{self.total:,}" if self.total is not None else ""
            print(f"{self.what}: {self.count:,}{goal} ({rate}{left})", file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def say(line: str) -> None:
    """One line to the user, on standard error, so that standard output stays the result; without the passwords of
    addresses."""
    print(without_passwords(line), file=sys.stderr, flush=True)
