"""How vectors lie in their space, as numbers: arrays in, a scalar out. Higher and lower are said with each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import WrongUse
from umekomi.parts.similarity import normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def alignment(a: Array, b: Array) -> float:
    """Mean squared distance of positive pairs, unit vectors ``[n, d]`` twice: lower is closer (Wang & Isola 2005.10242, α = 2)."""
    return float(((normalise(a).astype(np.float64) - normalise(b)) ** 2).sum(1).mean())


def uniformity(vectors: Array) -> float:
    """log of the mean of exp(-2 ‖x - y‖²) over pairs of different rows, unit vectors ``[n, d]``: lower is spread more evenly (Wang & Isola, t = 2)."""
    unit = normalise(vectors).astype(np.float64)
    if len(unit) < 2:
        raise WrongUse(f"uniformity: expected two vectors or more, found {len(unit)}")
    total = 0.0
    for start in range(0, len(unit), 1024):
        total += np.exp(-4 + 4 * (unit[start : start + 1024] @ unit.T)).sum()
    return float(np.log((total - np.exp(-4 + 4 * (unit**2).sum(1)).sum()) / (len(unit) * (len(unit) - 1))))


def anisotropy(vectors: Array) -> float:
    """Mean cosine of two different rows of ``[n, d]``: 0 is no common direction, 1 all the same (Ethayarajh 1909.00512)."""
    unit = normalise(vectors).astype(np.float64)
    count = len(unit)
    if count < 2:
        raise WrongUse(f"anisotropy: expected two vectors or more, found {count}")
    return float(((unit.sum(0) ** 2).sum() - (unit**2).sum()) / (count * (count - 1)))


def singular_values(vectors: Array, centred: bool = False) -> Array:
    """The singular values of ``[n, d]``, largest first, float64; no fewer than the smaller side's."""
    rows = np.asarray(vectors, np.float64)
    rows = rows - rows.mean(0) if centred else rows
    gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    return np.sqrt(np.clip(np.linalg.eigvalsh(gram)[::-1], 0, None))


def _entropy(shares: Array, alpha: float = 1.0) -> float:
    shares = shares[shares > 0]
    if alpha == 1:
        return float(-(shares * np.log(shares)).sum())
    return float(np.log((shares**alpha).sum()) / (1 - alpha))


def effective_rank(vectors: Array) -> float:
    """exp of the entropy of σ / Σσ (Roy & Vetterli 2007): 1 for one direction, at most min(n, d). It is no less than exp of
    :func:`matrix_entropy`, whatever Skean et al.'s theorem 1 says: σ² is more concentrated than σ."""
    values = singular_values(vectors)
    return float(np.exp(_entropy(values / values.sum()))) if values.sum() > 0 else 1.0


def matrix_entropy(vectors: Array, alpha: float = 1.0) -> float:
    """S_α of the eigenvalues of Z Zᵀ over their sum, in nats (Skean et al. 2502.02013, eq. 1): 0 for one direction, log min(n, d) at most."""
    values = singular_values(vectors) ** 2
    return _entropy(values / values.sum(), alpha) if values.sum() > 0 else 0.0
