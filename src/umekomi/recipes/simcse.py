"""SimCSE: T. Gao, X. Yao & D. Chen, "SimCSE: Simple Contrastive Learning of Sentence Embeddings" (EMNLP 2021, arXiv
2104.08821).

Unsupervised: -log e^{s(h_i, h_i')/τ} / Σ_j e^{s(h_i, h_j')/τ}, h and h' the same sentence under two dropout masks (eq.
4). Supervised: h' is an entailed hypothesis, and everybody's contradictions stand in the sum, each row's own α times
(eq. 5).

An MLP (dense and tanh) stands on the pooled vector: in training only without labels, kept with them (table 6). Where
paper and public code differ: α multiplies the own negative's term in the paper, and is added as a log-weight in the
code: the same. The code trains on sentences of 32 tokens and picks the checkpoint by STS-B's development set; here the
last one stands, and ``watch`` shows how it went. The masked-language term of appendix (worse on STS, a little better in
transfer) is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np

from umekomi.contracts import Pooling
from umekomi.data.contrast import contrastive_rows
from umekomi.data.shapes import shape_name
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
class SimCse(Recipe):
    """A sentence and itself under another dropout mask are a positive pair; with entailment pairs, contradictions are
    hard negatives.

    Learns from texts (unsupervised), from entailment (sentence1, sentence2, label) or from pairs (anchor, positive[,
    negative …]). ``views``: ``"two"`` dropout masks, the ``"same"`` for both, or ``"none"``. ``mlp``: ``"auto"`` as the
    paper does, ``"train"`` (dropped behind training), ``"keep"`` or ``"none"``. ``watch`` names scored pairs (a data
    set's validation split, or a file): alignment (of pairs scored 4 of 5 or more), uniformity and Spearman's
    correlation every ``watch_every`` steps, in the model's card under ``training``.
    """

    name: ClassVar[str] = "simcse"
    paper: ClassVar[Paper] = Paper(
        "SimCSE: Simple Contrastive Learning of Sentence Embeddings", "Gao, Yao & Chen", 2021, "EMNLP", "2104.08821"
    )
    learns: ClassVar[tuple[str, ...]] = ("labelled pairs", "pairs", "texts")
    begins: ClassVar[str | None] = "minilm"
    presets: ClassVar[tuple[str, ...]] = ("entailment",)
    extra: ClassVar[str] = "neural"

    temperature: Annotated[float, Above(0)] = 0.05
    dropout: Annotated[float, Within(0, 1)] = 0.1
    views: Literal["two", "same", "none"] = "two"
    mlp: Literal["auto", "train", "keep", "none"] = "auto"
    hard_weight: Annotated[float, Above(0)] = 1.0
    pooling: Pooling = "cls"
    epochs: Annotated[float, Above(0)] = 1
    batch_size: Annotated[int, AtLeast(1)] = 64
    learning_rate: Annotated[float, Above(0)] = 3e-5
    warmup: Annotated[float, Within(0, 1, "[]")] = 0.0
    max_length: Annotated[int, AtLeast(1)] = 32
    max_rows: Annotated[int | None, AtLeast(1)] = None
    watch: str = ""
    watch_every: Annotated[int, AtLeast(1)] = 125

    @classmethod
    def small(cls) -> SimCse:
        return cls(pooling="own", max_rows=4000)

    @classmethod
    def entailment(cls) -> SimCse:
        """The paper's values with labels (table 7)."""
        return cls(epochs=3, batch_size=512, learning_rate=5e-5)

    @classmethod
    def tiny(cls) -> SimCse:
        return cls(pooling="own", batch_size=4, max_length=16, max_rows=16)

    def learn(self, data: pa.Table, start: Start, run: Run) -> TextEmbedder:
        from umekomi.models.starting import with_pooling
        from umekomi.models.text import TextEmbedder
        from umekomi.parts.learning.sentences import Stage, fine_tune, sample_rows
        from umekomi.parts.losses.contrastive import Candidates, InfoNCE

        labelled = shape_name(data) != "texts"
        table = contrastive_rows(data if labelled else self._twice(data), self.name)
        table = sample_rows(table, self.max_rows, run.seed)
        base = with_pooling(start, self.name, None if self.pooling == "own" else self.pooling)
        curve: list[dict[str, float]] = []
        watch = Watch(self.watch, curve) if self.watch else None

        def stages(model: SentenceTransformer) -> list[Stage]:
            set_dropout(model, 0.0 if self.views == "none" else self.dropout)
            loss = InfoNCE(
                model,
                temperature=self.temperature,
                one_view=self.views == "same" and not labelled,
                candidates=Candidates(own_weight=self.hard_weight),
            )
            return [
                Stage(
                    {"pairs": table},
                    {"pairs": loss},
                    self.epochs,
                    self.batch_size,
                    self.learning_rate,
                    self.warmup,
                    "shuffle",
                    watch=watch,
                    watch_every=self.watch_every,
                )
            ]

        headed_base = add_head(base.model, self.mlp, run.seed)
        model = fine_tune(headed_base, stages, run=run, max_length=self.max_length)
        if self.mlp == "train" or (self.mlp == "auto" and not labelled):
            del model[-1]
        about = {"rows": table.num_rows, "objective": "supervised" if labelled else "unsupervised", "curve": curve}
        return TextEmbedder(model, self.name, {"training": about})

    def _twice(self, data: pa.Table) -> dict[str, list[str]]:
        """Every text as its own positive."""
        texts = [text for text in data["text"].to_pylist() if text.strip()]
        if len(texts) < 2:
            raise DataError(f"{self.name}: expected two texts or more, found {len(texts)}")
        return {"anchor": texts, "positive": texts}


def add_head(model: SentenceTransformer, mlp: str, seed: int) -> SentenceTransformer:
    """A copy of the sentence-transformers model, an MLP behind its pooling."""
    import copy

    import torch
    from sentence_transformers.base.modules import Dense

    model = copy.deepcopy(model)
    if mlp != "none":
        width = int(model.get_embedding_dimension())
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            head = Dense(width, width, activation_function=torch.nn.Tanh())
        model.append(head.to(model.device))
    return model


def set_dropout(model: nn.Module, share: float) -> None:
    """The same dropout everywhere in the network."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = share  # type: ignore[assignment]


class Watch:
    """Alignment, uniformity and correlation on scored pairs, as training goes."""

    def __init__(self, name: str, curve: list[dict[str, float]]) -> None:
        from umekomi.data import load
        from umekomi.data.tables import check

        dataset = load(name)
        split = next((name for name in ("dev", "validation") if name in dataset.splits), next(iter(dataset.splits)))
        table = check(dataset[split], ("sentence1", "sentence2", "score"), "simcse, watch")
        self.first, self.second = table["sentence1"].to_pylist(), table["sentence2"].to_pylist()
        self.scores = np.array(table["score"].to_pylist(), float)
        self.good = self.scores >= 0.8 * self.scores.max()
        self.curve = curve

    def __call__(self, model: SentenceTransformer, step: int) -> None:
        """One point of the curve."""
        from scipy.stats import spearmanr

        from umekomi.parts.geometry import alignment, uniformity
        from umekomi.parts.similarity import normalise

        a, b = (model.encode(side, batch_size=64, show_progress_bar=False) for side in (self.first, self.second))
        cosines = np.einsum("nd,nd->n", normalise(a), normalise(b))
        self.curve.append(
            {
                "step": step,
                "alignment": alignment(a[self.good], b[self.good]),
                "uniformity": uniformity(np.concatenate([a, b])),
                "spearman": float(spearmanr(cosines, self.scores).statistic),
            }
        )
