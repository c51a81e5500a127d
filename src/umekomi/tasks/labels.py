"""Labelled texts: a linear probe, nearest neighbours, clustering."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from umekomi.contracts import Vectors
from umekomi.data.tables import check
from umekomi.errors import DataError, WrongUse
from umekomi.tasks.base import Result, Score, Task, count_of, own_role, vectors_of

if TYPE_CHECKING:
    import pyarrow as pa

    from umekomi.contracts import Dense, Sparse
    from umekomi.models.base import EmbedderBase

SHOWN = 3
"""Labels that a note names at most."""


def labels_of(table: pa.Table, who: str) -> list[str]:
    """The labels of labelled texts as text; every row has one."""
    return [str(label) for label in check(table, ("text", "label"), who)["label"].to_pylist()]


def two_labels(labels: Sequence[str], who: str, more: str = "") -> None:
    """The error for rows that are all of one class."""
    if len(set(labels)) < 2:
        raise DataError(
            f"{who}: column 'label': expected two labels or more, found only {labels[0]!r} in "
            f"{count_of(len(labels), 'row')}{more}"
        )


def without_rare_labels(table: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """(the rows whose label another row has too, a note on the others): what cross-validation can judge, since a label
    that occurs once cannot be learned from one fold and asked in another."""
    import pyarrow as pa

    labels = labels_of(table, "classification")
    counts = Counter(labels)
    once = [label for label, count in counts.items() if count == 1]
    if not once or len(once) == len(counts):
        return table, ()
    note = f"{count_of(len(once), 'row')} left out, the only one of its label each: {_some(once)}"
    return table.filter(pa.array([counts[label] > 1 for label in labels])), (note,)


def _some(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - SHOWN:,} more" if len(labels) > SHOWN else ""
    return ", ".join(map(repr, labels[:SHOWN])) + more


def _of_texts(model: EmbedderBase, texts: list[str], role: str | None, batch_size: int, progress: bool) -> Dense:
    vectors = vectors_of(model, texts, role, batch_size, progress)
    if isinstance(vectors, Vectors):
        raise WrongUse(f"labelled texts are judged by one vector each; {model.name} gives several")
    return vectors


def linear_probe(
    train: Dense | Sparse, labels: np.ndarray, test: Dense | Sparse, seed: int, who: str, model: str
) -> np.ndarray:
    """What scikit-learn's logistic regression (100 iterations, mteb's probe, converged or not) on ``train``
    ``[n, d]`` predicts for ``test``."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            return LogisticRegression(max_iter=100, random_state=seed).fit(train, labels).predict(test)
        except (ValueError, FloatingPointError) as error:
            raise DataError(
                f"{who}: no linear probe can be learned from the vectors of {model}: {str(error).splitlines()[0]}"
            ) from None


def classified(name: str, gold: np.ndarray, runs: list[np.ndarray], notes: tuple[str, ...] = ()) -> Result:
    """The result of predictions, once or several times; of one also macro F1."""
    scores = {"accuracy": Score(np.mean([predicted == gold for predicted in runs], axis=0))}
    if len(runs) == 1:
        classes = {label: code for code, label in enumerate(np.unique(gold))}
        codes = np.array([[classes[g], classes.get(p, -1)] for g, p in zip(gold, runs[0], strict=True)], np.float64)
        scores["macro f1"] = Score(codes, "macro_f1")
    return Result(name, scores, notes)


