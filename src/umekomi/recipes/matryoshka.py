"""MRL: A. Kusupati et al., "Matryoshka Representation Learning" (NeurIPS 2022, arXiv 2205.13147).

L = Σ_m c_m L(f(x)[:m]) over nested prefixes m (eq. 1), c_m = 1. With labels, L is the cross-entropy of a linear head
for each prefix; MRL-E ties them: the head of m is the first m columns of one matrix (``tied``). With pairs it is the
in-batch softmax of prefixes brought to length one, with graded pairs CoSENT. ``prefixes_per_step`` draws so many
prefixes a step instead of all (0).

The paper learns image networks on ImageNet with prefixes 8 to 2048; here texts are learned, and the text prefixes
follow sentence-transformers' custom of halving. The losses over pairs are sentence-transformers'; the heads are the
paper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from umekomi.contracts import Paper, Recipe
from umekomi.data.columns import as_table, check, shape
from umekomi.data.views import pairs
from umekomi.errors import DataError, WrongUse

OBJECTIVES = {
    "pairs": "mnr",
    "judged pairs": "mnr",
    "retrieval": "mnr",
    "scored pairs": "cosent",
    "labelled texts": "heads",
}


@dataclass(frozen=True)
class Matryoshka(Recipe):
    """Every prefix of the vector is an embedding of its own, as good as one trained at that width.

    Learns from pairs, scored pairs (sentence1, sentence2, score) or labelled texts; ``objective`` ``"auto"`` takes what
    fits: ``"mnr"``, ``"cosent"``, ``"heads"``. ``weights`` (one a prefix) are the c_m, all 1 where empty.
    """

    name: ClassVar[str] = "matryoshka"
    paper: ClassVar[Paper] = Paper(
        "Matryoshka Representation Learning", "Kusupati et al.", 2022, "NeurIPS", "2205.13147"
    )
    columns: ClassVar[tuple[str, ...]] = ("anchor", "positive")
    extra: ClassVar[str] = "neural"
    labelled: ClassVar[bool] = True

    prefixes: tuple[int, ...] = (768, 512, 256, 128, 64, 32, 16, 8)
    weights: tuple[float, ...] = ()
    objective: str = "auto"
    tied: bool = False
    prefixes_per_step: int = 0
    temperature: float = 0.05
    epochs: float = 1
    batch_size: int = 32
    learning_rate: float = 2e-5
    warmup: float = 0.1
    max_length: int | None = None
    max_rows: int | None = None

    @classmethod
    def small(cls) -> Matryoshka:
        return cls(prefixes=(384, 192, 96, 48, 24), learning_rate=5e-5, max_length=128, max_rows=1000)

    def fit(
        self,
        data: Any,
        *,
        start: Any = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        progress: bool = False,
    ) -> Any:
        objective, rows = self._rows(data)
        if any(width < 1 for width in self.prefixes) or (self.weights and len(self.weights) != len(self.prefixes)):
            raise WrongUse(
                f"{self.name}: expected prefixes of one dimension or more and a weight for each, found "
                f"{self.prefixes} and {self.weights}"
            )
        if self.temperature <= 0:
            raise WrongUse(f"{self.name}, temperature: expected a number above zero, found {self.temperature}")
        from umekomi.models.text import TextEmbedder, trainable
        from umekomi.parts.learning.sentences import Stage, drawn, tuned

        base = trainable(start, self.name)
        rows = drawn(rows, self.max_rows, seed)
        weights = self.weights or (1.0,) * len(self.prefixes)
        nested = {min(width, base.dimension): weight for width, weight in zip(self.prefixes, weights, strict=True)}
        nested.setdefault(base.dimension, 1.0)

        def stages(model: Any) -> list[Stage]:
            loss = self._loss(model, objective, rows, nested, seed)
            return [
                Stage(
                    {objective: rows}, {objective: loss}, self.epochs, self.batch_size, self.learning_rate, self.warmup
                )
            ]

        model = tuned(
            base.model,
            stages,
            max_length=self.max_length,
            seed=seed,
            checkpoint=checkpoint,
            progress=progress,
            what=self.name,
        )
        card = self.card(
            seed, {"rows": rows.num_rows, "objective": objective}, start=base.name, licence=base.card.get("licence")
        )
        return TextEmbedder(model, self.name, card | {"matryoshka": sorted(nested, reverse=True)})

    def _rows(self, data: Any) -> tuple[str, Any]:
        """(objective, the columns it learns from)."""
        import pyarrow as pa

        table = as_table(data)
        kind = shape(table)
        fitting = OBJECTIVES.get(kind)
        objective = fitting if self.objective == "auto" else self.objective
        if objective not in OBJECTIVES.values() or fitting is None:
            raise WrongUse(
                f"{self.name}, objective: expected auto, mnr, cosent or heads for {' or '.join(OBJECTIVES)}, found "
                f"{self.objective!r} for {kind}"
            )
        if objective != fitting:
            raise DataError(
                f"{self.name} with the objective {objective!r} needs "
                f"{next(k for k, o in OBJECTIVES.items() if o == objective)}; found {kind}"
            )
        if objective == "mnr":
            found = pairs(table, self.name)
            return objective, found.select(
                [name for name in found.column_names if name in ("anchor", "positive") or name.startswith("negative")]
            )
        if objective == "cosent":
            return objective, check(table, ("sentence1", "sentence2", "score"), self.name).select(
                ["sentence1", "sentence2", "score"]
            )
        found = check(table, ("text", "label"), self.name)
        classes = sorted(set(found["label"].to_pylist()), key=str)
        if len(classes) < 2:
            raise DataError(f"{self.name}: expected two classes or more, found {len(classes)}")
        place = {label: number for number, label in enumerate(classes)}
        return objective, pa.table(
            {"text": found["text"], "label": [place[label] for label in found["label"].to_pylist()]}
        )

    def _loss(self, model: Any, objective: str, rows: Any, nested: dict[int, float], seed: int) -> Any:
        from sentence_transformers.sentence_transformer.losses import (
            CoSENTLoss,
            MatryoshkaLoss,
            MultipleNegativesRankingLoss,
        )

        from umekomi.parts.losses.nested import NestedHeads

        widths = sorted(nested, reverse=True)
        weights = [nested[width] for width in widths]
        drawn = self.prefixes_per_step or -1
        if objective == "heads":
            return NestedHeads(
                model, max(rows["label"].to_pylist()) + 1, widths, weights, tied=self.tied, drawn=drawn, seed=seed
            )
        inner = (
            MultipleNegativesRankingLoss(model, scale=1 / self.temperature)
            if objective == "mnr"
            else CoSENTLoss(model, scale=1 / self.temperature)
        )
        return MatryoshkaLoss(model, inner, matryoshka_dims=widths, matryoshka_weights=weights, n_dims_per_step=drawn)
