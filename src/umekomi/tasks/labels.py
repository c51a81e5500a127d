"""Labelled texts: a linear probe, nearest neighbours, clustering."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from umekomi.data.columns import check
from umekomi.errors import DataError
from umekomi.tasks.base import Result, Score, Task, own_role

if TYPE_CHECKING:
    import pyarrow as pa


def _labels(table: pa.Table, name: str) -> list[str]:
    labels = [str(label) for label in table["label"].to_pylist()]
    if len(set(labels)) < 2:
        raise DataError(f"{name}: expected two labels or more, found only {labels[0]!r}")
    return labels


@dataclass(frozen=True)
class Classification(Task):
    """A classifier on frozen vectors: ``probe`` ``"linear"`` (scikit-learn's logistic regression, 100 iterations) or
    ``"knn"`` (ten nearest by the embedder's own similarity, weighted votes).

    Without ``train``, ten-fold cross-validation. ``samples_per_label`` follows mteb: that many training texts of each
    label, ``experiments`` times with its shuffles (seed 42), mean accuracy.
    """

    data: pa.Table
    train: pa.Table | None = None
    name: str = "classification"
    probe: str = "linear"
    samples_per_label: int | None = None
    experiments: int = 10
    seed: int = 42
    kind: ClassVar[str] = "classification"
    shapes: ClassVar[tuple[str, ...]] = ("labelled texts",)

    def size(self) -> Mapping[str, int]:
        return {
            "texts": self.data.num_rows,
            "training texts": self.train.num_rows if self.train is not None else self.data.num_rows,
        }

    def evaluate(self, model: Any, *, batch_size: int = 32, progress: bool = False) -> Result:
        import numpy as np

        table = check(self.data, ("text", "label"), self.name)
        gold = np.array(_labels(table, self.name))
        role = own_role(model, "classification")
        vectors = model.encode(table["text"].to_pylist(), role=role, batch_size=batch_size, progress=progress)
        if self.train is None:
            from sklearn.model_selection import StratifiedKFold

            folds = min(10, min(np.unique(gold, return_counts=True)[1]))
            if folds < 2:
                raise DataError(f"{self.name}: cross-validation needs two texts of every label or more")
            predicted = gold.copy()
            for fit, held in StratifiedKFold(folds, shuffle=True, random_state=self.seed).split(gold, gold):
                predicted[held] = self._predict(model, vectors[fit], gold[fit], vectors[held])
            return self._result(gold, [predicted], (f"{folds}-fold cross-validation",))
        train = check(self.train, ("text", "label"), self.name)
        known = np.array(_labels(train, self.name))
        texts = train["text"].to_pylist()
        chosen = self._samples(known)
        used = sorted(set().union(*map(set, chosen)))
        place = {row: number for number, row in enumerate(used)}
        seen = model.encode([texts[row] for row in used], role=role, batch_size=batch_size, progress=progress)
        runs = [self._predict(model, seen[[place[row] for row in rows]], known[rows], vectors) for rows in chosen]
        return self._result(gold, runs)

    def _samples(self, labels: Any) -> list[list[int]]:
        import numpy as np

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

    def _predict(self, model: Any, known: Any, labels: Any, asked: Any) -> Any:
        import numpy as np

        if self.probe == "linear":
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.linear_model import LogisticRegression
            from sklearn.utils._testing import ignore_warnings

            fit = ignore_warnings(category=ConvergenceWarning)(
                LogisticRegression(max_iter=100, random_state=self.seed).fit
            )
            return fit(known, labels).predict(asked)
        from umekomi.tasks.retrieval import best

        numbers, scores = best(model, asked, known, 10)
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

    def _result(self, gold: Any, runs: list[Any], notes: tuple[str, ...] = ()) -> Result:
        import numpy as np

        correct = np.mean([predicted == gold for predicted in runs], axis=0)
        classes = {label: code for code, label in enumerate(np.unique(gold))}
        scores = {"accuracy": Score(correct)}
        if len(runs) == 1:
            codes = np.array([[classes[g], classes.get(p, -1)] for g, p in zip(gold, runs[0], strict=True)], np.float64)
            scores["macro f1"] = Score(codes, "macro_f1")
        return Result(self.name, scores, notes)


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

    def evaluate(self, model: Any, *, batch_size: int = 32, progress: bool = False) -> Result:
        import numpy as np
        from sklearn.cluster import MiniBatchKMeans

        table = check(self.data, ("text", "label"), self.name)
        _, gold = np.unique(_labels(table, self.name), return_inverse=True)
        vectors = model.encode(
            table["text"].to_pylist(), role=own_role(model, "clustering"), batch_size=batch_size, progress=progress
        )
        clusters = (
            MiniBatchKMeans(n_clusters=int(gold.max()) + 1, batch_size=500, n_init="auto", random_state=self.seed)
            .fit(vectors)
            .labels_
        )
        return Result(
            self.name, {"v-measure": Score(np.column_stack([gold, clusters]).astype(np.float64), "v_measure")}
        )
