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
    """Mean squared distance of positive pairs, unit vectors ``[n, d]`` twice: lower is closer (Wang & Isola 2005.10242,
    α = 2)."""
    return float(((normalise(a).astype(np.float64) - normalise(b)) ** 2).sum(1).mean())


def uniformity(vectors: Array) -> float:
    """log of the mean of exp(-2 ‖x - y‖²) over pairs of different rows, unit vectors ``[n, d]``: lower is spread more
    evenly (Wang & Isola, t = 2)."""
    unit = normalise(vectors).astype(np.float64)
    if len(unit) < 2:
        raise WrongUse(f"uniformity: expected two vectors or more, found {len(unit)}")
    total = 0.0
    for start in range(0, len(unit), 1024):
        total += np.exp(-4 + 4 * (unit[start : start + 1024] @ unit.T)).sum()
    return float(np.log((total - np.exp(-4 + 4 * (unit**2).sum(1)).sum()) / (len(unit) * (len(unit) - 1))))


def anisotropy(vectors: Array) -> float:
    """Mean cosine of two different rows of ``[n, d]``: 0 is no common direction, 1 all the same (Ethayarajh
    1909.00512)."""
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
    """exp of the entropy of σ / Σσ (Roy & Vetterli 2007): 1 for one direction, at most min(n, d). It is no less than
    exp of :func:`matrix_entropy`, whatever Skean et al.'s theorem 1 says: σ² is more concentrated than σ."""
    values = singular_values(vectors)
    return float(np.exp(_entropy(values / values.sum()))) if values.sum() > 0 else 1.0


def matrix_entropy(vectors: Array, alpha: float = 1.0) -> float:
    """S_α of the eigenvalues of Z Zᵀ over their sum, in nats (Skean et al. 2502.02013, eq. 1): 0 for one direction, log
    min(n, d) at most."""
    values = singular_values(vectors) ** 2
    return _entropy(values / values.sum(), alpha) if values.sum() > 0 else 0.0


# --- layer by layer (Skean et al., "Layer by Layer", ICML 2025, arXiv 2502.02013, section 3) --------------------------
#
# ``repository`` follows the released code where it departs from the paper: tokens are centred and brought to length
# one for each prompt, negative products are set to zero before eigenvalues are taken, and curvature is the angle of
# tokens, not of their differences.


def residual(tokens: Array) -> Array:
    """Tokens ``[t, d]`` of one text less their mean, each brought to length one: what the released code measures on."""
    return normalise(np.asarray(tokens, np.float64) - np.asarray(tokens, np.float64).mean(0)).astype(np.float64)


def prompt_entropy(tokens: Array, *, repository: bool = False) -> float:
    """S_1 of one text's token vectors ``[t, d]``, in nats, at most log min(t, d)."""
    if not repository:
        return matrix_entropy(tokens)
    centred = residual(tokens)
    values = np.linalg.eigvalsh(np.clip(centred @ centred.T, 0, None))
    values = values[values > 1e-12]
    return _entropy(values / values.sum()) if len(values) else 0.0


def curvature(tokens: Array, *, repository: bool = False) -> float:
    """Mean angle in radians between one step z_{k+1} - z_k and the next, tokens ``[t, d]``: 0 for a straight line. NaN
    for fewer than three tokens (two in the released code's form, which takes the angle of token and next token)."""
    steps = residual(tokens) if repository else np.diff(np.asarray(tokens, np.float64), axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    steps = steps[lengths > 1e-12] / lengths[lengths > 1e-12, None]
    if len(steps) < 2:
        return float("nan")
    return float(np.arccos(np.clip((steps[1:] * steps[:-1]).sum(1), -1, 1)).mean())


def info_nce_of(a: Array, b: Array, temperature: float = 0.1, *, repository: bool = False) -> float:
    """InfoNCE of two augmentations of the same texts, ``[n, d]`` twice, both as anchors (SimCLR's form): lower is more
    invariant, and log(2n - 1) less it bounds their information from below. Unit vectors; as they are in the released
    code."""
    both = np.concatenate([a, b]).astype(np.float64)
    both = both if repository else normalise(both).astype(np.float64)
    scores = both @ both.T / temperature
    np.fill_diagonal(scores, -np.inf)
    top = scores.max(1)
    log_z = top + np.log(np.exp(scores - top[:, None]).sum(1))
    n = len(a)
    return float((log_z - scores[np.arange(2 * n), np.concatenate([np.arange(n, 2 * n), np.arange(n)])]).mean())


def lidar(views: Array, delta: float = 1e-4) -> float:
    """S_1 of the eigenvalues of Σ_w^{-1/2} Σ_b Σ_w^{-1/2}, ``views`` ``[n, q, d]``: q augmentations of each of n texts,
    a class each (Thilak et al. 2312.04000); δ is added to Σ_w's diagonal. Higher: more directions tell texts apart than
    augmentations change."""
    views = np.asarray(views, np.float64)
    means = views.mean(1)
    between = np.cov(means.T, bias=True)
    inner = (views - means[:, None]).reshape(-1, views.shape[2])
    within = inner.T @ inner / len(inner) + delta * np.eye(views.shape[2])
    # the eigenvalues of Σ_w^{-1} Σ_b are those of the symmetric form
    from scipy.linalg import eigh

    values = np.clip(eigh(np.atleast_2d(between), within, eigvals_only=True), 0, None)
    return _entropy(values / values.sum()) if values.sum() > 0 else 0.0


def dime(a: Array, b: Array, *, permutations: int = 10, seed: int = 0, repository: bool = False) -> float:
    """E_Π[S(K_1 ∘ Π K_2 Πᵀ)] - S(K_1 ∘ K_2), K the Gram matrices of two augmentations ``[n, d]`` (Skean et al.
    2301.08164): how much more the two share as paired than as shuffled. The released code takes d × d covariances where
    n > d, in which nothing is paired any more."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    generator = np.random.default_rng(seed)
    if repository and len(a) > a.shape[1]:
        first, second = a.T @ a, b.T @ b
    else:
        first, second = a @ a.T, b @ b.T

    def entropy(product: Array) -> float:
        values = np.clip(np.linalg.eigvalsh(product), 0, None)
        return _entropy(values / values.sum()) if values.sum() > 0 else 0.0

    shuffled = []
    for _ in range(permutations):
        order = generator.permutation(len(second))
        shuffled.append(entropy(first * second[np.ix_(order, order)]))
    return float(np.mean(shuffled) - entropy(first * second))
