"""Conditions on an index's payload: ``year > 2020 and lang in ("ja", "en")``. The one parser of them: the command line,
the server and Python read a condition here, and say the same of it.

Names stand as they are, or in backticks (a backtick in a name is written twice); values are numbers, texts in quotes,
True, False and None. Dates, times and durations are texts in ISO 8601, as hits show them. A missing value (null, NaN)
is as SQL has it: compared with anything it is neither true nor false, nor is the ``not`` of that, and only what is true
is found; ``is None`` asks for it.

:func:`parse` reads a condition; :func:`mask` answers it for a table, :func:`sql` and :func:`qdrant` say it to those who
answer it.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from umekomi.errors import SHOWN, WrongUse
from umekomi.indexes.payload import DAY, NANOSECONDS, readable, type_name

LENGTH = 100_000
"""Characters of a condition: some ten thousand values behind ``in``, read in a tenth of a second."""
COMPARISONS = 500
"""Comparisons in a condition: each reads a column whole, at some milliseconds a million rows."""
DEPTH = 50
"""Brackets and ``not`` within one another: far more than anyone writes, and far from the end of Python's stack."""

DIGITS = 1_000
"""Characters of a number: 767 digits settle any double, a decimal column has 76, and exact arithmetic with tens of
thousands takes seconds."""
LARGEST = int(sys.float_info.max)
"""Numbers are those that a double holds, so that each can be compared with every column of numbers."""

_SAYS = "expected a condition such as  year > 2020 and lang in ('ja', 'en')"
_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_KERNELS = {
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}
_HINTS = {
    "=": "equality is ==",
    "&": "and is a word",
    "|": "or is a word",
    "!": "not is a word",
}


# --- what a condition is ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Where:
    """A place in the text of a condition."""

    condition: str
    at: int

    def wrong(self, message: str) -> WrongUse:
        """The error about this place: the text around it, the number of its character, and ``message``."""
        begin = max(0, self.at - 40)
        shown = self.condition[begin : begin + 80]
        cut = ("…" if begin else "", "…" if begin + 80 < len(self.condition) else "")
        place = f"character {self.at + 1}" if self.at < len(self.condition) else "its end"
        return WrongUse(f"filter {cut[0]}{shown!r}{cut[1]}, {place}: {message}")


@dataclass(frozen=True, slots=True)
class And:
    """All of ``parts``."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of ``parts`` or more."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary of ``part``; where that is unknown, unknown."""

    part: Node


@dataclass(frozen=True, slots=True)
class Missing:
    """``name is None``: no value, or NaN."""

    name: str


@dataclass(frozen=True, slots=True)
class Truth:
    """A column of truth values by its name alone."""

    name: str
    where: Where = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """``name sign value``: sign one of ``== != < <= > >=``; value a bool, int, Decimal or text."""

    sign: str
    name: str
    value: Any
    where: Where = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class In:
    """``name in values``, none of which is None; ``wheres`` are their places."""

    name: str
    values: tuple[Any, ...]
    wheres: tuple[Where, ...] = field(repr=False, compare=False)


Node = And | Or | Not | Missing | Truth | Compare | In


# --- reading ---------------------------------------------------------------------------------------------------------

_SPACE = re.compile(r"\s*")
# as far as digits, letters and points go, so that 3x or 1.2.3 is one thing that is no number
_NUMBER = re.compile(r"(?:[0-9]|\.[0-9])(?:[eE][+-](?=[0-9])|[\w.])*")
_WHOLE = re.compile(r"0(?:_?0)*|[1-9](?:_?[0-9])*|0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+")
_FRACTION = re.compile(r"(?:(?:[0-9](?:_?[0-9])*)?\.[0-9](?:_?[0-9])*|[0-9](?:_?[0-9])*\.?)(?:[eE][+-]?[0-9]+)?")
_TEXT = re.compile(r"([rRuU]?)('[^'\\]*(?:\\.[^'\\]*)*'|\"[^\"\\]*(?:\\.[^\"\\]*)*\")", re.DOTALL)
_QUOTED = re.compile(r"`((?:[^`]|``)*)`")
_SIGN = re.compile(r"==|!=|<=|>=|[<>()\[\],+-]")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "t": "\t", "r": "\r", "0": "\0", "\n": ""}
_WORDS = {"and", "or", "not", "in", "is", "True", "False", "None"}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class _Token:
    """``kind``: name, value, sign (a word of the language or a sign), end; ``said`` is the text of it."""

    kind: str
    said: str
    value: Any
    at: int

    @property
    def shown(self) -> str:
        """As an error shows it."""
        return self.said if self.kind == "end" else repr(self.said[:SHOWN])


