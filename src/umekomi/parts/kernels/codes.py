"""Loops of a tied top-k sparse autoencoder: only active latents are decoded, and only they have gradients, so that beside one
matrix product a step the cost goes with k and not with the width of the code."""

from __future__ import annotations

import numpy as np
from numba import njit

from umekomi.parts.kernels.scan import LOOSE, dot


@njit(nogil=True, cache=True)
def top(activations, k, allowed, low, high, latents, values):
    """The ``k`` largest of every row of ``activations`` float32 ``[n, h]`` among the latents ``allowed`` (uint8 ``[h]``, or
    empty for all), negative ones at 0: into ``latents`` int32 and ``values`` float32, both ``[n, k]``, in no order. Latent -1 is
    none."""
    every = allowed.shape[0] == 0
    heap = np.empty(k, np.float32)
    held = np.empty(k, np.int32)
    for row in range(low, high):
        size = 0
        for j in range(activations.shape[1]):
            value = activations[row, j]
            if value <= 0 or not (every or allowed[j]):
                continue
            if size < k:
                at = size
                size += 1
                while at > 0 and heap[(at - 1) >> 1] > value:
                    heap[at], held[at] = heap[(at - 1) >> 1], held[(at - 1) >> 1]
                    at = (at - 1) >> 1
                heap[at], held[at] = value, j
            elif value > heap[0]:
                at = 0
                while True:
                    child = 2 * at + 1
                    if child >= k:
                        break
                    if child + 1 < k and heap[child + 1] < heap[child]:
                        child += 1
                    if heap[child] >= value:
                        break
                    heap[at], held[at] = heap[child], held[child]
                    at = child
                heap[at], held[at] = value, j
        for i in range(k):
            latents[row, i] = held[i] if i < size else -1
            values[row, i] = heap[i] if i < size else 0


@njit(nogil=True, cache=True, fastmath=LOOSE)
def decode(latents, values, weight, bias, low, high, out):
    """``out[row] = bias + sum_i values[row, i] weight[latents[row, i]]``; ``weight`` is ``[h, d]``."""
    for row in range(low, high):
        target = out[row]
        for j in range(target.shape[0]):
            target[j] = bias[j]
        for i in range(latents.shape[1]):
            latent, value = latents[row, i], values[row, i]
            if latent >= 0:
                source = weight[latent]
                for j in range(target.shape[0]):
                    target[j] += value * source[j]


@njit(nogil=True, cache=True)
def pull(latents, weight, slope, low, high, out):
    """The gradient of every active value: ``out[row, i] += slope[row] . weight[latents[row, i]]``."""
    for row in range(low, high):
        for i in range(latents.shape[1]):
            if latents[row, i] >= 0:
                out[row, i] += dot(slope[row], weight[latents[row, i]])


@njit(nogil=True, cache=True)
def lists(latents, width):
    """Which (row, place) pairs use each latent: offsets int64 ``[width + 1]`` and flat places ``row * k + i``."""
    k = latents.shape[1]
    offsets = np.zeros(width + 1, np.int64)
    for row in range(latents.shape[0]):
        for i in range(k):
            if latents[row, i] >= 0:
                offsets[latents[row, i] + 1] += 1
    for j in range(width):
        offsets[j + 1] += offsets[j]
    filled = offsets.copy()
    places = np.empty(offsets[width], np.int64)
    for row in range(latents.shape[0]):
        for i in range(k):
            if latents[row, i] >= 0:
                places[filled[latents[row, i]]] = row * k + i
                filled[latents[row, i]] += 1
    return offsets, places


@njit(nogil=True, cache=True, fastmath=LOOSE)
def gather(offsets, places, k, values, slope, value_slope, inputs, low, high, weight_slope, bias_slope):
    """Gradients of the tied weight and the encoder's bias for latents ``low`` to ``high``: every use adds the decoder's
    ``value * slope[row]`` and the encoder's ``value_slope * inputs[row]``. No two threads share a latent."""
    for latent in range(low, high):
        target = weight_slope[latent]
        for at in range(offsets[latent], offsets[latent + 1]):
            row, i = places[at] // k, places[at] % k
            value, inner = values[row, i], value_slope[row, i]
            bias_slope[latent] += inner
            first, second = slope[row], inputs[row]
            for j in range(target.shape[0]):
                target[j] += value * first[j] + inner * second[j]


@njit(nogil=True, cache=True)
def back_along(offsets, places, k, other_values, slopes, latents, low, high, out):
    """The gradient of codes through their inner products with other codes: ``out[row, i] += sum_b slopes[row, b] other[b,
    latents[row, i]]``, over the posting lists of the others."""
    for row in range(low, high):
        for i in range(latents.shape[1]):
            latent = latents[row, i]
            if latent >= 0:
                total = np.float32(0)
                for at in range(offsets[latent], offsets[latent + 1]):
                    b, place = places[at] // k, places[at] % k
                    total += slopes[row, b] * other_values[b, place]
                out[row, i] += total
