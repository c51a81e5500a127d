"""SentEval's protocol (Conneau & Kiela, LREC 2018, arXiv 1803.05449), each task by its name and all of them at once.

What is followed is the published program with its scikit-learn classifiers: its folds (seed 1111, texts by length), its
grids of C and the rounding by which a tie goes to the smaller one, its pair features [|u−v|; u·v], its regressors on
softened targets. Two things differ: where there are three classes or more the regression is softmax (scikit-learn then
took one against the rest), and every minimum is exact (:mod:`umekomi.parts.logistic`), where scikit-learn's default
stops early. STS gives three figures, as papers mean any of them by "STS14": ``mean`` over subsets, ``wmean`` weighted
by their sizes, ``all`` pairs as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from umekomi.contracts import Vectors
from umekomi.data import Dataset, load
from umekomi.errors import DataError, WrongUse, unknown_name
from umekomi.models.base import EmbedderBase, Sort
from umekomi.parts.similarity import pair_features, take
from umekomi.progress import Progress
from umekomi.tasks.base import Result, Score, Task, count_of, own_role, vectors_of
from umekomi.tasks.pairs import pair_scores

if TYPE_CHECKING:
    import pyarrow as pa

Codes = NDArray[np.int64]

SEED = 1111
FOLDS = 10
GRID = tuple(2.0**power for power in range(-2, 4))
"""C where a dev split or inner folds choose it."""
GRID_BY_FOLDS = tuple(2.0**power for power in range(-1, 6))
"""C where folds of the training split choose it (TREC, MRPC)."""

WAYS: Mapping[str, str] = {
    "mr": "nested",
    "cr": "nested",
    "subj": "nested",
    "mpqa": "nested",
    "sst2": "split",
    "sst5": "split",
    "trec": "folds",
    "mrpc": "folds",
    "sick-e": "split",
    "sick-r": "grades",
    "stsb": "grades",
    "sts12": "cosine",
    "sts13": "cosine",
    "sts14": "cosine",
    "sts15": "cosine",
    "sts16": "cosine",
}
"""How each is judged: ``nested`` folds, a dev ``split``, ``folds`` of the training split, ``grades`` by a regressor,
the embedder's own similarity (``cosine``)."""
FAMILIES = (
    ("mr",),
    ("cr",),
    ("subj",),
    ("mpqa",),
    ("sst2", "sst5"),
    ("trec",),
    ("mrpc",),
    ("sick-e", "sick-r"),
    ("stsb", "sts12", "sts13", "sts14", "sts15", "sts16"),
)
"""Tasks that share texts, which are encoded once for all of a family."""
LABELS = {"sick-e": ("contradiction", "neutral", "entailment")}
PHRASES = "trained on the sentences; SentEval's own copy has 67,349 phrases of their trees"


@dataclass(frozen=True)
class SentEval(Task):
    """The ``tasks`` by name; what they are judged on are the named sets of the same names."""

    tasks: tuple[str, ...] = tuple(WAYS)
    name: str = "senteval"
    kind: ClassVar[str] = "senteval"
    shapes: ClassVar[tuple[str, ...]] = ()

    @property
    def judges(self) -> tuple[Sort, ...]:  # type: ignore[override]
        """Scorers have no vectors to learn from: they are judged where similarity alone is asked for."""
        return ("embedder", "scorer") if all(WAYS[task] == "cosine" for task in self.tasks) else ("embedder",)

    @property
    def data(self) -> pa.Table:
        """All texts, for a model that is learned from the very texts it is judged on."""
        import pyarrow as pa

        known: dict[str, None] = {}
        for task in self.tasks:
            for table in parts_of(task, load(task)).values():
                known.update(dict.fromkeys(texts_of(table)))
        return pa.table({"text": pa.array(list(known), pa.string())})

    def size(self) -> Mapping[str, int]:
        return {task: judged(task, load(task)).num_rows for task in self.tasks}

    def check(self) -> None:
        """Every set is there; where several are asked for, those that are not are said in the notes."""
        if len(self.tasks) == 1:
            load(self.tasks[0])

    def _evaluate(self, model: Any, batch_size: int, progress: bool) -> Result:
        scores: dict[str, Score] = {}
        notes: list[str] = []
        for family in FAMILIES:
            known: dict[str, Dataset] = {}
            for task in (task for task in family if task in self.tasks):
                try:
                    known[task] = load(task)
                except (WrongUse, DataError) as error:
                    if len(self.tasks) == 1:
                        raise
                    notes.append(f"left out: {error}")
            several = len(self.tasks) > 1
            for task, (own, said) in _family(model, known, batch_size, progress).items():
                scores |= {f"{task} {metric}" if several else metric: score for metric, score in own.items()}
                notes += [f"{task}: {note}" if several else note for note in said]
        if not scores:
            raise DataError(f"{self.name}: expected one of its sets or more, found none: {'; '.join(notes)}")
        return Result(self.name, scores, tuple(notes))


