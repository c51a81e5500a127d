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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from umekomi.contracts import Pooling
from umekomi.data.contrast import CONTRASTS, concatenate, contrastive_rows, is_search, role_of
from umekomi.data.shapes import shape_name
from umekomi.errors import DataError
from umekomi.fields import Above, AtLeast, Within
from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer

    from umekomi.models.text import TextEmbedder

TASKS = {
    "query": "Given a question, retrieve passages that answer the question",
    "classification": "Classify the given text by its class",
    "similarity": "Retrieve semantically similar text",
}
"""Task descriptions by role, where the data have no column ``instruction``."""


def instruction_of(task: str) -> str:
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
    learns: ClassVar[tuple[str, ...]] = CONTRASTS
    begins: ClassVar[str | None] = "minilm"
    supervised: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"
    takes_sets: ClassVar[bool] = True

    pooling: Pooling = "latent"
    latents: Annotated[int, AtLeast(1)] = 512
    heads: Annotated[int, AtLeast(1)] = 8
    bidirectional: bool = True
    order: Literal["two-stage", "reversed", "single", "single-in-batch"] = "two-stage"
    labels: Literal["example", "label"] = "example"
    hard_negatives: Annotated[int, AtLeast(0)] = 7
    relative_margin: Annotated[float, Within(0, 1)] = 0.05
    temperature: Annotated[float, Above(0)] = 0.02
    epochs: Annotated[tuple[float, float], Above(0)] = (1, 1)
    batch_size: Annotated[int, AtLeast(1)] = 128
    learning_rates: Annotated[tuple[float, float], Above(0)] = (2e-5, 1.5e-5)
    warmup: Annotated[float, Within(0, 1, "[]")] = 0.1
    max_length: Annotated[int | None, AtLeast(1)] = 512
    lora: tuple[int, float, float] | None = (16, 32, 0.1)
    max_rows: Annotated[int | None, AtLeast(1)] = None

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

    @classmethod
    def tiny(cls) -> NvEmbed:
        return cls(
            pooling="own",
            hard_negatives=1,
            temperature=0.05,
            batch_size=4,
            learning_rates=(1e-4, 1e-4),
            max_length=32,
            lora=None,
            max_rows=8,
        )

    def learn(self, data: Mapping[str, pa.Table], start: Start, run: Run) -> TextEmbedder:
        from umekomi.models.base import EmbedderBase
        from umekomi.models.prompts import set_prompts
        from umekomi.models.starting import with_pooling
        from umekomi.models.text import TextEmbedder
        from umekomi.parts.learning.sentences import Stage, fine_tune, sample_rows
        from umekomi.parts.losses.contrastive import Candidates, InfoNCE
        from umekomi.parts.networks import decodes, with_eos
        from umekomi.tasks.negatives import lexical_teacher, with_negatives

        own = None if self.pooling == "own" else self.pooling
        base = with_pooling(
            start,
            self.name,
            own,
            bidirectional=self.bidirectional,
            without_prompt=True,
            latents=self.latents,
            heads=self.heads,
        )
        if decodes(base.model.transformers_model):
            with_eos(base.model.tokenizer)
        searching = {name: table for name, table in data.items() if is_search(table)}
        rest = {name: table for name, table in data.items() if name not in searching}
        teacher: EmbedderBase = base
        if isinstance(start, EmbedderBase):
            teacher = start
        elif self.hard_negatives and searching:
            teacher = lexical_teacher(list(searching.values()), self.name)
        mined = {
            name: with_negatives(
                table, run, teacher, self.hard_negatives, most=self.max_rows, relative_margin=self.relative_margin
            )
            for name, table in searching.items()
        }

        def stage_rows(tables: dict[str, Any], in_batch: bool) -> pa.Table:
            parts = []
            for table in tables.values():
                role = role_of(table)
                task, both = (
                    instruction_of(TASKS[role]),
                    role != "query" and not (role == "classification" and self.labels == "label"),
                )
                contrastive = contrastive_rows(
                    table,
                    self.name,
                    in_batch=in_batch,
                    labels=self.labels,
                    negatives=max(self.hard_negatives, 1),
                    instruction=task,
                    document_instruction=task if both else "",
                    seed=run.seed,
                )
                parts.append(sample_rows(contrastive, self.max_rows, run.seed))
            return concatenate(parts)

        first = (stage_rows(mined, True), self.epochs[0]) if mined else None
        alone = not first or not rest
        second = (stage_rows({**mined, **rest}, self.order == "single-in-batch"), self.epochs[1])
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

        def stages(model: SentenceTransformer) -> list[Stage]:
            loss = InfoNCE(model, temperature=self.temperature, candidates=Candidates(negatives="all"))
            return [
                Stage(
                    {"all": table}, {"all": loss}, epochs, self.batch_size, rate, self.warmup, "shuffle", lora=self.lora
                )
                for (table, epochs), rate in zip(plan, self.learning_rates, strict=False)
            ]

        model = fine_tune(base.model, stages, run=run, max_length=self.max_length)
        set_prompts(
            model,
            {role: instruction_of(task) for role, task in TASKS.items()}
            | {
                "document": "",
                "clustering": instruction_of("Identify the topic of the given text"),
            },
        )
        about = {
            "sets": {name: shape_name(table) for name, table in data.items()},
            "rows by stage": [table.num_rows for table, _ in plan],
        }
        return TextEmbedder(model, self.name, {"training": about})
