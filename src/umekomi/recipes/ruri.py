"""Ruri: H. Tsukagoshi, R. Sasano, "Ruri: Japanese General Text Embeddings" (2024, arXiv 2409.07737); version 3 by its
model cards (2025).

A short prefix says what a text is for. Weak pairs first, with in-batch negatives; then supervised sets with mined
negatives. A reranker, trained in two stages on the same two kinds of data, filters the pairs of the second stage and
teaches the embedder by its scores.

Read in what was published: prefixes, mean pooling, sizes, licence (cards); batch 8192, rate 5e-5, 256 tokens,
temperature .01 of the first stage; batch 64, 512 tokens, 63 negatives of the reranker's second (paths that the makers'
configurations name). Not read, and chosen here: how the teacher's scores enter (as E5's: KL over the positive and the
mined negatives; its weight is ours), the reranker's loss (the recipe cross-encoder's; a batch is of pairs, negatives
are BM25's), what stands before texts that are compared as equals under two prefixes (the query's, as E5 does), how
pairs are filtered, and all other settings. The paper's weak pairs, partly written by language models, are whatever is
brought as ``weak``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from umekomi.contracts import Pooling
from umekomi.data.contrast import CONTRASTS, contrastive_rows, is_search, role_of, stages
from umekomi.errors import DataError, WrongUse
from umekomi.fields import Above, AtLeast, Within
from umekomi.progress import say
from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer

    from umekomi.models.scorers import CrossEncoderScorer
    from umekomi.models.text import TextEmbedder
    from umekomi.parts.losses.contrastive import InfoNCE

ROLES = ("query", "document", "similarity", "classification", "clustering")
PUBLISHED = {"two": "ruri-base", "1+3": "ruri-v3-30m"}
"""The published model whose prompts a scheme is."""


def prompts_of(scheme: str) -> dict[str, str]:
    """What stands before a text, by role."""
    from umekomi.models.published.catalogue import CATALOGUE

    own = CATALOGUE[PUBLISHED[scheme]].prompts if scheme in PUBLISHED else {"query": ""}
    return {role: own.get(role, "" if role == "document" else own["query"]) for role in ROLES}


@dataclass(frozen=True)
class Ruri(Recipe):
    """Prefixes for what a text is, weak pairs before supervised ones, and a reranker that filters pairs and teaches.

    Learns from one set or several by name; names that begin with ``weak`` are the first stage's. A pair is in the
    second stage, weak ones too, where the reranker scores its positive above ``keep_share`` of its mined negatives or
    more; none filters nothing and lets no weak pair in. ``reranker`` is a saved cross-encoder to use instead of one
    trained here. With ``distillation`` 0 it does not teach; without both it is not trained.
    """

    name: ClassVar[str] = "ruri"
    paper: ClassVar[Paper] = Paper(
        "Ruri: Japanese General Text Embeddings", "Tsukagoshi & Sasano", 2024, "", "2409.07737"
    )
    learns: ClassVar[tuple[str, ...]] = CONTRASTS
    begins: ClassVar[str | None] = "minilm"
    supervised: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"
    takes_sets: ClassVar[bool] = True
    presets: ClassVar[tuple[str, ...]] = ("v3",)

    prefix_scheme: Literal["none", "two", "1+3"] = "two"
    pooling: Pooling = "mean"
    temperature: Annotated[float, Above(0)] = 0.01
    hard_negatives: Annotated[int, AtLeast(0)] = 7
    keep_share: Annotated[float | None, Within(0, 1, "[]")] = 0.5
    distillation: Annotated[float, AtLeast(0)] = 1.0
    epochs: Annotated[tuple[float, float], Above(0)] = (1, 1)
    batch_sizes: Annotated[tuple[int, int], AtLeast(1)] = (8192, 512)
    mini_batch: Annotated[int, AtLeast(0)] = 64
    learning_rates: Annotated[tuple[float, float], Above(0)] = (5e-5, 1e-5)
    warmup: Annotated[float, Within(0, 1, "[]")] = 0.1
    max_length: Annotated[int | None, AtLeast(1)] = 256
    reranker: str = ""
    reranker_negatives: Annotated[int, AtLeast(1)] = 63
    reranker_epochs: Annotated[tuple[float, float], Above(0)] = (1, 1)
    reranker_batch_size: Annotated[int, AtLeast(1)] = 64
    reranker_learning_rates: Annotated[tuple[float, float], Above(0)] = (1e-5, 1e-5)
    reranker_max_length: Annotated[int | None, AtLeast(1)] = 512
    max_rows: Annotated[int | None, AtLeast(1)] = None

    @classmethod
    def v3(cls) -> Ruri:
        """One plain kind of text and three prefixes."""
        return cls(prefix_scheme="1+3")

    @classmethod
    def small(cls) -> Ruri:
        return cls(
            pooling="own",
            temperature=0.05,
            hard_negatives=3,
            batch_sizes=(64, 32),
            mini_batch=0,
            learning_rates=(5e-5, 5e-5),
            max_length=128,
            reranker_negatives=4,
            reranker_batch_size=16,
            reranker_learning_rates=(5e-5, 5e-5),
            reranker_max_length=128,
            max_rows=1000,
        )

    @classmethod
    def tiny(cls) -> Ruri:
        return replace(
            cls.small(),
            hard_negatives=2,
            keep_share=0.0,
            batch_sizes=(4, 4),
            learning_rates=(1e-4, 1e-4),
            max_length=32,
            reranker_negatives=1,
            reranker_batch_size=4,
            reranker_max_length=32,
            max_rows=8,
        )

    def check(self) -> None:
        if (self.distillation or self.keep_share is not None) and not self.hard_negatives:
            raise WrongUse(
                f"{self.name}, hard_negatives: expected 1 or more, by which the reranker filters and teaches, found 0"
            )

    def learn(self, data: Mapping[str, pa.Table], start: Start, run: Run) -> TextEmbedder:
        from umekomi.models.base import EmbedderBase
        from umekomi.models.prompts import set_prompts
        from umekomi.models.starting import with_pooling
        from umekomi.models.text import TextEmbedder
        from umekomi.parts.learning.sentences import fine_tune_stage, sample_rows
        from umekomi.parts.losses.contrastive import InfoNCE
        from umekomi.tasks.negatives import lexical_teacher, taught, with_negatives

        weak, strong = stages(data, self.name)
        searching = {name: table for name, table in data.items() if is_search(table)}
        judges = bool(strong) and (self.distillation > 0 or self.keep_share is not None)
        if judges and not searching:
            raise WrongUse(
                f"{self.name}: expected a set that asks for documents (pairs, judged pairs, retrieval), which its "
                "reranker learns from, found none: set distillation to 0 and keep_share to none"
            )
        before = prompts_of(self.prefix_scheme)

        def loss(of: SentenceTransformer) -> InfoNCE:
            return InfoNCE(of, temperature=self.temperature, mini_batch=self.mini_batch, distillation=self.distillation)

        def rows_of(table: pa.Table) -> pa.Table:
            role = role_of(table)
            contrastive = contrastive_rows(
                table,
                self.name,
                in_batch=True,
                negatives=max(self.hard_negatives, 1),
                instruction=before[role],
                document_instruction=before["document" if role == "query" else role],
                seed=run.seed,
            )
            return sample_rows(contrastive, self.max_rows, run.seed)

        given = self._given() if judges else None
        rows = {name: rows_of(table) for name, table in data.items()}  # whatever is wrong with a set is said first
        model = with_pooling(start, self.name, None if self.pooling == "own" else self.pooling).model
        if weak:
            model = fine_tune_stage(model, {name: rows[name] for name in weak}, loss, self, 0, run.stage("weak"))
            set_prompts(model, before)
        between = TextEmbedder(model, self.name)
        about: dict[str, Any] = {"weak": list(weak), "sets": list(strong)}
        if strong:
            reranker = given or self._reranker(between, weak, strong, run) if judges else None
            miner: EmbedderBase = between
            if not weak and not isinstance(start, EmbedderBase) and searching:
                miner = lexical_teacher(list(searching.values()), self.name)
            tables = {name: rows[name] for name in strong if name not in searching}
            for name, table in searching.items():
                if name in weak and self.keep_share is None:
                    continue
                mined = rows_of(with_negatives(table, run, miner, self.hard_negatives, most=self.max_rows))
                kept = mined if reranker is None else taught(mined, reranker, run.stage("scores"), self.keep_share)
                about.setdefault("pairs kept", {})[name] = [kept.num_rows, mined.num_rows]
                if self.keep_share is not None:
                    say(f"{self.name}: {kept.num_rows:,} of {mined.num_rows:,} pairs of {name} stay")
                if kept.num_rows:
                    tables[name] = kept
            if not tables:
                raise DataError(
                    f"{self.name}: expected pairs whose positive the reranker scores above {self.keep_share:g} of "
                    "their negatives, found none: set keep_share lower or to none"
                )
            about["rows"] = sum(table.num_rows for table in tables.values())
            model = fine_tune_stage(model, tables, loss, self, 1, run.stage("supervised"))
        set_prompts(model, before)
        return TextEmbedder(model, self.name, {"training": about})

    def _given(self) -> CrossEncoderScorer | None:
        """The reranker that is named."""
        from umekomi.models.opening import load
        from umekomi.models.scorers import CrossEncoderScorer

        if not self.reranker:
            return None
        try:
            model = load(self.reranker)
        except WrongUse as error:
            raise WrongUse(f"{self.name}, reranker: {error}") from error
        if not isinstance(model, CrossEncoderScorer):
            raise WrongUse(f"{self.name}, reranker: expected a cross-encoder, found {model.name} of kind {model.kind}")
        return model

    def _reranker(
        self, start: TextEmbedder, weak: Mapping[str, pa.Table], strong: Mapping[str, pa.Table], run: Run
    ) -> CrossEncoderScorer:
        """A cross-encoder on the network of the first stage, trained on weak pairs, then on the others."""
        import pyarrow as pa

        from umekomi.models.scorers import CrossEncoderScorer
        from umekomi.models.starting import cross_encoder
        from umekomi.parts.learning.sentences import fine_tune, judging
        from umekomi.tasks.negatives import judged_against

        rows: list[tuple[int, pa.Table]] = []
        for number, sets in enumerate((weak, strong)):
            judged = [
                judged_against(table, run, self.reranker_negatives, self.max_rows)
                for table in sets.values()
                if is_search(table)
            ]
            rows += [(number, pa.concat_tables(judged))] if judged else []

        def plan(model: Any) -> list[Any]:
            return [
                judging(
                    table,
                    model,
                    epochs=self.reranker_epochs[number],
                    batch_size=self.reranker_batch_size,
                    learning_rate=self.reranker_learning_rates[number],
                    warmup=self.warmup,
                )
                for number, table in rows
            ]

        base = cross_encoder(start, self.name, run.seed)
        return CrossEncoderScorer(fine_tune(base, plan, run=run.stage("reranker"), max_length=self.reranker_max_length))
