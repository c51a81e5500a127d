"""What a network with attention over words looks at: one map a text, hop by hop and summed (Lin+ 2017, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

MOST_WORDS = 400


@runtime_checkable
class Attends(Protocol):
    """An embedder with ``hops`` attentions over words, none of them where it has another network."""

    @property
    def hops(self) -> int:
        """How many."""

    def attention(self, texts: Sequence[str]) -> list[tuple[list[str], NDArray[np.float32]]]:
        """Each text's words, and how each hop weighs them ``[hops, words]``."""


@dataclass(frozen=True)
class HeatMap:
    """A text's ``words``, how each of the ``hops`` weighs them, and the hops' sum brought to one again."""

    words: list[str]
    hops: list[list[float]]
    summed: list[float]


def heat_maps(embedder: Attends, texts: Sequence[str]) -> tuple[HeatMap, ...]:
    """Maps of texts; of a long one its first 400 words."""
    maps = []
    for words, weights in embedder.attention(texts):
        if words:
            total = weights.sum(0) / max(float(weights.sum()), 1e-12)
            parts = [[round(float(value), 5) for value in row[:MOST_WORDS]] for row in [*weights, total]]
            maps.append(HeatMap(words[:MOST_WORDS], parts[:-1], parts[-1]))
    return tuple(maps)


def overlap(embedder: Attends, texts: Sequence[str]) -> dict[str, float]:
    """How much hops look at the same words, means over texts: the cosine of two hops' weights, and the penalty's
    ‖A Aᵀ − I‖² (eq. 8)."""
    cosines, norms = [], []
    for words, weights in embedder.attention(texts):
        hops = len(weights)
        if words and hops > 1:
            gram = weights.astype(np.float64) @ weights.T
            norms.append(float(np.square(gram - np.eye(hops)).sum()))
            lengths = np.sqrt(np.maximum(gram.diagonal(), 1e-30))
            alike = gram / np.outer(lengths, lengths)
            cosines.append(float((alike.sum() - hops) / (hops * (hops - 1))))
    if not norms:
        return {}
    return {"cosine of two hops": float(np.mean(cosines)), "redundancy of hops": float(np.mean(norms))}
