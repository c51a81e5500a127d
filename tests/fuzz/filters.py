"""Generated conditions over generated tables against a slow reading, row by row in Python; broken ones, and any text.

``python -m tests.fuzz.filters --cases 100000 --seed 1``: a case is a condition from the grammar (its rows must be the
oracle's, or it must be refused where the oracle finds it does not fit), the same damaged, or text from nowhere (rows or
``WrongUse``, and nothing else). Exit 1 where a case fails; the first are printed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import keyword
import random
import sys
import time
import zoneinfo
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa

from umekomi.errors import WrongUse
from umekomi.indexes.filters import mask, parse, sql
from umekomi.indexes.payload import as_json, as_table, row_of

UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
DAY = 86_400 * 10**9
EPOCH = datetime.datetime(1970, 1, 1)
NAMES = ["a", "year", "pub year", "ｶﾃｺﾞﾘ", "カテゴリ", "class", "in", "None", "a.b", "back`tick", "``", "", "x y\n", "É",
         "_", "is", "meta", "🦊", "not", "0", "and or", '"', "'", "__row__", "A" * 60]  # fmt: skip
WORDS = ["", "a", "ja", "en", "it's", 'say "x"', "back\\slash", "日本語", "\U0001f98a", "\0", "line\nbreak", "2024-01-15",
         "zz", "Z", "\t", "é", "é", "P1D", "12:00"]  # fmt: skip
ZONES = ["UTC", "Asia/Tokyo", "America/New_York", "+05:30", "-11:00", "Europe/Berlin"]
SIGNS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class Unfit(Exception):
    """The oracle's: a value that cannot be compared with such a column."""


@dataclass
class Column:
    """``kind`` says how values compare: int, float32, float64, decimal, bool, text, date, timestamp, time, duration,
    opaque, null. ``values`` are None where missing; for times whole nanoseconds, since 1970 or midnight."""

    name: str
    kind: str
    values: list
    array: pa.ChunkedArray
    zone: str | None = None


@dataclass
class Literal:
    """``shape``: number, bool, text, date (also with a time), time, duration. ``value``: Fraction, bool, text, or whole
    nanoseconds; ``offset`` a zone's, in nanoseconds; ``plain`` what stands in the quotes."""

    shape: str
    text: str
    value: object
    offset: int | None = None
    plain: str = ""


# --- tables ----------------------------------------------------------------------------------------------------------


def whole(random: random.Random, low: int, high: int) -> int:
    chosen = random.random()
    if chosen < 0.6:
        return max(low, min(high, random.randint(-5, 12)))
    if chosen < 0.8:
        return random.choice([low, low + 1, high, high - 1])
    return random.randint(low, high)


def chunked(random: random.Random, array: pa.Array) -> pa.ChunkedArray:
    if len(array) < 2 or random.random() < 0.5:
        return pa.chunked_array([array])
    at = random.randrange(1, len(array))
    return pa.chunked_array([array.slice(0, at), array.slice(at)])


def column(random: random.Random, name: str, rows: int) -> Column:
    often = [_ints, _floats, _texts, _stamps]
    maker = random.choice([*often, *often, _decimals, _bools, _dates, _times, _durations, _opaque, _nulls])
    return maker(random, name, rows)


def _gaps(random: random.Random, rows: int, make) -> list:
    share = random.choice([0, 0, 0.2, 0.5, 1])
    return [None if random.random() < share else make() for _ in range(rows)]


def _ints(random: random.Random, name: str, rows: int) -> Column:
    bits, signed = random.choice([8, 16, 32, 64]), random.random() < 0.5
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    values = _gaps(random, rows, lambda: whole(random, low, high))
    array = pa.array(values, getattr(pa, f"{'' if signed else 'u'}int{bits}")())
    return Column(
        name, "int", [v if v is None else Fraction(v) for v in values], chunked(random, _coded(random, array))
    )


def _coded(random: random.Random, array: pa.Array) -> pa.Array:
    chosen = random.random()
    if chosen < 0.1:
        return array.dictionary_encode()
    if chosen < 0.15 and len(array):
        ends = pa.array(range(1, len(array) + 1), pa.int32())
        return pa.RunEndEncodedArray.from_arrays(ends, array)
    return array


