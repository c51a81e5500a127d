"""JSONL, CSV, TSV and text files as parts of so many rows, each value as the file has it, with the lines they stand
in."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from umekomi.data.lines import LINE, list_names, read_lines, shorten, too_long
from umekomi.data.readers.kinds import DEEPEST
from umekomi.errors import DataError, where

LONGEST_FIELD = (1 << 31) - 1
"""Characters of a CSV field: what ``csv`` can be told on every system."""
MOST_COLUMNS = 10_000
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_SEPARATOR = re.compile(r'"?sep=([^"\r\n])"?\s*')


class Part(NamedTuple):
    """Some rows: the line that each begins in, every column's values (None where a row has none), and for JSON the
    lines' text."""

    lines: list[int]
    columns: dict[str, list[Any]]
    raw: list[str]


class Form(NamedTuple):
    """How a file is to be read; ``note`` is told of what is read otherwise than it stands."""

    path: Path
    packed: bool
    encoding: str | None
    note: Callable[[str], None]


def parts(kind: str, form: Form, rows: int, strict: bool) -> Iterator[Part]:
    """Parts of at most ``rows`` rows. ``strict``: also look for what JSON's reader takes in silence."""
    if kind in (".csv", ".tsv", ".txt"):
        yield from _delimited({".csv": _csv, ".tsv": _tsv, ".txt": _text}[kind](form), rows)
        return
    numbers: list[int] = []
    records: list[dict[str, Any]] = []
    raw: list[str] = []
    for number, row, line in _jsonl(form, strict):
        numbers.append(number)
        records.append(row)
        raw.append(line)
        if len(records) == rows:
            yield _joined(form, numbers, records, raw)
            numbers, records, raw = [], [], []
    if records:
        yield _joined(form, numbers, records, raw)


def _joined(form: Form, numbers: list[int], found: list[dict[str, Any]], raw: list[str]) -> Part:
    names: dict[str, None] = {}
    for number, row in zip(numbers, found, strict=True):
        names.update(dict.fromkeys(row))
        if len(names) > MOST_COLUMNS:
            raise DataError(f"{where(str(form.path), number)}: expected at most {MOST_COLUMNS:,} columns, found more")
    return Part(numbers, {name: [row.get(name) for row in found] for name in names}, raw)


def _delimited(rows: Iterator[tuple[int, list[str]]], most: int) -> Iterator[Part]:
    """The first of ``rows`` is the header."""
    names = next(rows, (0, []))[1]
    numbers: list[int] = []
    records: list[list[str]] = []
    for number, fields in rows:
        numbers.append(number)
        records.append(fields)
        if len(records) == most:
            yield Part(numbers, dict(zip(names, map(list, zip(*records, strict=True)), strict=True)), [])
            numbers, records = [], []
    if records:
        yield Part(numbers, dict(zip(names, map(list, zip(*records, strict=True)), strict=True)), [])


