"""The standard columns, what may stand in them, and the containers of data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from umekomi.data.plain import to_plain
from umekomi.errors import DataError, where

COLUMNS: dict[str, str] = {
    **dict.fromkeys(
        ("text", "anchor", "positive", "negative", "sentence1", "sentence2", "query", "condition", "essay", "prompt",
         "head", "relation", "tail", "child", "parent", "instruction", "document_instruction"), "text"),
    **dict.fromkeys(("score", "weight"), "number"),
    **dict.fromkeys(("document", "left", "right"), "texts"),
    **dict.fromkeys(("label", "target", "source", "traits"), "value"),
    **dict.fromkeys(("id", "_id", "query_id", "corpus_id"), "id"),
    "image": "image",
    "audio": "audio",
}  # fmt: skip
"""The standard columns, and what stands in each: a text, a finite number, a list of texts, a value of any type, an
identifier, a picture or a sound."""
TEXT = frozenset(name for name, kind in COLUMNS.items() if kind == "text") - {
    "instruction",
    "document_instruction",
    "negative",
}
NUMBER = frozenset(name for name, kind in COLUMNS.items() if kind == "number")
IDENTIFIER = frozenset(name for name, kind in COLUMNS.items() if kind == "id")
LIST = frozenset(name for name, kind in COLUMNS.items() if kind == "texts")


class RetrievalData(NamedTuple):
    """BEIR's three tables: queries (id, text), corpus (id, text), qrels (query_id, corpus_id, score)."""

    queries: pa.Table
    corpus: pa.Table
    qrels: pa.Table

    @property
    def num_rows(self) -> int:
        """How many judged queries."""
        return len(set(self.qrels["query_id"].to_pylist()))

    def judgements(self) -> dict[str, dict[str, float]]:
        """``{query_id: {corpus_id: grade}}``, fractions as they are; of two grades for one pair the higher."""
        out: dict[str, dict[str, float]] = {}
        columns = (self.qrels[name].to_pylist() for name in ("query_id", "corpus_id", "score"))
        for query, document, score in zip(*columns, strict=True):
            grade = int(score) if float(score).is_integer() else float(score)
            judged = out.setdefault(query, {})
            judged[document] = max(grade, judged.get(document, grade))
        return out

    def pairs(self) -> pa.Table:
        """What a contrastive recipe learns from: anchor = query, positive = a document judged above zero."""
        queries = dict(zip(self.queries["id"].to_pylist(), self.queries["text"].to_pylist(), strict=True))
        corpus = dict(zip(self.corpus["id"].to_pylist(), self.corpus["text"].to_pylist(), strict=True))
        rows = [
            (queries[query], corpus[document])
            for query, judged in self.judgements().items()
            for document, grade in judged.items()
            if grade > 0
        ]
        return pa.table({"anchor": [a for a, _ in rows], "positive": [p for _, p in rows]})


Split = Any
"""A ``pyarrow.Table`` or a :class:`RetrievalData`."""


@dataclass(frozen=True)
class Dataset(Mapping[str, Any]):
    """Named splits, each a table or a :class:`RetrievalData`, with where they came from and what was left out."""

    name: str
    splits: Mapping[str, Split]
    licence: str = "unknown"
    notes: tuple[str, ...] = ()

    def __getitem__(self, split: str) -> Split:
        from umekomi.errors import unknown_name

        if split not in self.splits:
            raise unknown_name(f"split of {self.name}", split, self.splits)
        return self.splits[split]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.splits)

    def __len__(self) -> int:
        return len(self.splits)

    def fingerprint(self) -> str:
        """Names the content of all splits, whatever file it came from."""
        from umekomi.files import content_hash

        return content_hash([[split, fingerprint(self.splits[split])] for split in sorted(self.splits)])


def fingerprint(split: Split) -> str:
    """Names a table's content: column names and values, not chunks or metadata."""
    from umekomi.files import content_hash

    if isinstance(split, RetrievalData):
        return content_hash([fingerprint(table) for table in split])
    import io

    sink = io.BytesIO()
    plain = split.replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_table(plain)
    return content_hash(sink.getvalue())


