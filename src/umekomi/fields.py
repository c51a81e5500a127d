"""Legal values as a type says them: ``Literal`` for a closed choice, ``Annotated`` with :class:`AtLeast`,
:class:`Above` or :class:`Within` for a range. Declared with the fields of a dataclass and checked when one is made;
:mod:`umekomi.limits` declares those of the verbs. Help, documentation and type checkers read the same declaration.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import types
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from umekomi.errors import WrongUse


class Range(Protocol):
    """A range of numbers: what it holds, and how it is called in an error."""

    def holds(self, value: float) -> bool:
        """Is this value in the range?"""

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class AtLeast:
    """``low`` or more."""

    low: float

    def holds(self, value: float) -> bool:
        return value >= self.low

    def __str__(self) -> str:
        return f"{_shown(self.low)} or more"


@dataclass(frozen=True)
class Above:
    """More than ``low``."""

    low: float = 0

    def holds(self, value: float) -> bool:
        return value > self.low

    def __str__(self) -> str:
        return f"a number above {'zero' if self.low == 0 else _shown(self.low)}"


@dataclass(frozen=True)
class Within:
    """From ``low`` to ``high``; ``ends`` says which of them are in it, as in mathematics: ``"[)"`` holds ``low`` only.

    >>> Within(0, 1).holds(1), Within(0, 1, "[]").holds(1), str(Within(0, 1))
    (False, True, '0 or more and less than 1')
    """

    low: float
    high: float
    ends: Literal["[)", "[]", "(]", "()"] = "[)"

    def holds(self, value: float) -> bool:
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        return above and (value <= self.high if self.ends[1] == "]" else value < self.high)

    def __str__(self) -> str:
        low, high = _shown(self.low), _shown(self.high)
        if self.ends == "[]":
            return f"a number from {low} to {high}"
        low = f"{low} or more" if self.ends[0] == "[" else f"more than {low}"
        return f"{low} and {'at most' if self.ends[1] == ']' else 'less than'} {high}"


def _shown(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


@cache
def declared(kind: type) -> dict[str, Any]:
    """The declared type of every field, ``Annotated`` and ``Literal`` as they stand."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def check_fields(made: object, who: str) -> None:
    """One error for the first field whose value is none of those that its declaration allows.

    >>> @dataclass
    ... class Recipe:
    ...     epochs: Annotated[int, AtLeast(1)] = 1
    >>> check_fields(Recipe(-1), "near2")
    Traceback (most recent call last):
    umekomi.errors.WrongUse: near2, epochs: expected 1 or more, found -1
    """
    kind: Any = type(made)
    for name, hint in declared(kind).items():
        value = getattr(made, name)
        expected = problem(value, hint)
        if expected is not None:
            raise WrongUse(f"{who}, {name}: expected {expected}, found {value!r}")


def problem(value: object, hint: Any) -> str | None:
    """What was expected, where ``value`` is none of it; else None."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        expected = problem(value, inner[0])
        if expected is not None:
            return describe(hint)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        return next((str(each) for each in inner[1:] for number in numbers if not each.holds(number)), None)
    if origin is Literal:
        return (
            None
            if any(value is each or (type(value) is type(each) and value == each) for each in inner)
            else (describe(hint))
        )
    if origin in (Union, types.UnionType):
        return None if any(problem(value, each) is None for each in inner) else describe(hint)
    if origin is tuple:
        if not isinstance(value, tuple):
            return describe(hint)
        kinds = (inner[0],) * len(value) if len(inner) == 2 and inner[1] is Ellipsis else inner
        fits = len(kinds) == len(value) and all(problem(*each) is None for each in zip(value, kinds, strict=True))
        return None if fits else describe(hint)
    if hint is None or hint is type(None):
        return None if value is None else "none"
    if hint is float:
        fits = _is_number(value)
    elif hint is int:
        fits = _is_whole(value)
    else:
        fits = not isinstance(hint, type) or isinstance(value, hint)
    return None if fits else describe(hint)


def worded(value: object, hint: Any) -> object:
    """The value, or the word for None where the declaration has a word ``none`` and no None: text that says none
    (``--set merge=none``) is read as None before anybody asks what it is for.

    >>> worded(None, Literal["slerp", "none"]), worded(None, int | None)
    ('none', None)
    """
    return "none" if value is None and problem(None, hint) is not None and problem("none", hint) is None else value


def _is_number(value: Any) -> bool:
    """A finite number of Python's or NumPy's; true and false are none."""
    if isinstance(value, (bool, str, bytes)) or type(value).__name__ == "bool":  # NumPy's
        return False
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        return False


def _is_whole(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def describe(hint: Any) -> str:
    """A declaration in words.

    >>> describe(Annotated[int, AtLeast(2)]), describe(Literal["ball", "lorentz"]), describe(tuple[int, ...])
    ('a whole number, 2 or more', 'one of ball, lorentz', 'a tuple of whole numbers')
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        said = describe(inner[0])
        for each in map(str, inner[1:]):
            said += f" {each.removeprefix('a number ')}" if each.startswith("a number ") else f", {each}"
        return said
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, types.UnionType):
        return " or ".join(describe(each) for each in inner)
    if origin is tuple:
        if len(inner) == 2 and inner[1] is Ellipsis:
            return {int: "a tuple of whole numbers", float: "a tuple of numbers", str: "a tuple of texts"}.get(
                inner[0], f"several, each {describe(inner[0])}"
            )
        return f"{len(inner)} values ({', '.join(describe(each) for each in inner)})"
    if hint is None or hint is type(None):
        return "none"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )
