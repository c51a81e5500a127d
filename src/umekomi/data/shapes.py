"""The shapes of data: which columns make one, what in them is text, what must stay on one side of a split, and how it
is judged. One record a shape; everything that asks what kind of data it has asks here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from umekomi.data.columns import COLUMNS, RetrievalData, Split
from umekomi.data.tables import as_table, check
from umekomi.errors import DataError

if TYPE_CHECKING:
    from umekomi.data.columns import TableLike


@dataclass(frozen=True)
class Shape:
    """A kind of data by its ``columns``; ``more`` are standard columns that it uses where they are there.

    ``texts``: the columns whose texts an unsupervised recipe learns from, documents before queries. ``together``: rows
    that share a value of these stay on one side when a split is carved; ``classes``: the column whose classes then keep
    their shares. ``task``: the kind of task that judges it where none is named. ``role``: the role whose instruction
    fits its items. ``searches``: does it ask for a document, so that hard negatives can be mined? ``ranks``: the
    columns that a retrieval set can be made of, none where it cannot. ``features``: are all other columns, whatever
    they are called, what the last of its own is predicted from?
    """

    name: str
    columns: tuple[str, ...]
    more: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    classes: str = ""
    task: str = ""
    role: str = "query"
    searches: bool = False
    ranks: tuple[str, ...] = ()
    features: bool = False

    @property
    def media(self) -> dict[str, str]:
        """``{column: modality}`` of its pictures and sounds."""
        return {name: COLUMNS[name] for name in self.columns if COLUMNS[name] in ("image", "audio")}

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.columns)})"


_INSTRUCTIONS = ("instruction", "document_instruction")
_SENTENCES = ("sentence1", "sentence2")

SHAPES: dict[str, Shape] = {
    each.name: each
    for each in (
        Shape("pairs", ("anchor", "positive"), ("negative", *_INSTRUCTIONS), ("positive", "anchor"),
              ("anchor", "positive"), task="retrieval", searches=True, ranks=("anchor", "positive")),
        Shape("scored pairs", (*_SENTENCES, "score"), _INSTRUCTIONS, _SENTENCES, _SENTENCES,
              task="similarity", role="similarity"),
        Shape("conditioned pairs", (*_SENTENCES, "condition", "score"), (), _SENTENCES, _SENTENCES,
              task="similarity", role="similarity"),
        Shape("labelled pairs", (*_SENTENCES, "label"), _INSTRUCTIONS, _SENTENCES, _SENTENCES,
              task="pair-classification", role="similarity"),
        Shape("judged pairs", ("query", "document", "score"), _INSTRUCTIONS, ("document", "query"), ("query",),
              task="retrieval", searches=True, ranks=("query", "document", "score")),
        Shape("labelled texts", ("text", "label"), _INSTRUCTIONS, ("text",), ("text",), "label",
              task="classification", role="classification", ranks=("text",)),
        Shape("texts", ("text",), (), ("text",), ("text",), ranks=("text",)),
        Shape("trees", ("tree",), together=("tree",)),
        Shape("documents", ("document",), (), ("document",)),
        Shape("hierarchy", ("child", "parent"), ("score",), task="reconstruction"),
        Shape("graph", ("source", "target"), ("weight",), task="reconstruction"),
        Shape("triples", ("head", "relation", "tail"), task="triple-ranking"),
        Shape("bags", ("left", "right")),
        Shape("essays", ("essay", "prompt", "score"), ("traits",), ("essay",), ("essay",)),
        Shape("labelled images", ("image", "label"), together=("image",), classes="label"),
        Shape("captioned images", ("image", "text"), texts=("text",), together=("image", "text")),
        Shape("labelled sounds", ("audio", "label"), together=("audio",), classes="label"),
        Shape("described sounds", ("audio", "text"), texts=("text",), together=("audio", "text")),
        Shape("rows", ("target",), task="prediction", features=True),
    )
}  # fmt: skip

RETRIEVAL = Shape(
    "retrieval", ("queries", "corpus", "qrels"), texts=("text",), together=("query",), task="retrieval", searches=True
)
"""BEIR's three tables, a :class:`~umekomi.data.columns.RetrievalData`."""


def shape_of(split: Split) -> Shape:
    """The shape of a table or retrieval set: of those whose columns it has, the one with the most, so that a condition
    or a picture is never passed over."""
    if isinstance(split, RetrievalData):
        return RETRIEVAL
    names = set(split.column_names)
    fitting = [each for each in SHAPES.values() if names.issuperset(each.columns)]
    if not fitting:
        wanted = "; ".join(" + ".join(each.columns) for each in SHAPES.values())
        raise DataError(
            f"columns {', '.join(split.column_names)} make no shape of data known here; expected one of: {wanted}"
        )
    return max(fitting, key=lambda each: (len(each.columns), each.features))  # beside a target, a text is a feature


def shape_name(split: Split) -> str:
    """The name of :func:`shape_of`."""
    return shape_of(split).name


