"""Payload columns: which Arrow types an index takes, and what their values are in Python and in JSON.

| Arrow | kept as | Python | JSON |
|---|---|---|---|
| null, bool, integers | the same | None, bool, int | null, true or false, a number |
| float16, float32, float64 | float32, float32, float64 | float | a number; NaN and infinities are null |
| decimals | decimal128, decimal256 | Decimal | text, all digits: ``"1.50"`` |
| strings, views of them, ``arrow.json`` | string, large_string | str | text |
| binaries, views of them | binary, large_binary, fixed_size_binary | bytes | text in base64 |
| ``arrow.uuid`` | string | str | text |
| date32, date64, time32, time64 | the same | date, time | text in ISO 8601 |
| timestamp | the same | datetime | text in ISO 8601, in the column's zone |
| duration | the same | timedelta | text in ISO 8601: ``"P1DT2H0.5S"`` |
| lists, structs, maps of these | the same | list, dict, list of (key, value) | array, object, array of pairs |
| dictionary, run-end encoded | the type of their values | | |

Times that Python cannot hold (nanoseconds, years beyond 9999) are text in Python, too. Unions, calendar intervals and
other extension types are refused.
"""

from __future__ import annotations

import base64
import math
import operator
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from umekomi.errors import SHOWN, DataError

NESTED = 50
"""Levels of lists and structs that a column may have: Arrow's files hold 63, the table among them."""
NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
DAY = 86_400 * NANOSECONDS["s"]
_SHOWN = 80


class _Refused(Exception):
    """Why a type is no payload."""


def as_ids(ids: Sequence[Any], where: str) -> list[str]:
    """Ids as text: text as it stands, whole numbers, UUIDs. Nothing else is an id: what is missing (None, NaN) would
    become a word, and bytes their spelling in Python.

    >>> as_ids(["007", 7], "add")
    ['007', '7']
    """
    names = []
    for row, value in enumerate(ids, 1):
        name = value if isinstance(value, str) else _number(value)
        if not name:
            raise DataError(f"{where}: expected an id (text or a whole number), found {value!r:.80} in row {row}")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{where}: expected an id of whole characters, found {name!r} in row {row}") from None
        names.append(str(name))
    return names


def _number(value: Any) -> str:
    if isinstance(value, UUID):
        return str(value)
    try:
        return "" if isinstance(value, bool) else str(operator.index(value))
    except TypeError:
        return ""


def as_table(payload: Mapping[str, Any] | pa.Table | None, where: str) -> pa.Table:
    """A payload as a table of columns that an index keeps (see above), every value checked; ``where`` begins the error
    that names the first column that is none."""
    table: Any = payload
    if not isinstance(payload, pa.Table):
        columns = {}
        for name, values in dict(payload or {}).items():
            if str(name) in columns:  # 1 and "1" are two keys and one column
                raise DataError(f"{where}: expected every payload column once, found {str(name)!r} twice")
            try:
                str(name).encode()
                columns[str(name)] = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise _unfit(where, str(name), f"values of one type ({_line(error)})") from None
        try:
            table = pa.table(columns)
        except pa.ArrowInvalid:
            counts = ", ".join(f"{name!r} of {len(values):,}" for name, values in list(columns.items())[:SHOWN])
            raise DataError(f"{where}: expected payload columns of one length, found {counts}") from None
    names = table.column_names
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise DataError(f"{where}: expected every payload column once, found {twice!r} twice")
    return pa.table({name: _checked(name, table[name], where) for name in names})