def make(name: str) -> SentEval:
    """``senteval``, or ``senteval:TASK``."""
    _, _, task = name.partition(":")
    if not task:
        return SentEval()
    if task.lower() not in WAYS:
        raise unknown_name("task of SentEval", task, WAYS)
    return SentEval((task.lower(),), f"senteval:{task.lower()}")


def parts_of(task: str, data: Dataset) -> dict[str, pa.Table]:
    """The splits that a task reads."""
    if WAYS[task] == "nested":
        return {"all": data["all"]}
    if WAYS[task] == "cosine":
        return {"test": data["test"]}
    return {split: data[split] for split in ("train", "dev", "test") if split in data.splits}


def judged(task: str, data: Dataset) -> pa.Table:
    """The rows that the figure is of."""
    parts = parts_of(task, data)
    return parts.get("test", parts.get("all", parts.get("dev")))


def texts_of(table: pa.Table) -> list[str]:
    """The texts of its rows, each as often as it stands there."""
    columns = ("text",) if "text" in table.column_names else ("sentence1", "sentence2")
    return [text for column in columns for text in table[column].to_pylist()]


Judged = tuple[dict[str, Score], list[str]]


def _family(model: Any, sets: Mapping[str, Dataset], batch_size: int, progress: bool) -> dict[str, Judged]:
    """Scores and notes of each task of a family, its texts encoded once."""
    if not sets:
        return {}
    if not isinstance(model, EmbedderBase) and not hasattr(model, "encode"):
        return {task: _by_scorer(model, data, batch_size, progress) for task, data in sets.items()}
    parts = {task: parts_of(task, data) for task, data in sets.items()}
    known = dict.fromkeys(text for some in parts.values() for table in some.values() for text in texts_of(table))
    paired = any("sentence1" in table.column_names for some in parts.values() for table in some.values())
    role = own_role(model, "similarity" if paired else "classification")
    vectors = vectors_of(model, list(known), role, batch_size, progress)
    place = {text: number for number, text in enumerate(known)}
    out = {}
    with Progress(f"{' and '.join(sets)}: judging", len(sets), "tasks", progress) as bar:
        for task, some in parts.items():
            out[task] = _judge(_Seen(model, task, vectors, place), some)
            bar.advance()
    return out


@dataclass(frozen=True)
class _Seen:
    """A model's vectors of a family's texts."""

    model: Any
    task: str
    vectors: Any
    place: Mapping[str, int]

    def of(self, table: pa.Table, column: str) -> Any:
        return take(self.vectors, [self.place[text] for text in table[column].to_pylist()])

    def features(self, table: pa.Table) -> Any:
        """The vectors of texts, or [|u−v|; u·v] of pairs."""
        if isinstance(self.vectors, Vectors):
            raise WrongUse(f"senteval:{self.task} learns from one vector a text; {self.model.name} gives several")
        if "text" in table.column_names:
            return self.of(table, "text")
        u, v = self.of(table, "sentence1"), self.of(table, "sentence2")
        return pair_features(u, v)


def _judge(seen: _Seen, parts: Mapping[str, pa.Table]) -> Judged:
    way = WAYS[seen.task]
    if way == "cosine":
        table = parts["test"]
        a, b = seen.of(table, "sentence1"), seen.of(table, "sentence2")
        return _correlations(seen.task, table, seen.model.similarity_pairwise(a, b))
    if way == "grades":
        return _grades(seen, parts)
    return _classes(seen, parts)


def _by_scorer(model: Any, data: Dataset, batch_size: int, progress: bool) -> Judged:
    table = data["test"]
    return _correlations(data.name, table, pair_scores(model, table, batch_size, progress))


