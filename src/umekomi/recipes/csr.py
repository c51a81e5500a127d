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
from pathlib import Path
from typing import Any, ClassVar

from umekomi.contracts import Paper, Recipe
from umekomi.data.columns import as_table, check, shape
from umekomi.data.views import pairs, texts
from umekomi.errors import WrongUse


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
    columns: ClassVar[tuple[str, ...]] = ("text",)

    k: int = 32
    width: int = 0
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 2e-5
    weight_decay: float = 1e-4
    contrast: float = 1.0
    temperature: float = 0.2
    auxiliary: float = 1 / 32
    auxiliary_k: int = 1024
    dead_after: int = 10
    start_k: int = 0
    annealing: float = 0.7
    threads: int = 0
    tune: str = "none"
    tune_epochs: float = 1
    tune_rate: float = 5e-5
    tune_batch: int = 64
    lora: tuple[int, float, float] = (16, 32, 0.1)
    max_length: int | None = 128

    @classmethod
    def small(cls) -> Csr:
        """Twenty times the rate in a tenth of the time, and no contrast: a text with itself only pushes neighbours
        apart."""
        return cls(epochs=20, batch_size=512, learning_rate=1e-3, weight_decay=0.0, contrast=0.0, auxiliary_k=256)

    def fit(
        self,
        data: Any,
        *,
        start: Any = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        progress: bool = False,
    ) -> Any:
        from umekomi.models import load
        from umekomi.transforms.codes import SparseCode

        base = load(start or "minilm")
        if "dense" not in getattr(base, "outputs", ()):
            raise WrongUse(f"{self.name} codes dense vectors; {base.name} gives none")
        if self.tune not in ("none", "lora", "full"):
            raise WrongUse(f"{self.name}, tune: expected none, lora or full, found {self.tune!r}")
        beside = ("recipe", "k", "width", "tune", "tune_epochs", "tune_rate", "tune_batch", "lora", "max_length")
        settings = {name: value for name, value in self.settings().items() if name not in beside}
        code = SparseCode(self.k, self.width, seed=seed, **settings)
        first, others, labels = self._items(data)
        vectors = base.encode_document(first, progress=progress)
        positives = base.encode_query(others, progress=progress) if others is not None else None
        code.fit(vectors, labels=labels, positives=positives, checkpoint=checkpoint, progress=progress)
        if self.tune != "none":
            base = self._tuned(base, code, first, others, labels, seed, checkpoint, progress)
        about = {
            "vectors": len(first),
            "loss": [float(f"{loss:.4g}") for loss in code.loss_],
            "dead latents": round(code.dead_, 4),
        }
        about["contrast"] = (
            "labels" if labels is not None else "pairs" if others is not None else "each text with itself"
        )
        embedder = base.with_transform(code)
        embedder.name = self.name
        embedder.card = self.card(seed, about, start=base.name, licence=base.card.get("licence"))
        return embedder

    def _tuned(
        self,
        base: Any,
        code: Any,
        texts: list[str],
        others: list[str] | None,
        labels: list[Any] | None,
        seed: int,
        checkpoint: Any,
        progress: bool,
    ) -> Any:
        """The embedder after learning together with the code, which keeps what it learned."""
        import pyarrow as pa

        if base.kind != "text" or (others is None and labels is None):
            raise WrongUse(
                f"{self.name}, tune: expected a transformer text embedder and pairs or labels, found {base.name} "
                f"({base.kind}) and texts alone"
            )
        if not self.contrast:
            raise WrongUse(
                f"{self.name}, tune: expected a contrast above zero, which is all that moves the network, found "
                f"{self.contrast}"
            )
        from umekomi.models.text import TextEmbedder
        from umekomi.parts.learning.sentences import Stage, tuned
        from umekomi.parts.losses.sparse import SparseContrast

        if labels is not None:
            place = {label: number for number, label in enumerate(sorted(set(labels), key=str))}
            table = pa.table({"text": texts, "label": [place[label] for label in labels]})
        else:
            table = pa.table({"anchor": others, "positive": texts})
        kept: list[SparseContrast] = []

        def stages(model: Any) -> list[Stage]:
            kept.append(
                SparseContrast(model, code.state()[1], self.k, contrast=self.contrast, temperature=self.temperature)
            )
            adapters = self.lora if self.tune == "lora" else None
            return [
                Stage(
                    {"all": table},
                    {"all": kept[0]},
                    self.tune_epochs,
                    self.tune_batch,
                    self.tune_rate,
                    0.1,
                    "shuffle",
                    lora=adapters,
                )
            ]

        folder = Path(checkpoint) / "tune" if checkpoint else None
        model = tuned(
            base.model,
            stages,
            max_length=self.max_length,
            seed=seed,
            checkpoint=folder,
            progress=progress,
            what=f"{self.name}, together",
        )
        code.restore(
            {f"{name}_": getattr(kept[0], name).detach().cpu().numpy().copy() for name in ("weight", "inner", "outer")}
        )
        return TextEmbedder(model, base.name, base.card)

    def _items(self, data: Any) -> tuple[list[str], list[str] | None, list[Any] | None]:
        """(texts, their positives or None, their labels or None)."""
        table = as_table(data)
        kind = shape(table)
        if kind == "labelled texts":
            found = check(table, ("text", "label"), self.name)
            return found["text"].to_pylist(), None, found["label"].to_pylist()
        if kind in ("pairs", "judged pairs", "retrieval"):
            found = pairs(table, self.name)
            return found["positive"].to_pylist(), found["anchor"].to_pylist(), None
        return texts(data, self.name), None, None
