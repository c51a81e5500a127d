"""The normaliser of a softmax over many vectors, Z_i = Σ_j exp(x_i · y_j), in time that does not grow with the square
of their number: y is taken for a mixture of Gaussians (Dall'Amico & Belliardo 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from umekomi.errors import WrongUse

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Mixture(NamedTuple):
    """``sizes`` float32 ``[k]``, ``means`` ``[k, d]``, ``covariances`` ``[k, d, d]`` of the groups of y."""

    sizes: NDArray[np.float32]
    means: NDArray[np.float32]
    covariances: NDArray[np.float32]


def mixture(
    y: NDArray[np.float32], groups: NDArray[np.int64], weights: NDArray[np.float32] | None = None, threads: int = 0
) -> tuple[Mixture, NDArray[np.float32]]:
    """(the moments of each group of rows, the sum of all rows by ``weights`` ``[n]``, ones when not given); ``groups``
    int64 ``[n]`` from 0 up."""
    from umekomi.parts.kernels.sparse import moments
    from umekomi.parts.kernels.threads import cores, run_all, shards

    count, width = int(groups.max()) + 1, y.shape[1]
    weights = np.ones(len(y), np.float32) if weights is None else weights

    def part(low: int, high: int) -> tuple[Any, Any, Any]:
        # single precision within a thousand rows, double over them
        total = [np.zeros((count, width)), np.zeros((count, width, width)), np.zeros(width)]
        for start in range(low, high, 1024):
            shares = (
                np.zeros((count, width), np.float32),
                np.zeros((count, width, width), np.float32),
                np.zeros(width, np.float32),
            )
            moments(y, groups, weights, *shares, start, min(start + 1024, high))
            for sum_, more in zip(total, shares, strict=True):
                sum_ += more
        return total[0], total[1], total[2]

    shares = run_all(part, shards(len(y), cores(threads)))
    sums, outers, weighted = (sum(one) for one in zip(*shares, strict=True))
    sizes = np.bincount(groups, minlength=count)
    means = sums / sizes[:, None]
    covariances = outers / sizes[:, None, None] - means[:, :, None] * means[:, None, :]
    return Mixture(sizes.astype(np.float32), means.astype(np.float32), covariances.astype(np.float32)), np.asarray(
        weighted, np.float32
    )


def estimate(x: NDArray[np.float32], about: Mixture) -> NDArray[np.float32]:
    """log Z of every row, ``[n]``: Z_i ≈ Σ_a π_a exp(x_i · μ_a + x_i Ω_a x_i / 2)."""
    from umekomi.parts.kernels.sparse import log_masses
    from umekomi.parts.kernels.threads import cores, run_all, shards

    x = np.ascontiguousarray(x, np.float32)
    out = np.empty(len(x), np.float32)
    run_all(lambda low, high: log_masses(x, *about, out, low, high), shards(len(x), cores()))
    return out


def exact(x: NDArray[np.float32], y: NDArray[np.float32], block: int = 1024) -> NDArray[np.float64]:
    """log Z of every row by all pairs, float64 ``[n]``."""
    from scipy.special import logsumexp

    return np.concatenate(
        [logsumexp((x[start : start + block] @ y.T).astype(np.float64), axis=1) for start in range(0, len(x), block)]
    )


def groups_of(y: NDArray[np.float32], kappa: int, seed: int = 0) -> NDArray[np.int64]:
    """``kappa`` groups by spherical k-means (k-means of unit rows); groups of fewer than two rows join the nearest
    other."""
    from sklearn.cluster import KMeans

    from umekomi.parts.similarity import normalise

    if kappa < 1:
        raise WrongUse(f"kappa: expected 1 or more, found {kappa}")
    if kappa == 1 or len(y) <= kappa:
        return np.zeros(len(y), np.int64)
    unit = normalise(y)
    clusters: Any = KMeans(kappa, n_init=1, random_state=seed).fit(unit)
    distances = clusters.transform(unit)
    distances[:, np.bincount(clusters.labels_, minlength=kappa) < 2] = np.inf
    return np.unique(distances.argmin(1), return_inverse=True)[1].astype(np.int64)
