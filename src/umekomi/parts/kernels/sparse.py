"""Sparse matrix times dense, moments of groups, and the unit-sphere step of EDRep: loops over rows, one range a thread.
No BLAS: its threads would wait for ours."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from umekomi.parts.kernels.threads import cores, run_all, shards

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Sparse

_FAST = {"contract", "arcp", "nsz", "reassoc"}


@njit(nogil=True, cache=True, fastmath=_FAST)
def _product(offsets, columns, values, dense, out, low, high):
    width = dense.shape[1]
    for row in range(low, high):
        target = out[row]
        for k in range(width):
            target[k] = 0.0
        for i in range(offsets[row], offsets[row + 1]):
            value, source = values[i], dense[columns[i]]
            for k in range(width):
                target[k] += value * source[k]


def product(matrix: Sparse, dense: NDArray[np.float32], threads: int = 0) -> NDArray[np.float32]:
    """``matrix @ dense`` for CSR ``[n, m]`` and C-contiguous float32 ``[m, d]``; float32 ``[n, d]``."""
    out = np.empty((matrix.shape[0], dense.shape[1]), np.float32)
    ranges = _balanced(matrix.indptr, cores(threads))
    run_all(lambda low, high: _product(matrix.indptr, matrix.indices, matrix.data, dense, out, low, high), ranges)
    return out


def _balanced(offsets: NDArray[Any], threads: int) -> list[tuple[int, int]]:
    """Ranges of rows that hold about as many entries each."""
    if threads == 1:
        return [(0, len(offsets) - 1)]
    edges = np.searchsorted(offsets, np.linspace(0, offsets[-1], threads + 1)[1:-1]).tolist()
    edges = [0, *edges, len(offsets) - 1]
    return [(low, high) for low, high in pairwise(edges) if low < high] or shards(len(offsets) - 1, threads)


@njit(nogil=True, cache=True, fastmath=_FAST)
def mixture_row(point, sizes, means, covariances, exponents, pushes, out):
    """Log of Σ_a sizes_a exp(x · μ_a + x Ω_a x / 2) for one ``point``; its gradient goes to ``out``. ``exponents [k]``
    and ``pushes [k, d]`` are working space."""
    groups, width = means.shape
    top = np.float32(-np.inf)
    for a in range(groups):
        push = pushes[a]
        for k in range(width):
            push[k] = 0.0
        for j in range(width):
            value, row = point[j], covariances[a, j]
            for k in range(width):
                push[k] += value * row[k]
        exponent = np.float32(0.0)
        for k in range(width):
            exponent += point[k] * (means[a, k] + np.float32(0.5) * push[k])
            push[k] += means[a, k]
        exponents[a] = exponent + np.log(sizes[a])
        top = max(top, exponents[a])
    mass = np.float32(0.0)
    for k in range(width):
        out[k] = 0.0
    for a in range(groups):
        share = np.exp(exponents[a] - top)
        mass += share
        push = pushes[a]
        for k in range(width):
            out[k] += share * push[k]
    for k in range(width):
        out[k] /= mass
    return top + np.log(mass)


@njit(nogil=True, cache=True, fastmath=_FAST)
def sphere_step(points, pulled, sizes, means, covariances, constant, rate, low, high):
    """Rows ``low`` to ``high`` of ``points`` (unit float32 ``[n, d]``) a step along the sphere against the gradient
    ``-pulled + ∇ log Z + constant``, whose part along the point is taken out and whose length is made one:
    x ← sqrt(1 - rate²) x - rate g. No group leaves ∇ log Z out. Returns the summed log Z - x · pulled."""
    width, groups = points.shape[1], len(sizes)
    keep = np.float32(np.sqrt(1.0 - rate * rate))
    gradient = np.zeros(width, np.float32)
    exponents, pushes = np.empty(groups, np.float32), np.empty((groups, width), np.float32)
    loss = 0.0
    for row in range(low, high):
        point = points[row]
        if groups:
            loss += mixture_row(point, sizes, means, covariances, exponents, pushes, gradient)
        else:
            for k in range(width):
                gradient[k] = 0.0
        along = np.float32(0.0)
        agreed = np.float32(0.0)
        for k in range(width):
            agreed += point[k] * pulled[row, k]
            gradient[k] += constant[k] - pulled[row, k]
            along += gradient[k] * point[k]
        loss -= agreed
        length = np.float32(0.0)
        for k in range(width):
            gradient[k] -= along * point[k]
            length += gradient[k] * gradient[k]
        scale = rate / max(np.sqrt(length), np.float32(1e-12))
        length = np.float32(0.0)
        for k in range(width):
            point[k] = keep * point[k] - scale * gradient[k]
            length += point[k] * point[k]
        scale = np.float32(1.0) / np.sqrt(length)
        for k in range(width):
            point[k] *= scale
    return loss


@njit(nogil=True, cache=True, fastmath=_FAST)
def log_masses(points, sizes, means, covariances, out, low, high):
    """:func:`mixture_row`'s value for rows ``low`` to ``high``, into ``out``."""
    groups, width = means.shape
    gradient = np.empty(width, np.float32)
    exponents, pushes = np.empty(groups, np.float32), np.empty((groups, width), np.float32)
    for row in range(low, high):
        out[row] = mixture_row(points[row], sizes, means, covariances, exponents, pushes, gradient)


@njit(nogil=True, cache=True, fastmath=_FAST)
def moments(points, groups, weights, sums, outers, weighted, low, high):
    """Add rows ``low`` to ``high`` to their group's sum ``[k, d]`` and outer products ``[k, d, d]``, and, times
    ``weights``, to ``weighted [d]``."""
    width = points.shape[1]
    for row in range(low, high):
        point, a, weight = points[row], groups[row], weights[row]
        for j in range(width):
            value, outer = point[j], outers[a, j]
            sums[a, j] += value
            weighted[j] += weight * value
            for k in range(width):
                outer[k] += value * point[k]
