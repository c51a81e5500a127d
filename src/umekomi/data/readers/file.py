"""One file or folder, read as often as needed: first through all of it, so that whatever is wrong is said before any
work is done and every column has one type that holds each of its values; then in tables of so many rows."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from umekomi.data.bags import read_bags
from umekomi.data.columns import IDENTIFIER, NUMBER, TEXT, are_features, first_problem
from umekomi.data.lines import check_encoding, check_path, file_stamp, list_names, shorten
from umekomi.data.readers import parquet
from umekomi.data.readers.documents import RICH
from umekomi.data.readers.kinds import EXACT, Kind, TypeConflict, endless
from umekomi.data.readers.numbers import Numbers
from umekomi.data.readers.parsing import Form, Part, parts
from umekomi.data.trees import read_trees
from umekomi.errors import DataError, WrongUse, where
from umekomi.progress import say

TABLE_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".txt", ".fasttext", ".labeldoc", ".trees")
WHOLE = (".fasttext", ".labeldoc", ".trees")
"""Read at once, by readers of their own."""
BATCH = 8192
TITLE = "title"
"""The column that stands in for a missing text."""


def kind_of(path: Path) -> tuple[str, bool]:
    """(the ending that says what a file holds, whether it is gzipped)."""
    packed = path.suffix.lower() == ".gz"
    kind = Path(path.stem).suffix.lower() if packed else path.suffix.lower()
    if kind not in TABLE_SUFFIXES:
        raise WrongUse(
            f"{path}: expected a file ending in {', '.join(TABLE_SUFFIXES)} (or these + .gz), or a document "
            f"({', '.join(RICH)}), found {path.name!r}"
        )
    return kind, packed


@dataclass
class Column:
    """What was learned of one column: its role ("text", "id", "number", "document" or none) and its kind."""

    role: str
    kind: Kind | None = None
    numbers: Numbers | None = None

    def arrow(self) -> pa.DataType:
        if self.role in ("text", "id"):
            return pa.string()
        if self.role == "number":
            return pa.float64()
        if self.numbers is not None:
            return self.numbers.arrow()
        return self.kind.arrow() if self.kind is not None else pa.string()

    def values(self, found: list[Any], hollow: bool) -> Sequence[Any]:
        """A column's values as its type takes them."""
        if self.role == "id":
            return [value if type(value) is str else identifier(value) for value in found]
        if self.role == "number":
            return list(map(float, found))
        if self.numbers is not None:
            return self.numbers.values(found)
        return [self.kind.emptied(value) for value in found] if hollow and self.kind is not None else found


@dataclass
class Settled:
    """What the first reading found: how many rows, every column, and what the file was then."""

    rows: int
    columns: dict[str, Column]
    stamp: tuple[int, int, int]