def as_table(data: Any) -> Any:
    """A ``pyarrow.Table`` or :class:`RetrievalData` from what users hold: those, a ``datasets.Dataset`` (without
    copying), a pandas or polars frame, a mapping of columns, or a list of row dictionaries. Dictionaries, views and
    extensions become the plain type of the same values."""
    try:
        table = _as_table(data)
        return table if isinstance(table, RetrievalData) else to_plain(table, large=False)
    except (pa.ArrowException, ArithmeticError, LookupError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(f"the data: expected columns of one type and length each, found: {said}") from None


def _as_table(data: Any) -> Any:
    if isinstance(data, (pa.Table, RetrievalData)):
        return data
    if isinstance(data, Mapping) and not isinstance(data, Dataset):
        if set(data) >= {"queries", "corpus", "qrels"}:
            from umekomi.data.readers.beir import retrieval

            return retrieval(*(as_table(data[name]) for name in ("queries", "corpus", "qrels")), source="qrels")
        return pa.table(dict(data))
    if hasattr(data, "data") and isinstance(getattr(data.data, "table", None), pa.Table):
        if getattr(data, "_indices", None) is not None:
            data = data.flatten_indices()
        return data.data.table
    if isinstance(data, (list, tuple)) and data and isinstance(data[0], Mapping):
        names = dict.fromkeys(name for row in data for name in row)
        return pa.table({name: pa.array([row.get(name) for row in data]) for name in names})
    if isinstance(data, (list, tuple)) and all(isinstance(item, str) for item in data):
        return pa.table({"text": pa.array(data, pa.string())})
    if hasattr(data, "__dataframe__") or hasattr(data, "__arrow_c_stream__"):
        return (
            pa.table(data) if hasattr(data, "__arrow_c_stream__") else pa.Table.from_pandas(data, preserve_index=False)
        )
    if hasattr(data, "columns"):
        return pa.Table.from_pandas(data, preserve_index=False)
    raise DataError(f"expected a table, a mapping of columns or a list of rows; found {type(data).__name__}")


def check(data: Any, columns: Iterable[str], who: str) -> Any:
    """The table with these columns filled as they should be, or one error that names ``who``, column, row and finding.

    A :class:`RetrievalData` is turned into pairs where pairs are wanted, and into its corpus where texts are.
    """
    columns = tuple(columns)
    table = as_table(data)
    if isinstance(table, RetrievalData):
        if {"queries", "corpus", "qrels"} <= set(columns):
            return table
        table = table.pairs() if "anchor" in columns else table.corpus
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise DataError(f"{who} needs the column {missing[0]!r}; found {', '.join(table.column_names) or 'none'}")
    if table.num_rows == 0:
        raise DataError(f"{who} needs at least one row; found zero rows")
    source = (table.schema.metadata or {}).get(b"source", b"").decode() or None
    for column in columns:
        problem = first_problem(column, table[column])
        if problem is not None:
            row, expected, found = problem
            raise DataError(
                f"{who}: {where(source)}, row {row + 1}, column {column!r}: expected {expected}, found {found}"
            )
    return table


def first_problem(name: str, values: Any) -> tuple[int, str, str] | None:
    """(row, expected, found) of the first value that may not stand in a standard column, or None."""
    kind = values.type
    if name in TEXT:
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            return 0, "text", f"{kind}"
        bad = pc.or_kleene(pc.is_null(values), pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0))
        row = pc.index(bad, True).as_py()
        return (row, "text", "nothing" if values[row].as_py() is None else "empty text") if row >= 0 else None
    if name in NUMBER:
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            return 0, "a number", f"{kind}"
        numbers = pc.cast(values, pa.float64())
        bad = pc.or_kleene(pc.is_null(numbers), pc.invert(pc.is_finite(numbers)))
        row = pc.index(bad, True).as_py()
        return (row, "a finite number", f"{values[row].as_py()}") if row >= 0 else None
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if name in LIST and not listed and not (name == "document" and pa.types.is_string(kind)):
        return 0, "a list of texts", f"{kind}"
    row = pc.index(pc.is_null(values, nan_is_null=True), True).as_py()
    if row >= 0:
        return row, "a value", "nothing" if values[row].as_py() is None else "no number (NaN)"
    words = values.cast(kind.value_type) if name == "label" and pa.types.is_dictionary(kind) else values
    if name == "label" and (pa.types.is_string(words.type) or pa.types.is_large_string(words.type)):
        row = pc.index(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(words)), 0), True).as_py()
        return (row, "a label", "empty text") if row >= 0 else None
    return None
