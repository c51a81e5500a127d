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
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from umekomi.data.shapes import shape_name
from umekomi.errors import DataError, WrongUse
from umekomi.fields import Above, AtLeast, Within
from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from umekomi.models.text import TextEmbedder

OBJECTIVES = {"pairs": "mnr", "scored pairs": "cosent", "labelled texts": "heads"}


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
    learns: ClassVar[tuple[str, ...]] = ("pairs", "scored pairs", "labelled texts")
    begins: ClassVar[str | None] = "minilm"
    supervised: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"

    prefixes: Annotated[tuple[int, ...], AtLeast(1)] = (768, 512, 256, 128, 64, 32, 16, 8)
    weights: tuple[float, ...] = ()
    objective: Literal["auto", "mnr", "cosent", "heads"] = "auto"
    tied: bool = False
    prefixes_per_step: Annotated[int, AtLeast(0)] = 0
    temperature: Annotated[float, Above(0)] = 0.05
    epochs: Annotated[float, Above(0)] = 1
    batch_size: Annotated[int, AtLeast(1)] = 32
    learning_rate: Annotated[float, Above(0)] = 2e-5
    warmup: Annotated[float, Within(0, 1, "[]")] = 0.1
    max_length: Annotated[int | None, AtLeast(1)] = None
    max_rows: Annotated[int | None, AtLeast(1)] = None

    @classmethod
    def small(cls) -> Matryoshka:
        return cls(prefixes=(384, 192, 96, 48, 24), learning_rate=5e-5, max_length=128, max_rows=1000)

    @classmethod
    def tiny(cls) -> Matryoshka:
        return cls(prefixes=(16, 8), batch_size=4, max_length=16, max_rows=16)

    def check(self) -> None:
        if self.weights and len(self.weights) != len(self.prefixes):
            raise WrongUse(f"{self.name}: expected a weight for each prefix, found {self.weights} for {self.prefixes}")

    def learn(self, data: pa.Table, start: Start, run: Run) -> TextEmbedder:
        from umekomi.models.starting import trainable_model
        from umekomi.models.text import TextEmbedder
        from umekomi.parts.learning.sentences import Stage, fine_tune, sample_rows

        objective, rows = self._prepared(data)
        base = trainable_model(start, self.name)
        rows = sample_rows(rows, self.max_rows, run.seed)
        weights = self.weights or (1.0,) * len(self.prefixes)
        nested = {min(width, base.dimension): weight for width, weight in zip(self.prefixes, weights, strict=True)}
        nested.setdefault(base.dimension, 1.0)

        def stages(model: SentenceTransformer) -> list[Stage]:
            loss = self._loss(model, objective, rows, nested, run.seed)
            tables, losses = {objective: rows}, {objective: loss}
            return [Stage(tables, losses, self.epochs, self.batch_size, self.learning_rate, self.warmup)]

        model = fine_tune(base.model, stages, run=run, max_length=self.max_length)
        about = {"rows": rows.num_rows, "objective": objective}
        return TextEmbedder(model, self.name, {"training": about, "matryoshka": sorted(nested, reverse=True)})

    def _prepared(self, data: pa.Table) -> tuple[str, pa.Table]:
        """(objective, the columns it learns from)."""
        import pyarrow as pa

        kind = shape_name(data)
        objective = OBJECTIVES[kind]
        if self.objective not in ("auto", objective):
            wanted = next(name for name, each in OBJECTIVES.items() if each == self.objective)
            raise DataError(f"{self.name} with the objective {self.objective!r} needs {wanted}; found {kind}")
        if objective == "mnr":
            return objective, data.select(
                [name for name in data.column_names if name in ("anchor", "positive") or name.startswith("negative")]
            )
        if objective == "cosent":
            return objective, data.select(["sentence1", "sentence2", "score"])
        classes = sorted(set(data["label"].to_pylist()), key=str)
        if len(classes) < 2:
            raise DataError(f"{self.name}: expected two classes or more, found {len(classes)}")
        number_of = {label: number for number, label in enumerate(classes)}
        return objective, pa.table(
            {"text": data["text"], "label": [number_of[label] for label in data["label"].to_pylist()]}
        )

    def _loss(
        self, model: SentenceTransformer, objective: str, rows: pa.Table, nested: dict[int, float], seed: int
    ) -> nn.Module:
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