@dataclass(frozen=True)
class Classification(Task):
    """A classifier on frozen vectors: ``probe`` ``"linear"`` (scikit-learn's logistic regression, 100 iterations) or
    ``"knn"`` (ten nearest by the embedder's own similarity, weighted votes).

    Without ``train``, cross-validation: ten folds, or as many as the rarest label has texts. ``samples_per_label``
    follows mteb: that many training texts of each label, ``experiments`` times with its shuffles (seed 42), mean
    accuracy. ``notes`` are said with the result.
    """

    data: pa.Table
    train: pa.Table | None = None
    name: str = "classification"
    probe: str = "linear"
    samples_per_label: int | None = None
    experiments: int = 10
    seed: int = 42
    notes: tuple[str, ...] = ()
    kind: ClassVar[str] = "classification"
    shapes: ClassVar[tuple[str, ...]] = ("labelled texts",)

    def size(self) -> Mapping[str, int]:
        return {
            "texts": self.data.num_rows,
            "training texts": self.train.num_rows if self.train is not None else self.data.num_rows,
        }

    def check(self) -> None:
        gold = labels_of(self.data, self.kind)
        if self.train is None:
            two_labels(gold, self.name)
            once = [label for label, count in Counter(gold).items() if count == 1]
            if once:
                raise DataError(
                    f"{self.name}: column 'label': cross-validation needs two texts of every label or more, found one "
                    f"of {_some(once)}"
                )
            return
        known = labels_of(self.train, f"{self.kind}, training split")
        two_labels(known, f"{self.name}: training split")
        others = [label for label in dict.fromkeys(known) if label not in set(gold)]
        two_labels(gold, self.name, f"; the training split has {_some(others)} too" if others else "")
        if not set(gold) & set(known):
            raise DataError(
                f"{self.name}: column 'label': expected labels of the training split such as {known[0]!r}, found none "
                f"of them: {_some(list(dict.fromkeys(gold)))}"
            )

    def _evaluate(self, model: EmbedderBase, batch_size: int, progress: bool) -> Result:
        gold = np.array(labels_of(self.data, self.kind))
        role = own_role(model, "classification")
        vectors = _of_texts(model, self.data["text"].to_pylist(), role, batch_size, progress)
        if self.train is None:
            from sklearn.model_selection import StratifiedKFold

            folds = min(10, min(np.unique(gold, return_counts=True)[1]))
            predicted = gold.copy()
            for fit, test in StratifiedKFold(folds, shuffle=True, random_state=self.seed).split(gold, gold):
                predicted[test] = self._predict(model, vectors[fit], gold[fit], vectors[test])
            return classified(self.name, gold, [predicted], (*self.notes, f"{folds}-fold cross-validation"))
        train_labels = np.array(labels_of(self.train, self.kind))
        texts = self.train["text"].to_pylist()
        samples = self._samples(train_labels)
        used = sorted(set().union(*map(set, samples)))
        row_of = {row: number for number, row in enumerate(used)}
        seen = _of_texts(model, [texts[row] for row in used], role, batch_size, progress)
        runs = [
            self._predict(model, seen[[row_of[row] for row in rows]], train_labels[rows], vectors) for rows in samples
        ]
        return classified(self.name, gold, runs, (*self.notes, *self._seen_before(gold, train_labels)))

    def _seen_before(self, gold: pa.Table, train_labels: pa.Table) -> list[str]:
        """What makes the figure less than it seems: labels never learned, texts that were learned from."""
        notes = []
        strange = sorted(set(gold.tolist()) - set(train_labels.tolist()))
        if strange:
            count = sum(label in strange for label in gold.tolist())
            notes.append(f"{count_of(count, 'text')} with a label that the training split lacks: {_some(strange)}")
        learned = set(self.train["text"].to_pylist()) if self.train is not None else set()
        again = sum(text in learned for text in self.data["text"].to_pylist())
        if again:
            notes.append(f"{count_of(again, 'text')} of {len(gold):,} stand in the training split too")
        return notes

    def _samples(self, labels: np.ndarray) -> list[list[int]]:
        order = list(range(len(labels)))
        if self.samples_per_label is None:
            return [order]
        out = []
        for _ in range(self.experiments):
            np.random.RandomState(self.seed).shuffle(order)  # mteb's: the same seed each time, on the order so far
            count: dict[str, int] = defaultdict(int)
            picked = []
            for row in order:
                if count[labels[row]] < self.samples_per_label:
                    count[labels[row]] += 1
                    picked.append(row)
            out.append(picked)
        return out

    def _predict(self, model: EmbedderBase, train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
        if self.probe == "linear":
            return linear_probe(train, labels, test, self.seed, self.name, model.name)
        from umekomi.parts.ranking import exact_search

        numbers, scores = exact_search(model, test, train, 10)
        classes, codes = np.unique(labels, return_inverse=True)
        votes = np.zeros((len(numbers), len(classes)))
        # similarities may be negative distances: weigh by their place between the worst and best of the ten
        finite = np.where(
            np.isfinite(scores),
            scores,
            np.nanmin(np.where(np.isfinite(scores), scores, np.nan), axis=1, initial=0)[:, None],
        )
        spread = finite - finite.min(1, keepdims=True)
        weights = 1 + spread / np.maximum(spread.max(1, keepdims=True), 1e-12)
        for column in range(numbers.shape[1]):
            votes[np.arange(len(numbers)), codes[numbers[:, column]]] += weights[:, column]
        return classes[votes.argmax(1)]


@dataclass(frozen=True)
class Clustering(Task):
    """Mini-batch k-means with as many clusters as labels; V-measure, as mteb (batch 500, seed 42)."""

    data: pa.Table
    name: str = "clustering"
    seed: int = 42
    kind: ClassVar[str] = "clustering"
    shapes: ClassVar[tuple[str, ...]] = ("labelled texts",)

    def size(self) -> Mapping[str, int]:
        return {"texts": self.data.num_rows}

    def check(self) -> None:
        labels = labels_of(self.data, self.kind)
        two_labels(labels, self.name)
        if len(set(labels)) == len(labels):
            raise DataError(
                f"{self.name}: column 'label': expected labels that several texts share, found another one in each of "
                f"the {count_of(len(labels), 'row')}"
            )

    def _evaluate(self, model: EmbedderBase, batch_size: int, progress: bool) -> Result:
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.exceptions import ConvergenceWarning

        _, gold = np.unique(labels_of(self.data, self.kind), return_inverse=True)
        vectors = _of_texts(model, self.data["text"].to_pylist(), own_role(model, "clustering"), batch_size, progress)
        means = MiniBatchKMeans(n_clusters=int(gold.max()) + 1, batch_size=500, n_init="auto", random_state=self.seed)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # fewer distinct vectors than labels: V-measure shows it
            try:
                clusters = means.fit(vectors).labels_
            except (ValueError, FloatingPointError) as error:
                raise DataError(
                    f"{self.name}: the vectors of {model.name} make no clusters: {str(error).splitlines()[0]}"
                ) from None
        return Result(
            self.name, {"v-measure": Score(np.column_stack([gold, clusters]).astype(np.float64), "v_measure")}
        )
