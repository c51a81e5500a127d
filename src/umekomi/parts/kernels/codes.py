"""Loops of a tied top-k sparse autoencoder: only active latents are decoded, and only they have gradients, so that
beside one matrix product a step the cost goes with k and not with the width of the code.

Every row's latents stand with its ``first`` largest before all others, so that what holds of k and of 4k is done in one
pass. Latent -1 is none. Four latents are taken at a time: a row's vector is read and written once for four of the
weight's rows.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from umekomi.parts.kernels.scan import LOOSE

EXPONENT = np.int32(4 << 23)
"""Between a float32's bits and those of a sixteenth of it."""
COLUMNS = 128
"""So many dimensions of all gradients of the weight stay in a core's own cache."""


@njit(nogil=True, cache=True)
def reaching(bits, least):
    """How many of ``bits`` are ``least`` or more."""
    met = 0
    for j in range(bits.shape[0]):
        met += bits[j] >= least
    return met


@njit(nogil=True, cache=True)
def reach(bits, wanted, high):
    """The highest number that ``wanted`` of ``bits`` reach, below ``high``, which fewer reach; 1 where fewer are above
    zero."""
    low = max(high - EXPONENT, np.int32(1))  # most often the k-th is no sixteenth of the largest
    met = reaching(bits, low)
    if met < wanted:
        high, low = low, np.int32(1)
        met = reaching(bits, low)
    while met > wanted and high - low > 1:
        middle = low + (high - low) // np.int32(2)
        there = reaching(bits, middle)
        if there >= wanted:
            low, met = middle, there
        else:
            high = middle
    return low


@njit(nogil=True, cache=True)
def top(activations, first, allowed, low, high, latents, values):
    """The k largest above zero of every row of ``activations`` float32 ``[n, h]`` among the latents ``allowed`` (uint8
    ``[h]``, or empty for all): into ``latents`` int32 and ``values`` float32, both ``[n, k]``, the ``first`` largest
    before the others, each part in the order of its latents. Among equals the lower latent goes first.

    Numbers above zero have the order of their bits, and the bits of the k-th are found by halving.
    """
    every, k, width = allowed.shape[0] == 0, latents.shape[1], activations.shape[1]
    bits = np.empty(width, np.int32)
    held = np.empty(width + 1, np.int32)
    for row in range(low, high):
        source = activations[row].view(np.int32)
        most = np.int32(0)
        for j in range(width):
            bits[j] = source[j] if every or allowed[j] else np.int32(0)
            most = max(most, bits[j])
        near = reach(bits, first, most + np.int32(1)) if first else most + np.int32(1)
        far = reach(bits, k, near + np.int32(1)) if first < k else near
        count = 0
        over_near = over_far = 0
        for j in range(width):  # a place is written whether it counts or not: no branch to guess wrong
            held[count] = j
            count += bits[j] >= far
            over_far += bits[j] > far
            over_near += bits[j] > near
        # of those that just reach a limit, so many have a place
        equal_near, equal_far = first - over_near, k - over_far
        at, then = 0, first
        for i in range(count):
            j = held[i]
            if bits[j] > near or (bits[j] == near and equal_near > 0):
                equal_near -= bits[j] == near
                equal_far -= bits[j] == far
                latents[row, at], values[row, at] = j, activations[row, j]
                at += 1
            elif bits[j] > far or equal_far > 0:
                equal_far -= bits[j] == far
                if then < k:
                    latents[row, then], values[row, then] = j, activations[row, j]
                    then += 1
        for i in range(at, first):
            latents[row, i], values[row, i] = -1, 0
        for i in range(then, k):
            latents[row, i], values[row, i] = -1, 0


@njit(nogil=True, cache=True, fastmath=LOOSE)
def add_up(latents, values, weight, target):
    """``target += sum_i values[i] weight[latents[i]]``."""
    i, size = 0, target.shape[0]
    while i + 4 <= latents.shape[0]:
        a, b, c, d = (
            weight[max(latents[i], 0)],
            weight[max(latents[i + 1], 0)],
            weight[max(latents[i + 2], 0)],
            weight[max(latents[i + 3], 0)],
        )
        p, q, r, s = values[i], values[i + 1], values[i + 2], values[i + 3]  # a latent that is none has the value zero
        for j in range(size):
            target[j] += p * a[j] + q * b[j] + r * c[j] + s * d[j]
        i += 4
    while i < latents.shape[0]:
        a, p = weight[max(latents[i], 0)], values[i]
        for j in range(size):
            target[j] += p * a[j]
        i += 1


@njit(nogil=True, cache=True)
def decode(latents, values, first, weight, bias, low, high, near, far):
    """``far[row] = bias + sum_i values[row, i] weight[latents[row, i]]``, and ``near`` the same over the ``first``;
    ``weight`` is ``[h, d]``, both results ``[n, d]``."""
    for row in range(low, high):
        near[row] = bias
        add_up(latents[row, :first], values[row, :first], weight, near[row])
        far[row] = near[row]
        add_up(latents[row, first:], values[row, first:], weight, far[row])


