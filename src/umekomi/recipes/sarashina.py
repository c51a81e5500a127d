"""Sarashina-Embedding-v1-1B: SB Intuitions' model card (2024).

A causal decoder's state at the last token, no prompts; contrastive training on 126.7 million weak pairs, then on
233,072 supervised ones (entailment, Mr. TyDi, Natural Questions). The card prints data, order, pooling and length, and
no setting: temperature, rates, batches and the number of mined negatives are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from umekomi.contracts import Pooling
from umekomi.data.contrast import CONTRASTS, contrastive_rows, stages
from umekomi.fields import Above, AtLeast, Within
from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer

    from umekomi.models.text import TextEmbedder
    from umekomi.parts.losses.contrastive import InfoNCE


@dataclass(frozen=True)
class Sarashina(Recipe):
    """A decoder's last token without any prompt: weak pairs of every kind, then few supervised ones.

    Learns from one set or several by name; names that begin with ``weak`` are the first stage's.
    """

    name: ClassVar[str] = "sarashina"
    paper: ClassVar[Paper] = Paper("Sarashina-Embedding-v1-1B (model card)", "SB Intuitions", 2024)
    learns: ClassVar[tuple[str, ...]] = CONTRASTS
    begins: ClassVar[str | None] = "minilm"
    supervised: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"
    takes_sets: ClassVar[bool] = True

    pooling: Pooling = "lasttoken"
    hard_negatives: Annotated[int, AtLeast(0)] = 1
    temperature: Annotated[float, Above(0)] = 0.01
    epochs: Annotated[tuple[float, float], Above(0)] = (1, 1)
    batch_sizes: Annotated[tuple[int, int], AtLeast(1)] = (8192, 512)
    mini_batch: Annotated[int, AtLeast(0)] = 32
    learning_rates: Annotated[tuple[float, float], Above(0)] = (5e-5, 1e-5)
    warmup: Annotated[float, Within(0, 1, "[]")] = 0.1
    max_length: Annotated[int | None, AtLeast(1)] = 512
    max_rows: Annotated[int | None, AtLeast(1)] = None

    @classmethod
    def small(cls) -> Sarashina:
        return cls(
            pooling="own",
            temperature=0.05,
            batch_sizes=(64, 32),
            mini_batch=0,
            learning_rates=(5e-5, 5e-5),
            max_length=128,
            max_rows=1000,
        )

    @classmethod
    def tiny(cls) -> Sarashina:
        return replace(cls.small(), batch_sizes=(4, 4), learning_rates=(1e-4, 1e-4), max_length=32, max_rows=8)

    def learn(self, data: Mapping[str, pa.Table], start: Start, run: Run) -> TextEmbedder:
        from umekomi.models.prompts import set_prompts
        from umekomi.models.starting import with_last_token
        from umekomi.models.text import TextEmbedder
        from umekomi.parts.learning.sentences import fine_tune_stage, sample_rows
        from umekomi.parts.losses.contrastive import InfoNCE
        from umekomi.tasks.negatives import with_negatives

        weak, strong = stages(data, self.name)
        model = with_last_token(start, self.name, self.pooling).model

        def loss(of: SentenceTransformer) -> InfoNCE:
            return InfoNCE(of, temperature=self.temperature, mini_batch=self.mini_batch)

        def rows_of(table: pa.Table) -> pa.Table:
            rows = contrastive_rows(
                table, self.name, in_batch=True, negatives=max(self.hard_negatives, 1), seed=run.seed
            )
            return sample_rows(rows, self.max_rows, run.seed)

        about = {"weak": list(weak), "sets": list(strong)}
        rows = {name: rows_of(table) for name, table in data.items()}  # whatever is wrong with a set is said first
        if weak:
            model = fine_tune_stage(model, {name: rows[name] for name in weak}, loss, self, 0, run.stage("weak"))
            set_prompts(model, {})
        if strong:
            between = TextEmbedder(model, self.name)
            second = {
                name: rows_of(with_negatives(table, run, between, self.hard_negatives, most=self.max_rows))
                for name, table in strong.items()
            }
            model = fine_tune_stage(model, second, loss, self, 1, run.stage("supervised"))
        set_prompts(model, {})
        return TextEmbedder(model, self.name, {"training": about})