def _floats(random: random.Random, name: str, rows: int) -> Column:
    bits = random.choice([16, 32, 64])
    kind = {16: np.float16, 32: np.float32, 64: np.float64}[bits]
    some = [0.0, -0.0, 0.1, 1.0, 2.5, -3.0, 1e-7, 65504.0, float("nan"), float("inf"), float("-inf"), 3e38, 1e300]
    with np.errstate(over="ignore"):
        values = _gaps(random, rows, lambda: float(kind(random.choice([*some, random.uniform(-10, 10)]))))
        array = pa.array([None if v is None else kind(v) for v in values], {16: pa.float16(), 32: pa.float32(), 64: pa.float64()}[bits])  # fmt: skip
    shown = [None if v is None or v != v else v for v in values]
    return Column(name, "float64" if bits == 64 else "float32", shown, chunked(random, array))


def _decimals(random: random.Random, name: str, rows: int) -> Column:
    precision = random.choice([3, 9, 18, 30, 38, 60])
    scale = random.randint(0, min(6, precision))
    most = 10**precision - 1
    kind = (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale)
    if precision <= 18 and hasattr(pa, "decimal64") and random.random() < 0.3:
        kind = pa.decimal64(precision, scale)
    unscaled = _gaps(random, rows, lambda: whole(random, -most, most))

    def exact(number: int) -> Decimal:
        return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))

    array = pa.array([None if v is None else exact(v) for v in unscaled], kind)
    values = [None if v is None else Fraction(v, 10**scale) for v in unscaled]
    return Column(name, "decimal", values, chunked(random, array))


def _bools(random: random.Random, name: str, rows: int) -> Column:
    values = _gaps(random, rows, lambda: random.random() < 0.5)
    return Column(name, "bool", values, chunked(random, pa.array(values, pa.bool_())))


def _texts(random: random.Random, name: str, rows: int) -> Column:
    values = _gaps(random, rows, lambda: random.choice(WORDS))
    kind = random.choice([pa.string(), pa.large_string(), pa.string_view()])
    array = pa.array(values, kind)
    return Column(name, "text", values, chunked(random, array if kind == pa.string_view() else _coded(random, array)))


def _dates(random: random.Random, name: str, rows: int) -> Column:
    wide = random.random() < 0.5
    days = _gaps(random, rows, lambda: whole(random, -(1 << 31), (1 << 31) - 1) if random.random() < 0.2 else random.randint(19700, 19760))  # fmt: skip
    array = (
        pa.array([None if v is None else v * 86_400_000 for v in days], pa.int64()).cast(pa.date64())
        if wide
        else pa.array(days, pa.int32()).cast(pa.date32())
    )
    return Column(name, "date", [None if v is None else v * DAY for v in days], chunked(random, array))


def _stamps(random: random.Random, name: str, rows: int) -> Column:
    unit = random.choice(list(UNITS))
    zone = random.choice([None, None, *ZONES])
    near = 1_705_276_800 * 10**9 // UNITS[unit]  # 2024-01-15
    step = 12 * 3600 * 10**9 // UNITS[unit]

    def one() -> int:
        if random.random() < 0.15:
            return whole(random, -(1 << 63), (1 << 63) - 1)
        return near + random.randint(-6, 6) * step + random.choice([0, 0, 0, 1, -1])

    stored = _gaps(random, rows, one)
    array = pa.array(stored, pa.int64()).cast(pa.timestamp(unit, zone))
    return Column(
        name, "timestamp", [None if v is None else v * UNITS[unit] for v in stored], chunked(random, array), zone
    )


