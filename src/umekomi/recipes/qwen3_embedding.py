"""Qwen3 Embedding: Y. Zhang et al., "Qwen3 Embedding: Advancing Text Embedding and Reranking Through Foundation Models"
(2025, arXiv 2506.05176).

A causal decoder's state at the end-of-text token. Queries are "Instruct: {task}\\nQuery:{query}", documents bare.
InfoNCE whose sum holds mined negatives, other queries, other positives against the own positive, and other positives
against the query (eq. 1), each left out where its similarity exceeds the positive's by .1, or where both have one
positive. Weak synthetic pairs first; then labelled sets and those weak pairs that the first stage gives a cosine above
.7; then checkpoints are merged by spherical interpolation.

Which candidate's similarity the mask looks at is not said in print; here each term masks by its own. The paper's weak
pairs are written by Qwen3-32B; here they are whatever the user brings as ``weak``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from umekomi.contracts import Pooling
from umekomi.data.contrast import CONTRASTS, contrastive_rows, role_of, stages
from umekomi.fields import Above, AtLeast, Within
from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer

    from umekomi.models.base import EmbedderBase
    from umekomi.models.text import TextEmbedder
    from umekomi.parts.losses.contrastive import InfoNCE

TASKS = {
    "query": "Given a web search query, retrieve relevant passages that answer the query",
    "classification": "Classify the given text by its class",
    "similarity": "Retrieve semantically similar text",
}


def instruction_of(task: str) -> str:
    """Qwen3-Embedding's template: no space behind the last colon."""
    return f"Instruct: {task}\nQuery:"


