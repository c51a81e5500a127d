"""NEAR²: S. Qian et al., "NEAR²: A Nested Embedding Approach to Efficient Product Retrieval and Ranking" (SIGIR eCom
2025, arXiv 2506.19743).

L = Σ_m c_m · L_task(f(q)[:m], f(d)[:m]) over nested prefixes m, each brought back to length one; L_task is the
multiple-negatives loss (in-batch softmax of cosine / temperature), the online contrastive loss (margin on the hard
pairs of the batch), or both, added on the same batch. There is no public code, and the paper's data (eBay) are private:
losses, scale (1 / 0.05) and margin are sentence-transformers', which the papers before it (UCO, arXiv 2410.15930) name.
``nested=False`` is the un-nested arm: the same loss at full width only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from umekomi.data.columns import RetrievalData
from umekomi.data.shapes import pairs, shape_name
from umekomi.errors import DataError
from umekomi.fields import Above, AtLeast, Within
from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from umekomi.models.text import TextEmbedder


@dataclass(frozen=True)
class Near2(Recipe):
    """Contrastive fine-tuning with nested prefixes: a short prefix of the vector keeps almost all of the full one's
    quality.

    Learns from pairs (anchor, positive[, negative …]), judged pairs (query, document, score) or a retrieval set.
    ``loss``: ``"mnr"``, ``"ocl"`` (needs grades: at most ``negative_grade`` is a negative), or ``"both"``.
    """

    name: ClassVar[str] = "near2"
    paper: ClassVar[Paper] = Paper(
        "NEAR²: A Nested Embedding Approach to Efficient Product Retrieval and Ranking",
        "Qian et al.",
        2025,
        "SIGIR eCom",
        "2506.19743",
    )
    learns: ClassVar[tuple[str, ...]] = ("pairs", "judged pairs", "retrieval")
    begins: ClassVar[str | None] = "minilm"
    supervised: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"

    prefixes: Annotated[tuple[int, ...], AtLeast(1)] = (768, 512, 256, 128, 64)
    nested: bool = True
    loss: Literal["mnr", "ocl", "both"] = "mnr"
    temperature: Annotated[float, Above(0)] = 0.05
    margin: Annotated[float, AtLeast(0)] = 0.5
    negative_grade: float = 0.0
    epochs: Annotated[float, Above(0)] = 1
    batch_size: Annotated[int, AtLeast(1)] = 32
    learning_rate: Annotated[float, Above(0)] = 2e-5
    warmup: Annotated[float, Within(0, 1, "[]")] = 0.1
    max_length: Annotated[int | None, AtLeast(1)] = None
    max_pairs: Annotated[int | None, AtLeast(1)] = None

    @classmethod
    def small(cls) -> Near2:
        return cls(prefixes=(384, 256, 128, 64, 32), batch_size=32, learning_rate=5e-5, max_length=128, max_pairs=1000)

    @classmethod
    def tiny(cls) -> Near2:
        return cls(prefixes=(16, 8), batch_size=4, max_length=16, max_pairs=16)

    def learn(self, data: pa.Table | RetrievalData, start: Start, run: Run) -> TextEmbedder:
        from umekomi.models.starting import trainable_model
        from umekomi.models.text import TextEmbedder
        from umekomi.parts.learning.sentences import Stage, fine_tune, sample_rows

        rows = pairs(data, self.name) if self.loss == "mnr" else self._graded(data)
        rows = sample_rows(
            rows.select([name for name in rows.column_names if _is_read(name)]), self.max_pairs, run.seed
        )
        base = trainable_model(start, self.name)
        prefixes = sorted({min(width, base.dimension) for width in (base.dimension, *self.prefixes)}, reverse=True)

        def stages(model: SentenceTransformer) -> list[Stage]:
            return [
                Stage(
                    {self.loss: rows},
                    {self.loss: self._objective(model, prefixes)},
                    self.epochs,
                    self.batch_size,
                    self.learning_rate,
                    self.warmup,
                    "shuffle" if self.loss == "both" else "no-duplicates",
                )
            ]

        model = fine_tune(base.model, stages, run=run, max_length=self.max_length)
        nested = prefixes if self.nested else []
        return TextEmbedder(model, self.name, {"training": {"pairs": rows.num_rows}, "matryoshka": nested})

    def _objective(self, model: SentenceTransformer, prefixes: list[int]) -> nn.Module:
        from sentence_transformers.sentence_transformer.losses import (
            MatryoshkaLoss,
            MultipleNegativesRankingLoss,
            OnlineContrastiveLoss,
        )

        from umekomi.parts.losses.graded import GradedSum

        if self.loss == "both":
            nested = prefixes if self.nested else ()
            return GradedSum(model, temperature=self.temperature, margin=self.margin, prefixes=nested)
        inner = (
            MultipleNegativesRankingLoss(model, scale=1 / self.temperature)
            if self.loss == "mnr"
            else OnlineContrastiveLoss(model, margin=self.margin)
        )
        return MatryoshkaLoss(model, inner, matryoshka_dims=prefixes) if self.nested else inner

    def _graded(self, data: pa.Table | RetrievalData) -> pa.Table:
        """sentence1, sentence2 and whether the pair is a positive."""
        import pyarrow as pa

        if isinstance(data, RetrievalData):
            queries = dict(zip(data.queries["id"].to_pylist(), data.queries["text"].to_pylist(), strict=True))
            corpus = dict(zip(data.corpus["id"].to_pylist(), data.corpus["text"].to_pylist(), strict=True))
            rows = [(queries[q], corpus[d], s) for q, judged in data.judgements().items() for d, s in judged.items()]
        elif shape_name(data) == "judged pairs":
            rows = list(zip(*(data[name].to_pylist() for name in ("query", "document", "score")), strict=True))
        else:
            raise DataError(
                f"{self.name} with the loss {self.loss!r} needs grades: query, document, score; found "
                f"{', '.join(data.column_names)}"
            )
        labels = [int(score > self.negative_grade) for _, _, score in rows]
        if all(labels):
            raise DataError(
                f"{self.name} with the loss {self.loss!r} needs negatives: no pair is graded {self.negative_grade:g} "
                "or less"
            )
        return pa.table({"sentence1": [r[0] for r in rows], "sentence2": [r[1] for r in rows], "label": labels})


def _is_read(column: str) -> bool:
    return column in ("anchor", "positive", "sentence1", "sentence2", "label") or column.startswith("negative")