def _correlations(task: str, table: pa.Table, scores: Any) -> Judged:
    """Pearson and Spearman, each as ``mean``, ``wmean`` and ``all``."""
    if "subset" not in table.column_names:
        raise DataError(
            f"{task}: expected a column 'subset', by which the means are taken; found {', '.join(table.column_names)}: "
            "put the pairs with their subsets where UMEKOMI_DATA leads to"
        )
    subsets, codes = np.unique(table["subset"].to_pylist(), return_inverse=True)
    values = np.column_stack([table["score"].to_numpy(), np.asarray(scores, np.float64), codes]).astype(np.float64)
    out: dict[str, Score] = {}
    for name in ("pearson", "spearman"):
        out |= {f"{name} {way}": Score(values, f"{way}_{name}") for way in ("mean", "wmean")}
        out[f"{name} all"] = Score(values[:, :2], name)
    return out, [f"{count_of(len(subsets), 'subset')}: {', '.join(subsets)}"]


def _grades(seen: _Seen, parts: Mapping[str, pa.Table]) -> Judged:
    """The regressor on softened targets."""
    from umekomi.parts import relatedness

    missing = [split for split in ("train", "dev", "test") if split not in parts]
    if missing:
        raise DataError(f"senteval:{seen.task}: expected the splits train, dev and test, found no {missing[0]}")
    gold = {split: parts[split]["score"].to_numpy().astype(np.float64) for split in ("train", "dev", "test")}
    features = _without_empty({split: seen.features(parts[split]) for split in gold})
    fitted = relatedness.fit(features["train"], gold["train"], features["dev"], gold["dev"], seed=SEED)
    values = np.column_stack([gold["test"], fitted.scores(features["test"])])
    squares = (values[:, 0] - values[:, 1]) ** 2
    scores = {"pearson": Score(values, "pearson"), "spearman": Score(values, "spearman"), "mse": Score(squares)}
    return scores, [f"dev pearson {fitted.dev:.4f} after {fitted.epochs} epochs"]


def _classes(seen: _Seen, parts: Mapping[str, pa.Table]) -> Judged:
    """Accuracy, and for MRPC the F1 of paraphrase."""
    way, notes = WAYS[seen.task], []
    names = LABELS.get(seen.task) or sorted({str(label) for part in parts.values() for label in _labels(part)})
    codes = {split: np.array([names.index(str(label)) for label in _labels(part)]) for split, part in parts.items()}
    features = {split: seen.features(part) for split, part in parts.items()}
    if way == "nested":
        gold = codes["all"]
        predicted, chosen = nested(features["all"], gold, _by_length([parts["all"]], gold))
        notes.append(f"C by fold: {', '.join(f'{value:g}' for value in chosen)}")
    elif way == "split":
        gold = codes["test"]
        predicted, best, dev = by_split(features, codes)
        notes.append(f"C {best:g}, dev accuracy {dev:.4f}")
    else:
        train, test = ["train"], "test"
        if seen.task == "mrpc" and "test" in parts:
            train = [split for split in ("train", "dev") if split in parts]  # GLUE's division of the official training
        elif seen.task == "mrpc":
            test = "dev"
            notes.append(
                "judged on GLUE's dev split and learned from its training split: the official test split is absent "
                "(https://huggingface.co/datasets/nyu-mll/glue has it); no published figure is of these rows"
            )
        gold = codes[test]
        learned, labels = _stacked([features[split] for split in train]), np.concatenate([codes[at] for at in train])
        order = _by_length([parts[split] for split in train], labels)
        predicted, best, dev = by_folds(learned, labels, features[test], order)
        notes.append(f"C {best:g}, accuracy over folds {dev:.4f}")
    if seen.task == "sst2":
        notes.append(PHRASES)
    scores = {"accuracy": Score((predicted == gold).astype(np.float64))}
    if seen.task == "mrpc":
        scores["f1"] = Score(np.column_stack([gold, predicted]).astype(np.float64), "f1")
    return scores, notes


def _without_empty(features: Mapping[str, Any]) -> dict[str, Any]:
    """Sparse features without the columns in which no row has anything: Adam would carry their weights along."""
    if not hasattr(features["train"], "tocsr"):
        return dict(features)
    used = np.flatnonzero(np.sum([np.bincount(part.indices, minlength=part.shape[1]) for part in features.values()], 0))
    return {split: part[:, used] for split, part in features.items()}


def _labels(table: pa.Table) -> list[Any]:
    labels: list[Any] = table["label"].to_pylist()
    return labels


def _stacked(features: Sequence[Any]) -> Any:
    if hasattr(features[0], "tocsr"):
        from scipy import sparse

        return sparse.vstack(features, format="csr")
    return np.concatenate(features)


