"""What a comparison judges on: the task that the columns ask for, and a held-out split where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umekomi.data import Dataset, RetrievalData, load
from umekomi.data.rows import targets
from umekomi.data.shapes import shape_of
from umekomi.data.views import split_held_out
from umekomi.files import content_hash
from umekomi.tasks import RANKS, Task, build, default_kind, held_out, known_kind, searchable, without_blank

if TYPE_CHECKING:
    from umekomi.data.columns import Given, Split


@dataclass(frozen=True)
class Plan:
    """The task, what may be learned from, and what was said on the way."""

    dataset: Dataset
    task: Task
    train: Any
    own_texts: Any
    notes: tuple[str, ...]


def plan(data: Given, task: str | None, split: str | None, learns: bool, seed: int, max_queries: int | None) -> Plan:
    """Work out from the columns which task fits, and carve a held-out split where there is none and one is needed."""
    dataset, blank = without_blank(load(data))
    split = split or held_out(dataset)
    notes = [*dataset.notes, *blank]
    trainable = [name for name in ("train", "all") if name in dataset.splits and name != split]
    if task is not None:
        known_kind(task)
    kind = task or _kind(dataset[split])
    if kind == "retrieval" and shape_of(dataset[split]).ranks == ("text",):
        notes.append(
            "no queries: each text's first sentence asks for the rest of it (inverse cloze); a stand-in for real "
            "queries"
        )
    whole = kind == "reconstruction"
    if whole and not trainable:
        notes.append("judged on what is learned from: how much of it the geometry holds")
    if learns and not trainable and not whole and len(dataset) == 1:
        dataset = split_held_out(dataset, seed=seed)
        notes += [note for note in dataset.notes if note not in notes]
        split, trainable = "test", ["train"]
    judged = dataset[split]
    if kind in RANKS:
        if not isinstance(judged, RetrievalData):
            judged = searchable(judged, dataset.name)
            notes.append(
                f"retrieval set made of the rows: {judged.queries.num_rows} queries, {judged.corpus.num_rows} "
                "distinct documents"
            )
        if max_queries and judged.queries.num_rows > max_queries:
            judged = _fewer(judged, max_queries)
            notes.append(f"{max_queries} queries drawn by hash of their text; the corpus is whole")
        dataset = Dataset(dataset.name, {**dataset.splits, split: judged}, dataset.licence, dataset.notes)
    built = build(kind, dataset, split, dataset.name)
    if kind == "prediction":
        notes.append(_target(dataset[split], dataset.name))
    train = dataset[trainable[0]] if trainable else judged if whole else None
    searched = judged if kind in RANKS or train is None else train
    return Plan(dataset, built, train, searched, tuple(notes))


def _target(table: Any, who: str) -> str:
    """What is predicted, as :func:`umekomi.data.rows.targets` takes it."""
    classes, values = targets(table, who)
    if not classes:
        return f"target: numbers, {values.min():g} to {values.max():g} (written as texts they would be classes)"
    more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
    return f"target: the class, of {', '.join(classes[:5])}{more}"


def _kind(split: Split) -> str:
    about = shape_of(split)
    return "retrieval" if about.ranks and about.task in ("", "retrieval") else default_kind(split)


def _fewer(data: RetrievalData, count: int) -> RetrievalData:
    import pyarrow.compute as pc

    order = sorted(range(data.queries.num_rows), key=lambda row: content_hash(data.queries["text"][row].as_py()))[
        :count
    ]
    queries = data.queries.take(sorted(order))
    return RetrievalData(
        queries, data.corpus, data.qrels.filter(pc.is_in(data.qrels["query_id"], queries["id"].combine_chunks()))
    )