class FileSource:
    """A file as Arrow tables; :class:`umekomi.data.readers.source.Source` takes folders of documents, too.

    Args:
        path: the file or folder.
        encoding: of a file of text; None: UTF-8.
        column: holds the texts: every one is checked as ``text`` is, and all other columns but ids are payload, which
            may hold anything; without it columns of standard names hold what their names say.
        id_column: holds ids, all of them there and distinct.
        typed: whether a CSV or TSV column becomes numbers where every field comes back from them as it stands (an empty
            field is no value).
        numbers: columns that become numbers whatever zeros that costs.
        titles: whether a row without ``text`` is there by its title, which :func:`document_texts` gives.
        blank: whether a text may be missing altogether.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        encoding: str | None = None,
        column: str | None = None,
        id_column: str | None = None,
        typed: bool = False,
        numbers: Sequence[str] = (),
        titles: bool = False,
        blank: bool = False,
    ) -> None:
        self.path, self.encoding = Path(path), check_encoding(encoding)
        self.column, self.id_column, self.typed, self.numbers = column, id_column, typed, numbers
        self.titles, self.blank = titles, blank
        check_path(self.path)
        self.is_folder = self.path.is_dir() or self.path.suffix.lower() in RICH  # a book is a folder of pages
        self.kind, self.packed = ("", False) if self.is_folder else kind_of(self.path)
        if encoding is not None and self.kind == ".parquet":
            raise WrongUse(f"{self.path}: a Parquet file says itself how its text is encoded: leave out the encoding")
        self._documents: Any = None
        self._features = False
        """Are the columns those of rows with a target? They are typed always, zeros that a number does not keep or
        not."""

    # --- what it holds ----------------------------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.settled.rows

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.settled.columns)

    @cached_property
    def settled(self) -> Settled:
        """Read everything once, and say the first thing that is wrong."""
        before = file_stamp(self.path)
        if self.is_folder or self.kind in WHOLE:
            table = self._whole()
            settled = Settled(table.num_rows, {name: Column("") for name in table.column_names}, before)
        else:
            settled = self._settle_parquet(before) if self.kind == ".parquet" else self._settle(before)
        if not settled.rows:
            raise DataError(f"{self.path}: expected at least one row, found zero rows")
        for what, name in (("", self.column), (" of ids", self.id_column)):
            if name is not None and name not in settled.columns:
                raise DataError(
                    f"{self.path}: expected the column {name!r}{what}, found {list_names(settled.columns)}",
                    parameter="id_column" if what else "column",
                    advice="name one with",
                )
        for name in self.numbers:
            if name not in settled.columns:
                raise DataError(
                    f"{self.path}: expected the column {name!r} of numbers, found {list_names(settled.columns)}"
                )
            if settled.columns[name].numbers is None and settled.columns[name].role != "number":
                raise WrongUse(
                    f"{self.path}, column {name!r} of numbers: expected a column of a CSV or TSV file that holds no "
                    "texts or ids"
                )
        return settled

    def tables(self, rows: int = BATCH) -> Iterator[pa.Table]:
        """Tables of at most ``rows`` rows, in order, in bounded memory."""
        if self.is_folder or self.kind in WHOLE:
            table = self._whole()
            yield from (table.slice(start, rows) for start in range(0, table.num_rows, rows))
            return
        settled, done = self.settled, 0
        self._unchanged()
        if self.kind == ".parquet":
            file = parquet.opened(self.path, self.packed)
            for table in parquet.batches(self.path, file, rows, None, self._as_text(settled.columns)):
                done += len(table)
                yield table
        else:
            types = {name: column.arrow() for name, column in settled.columns.items()}
            hollow = {
                name for name, column in settled.columns.items() if column.kind is not None and column.kind.hollow()
            }
            for part in parts(self.kind, self._form(), rows, strict=False):
                absent = [None] * len(part.lines)
                yield pa.table(
                    {
                        name: pa.array(column.values(part.columns.get(name, absent), name in hollow), types[name])
                        for name, column in settled.columns.items()
                    }
                )
                done += len(part.lines)
        self._unchanged()
        if done != settled.rows:
            raise DataError(f"{self.path}: expected {settled.rows:,} rows, found {done:,} when it was read again")

    def read(self) -> pa.Table:
        """All rows, with the path as the schema's ``source``."""
        return pa.concat_tables(list(self.tables())).replace_schema_metadata({"source": str(self.path)})

    def texts(self, table: pa.Table, first: int = 0) -> list[str]:
        """The texts of one of :meth:`tables`, whose rows begin at ``first``; a missing one is its row's title."""
        return document_texts(table, self.column or "text", str(self.path), first, self.titles)

    def _unchanged(self) -> None:
        if file_stamp(self.path) != self.settled.stamp:
            raise DataError(f"{self.path}: it was changed while it was read: start anew")

    def _form(self, noted: bool = False) -> Form:
        return Form(self.path, self.packed, self.encoding, (lambda line: say(f"note: {line}")) if noted else _silent)

    def _whole(self) -> pa.Table:
        if self._documents is None:
            if self.is_folder:
                self._documents = self._read_folder()
            elif self.kind == ".trees":
                self._documents = read_trees(self.path, self.encoding)
            else:
                self._documents = read_bags(self.path, self.kind[1:], encoding=self.encoding)
        return self._documents

    def _read_folder(self) -> pa.Table:
        raise WrongUse(f"{self.path}: expected a file, found a folder")

    # --- the first reading ------------------------------------------------------------------------------------------

    def _role(self, name: str) -> str:
        if name == self.column:
            return "text"
        if name == self.id_column or (name in IDENTIFIER and (self.column is None or name in ("id", "_id"))):
            return "id"
        if self.column is not None:
            return ""  # payload: a column called score or label is the user's own, whatever it holds
        if name in TEXT:
            return "text"
        if name in NUMBER:
            return "number"
        return "document" if name == "document" else ""

    def _settle(self, before: tuple[int, int, int]) -> Settled:
        columns: dict[str, Column] = {}
        seen: set[Any] = set()
        total = titled = 0
        one = self.kind in (".jsonl", ".ndjson")
        for part in parts(self.kind, self._form(noted=True), BATCH, strict=True):
            self._features = self._features or (not columns and are_features(part.columns))
            for name in part.columns:
                if name not in columns:
                    columns[name] = self._new(name, one)
                    if total and columns[name].role:
                        raise DataError(f"{where(str(self.path), 1, name)}: expected a value, found none")
            for name, column in columns.items():
                values = part.columns.get(name) or [None] * len(part.lines)
                if column.role:
                    titled += self._check(part, name, column, values)
                if column.kind is not None:
                    self._learn(part, name, column.kind, values)
                if column.numbers is not None:
                    try:
                        column.numbers.learn(values, part.lines)
                    except TypeConflict as error:
                        raise self._misplaced(part, name, column.numbers, values, error) from None
            self._distinct(part, columns, seen)
            total += len(part.lines)
        if titled and self.titles:
            say(f"note: {self.path}: {titled:,} rows have no text and are read by their title")
        for name, column in columns.items():
            if column.numbers is not None and column.numbers.why is not None:
                line, field = column.numbers.why
                why = (
                    f"{shorten(field)} (line {line}) is no number"
                    if column.numbers.loose
                    else f"{field} (line {line}) would not come back as it stands; "
                    f"--number {name} (numbers= in Python) makes it numbers"
                )
                say(f"note: {self.path}: the column {name!r} stays text, since {why}")
        return Settled(total, columns, before)

    def _new(self, name: str, one: bool) -> Column:
        role = self._role(name)
        if one:
            return Column(role, Kind() if role in ("", "document") else None)
        wanted = name in self.numbers
        typed = (self.typed or wanted or self._features) and not role and self.kind in (".csv", ".tsv")
        return Column(role, None, Numbers(wanted, not wanted and not self.typed) if typed else None)

    def _learn(self, part: Part, name: str, kind: Kind, values: list[Any]) -> None:
        before = copy.deepcopy(kind)
        try:
            kind.learn(values)
        except TypeConflict:
            for line, value in zip(part.lines, values, strict=True):
                try:
                    before.learn([value])
                except TypeConflict as error:
                    raise DataError(f"{where(str(self.path), line, name)}: {error}") from None
            raise
        if kind.fractions() and endless(values):
            for line, value, raw in zip(part.lines, values, part.raw, strict=True):
                if endless([value]) and "Infinity" not in raw:
                    raise DataError(
                        f"{where(str(self.path), line, name)}: expected a number of at most 64 bits, found a greater "
                        "one"
                    )

    def _misplaced(self, part: Part, name: str, numbers: Numbers, values: list[Any], error: TypeConflict) -> DataError:
        for line, value in zip(part.lines, values, strict=True):
            try:
                copy.copy(numbers).learn([value], [line])
            except TypeConflict as misfit:
                return DataError(f"{where(str(self.path), line, name)}: {misfit}")
        return DataError(f"{where(str(self.path), None, name)}: {error}")

    def _check(self, part: Part, name: str, column: Column, values: list[Any]) -> int:
        """The first value that may not stand in a column of this role, or how many texts are their title."""
        if _fine(column.role, values):
            return 0
        titles = part.columns.get(TITLE) if name == "text" and self.titles else None
        titled = 0
        for row, (line, value) in enumerate(zip(part.lines, values, strict=True)):
            if column.role == "text" and _blank(value):
                if self.blank and name == "text":
                    continue
                if titles and isinstance(titles[row], str) and titles[row].strip():
                    titled += 1
                    continue
            if (wanted := value_problem(column.role, value)) is not None:
                raise DataError(f"{where(str(self.path), line, name)}: {wanted}")
        return titled

    def _distinct(self, part: Part, columns: dict[str, Column], seen: set[Any]) -> None:
        key = self.id_column or next((name for name in ("_id", "id") if name in columns), None)
        if key is None or key not in part.columns or columns[key].role != "id":
            return
        for line, value in zip(part.lines, columns[key].values(part.columns[key], False), strict=True):
            if value in seen:
                raise DataError(
                    f"{where(str(self.path), line, key)}: expected distinct ids, found {shorten(value)} twice"
                )
            seen.add(value)

    def _as_text(self, names: Iterable[str]) -> set[str]:
        return {name for name in names if self._role(name) in ("text", "id")}

    def _settle_parquet(self, before: tuple[int, int, int]) -> Settled:
        """Read what holds text and what has a standard name; the rest is checked as it is read."""
        file = parquet.opened(self.path, self.packed)
        schema = file.schema_arrow
        roles = {name: self._role(name) for name in schema.names}
        looked = {*parquet.texts(schema), *(name for name, role in roles.items() if role)}
        seen: set[str] = set()
        rows = titled = 0
        wanted = [name for name in schema.names if name in looked]
        # a nested column is looked at whole: Parquet names its leaves
        for table in parquet.batches(self.path, file, BATCH, wanted, self._as_text(roles)) if wanted else ():
            for name in table.column_names:
                if roles[name] == "id":
                    ids = identifiers(table[name], str(self.path), name, rows)
                    if name == self.id_column:
                        self._distinct_rows(ids, rows, seen)
                    continue
                values = table[name]
                if name == "text" and self.blank:
                    continue
                if name == "text" and self.titles and TITLE in table.column_names:
                    titled += _titled(table, str(self.path), rows)
                    continue
                problem = first_problem("text", values) if roles[name] == "text" else None
                problem = first_problem(name, values) if roles[name] == "number" else problem
                if problem is not None:
                    row, expected, found = problem
                    raise DataError(
                        f"{self.path}, row {rows + row + 1}, column {name!r}: expected {expected}, found {found}"
                    )
            rows += len(table)
        if titled:
            say(f"note: {self.path}: {titled:,} rows have no text and are read by their title")
        return Settled(int(file.metadata.num_rows), {name: Column(role) for name, role in roles.items()}, before)

    def _distinct_rows(self, ids: list[str], first: int, seen: set[str]) -> None:
        for row, value in enumerate(ids):
            if value in seen:
                raise DataError(
                    f"{self.path}, row {first + row + 1}, column {self.id_column!r}: expected distinct ids, found "
                    f"{shorten(value)} twice"
                )
            seen.add(value)


