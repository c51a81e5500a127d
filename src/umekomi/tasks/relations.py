"""Labelled pairs of texts, whatever their labels: what stands between two texts (entailment, contradiction), learned by
a linear probe from their frozen vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.contracts import Vectors
from umekomi.data.tables import check
from umekomi.errors import DataError, WrongUse
from umekomi.parts.similarity import normalise, pair_features, take
from umekomi.tasks.base import Result, Task, count_of, own_role, vectors_of
from umekomi.tasks.labels import classified, linear_probe

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("sentence1", "sentence2", "label")
FOLDS = 5


@dataclass(frozen=True)
class Relation(Task):
    """scikit-learn's logistic regression (100 iterations) on [u; v; |u − v|; u · v] (Conneau+ 2017) of each pair's
    vectors, each brought to length one. Without ``train``, cross-validation in five folds, pairs with one first text in
    one fold."""

    data: pa.Table
    train: pa.Table | None = None
    name: str = "relation"
    seed: int = 42
    kind: ClassVar[str] = "relation"
    shapes: ClassVar[tuple[str, ...]] = ("labelled pairs",)

    def size(self) -> Mapping[str, int]:
        training = self.data if self.train is None else self.train
        return {"pairs": self.data.num_rows, "training pairs": training.num_rows}

    def check(self) -> None:
        gold = _labels(self.data, self.name)
        known = _labels(self.train, f"{self.name}: training split") if self.train is not None else gold
        for labels, who in ((gold, self.name), (known, f"{self.name}: training split")):
            if len(set(labels)) < 2:
                raise DataError(
                    f"{who}: column 'label': expected two labels or more, found only {labels[0]!r} in "
                    f"{count_of(len(labels), 'row')}"
                )
        if not set(gold) & set(known):
            raise DataError(
                f"{self.name}: column 'label': expected labels of the training split such as {known[0]!r}, found none "
                f"of them: {', '.join(map(repr, list(dict.fromkeys(gold))[:3]))}"
            )
        if self.train is None and len(set(self.data["sentence1"].to_pylist())) < 2:
            raise DataError(f"{self.name}: cross-validation needs two different first texts or more, found one")

    def _evaluate(self, model: Any, batch_size: int, progress: bool) -> Result:
        gold = np.array(_labels(self.data, self.name))
        features = _features(model, self.data, batch_size, progress)
        if self.train is not None:
            known = np.array(_labels(self.train, self.name))
            seen = _features(model, self.train, batch_size, progress)
            predicted = linear_probe(seen, known, features, self.seed, self.name, model.name)
            strange = Counter(label for label in gold.tolist() if label not in set(known.tolist()))
            count = sum(strange.values())
            notes = (
                [f"{count_of(count, 'pair')} with a label that the training split lacks: {', '.join(strange)}"]
                if strange
                else []
            )
            return classified(self.name, gold, [predicted], tuple(notes))
        from sklearn.model_selection import GroupKFold

        first = self.data["sentence1"].to_pylist()
        folds = min(FOLDS, len(set(first)))
        predicted = gold.copy()
        for fit, judged in GroupKFold(folds).split(gold, gold, first):
            if len(set(gold[fit])) < 2:
                raise DataError(f"{self.name}: a fold has pairs of one label only: more rows would do")
            given = (features[fit], gold[fit], features[judged])
            predicted[judged] = linear_probe(*given, self.seed, self.name, model.name)
        return classified(self.name, gold, [predicted], (f"{folds}-fold cross-validation by first text",))


def _labels(table: pa.Table, who: str) -> list[str]:
    return [str(label) for label in check(table, COLUMNS, who)["label"].to_pylist()]


def _features(model: Any, table: pa.Table, batch_size: int, progress: bool) -> Any:
    """[u; v; |u − v|; u · v] of every row, dense or sparse as the vectors are; a text that is there twice is encoded
    once."""
    first, second = table["sentence1"].to_pylist(), table["sentence2"].to_pylist()
    texts = list(dict.fromkeys([*first, *second]))
    place = {text: number for number, text in enumerate(texts)}
    vectors = vectors_of(model, texts, own_role(model, "similarity"), batch_size, progress)
    if isinstance(vectors, Vectors):
        raise WrongUse(f"labelled pairs are judged by one vector each; {model.name} gives several")
    vectors = normalise(vectors)
    return pair_features(*(take(vectors, [place[text] for text in side]) for side in (first, second)), sides=True)
