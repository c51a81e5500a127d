"""Rows of a table: what a predictor says of ``target``, a class or a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from umekomi.data.rows import features_of, targets
from umekomi.errors import DataError, WrongUse
from umekomi.models.base import Predictor, Sort
from umekomi.progress import Progress
from umekomi.tasks.base import Result, Score, Task, count_of

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE = 8192
"""Rows that a predictor is asked for in one call."""
LEAST = 1e-15
"""The least probability that log loss takes, as scikit-learn's for float64 of a given class: no logarithm of zero."""


@dataclass(frozen=True)
class Prediction(Task):
    """A predictor on rows whose ``target`` it does not see. Two classes: area under the ROC curve, log loss, accuracy;
    more: accuracy and log loss; numbers: R² and mean absolute error (:func:`umekomi.data.rows.targets` tells them
    apart). A model without classes may give two classes one number a row, which is taken as the second's."""

    data: pa.Table
    name: str = "prediction"
    kind: ClassVar[str] = "prediction"
    shapes: ClassVar[tuple[str, ...]] = ("rows",)
    judges: ClassVar[tuple[Sort, ...]] = ("predictor",)

    def size(self) -> Mapping[str, int]:
        return {"rows": self.data.num_rows}

    def check(self) -> None:
        features_of(self.data, self.name)
        targets(self.data, self.name)

    def _evaluate(self, model: Any, batch_size: int, progress: bool) -> Result:
        classes, gold = targets(self.data, self.name)
        predicted = self._predicted(model, progress)
        if not classes:
            if model.classes:
                raise WrongUse(
                    f"{self.name}: column 'target' is a number; {model.name} predicts the classes "
                    f"{', '.join(model.classes)}"
                )
            return self._numbers(gold, predicted)
        if not model.classes:
            if len(classes) > 2:
                raise WrongUse(f"{self.name}: expected one of {len(classes)} classes, {model.name} predicts a number")
            return self._two(gold, predicted)
        return self._classes(model, classes, gold, predicted)

    def _predicted(self, model: Predictor, progress: bool) -> Any:
        import numpy as np

        rows = self.data.select(features_of(self.data, self.name))
        parts = []
        with Progress(model.name, rows.num_rows, "rows", progress) as bar:
            for start in range(0, rows.num_rows, AT_ONCE):
                part = rows.slice(start, AT_ONCE).to_pylist()
                parts.append(model.predict(part))
                bar.advance(len(part))
        return np.concatenate(parts).astype(np.float64)

    def _numbers(self, gold: Any, found: Any) -> Result:
        import numpy as np

        values = np.column_stack([gold, found])
        return Result(self.name, {"r2": Score(values, "r2"), "mae": Score(np.abs(gold - found))})

    def _two(self, gold: Any, chance: Any) -> Result:
        import numpy as np

        if len(np.unique(chance)) < 2:
            raise DataError(f"{self.name}: all {count_of(len(chance), 'row')} are predicted {chance[0]:g}")
        scores = {"auc": Score(np.column_stack([gold, chance]), "auc")}
        if chance.min() >= 0 and chance.max() <= 1:
            right = np.where(gold == 1, chance, 1 - chance)
            scores |= {"log loss": Score(-np.log(np.maximum(right, LEAST))), "accuracy": Score((chance > 0.5) == gold)}
        return Result(self.name, scores)

    def _classes(self, model: Predictor, classes: tuple[str, ...], gold: Any, found: Any) -> Result:
        import numpy as np

        known = {name: place for place, name in enumerate(model.classes)}
        if not known.keys() & set(classes):
            raise DataError(
                f"{self.name}: column 'target': expected classes of {model.name} such as {model.classes[0]!r}, found "
                f"{classes[0]!r}"
            )
        if len(known) == 2 and set(classes) == set(known):
            return self._two(np.array([known[name] for name in classes])[gold], found[:, 1])
        place = np.array([known.get(name, -1) for name in classes])[gold]
        right = np.where(place >= 0, found[np.arange(len(found)), place], 0.0)
        strange = int((place < 0).sum())
        notes = (f"{count_of(strange, 'row')} of a class that the model does not know",) if strange else ()
        scores = {"accuracy": Score((found.argmax(1) == place).astype(np.float64))}
        return Result(self.name, scores | {"log loss": Score(-np.log(np.maximum(right, LEAST)))}, notes)