def _silent(line: str) -> None:
    pass


# --- values of standard columns -------------------------------------------------------------------------------------


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _fine(role: str, values: list[Any]) -> bool:
    """Whether all values may stand in a column of this role, seen at once; where not, they are looked at singly."""
    kinds = set(map(type, values))
    if role in ("text", "id", "document"):
        return kinds == {str} and all(map(str.strip, values) if role != "id" else values)
    try:
        if kinds == {str}:
            return all(map(math.isfinite, map(float, values))) and not any("_" in value for value in values)
        return kinds <= {int, float} and all(map(math.isfinite, values))
    except (ValueError, OverflowError):
        return False


def value_problem(role: str, value: Any) -> str | None:
    """What is wrong with a value in a column of this role."""
    if value is None:
        return "expected a value, found none"
    if role == "id":
        try:
            identifier(value)
        except ValueError as error:
            return str(error)
        return None
    if role == "number":
        try:
            number = float(value) if not isinstance(value, str) or "_" not in value else None
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None:
            return f"expected a number, found {shorten(value)}"
        return None if math.isfinite(number) else f"expected a finite number, found {shorten(value)}"
    if role == "document" and isinstance(value, list):
        fine = value and all(isinstance(part, str) for part in value)
        return None if fine else f"expected a list of texts, found {shorten(value)}"
    if not isinstance(value, str):
        return f"expected text, found {type(value).__name__} {shorten(value)}"
    return None if value.strip() else "expected text, found empty text"