def _by_length(tables: Sequence[pa.Table], labels: Codes) -> Codes:
    """The order that SentEval brings rows into before it cuts folds: by words (of the first text, of the second), then
    by label."""
    columns = ("text",) if "text" in tables[0].column_names else ("sentence1", "sentence2")
    lengths = [[len(text.split()) for table in tables for text in table[column].to_pylist()] for column in columns]
    return np.lexsort([labels, *(np.array(each) for each in reversed(lengths))])


def _folds(labels: Codes, count: int) -> Iterator[tuple[Codes, Codes]]:
    from sklearn.model_selection import StratifiedKFold

    fewest = int(min(number for number in _counts(labels) if number))
    if fewest < 2:
        raise DataError("senteval: expected two rows or more of every label for folds, found one of some")
    yield from StratifiedKFold(min(count, fewest), shuffle=True, random_state=SEED).split(labels, labels)


def _counts(labels: Codes) -> Codes:
    return np.bincount(labels)


def _mask(count: int, rows: Codes) -> NDArray[np.bool_]:
    out = np.zeros(count, bool)
    out[rows] = True
    return out


def _best(accuracies: Any) -> int:
    """The first of the highest, in percent to two digits as SentEval rounds them: a tie goes to the smaller C."""
    return int(np.argmax(np.round(100 * np.asarray(accuracies), 2)))


def nested(features: Any, labels: Codes, order: Codes) -> tuple[Codes, list[float]]:
    """Ten folds, C of each chosen by ten folds of its training rows: (what is predicted for every row, the C of every
    fold). ``order`` are the rows as the folds are cut from them."""
    from umekomi.parts.logistic import predict

    count = len(labels)
    outer = [(order[fit], order[judged_rows]) for fit, judged_rows in _folds(labels[order], FOLDS)]
    subsets, inner = [], []
    for fit, _ in outer:
        within = [(fit[some], fit[judged_rows]) for some, judged_rows in _folds(labels[fit], FOLDS)]
        inner.append([judged_rows for _, judged_rows in within])
        subsets += [_mask(count, rows) for rows in (fit, *(some for some, _ in within))]
    solved = predict(features, labels, np.stack(subsets), GRID).classes
    predicted, chosen, at = labels.copy(), [], 0
    for (_, judged_rows), folds in zip(outer, inner, strict=True):
        right = [
            np.mean([np.mean(solved[at + 1 + fold, place][rows] == labels[rows]) for fold, rows in enumerate(folds)])
            for place in range(len(GRID))
        ]
        best = _best(right)
        predicted[judged_rows] = solved[at, best][judged_rows]
        chosen.append(GRID[best])
        at += 1 + len(folds)
    return predicted, chosen


def by_split(features: Mapping[str, Any], labels: Mapping[str, Codes]) -> tuple[Codes, float, float]:
    """C chosen on ``dev``: (what is predicted for ``test``, C, accuracy on dev)."""
    from umekomi.parts.logistic import predict

    sizes = [len(labels[split]) for split in ("train", "dev", "test")]
    rows = np.concatenate([labels["train"], np.zeros(sizes[1] + sizes[2], np.int64)])
    joined = _stacked([features[split] for split in ("train", "dev", "test")])
    solved = predict(joined, rows, _mask(len(rows), np.arange(sizes[0]))[None], GRID).classes[0]
    right = (solved[:, sizes[0] : sizes[0] + sizes[1]] == labels["dev"]).mean(1)
    best = _best(right)
    return solved[best, sizes[0] + sizes[1] :].astype(np.int64), GRID[best], float(right[best])


def by_folds(features: Any, labels: Codes, asked: Any, order: Codes) -> tuple[Codes, float, float]:
    """C chosen by ten folds of the training rows: (what is predicted for ``asked``, C, accuracy over the folds)."""
    from umekomi.parts.logistic import predict

    count = len(labels)
    rows = np.concatenate([labels, np.zeros(asked.shape[0], np.int64)])
    folds = [(order[fit], order[judged_rows]) for fit, judged_rows in _folds(labels[order], FOLDS)]
    subsets = [_mask(len(rows), fit) for fit in (np.arange(count), *(fit for fit, _ in folds))]
    solved = predict(_stacked([features, asked]), rows, np.stack(subsets), GRID_BY_FOLDS).classes
    right = [
        float(
            np.mean(
                [
                    np.mean(solved[1 + fold, place][judged_rows] == labels[judged_rows])
                    for fold, (_, judged_rows) in enumerate(folds)
                ]
            )
        )
        for place in range(len(GRID_BY_FOLDS))
    ]
    best = _best(right)
    return solved[0, best, count:].astype(np.int64), GRID_BY_FOLDS[best], right[best]