def unused_columns(split: Split) -> list[str]:
    """Standard columns that a table has and its shape does not use."""
    if isinstance(split, RetrievalData):
        return []
    about = shape_of(split)
    if about.features:
        return []
    used = {*about.columns, *about.more}
    return [
        name
        for name in split.column_names
        if COLUMNS.get(name, "id") != "id" and name not in used and not name.startswith("negative_")
    ]


def view_as(data: TableLike, wanted: Sequence[str], who: str, repeats: bool = False) -> Split:
    """The table or retrieval set as one of the ``wanted`` shapes: as it is where it is one of them, else pairs of a
    retrieval set or of judged pairs, or the texts in it; one error for what can be seen as none of them. A text that
    stands alone is taken once, unless ``repeats`` asks for it as often as it stands in a table of texts."""
    table = as_table(data)
    listed = " or ".join(str(SHAPES.get(name, RETRIEVAL)) for name in wanted)
    try:
        about = shape_of(table)
    except DataError:
        found = ", ".join(getattr(table, "column_names", ())) or "no column"
        raise DataError(f"{who} learns from {listed}; found {found}") from None
    name = view_name(about, wanted)
    if name is None:
        raise DataError(f"{who} learns from {listed}; found {about}")
    if name == about.name:
        if about is RETRIEVAL:
            return table
        checked = check(table, _filled(about, table), who)
        return checked if repeats or name != "texts" else _each_once(checked)
    return pairs(table, who) if name == "pairs" else _table_of(texts(table, who))


def view_name(about: Shape, wanted: Sequence[str]) -> str | None:
    """Which of the ``wanted`` shapes data of this one is seen as by :func:`view_as`; None: as none of them."""
    if about.name in wanted:
        return about.name
    can = {"pairs": about.name in ("retrieval", "judged pairs"), "texts": bool(about.texts)}
    return next((name for name in wanted if can.get(name)), None)


def _filled(about: Shape, table: pa.Table) -> tuple[str, ...]:
    """The columns in which no row may be empty: the shape's own, and numbers that it uses."""
    return (*about.columns, *(name for name in about.more if name in table.column_names and COLUMNS[name] == "number"))


def _each_once(table: pa.Table) -> pa.Table:
    """The first row of each text."""
    first = {text: row for row, text in reversed(list(enumerate(table["text"].to_pylist())))}
    return table if len(first) == len(table) else table.take(pa.array(sorted(first.values())))


def _table_of(found: list[str]) -> pa.Table:
    return pa.table({"text": pa.array(found, pa.string())})


def texts(data: TableLike, who: str = "this") -> list[str]:
    """The texts an unsupervised recipe learns from: a corpus, documents of pairs, both sides of scored pairs; each
    once."""
    split = as_table(data)
    about = shape_of(split)
    if not about.texts:
        raise DataError(f"{who} learns from texts; found {about}")
    if isinstance(split, RetrievalData):
        split = split.corpus
    if about.name == "documents":
        rows = split["document"].to_pylist()
        return [" ".join(sentences) if isinstance(sentences, list) else sentences for sentences in rows]
    table = check(split, about.texts[:1], who)
    return list(dict.fromkeys(text for column in about.texts for text in table[column].to_pylist()))


def pairs(data: TableLike, who: str = "this") -> pa.Table:
    """anchor, positive[, negative …] from pairs, judged pairs or a retrieval set; grades above zero are positives."""
    split = as_table(data)
    kind = shape_name(split)
    if isinstance(split, RetrievalData):
        return split.pairs()
    if kind == "judged pairs":
        table = check(split, ("query", "document", "score"), who)
        columns = (table[name].to_pylist() for name in ("query", "document", "score"))
        rows = [(query, document) for query, document, score in zip(*columns, strict=True) if score > 0]
        if not rows:
            raise DataError(f"{who} learns from pairs; no row of the judged pairs has a score above zero")
        if not isinstance(rows[0][1], str):
            raise DataError(
                f"{who} learns from pairs; column 'document': expected text, found {table['document'].type}"
            )
        return pa.table({"anchor": [query for query, _ in rows], "positive": [document for _, document in rows]})
    return check(split, ("anchor", "positive"), who)


def documents(data: TableLike, who: str = "this") -> list[list[str]]:
    """The sentences of each document, in order: of a column ``document`` its lists as they are, of texts (there or in
    ``text``) what :func:`umekomi.parts.words.split_sentences` finds. Blank sentences are left out; a document without
    any is an error."""
    from umekomi.parts.words import split_sentences

    table = as_table(data)
    assert not isinstance(table, RetrievalData)
    column = "document" if "document" in table.column_names else "text"
    source = (table.schema.metadata or {}).get(b"source", b"").decode()
    out = []
    for row, document in enumerate(table[column].to_pylist()):
        sentences = split_sentences(document) if isinstance(document, str) else document
        sentences = [sentence for sentence in sentences if sentence and sentence.strip()]
        if not sentences:
            place = f"{source}, row {row + 1}" if source else f"row {row + 1}"
            raise DataError(f"{who}: {place}, column {column!r}: expected one sentence or more, found none")
        out.append(sentences)
    return out
