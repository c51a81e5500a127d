"""The standard columns, what may stand in them, and the containers of data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from umekomi.errors import DataError

if TYPE_CHECKING:
    import datasets

COLUMNS: dict[str, str] = {
    **dict.fromkeys(
        ("text", "anchor", "positive", "negative", "sentence1", "sentence2", "query", "condition", "essay", "prompt",
         "head", "relation", "tail", "child", "parent", "instruction", "document_instruction", "tree"), "text"),
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


def are_features(names: Iterable[str]) -> bool:
    """Are these the columns of rows whose ``target`` is predicted from all others (and not of a graph)?"""
    names = set(names)
    return "target" in names and "source" not in names


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

    def without_blank(self) -> RetrievalData:
        """The set without documents of whitespace alone, which no model can find and services refuse: they go with
        their judgements, and queries that then have none go too. Itself where there are none; an error where nothing
        that is judged is left."""
        columns = (
            *((self.corpus, name) for name in ("text", "id")),
            *((self.qrels, name) for name in ("corpus_id", "query_id")),
            (self.queries, "id"),
        )
        kinds = {str(table[name].type) if name in table.column_names else "" for table, name in columns}
        if kinds not in ({"string"}, {"large_string"}):
            return self  # which is an error of its own
        texts = self.corpus["text"]
        blank = pc.fill_null(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0), False)
        if not pc.any(blank).as_py():
            return self
        gone = self.corpus["id"].filter(blank).combine_chunks()
        qrels = self.qrels.filter(pc.invert(pc.is_in(self.qrels["corpus_id"], value_set=gone)))
        if not qrels.num_rows:
            raise DataError("qrels: expected a judged document that says something, found blank ones alone")
        asked = pc.is_in(self.queries["id"], value_set=qrels["query_id"].combine_chunks())
        return RetrievalData(self.queries.filter(asked), self.corpus.filter(pc.invert(blank)), qrels)

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


Split: TypeAlias = "pa.Table | RetrievalData"
TableLike: TypeAlias = (
    "pa.Table | RetrievalData | datasets.Dataset | Frame | Mapping[str, Any] | Sequence[Mapping[str, Any]]"
    " | Sequence[str]"
)
"""What :func:`umekomi.data.tables.as_table` takes."""
Given: TypeAlias = "str | os.PathLike[str] | Dataset | TableLike | Mapping[str, TableLike]"
"""What :func:`umekomi.data.load` takes: a name or a path too, and several splits."""


class Frame(Protocol):
    """A frame of pandas or polars."""

    @property
    def columns(self) -> Any:
        """The names of its columns."""


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


def first_problem(name: str, values: pa.ChunkedArray) -> tuple[int, str, str] | None:
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
