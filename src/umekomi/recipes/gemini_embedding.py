"""Gemini Embedding: J. Lee et al., "Gemini Embedding: Generalizable Embeddings from Gemini" (2025, arXiv 2503.07891).

E = f(mean(M(t ⊕ q))): a bidirectional network, the mean of its tokens, a linear map f to the output's width; passages
have no task string t. InfoNCE over one own hard negative and the batch's other positives, without those of equal
queries or equal positives, summed over nested prefixes (eq. 1-3). Weak pairs first, without hard negatives; then sets
one by one in their own batches; then the mean of several such runs (a soup).

Where the paper is silent or cannot be followed: its raters of negatives are two prompts of Gemini (graded relevance,
query likelihood), here the pre-finetuned embedder and BM25, fused in the same way, and the lowest-ranked neighbours
taken as there; the form of its task string is not printed, the one here is its sibling EmbeddingGemma's; the printed
duplicate mask drops the positive itself, which must stay; the ingredients of its soup are picked by hand, here they are
runs of other seeds, all of them or greedily.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from umekomi.data.contrast import CONTRASTS, contrastive_rows, is_search, role_of, stages
from umekomi.fields import Above, AtLeast, Within
from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from umekomi.models.text import TextEmbedder
    from umekomi.parts.losses.contrastive import InfoNCE

TASKS = {"query": "search result", "classification": "classification", "similarity": "sentence similarity"}


def task_string(task: str) -> str:
    """What stands before a query (EmbeddingGemma's form)."""
    return f"task: {task} | query: "


@dataclass(frozen=True)
class GeminiEmbedding(Recipe):
    """Weak pairs, then each set in batches of its own with the easiest of the nearest as negatives, then a soup of
    several runs.

    Learns from one set or several by name; names that begin with ``weak`` are the first stage's. ``merge``:
    ``"uniform"``, ``"greedy"`` (judged by the loss on ``held_out`` of the rows) or ``"none"`` of ``runs`` runs.
    ``dimensions`` 0 leaves the network's width and puts no map behind it.
    """

    name: ClassVar[str] = "gemini-embedding"
    paper: ClassVar[Paper] = Paper(
        "Gemini Embedding: Generalizable Embeddings from Gemini", "Lee et al.", 2025, "", "2503.07891"
    )
    learns: ClassVar[tuple[str, ...]] = CONTRASTS
    begins: ClassVar[str | None] = "minilm"
    supervised: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"
    takes_sets: ClassVar[bool] = True

    dimensions: Annotated[int, AtLeast(0)] = 3072
    prefixes: Annotated[tuple[int, ...], AtLeast(1)] = (768, 1536, 3072)
    temperature: Annotated[float, Above(0)] = 0.05
    hard_negatives: Annotated[int, AtLeast(0)] = 1
    queries: bool = False
    runs: Annotated[int, AtLeast(1)] = 3
    merge: Literal["uniform", "greedy", "none"] = "uniform"
    held_out: Annotated[float, Within(0, 1)] = 0.05
    epochs: Annotated[tuple[float, float], Above(0)] = (1, 1)
    batch_sizes: Annotated[tuple[int, int], AtLeast(1)] = (8192, 512)
    mini_batch: Annotated[int, AtLeast(0)] = 64
    learning_rates: Annotated[tuple[float, float], Above(0)] = (5e-5, 2e-5)
    warmup: Annotated[float, Within(0, 1, "[]")] = 0.1
    max_length: Annotated[int | None, AtLeast(1)] = 512
    max_rows: Annotated[int | None, AtLeast(1)] = None

    @classmethod
    def small(cls) -> GeminiEmbedding:
        return cls(
            dimensions=0,
            prefixes=(96, 192, 384),
            batch_sizes=(64, 32),
            mini_batch=0,
            learning_rates=(5e-5, 5e-5),
            runs=2,
            max_length=128,
            max_rows=1000,
        )

    @classmethod
    def tiny(cls) -> GeminiEmbedding:
        return cls(
            dimensions=0,
            prefixes=(8,),
            batch_sizes=(4, 4),
            mini_batch=0,
            learning_rates=(1e-4, 1e-4),
            runs=2,
            max_length=32,
            max_rows=8,
        )

    def learn(self, data: Mapping[str, pa.Table], start: Start, run: Run) -> TextEmbedder:
        from umekomi.models.prompts import set_prompts
        from umekomi.models.starting import with_pooling
        from umekomi.models.text import TextEmbedder
        from umekomi.parts import merging
        from umekomi.parts.learning.sentences import fine_tune_stage, sample_rows
        from umekomi.parts.losses.contrastive import Candidates, InfoNCE
        from umekomi.tasks.negatives import lexical_teacher, with_negatives

        weak, strong = stages(data, self.name)
        base = with_pooling(start, self.name, None, bidirectional=True)
        model = add_projection(base.model, self.dimensions, run.seed)
        width = int(model.get_embedding_dimension())
        nested = {min(prefix, width): 1.0 for prefix in (*self.prefixes, width)}

        def loss(of: SentenceTransformer) -> InfoNCE:
            choice = Candidates(negatives="own", queries=self.queries)
            return InfoNCE(
                of, temperature=self.temperature, candidates=choice, prefixes=nested, mini_batch=self.mini_batch
            )

        def rows_of(table: pa.Table) -> pa.Table:
            contrastive = contrastive_rows(
                table,
                self.name,
                in_batch=True,
                negatives=max(self.hard_negatives, 1),
                instruction=task_string(TASKS[role_of(table)]),
                seed=run.seed,
            )
            return sample_rows(contrastive, self.max_rows, run.seed)

        if weak:
            first = {name: rows_of(table) for name, table in weak.items()}
            model = fine_tune_stage(model, first, loss, self, 0, run.stage("weak"))
        runs = self.runs if strong else 0
        strong = strong or weak
        between = TextEmbedder(model, self.name)
        searching = [table for table in strong.values() if is_search(table)]
        raters = [between, lexical_teacher(searching, self.name)] if searching and self.hard_negatives and runs else []
        tables = {
            name: rows_of(
                with_negatives(table, run, between, self.hard_negatives, most=self.max_rows, raters=raters, lowest=True)
            )
            for name, table in strong.items()
        }
        held_out: dict[str, Any] = {}
        if self.merge == "greedy" and runs > 1:
            for name, table in list(tables.items()):
                learned_from = sample_rows(table, max(2, int((1 - self.held_out) * table.num_rows)), run.seed)
                training = set(map(str, learned_from.to_pylist()))
                held_out[name] = table.filter([str(row) not in training for row in table.to_pylist()])
                tables[name] = learned_from
        finals = [fine_tune_stage(model, tables, loss, self, 1, each) for each in run.several(runs)] or [model]
        states = [final.state_dict() for final in finals]
        went = list(range(len(states)))
        if self.merge == "greedy" and len(states) > 1:
            merged, went = merging.greedy(
                states, lambda state: -held_loss(merging.load_into(model, state), held_out, loss)
            )
        else:
            merged = merging.soup(states) if self.merge == "uniform" else states[0]
        out = merging.load_into(model, merged)
        set_prompts(
            out,
            {role: task_string(task) for role, task in TASKS.items()}
            | {
                "clustering": task_string("clustering"),
                "document": "",
            },
        )
        about = {
            "weak": list(weak),
            "sets": list(strong),
            "runs": runs,
            "merged": went,
            "rows": sum(table.num_rows for table in tables.values()),
        }
        return TextEmbedder(out.eval(), self.name, {"training": about, "matryoshka": sorted(nested)})


def add_projection(model: SentenceTransformer, dimensions: int, seed: int) -> SentenceTransformer:
    """A copy of the model with a random linear map to ``dimensions`` behind its pooling (0: none)."""
    import copy

    import torch
    from sentence_transformers.base.modules import Dense, Normalize

    model = copy.deepcopy(model)
    if dimensions:
        unit = model.pop(len(model) - 1) if isinstance(model[-1], Normalize) else None
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model.append(
                Dense(
                    int(model.get_embedding_dimension()),
                    dimensions,
                    bias=False,
                    activation_function=torch.nn.Identity(),
                ).to(model.device)
            )
        if unit is not None:
            model.append(unit)
    return model


def held_loss(
    model: SentenceTransformer, held: dict[str, Any], loss: Callable[[SentenceTransformer], nn.Module]
) -> float:
    """The mean loss on held-out rows, each set's in one batch."""
    import torch

    from umekomi.parts.learning.batches import InstructedCollator

    objective = loss(model.eval())
    total = []
    for table in held.values():
        batch = InstructedCollator(preprocess_fn=model.preprocess, model=model)(table.to_pylist())
        names = ["anchor", "positive", *(name for name in table.column_names if name.startswith("negative"))]
        columns = [
            {
                key[len(name) + 1 :]: value.to(model.device)
                for key, value in batch.items()
                if key.startswith(f"{name}_") and hasattr(value, "to")
            }
            for name in names
        ]
        with torch.no_grad():
            total.append(float(objective(columns, batch["label"].to(model.device))))
    return sum(total) / len(total)
