"""The floors: vectors that know nothing (random) and vectors that know only which words are there (hashing)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import WrongUse
from umekomi.models.base import Open, TextFace
from umekomi.models.folders import settings

if TYPE_CHECKING:
    from umekomi.contracts import Floats

WIDEST = 1 << 24


def _check_width(who: str, dimension: int) -> None:
    if not 1 <= dimension <= WIDEST:
        raise WrongUse(f"{who}: expected 1 to {WIDEST:,} dimensions, found {dimension}")


class RandomEmbedder(TextFace):
    """A random direction for every text, the same for the same text: what no embedder may lose to.

    The directions come from a hash of the text and the seed, so that nothing is stored and any process agrees.
    """

    kind = "random"

    def __init__(self, dimension: int = 384, seed: int = 0, name: str = "random") -> None:
        super().__init__(name, {"licence": "Apache-2.0"})
        _check_width("random vectors", dimension)
        if not -(2**63) <= seed < 2**63:
            raise WrongUse(f"random vectors, seed: expected a whole number of 64 bits, found {seed}")
        self.dimension, self.seed = dimension, seed

    @classmethod
    def default(cls) -> RandomEmbedder:
        """384 dimensions, seed 0."""
        return cls()

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Floats:
        import hashlib

        key = self.seed.to_bytes(8, "little", signed=True)
        seeds = [
            int.from_bytes(hashlib.blake2b(str(item).encode(), digest_size=8, key=key).digest(), "little")
            for item in items
        ]
        # splitmix64 (Steele, Lea & Flood 2014) of seed + counter: uniform bits without a generator an item
        state = np.array(seeds, np.uint64)[:, None] + np.arange(1, self.dimension + 1, dtype=np.uint64) * np.uint64(
            0x9E3779B97F4A7C15
        )
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        uniform = ((state ^ (state >> np.uint64(31))) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
        vectors = uniform - np.float32(0.5)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))

    def _write(self, folder: Path) -> dict[str, Any]:
        return {"dimension": self.dimension, "seed": self.seed}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> RandomEmbedder:
        return cls(**settings(folder, head, dimension=int, seed=int))


class HashingEmbedder(TextFace):
    """Signed feature hashing of words into a fixed width (Weinberger et al. 2009), by scikit-learn: needs no fitting,
    no memory, and no vocabulary."""

    kind = "hashing"

    def __init__(self, dimension: int = 1024, words: str = "words", name: str = "hashing") -> None:
        super().__init__(name, {"licence": "Apache-2.0"})
        from sklearn.feature_extraction.text import HashingVectorizer

        from umekomi.parts.words import tokenizer

        _check_width("hashing", dimension)
        self.dimension, self.words = dimension, words
        self._hash = HashingVectorizer(
            n_features=dimension, analyzer=tokenizer(words), norm="l2", alternate_sign=True, dtype="float32"
        )

    @classmethod
    def default(cls) -> HashingEmbedder:
        """1,024 dimensions of words."""
        return cls()

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Floats:
        out = np.empty((len(items), self.dimension), np.float32)
        step = max(1, min(4096, WIDEST // self.dimension))
        for start in range(0, len(items), step):
            out[start : start + step] = self._hash.transform(items[start : start + step]).toarray()
        return out

    def _write(self, folder: Path) -> dict[str, Any]:
        return {"dimension": self.dimension, "words": self.words}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> HashingEmbedder:
        return cls(**settings(folder, head, dimension=int, words=str))
