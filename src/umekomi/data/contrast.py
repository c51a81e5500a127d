"""Rows that contrastive recipes learn from, whatever data they came from: an anchor, a positive, mined negatives, an
instruction, and the row's own policy: whether other rows' documents are its negatives, and which rows are never
negatives of each other."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import pyarrow as pa

from umekomi.data.columns import Dataset, RetrievalData
from umekomi.data.shapes import pairs, shape_name, shape_of
from umekomi.data.tables import as_table, check
from umekomi.errors import DataError

if TYPE_CHECKING:
    from umekomi.data.columns import Split, TableLike

CONTRASTS = ("pairs", "judged pairs", "retrieval", "labelled pairs", "scored pairs", "labelled texts")
"""The shapes of data that :func:`contrastive_rows` makes rows of."""
GRADE = 4.0
"""Scored pairs of 0 to 5 from this on are positives, both ways round (NV-Embed, 4.1); a scale of 0 to 1 is
stretched."""


def contrastive_rows(
    data: TableLike,
    who: str,
    *,
    in_batch: bool | None = None,
    labels: str = "example",
    negatives: int = 0,
    instruction: str = "",
    document_instruction: str = "",
    seed: int = 0,
) -> pa.Table:
    """One table of anchor, positive, negative_1 …, instruction, document_instruction, label, from pairs, judged pairs,
    a retrieval set, entailment (sentence1, sentence2, label), scored pairs or labelled texts
    (:func:`same_class_pairs`).

    ``label`` is what :class:`umekomi.parts.losses.contrastive.InfoNCE` reads: whether the row takes candidates from
    others, its group, how many negatives it has. An empty anchor or positive, and a negative that is the positive, are
    errors that name the row.

    Args:
        data: a set of one of these shapes.
        who: named in errors.
        in_batch: whether rows take candidates from others; None: all but those of labelled texts (NV-Embed 3.3).
        labels: of labelled texts: the positive is another ``"example"`` of the class, or its ``"label"``.
        negatives: of labelled texts, how many texts of other classes.
        instruction: stands before an anchor, behind what the data's own column says.
        document_instruction: the same for positives and negatives.
        seed: of what is drawn.
    """
    table = as_table(data)
    kind = shape_name(table)
    groups: list[int] | None = None
    if kind == "labelled texts":
        found, groups = same_class_pairs(table, who, labels=labels, negatives=negatives or 1, seed=seed)
    elif kind == "labelled pairs":
        found = entailment_triples(table, who)
    elif kind == "scored pairs":
        found = paraphrase_pairs(table, who)
    else:
        found = pairs(table, who)
    in_batch = kind != "labelled texts" if in_batch is None else in_batch
    return _made(found, who, in_batch, groups, instruction, document_instruction)


def _made(
    found: pa.Table, who: str, in_batch: bool, groups: Sequence[int] | None, instruction: str, document_instruction: str
) -> pa.Table:
    names = ["anchor", "positive", *sorted((n for n in found.column_names if n.startswith("negative")), key=_order)]
    columns = {name: [text or "" for text in found[name].to_pylist()] for name in names}
    for name in names[2:]:
        same = next(
            (row for row, (a, b) in enumerate(zip(columns["positive"], columns[name], strict=True)) if a == b), None
        )
        if same is not None:
            raise DataError(
                f"{who}, row {same + 1}, column {name!r}: expected a text other than the positive, found the "
                f"positive: {columns[name][same][:60]!r}"
            )
    held = [sum(bool(columns[name][row].strip()) for name in names[2:]) for row in range(found.num_rows)]
    for row, count in enumerate(held):
        if any(columns[name][row].strip() for name in names[2 + count :]):
            present = [columns[name][row] for name in names[2:] if columns[name][row].strip()]
            for place, name in enumerate(names[2:]):
                columns[name][row] = present[place] if place < count else ""
    said = {"instruction": instruction, "document_instruction": document_instruction}
    for name, value in said.items():
        own = found[name].to_pylist() if name in found.column_names else [value] * found.num_rows
        columns[name] = [text or value for text in own]
    policy = [[int(in_batch), -1 if groups is None else groups[row], held[row]] for row in range(found.num_rows)]
    types = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    return pa.table(types | {"label": pa.array(policy, pa.list_(pa.int64()))})


def _order(name: str) -> tuple[int, str]:
    tail = name.rpartition("_")[2]
    return (int(tail) if tail.isdigit() else 0, name)


def same_class_pairs(
    data: TableLike, who: str, *, labels: str = "example", negatives: int = 1, seed: int = 0
) -> tuple[pa.Table, list[int]]:
    """(pairs, each row's class as a number) from labelled texts. ``labels="example"``: the positive is another text of
    the class, the negatives texts of other classes (NV-Embed, 4.2). ``"label"``: they are the names of the classes. A
    class of one text has no example for it: such rows are left out."""
    if labels not in ("example", "label"):
        raise DataError(f"{who}, labels: expected example or label, found {labels!r}")
    table = check(data, ("text", "label"), who)
    texts, given = table["text"].to_pylist(), table["label"].to_pylist()
    classes = sorted(set(given), key=str)
    if len(classes) < 2:
        raise DataError(f"{who}: expected two classes or more to tell apart, found {len(classes)}")
    members: dict[Any, list[str]] = {name: [] for name in classes}
    for text, label in zip(texts, given, strict=True):
        members[label].append(text)
    number = {name: place for place, name in enumerate(classes)}
    generator = random.Random(seed)
    out: list[list[str]] = []
    groups: list[int] = []
    for text, label in zip(texts, given, strict=True):
        if labels == "label":
            wrong = [
                str(name)
                for name in generator.sample([c for c in classes if c != label], min(negatives, len(classes) - 1))
            ]
            row = [text, str(label), *wrong]
        else:
            own = members[label]
            if len(own) < 2 or all(other == text for other in own):
                continue
            positive = generator.choice(own)
            while positive == text:
                positive = generator.choice(own)
            row = [text, positive]
            for _ in range(negatives):
                other = generator.choice(classes)
                while other == label:
                    other = generator.choice(classes)
                row.append(generator.choice(members[other]))
        out.append(row + [""] * (2 + negatives - len(row)))
        groups.append(number[label])
    if not out:
        raise DataError(f"{who}: no class has two different texts, so none has an example to learn from")
    names = ["anchor", "positive", *[f"negative_{i + 1}" for i in range(negatives)]]
    return pa.table({name: [row[i] for row in out] for i, name in enumerate(names)}), groups


def entailment_triples(data: TableLike, who: str) -> pa.Table:
    """Triples of premise, entailed hypothesis and contradicting hypothesis from (sentence1, sentence2, label) (SimCSE,
    section 4). A premise with an entailment and no contradiction keeps an empty negative."""
    table = check(data, ("sentence1", "sentence2", "label"), who)
    found: dict[str, dict[str, list[str]]] = {}
    for first, second, label in zip(
        *(table[name].to_pylist() for name in ("sentence1", "sentence2", "label")), strict=True
    ):
        found.setdefault(first, {}).setdefault(relation(label), []).append(second)
    out = []
    for premise, kinds in found.items():
        for place, hypothesis in enumerate(kinds.get("entailment", [])):
            against = kinds.get("contradiction", [])
            out.append((premise, hypothesis, against[place % len(against)] if against else ""))
    if not out:
        raise DataError(
            f"{who}: expected pairs labelled entailment (and contradiction), found "
            f"{', '.join(sorted({str(x) for x in table['label'].to_pylist()})[:5])}"
        )
    return pa.table({name: [row[i] for row in out] for i, name in enumerate(("anchor", "positive", "negative_1"))})


def relation(label: object) -> str:
    """The names of SNLI's and MNLI's relations; numbers are theirs: 0 entailment, 1 neutral, 2 contradiction."""
    names: dict[object, str] = {0: "entailment", 1: "neutral", 2: "contradiction"}
    return names.get(label, str(label).lower())


def paraphrase_pairs(data: TableLike, who: str) -> pa.Table:
    """Both sentences of a well-scored pair as each other's positives (NV-Embed, 4.1: from :data:`GRADE` of 5 on)."""
    table = check(data, ("sentence1", "sentence2", "score"), who)
    scores = [float(score) for score in table["score"].to_pylist()]
    scale = 5.0 if max(scores, default=0) <= 1 else 1.0
    good = [
        (a, b)
        for a, b, s in zip(table["sentence1"].to_pylist(), table["sentence2"].to_pylist(), scores, strict=True)
        if s * scale >= GRADE
    ]
    if not good:
        raise DataError(f"{who}: no pair is scored {GRADE:g} of 5 or more, so none is a positive")
    both = [*good, *((b, a) for a, b in good)]
    return pa.table({"anchor": [a for a, _ in both], "positive": [b for _, b in both]})


def concatenate(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of :func:`contrastive_rows` in one, for batches that mix them (NV-Embed's second stage): rows with fewer
    negatives get empty ones."""
    count = max(sum(name.startswith("negative") for name in table.column_names) for table in tables)
    names = [
        "anchor",
        "positive",
        *[f"negative_{i + 1}" for i in range(count)],
        "instruction",
        "document_instruction",
        "label",
    ]

    def column(table: pa.Table, name: str) -> pa.ChunkedArray:
        return table[name] if name in table.column_names else pa.array([""] * table.num_rows, pa.string())

    def renamed(table: pa.Table) -> pa.Table:
        mined = [name for name in table.column_names if name.startswith("negative")]
        return table.rename_columns({old: f"negative_{place + 1}" for place, old in enumerate(mined)})

    shaped = [renamed(table) for table in tables]
    return pa.concat_tables([pa.table({name: column(table, name) for name in names}) for table in shaped])


def is_named_sets(data: object) -> TypeGuard[Mapping[str, TableLike]]:
    """Is this a mapping of names to sets (tables, data sets, their names or paths), and not of columns to values?"""
    if (
        not isinstance(data, Mapping)
        or isinstance(data, Dataset)
        or not data
        or set(data) >= {"queries", "corpus", "qrels"}
    ):
        return False
    return all(
        isinstance(each, (str, Path, Mapping, Dataset, RetrievalData)) or hasattr(each, "column_names")
        for each in data.values()
    )


def named_sets(data: TableLike | Mapping[str, TableLike], who: str) -> dict[str, Split]:
    """Named training sets: a mapping of tables, or one table under the recipe's own name."""
    return {str(name): as_table(each) for name, each in data.items()} if is_named_sets(data) else {who: as_table(data)}


def is_weak(name: str) -> bool:
    """Is a set of this name the first stage's in recipes of two stages?"""
    return name.startswith("weak")


def stages(data: TableLike | Mapping[str, TableLike], who: str) -> tuple[dict[str, Split], dict[str, Split]]:
    """(weak sets, supervised sets) by name: those whose name begins with ``weak`` come first in recipes of two stages.
    One table alone is supervised."""
    named = named_sets(data, who)
    weak = {name: table for name, table in named.items() if is_weak(name)}
    return weak, {name: table for name, table in named.items() if name not in weak}


def role_of(table: Split) -> str:
    """The role whose instruction fits a set's anchors: ``"query"``, ``"classification"`` or ``"similarity"``."""
    return shape_of(as_table(table)).role


def is_search(table: Split) -> bool:
    """Does this set ask for a document (pairs, judged pairs, a retrieval set), so that hard negatives can be mined for
    it?"""
    return shape_of(as_table(table)).searches
