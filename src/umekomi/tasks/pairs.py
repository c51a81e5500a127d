"""Pairs of texts: graded similarity (Spearman) and same-or-not (average precision)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from umekomi.data.columns import check
from umekomi.errors import DataError
from umekomi.tasks.base import Result, Score, Task, own_role

if TYPE_CHECKING:
    import pyarrow as pa


def pair_scores(model: Any, table: pa.Table, batch_size: int, progress: bool) -> Any:
    """How alike the two texts of every row are, float64 ``[n]``: a scorer's own score, or an embedder's similarity in
    the role ``similarity`` where the model has one. A text that occurs several times is encoded once."""
    import numpy as np

    first, second = table["sentence1"].to_pylist(), table["sentence2"].to_pylist()
    if hasattr(model, "score"):
        return np.asarray(model.score(first, second), np.float64)
    role = own_role(model, "similarity")
    texts = list(dict.fromkeys([*first, *second]))
    place = {text: number for number, text in enumerate(texts)}
    vectors = model.encode(texts, role=role, batch_size=batch_size, progress=progress)
    from umekomi.parts.similarity import take

    a, b = take(vectors, [place[text] for text in first]), take(vectors, [place[text] for text in second])
    return np.asarray(model.similarity_pairwise(a, b), np.float64)


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

    def evaluate(self, model: Any, *, batch_size: int = 32, progress: bool = False) -> Result:
        import numpy as np

        table = check(self.data, ("sentence1", "sentence2", "score"), self.name)
        values = np.column_stack([table["score"].to_numpy(), pair_scores(model, table, batch_size, progress)])
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

    def evaluate(self, model: Any, *, batch_size: int = 32, progress: bool = False) -> Result:
        import numpy as np

        table = check(self.data, ("sentence1", "sentence2", "label"), self.name)
        labels = [str(label).lower() for label in table["label"].to_pylist()]
        for row, label in enumerate(labels):
            if label not in ("0", "1", "true", "false", "0.0", "1.0"):
                raise DataError(f"{self.name}: row {row + 1}, column 'label': expected 0 or 1, found {label!r}")
        same = np.array([label in ("1", "true", "1.0") for label in labels], np.float64)
        values = np.column_stack([same, pair_scores(model, table, batch_size, progress)])
        return Result(self.name, {"average precision": Score(values, "average_precision")})
