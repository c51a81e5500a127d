"""CSR: T. Wen et al., "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation" (ICML 2025 oral, arXiv 2503.01776),
and CSRv2 (ICLR 2026, arXiv 2602.05735).

The claim: a few active of many latents keep more of a frozen embedding than as many of its (nested) dimensions. The equations
and where paper and code differ are in :mod:`umekomi.transforms.codes`, which learns from vectors already computed; this recipe
computes them, once, with the frozen embedder. Texts alone give the self-supervised form; pairs are each other's positives;
labels make all texts of a label positives (CSRv2). ``start_k`` above ``k`` is CSRv2's annealing. Its fine-tuning of the
backbone is not here.
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
    """A sparse code of a frozen embedding keeps more of it than as many of its dimensions: ``k`` active latents of ``width``.

    Learns from texts, pairs (anchor, positive) or labelled texts. ``start`` is the embedder whose vectors are coded (minilm). The
    plain constructor has the paper's settings for text (table 9); the code of one model takes minutes on two cores.
    """

    name: ClassVar[str] = "csr"
    paper: ClassVar[Paper] = Paper("Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation", "Wen et al.", 2025, "ICML", "2503.01776")
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

    @classmethod
    def small(cls) -> Csr:
        """Twenty times the rate in a tenth of the time, and no contrast: a text with itself only pushes neighbours apart."""
        return cls(epochs=20, batch_size=512, learning_rate=1e-3, weight_decay=0.0, contrast=0.0, auxiliary_k=256)

    def fit(self, data: Any, *, start: Any = None, seed: int = 0, checkpoint: str | Path | None = None, progress: bool = False) -> Any:
        from umekomi.models import load
        from umekomi.transforms.codes import SparseCode

        base = load(start or "minilm")
        if "dense" not in getattr(base, "outputs", ()):
            raise WrongUse(f"{self.name} codes dense vectors; {base.name} gives none")
        settings = {name: value for name, value in self.settings().items() if name not in ("recipe", "k", "width")}
        code = SparseCode(self.k, self.width, seed=seed, **settings)
        first, others, labels = self._items(data)
        vectors = base.encode_document(first, progress=progress)
        positives = base.encode_query(others, progress=progress) if others is not None else None
        code.fit(vectors, labels=labels, positives=positives, checkpoint=checkpoint, progress=progress)
        about = {"vectors": len(first), "loss": [float(f"{loss:.4g}") for loss in code.loss_], "dead latents": round(code.dead_, 4)}
        about["contrast"] = "labels" if labels is not None else "pairs" if others is not None else "each text with itself"
        embedder = base.with_transform(code)
        embedder.name = self.name
        embedder.card = self.card(seed, about, start=base.name, licence=base.card.get("licence"))
        return embedder

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
