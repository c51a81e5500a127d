"""How evenly vectors lie around the origin, for words that do not occur equally often."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Weights


class Symmetry(NamedTuple):
    """``first``: 1 where the mean is the origin · ``second``: 1 where the variance is the same in every direction."""

    first: float
    second: float


def symmetry(vectors: NDArray[np.float32], weights: Weights | None = None) -> Symmetry:
    """The symmetry scores of vectors ``[n, d]`` under word probabilities ``weights`` ``[n]``, all alike when not given
    (Yokoi et al. 2024, definitions 4 and 5): 1 - |E w| / E|w|, and the entropy of the covariance's normalised
    eigenvalues over log d."""
    vectors = np.asarray(vectors, np.float64)
    p = np.ones(len(vectors)) if weights is None else np.asarray(weights, np.float64)
    p = p / p.sum()
    mean = p @ vectors
    first = 1 - np.linalg.norm(mean) / (p @ np.linalg.norm(vectors, axis=1))
    centred = vectors - mean
    values = np.maximum(np.linalg.eigvalsh((centred * p[:, None]).T @ centred), 0)
    share = values[values > 0] / values.sum()
    return Symmetry(float(first), float(-(share * np.log(share)).sum() / np.log(vectors.shape[1])))