@njit(nogil=True, cache=True, fastmath=LOOSE)
def products(latents, weight, slope, out):
    """``out[i] += slope . weight[latents[i]]``."""
    i, size = 0, slope.shape[0]
    while i + 4 <= latents.shape[0]:
        a, b, c, d = (
            weight[max(latents[i], 0)],
            weight[max(latents[i + 1], 0)],
            weight[max(latents[i + 2], 0)],
            weight[max(latents[i + 3], 0)],
        )
        p = q = r = s = np.float32(0)
        for j in range(size):
            p += slope[j] * a[j]
            q += slope[j] * b[j]
            r += slope[j] * c[j]
            s += slope[j] * d[j]
        out[i] += p
        out[i + 1] += q
        out[i + 2] += r
        out[i + 3] += s
        i += 4
    while i < latents.shape[0]:
        a, p = weight[max(latents[i], 0)], np.float32(0)
        for j in range(size):
            p += slope[j] * a[j]
        out[i] += p
        i += 1


@njit(nogil=True, cache=True)
def pull(latents, first, weight, near, far, low, high, out):
    """The gradient of every active value: ``out[row, i] += near[row] . weight[latents[row, i]]`` for the ``first``,
    ``far[row]`` for the others; nothing for none."""
    for row in range(low, high):
        products(latents[row, :first], weight, near[row], out[row, :first])
        products(latents[row, first:], weight, far[row], out[row, first:])
        for i in range(latents.shape[1]):
            if latents[row, i] < 0:
                out[row, i] = 0


@njit(nogil=True, cache=True, fastmath=LOOSE)
def add_to_one(target, value, inner, slope, own):
    """``target += value slope + inner own``."""
    for j in range(slope.shape[0]):
        target[j] += value * slope[j] + inner * own[j]


@njit(nogil=True, cache=True, fastmath=LOOSE)
def add_to_two(first, second, value, inner, other_value, other_inner, slope, own):
    """:func:`add_to_one` for two latents at a time."""
    for j in range(slope.shape[0]):
        a, b = slope[j], own[j]
        first[j] += value * a + inner * b
        second[j] += other_value * a + other_inner * b


@njit(nogil=True, cache=True)
def add_to(latents, values, value_slopes, slope, own, target):
    """``target[latent] += value slope + value_slope own`` for a row's latents."""
    i = 0
    while i + 2 <= latents.shape[0]:
        a, b = latents[i], latents[i + 1]
        if b >= 0:
            add_to_two(target[a], target[b], values[i], value_slopes[i], values[i + 1], value_slopes[i + 1], slope, own)
        elif a >= 0:
            add_to_one(target[a], values[i], value_slopes[i], slope, own)
        i += 2
    if i < latents.shape[0] and latents[i] >= 0:
        add_to_one(target[latents[i]], values[i], value_slopes[i], slope, own)


@njit(nogil=True, cache=True)
def spread(latents, values, value_slopes, first, near, far, inputs, begin, end, weight_slope, bias_slope):
    """Gradients of the tied weight, dimensions ``begin`` to ``end``, and with dimension 0 of the encoder's bias: every
    use of a latent adds the decoder's ``value * slope[row]`` and the encoder's ``value_slope * inputs[row]``. No two
    threads share a dimension, and rows come in order: one result however many threads there are."""
    target = np.zeros((weight_slope.shape[0], end - begin), np.float32)
    for row in range(latents.shape[0]):
        own = inputs[row, begin:end]
        add_to(latents[row, :first], values[row, :first], value_slopes[row, :first], near[row, begin:end], own, target)
        add_to(latents[row, first:], values[row, first:], value_slopes[row, first:], far[row, begin:end], own, target)
        if begin == 0:
            for i in range(latents.shape[1]):
                if latents[row, i] >= 0:
                    bias_slope[latents[row, i]] += value_slopes[row, i]
    weight_slope[:, begin:end] += target


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


@njit(nogil=True, cache=True)
def along(offsets, rows, other_values, latents, values, low, high, out):
    """Inner products of codes with other codes, over the posting lists of the others (``rows`` and ``other_values`` in
    the order of their places): into ``out`` float32 ``[n, others]``, zero on entry."""
    for row in range(low, high):
        target = out[row]
        for i in range(latents.shape[1]):
            latent, value = latents[row, i], values[row, i]
            if latent >= 0:
                for at in range(offsets[latent], offsets[latent + 1]):
                    target[rows[at]] += value * other_values[at]


@njit(nogil=True, cache=True, fastmath=LOOSE)
def back_along(offsets, rows, other_values, slopes, latents, low, high, out):
    """The gradient of codes through their inner products with other codes: ``out[row, i] += sum_b slopes[row, b]
    other[b, latents[row, i]]``."""
    for row in range(low, high):
        own = slopes[row]
        for i in range(latents.shape[1]):
            latent = latents[row, i]
            if latent >= 0:
                total = np.float32(0)
                for at in range(offsets[latent], offsets[latent + 1]):
                    total += own[rows[at]] * other_values[at]
                out[row, i] += total