def _times(random: random.Random, name: str, rows: int) -> Column:
    unit = random.choice(list(UNITS))
    kind = pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    day = DAY // UNITS[unit]
    stored = _gaps(random, rows, lambda: random.choice([0, day - 1, day // 2, random.randrange(day)]))
    array = pa.array(stored, pa.int32() if unit in ("s", "ms") else pa.int64()).cast(kind)
    return Column(name, "time", [None if v is None else v * UNITS[unit] for v in stored], chunked(random, array))


def _durations(random: random.Random, name: str, rows: int) -> Column:
    unit = random.choice(list(UNITS))
    stored = _gaps(random, rows, lambda: whole(random, -(1 << 63), (1 << 63) - 1))
    array = pa.array(stored, pa.int64()).cast(pa.duration(unit))
    return Column(name, "duration", [None if v is None else v * UNITS[unit] for v in stored], chunked(random, array))


def _opaque(random: random.Random, name: str, rows: int) -> Column:
    kind, make = random.choice(
        [
            (pa.binary(), lambda: random.choice([b"", b"\xff\0"])),
            (pa.binary_view(), lambda: b"ab"),
            (pa.binary(3), lambda: b"abc"),
            (pa.list_(pa.int64()), lambda: [1, None]),
            (pa.list_(pa.decimal128(5, 2)), lambda: [Decimal("1.50")]),
            (pa.large_list(pa.binary()), lambda: [b"\xff"]),
            (pa.list_(pa.float16(), 2), lambda: [np.float16(1.5), np.float16("nan")]),
            (pa.struct([("x", pa.timestamp("s")), ("y", pa.string_view())]), lambda: {"x": 1 << 50, "y": "z"}),
            (pa.struct([]), lambda: {}),
            (pa.map_(pa.string(), pa.duration("ns")), lambda: [("k", 1), ("k", 2)]),
        ]
    )
    values = _gaps(random, rows, make)
    return Column(name, "opaque", values, chunked(random, pa.array(values, kind)))


def _nulls(random: random.Random, name: str, rows: int) -> Column:
    return Column(name, "null", [None] * rows, pa.chunked_array([pa.nulls(rows)]))


def table(random: random.Random) -> list[Column]:
    """Some columns of one length, under names of every kind."""
    rows = random.choice([0, 1, 2, 5, 9])
    return [column(random, name, rows) for name in random.sample(NAMES, random.randint(1, 5))]


# --- conditions ------------------------------------------------------------------------------------------------------


def literal(random: random.Random, of: Column | None) -> Literal:
    """A value, mostly one that such a column could hold."""
    kind = of.kind if of is not None and random.random() < 0.93 else random.choice(
        ["int", "float64", "bool", "text", "date", "timestamp", "time", "duration"]
    )  # fmt: skip
    held = [v for v in of.values if v is not None] if of is not None and kind == of.kind else []
    if kind in ("int", "float32", "float64", "decimal"):
        return _number(random, held)
    if kind == "bool":
        value = random.random() < 0.5
        return Literal("bool", str(value), value)
    if kind in ("date", "timestamp"):
        return _moment(random, held, of.zone if of is not None else None)
    if kind == "time":
        nanoseconds = random.choice([*held, 0, DAY // 2, random.randrange(DAY)])
        text = _clock(random, nanoseconds)
        return Literal("time", quoted(random, text[0]), text[1], None, text[0])
    if kind == "duration":
        return _span(random, held)
    text = random.choice([*[v for v in held if isinstance(v, str)], *WORDS])
    return Literal("text", quoted(random, text), text, None, text)


def _number(random: random.Random, held: list) -> Literal:
    chosen = random.random()
    if chosen < 0.3 and held:
        value = random.choice(held)
        if isinstance(value, float) and abs(value) != float("inf"):
            return Literal("number", repr(value), Fraction(Decimal(repr(value))))
        if isinstance(value, Fraction) and value.denominator == 1:
            return Literal("number", str(value), value)
        if isinstance(value, Fraction):
            text = f"{Decimal(value.numerator) * 0 + _as_decimal(value):f}"
            return Literal("number", text, Fraction(Decimal(text)))
    if chosen < 0.7:
        value = random.choice([0, 1, 2, 3, -1, 127, 128, 255, 256, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30])
        text = random.choice([str(value), f"+{value}" if value >= 0 else str(value), f"- {-value}" if value < 0 else hex(value), f"{value:_}"])  # fmt: skip
        return Literal("number", text, Fraction(value))
    text = random.choice(["0.1", "2.5", "1.", ".5", "1e2", "-1E-7", "1_0.5", "3.4028236e38", "65520.0", "1e308", "-1e300",
                          "5e-324", "0.0", "-0.0", "12345678901234567890.123456789", "1e30", "0e9999"])  # fmt: skip
    exact = Fraction(0) if text == "0e9999" else Fraction(Decimal(text.replace("_", "")))
    return Literal("number", text, exact)


def _as_decimal(value: Fraction) -> Decimal:
    scale = 0
    while (value * 10**scale).denominator != 1:
        scale += 1
    number = int(value * 10**scale)
    return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))


def _clock(random: random.Random, nanoseconds: int) -> tuple[str, int]:
    """(the text of a time of day, the nanoseconds it says)."""
    seconds, part = divmod(nanoseconds, 10**9)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    if random.random() < 0.2:
        return f"{hours:02d}:{minutes:02d}", (hours * 3600 + minutes * 60) * 10**9
    digits = random.choice([0, 3, 6, 9])
    if not digits:
        return f"{hours:02d}:{minutes:02d}:{seconds:02d}", nanoseconds - part
    kept = part // 10 ** (9 - digits)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{kept:0{digits}d}", nanoseconds - part + kept * 10 ** (9 - digits)


def _moment(random: random.Random, held: list, zone: str | None) -> Literal:
    nanoseconds = random.choice([*held, 1_705_276_800 * 10**9, random.randrange(-(10**18), 4 * 10**18)])
    days, rest = divmod(nanoseconds, DAY)
    if not -719_162 <= days <= 2_932_896 - 2:
        days = 19_737
    day = (EPOCH + datetime.timedelta(days=days)).date().isoformat()
    if random.random() < 0.4:
        return Literal("date", quoted(random, day), days * DAY, None, day)
    clock, said = _clock(random, rest)
    text, value = f"{day}{random.choice('T t')}{clock}", days * DAY + said
    if random.random() < (0.6 if zone else 0.1):
        hours, minutes = random.randint(0, 14), random.choice([0, 30, 45])
        sign = random.choice("+-")
        offset = (hours * 3600 + minutes * 60) * 10**9 * (1 if sign == "+" else -1)
        if random.random() < 0.4:
            return Literal("date", quoted(random, text + "Z"), value, 0, text + "Z")
        text += f"{sign}{hours:02d}{random.choice([':', ''])}{minutes:02d}"
        return Literal("date", quoted(random, text), value, offset, text)
    return Literal("date", quoted(random, text), value, None, text)


def _span(random: random.Random, held: list) -> Literal:
    nanoseconds = random.choice([*held, 0, 90_000 * 10**9, -(10**9), 1])
    size = abs(nanoseconds)
    seconds, part = divmod(size, 10**9)
    text = f"P{seconds // 86_400}DT{seconds // 3600 % 24}H{seconds // 60 % 60}M{seconds % 60}.{part:09d}S"
    if random.random() < 0.3:
        text = f"PT{seconds}.{part:09d}S"
    text = ("-" if nanoseconds < 0 else "") + text
    return Literal("duration", quoted(random, text), nanoseconds, None, text)


def quoted(random: random.Random, text: str) -> str:
    """A text in quotes, escaped in one of the ways there are."""
    mark = random.choice("'\"")
    if random.random() < 0.1 and mark not in text and "\\" not in text:
        return f"r{mark}{text}{mark}"
    out = []
    for sign in text:
        if sign in ("\\", mark):
            out.append("\\" + sign)
        elif sign in "\n\t\0" and random.random() < 0.5:
            out.append({"\n": "\\n", "\t": "\\t", "\0": "\\0"}[sign])
        elif random.random() < 0.05:
            out.append(f"\\U{ord(sign):08x}" if ord(sign) > 0xFFFF else f"\\u{ord(sign):04x}")
        else:
            out.append(sign)
    return mark + "".join(out) + mark


def named(random: random.Random, name: str) -> str:
    plain = name.isidentifier() and name not in ("and", "or", "not", "in", "is", "True", "False", "None")
    if plain and (random.random() < 0.7 or keyword.iskeyword(name)):
        return name
    return "`" + name.replace("`", "``") + "`"


def condition(random: random.Random, columns: list[Column], depth: int = 0):
    """A condition: ``("and" | "or", part, ...)``, ``("not", part)``, ``("truth", column)``, ``("none", column, yes)``,
    ``("in", column, values, yes)``, ``("chain", (left, sign, right), ...)`` of columns and literals in turn."""
    chosen = random.random()
    if depth < 3 and chosen < 0.25:
        word = random.choice(["and", "or"])
        return (word, *[condition(random, columns, depth + 1) for _ in range(random.randint(2, 3))])
    if depth < 4 and chosen < 0.4:
        return ("not", condition(random, columns, depth + 1))
    of = random.choice(columns)
    if chosen < 0.5:
        return ("none", of, random.random() < 0.5, random.choice(["is", "=="]))
    if chosen < 0.65:
        values = [literal(random, of) for _ in range(random.randint(0, 4))]
        return ("in", of, [*values, None] if random.random() < 0.15 else values, random.random() < 0.6)
    if chosen < 0.72 or (of.kind == "bool" and chosen < 0.85):
        return ("truth", of)
    sign = random.choice(list(SIGNS))
    if chosen < 0.8:
        return ("chain", (literal(random, of), sign, of), (of, random.choice(list(SIGNS)), literal(random, of)))
    pair = (of, literal(random, of)) if random.random() < 0.8 else (literal(random, of), of)
    return ("chain", (pair[0], sign, pair[1]))


def said(random: random.Random, part, within: int = 0) -> str:
    """The text of a condition, with spaces and brackets at will. ``within``: how tightly what stands around it binds."""

    def space() -> str:
        return random.choice(["", " ", " ", "  ", "\n", "\t"])

    def operand(one) -> str:
        if one is None:
            return "None"
        text = named(random, one.name) if isinstance(one, Column) else one.text
        return f"({space()}{text})" if random.random() < 0.05 else text

    kind, *rest = part
    binds = {"or": 1, "and": 2, "not": 3}.get(kind, 4)
    if kind in ("and", "or"):
        text = f" {kind} ".join(said(random, each, binds + 1) for each in rest)
    elif kind == "not":
        text = f"not {said(random, rest[0], 3)}"
    elif kind == "truth":
        text = operand(rest[0])
    elif kind == "none":
        column, yes, style = rest
        sign = {("is", True): "is", ("is", False): "is not", ("==", True): "==", ("==", False): "!="}[style, yes]
        pair = (operand(column), "None")
        text = f" {sign} ".join(pair if style == "is" or random.random() < 0.8 else pair[::-1])
    elif kind == "in":
        column, values, yes = rest
        inside = f"{space()},{space()}".join(operand(value) for value in values)
        brackets = random.choice(["()", "[]"])
        comma = "," if (len(values) == 1 and brackets == "()") or (values and random.random() < 0.2) else ""
        text = (
            f"{operand(column)}{'' if yes else ' not'} in {space()}{brackets[0]}{inside}{comma}{space()}{brackets[1]}"
        )
    else:
        text = operand(rest[0][0])
        for _, sign, right in rest:
            text += f"{space()}{sign}{space()}{operand(right)}"
    return f"({space()}{text}{space()})" if binds < within or random.random() < 0.1 else text


# --- the oracle ------------------------------------------------------------------------------------------------------


def fits(of: Column, value: Literal) -> None:
    """Raise Unfit where the two can never be compared."""
    shapes = {
        "int": {"number"}, "float32": {"number"}, "float64": {"number"}, "decimal": {"number"}, "bool": {"bool"},
        "text": {"text", "date", "time", "duration"}, "date": {"date"}, "timestamp": {"date"}, "time": {"time"},
        "duration": {"duration"}, "opaque": set(), "null": {"number", "bool", "text", "date", "time", "duration"},
    }[of.kind]  # fmt: skip
    shape = value.shape
    if shape == "text" and of.kind not in ("text", "null"):
        # the words among which some texts happen to be dates
        shape = {"2024-01-15": "date", "P1D": "duration", "12:00": "time"}.get(str(value.value), "text")
    if shape not in shapes:
        raise Unfit
    if shape == "date" and value.offset is not None and (of.kind == "date" or (of.kind == "timestamp" and not of.zone)):
        raise Unfit


def _compared(of: Column, sign: str, value: Literal, held) -> bool | None:
    fits(of, value)
    if held is None:
        return None
    other = value.value
    if of.kind == "text":
        other = value.plain
    elif value.shape == "text":
        other = {"2024-01-15": 19_737 * DAY, "P1D": DAY, "12:00": DAY // 2}[str(other)]
    if of.kind in ("float32", "float64"):
        other = float(other)
        if of.kind == "float32":
            with np.errstate(over="ignore"):
                near = float(np.float32(other))
            other = other if abs(near) == float("inf") else near
    if of.kind == "timestamp" and of.zone:
        other -= zone_offset(of.zone, other) if value.offset is None else value.offset
    return SIGNS[sign](held, other)


def zone_offset(zone: str, shown: int) -> int:
    """Nanoseconds that a zone's clock, which shows this, is ahead of UTC."""
    if zone[0] in "+-":
        return (1 if zone[0] == "+" else -1) * (int(zone[1:3]) * 60 + int(zone[4:])) * 60 * 10**9
    clock = EPOCH + datetime.timedelta(seconds=shown // 10**9)
    ahead = clock.replace(tzinfo=zoneinfo.ZoneInfo(zone)).utcoffset()
    return round(ahead.total_seconds()) * 10**9


def answer(part, row: int) -> bool | None:
    """True, False, or None for unknown: what one row says to a condition."""
    kind, *rest = part
    if kind in ("and", "or"):
        found = [answer(each, row) for each in rest]
        last = kind == "or"
        return last if last in found else None if None in found else not last
    if kind == "not":
        found = answer(rest[0], row)
        return None if found is None else not found
    if kind == "truth":
        if rest[0].kind not in ("bool", "null"):
            raise Unfit
        return rest[0].values[row] if rest[0].values else None
    if kind == "none":
        return (rest[0].values[row] is None) == rest[1]
    if kind == "in":
        column, values, yes = rest
        held = column.values[row]
        found = [held is None if value is None else _compared(column, "==", value, held) for value in values]
        one = True if True in found else None if None in found else False
        return one if yes or one is None else not one
    found = []
    for left, sign, right in rest:
        if isinstance(left, Column):
            found.append(_compared(left, sign, right, left.values[row]))
        else:
            turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(sign, sign)
            found.append(_compared(right, turned, left, right.values[row]))
    return False if False in found else None if None in found else True


def expected(part, rows: int) -> list[bool] | None:
    """The rows that the oracle finds; None where the condition does not fit."""
    try:
        if not rows:
            _fits_all(part)
        return [answer(part, row) is True for row in range(rows)]
    except Unfit:
        return None


def _fits_all(part) -> None:
    kind, *rest = part
    if kind in ("and", "or", "not"):
        for each in rest:
            _fits_all(each)
    elif kind == "truth":
        if rest[0].kind not in ("bool", "null"):
            raise Unfit
    elif kind == "in":
        for value in rest[1]:
            if value is not None:
                fits(rest[0], value)
    elif kind == "chain":
        for left, _, right in rest:
            fits(*((left, right) if isinstance(left, Column) else (right, left)))


# --- cases -----------------------------------------------------------------------------------------------------------

PIECES = ["and", "or", "not", "in", "is", "None", "True", "(", ")", "[", "]", ",", "==", "!=", "<", ">=", "=", "`", "'", '"',
          "\\", "\\u", "\\ud800", "\\N{DASH}", "\ud800", "\udcff", "\0", "1e400", "9" * 400, "0x", "1__0", "٣", "１", "²", ".",
          "-", "+", "~", "*", "**", ":=", "lambda: 0", "__import__('os')", "f'{a}'", "b'a'", "'''", "#", ";", "\n", "\r", "\x0b",
          "\u2028", "\ufeff", "𝐚", "ﬁ", "ſ", "ｉｎ", "e\u0301", "🦊", "2024-02-30", "'2024-02-30'", "'2024-01-15T25:00'",
          "'999999999999-01-01'", "'-0001-01-01'", "'P'", "'PT'", "nan", "inf", "1j", "007", "...", "{1}", "a.b", "x if y else z",
          "(" * 60, "not " * 60, "a == 1 or " * 40]  # fmt: skip


def damaged(random: random.Random, text: str) -> str:
    """A text with pieces put in, taken out, doubled, or moved."""
    for _ in range(random.choice([1, 1, 1, 2, 3, 8])):
        at, to = sorted(random.randint(0, len(text)) for _ in range(2))
        to = min(to, at + random.choice([0, 1, 1, 3, 20]))
        chosen = random.random()
        if chosen < 0.5:
            text = text[:at] + random.choice(PIECES) + text[to:]
        elif chosen < 0.7:
            text = text[:at] + text[to:]
        elif chosen < 0.85:
            text = text[:at] + text[at:to] * random.choice([2, 2, 2, 50]) + text[to:]
        else:
            text = text[to:] + text[:at]
    return text


def nowhere(random: random.Random) -> str:
    """Any text: of pieces, or of any characters."""
    if random.random() < 0.5:
        return random.choice(["", " "]).join(
            random.choice([*PIECES, *NAMES, *WORDS]) for _ in range(random.randint(0, 12))
        )
    return "".join(
        chr(random.choice([random.randrange(128), random.randrange(0x110000)])) for _ in range(random.randint(0, 40))
    )


def held(text: str, columns: list[Column], of: pa.Table) -> list[bool] | str:
    """The rows that meet a condition, or the refusal; any other exception passes."""
    try:
        part = parse(text, [column.name for column in columns])
        with suppress(WrongUse):  # what LanceDB does not compare
            sql(part, as_table(of, "add").schema)
        return mask(part, of).tolist()
    except WrongUse as error:
        line = str(error)
        assert "\n" not in line and len(line) < 1000, line
        line.encode()
        return line


def one_case(random: random.Random, number: int) -> str:
    """Make and check one case; the word for how it went. A wrong one is an AssertionError, or any other exception."""
    columns = table(random)
    rows = len(columns[0].values)
    raw = pa.table([column.array for column in columns], names=[column.name for column in columns])
    of = as_table(raw, "add") if number % 2 else raw
    if number % 10 == 0:
        for row in range(rows):
            json.dumps(as_json(row_of(of, row)), allow_nan=False)
            json.dumps(as_json(row_of(raw, row)), allow_nan=False)
    part = condition(random, columns)
    text = said(random, part)
    if number % 3 == 1:
        text = damaged(random, text)
    elif number % 12 == 2:
        text = nowhere(random)
    found = held(text, columns, of)
    if number % 3 == 1 or number % 12 == 2:
        return "broken, refused" if isinstance(found, str) else "broken, rows"
    wanted = expected(part, rows)
    if wanted is None:
        assert isinstance(found, str), f"{text!r} gave {found}, but does not fit {of.schema}"
        return "does not fit, refused"
    assert found == wanted, f"{text!r} gave {found}, expected {wanted} of {of.to_string(preview_cols=10)}"
    return "rows as the oracle's"


def run(cases: int, seed: int, most: int = 10) -> tuple[dict[str, int], list[str]]:
    """(how many cases went which way, the first ``most`` that failed)."""
    counts: dict[str, int] = {}
    failed: list[str] = []
    for number in range(cases):
        try:
            how = one_case(random.Random(f"{seed}/{number}"), number)
        except Exception as error:
            how = "failed"
            if len(failed) < most:
                failed.append(f"case {number} of seed {seed}: {type(error).__name__}: {error}"[:2000])
        counts[how] = counts.get(how, 0) + 1
    return counts, failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    begun = time.perf_counter()
    counts, failed = run(given.cases, given.seed)
    for line in failed:
        print(line.encode("utf-8", "backslashreplace").decode())
    for how, count in sorted(counts.items()):
        print(f"{count:9,d}  {how}")
    print(f"{given.cases:9,d}  cases in {time.perf_counter() - begun:.0f} s, seed {given.seed}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
