"""From documents to a retrieval set: draw, ask, filter, keep; and the folder that it is kept in."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.data import Dataset, RetrievalData
from umekomi.data.shapes import shape_of
from umekomi.errors import DataError, WrongUse
from umekomi.files import content_hash, whole_file, write_json
from umekomi.tasks.questions.filters import LEAK, counted, duplicates, lead_back, leak
from umekomi.tasks.questions.ways import WAYS, Document, Question, Vocabulary, body_of, own_title
from umekomi.tasks.questions.writers import CHAT, LOCAL, writer_of

if TYPE_CHECKING:
    from umekomi.data.columns import Split

MOST = 500
"""Questions that are wanted where no number is said: enough for intervals of about two points of nDCG."""
SHORT = 40
"""Characters below which a document is too short to be asked for."""


@dataclass(frozen=True)
class Made:
    """A retrieval set of made questions, and what was left out on the way."""

    data: RetrievalData
    notes: tuple[str, ...]


def ways_of(text: str) -> list[str]:
    """The ways that are named: ``title,phrases``, ``all`` (of those without a language model), ``chat:MODEL@URL``,
    ``local:MODEL``."""
    if text.startswith((CHAT, LOCAL)):
        return [text]
    names = list(WAYS) if text == "all" else [each.strip() for each in text.split(",") if each.strip()]
    wrong = next((name for name in names if name not in WAYS), None)
    if wrong is not None or not names:
        raise WrongUse(
            f"expected all, {', '.join(WAYS)}, {CHAT}MODEL@URL or {LOCAL}MODEL, found {wrong or text!r}",
            parameter="questions",
        )
    return names


def documents_of(split: Split, who: str) -> list[Document]:
    """The documents of any data that has texts to be searched: of a retrieval set its corpus, of pairs what answers."""
    if isinstance(split, RetrievalData):
        table = split.corpus
        columns = ("id", "text")
    else:
        about = shape_of(split)
        if not about.texts:
            raise DataError(f"{who}: questions are made from texts, found {about}")
        table, columns = split, ("", about.texts[0])
    texts = table[columns[1]].to_pylist()
    ids = table["id"].to_pylist() if columns[0] else [f"d{n}" for n in range(len(texts))]
    more = {name: table[name].to_pylist() if name in table.column_names else [""] * len(texts)
            for name in ("title", "heading")}  # fmt: skip
    out, seen = [], set()
    for id_, text, title, heading in zip(ids, texts, more["title"], more["heading"], strict=True):
        if text in seen:
            continue
        seen.add(text)
        out.append(Document(str(id_), text, str(title or own_title(text)), str(heading or "")))
    return out


def make_questions(
    split: Split, ways: str, who: str, *, most: int = MOST, seed: int = 0, progress: bool = False
) -> Made:
    """Questions about documents drawn by a hash of their text, the ways in turn.

    Args:
        split: the documents; what was judged of them is not looked at.
        ways: as :func:`ways_of` reads them.
        who: the data's name, for errors.
        most: questions wanted.
        seed: of what is drawn.
        progress: shows a bar.
    """
    names = ways_of(ways)
    documents = documents_of(split, who)
    if len(documents) < 5:
        raise DataError(f"{who}: questions need five documents or more, found {len(documents)}")
    if "title" in names or "heading" in names:  # who is asked for by its title is searched without it
        documents = [Document(d.id, body_of(d) or d.text, d.title, d.heading) for d in documents]
    vocabulary = Vocabulary(documents)
    order = sorted(
        (each for each in documents if len(each.text) >= SHORT), key=lambda each: content_hash(seed, each.text)
    )
    if not order:
        raise DataError(f"{who}: expected documents of {SHORT} characters or more to ask for, found none")
    asked = _asked(names, order, vocabulary, most, seed, progress)
    by_id = {each.id: each for each in documents}
    kept, dropped = asked, {}
    for reason, flags in (
        ("empty", [bool(each.text.strip()) for each in kept]),
        ("asked twice", None),
        (f"with more than {LEAK:.0%} of their words among the document's rarest", None),
        ("that do not lead back to their document", None),
    ):
        if reason == "asked twice":
            flags = duplicates(kept)
        elif "rarest" in reason:
            flags = [leak(each.text, by_id[each.document], vocabulary) <= LEAK for each in kept]
        elif "lead back" in reason:
            flags = lead_back(kept, documents)
        assert flags is not None
        good = [each for each, flag in zip(kept, flags, strict=True) if flag]
        if len(good) < len(kept):
            dropped[reason] = len(kept) - len(good)
        kept = good
    left_out = "; ".join(f"{count:,} {reason}" for reason, count in dropped.items())
    if len(kept) < 2:
        raise DataError(
            f"{who}: expected questions that pass the filters, found {len(kept)} of {len(asked):,} "
            f"({left_out or 'none could be made'})"
        )
    kept = kept[:most]
    by_way = ", ".join(f"{count:,} by {way}" for way, count in counted(kept).items())
    notes = [f"questions made from the documents: {by_way}; a stand-in for real queries"]
    if left_out:
        notes.append(f"made questions left out: {left_out}")
    return Made(_retrieval(kept, documents), tuple(notes))


def _asked(
    names: Sequence[str], order: Sequence[Document], vocabulary: Vocabulary, most: int, seed: int, progress: bool
) -> list[Question]:
    """About one and a half times as many as are wanted, of every way as many where they can be had."""
    wanted = most + most // 2
    if names[0].startswith((CHAT, LOCAL)):
        chosen = order[:wanted]
        answers = writer_of(names[0]).write([each.text for each in chosen], progress)
        return [Question(text, each.id, names[0]) for text, each in zip(answers, chosen, strict=True)]
    lists: list[list[Question]] = []
    for number, name in enumerate(names):
        start = number * len(order) // len(names)  # each way begins with other documents
        questions: list[Question] = []
        for each in [*order[start:], *order[:start]]:
            questions += WAYS[name](each, vocabulary, random.Random(content_hash(seed, name, each.text)))
            if len(questions) >= wanted:
                break
        lists.append(questions)
    out: list[Question] = []
    while any(lists) and len(out) < wanted:  # the ways in turn, as long as they have any
        out += [questions.pop(0) for questions in lists if questions]
    return sorted(out, key=lambda each: content_hash(seed, each.text))


def _retrieval(questions: Sequence[Question], documents: Sequence[Document]) -> RetrievalData:
    import pyarrow as pa

    ids = [f"q{n}" for n in range(len(questions))]
    return RetrievalData(
        pa.table({
            "id": ids,
            "text": [each.text for each in questions],
            "way": [each.way for each in questions],
            "evidence": pa.array([each.evidence for each in questions], pa.string()),
        }),
        pa.table({"id": [each.id for each in documents], "text": [each.text for each in documents]}),
        pa.table({
            "query_id": ids,
            "corpus_id": [each.document for each in questions],
            "score": [1.0] * len(questions),
        }),
    )  # fmt: skip


# --- the folder -------------------------------------------------------------------------------------------------------


def write_questions(folder: Path, made: Made, about: dict[str, Any]) -> None:
    """BEIR's layout: ``queries.jsonl`` is the file to read and edit (a line that is deleted is a question less)."""
    tables = {"queries": made.data.queries, "corpus": made.data.corpus}
    for name, table in tables.items():
        with whole_file(folder / f"{name}.jsonl") as temporary:
            lines = ({"_id": row.pop("id"), **row} for row in table.to_pylist())
            temporary.write_text(
                "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8"
            )
    with whole_file(folder / "qrels" / "test.tsv") as temporary:
        rows = zip(*(made.data.qrels[name].to_pylist() for name in ("query_id", "corpus_id")), strict=True)
        lines_ = "".join(f"{query}\t{document}\t1\n" for query, document in rows)
        temporary.write_text("query-id\tcorpus-id\tscore\n" + lines_, encoding="utf-8")
    write_json(folder / "questions.json", {"notes": list(made.notes), **about})