class _Twice(ValueError):
    pass


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        seen: set[str] = set()
        raise _Twice(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return row


def _jsonl(form: Form, strict: bool) -> Iterator[tuple[int, dict[str, Any], str]]:
    read = json.JSONDecoder(object_pairs_hook=_distinct).decode if strict else json.loads
    for number, line in read_lines(form.path, form.packed, form.encoding):
        if not line.strip():
            continue
        try:
            row = read(line)
        except (ValueError, RecursionError) as error:
            raise _no_json(where(str(form.path), number), line, error) from None
        if not isinstance(row, dict):
            raise DataError(f"{where(str(form.path), number)}: expected a JSON object, found {type(row).__name__}")
        if strict and _HALF.search(line):
            _whole_signs(form, number, row)
        yield number, row, line if strict else ""


def _no_json(place: str, line: str, error: Exception) -> DataError:
    if isinstance(error, json.JSONDecodeError):
        if not line.endswith("\n"):
            return DataError(f"{place}: expected a whole JSON object, found that the file ends mid-line")
        return DataError(f"{place}: expected a JSON object, found {error.msg} at character {error.pos + 1}")
    if isinstance(error, RecursionError):
        return DataError(f"{place}: expected values nested at most {DEEPEST} deep, found deeper ones")
    if isinstance(error, _Twice):
        return DataError(f"{place}: expected distinct keys in an object, found {shorten(str(error))} twice")
    # Python reads no whole number of more than some thousand digits
    return DataError(f"{place}: expected a whole number of at most 64 bits, found one of thousands of digits")


def _whole_signs(form: Form, number: int, row: dict[str, Any]) -> None:
    for name, value in row.items():
        try:
            json.dumps([name, value], ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(
                f"{where(str(form.path), number, name)}: expected text, found half a surrogate pair"
            ) from None
        except RecursionError:
            raise DataError(
                f"{where(str(form.path), number)}: expected values nested at most {DEEPEST} deep, found deeper ones"
            ) from None


def _header(form: Form, number: int, fields: list[str]) -> list[str]:
    """The columns' names without the spaces around them. pandas writes its index first, under no name."""
    place = where(str(form.path), number)
    if len(fields) > MOST_COLUMNS:
        raise DataError(f"{place}: expected at most {MOST_COLUMNS:,} columns, found {len(fields):,}")
    names = [name.strip() for name in fields]
    if len(names) > 1 and not names[0] and all(names[1:]):
        names[0] = next((name for name in ("index", "level_0") if name not in names), "")
        if names[0]:
            form.note(f"{form.path}: the first column has no name (pandas' index?) and is read as {names[0]!r}")
    seen: set[str] = set()
    for index, name in enumerate(names):
        if not name:
            raise DataError(f"{place}: expected a name for column {index + 1}, found nothing")
        if name in seen:
            raise DataError(f"{place}: expected distinct column names, found {shorten(name)} twice")
        seen.add(name)
    return names


def _checked(form: Form, number: int, names: list[str], fields: list[str], ended: bool) -> list[str]:
    if len(fields) != len(names):
        cut = "" if ended else "; the file ends mid-line"
        raise DataError(
            f"{where(str(form.path), number)}: expected {len(names)} fields ({list_names(names)}), "
            f"found {len(fields)}{cut}"
        )
    return fields


def strip_line_end(line: str) -> str:
    """A line without its end, be it ``\\n`` or ``\\r\\n``."""
    return line.removesuffix("\n").removesuffix("\r") if line.endswith("\n") else line


def _tsv(form: Form) -> Iterator[tuple[int, list[str]]]:
    names: list[str] | None = None
    for number, line in read_lines(form.path, form.packed, form.encoding):
        fields = strip_line_end(line).split("\t")
        if fields == [""]:
            continue
        if names is None:
            names = _header(form, number, fields)
            yield number, names
        else:
            yield number, _checked(form, number, names, fields, line.endswith("\n"))


def tsv_columns(path: Path, encoding: str | None = None) -> dict[str, list[str]]:
    """The columns of a TSV file, every field as it stands and nothing asked of any."""
    rows = _tsv(Form(path, path.suffix.lower() == ".gz", encoding, lambda _: None))
    names = next(rows, (0, []))[1]
    records = [fields for _, fields in rows]
    return {name: [fields[place] for fields in records] for place, name in enumerate(names)}


def _csv(form: Form) -> Iterator[tuple[int, list[str]]]:
    """Fields end at commas; at semicolons or tabs in a file whose header has those and no comma, or which says so in a
    first line ``sep=;``, as spreadsheets do."""
    csv.field_size_limit(LONGEST_FIELD)
    ended, first, taken = True, 0, 0

    def source() -> Iterator[str]:
        nonlocal ended, taken
        if head is not None:
            ended = head[1].endswith("\n")
            yield head[1]
        for _, line in stream:
            ended = line.endswith("\n")
            taken += len(line)
            if taken > LINE:  # a quotation mark that none closes takes in the rest of the file
                raise too_long(where(str(form.path), first + start), "a CSV record")
            yield line

    stream = read_lines(form.path, form.packed, form.encoding)
    head = next((pair for pair in stream if pair[1].strip()), None)
    separator = None
    if head is not None and (said := _SEPARATOR.fullmatch(head[1])):
        separator = said.group(1)
        head = next((pair for pair in stream if pair[1].strip()), None)
    if head is not None:
        first = head[0] - 1
        unquoted = re.sub(r'"[^"]*"?', "", head[1].rstrip())
        separator = separator or next((sign for sign in ",;\t" if sign in unquoted), ",")
    reader = csv.reader(source(), strict=True, delimiter=separator or ",")
    names: list[str] | None = None
    start = 1
    while True:
        number, taken = first + start, 0
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            found = str(error)
            if "unexpected end" in found:
                found = "that the file ends mid-line, inside quotes"
            elif "new-line character" in found:
                found = "a carriage return outside quotes, which ends no line"
            raise DataError(f"{where(str(form.path), number)}: expected a CSV record, found {found}") from None
        if names is None:
            names = _header(form, number, fields)
            yield number, names
        elif fields:
            yield number, _checked(form, number, names, fields, ended)
        start = reader.line_num + 1


def _text(form: Form) -> Iterator[tuple[int, list[str]]]:
    yield 0, ["text"]
    for number, line in read_lines(form.path, form.packed, form.encoding):
        if line.strip():
            yield number, [strip_line_end(line)]
