"""Pairs of texts: graded similarity (Spearman) and same-or-not (average precision)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from umekomi.data.tables import check
from umekomi.errors import DataError
from umekomi.models.base import Scorer
from umekomi.parts.similarity import take
from umekomi.tasks.base import Result, Score, Task, count_of, own_role, vectors_of

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from umekomi.tasks.base import Judged


SAME = {"0": 0, "false": 0, "0.0": 0, "1": 1, "true": 1, "1.0": 1}
"""The labels that say whether two texts are the same, as files write them."""


def pair_scores(model: Judged, table: pa.Table, batch_size: int, progress: bool) -> NDArray[np.float64]:
    """How alike the two texts of every row are, float64 ``[n]``: a scorer's own score, or an embedder's similarity in
    the role ``similarity`` where the model has one. A text that occurs several times is encoded once."""
    first, second = table["sentence1"].to_pylist(), table["sentence2"].to_pylist()
    if isinstance(model, Scorer):
        scores = np.asarray(model.score(first, second), np.float64)
    else:
        texts = list(dict.fromkeys([*first, *second]))
        place = {text: number for number, text in enumerate(texts)}
        vectors = vectors_of(model, texts, own_role(model, "similarity"), batch_size, progress)
        a, b = take(vectors, [place[text] for text in first]), take(vectors, [place[text] for text in second])
        scores = np.asarray(model.similarity_pairwise(a, b), np.float64)
    if not np.isfinite(scores).all():
        row = int(np.argmin(np.isfinite(scores)))
        raise DataError(
            f"{model.name} gives the pair of row {row + 1} the score {scores[row]}: expected a finite number"
        )
    return scores


@dataclass(frozen=True)
class Similarity(Task):
    """Semantic textual similarity: Spearman of the gold scores with the model's similarity, as mteb."""

    data: pa.Table
    name: str = "similarity"
    kind: ClassVar[str] = "similarity"
    shapes: ClassVar[tuple[str, ...]] = ("scored pairs",)
    scores_pairs: ClassVar[bool] = True

    def size(self) -> Mapping[str, int]:
        return {"pairs": self.data.num_rows}

    def check(self) -> None:
        table = check(self.data, ("sentence1", "sentence2", "score"), self.kind)
        scores = table["score"].unique()
        if len(scores) < 2:
            raise DataError(
                f"{self.name}: column 'score': expected two scores or more that differ, found "
                f"{scores[0].as_py()} in {'all ' if len(table) > 1 else ''}{count_of(len(table), 'row')}"
            )

    def _evaluate(self, model: Judged, batch_size: int, progress: bool) -> Result:
        gold = np.asarray(self.data["score"].to_numpy(), np.float64)
        values = np.column_stack([gold, pair_scores(model, self.data, batch_size, progress)])
        return Result(self.name, {"spearman": Score(values, "spearman"), "pearson": Score(values, "pearson")})


@dataclass(frozen=True)
class PairClassification(Task):
    """Same or not, by the model's similarity: average precision, as mteb."""

    data: pa.Table
    name: str = "pair-classification"
    kind: ClassVar[str] = "pair-classification"
    shapes: ClassVar[tuple[str, ...]] = ("labelled pairs",)
    scores_pairs: ClassVar[bool] = True

    def size(self) -> Mapping[str, int]:
        return {"pairs": self.data.num_rows}

    def check(self) -> None:
        table = check(self.data, ("sentence1", "sentence2", "label"), self.kind)
        labels = [str(label).strip().lower() for label in table["label"].to_pylist()]
        for row, label in enumerate(labels):
            if label not in SAME:
                raise DataError(f"{self.name}: row {row + 1}, column 'label': expected 0 or 1, found {label!r}")
        if len({SAME[label] for label in labels}) < 2:
            raise DataError(
                f"{self.name}: column 'label': expected pairs of both labels, 0 and 1; found only {labels[0]}"
            )

    def _evaluate(self, model: Judged, batch_size: int, progress: bool) -> Result:
        same = np.array([SAME[str(label).strip().lower()] for label in self.data["label"].to_pylist()], np.float64)
        values = np.column_stack([same, pair_scores(model, self.data, batch_size, progress)])
        return Result(self.name, {"average precision": Score(values, "average_precision")})
