"""CSR: T. Wen et al., "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation" (ICML 2025 oral, arXiv
2503.01776), and CSRv2 (ICLR 2026, arXiv 2602.05735).

The claim: a few active of many latents keep more of a frozen embedding than as many of its (nested) dimensions. The
equations and where paper and code differ are in :mod:`umekomi.transforms.codes`, which learns from vectors already
computed; this recipe computes them, once, with the frozen embedder. Texts alone give the self-supervised form; pairs
are each other's positives; labels make all texts of a label positives (CSRv2). ``start_k`` above ``k`` is CSRv2's
annealing. ``tune`` is its fine-tuning of the backbone: behind the frozen code, network and code learn on together
(:class:`umekomi.parts.losses.sparse.SparseContrast`), by adapters or whole; its rates are not in what was read, those
here are this house's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from umekomi.data.shapes import shape_name
from umekomi.errors import WrongUse
from umekomi.fields import Above, AtLeast, Within
from umekomi.models.base import EmbedderBase
from umekomi.parts.learning.arrays import curve
from umekomi.recipes import Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa
    from sentence_transformers import SentenceTransformer

    from umekomi.models.text import TextEmbedder
    from umekomi.transforms.codes import SparseCode


@dataclass(frozen=True)
class Csr(Recipe):
    """A sparse code of a frozen embedding keeps more of it than as many of its dimensions: ``k`` active latents of
    ``width``.

    Learns from texts, pairs (anchor, positive) or labelled texts. ``start`` is the embedder whose vectors are coded
    (minilm). The plain constructor has the paper's settings for text (table 9); the code of one model takes minutes on
    two cores.
    """

    name: ClassVar[str] = "csr"
    paper: ClassVar[Paper] = Paper(
        "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation",
        "Wen et al.",
        2025,
        "ICML",
        "2503.01776",
    )
    learns: ClassVar[tuple[str, ...]] = ("labelled texts", "pairs", "texts")
    begins: ClassVar[str | None] = "minilm"
    extra: ClassVar[str] = "neural"

    k: Annotated[int, AtLeast(1)] = 32
    width: Annotated[int, AtLeast(0)] = 0
    epochs: Annotated[int, AtLeast(1)] = 10
    batch_size: Annotated[int, AtLeast(2)] = 128
    learning_rate: Annotated[float, Above(0)] = 2e-5
    weight_decay: Annotated[float, AtLeast(0)] = 1e-4
    contrast: Annotated[float, AtLeast(0)] = 1.0
    temperature: Annotated[float, Above(0)] = 0.2
    auxiliary: Annotated[float, AtLeast(0)] = 1 / 32
    auxiliary_k: Annotated[int, AtLeast(1)] = 1024
    dead_after: Annotated[int, AtLeast(1)] = 10
    start_k: Annotated[int, AtLeast(0)] = 0
    annealing: Annotated[float, Within(0, 1, "[]")] = 0.7
    threads: Annotated[int, AtLeast(0)] = 0
    tune: Literal["none", "lora", "full"] = "none"
    tune_epochs: Annotated[float, Above(0)] = 1
    tune_learning_rate: Annotated[float, Above(0)] = 5e-5
    tune_batch: Annotated[int, AtLeast(1)] = 64
    lora: tuple[int, float, float] = (16, 32, 0.1)
    max_length: Annotated[int | None, AtLeast(1)] = 128

    @classmethod
    def small(cls) -> Csr:
        """Twenty times the rate in a tenth of the time, and no contrast: a text with itself only pushes neighbours
        apart."""
        return cls(epochs=20, batch_size=512, learning_rate=1e-3, weight_decay=0.0, contrast=0.0, auxiliary_k=256)

    @classmethod
    def tiny(cls) -> Csr:
        return cls(k=2, width=8, epochs=2, batch_size=4, auxiliary_k=2, threads=1)

    def learn(self, data: pa.Table, start: Start, run: Run) -> EmbedderBase:
        from umekomi.transforms.codes import SparseCode

        assert start is not None  # one always begins from a model
        if not isinstance(start, EmbedderBase) or "dense" not in start.outputs:
            raise WrongUse(f"{self.name} codes dense vectors; {start.name} gives none")
        beside = (
            "recipe",
            "k",
            "width",
            "tune",
            "tune_epochs",
            "tune_learning_rate",
            "tune_batch",
            "lora",
            "max_length",
        )
        settings = {name: value for name, value in self.settings().items() if name not in beside}
        code = SparseCode(self.k, self.width, seed=run.seed, **settings)
        kind = shape_name(data)
        if kind == "pairs":
            texts, others, labels = data["positive"].to_pylist(), data["anchor"].to_pylist(), None
        else:
            texts, others = data["text"].to_pylist(), None
            labels = data["label"].to_pylist() if kind == "labelled texts" else None
        vectors = start.encode(texts, output="dense", role="document", progress=run.progress)
        positives = (
            None if others is None else start.encode(others, output="dense", role="query", progress=run.progress)
        )
        code.fit(vectors, labels=labels, positives=positives, checkpoint=run.checkpoint, progress=run.progress)
        base = start if self.tune == "none" else self._tuned(start, code, texts, others, labels, run)
        contrast = {"labelled texts": "labels", "pairs": "pairs"}.get(kind, "each text with itself")
        embedder = base.with_transform(code)
        embedder.name = self.name
        embedder.card = {
            "training": {
                "vectors": len(texts),
                "loss": curve(code.loss_),
                "dead latents": round(code.dead_, 4),
                "contrast": contrast,
            }
        }
        return embedder

    def _tuned(
        self,
        base: EmbedderBase,
        code: SparseCode,
        texts: list[str],
        others: list[str] | None,
        labels: list[Any] | None,
        run: Run,
    ) -> TextEmbedder:
        """The embedder after learning together with the code, which keeps what it learned."""
        import pyarrow as pa

        from umekomi.models.tokens import NetworkEmbedder

        if not isinstance(base, NetworkEmbedder) or (others is None and labels is None):
            raise WrongUse(
                f"{self.name}, tune: expected a transformer text embedder and pairs or labels, found {base.name} "
                f"({base.kind}) and texts alone"
            )
        from umekomi.models.text import TextEmbedder
        from umekomi.parts.learning.sentences import Stage, fine_tune
        from umekomi.parts.losses.sparse import SparseContrast

        if labels is not None:
            number_of = {label: number for number, label in enumerate(sorted(set(labels), key=str))}
            table = pa.table({"text": texts, "label": [number_of[label] for label in labels]})
        else:
            table = pa.table({"anchor": others, "positive": texts})
        objectives: list[SparseContrast] = []

        def stages(model: SentenceTransformer) -> list[Stage]:
            arrays = code.state()[1]
            objectives.append(
                SparseContrast(model, arrays, self.k, contrast=self.contrast, temperature=self.temperature)
            )
            return [
                Stage(
                    {"all": table},
                    {"all": objectives[0]},
                    self.tune_epochs,
                    self.tune_batch,
                    self.tune_learning_rate,
                    0.1,
                    "shuffle",
                    lora=self.lora if self.tune == "lora" else None,
                )
            ]

        model = fine_tune(base.model, stages, run=run.stage("tune"), max_length=self.max_length)
        code.restore(
            {
                f"{name}_": getattr(objectives[0], name).detach().cpu().numpy().copy()
                for name in ("weight", "inner", "outer")
            }
        )
        return TextEmbedder(model, base.name, base.card)

    def check(self) -> None:
        if self.tune != "none" and not self.contrast:
            raise WrongUse(
                f"{self.name}, tune: expected a contrast above zero, which is all that moves the network, found "
                f"{self.contrast}"
            )