@dataclass(frozen=True, slots=True)
class _Operand:
    """What may stand beside a sign: a field's name, a value, or a list of values; and a condition in brackets, which
    may not. ``field`` keeps where a name stood."""

    kind: str
    found: Any
    at: int
    wheres: tuple[Where, ...] = ()


def parse(condition: str, fields: Sequence[str] | None) -> Node:
    """A condition as a tree of :class:`And`, :class:`Or`, :class:`Not` and comparisons. Names must be among
    ``fields``, where they are known. Whatever else a text holds is :class:`~umekomi.errors.WrongUse`, with the place.

    >>> parse("year > 2020 and not `pub place` == 'Kyoto'", ["year", "pub place"])
    And(parts=(Compare(sign='>', name='year', value=2020),
        Not(part=Compare(sign='==', name='pub place', value='Kyoto'))))
    """
    if not isinstance(condition, str):
        raise WrongUse(f"filter: {_SAYS}, found {type(condition).__name__}")
    if len(condition) > LENGTH:
        raise WrongUse(f"filter: expected at most {LENGTH:,} characters, found {len(condition):,}")
    half = _SURROGATE.search(condition)
    if half is not None:
        raise Where(condition, half.start()).wrong("expected text, found half of a surrogate pair")
    return _Reader(condition, None if fields is None else tuple(fields)).read()