def _checked(name: str, column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    try:
        plain = plain_type(column.type)
    except _Refused as why:
        raise _unfit(where, name, str(why), column.type) from None
    try:
        column.validate(full=True)
        return as_type(column, plain)
    except (pa.ArrowException, ValueError) as error:
        raise _unfit(where, name, f"values of its type ({_line(error)})", column.type) from None


def _unfit(where: str, name: str, expected: str, kind: Any = None) -> DataError:
    found = "" if kind is None else f", found {type_name(kind)}"
    return DataError(f"{where}: payload column {name!r}: expected {expected}{found}")


def type_name(kind: pa.DataType) -> str:
    """A type as an error names it: on one line, and not without end."""
    text = " ".join(str(kind).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def plain_type(kind: pa.DataType, depth: int = 0) -> pa.DataType:
    """The type that a column of type ``kind`` is kept as, which every kernel of Arrow's takes."""
    is_ = pa.types
    if depth > NESTED:
        raise _Refused(f"at most {NESTED} levels of lists and structs")
    if isinstance(kind, pa.BaseExtensionType):
        known = {"arrow.bool8": pa.bool_(), "arrow.json": pa.string(), "arrow.uuid": pa.string()}
        if kind.extension_name in known and not depth:
            return known[kind.extension_name]
        raise _Refused("a type of Arrow's own")
    if is_.is_dictionary(kind) or is_.is_run_end_encoded(kind):
        return plain_type(kind.value_type, depth)
    if is_.is_float16(kind):
        return pa.float32()
    if is_.is_decimal(kind):
        precision, scale = (kind.precision, kind.scale) if kind.scale >= 0 else (kind.precision - kind.scale, 0)
        if precision > 76:
            raise _Refused("decimals of at most 76 digits")
        return (pa.decimal128 if precision <= 38 and kind.bit_width <= 128 else pa.decimal256)(precision, scale)
    if is_.is_string_view(kind):
        return pa.string()
    if is_.is_binary_view(kind):
        return pa.binary()
    if is_.is_timestamp(kind) and kind.tz is not None:
        try:
            pa.lib.string_to_tzinfo(kind.tz)
        except (pa.ArrowException, ValueError, KeyError, OSError):
            raise _Refused("a time zone that is known here") from None
        return kind
    if is_.is_map(kind):
        key, item = plain_type(kind.key_type, depth + 1), plain_type(kind.item_type, depth + 1)
        return kind if (key, item) == (kind.key_type, kind.item_type) else pa.map_(key, item)
    if is_.is_struct(kind):
        names = [field.name for field in kind]
        if len(set(names)) < len(names):
            raise _Refused("every name in a struct once")
        fields = [field.with_type(plain_type(field.type, depth + 1)) for field in kind]
        return pa.struct(fields)
    for one, make in (
        (is_.is_list, pa.list_),
        (is_.is_large_list, pa.large_list),
        (is_.is_fixed_size_list, lambda field: pa.list_(field, kind.list_size)),
    ):
        if one(kind):
            return make(kind.value_field.with_type(plain_type(kind.value_type, depth + 1)))
    if is_.is_list_view(kind) or is_.is_large_list_view(kind):
        if plain_type(kind.value_type, depth + 1) != kind.value_type:
            raise _Refused("a list in place of a list view")
        return kind
    if is_.is_union(kind) or is_.is_interval(kind):
        raise _Refused("one type for all values" if is_.is_union(kind) else "a duration")
    return kind


def as_type(column: pa.ChunkedArray, plain: pa.DataType) -> pa.ChunkedArray:
    """A column as its :func:`plain_type`."""
    import uuid

    kind = column.type
    if kind == plain:
        return column
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.uuid":
        stored = column.cast(kind.storage_type).to_pylist()
        return pa.chunked_array(
            [pa.array([None if value is None else str(uuid.UUID(bytes=value)) for value in stored], pa.string())]
        )
    if pa.types.is_run_end_encoded(kind):
        values = [pc.run_end_decode(chunk) for chunk in column.chunks]
        return as_type(pa.chunked_array(values, kind.value_type), plain)
    if pa.types.is_dictionary(kind):
        # not cast: that knows no lists
        values = [chunk.dictionary_decode() for chunk in column.chunks]
        return as_type(pa.chunked_array(values, kind.value_type), plain)
    return column.cast(plain)


def readable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column that an earlier version stored, as its :func:`plain_type`; as it is where it has none."""
    try:
        return as_type(column, plain_type(column.type))
    except (_Refused, pa.ArrowException, ValueError):
        return column


def opened(table: pa.Table) -> pa.Table:
    """A stored table with every column :func:`readable`, so that it fits what is added now; those that are plain stay
    mapped."""
    for place, field in enumerate(table.schema):
        column = table.column(place)
        plain = readable(column)
        if plain is not column:
            table = table.set_column(place, field.with_type(plain.type), plain)
    return table


# --- values ----------------------------------------------------------------------------------------------------------


def row_of(table: pa.Table, number: int) -> dict[str, Any]:
    """One row's values in Python."""
    return {name: value(table.column(place)[number]) for place, name in enumerate(table.column_names)}


def value(scalar: pa.Scalar) -> Any:
    """An Arrow scalar in Python, by the table above; text where Python has no such value."""
    kind, is_ = scalar.type, pa.types
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.DictionaryScalar):
        return value(scalar.value)
    if is_.is_timestamp(kind):
        return _timestamp(scalar)
    if is_.is_duration(kind):
        nanoseconds = scalar.value * NANOSECONDS[kind.unit]
        found = _made(lambda: timedelta(microseconds=nanoseconds // 1000)) if nanoseconds % 1000 == 0 else None
        return duration(nanoseconds) if found is None else found
    if is_.is_time(kind):
        nanoseconds = scalar.value * NANOSECONDS[kind.unit]
        seconds, part = divmod(nanoseconds, NANOSECONDS["s"])
        found = None
        if part % 1000 == 0:
            found = _made(lambda: time(seconds // 3600, seconds // 60 % 60, seconds % 60, part // 1000))
        text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{part:09d}"
        return text if found is None else found
    if is_.is_date(kind):
        days = scalar.value if is_.is_date32(kind) else scalar.value // 86_400_000
        found = _made(lambda: date(1970, 1, 1) + timedelta(days=days))
        return str(np.datetime64(days, "D")) if found is None else found
    if is_.is_map(kind):
        return [(value(pair[0]), value(pair[1])) for pair in scalar.values]
    if is_.is_struct(kind):
        return {field.name: value(scalar[place]) for place, field in enumerate(kind)}
    if is_.is_nested(kind) and not is_.is_union(kind) and not is_.is_run_end_encoded(kind):
        if _as_they_are(kind.value_type):
            return scalar.as_py()
        return [value(each) for each in scalar.values]
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes().decode("utf-8", "replace")
    except (ValueError, OverflowError, TypeError, NotImplementedError):
        return str(scalar)


def _as_they_are(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _made(make: Any) -> Any:
    """What ``make`` makes; None beyond what Python holds."""
    try:
        return make()
    except (ValueError, OverflowError):
        return None


def _timestamp(scalar: pa.TimestampScalar) -> datetime | str:
    kind = scalar.type
    seconds, part = divmod(scalar.value * NANOSECONDS[kind.unit], NANOSECONDS["s"])
    try:
        moment = datetime(1970, 1, 1) + timedelta(seconds=seconds, microseconds=part // 1000)
        if kind.tz is not None:
            zone = pa.lib.string_to_tzinfo(kind.tz)
            moment = moment.replace(tzinfo=zone)
            moment = zone.fromutc(moment)
    except (ValueError, OverflowError, KeyError, OSError, pa.ArrowException):
        whole = str(np.datetime64(seconds, "s"))
        return whole + (f".{part:09d}" if part else "") + ("Z" if kind.tz is not None else "")
    if part % 1000 == 0:
        return moment
    text = moment.isoformat(timespec="microseconds")
    return f"{text[:26]}{part % 1000:03d}{text[26:]}"


def duration(nanoseconds: int) -> str:
    """A duration in ISO 8601.

    >>> duration(93_600_500_000_000), duration(-1_500_000_000), duration(0)
    ('P1DT2H0.5S', '-PT1.5S', 'PT0S')
    """
    seconds, part = divmod(abs(nanoseconds), NANOSECONDS["s"])
    days, hours, minutes = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    fraction = f".{part:09d}".rstrip("0") if part else ""
    out = f"{days}D" if days else ""
    clock = "".join(f"{count}{sign}" for count, sign in ((hours, "H"), (minutes, "M")) if count)
    if seconds % 60 or part or not (days or clock):
        clock += f"{seconds % 60}{fraction}S"
    return ("-" if nanoseconds < 0 else "") + "P" + out + (f"T{clock}" if clock else "")


def as_json(found: Any) -> Any:
    """A value of a payload as JSON has it, by the table above.

    >>> as_json({"at": datetime(2024, 1, 15, 12), "raw": b"ab", "score": float("nan"), "price": Decimal("1.50")})
    {'at': '2024-01-15T12:00:00', 'raw': 'YWI=', 'score': None, 'price': '1.50'}
    """
    if found is None or isinstance(found, (bool, int, str)):
        return found
    if isinstance(found, float):
        return found if math.isfinite(found) else None
    if isinstance(found, Decimal):
        return f"{found:f}"
    if isinstance(found, (datetime, date, time)):
        return found.isoformat()
    if isinstance(found, timedelta):
        return duration((found.days * 86_400 + found.seconds) * NANOSECONDS["s"] + found.microseconds * 1000)
    if isinstance(found, (bytes, bytearray, memoryview)):
        return base64.b64encode(found).decode()
    if isinstance(found, Mapping):
        return {str(key): as_json(each) for key, each in found.items()}
    if isinstance(found, (list, tuple)):
        return [as_json(each) for each in found]
    return str(found)