@dataclass(frozen=True)
class Qwen3Embedding(Recipe):
    """A causal decoder's last token, a sum over all four kinds of in-batch similarity with false negatives masked,
    checkpoints merged on the sphere.

    Learns from one set or several by name; names that begin with ``weak`` are the first stage's, and those of their
    pairs above ``keep_above`` join the second. ``runs`` fine-tunings are merged: ``merge`` ``"slerp"``, ``"uniform"``
    or ``"none"``.
    """

    name: ClassVar[str] = "qwen3-embedding"
    paper: ClassVar[Paper] = Paper(
        "Qwen3 Embedding: Advancing Text Embedding and Reranking Through Foundation Models",
        "Zhang et al.",
        2025,
        "",
        "2506.05176",
    )
    learns: ClassVar[tuple[str, ...]] = CONTRASTS
    begins: ClassVar[str | None] = "minilm"
    supervised: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"
    takes_sets: ClassVar[bool] = True

    pooling: Pooling = "lasttoken"
    bidirectional: bool = False
    margin: float | None = 0.1
    same_tower: bool = True
    hard_negatives: Annotated[int, AtLeast(0)] = 1
    keep_above: float = 0.7
    prefixes: Annotated[tuple[int, ...], AtLeast(1)] = (1024, 768, 512, 256, 128, 64, 32)
    temperature: Annotated[float, Above(0)] = 0.01
    runs: Annotated[int, AtLeast(1)] = 3
    merge: Literal["slerp", "uniform", "none"] = "slerp"
    epochs: Annotated[tuple[float, float], Above(0)] = (1, 1)
    batch_sizes: Annotated[tuple[int, int], AtLeast(1)] = (8192, 512)
    mini_batch: Annotated[int, AtLeast(0)] = 32
    learning_rates: Annotated[tuple[float, float], Above(0)] = (2e-5, 6e-6)
    warmup: Annotated[float, Within(0, 1, "[]")] = 0.05
    max_length: Annotated[int | None, AtLeast(1)] = 512
    lora: tuple[int, float, float] | None = None
    max_rows: Annotated[int | None, AtLeast(1)] = None

    @classmethod
    def small(cls) -> Qwen3Embedding:
        return cls(
            pooling="own",
            prefixes=(384, 192, 96, 48),
            temperature=0.05,
            runs=2,
            batch_sizes=(64, 32),
            mini_batch=0,
            learning_rates=(5e-5, 5e-5),
            max_length=128,
            max_rows=1000,
        )

    @classmethod
    def tiny(cls) -> Qwen3Embedding:
        return cls(
            pooling="own",
            prefixes=(8,),
            temperature=0.05,
            runs=2,
            batch_sizes=(4, 4),
            mini_batch=0,
            learning_rates=(1e-4, 1e-4),
            max_length=32,
            max_rows=8,
        )

    def learn(self, data: Mapping[str, pa.Table], start: Start, run: Run) -> TextEmbedder:
        from umekomi.models.prompts import set_prompts
        from umekomi.models.starting import with_last_token
        from umekomi.models.text import TextEmbedder
        from umekomi.parts import merging
        from umekomi.parts.learning.sentences import fine_tune_stage, sample_rows
        from umekomi.parts.losses.contrastive import Candidates, InfoNCE
        from umekomi.tasks.negatives import with_negatives

        weak, strong = stages(data, self.name)
        base = with_last_token(start, self.name, self.pooling, bidirectional=self.bidirectional)
        model = base.model
        nested = {min(prefix, base.dimension): 1.0 for prefix in (base.dimension, *self.prefixes)}
        choice = Candidates(
            queries=self.same_tower, document_document=self.same_tower, negatives="own", margin=self.margin
        )

        def loss(of: SentenceTransformer) -> InfoNCE:
            return InfoNCE(
                of, temperature=self.temperature, candidates=choice, prefixes=nested, mini_batch=self.mini_batch
            )

        def rows_of(table: pa.Table) -> pa.Table:
            contrastive = contrastive_rows(
                table,
                self.name,
                in_batch=True,
                negatives=max(self.hard_negatives, 1),
                instruction=instruction_of(TASKS[role_of(table)]),
                seed=run.seed,
            )
            return sample_rows(contrastive, self.max_rows, run.seed)

        first = {name: rows_of(table) for name, table in weak.items()}
        weak_kept = 0
        if first:
            model = fine_tune_stage(model, first, loss, self, 0, run.stage("weak"), lora=self.lora)
        between = TextEmbedder(model, self.name)
        tables = {
            name: rows_of(with_negatives(table, run, between, self.hard_negatives, most=self.max_rows))
            for name, table in strong.items()
        }
        for name, table in first.items() if strong else ():
            sure = rows_above(between, table, self.keep_above)
            weak_kept += sure.num_rows
            if sure.num_rows:
                tables[name] = sure
        runs = self.runs if strong else 0
        finals = [
            fine_tune_stage(model, tables, loss, self, 1, each, lora=self.lora) for each in run.several(runs)
        ] or [model]
        states = [final.state_dict() for final in finals]
        merged = (
            merging.slerp_all(states)
            if self.merge == "slerp"
            else merging.soup(states if self.merge == "uniform" else states[:1])
        )
        out = merging.load_into(model, merged)
        set_prompts(out, {role: instruction_of(task) for role, task in TASKS.items()} | {"document": ""})
        about = {
            "weak": list(weak),
            "weak pairs kept": weak_kept,
            "sets": list(strong),
            "runs": runs,
            "rows": sum(table.num_rows for table in tables.values()),
        }
        return TextEmbedder(out.eval(), self.name, {"training": about, "matryoshka": sorted(nested)})


def rows_above(embedder: EmbedderBase, table: pa.Table, least: float) -> pa.Table:
    """The rows whose anchor and positive have a similarity above ``least``."""
    a = embedder.encode(
        [i + x for i, x in zip(table["instruction"].to_pylist(), table["anchor"].to_pylist(), strict=True)],
        role="document",
    )
    b = embedder.encode(
        [i + x for i, x in zip(table["document_instruction"].to_pylist(), table["positive"].to_pylist(), strict=True)],
        role="document",
    )
    return table.filter([bool(value > least) for value in embedder.similarity_pairwise(a, b)])
