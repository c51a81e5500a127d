"""Scorers: a cross-encoder of sentence-transformers, and any embedder taken as a scorer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.errors import MissingExtra
from umekomi.models.base import EmbedderBase, Open, Scorer
from umekomi.models.borders import border

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from umekomi.contracts import Floats


class EmbedderScorer(Scorer):
    """An embedder's own similarity of each pair, as a scorer: what a reranker must beat. It saves as the embedder."""

    kind = "embedder-scorer"

    def __init__(self, embedder: EmbedderBase) -> None:
        super().__init__(embedder.name, embedder.card)
        self.embedder = embedder

    def _score(self, a: list[Any], b: list[Any], condition: Sequence[str] | None) -> Floats:
        return self.embedder.similarity_pairwise(self.embedder.encode_query(a), self.embedder.encode_document(b))

    def save(self, folder: str | Path) -> None:
        """The embedder's own folder."""
        self.embedder.save(folder)

    def _fill(self, folder: Path) -> None:
        self.embedder._fill(folder)

    def _write(self, folder: Path) -> dict[str, Any]:
        return self.embedder._write(folder)

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> EmbedderScorer:
        return cls(open(folder))


class CrossEncoderScorer(Scorer):
    """A :class:`sentence_transformers.CrossEncoder`: both texts go through the network together. Its folder opens
    there."""

    kind = "cross-encoder"
    standard = True

    def __init__(self, model: CrossEncoder, name: str = "cross-encoder", card: dict[str, Any] | None = None) -> None:
        super().__init__(name, card)
        self.model = model

    def _score(self, a: list[Any], b: list[Any], condition: Sequence[str] | None) -> Floats:
        with border(self.name):
            return self.model.predict(list(zip(a, b, strict=True)), show_progress_bar=False)

    def _write(self, folder: Path) -> dict[str, Any]:
        self.model.save_pretrained(str(folder))
        return {}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> CrossEncoderScorer:
        try:
            from sentence_transformers import CrossEncoder
        except ImportError as error:
            raise MissingExtra(error.name or "sentence-transformers", "neural", "a cross-encoder") from None
        from umekomi.models.text import opened

        return cls(opened(CrossEncoder, folder), head.get("name") or folder.name, head.get("card"))
