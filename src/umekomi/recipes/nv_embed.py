"""NV-Embed: C. Lee et al., "NV-Embed: Improved Techniques for Training LLMs as Generalist Embedding Models" (ICLR 2025,
arXiv 2405.17428).

A decoder without its causal mask; latent attention pooling over tokens that are not instruction; two stages of InfoNCE:
retrieval sets with in-batch and mined negatives, then all sets blended in every batch, without in-batch negatives
(texts of one class in a batch would be false negatives, section 3.3).

Where paper and released code differ: the pooling (:class:`umekomi.parts.pooling.LatentAttention`; the released form is
the default), and which instruction tokens are left out (the code keeps the last one; here all are left out). Settings
not in the paper's text (temperature, rates, LoRA) are recalled from its appendix C and marked so in the docs. Negatives
come from the model that training starts from, or BM25 where that is untrained; the paper's from E5-mistral-7b.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from umekomi.contracts import Paper, Recipe
from umekomi.data.columns import shape
from umekomi.data.contrast import blended, role_of, rows, searches, sets
from umekomi.errors import DataError

TASKS = {
    "query": "Given a question, retrieve passages that answer the question",
    "classification": "Classify the given text by its class",
    "similarity": "Retrieve semantically similar text",
}
"""Task descriptions by role, where the data have no column ``instruction``."""
ORDERS = ("two-stage", "reversed", "single", "single-in-batch")


def instructed(task: str) -> str:
    """NV-Embed's template (section 4)."""
    return f"Instruct: {task}\nQuery: "


@dataclass(frozen=True)
class NvEmbed(Recipe):
    """Latent attention over a decoder without its causal mask, learned on retrieval first, then on everything without
    in-batch negatives.

    Learns from one set or several by name: ``{"questions": pairs, "topics": labelled texts, "sts": scored pairs}``.
    ``order``: ``"two-stage"``, ``"reversed"``, or one stage over all of them without in-batch negatives (``"single"``)
    or with (``"single-in-batch"``), of as many epochs as both together. ``labels``: positives and negatives of labelled
    texts are ``"example"`` texts or the ``"label"`` names.
    """

    name: ClassVar[str] = "nv-embed"
    paper: ClassVar[Paper] = Paper(
        "NV-Embed: Improved Techniques for Training LLMs as Generalist Embedding Models",
        "Lee et al.",
        2025,
        "ICLR",
        "2405.17428",
    )
    columns: ClassVar[tuple[str, ...]] = ("anchor", "positive")
    extra: ClassVar[str] = "neural"
    labelled: ClassVar[bool] = True
    takes_sets: ClassVar[bool] = True

    pooling: str = "latent"
    latents: int = 512
    heads: int = 8
    bidirectional: bool = True
    order: str = "two-stage"
    labels: str = "example"
    hard_negatives: int = 7
    relative_margin: float = 0.05
    temperature: float = 0.02
    epochs: tuple[float, float] = (1, 1)
    batch_size: int = 128
    learning_rates: tuple[float, float] = (2e-5, 1.5e-5)
    warmup: float = 0.1
    max_length: int | None = 512
    lora: tuple[int, float, float] | None = (16, 32, 0.1)
    max_rows: int | None = None

    @classmethod
    def small(cls) -> NvEmbed:
        """No adapters, the network's own pooling, a softer temperature and 1,000 rows of every set."""
        return cls(
            pooling="own",
            latents=32,
            hard_negatives=2,
            temperature=0.05,
            batch_size=32,
            learning_rates=(5e-5, 5e-5),
            max_length=128,
            lora=None,
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
        self.one_of(order=ORDERS)
        named = sets(data, self.name)
        from umekomi.models import load
        from umekomi.models.text import TextEmbedder, pooled
        from umekomi.parts.learning.sentences import Stage, drawn, tuned
        from umekomi.parts.losses.contrastive import Candidates, InfoNCE
        from umekomi.parts.networks import decodes, with_eos
        from umekomi.tasks.negatives import lexical_teacher, with_negatives

        given = load(start or "minilm")
        own = None if self.pooling == "own" else self.pooling
        base = pooled(
            given,
            self.name,
            own,
            bidirectional=self.bidirectional,
            without_prompt=True,
            latents=self.latents,
            heads=self.heads,
        )
        if decodes(base.model.transformers_model):
            with_eos(base.model.tokenizer)
        searching = {name: table for name, table in named.items() if searches(table)}
        rest = {name: table for name, table in named.items() if name not in searching}
        teacher = given
        if self.hard_negatives and searching and given.kind == "backbone":
            teacher = lexical_teacher(list(searching.values()), self.name)
        options = {"relative_margin": self.relative_margin, "duplicate": None, "progress": progress}
        mined = {
            name: with_negatives(table, self.name, teacher, self.hard_negatives, **options)
            for name, table in searching.items()
        }

        def made(tables: dict[str, Any], in_batch: bool) -> Any:
            parts = []
            for table in tables.values():
                role = role_of(table)
                task, both = (
                    instructed(TASKS[role]),
                    role != "query" and not (role == "classification" and self.labels == "label"),
                )
                found = rows(
                    table,
                    self.name,
                    in_batch=in_batch,
                    labels=self.labels,
                    negatives=max(self.hard_negatives, 1),
                    instruction=task,
                    document_instruction=task if both else "",
                    seed=seed,
                )
                parts.append(drawn(found, self.max_rows, seed))
            return blended(parts)

        first = (made(mined, True), self.epochs[0]) if mined else None
        alone = not first or not rest
        second = (made({**mined, **rest}, self.order == "single-in-batch"), self.epochs[1])
        plans: list[tuple[Any, float] | None] = [first, second]
        if self.order == "reversed":
            plans = [second, first]
        elif self.order != "two-stage":
            plans = [(second[0], sum(self.epochs))]
        if alone and self.order in ("two-stage", "reversed") and not self.hard_negatives and first:
            plans = [first]  # one retrieval set without negatives has nothing to learn from in the second stage
        plan = [step for step in plans if step is not None]
        for table, _ in plan:
            if not any(policy[0] or policy[2] for policy in table["label"].to_pylist()):
                raise DataError(
                    f"{self.name}: expected hard negatives for a stage without in-batch negatives, found none: set "
                    "hard_negatives to 1 or more"
                )

        def stages(model: Any) -> list[Stage]:
            loss = InfoNCE(model, temperature=self.temperature, candidates=Candidates(negatives="all"))
            return [
                Stage(
                    {"all": table}, {"all": loss}, epochs, self.batch_size, rate, self.warmup, "shuffle", lora=self.lora
                )
                for (table, epochs), rate in zip(plan, self.learning_rates, strict=False)
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
        model.prompts = {role: instructed(task) for role, task in TASKS.items()} | {
            "document": "",
            "clustering": instructed("Identify the topic of the given text"),
        }
        about = {
            "sets": {name: shape(table) for name, table in named.items()},
            "rows by stage": [table.num_rows for table, _ in plan],
        }
        return TextEmbedder(model, self.name, self.card(seed, about, start=base.name, licence=base.card.get("licence")))
