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
from pathlib import Path
from typing import Any, ClassVar

from umekomi.contracts import Paper, Recipe
from umekomi.data.columns import as_table, shape
from umekomi.data.views import pairs
from umekomi.errors import DataError, WrongUse


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
    columns: ClassVar[tuple[str, ...]] = ("anchor", "positive")
    extra: ClassVar[str] = "neural"
    labelled: ClassVar[bool] = True

    prefixes: tuple[int, ...] = (768, 512, 256, 128, 64)
    nested: bool = True
    loss: str = "mnr"
    temperature: float = 0.05
    margin: float = 0.5
    negative_grade: float = 0.0
    epochs: float = 1
    batch_size: int = 32
    learning_rate: float = 2e-5
    warmup: float = 0.1
    max_length: int | None = None
    max_pairs: int | None = None

    @classmethod
    def small(cls) -> Near2:
        return cls(prefixes=(384, 256, 128, 64, 32), batch_size=32, learning_rate=5e-5, max_length=128, max_pairs=1000)

    def fit(
        self,
        data: Any,
        *,
        start: Any = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        progress: bool = False,
    ) -> Any:
        if self.loss not in ("mnr", "ocl", "both"):
            raise WrongUse(f"{self.name}, loss: expected mnr, ocl or both, found {self.loss!r}")
        positive = pairs(data, self.name)
        positive = positive.select(
            [name for name in positive.column_names if name in ("anchor", "positive") or name.startswith("negative")]
        )
        from umekomi.models.text import TextEmbedder, trainable
        from umekomi.parts.learning.sentences import Stage, drawn, tuned

        base = trainable(start, self.name)
        positive = drawn(positive, self.max_pairs, seed)
        prefixes = sorted({min(width, base.dimension) for width in (base.dimension, *self.prefixes)}, reverse=True)

        def stages(model: Any) -> list[Stage]:
            if self.loss == "both":
                from umekomi.parts.losses.graded import GradedSum

                graded = drawn(self._graded(data), self.max_pairs, seed)
                both = GradedSum(
                    model, temperature=self.temperature, margin=self.margin, prefixes=prefixes if self.nested else ()
                )
                return [
                    Stage(
                        {"both": graded},
                        {"both": both},
                        self.epochs,
                        self.batch_size,
                        self.learning_rate,
                        self.warmup,
                        "shuffle",
                    )
                ]
            tables, losses = self._objectives(model, data, positive)
            if self.nested:
                from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

                losses = {key: MatryoshkaLoss(model, loss, matryoshka_dims=prefixes) for key, loss in losses.items()}
            return [Stage(tables, losses, self.epochs, self.batch_size, self.learning_rate, self.warmup)]

        model = tuned(
            base.model,
            stages,
            max_length=self.max_length,
            seed=seed,
            checkpoint=checkpoint,
            progress=progress,
            what=self.name,
        )
        card = {
            "recipe": self.settings(),
            "paper": self.paper.cite(),
            "start": base.name,
            "licence": base.card.get("licence"),
            "seed": seed,
            "pairs": positive.num_rows,
            "matryoshka": prefixes if self.nested else [],
        }
        return TextEmbedder(model, self.name, card)

    def _objectives(self, model: Any, data: Any, positive: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        from sentence_transformers.sentence_transformer.losses import (
            MultipleNegativesRankingLoss,
            OnlineContrastiveLoss,
        )

        if self.loss == "mnr":
            return {"mnr": positive}, {"mnr": MultipleNegativesRankingLoss(model, scale=1 / self.temperature)}
        return {"ocl": self._graded(data)}, {"ocl": OnlineContrastiveLoss(model, margin=self.margin)}

    def _graded(self, data: Any) -> Any:
        import pyarrow as pa

        data = as_table(data)
        kind = shape(data)
        if kind == "retrieval":
            queries = dict(zip(data.queries["id"].to_pylist(), data.queries["text"].to_pylist(), strict=True))
            corpus = dict(zip(data.corpus["id"].to_pylist(), data.corpus["text"].to_pylist(), strict=True))
            rows = [(queries[q], corpus[d], s) for q, judged in data.judgements().items() for d, s in judged.items()]
        elif kind == "judged pairs":
            rows = list(zip(*(data[c].to_pylist() for c in ("query", "document", "score")), strict=True))
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
