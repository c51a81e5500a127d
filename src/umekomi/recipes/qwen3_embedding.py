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

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from umekomi.contracts import Paper, Recipe
from umekomi.data.contrast import role_of, rows, searches, stages
from umekomi.errors import WrongUse

TASKS = {
    "query": "Given a web search query, retrieve relevant passages that answer the query",
    "classification": "Classify the given text by its class",
    "similarity": "Retrieve semantically similar text",
}


def instructed(task: str) -> str:
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
    columns: ClassVar[tuple[str, ...]] = ("anchor", "positive")
    extra: ClassVar[str] = "neural"
    labelled: ClassVar[bool] = True
    takes_sets: ClassVar[bool] = True

    pooling: str = "lasttoken"
    bidirectional: bool = False
    margin: float | None = 0.1
    same_tower: bool = True
    hard_negatives: int = 1
    keep_above: float = 0.7
    prefixes: tuple[int, ...] = (1024, 768, 512, 256, 128, 64, 32)
    temperature: float = 0.01
    runs: int = 3
    merge: str = "slerp"
    epochs: tuple[float, float] = (1, 1)
    batch_sizes: tuple[int, int] = (8192, 512)
    mini_batch: int = 32
    learning_rates: tuple[float, float] = (2e-5, 6e-6)
    warmup: float = 0.05
    max_length: int | None = 512
    lora: tuple[int, float, float] | None = None
    max_rows: int | None = None

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

    def fit(
        self,
        data: Any,
        *,
        start: Any = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        progress: bool = False,
    ) -> Any:
        if self.merge not in ("slerp", "uniform", "none") or self.runs < 1:
            raise WrongUse(
                f"{self.name}: expected merge slerp, uniform or none and one run or more, found {self.merge!r} and "
                f"{self.runs}"
            )
        weak, strong = stages(data, self.name)
        from umekomi.models import load
        from umekomi.models.text import TextEmbedder, pooled
        from umekomi.parts import merging
        from umekomi.parts.learning.sentences import drawn, taught
        from umekomi.parts.losses.contrastive import Candidates, InfoNCE
        from umekomi.parts.networks import decodes, with_eos
        from umekomi.tasks.negatives import with_negatives

        given = load(start or "minilm")
        own = "lasttoken" if given.kind == "backbone" else None
        base = pooled(
            given, self.name, own if self.pooling == "own" else self.pooling, bidirectional=self.bidirectional
        )
        model = base.model
        if decodes(model.transformers_model):
            with_eos(model.tokenizer)
        nested = {min(prefix, base.dimension): 1.0 for prefix in (base.dimension, *self.prefixes)}
        choice = Candidates(
            queries=self.same_tower, document_document=self.same_tower, negatives="own", margin=self.margin
        )

        def learned(of: Any, tables: dict[str, Any], stage: int, seed: int, where: str) -> Any:
            return taught(
                of,
                tables,
                lambda model: InfoNCE(
                    model, temperature=self.temperature, candidates=choice, prefixes=nested, mini_batch=self.mini_batch
                ),
                epochs=self.epochs[stage],
                batch_size=self.batch_sizes[stage],
                learning_rate=self.learning_rates[stage],
                warmup=self.warmup,
                lora=self.lora,
                max_length=self.max_length,
                seed=seed,
                checkpoint=checkpoint,
                progress=progress,
                what=self.name,
                where=where,
            )

        def made(table: Any) -> Any:
            before = instructed(TASKS[role_of(table)])
            found = rows(
                table, self.name, in_batch=True, negatives=max(self.hard_negatives, 1), instruction=before, seed=seed
            )
            return drawn(found, self.max_rows, seed)

        first = {name: made(table) for name, table in weak.items()}
        kept = 0
        if first:
            model = learned(model, first, 0, seed, "weak")
        between = TextEmbedder(model, self.name)
        options = {"duplicate": None, "progress": progress}
        tables = {
            name: made(
                with_negatives(table, self.name, between, self.hard_negatives, **options) if searches(table) else table
            )
            for name, table in strong.items()
        }
        for name, table in first.items() if strong else ():
            sure = above(between, table, self.keep_above)
            kept += sure.num_rows
            if sure.num_rows:
                tables[name] = sure
        runs = self.runs if strong else 0
        finals = [learned(model, tables, 1, seed + run, f"run {run + 1} of {runs}") for run in range(runs)] or [model]
        states = [final.state_dict() for final in finals]
        merged = (
            merging.slerp_all(states)
            if self.merge == "slerp"
            else merging.soup(states if self.merge == "uniform" else states[:1])
        )
        out = merging.into(model, merged)
        out.prompts = {role: instructed(task) for role, task in TASKS.items()} | {"document": ""}
        about = {
            "weak": list(weak),
            "weak pairs kept": kept,
            "sets": list(strong),
            "runs": runs,
            "rows": sum(table.num_rows for table in tables.values()),
        }
        return TextEmbedder(
            out.eval(),
            self.name,
            self.card(seed, about, start=base.name, licence=base.card.get("licence"), matryoshka=sorted(nested)),
        )


def above(embedder: Any, table: Any, least: float) -> Any:
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