def identifier(value: object) -> str:
    """An id as text: text as it stands, a whole number without a point (pandas makes 1.0 of 1 where an id is missing).

    >>> identifier("007"), identifier(7), identifier(7.0)
    ('007', '7', '7')
    """
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return str(int(value))
    raise ValueError(f"expected an id (text or a whole number), found {'nothing' if value is None else shorten(value)}")


def identifiers(values: pa.ChunkedArray, source: str, column: str, first: int = 0) -> list[str]:
    """A column of ids as text; ``first``: the row of the source that it begins at."""
    out = []
    for row, value in enumerate(values.to_pylist()):
        try:
            out.append(value if type(value) is str and value else identifier(value))
        except ValueError as error:
            raise DataError(f"{source}, row {first + row + 1}, column {column!r}: {error}") from None
    return out


def document_texts(table: pa.Table, column: str, source: str, first: int = 0, titles: bool = True) -> list[str]:
    """The texts of a column, rows from ``first`` on; with ``titles``, a row's title where its ``text`` is missing."""
    texts = table[column].to_pylist()
    if titles and column == "text" and TITLE in table.column_names:
        _titled(table, source, first)
        headed = table[TITLE].to_pylist()
        return [title if _blank(text) else text for text, title in zip(texts, headed, strict=True)]
    problem = first_problem("text", table[column])
    if problem:
        raise DataError(
            f"{source}, row {first + problem[0] + 1}, column {column!r}: expected {problem[1]}, found {problem[2]}"
        )
    return texts  # type: ignore[no-any-return]


def _titled(table: pa.Table, source: str, first: int) -> int:
    """How many rows have a title and no text; the error for one that has neither."""
    if not parquet.textual(table["text"].type):
        raise DataError(f"{source}, column 'text': expected text, found {table['text'].type}")
    count = 0
    for row, (text, title) in enumerate(zip(table["text"].to_pylist(), table[TITLE].to_pylist(), strict=True)):
        if _blank(text):
            count += 1
            if not isinstance(title, str) or not title.strip():
                found = "nothing" if text is None else "empty text"
                raise DataError(f"{source}, row {first + row + 1}, column 'text': expected text, found {found}")
    return count
