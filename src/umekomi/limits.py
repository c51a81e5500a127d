"""The legal range of every number that a verb takes, declared once by the parameter's name in the words of
:mod:`umekomi.fields`: the verbs check it, from Python as from the command line, and ``--help`` shows it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar, get_args, get_origin

from umekomi.errors import WrongUse
from umekomi.fields import Above, Within, describe, problem

MOST = 2**31 - 1

Count = Annotated[int, Within(1, MOST, "[]")]
Share = Annotated[float, Within(0, 1, "[]")]
Positive = Annotated[float, Above(0)]
Seconds = Annotated[float, Within(0.001, 86_400, "[]")]
Margin = Annotated[float, Within(-MOST, MOST, "[]")]

LIMITS: dict[str, Any] = {
    "batch_size": Count,
    "beam": Annotated[int, Within(1, 10_000, "[]")],
    "bits": tuple[Count, ...],
    "body_mb": Annotated[float, Within(0.001, 100_000, "[]")],
    "budget_bytes": Positive,
    "budget_ms": Positive,
    "budget_usd": Annotated[float, Within(0, 1_000_000, "[]")],
    "chunks": tuple[Count, ...],
    "cpus": Positive,
    "depth": Count,
    "dimensions": Count,
    "dims": tuple[Count, ...],
    "drain_seconds": Annotated[int, Within(0, 86_400, "[]")],
    "duplicate": Annotated[float, Within(-1, 1_000, "[]")],
    "gpus": Annotated[float, Within(0, MOST, "[]")],
    "k": Count,
    "latency": Seconds,
    "layers": tuple[Count, ...],
    "least_cosine": Annotated[float, Within(-1, 1, "[]")],
    "margin": Margin,
    "max_queries": Count,
    "memory_gb": Annotated[float, Within(0, 1_000_000, "[]")],
    "most": Annotated[int, Within(3, MOST, "[]")],
    "negatives": Count,
    "overlap": Annotated[float, Within(0, 0.9, "[]")],
    "port": Annotated[int, Within(0, 65_535, "[]")],
    "queue_tokens": Count,
    "recall": Annotated[float, Within(0, 1, "(]")],
    "relative_margin": Margin,
    "seed": Annotated[int, Within(0, 2**32 - 1, "[]")],
    "shard_rows": Count,
    "skip": Annotated[int, Within(0, MOST, "[]")],
    "sparse": tuple[Annotated[int, Within(0, MOST, "[]")], ...],
    "target_bytes": Positive,
    "timeout": Seconds,
    "usd_per_hour": Annotated[float, Within(0, 1_000_000, "[]")],
    "views": Annotated[int, Within(2, 10_000, "[]")],
    "workers": Count,
}
"""By the parameter's name, in whatever verb it stands; a tuple: one of them or several."""

Function = TypeVar("Function", bound=Callable[..., Any])


def range_of(name: str) -> str | None:
    """What the number of this name may be, in words; None for other parameters.

    >>> range_of("seed"), range_of("bits")
    ('a whole number from 0 to 4,294,967,295', 'a whole number from 1 to 2,147,483,647')
    """
    return describe(_of_one(LIMITS[name])) if name in LIMITS else None


def _of_one(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is tuple else hint


def check(name: str, value: Any) -> None:
    """The error for a value outside the range that is declared for a parameter of this name; nothing for others, and
    for None."""
    hint = LIMITS.get(name)
    if hint is None or value is None:
        return
    one = _of_one(hint)
    if one is not hint and isinstance(value, (bool, str)):
        return  # a word instead of numbers, such as "all"
    for number in value if one is not hint and isinstance(value, Iterable) else [value]:
        if problem(number, one) is not None:
            raise WrongUse(f"expected {describe(one)}, found {number!s:.80}", parameter=name)


def checked(verb: Function) -> Function:
    """``verb``, every number that it is given checked before anything is done.

    >>> @checked
    ... def draw(most: int, seed: int = 0) -> None: ...
    >>> draw(9, seed=-1)
    Traceback (most recent call last):
    umekomi.errors.WrongUse: seed: expected a whole number from 0 to 4,294,967,295, found -1
    """
    signature = inspect.signature(verb)
    rest = next((name for name, each in signature.parameters.items() if each.kind is each.VAR_KEYWORD), None)

    @functools.wraps(verb)
    def run(*arguments: Any, **options: Any) -> Any:
        given = dict(signature.bind(*arguments, **options).arguments)
        for name, value in (given | given.pop(rest, {}) if rest else given).items():
            check(name, value)
        return verb(*arguments, **options)

    return run  # type: ignore[return-value]
