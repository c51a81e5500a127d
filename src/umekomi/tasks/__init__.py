"""What an embedder or scorer is judged on. :func:`make` builds a task from a name, a dataset, or a user's data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from umekomi.data import DataError, Dataset, RetrievalData, check, load, names, shape_name
from umekomi.data.shapes import shape_of
from umekomi.errors import WrongUse, unknown_name
from umekomi.progress import say
from umekomi.tasks.base import Result, Score, Task, count_of
from umekomi.tasks.entities import HypernymyRanking, LinkPrediction, Reconstruction, TripleRanking
from umekomi.tasks.labels import Classification, Clustering, without_rare_labels
from umekomi.tasks.pairs import SAME, PairClassification, Similarity
from umekomi.tasks.predictions import Prediction
from umekomi.tasks.relations import Relation
from umekomi.tasks.retrieval import Reranking, RetrievalTask

if TYPE_CHECKING:
    import pyarrow as pa

    from umekomi.data.columns import Split

__all__ = ["KINDS", "Result", "Score", "Task", "default_kind", "fitting_kinds", "make"]

KINDS: dict[str, type[Task]] = {
    kind.kind: kind
    for kind in (
        RetrievalTask,
        Reranking,
        Similarity,
        PairClassification,
        Relation,
        Classification,
        Clustering,
        Reconstruction,
        LinkPrediction,
        TripleRanking,
        HypernymyRanking,
        Prediction,
    )
}

RANKS = ("retrieval", "reranking")
"""Kinds that take a retrieval set, which pairs and judged pairs can be made into."""


def fitting_kinds(split: Split) -> list[str]:
    """The kinds of task that this table or retrieval set can be judged on, the main one first."""
    kind_of_data = shape_name(split)
    kinds = [kind for kind, task in KINDS.items() if kind_of_data in task.shapes]
    if isinstance(split, RetrievalData):
        if len(split.qrels) <= split.num_rows:
            kinds = [kind for kind in kinds if kind != "reranking"]
    elif kind_of_data == "hierarchy" and "score" not in split.column_names:
        kinds.remove("hypernymy-ranking")
    if not isinstance(split, RetrievalData) and kind_of_data == "labelled pairs" and not _same_or_not(split):
        kinds.remove("pair-classification")
    return kinds


def _same_or_not(split: pa.Table) -> bool:
    """Do the labels of pairs say whether two texts are the same, and nothing else?"""
    return {str(label).strip().lower() for label in split["label"].unique().to_pylist()} <= set(SAME)


def default_kind(split: Split) -> str:
    """The main kind of task for this data."""
    kinds = fitting_kinds(split)
    if not kinds:
        raise WrongUse(f"no task fits {shape_name(split)}; tasks: {', '.join(KINDS)}")
    return kinds[0]


def make(task: str, data: Split | None = None, split: str | None = None) -> Task:
    """The task of this name: a dataset's name or file (its main task on its test split), ``dataset:kind``,
    ``mteb:NAME``, ``senteval``, ``senteval:TASK``, or a kind of task with the ``data`` to judge on."""
    if task.startswith("mteb:"):
        from umekomi.tasks.mteb import MtebTask

        return MtebTask(task.removeprefix("mteb:"))
    if task.partition(":")[0] == "senteval":
        from umekomi.tasks import senteval

        if data is not None or split is not None:
            what = "data" if data is not None else "split"
            raise WrongUse(f"{task} is judged on its own sets, by its own splits: expected none named", parameter=what)
        return senteval.make(task)
    if data is None:
        name, _, kind = task.partition(":")
        if name in KINDS:
            raise WrongUse(
                f"the task {name!r} needs data to judge on", parameter="data", advice="name a set or a file with"
            )
        if name not in names() and Path(task).expanduser().exists():
            name, kind = task, ""
        elif name not in names():
            try:
                from umekomi.tasks.mteb import MtebTask

                return MtebTask(task)
            except WrongUse:
                raise unknown_name("task or dataset", task, [*names(), *KINDS]) from None
        dataset = load(name)
    else:
        dataset, kind = load(data), task
    dataset, notes = without_blank(dataset)
    for note in notes:
        say(f"note: {dataset.name}: {note}")
    split = split or held_out(dataset)
    chosen = dataset[split]
    kind = kind or ("retrieval" if shape_name(chosen) in ("pairs", "judged pairs") else default_kind(chosen))
    known_kind(kind)
    if kind in RANKS and shape_of(chosen).searches:
        chosen = searchable(chosen, dataset.name)
        dataset = Dataset(dataset.name, {**dataset.splits, split: chosen}, dataset.licence, dataset.notes)
    takes(kind, chosen, dataset.name)
    label = f"{dataset.name}:{kind}" if kind != default_kind(chosen) else dataset.name
    return build(kind, dataset, split, label)


def without_blank(dataset: Dataset) -> tuple[Dataset, list[str]]:
    """(the data without documents that say nothing (:meth:`RetrievalData.without_blank`), a note on how many they
    were): every kind of model is judged on the same, and no service is asked for them."""
    splits: dict[str, Split] = {}
    notes = []
    for name, split in dataset.splits.items():
        splits[name] = split.without_blank() if isinstance(split, RetrievalData) else split
        if isinstance(split, RetrievalData) and splits[name] is not split:
            count = split.corpus.num_rows - splits[name].corpus.num_rows
            where = f"{name}: " if len(dataset) > 1 else ""
            notes.append(
                f"{where}{count_of(count, 'blank document')} left out with their judgements: no model can find such"
            )
    return (dataclasses.replace(dataset, splits=splits) if notes else dataset), notes


def searchable(split: Split, who: str) -> RetrievalData:
    """A retrieval set made of pairs, judged pairs or bare texts, all of whose values are there."""
    import pyarrow as pa

    from umekomi.data.views import as_retrieval

    if isinstance(split, RetrievalData):
        return split
    columns = shape_of(split).ranks
    table = check(split, columns, who)
    for column in columns:
        kind = table[column].type
        if column != "score" and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise DataError(f"{who}: column {column!r}: expected text, found {kind}")
    return as_retrieval(table)


def known_kind(kind: str) -> None:
    """The error for a kind of task that there is not."""
    if kind not in KINDS:
        raise unknown_name("task", kind, KINDS)


def takes(kind: str, chosen: Split, name: str) -> None:
    """The error for data of another shape than this kind of task takes."""
    known_kind(kind)
    if shape_name(chosen) not in KINDS[kind].shapes:
        raise WrongUse(
            f"the task {kind} takes {' or '.join(KINDS[kind].shapes)}; {name} holds {shape_name(chosen)}, which "
            f"fits: {', '.join(fitting_kinds(chosen)) or 'no task'}"
        )


def build(kind: str, dataset: Dataset, split: str, name: str) -> Task:
    """The task of this kind on that split, its data checked; the training split goes with the kinds that learn a
    probe."""
    takes(kind, dataset[split], dataset.name)
    task = _made(kind, dataset, split, name)
    task.check()
    return task


def _made(kind: str, dataset: Dataset, split: str, name: str) -> Task:
    chosen = dataset[split]
    if kind == "relation":
        return Relation(chosen, dataset.splits.get("train") if split != "train" else None, name=name)
    if kind in ("classification", "link-prediction"):
        train = dataset.splits.get("train") if split != "train" else None
        if kind == "link-prediction" and train is None:
            raise WrongUse(
                f"link-prediction needs a split 'train' beside {split!r}; {dataset.name} has {', '.join(dataset)}"
            )
        if kind == "link-prediction":
            return LinkPrediction(chosen, train, name=name)
        judged, notes = (chosen, ()) if train is not None else without_rare_labels(chosen)
        return Classification(judged, train=train, name=name, notes=notes)
    if kind == "triple-ranking":
        import pyarrow as pa

        others = [table for other, table in dataset.splits.items() if other != split]
        return TripleRanking(
            chosen, known=pa.concat_tables(others, promote_options="default") if others else None, name=name
        )
    return KINDS[kind](chosen, name=name)  # type: ignore[call-arg]


def held_out(dataset: Dataset) -> str:
    """The split to judge on: test, else dev, else the only one."""
    for split in ("test", "dev", "all"):
        if split in dataset.splits:
            return split
    if len(dataset) == 1:
        return next(iter(dataset))
    raise WrongUse(
        f"{dataset.name}: expected a split named test, dev or all; found {', '.join(dataset)}",
        parameter="split",
        advice="name one with",
    )
