"""The legal range of every number that a verb takes, declared once by the parameter's name: the verbs and the command
line check the same, and ``--help`` shows it."""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from umekomi.errors import WrongUse

MOST = 2**31 - 1


@dataclass(frozen=True)
class Limit:
    """A finite number from ``low`` to ``high``; ``whole``: without a fraction; ``above``: ``low`` itself is too little;
    ``each``: one of several."""

    low: float
    high: float = math.inf
    whole: bool = False
    above: bool = False
    each: bool = False

    def __str__(self) -> str:
        what = "a whole number" if self.whole else "a finite number" if self.high == math.inf else "a number"
        if self.above:
            return f"{what} above {self.low:g}" + ("" if self.high == math.inf else f", at most {self.high:,g}")
        if self.high in (math.inf, MOST):
            return f"{what}, {self.low:g} or more"
        return f"{what} from {self.low:g} to {int(self.high) if self.whole else self.high}"

    def holds(self, value: Any) -> bool:
        """Is this a number in the range? NumPy's count as Python's; true and false are none."""
        if isinstance(value, (bool, str)):
            return False
        try:
            number = operator.index(value) if self.whole else float(value)
        except (TypeError, ValueError, OverflowError):
            return False
        if isinstance(number, float) and not math.isfinite(number):
            return False
        return (self.low < number if self.above else self.low <= number) and number <= self.high


COUNT = Limit(1, MOST, whole=True)
SHARE = Limit(0, 1)
LIMITS = {
    "batch_size": COUNT,
    "bits": Limit(1, MOST, whole=True, each=True),
    "body_mb": Limit(0.001, 1_000_000),
    "budget_bytes": Limit(0, above=True),
    "budget_ms": Limit(0, above=True),
    "depth": COUNT,
    "dimensions": COUNT,
    "dims": Limit(1, MOST, whole=True, each=True),
    "duplicate": Limit(-1, 1_000),
    "k": COUNT,
    "latency": Limit(0.001, 86_400),
    "layers": Limit(1, MOST, whole=True, each=True),
    "least_cosine": Limit(-1, 1),
    "margin": Limit(-MOST, MOST),
    "max_queries": COUNT,
    "memory_gb": Limit(0, 1_000_000),
    "most": Limit(3, MOST, whole=True),
    "negatives": COUNT,
    "port": Limit(0, 65_535, whole=True),
    "queue_tokens": COUNT,
    "recall": Limit(0, 1, above=True),
    "relative_margin": Limit(-MOST, MOST),
    "seed": Limit(0, 2**32 - 1, whole=True),
    "shard_rows": COUNT,
    "skip": Limit(0, MOST, whole=True),
    "sparse": Limit(0, MOST, whole=True, each=True),
    "target_bytes": Limit(0, above=True),
    "timeout": Limit(0.001, 86_400),
    "views": Limit(2, 10_000, whole=True),
}
"""By the parameter's name, in whatever verb it stands."""

Function = TypeVar("Function", bound=Callable[..., Any])


def check(name: str, value: Any) -> None:
    """The error for a value outside the range that is declared for a parameter of this name; nothing for others, and
    for None."""
    limit = LIMITS.get(name)
    if limit is None or value is None or (limit.each and isinstance(value, (bool, str))):
        return
    for number in value if limit.each else [value]:
        if not limit.holds(number):
            raise WrongUse(f"expected {limit}, found {number}", parameter=name)


def checked(verb: Function) -> Function:
    """``verb``, every number that it is given checked before anything is done.

    >>> @checked
    ... def draw(most: int, seed: int = 0) -> None: ...
    >>> draw(9, seed=-1)
    Traceback (most recent call last):
    umekomi.errors.WrongUse: seed: expected a whole number from 0 to 4294967295, found -1
    """
    signature = inspect.signature(verb)

    @functools.wraps(verb)
    def run(*arguments: Any, **options: Any) -> Any:
        for name, value in signature.bind(*arguments, **options).arguments.items():
            check(name, value)
        return verb(*arguments, **options)

    return run  # type: ignore[return-value]