def read_questions(folder: Path) -> Made:
    """What :func:`write_questions` wrote, with what was edited since: questions that were deleted are no longer
    asked."""
    from umekomi.data.readers import read, retrieval
    from umekomi.data.readers.beir import judgements
    from umekomi.files import read_json

    queries, corpus = read(folder / "queries.jsonl"), read(folder / "corpus.jsonl")
    file = folder / "qrels" / "test.tsv"
    judged, lines = judgements(file)
    there = {str(name) for name in queries["_id"].to_pylist()}  # type: ignore[call-overload]
    kept = [row for row, name in enumerate(judged["query_id"].to_pylist()) if name in there]
    if not kept:
        raise DataError(f"{folder / 'queries.jsonl'}: expected a question that {folder / 'qrels'} judges, found none")
    about = read_json(folder / "questions.json") if (folder / "questions.json").is_file() else {}
    notes = list(about.get("notes", []))
    if len(kept) < len(judged):
        notes.append(f"{len(judged) - len(kept)} questions deleted by hand")
    places = [lines[row] for row in kept]
    return Made(retrieval(queries, corpus, judged.take(kept), source=str(file), lines=places), tuple(notes))  # type: ignore[arg-type]


def as_dataset(name: str, made: Made, licence: str = "unknown") -> Dataset:
    """What a comparison judges on."""
    return Dataset(name, {"test": made.data}, licence, made.notes)
