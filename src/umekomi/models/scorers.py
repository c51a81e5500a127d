"""Scorers: a cross-encoder of sentence-transformers, a linear head on an embedder's vectors, and any embedder taken as
a scorer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, MissingExtra, WrongUse
from umekomi.models.base import EmbedderBase, Open, Scorer
from umekomi.models.borders import border
from umekomi.models.folders import read_floats, settings

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


class PairHeadScorer(Scorer):
    """A linear head on the vectors u, v of a pair: ``weights`` · [|u − v|, u ⊙ v] + ``bias`` (the features of Tai,
    Socher & Manning, ACL 2015, eq. 15). ``weights`` are float32 ``[2 d]`` for a dense embedder of d dimensions."""

    kind = "pair-head"

    def __init__(
        self,
        embedder: EmbedderBase,
        weights: Any,
        bias: float = 0.0,
        name: str = "pair-head",
        card: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, card)
        if "dense" not in embedder.outputs:
            raise WrongUse(f"{name}: expected an embedder of dense vectors, {embedder.name} gives none")
        if np.shape(weights) != (2 * embedder.dimension,):
            raise DataError(
                f"{name}: expected {2 * embedder.dimension} weights, twice the dimensions of {embedder.name}, found an "
                f"array of shape {list(np.shape(weights))}"
            )
        self.embedder, self.weights, self.bias = embedder, np.asarray(weights, np.float32), float(bias)

    def _score(self, a: list[Any], b: list[Any], condition: Sequence[str] | None) -> Any:
        return pair_features(self.embedder, a, b) @ self.weights + np.float32(self.bias)

    def _write(self, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        self.embedder.save(folder / "embedder")
        save_file({"weights": self.weights}, folder / "head.safetensors")
        return {"bias": self.bias}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> PairHeadScorer:
        bias = settings(folder, head, bias=float)["bias"]
        embedder = open(folder / "embedder")
        if not isinstance(embedder, EmbedderBase):
            raise DataError(f"{folder / 'embedder'}: expected an embedder, found another kind of model")
        return cls(embedder, read_floats(folder / "head.safetensors", "weights", 1), bias)


def pair_features(embedder: EmbedderBase, a: Sequence[Any], b: Sequence[Any]) -> Any:
    """[|u − v|, u ⊙ v] of every pair, float32 ``[n, 2 d]``; each item is encoded once, in the role ``similarity`` where
    the embedder has it."""
    items = list(dict.fromkeys([*a, *b]))
    place = {item: number for number, item in enumerate(items)}
    role = "similarity" if "similarity" in embedder.roles else None
    vectors = embedder.encode(items, output="dense", role=role)
    u, v = (vectors[[place[item] for item in side]] for side in (a, b))
    return np.concatenate([np.abs(u - v), u * v], 1)


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

    def logits(self, a: Sequence[str], b: Sequence[str]) -> Floats:
        """The scores of pairs before the model's activation, float32 ``[n]``."""
        from torch.nn import Identity

        with border(self.name):
            return self.model.predict(list(zip(a, b, strict=True)), activation_fn=Identity(), show_progress_bar=False)

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