class _Reader:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, condition: str, fields: tuple[str, ...] | None) -> None:
        self.condition, self.fields = condition, fields
        self.known = None if fields is None else frozenset(fields)
        self.depth = self.comparisons = self.next = 0
        self.tokens = list(self._tokens())

    def read(self) -> Node:
        condition = self._either()
        if self.token.kind != "end":
            self._unexpected(self.token)
        return self._condition(condition)

    # tokens

    def _tokens(self) -> Iterator[_Token]:
        text, at = self.condition, 0
        while True:
            at = self._skipped(at)
            if at == len(text):
                yield _Token("end", "the end", None, at)
                return
            token, at = self._token(at)
            yield token

    def _skipped(self, at: int) -> int:
        space = _SPACE.match(self.condition, at)
        return at if space is None else space.end()

    def _token(self, at: int) -> tuple[_Token, int]:
        text = self.condition
        if match := _TEXT.match(text, at):
            prefix, said = match.groups()
            value = said[1:-1] if prefix in ("r", "R") else _ESCAPE.sub(self._escaped(match.start(2)), said[1:-1])
            if _SURROGATE.search(value):
                self._wrong(at, "expected text, found half of a surrogate pair")
            return _Token("value", match.group(), value, at), match.end()
        if match := _NUMBER.match(text, at):
            return _Token("value", match.group(), self._number(match.group(), at), at), match.end()
        if match := _QUOTED.match(text, at):
            return _Token("name", match.group(), match.group(1).replace("``", "`"), at), match.end()
        if match := _SIGN.match(text, at):
            return _Token("sign", match.group(), None, at), match.end()
        if text[at].isidentifier():
            end = at + 1
            # letter by letter: Python's own reader would fold a name to NFKC, which then is another column's
            while end < len(text) and ("a" + text[end]).isidentifier():
                end += 1
            said = text[at:end]
            if said in ("True", "False", "None"):
                return _Token("value", said, {"True": True, "False": False, "None": None}[said], at), end
            return _Token("sign" if said in _WORDS else "name", said, said, at), end
        if text[at] in "'\"`":
            self._wrong(at, f"expected a closing {text[at]}, found the end")
        hint = _HINTS.get(text[at], "a name with other signs than letters and digits stands in backticks")
        self._wrong(at, f"{_SAYS}, found {text[at]!r} ({hint})")

    def _escaped(self, start: int) -> Callable[[re.Match[str]], str]:
        def plain(match: re.Match[str]) -> str:
            sign = match.group(1)
            if sign in _ESCAPES:
                return _ESCAPES[sign]
            number = int(sign[1:], 16) if len(sign) > 1 else -1
            if not 0 <= number <= 0x10FFFF:
                self._wrong(
                    start + 1 + match.start(), f"expected an escape such as \\n or \\u3042, found {match.group()!r}"
                )
            return chr(number)

        return plain

    def _number(self, said: str, at: int) -> int | Decimal:
        digits = said.replace("_", "")
        shown = said[:SHOWN] + ("…" if len(said) > SHOWN else "")
        if len(digits) > DIGITS:
            self._wrong(at, f"expected a number of at most {DIGITS:,} digits, found {len(digits):,}: {shown}")
        if _WHOLE.fullmatch(said):
            whole = int(digits, 0)
            if whole <= LARGEST:
                return whole
        elif _FRACTION.fullmatch(said):
            if re.fullmatch("[0-9]+", digits):
                self._wrong(
                    at, f"expected a number without zeros before it, or a text or date in quotes, found {shown}"
                )
            size = float(digits)
            if size == 0:
                if re.split("[eE]", digits)[0].strip("0."):
                    self._wrong(at, f"expected 0, or a number of at least 5e-324, found {shown}")
                return Decimal(0)
            if math.isfinite(size):
                return Decimal(digits)
        else:
            self._wrong(at, f"expected a number, found {shown!r}")
        self._wrong(at, f"expected a number of at most {sys.float_info.max:.17g}, found {shown}")

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def _taken(self, *signs: str) -> _Token | None:
        token = self.token
        if token.kind == "sign" and token.said in signs:
            self.next += 1
            return token
        return None

    def _wrong(self, at: int, message: str) -> NoReturn:
        raise Where(self.condition, at).wrong(message)

    def _unexpected(self, token: _Token) -> NoReturn:
        before = self.tokens[self.next - 1] if self.next else None
        hint = ""
        if before is not None and token.said == "-" and re.fullmatch("[12][0-9]{3}", before.said):
            hint = " (a date stands in quotes)"
        elif before is not None and before.kind == token.kind == "name":
            hint = " (a name with a space stands in backticks)"
        self._wrong(token.at, f"{_SAYS}, found {token.shown}{hint}")

    # conditions

    def _deeper(self, at: int) -> None:
        self.depth += 1
        if self.depth > DEPTH:
            self._wrong(at, f"expected at most {DEPTH} brackets and nots within one another")

    def _either(self) -> _Operand:
        return self._joined("or", Or, lambda: self._joined("and", And, self._negated))

    def _joined(self, word: str, make: Callable[[tuple[Node, ...]], Node], part: Callable[[], _Operand]) -> _Operand:
        first = part()
        if not (self.token.kind == "sign" and self.token.said == word):
            return first
        parts = [self._condition(first)]
        while self._taken(word):
            parts.append(self._condition(part()))
        return _Operand("condition", make(tuple(parts)), first.at)

    def _negated(self) -> _Operand:
        token = self._taken("not")
        if token is None:
            return self._compared()
        self._deeper(token.at)
        node = Not(self._condition(self._negated()))
        self.depth -= 1
        return _Operand("condition", node, token.at)

    def _compared(self) -> _Operand:
        left = first = self._operand()
        parts: list[Node] = []
        while sign := self._comparison():
            right = self._operand()
            self.comparisons += 1
            if self.comparisons > COMPARISONS:
                self._wrong(sign.at, f"expected at most {COMPARISONS} comparisons (many values stand behind one in)")
            parts.append(self._pair(left, sign, right))
            left = right
        if not parts:
            return first
        return _Operand("condition", parts[0] if len(parts) == 1 else And(tuple(parts)), first.at)

    def _comparison(self) -> _Token | None:
        """``==`` and its like, ``in``, ``not in``, ``is``, ``is not``: a token whose text is that."""
        token = self._taken(*_TURNED, "in")
        if token is not None:
            return token
        if token := self._taken("is"):
            return _Token("sign", "is not", None, token.at) if self._taken("not") else token
        following = self.tokens[min(self.next + 1, len(self.tokens) - 1)]
        if (token := self.token).said == "not" and token.kind == "sign" and following.said == "in":
            self.next += 2
            return _Token("sign", "not in", None, token.at)
        return None

    def _operand(self) -> _Operand:
        token = self.token
        if token.kind in ("name", "value"):
            self.next += 1
            return _Operand("field" if token.kind == "name" else "value", token.value, token.at)
        if sign := self._taken("+", "-"):
            number = self.token
            if number.kind != "value" or isinstance(number.value, (bool, str)) or number.value is None:
                self._wrong(number.at, f"expected a number behind {sign.said}, found {number.shown}")
            self.next += 1
            # copy_negate: a minus sign would round to 28 digits
            value: Any = number.value
            if sign.said == "-":
                value = value.copy_negate() if isinstance(value, Decimal) else -value
            return _Operand("value", value, sign.at)
        if opened := self._taken("(", "["):
            self._deeper(opened.at)
            node = self._bracketed(opened)
            self.depth -= 1
            return node
        self._unexpected(token)

    def _bracketed(self, opened: _Token) -> _Operand:
        close = ")" if opened.said == "(" else "]"
        parts: list[_Operand] = []
        comma = False
        while not self._taken(close):
            if parts and not comma:
                self._unexpected(self.token)
            parts.append(self._either())
            comma = self._taken(",") is not None
        if opened.said == "(" and len(parts) == 1 and not comma:
            return parts[0]
        for part in parts:
            if part.kind != "value":
                self._wrong(part.at, f"expected a value, found {self._told(part)}")
        return _Operand(
            "list",
            tuple(part.found for part in parts),
            opened.at,
            tuple(Where(self.condition, part.at) for part in parts),
        )

    # what stands beside a sign

    def _told(self, part: _Operand) -> str:
        if part.kind == "field":
            return f"the name {part.found[:SHOWN]!r} (texts stand in quotes)"
        return {"value": _shown(part.found), "list": "a list", "condition": "a condition"}[part.kind]

    def _condition(self, part: _Operand) -> Node:
        if part.kind == "condition":
            return part.found  # type: ignore[no-any-return]
        if part.kind == "field":
            return Truth(self._field(part), Where(self.condition, part.at))
        return self._wrong(part.at, f"{_SAYS}, found {self._told(part)}")

    def _field(self, part: _Operand) -> str:
        if part.kind != "field":
            self._wrong(part.at, f"expected a field's name, found {self._told(part)}")
        if self.known is not None and part.found not in self.known:
            fields = self.fields or ()
            there = ", ".join(name[:SHOWN] if name.isprintable() else repr(name[:SHOWN]) for name in fields[:SHOWN])
            there += f" and {len(fields) - SHOWN} more" if len(fields) > SHOWN else ""
            self._wrong(part.at, f"this index has no field {part.found[:SHOWN]!r}; there are: {there or 'none'}")
        return part.found  # type: ignore[no-any-return]

    def _value(self, part: _Operand) -> Any:
        if part.kind != "value":
            self._wrong(part.at, f"{_SAYS}, found {self._told(part)}")
        return part.found

    def _pair(self, left: _Operand, sign: _Token, right: _Operand) -> Node:
        where = Where(self.condition, right.at)
        if sign.said in ("in", "not in"):
            if right.kind != "list":
                self._wrong(right.at, f"expected a list of values behind in, found {self._told(right)}")
            name = self._field(left)
            there = [
                (value, place) for value, place in zip(right.found, right.wheres, strict=True) if value is not None
            ]
            node: Node = In(name, tuple(value for value, _ in there), tuple(place for _, place in there))
            if len(there) < len(right.found):
                node = Or((node, Missing(name))) if there else Missing(name)
            return Not(node) if sign.said == "not in" else node
        if sign.said in ("is", "is not"):
            if right.kind != "value" or right.found is not None:
                self._wrong(right.at, f"expected None behind {sign.said}, found {self._told(right)}")
            node = Missing(self._field(left))
            return Not(node) if sign.said == "is not" else node
        turned = right.kind == "field" and left.kind != "field"
        if turned:
            left, right, where = right, left, Where(self.condition, left.at)
        name, value = self._field(left), self._value(right)
        if value is None:
            if sign.said not in ("==", "!="):
                self._wrong(
                    where.at, f"expected a value behind {sign.said}, found None (is None asks for what is missing)"
                )
            return Missing(name) if sign.said == "==" else Not(Missing(name))
        return Compare(_TURNED[sign.said] if turned else sign.said, name, value, where)


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, (str, bool, type(None))) else str(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


# --- values as a column holds them -----------------------------------------------------------------------------------

_DATE = r"([+-]?[0-9]{4,12})-([0-9]{2})-([0-9]{2})"
_CLOCK = r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
_MOMENT = re.compile(rf"{_DATE}(?:[Tt ]{_CLOCK}(?:([Zz])|([+-])([0-9]{{2}})(?::?([0-9]{{2}}))?)?)?")
_TIME = re.compile(_CLOCK)
_DURATION = re.compile(
    r"([+-]?)P(?=.)(?:([0-9]{1,15})D)?(?:T(?=.)(?:([0-9]{1,15})H)?(?:([0-9]{1,15})M)?"
    r"(?:([0-9]{1,20})(?:\.([0-9]{1,9}))?S)?)?"
)


def fit_value(sign: str, value: Any, kind: pa.DataType, name: str, where: Where) -> tuple[str, Any] | bool:
    """A comparison with a column of Arrow's type ``kind`` as a sign and a value that such a column can hold: bool, int,
    float, Decimal or text; for dates, times and durations the whole number that Arrow keeps. True or False where it is
    that for every value. What can never be compared is an error.

    An integer column holds no 2.5, so ``> 2.5`` is ``> 2``; and everything in it is below 10**30.
    """
    is_ = pa.types
    if is_.is_null(kind):
        return False
    if is_.is_boolean(kind):
        if isinstance(value, bool):
            return sign, value
    elif is_.is_integer(kind):
        if not isinstance(value, (bool, str)):
            low, high = (0 if is_.is_unsigned_integer(kind) else -(1 << kind.bit_width - 1)), (1 << kind.bit_width) - 1
            return _bounded(sign, Fraction(value), low, high if low == 0 else high >> 1)
    elif is_.is_floating(kind):
        if not isinstance(value, (bool, str)):
            return _rounded(sign, float(value), kind.bit_width)
    elif is_.is_decimal(kind):
        if not isinstance(value, (bool, str)):
            most = 10**kind.precision - 1
            found = _bounded(sign, Fraction(value) * Fraction(10) ** kind.scale, -most, most)
            if isinstance(found, bool):
                return found
            digits = tuple(int(digit) for digit in str(abs(found[1])))
            return found[0], Decimal((int(found[1] < 0), digits, -kind.scale))
    elif is_.is_string(kind) or is_.is_large_string(kind):
        if isinstance(value, str):
            return sign, value
    elif is_.is_temporal(kind) and not is_.is_interval(kind):
        nanoseconds = _nanoseconds(value, kind, where) if isinstance(value, str) else None
        if nanoseconds is not None:
            unit = DAY if is_.is_date(kind) else NANOSECONDS[kind.unit]
            bits = 32 if is_.is_date32(kind) or is_.is_time32(kind) else 64
            return _bounded(sign, Fraction(nanoseconds, unit), -(1 << bits - 1), (1 << bits - 1) - 1)
    raise where.wrong(f"{_shown(value)} does not fit {name[:SHOWN]!r}, which holds {_holds(kind)}")


def _bounded(sign: str, value: Fraction, low: int, high: int) -> tuple[str, int] | bool:
    """A comparison among whole numbers from ``low`` to ``high``."""
    down = math.floor(value)
    if down < low:
        return sign in (">", ">=", "!=")
    if down > high:
        return sign in ("<", "<=", "!=")
    return _beside(sign, down, exact=down == value)


def _rounded(sign: str, value: float, bits: int) -> tuple[str, float] | bool:
    """A comparison among floating numbers of so many bits: the literal is read in the column's own precision, as NumPy
    does, so that 0.1 finds what was written as 0.1."""
    if bits == 64:
        return sign, value
    kind = np.float16 if bits == 16 else np.float32
    with np.errstate(over="ignore"):
        near = float(kind(value))
    if math.isfinite(near):
        return sign, near
    # beyond the largest: only an infinity lies there
    return _beside(sign, float(np.finfo(kind).max) if value > 0 else -math.inf, exact=False)


def _beside(sign: str, down: Any, *, exact: bool) -> tuple[str, Any] | bool:
    """A comparison with a value of which ``down`` is the largest below it that the column can hold, or itself."""
    if exact:
        return sign, down
    if sign in ("==", "!="):
        return sign == "!="
    return ("<=" if sign in ("<", "<=") else ">"), down


def _holds(kind: pa.DataType) -> str:
    is_ = pa.types
    said = type_name(kind)
    for one, words in (
        (is_.is_boolean, "truth values: expected True or False"),
        (is_.is_integer, "whole numbers: expected a number"),
        (is_.is_floating, "numbers: expected a number"),
        (is_.is_decimal, "numbers: expected a number"),
        (is_.is_date, "dates: expected a text such as '2024-01-15'"),
        (is_.is_time, "times of day: expected a text such as '12:30:00'"),
        (is_.is_duration, "durations: expected a text such as 'P1DT2H30M'"),
    ):
        if one(kind):
            return f"{words} ({said})"
    if is_.is_timestamp(kind):
        zone = "2024-01-15T12:30:00" if kind.tz is None else "2024-01-15T12:30:00+09:00"
        return f"times{' without a zone' if kind.tz is None else ''}: expected a text such as {zone!r} ({said})"
    if is_.is_string(kind) or is_.is_large_string(kind):
        return f"text: expected a text in quotes ({said})"
    return f"{said}: such a field can only be asked for by is None"


def _nanoseconds(text: str, kind: pa.DataType, where: Where) -> int | None:
    """An ISO date, time or duration in nanoseconds, since 1970 or midnight; None where it is none that such a column
    could be compared with."""
    if pa.types.is_duration(kind):
        match = _DURATION.fullmatch(text)
        if match is None:
            return None
        sign, days, hours, minutes, seconds, part = match.groups()
        whole = int(days or 0) * 86_400 + int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
        return (-1 if sign == "-" else 1) * (whole * NANOSECONDS["s"] + int((part or "").ljust(9, "0")))
    if pa.types.is_time(kind):
        match = _TIME.fullmatch(text)
        return None if match is None else _clock(*match.groups())
    moment = _moment(text)
    if moment is None:
        return None
    nanoseconds, offset = moment
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    if zone is None:
        return nanoseconds if offset is None else None
    return nanoseconds - (_offset(nanoseconds, zone, where) if offset is None else offset)


def _moment(text: str) -> tuple[int, int | None] | None:
    """(nanoseconds since 1970 on its own clock, its zone's offset in nanoseconds) of an ISO date or date and time."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, part, utc, sign, hours, minutes = match.groups()
    try:
        days = int(np.datetime64(f"{year.removeprefix('+')}-{month}-{day}", "D").astype(np.int64))
    except ValueError:
        return None
    clock = 0 if hour is None else _clock(hour, minute, second, part)
    if clock is None or int(hours or 0) > 23 or int(minutes or 0) > 59:
        return None
    offset = None
    if utc or sign:
        seconds = int(hours or 0) * 3600 + int(minutes or 0) * 60
        offset = (-seconds if sign == "-" else seconds) * NANOSECONDS["s"]
    return days * DAY + clock, offset


def _clock(hour: str, minute: str, second: str | None, part: str | None) -> int | None:
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
        return None
    seconds = int(hour) * 3600 + int(minute) * 60 + int(second or 0)
    return seconds * NANOSECONDS["s"] + int((part or "").ljust(9, "0"))


def _offset(nanoseconds: int, zone: str, where: Where) -> int:
    """How far a zone's clock, which shows ``nanoseconds`` since 1970, is ahead of UTC's, in nanoseconds; of two such
    moments the first."""
    try:
        shown = datetime(1970, 1, 1) + timedelta(seconds=nanoseconds // NANOSECONDS["s"])
        ahead = pa.lib.string_to_tzinfo(zone).utcoffset(shown)
    except (ValueError, OverflowError, KeyError, OSError, pa.ArrowException):
        raise where.wrong(
            f"expected a time with its zone, such as 2024-01-15T12:30:00Z, for a column in {zone!r}"
        ) from None
    return round(ahead / timedelta(microseconds=1)) * 1000


# --- for a table -----------------------------------------------------------------------------------------------------


def mask(part: Node, table: pa.Table) -> np.ndarray:
    """Which rows of a table meet a condition: bool ``[rows]``. A column that it lacks is missing in every row."""
    try:
        passing = _Masks(table).of(part)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        # a type that an index of an earlier version took
        raise WrongUse(f"filter: it does not fit this index's fields: {str(error).splitlines()[0][:200]}") from None
    return passing.fill_null(False).to_numpy()  # type: ignore[no-any-return]


class _Masks:
    """Conditions over one table: Arrow arrays of true, false and null, which is unknown."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.columns: dict[str, Any] = {}

    def column(self, name: str) -> pa.ChunkedArray:
        """A column that Arrow's kernels take, with null for NaN."""
        if name not in self.columns:
            column = self.table[name] if name in self.table.column_names else None
            if column is None:
                column = pa.chunked_array([pa.nulls(len(self.table))])
            if not pa.types.is_nested(column.type) or pa.types.is_run_end_encoded(column.type):
                column = readable(column)
            if pa.types.is_floating(column.type):
                nan = pc.is_nan(column)
                if pc.any(nan).as_py():
                    column = pc.if_else(nan, pa.scalar(None, column.type), column)
            self.columns[name] = column
        return self.columns[name]

    def of(self, part: Node) -> pa.ChunkedArray:
        """A condition's answer for every row."""
        match part:
            case And(parts) | Or(parts):
                join = pc.and_kleene if isinstance(part, And) else pc.or_kleene
                passing = self.of(parts[0])
                for each in parts[1:]:
                    passing = join(passing, self.of(each))
                return passing
            case Not(inner):
                return pc.invert(self.of(inner))
            case Missing(name):
                return self.column(name).is_null()
            case Truth(name, where):
                column = self.column(name)
                if pa.types.is_null(column.type):
                    return column.cast(pa.bool_())
                if not pa.types.is_boolean(column.type):
                    raise where.wrong(f"expected a comparison: {name[:SHOWN]!r} holds {_holds(column.type)}")
                return column
            case Compare(sign, name, value, where):
                column = self.column(name)
                passing = fit_value(sign, value, column.type, name, where)
                if isinstance(passing, bool):
                    return self.every(column, passing)
                column = _numbers(column)
                return getattr(pc, _KERNELS[passing[0]])(column, pa.scalar(passing[1], column.type))
            case In(name, values, wheres):
                return self.among(name, values, wheres)

    def among(self, name: str, values: tuple[Any, ...], wheres: tuple[Where, ...]) -> pa.ChunkedArray:
        """``in``; nothing is in an empty list, not even what is missing."""
        column = self.column(name)
        if not values:
            return pc.if_else(column.is_null(), False, False)
        each = [fit_value("==", value, column.type, name, where) for value, where in zip(values, wheres, strict=True)]
        kept = [member[1] for member in each if not isinstance(member, bool)]
        if not kept:
            return self.every(column, False)
        column = _numbers(column)
        if pa.types.is_floating(column.type) and 0 in kept:
            kept += [0.0, -0.0]  # equal, but not to is_in
        member = pc.is_in(column, value_set=pa.array(kept, column.type))
        return pc.if_else(column.is_valid(), member, pa.scalar(None, pa.bool_())) if column.null_count else member

    def every(self, column: pa.ChunkedArray, answer: bool) -> pa.ChunkedArray:
        """The same answer for every value that is there."""
        return pc.if_else(column.is_valid(), answer, pa.scalar(None, pa.bool_()))


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates, times and durations as the whole numbers that Arrow keeps, dates in days."""
    kind = column.type
    if not pa.types.is_temporal(kind):
        return column
    if pa.types.is_date64(kind):
        return pc.divide(column.cast(pa.int64()), 86_400_000)
    return column.cast(pa.int32() if pa.types.is_date32(kind) or pa.types.is_time32(kind) else pa.int64())


# --- for databases ---------------------------------------------------------------------------------------------------


class Dialect(NamedTuple):
    """How a database's SQL writes a column's name, and a value of :func:`fit_value`'s for a column of some type."""

    name: Callable[[str], str]
    literal: Callable[[Any, pa.DataType, str, Where], str]


def sql(part: Node, schema: pa.Schema | None = None, dialect: Dialect | None = None) -> str:
    """As a SQL condition (DataFusion's, for LanceDB, or another ``dialect``'s); values are written as the columns of
    ``schema`` hold them, where it is known.

    >>> sql(parse("year > 2020 and name != \\"it's\\"", None))
    "(`year` > 2020 AND `name` <> 'it''s')"
    """
    named, literal = dialect or DATAFUSION
    match part:
        case And(parts) | Or(parts):
            return "(" + f" {type(part).__name__.upper()} ".join(sql(each, schema, dialect) for each in parts) + ")"
        case Not(inner):
            return f"(NOT {sql(inner, schema, dialect)})"
        case Missing(name):
            return f"({named(name)} IS NULL)"
        case Truth(name, where):
            if schema is not None and not _boolean(schema.field(name).type):
                raise where.wrong(f"expected a comparison: {name[:SHOWN]!r} holds {_holds(schema.field(name).type)}")
            return named(name)
        case Compare(sign, name, value, where):
            found = (sign, value) if schema is None else fit_value(sign, value, schema.field(name).type, name, where)
            if isinstance(found, bool):
                return _always(named(name), found)
            written = quoted(found[1]) if schema is None else literal(found[1], schema.field(name).type, name, where)
            return f"{named(name)} { {'==': '=', '!=': '<>'}.get(found[0], found[0]) } {written}"
        case In(name, values, wheres):
            if not values:
                return "(1 = 0)"
            if schema is None:
                return f"({named(name)} IN ({', '.join(quoted(value) for value in values)}))"
            kind = schema.field(name).type
            listed = []
            for value, where in zip(values, wheres, strict=True):
                found = fit_value("==", value, kind, name, where)
                if not isinstance(found, bool):
                    listed.append(literal(found[1], kind, name, where))
            return f"({named(name)} IN ({', '.join(listed)}))" if listed else _always(named(name), False)


def _always(written: str, answer: bool) -> str:
    """True, or false, for every value of a column that is there, and unknown for what is missing."""
    return f"({written} IS NOT NULL OR NULL)" if answer else f"({written} IS NULL AND NULL)"


def _boolean(kind: pa.DataType) -> bool:
    return pa.types.is_boolean(kind) or pa.types.is_null(kind)


def _name(name: str) -> str:
    if "`" in name or "." in name:
        raise WrongUse(f"filter: LanceDB takes no names with a backtick or a point, found {name[:SHOWN]!r}")
    return f"`{name}`"


def _literal(value: Any, kind: pa.DataType, name: str, where: Where) -> str:
    """A value of :func:`fit_value`'s as DataFusion writes one of this type."""
    if pa.types.is_decimal(kind):
        return f"CAST('{value:f}' AS DECIMAL({kind.precision}, {kind.scale}))"
    if pa.types.is_date(kind):
        return f"date '{np.datetime64(value, 'D')}'"
    if pa.types.is_timestamp(kind):
        return f"timestamp '{np.datetime64(value, kind.unit)}{'' if kind.tz is None else 'Z'}'"
    if pa.types.is_temporal(kind):
        raise where.wrong(f"LanceDB compares no {type_name(kind)}, which {name[:SHOWN]!r} holds")
    return quoted(value)


def _postgres_literal(value: Any, kind: pa.DataType, name: str, where: Where) -> str:
    """A value of :func:`fit_value`'s as PostgreSQL writes one of this type. Texts stand in plain quotes, in which a
    backslash is a backslash (standard_conforming_strings, which the connection sets)."""
    is_ = pa.types
    if is_.is_decimal(kind):
        return f"'{value:f}'::numeric"
    if is_.is_floating(kind):
        return f"'{value!r}'::{'real' if is_.is_float32(kind) else 'double precision'}"
    if is_.is_integer(kind):
        return f"'{value}'::numeric" if is_.is_uint64(kind) else str(value)
    if is_.is_date(kind) or is_.is_timestamp(kind):
        moment = np.datetime64(value, "D" if is_.is_date(kind) else kind.unit)
        if not np.datetime64("0001-01-01") <= moment < np.datetime64("10000-01-01"):
            raise where.wrong("expected a date or time from the year 1 to 9999 for PostgreSQL")
        as_type = "date" if is_.is_date(kind) else "timestamp" if kind.tz is None else "timestamptz"
        return f"'{moment}{'+00' if as_type == 'timestamptz' else ''}'::{as_type}"
    if is_.is_time(kind):
        clock = np.datetime64(value, kind.unit)
        if not 0 <= value < DAY // NANOSECONDS[kind.unit]:
            raise where.wrong("expected a time of day for PostgreSQL")
        return f"'{str(clock).partition('T')[2]}'::time"
    if is_.is_duration(kind):
        microseconds = value * NANOSECONDS[kind.unit] // 1000
        return f"('{microseconds} microseconds'::interval)"
    if "\0" in str(value):
        raise where.wrong("PostgreSQL holds no text with the character NUL")
    return quoted(value)


DATAFUSION = Dialect(_name, _literal)
POSTGRES = Dialect(lambda name: '"' + name.replace('"', '""') + '"', _postgres_literal)


def quoted(value: object) -> str:
    """A value as SQL writes it."""
    if value is None or isinstance(value, bool):
        return "NULL" if value is None else str(value).upper()
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def qdrant(part: Node, *, contrary: bool = False) -> Any:
    """As a Qdrant filter; with ``contrary``, for rows that certainly do not meet the condition. Qdrant knows true and
    false alone and counts what is missing among the ``must_not``, so a ``not`` is carried down to the comparisons, and
    each asks for a value."""
    from qdrant_client import models

    match part:
        case And(parts) | Or(parts):
            each = [qdrant(one, contrary=contrary) for one in parts]
            return models.Filter(must=each) if isinstance(part, And) != contrary else models.Filter(should=each)
        case Not(inner):
            return qdrant(inner, contrary=not contrary)
        case Missing(name):
            empty = [models.IsEmptyCondition(is_empty=models.PayloadField(key=_key(name)))]
            return models.Filter(must_not=empty) if contrary else models.Filter(must=empty)
        case In(_, ()):
            none = [models.HasIdCondition(has_id=[])]
            return models.Filter(must_not=none) if contrary else models.Filter(must=none)
        case Truth(name, where):
            found = _meets("==", name, True, where)
        case Compare("!=", name, value, where):
            found, contrary = _meets("==", name, value, where), not contrary
        case Compare(sign, name, value, where):
            found = _meets(sign, name, value, where)
        case In(name, values, wheres):
            found = [
                one for value, where in zip(values, wheres, strict=True) for one in _meets("==", name, value, where)
            ]
    if not contrary:
        return models.Filter(should=found)
    missing = models.IsEmptyCondition(is_empty=models.PayloadField(key=_key(part.name)))
    return models.Filter(must_not=[*found, missing])


def _key(name: str) -> str:
    """A payload's name as Qdrant's paths write it."""
    if re.fullmatch("[A-Za-z0-9_-]+", name):
        return name
    if '"' in name or not name:
        raise WrongUse(f"filter: Qdrant takes no empty names and none with a double quote, found {name[:SHOWN]!r}")
    return f'"{name}"'


def _meets(sign: str, name: str, value: Any, where: Where) -> list[Any]:
    """Qdrant's conditions of which a value meets one where it meets this comparison."""
    from qdrant_client import models

    key, out = _key(name), []
    bounds = {"==": ("gte", "lte"), "<": ("lt",), "<=": ("lte",), ">": ("gt",), ">=": ("gte",)}[sign]
    if sign == "==" and (isinstance(value, (bool, str)) or (isinstance(value, int) and abs(value) < 1 << 63)):
        out.append(models.FieldCondition(key=key, match=models.MatchValue(value=value)))
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        out.append(models.FieldCondition(key=key, range=models.Range(**dict.fromkeys(bounds, float(value)))))
    elif isinstance(value, str) and (moment := _moment(value)) is not None:
        nanoseconds, offset = moment
        try:
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=(nanoseconds - (offset or 0)) // 1000)
        except OverflowError:
            raise where.wrong(f"expected a time up to the year 9999 for Qdrant, found {_shown(value)}") from None
        out.append(models.FieldCondition(key=key, range=models.DatetimeRange(**dict.fromkeys(bounds, at))))
    if not out:
        raise where.wrong(f"Qdrant compares numbers and dates by {sign}, found {_shown(value)}")
    return out
