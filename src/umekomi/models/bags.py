"""A table of features that also embeds bags of them: a text is its words and n-grams, a user the things they liked, a
question about a graph a head and a relation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.data.vocabulary import split_words
from umekomi.errors import DataError, WrongUse, unknown_name
from umekomi.models.base import Open, TextFace
from umekomi.models.entity import EntityEmbedder
from umekomi.models.folders import read_floats, read_list, settings
from umekomi.parts.ngrams import with_ngrams
from umekomi.parts.similarity import normalise
from umekomi.parts.words import TOKENIZERS
from umekomi.progress import say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats, Transform

CHUNK = 8192


class BagEmbedder(EntityEmbedder, TextFace):
    """An item is a text, a list of features, or a mapping from features to weights. Its vector is the weighted sum of
    its features' over n^``power`` (dot), or of length one (cosine). Features that were not seen while learning are left
    out and counted.

    Args:
        names: the features.
        vectors: float32 ``[n, d]``, one row a feature.
        metric: ``"cosine"`` or ``"dot"``.
        power: of the number of features that their sum is divided by.
        tokenizer: cuts texts into features (:func:`umekomi.data.vocabulary.split`).
        ngrams: runs of up to so many words are features too, by their hash.
        buckets: how many rows these share.
        labels: the features that :meth:`predict` chooses from.
        right: float32 ``[n, d]``: a table of its own for the right side (``role="document"``), where the two are not
            shared.
        unknown: ``"skip"``, ``"zero"`` or ``"error"``: what becomes of a feature that has no row.
        name: of the model.
        card: what is known about it.
    """

    kind = "bags"
    modalities = frozenset({"text", "entity"})

    def __init__(
        self,
        names: Sequence[str],
        vectors: NDArray[np.float32],
        *,
        metric: str = "cosine",
        power: float = 0.5,
        tokenizer: str = "plain",
        ngrams: int = 1,
        buckets: int = 0,
        labels: Sequence[str] = (),
        right: NDArray[np.float32] | None = None,
        unknown: str = "skip",
        name: str = "bags",
        card: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(names, vectors, metric=metric, unknown=unknown, name=name, card=card)
        if metric not in ("cosine", "dot"):
            raise WrongUse(f"{name}: bags compare by cosine or dot, not {metric!r}")
        self.power, self.tokenizer, self.ngrams, self.buckets = power, tokenizer, ngrams, buckets
        self.labels, self.right = list(labels), right
        if tokenizer not in ("plain", "spaces", "auto", *TOKENIZERS):
            raise unknown_name("tokenizer", tokenizer, ("plain", "spaces", "auto", *TOKENIZERS))
        if not -8 <= power <= 8:
            raise WrongUse(f"{name}, power: expected -8 to 8, found {power}")
        if ngrams < 1 or buckets < 0 or (ngrams > 1 and not buckets):
            raise WrongUse(
                f"{name}: expected n-grams of one word or more, and buckets for those of several, found {ngrams} and "
                f"{buckets}"
            )
        if right is not None and right.shape != self.vectors.shape:
            raise DataError(
                f"{name}: expected a right table as large as the left, found {right.shape} beside {self.vectors.shape}"
            )

    def with_table(self, transforms: Sequence[Transform]) -> BagEmbedder:
        """Both tables changed alike."""
        other = super().with_table(transforms)
        assert isinstance(other, BagEmbedder)
        for transform in transforms if other.right is not None else ():
            other.right = transform.transform(other.right)  # type: ignore[arg-type]
        return other

    def features(self, items: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], int]:
        """(feature rows, weights, offsets ``[items + 1]``, how many features were unknown)."""
        ids: list[int] = []
        weights: list[float] = []
        lengths: list[int] = []
        missing = 0
        texts = [item for item in items if isinstance(item, str)]
        words = iter(split_words(texts, self.tokenizer).to_pylist() if texts else [])
        for item in items:
            if isinstance(item, Mapping):
                bag = [(feature, float(weight)) for feature, weight in item.items()]
            else:
                tokens = next(words) if isinstance(item, str) else list(item)
                if isinstance(item, str) and item in self.rows:
                    tokens = [item]
                bag = [(feature, 1.0) for feature in with_ngrams(tokens, self.ngrams, self.buckets) if feature]
            rows = [(self.rows[feature], weight) for feature, weight in bag if feature in self.rows]
            missing += sum(not feature.startswith("__ngram__") for feature, _ in bag if feature not in self.rows)
            if missing and self.unknown == "error":
                self.row(next(feature for feature, _ in bag if feature not in self.rows))
            ids += [row for row, _ in rows]
            weights += [weight for _, weight in rows]
            lengths.append(len(rows))
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return np.array(ids, np.int64), np.array(weights, np.float32), offsets, missing

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Floats:
        from scipy.sparse import csr_array

        table = self.right if role == "document" and self.right is not None else self.vectors
        out = np.empty((len(items), self.dimension), np.float32)
        missing = total = 0
        for start in range(0, len(items), CHUNK):
            part = items[start : start + CHUNK]
            ids, weights, offsets, unseen = self.features(part)
            missing, total = missing + unseen, total + unseen + len(ids)
            sums = csr_array((weights, ids, offsets), shape=(len(part), len(table))) @ table
            if self.metric == "cosine":
                sums = normalise(sums)
            else:
                sums /= np.maximum(np.diff(offsets), 1)[:, None].astype(np.float32) ** np.float32(self.power)
            out[start : start + len(part)] = sums
        if missing:
            say(f"note: {missing:,} of {total:,} features are not in {self.name} and were left out")
        return out

    def predict(self, items: Sequence[Any], k: int = 1) -> tuple[list[list[str]], NDArray[np.float32]]:
        """The ``k`` labels nearest to each item, and their scores ``[items, k]``, by the model's own similarity."""
        if not self.labels:
            raise WrongUse(f"{self.name} was learned without labels: there is nothing to predict")
        k = min(k, len(self.labels))
        rows = [self.row(label) for label in self.labels]
        candidates = (self.vectors if self.right is None else self.right)[rows]
        scores = self.similarity(self.encode(items), candidates)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [[self.labels[i] for i in row] for row in best], np.take_along_axis(scores, best, 1)

    def _write(self, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        settings = super()._write(folder)
        if self.right is not None:
            save_file({"right": self.right}, folder / "right.safetensors")
        keys = ("power", "tokenizer", "ngrams", "buckets", "labels")
        return settings | {key: getattr(self, key) for key in keys} | {"shared": self.right is None}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> BagEmbedder:
        own = settings(
            folder,
            head,
            unknown=str,
            power=float,
            tokenizer=str,
            ngrams=int,
            buckets=int,
            labels=list,
            shared=bool,
        )
        right = None if own.pop("shared") else read_floats(folder / "right.safetensors", "right", 2)
        vectors = read_floats(folder / "vectors.safetensors", "vectors", 2)
        names = read_list(folder / "names.json")
        return cls(names, vectors, metric=head["metric"], name=head["name"], right=right, **own)
