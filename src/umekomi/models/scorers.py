"""Scorers: a cross-encoder of sentence-transformers, and any embedder taken as a scorer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from umekomi.errors import MissingExtra, UmekomiError, WrongUse
from umekomi.files import MODEL_FILE, whole_folder, write_json
from umekomi.models.base import Open
from umekomi.models.borders import border


class EmbedderScorer:
    """An embedder's own similarity of each pair, as a scorer: what a reranker must beat."""

    kind = "embedder-scorer"

    def __init__(self, embedder: Any) -> None:
        self.embedder, self.name, self.card = embedder, embedder.name, embedder.card

    def score(self, a: Sequence[Any], b: Sequence[Any], *, condition: Sequence[str] | None = None) -> Any:
        """Similarity of ``a[i]`` (as query) and ``b[i]`` (as document), float32 ``[n]``."""
        if condition is not None:
            raise WrongUse(f"{self.name} takes no condition")
        return self.embedder.similarity_pairwise(
            self.embedder.encode_query(list(a)), self.embedder.encode_document(list(b))
        )

    def save(self, folder: str | Path) -> None:
        """The embedder's own folder."""
        self.embedder.save(folder)


class CrossEncoderScorer:
    """A :class:`sentence_transformers.CrossEncoder`: both texts go through the network together."""

    kind = "cross-encoder"

    def __init__(self, model: Any, name: str = "cross-encoder", card: dict[str, Any] | None = None) -> None:
        self.model, self.name, self.card = model, name, dict(card or {})

    def score(self, a: Sequence[Any], b: Sequence[Any], *, condition: Sequence[str] | None = None) -> Any:
        """One score a pair, float32 ``[n]``."""
        import numpy as np

        if condition is not None:
            raise WrongUse(f"{self.name} takes no condition")
        with border(self.name):
            found = self.model.predict(list(zip(a, b, strict=True)), show_progress_bar=False)
        scores = np.asarray(found, np.float32)
        if scores.shape != (len(a),):
            raise UmekomiError(f"{self.name}: expected one score a pair, found an array of shape {list(scores.shape)}")
        if not np.isfinite(scores).all():
            bad = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise UmekomiError(
                f"{self.name}: expected finite scores, found NaN or infinity for pair {bad + 1}, {str(a[bad])[:60]!r}"
            )
        return scores

    def save(self, folder: str | Path) -> None:
        """A cross-encoder folder that sentence-transformers opens as it is, with ``umekomi.json`` beside it."""
        with whole_folder(folder) as place:
            self.model.save_pretrained(str(place))
            write_json(
                place / MODEL_FILE,
                {"format": 1, "kind": self.kind, "name": self.name, "card": self.card, "settings": {}},
            )

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> CrossEncoderScorer:
        try:
            from sentence_transformers import CrossEncoder
        except ImportError as error:
            raise MissingExtra(error.name or "sentence-transformers", "neural", "a cross-encoder") from None
        from umekomi.models.text import opened

        return cls(opened(CrossEncoder, folder), head.get("name") or folder.name, head.get("card"))
