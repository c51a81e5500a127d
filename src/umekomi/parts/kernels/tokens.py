"""Search loops over token vectors: estimates of MaxSim from inverted lists and from bits, and MaxSim itself."""

from __future__ import annotations

import numpy as np
from numba import njit

from umekomi.parts.kernels.scan import LOOSE, ONE_BIT, before, largest, ones, unlike_one

FEW_ROWS, TOGETHER = 16, 2048
"""Rows of token vectors that all queries look at before the next, and token vectors whose bits are scanned together: as
much as half of a core's second cache holds."""


@njit(nogil=True, cache=True, fastmath=LOOSE)
def centroid_scores(order, values, lists, members, low, high, gains, estimates):
    """Estimates of MaxSim, float32 ``[rows]``, which come preset to the sum of every token's last value: for each token
    of a query its centroids ``order`` ``[tokens, probes]``, nearest first, with their products ``values`` ``[tokens,
    probes + 1]``; a row from ``low`` to ``high`` takes the first of each token's whose list (``lists``, ``members``) it
    stands in. The furthest list is walked first, and what a nearer one writes stays: stores alone, with nothing to be
    read or guessed. ``gains`` float32 ``[rows]`` comes as zeros, and is left so."""
    for token in range(order.shape[0]):
        for probe in range(order.shape[1] - 1, -1, -1):
            centroid = order[token, probe]
            gain = values[token, probe] - values[token, values.shape[1] - 1]
            start, stop = lists[centroid], lists[centroid + 1]
            if low > 0:
                start = before(members, start, stop, low)
            if high < estimates.shape[0]:
                stop = before(members, start, stop, high)
            for at in range(start, stop):
                gains[members[at]] = gain
        own, sums = gains[low:high], estimates[low:high]
        for row in range(own.shape[0]):
            sums[row] += own[row]
        own[:] = 0


@njit(nogil=True, cache=True, fastmath=LOOSE)
def maxsim_of_row(tokens, vectors):
    """MaxSim of ``tokens`` ``[4 n, d]`` with one row's ``vectors``: four tokens with two of them at a time."""
    total = np.float32(0.0)
    for first in range(0, tokens.shape[0], 4):
        best = second = third = fourth = np.float32(-3.0e38)
        s, t, u, v = tokens[first], tokens[first + 1], tokens[first + 2], tokens[first + 3]
        for at in range(0, vectors.shape[0], 2):
            x, y = vectors[at], vectors[min(at + 1, vectors.shape[0] - 1)]
            a = b = c = d = e = f = g = h = np.float32(0.0)
            for i in range(x.shape[0]):
                a += s[i] * x[i]
                b += t[i] * x[i]
                c += u[i] * x[i]
                d += v[i] * x[i]
                e += s[i] * y[i]
                f += t[i] * y[i]
                g += u[i] * y[i]
                h += v[i] * y[i]
            best, second = max(best, max(a, e)), max(second, max(b, f))
            third, fourth = max(third, max(c, g)), max(fourth, max(d, h))
        total += best + second + third + fourth
    return total


@njit(nogil=True, cache=True)
def maxsim_of_rows(tokens, starts, flat, offsets, rows, scores):
    """MaxSim of queries (``tokens`` ``[n, d]``, ``starts`` ``[queries + 1]``, multiples of four: what is all zero fills
    up) with some rows of token vectors (``flat``, ``offsets``), into ``scores`` float32 ``[queries, rows]``. Rows are
    read from where they lie, a few for all queries at a time, so that they stay in the cache. A row without vectors
    scores 0."""
    for some in range(0, len(rows), FEW_ROWS):
        until = min(some + FEW_ROWS, len(rows))
        for query in range(len(starts) - 1):
            asked = tokens[starts[query] : starts[query + 1]]
            for place in range(some, until):
                vectors = flat[offsets[rows[place]] : offsets[rows[place] + 1]]
                scores[query, place] = maxsim_of_row(asked, vectors) if len(vectors) else np.float32(0.0)


@njit(nogil=True, cache=True, fastmath=LOOSE)
def unlike_two(codes, planes, word, unlike):
    """Add to ``unlike`` what two words add for a query of two bits, in registers."""
    size = unlike.shape[0]
    first, second = codes[word, :size], codes[word + 1, :size]
    a0, a1, b0, b1 = planes[0, word], planes[0, word + 1], planes[1, word], planes[1, word + 1]
    for i in range(size):
        x, y = first[i], second[i]
        unlike[i] += ((ones(x ^ b0) + ones(y ^ b1)) << ONE_BIT) + ones(x ^ a0) + ones(y ^ a1)


@njit(nogil=True, cache=True, fastmath=LOOSE)
def bit_maxsim(codes, factors, nearest, offsets, rows, planes, steps, middle, products, scores):
    """Estimates of MaxSim with some rows, into ``scores`` float32 ``[rows]``: of every token vector the inner product
    of a query's token with its centroid (``products`` ``[tokens, centroids]``, which one ``nearest`` says), and what
    the bits of the rest say: ``step factor (middle - unlike)`` as in :func:`bit_keys`, with ``planes`` ``[tokens, 2,
    words]``, ``steps`` ``[tokens]``. Rows are copied together a block at a time, and every token scans the block."""
    words = codes.shape[1]
    room = TOGETHER
    for row in rows:
        room = max(room, offsets[row + 1] - offsets[row])
    block, unlike = np.empty((words, room), np.uint64), np.empty(room, np.uint64)
    lengths, centroids, values = np.empty(room, np.float32), np.empty(room, np.int32), np.empty(room, np.float32)
    fused = words // 2 * 2
    place = 0
    while place < len(rows):
        stop, filled = place, 0
        while stop < len(rows) and filled + offsets[rows[stop] + 1] - offsets[rows[stop]] <= room:
            low, high = offsets[rows[stop]], offsets[rows[stop] + 1]
            for at in range(low, high):
                for word in range(words):
                    block[word, filled + at - low] = codes[at, word]
                lengths[filled + at - low] = factors[at]
                centroids[filled + at - low] = nearest[at]
            filled += high - low
            stop += 1
        scores[place:stop] = 0
        for token in range(planes.shape[0]):
            unlike[:filled] = 0
            for word in range(0, fused, 2):
                unlike_two(block, planes[token], word, unlike[:filled])
            for word in range(fused, words):
                unlike_one(block, planes[token], word, 0, unlike[:filled])
            own, step = products[token], steps[token]
            for at in range(filled):
                part = step * lengths[at] * (middle - np.float32(np.int32(unlike[at])))
                values[at] = own[centroids[at]] + part
            at = 0
            for some in range(place, stop):
                until = at + offsets[rows[some] + 1] - offsets[rows[some]]
                if until > at:
                    scores[some] += largest(values[at:until])
                at = until
        place = stop
