"""Search loops: exact scans, bit codes, 8-bit codes, inverted lists, and the exact second look at what a coarse scan chose.

A coarse scan gives every row a key, an unsigned 16-bit number below ``BINS``, higher is nearer, and counts how many rows have
each key; from the counts of all threads one threshold follows, and :func:`rescore` looks again, with the stored vectors, only
at rows that reach it. A scan counts all keys of its first block and from then on those of about its best sixteenth; it returns
the key from which its counts are whole. Rows come in order, so among equals the first stays: one answer, however many threads there are.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

BINS = 8192
BLOCK = 512
ONE, LAST = np.float32(1), np.float32(BINS - 1)
TWO, FOUR, EIGHT = np.uint64(2), np.uint64(4), np.uint64(8)
LOOSE = {"reassoc", "contract", "nsz"}


@intrinsic
def ones(typing, word):
    """How many bits of a uint64 are one."""

    def emit(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), emit


@njit(nogil=True, cache=True, fastmath=LOOSE)
def dot(a, b):
    """Inner product of two float32 rows."""
    total = np.float32(0)
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@njit(nogil=True, cache=True)
def put(scores, rows, score, row):
    """Take (score, row) into a list held best first; what stood there before stays ahead of its equals."""
    at = scores.shape[0] - 1
    if not score > scores[at]:
        return
    while at > 0 and score > scores[at - 1]:
        scores[at] = scores[at - 1]
        rows[at] = rows[at - 1]
        at -= 1
    scores[at] = score
    rows[at] = row


@njit(nogil=True, cache=True)
def exact(vectors, query, allowed, low, high, scores, rows):
    """The best rows of ``vectors[low:high]`` by inner product with one query, into ``scores`` and ``rows`` (``[k]``, preset to
    minus infinity and -1). ``allowed`` is uint8 ``[n]``, or empty for all."""
    every = allowed.shape[0] == 0
    for row in range(low, high):
        if every or allowed[row]:
            put(scores, rows, dot(vectors[row], query), row)


@njit(nogil=True, cache=True)
def take_best(block, first, allowed, scores, rows):
    """Scores ``[queries, rows of the block]``, whose first row has number ``first``, into the lists ``[queries, k]``."""
    every = allowed.shape[0] == 0
    last = scores.shape[1] - 1
    for q in range(block.shape[0]):
        least = scores[q, last]
        for i in range(block.shape[1]):
            if block[q, i] > least and (every or allowed[first + i]):
                put(scores[q], rows[q], block[q, i], first + i)
                least = scores[q, last]


@njit(nogil=True, cache=True)
def threshold(counts, wanted):
    """The highest key that ``wanted`` rows reach."""
    seen = 0
    for key in range(counts.shape[0] - 1, 0, -1):
        seen += counts[key]
        if seen >= wanted:
            return key
    return 0


@njit(nogil=True, cache=True, fastmath=LOOSE)
def bit_keys(codes, factors, planes, step, lowest, half, scale, offset, allowed, low, high, keys, counts):
    """Keys of bit codes uint64 ``[words, n]`` (+1 or -1 a dimension) with a factor a row, float32 ``[n]``, for a query cut to
    ``lowest + step u``, whose integers u come as bit planes uint64 ``[planes, words]``: ``scale factor (sum of the query's
    parts, each with its sign) + offset``. ``half`` is the sum of all the query's parts. Only AND, bit counts and one
    multiplication a row (Gao & Long 2024, eq. 20)."""
    every = allowed.shape[0] == 0
    common = np.empty(BLOCK, np.uint64)
    plain = np.empty(BLOCK, np.uint64)
    floor = 1
    for start in range(low, high, BLOCK):
        size = min(BLOCK, high - start)
        common[:] = 0
        plain[:] = 0
        for w in range(codes.shape[0]):
            part = codes[w, start : start + size]
            if planes.shape[0] == 4:
                a, b, c, d = planes[0, w], planes[1, w], planes[2, w], planes[3, w]
                for i in range(size):
                    word = part[i]
                    common[i] += ones(word & a) + TWO * ones(word & b) + FOUR * ones(word & c) + EIGHT * ones(word & d)
                    plain[i] += ones(word)
            else:
                for i in range(size):
                    plain[i] += ones(part[i])
                for p in range(planes.shape[0]):
                    mask, weight = planes[p, w], np.uint64(1 << p)
                    for i in range(size):
                        common[i] += weight * ones(part[i] & mask)
        found = keys[start : start + size]
        factor = factors[start : start + size]
        for i in range(size):
            value = np.float32(2) * (step * np.float32(np.int32(common[i])) + lowest * np.float32(np.int32(plain[i]))) - half
            held = min(max(scale * factor[i] * value + offset, ONE), LAST)
            found[i] = np.uint16(np.int32(held))
        if not every:
            for i in range(size):
                found[i] *= allowed[start + i]
        count(found, floor, counts)
        if start == low and high - low > 16 * BLOCK:
            floor = max(threshold(counts, BLOCK // 16), 1)
    return floor


@njit(nogil=True, cache=True)
def count(keys, floor, counts):
    """Count the keys from ``floor`` up; only the best decide, and most rows are not among them."""
    for i in range(keys.shape[0]):
        if keys[i] >= floor:
            counts[keys[i]] += 1


@njit(nogil=True, cache=True, fastmath=LOOSE)
def byte_keys(codes, query, scale, offset, allowed, low, high, keys, counts):
    """Keys of 8-bit codes int8 ``[n, p]`` for one query int16 ``[p]``: ``scale (code . query) + offset``, held to the bins."""
    every = allowed.shape[0] == 0
    floor = 1
    for start in range(low, high, BLOCK):
        stop = min(start + BLOCK, high)
        for row in range(start, stop):
            total = np.int32(0)
            if every or allowed[row]:
                part = codes[row]
                for i in range(part.shape[0]):
                    total += np.int32(part[i]) * np.int32(query[i])
                keys[row] = min(max(int(scale * total + offset), 1), BINS - 1)
            else:
                keys[row] = 0
        count(keys[start:stop], floor, counts)
        if start == low and high - low > 16 * BLOCK:
            floor = max(threshold(counts, BLOCK // 16), 1)
    return floor


@njit(nogil=True, cache=True)
def highest(keys, start, stop):
    """The highest of a few keys: most blocks have none worth a look, and this says so many at a time."""
    top = 0
    for row in range(start, stop):
        top = max(top, keys[row])
    return top


@njit(nogil=True, cache=True)
def reaching(keys, least, low, high, numbers):
    """The rows whose key reaches ``least``, into ``numbers``, as far as it is long; how many there were."""
    met = 0
    for start in range(low, high, 64):
        stop = min(start + 64, high)
        if highest(keys, start, stop) >= least:
            for row in range(start, stop):
                if keys[row] >= least:
                    if met < numbers.shape[0]:
                        numbers[met] = row
                    met += 1
    return met


@njit(nogil=True, cache=True)
def rescore(vectors, query, keys, least, low, high, scores, rows):
    """:func:`exact` over the rows whose key reaches ``least`` (at least 1); how many those were."""
    looked = 0
    for start in range(low, high, 64):
        stop = min(start + 64, high)
        if highest(keys, start, stop) >= least:
            for row in range(start, stop):
                if keys[row] >= least:
                    looked += 1
                    put(scores, rows, dot(vectors[row], query), row)
    return looked


@njit(nogil=True, cache=True)
def chosen(vectors, query, numbers, width, scores, rows):
    """The best of the rows in ``numbers`` by the inner product of the first ``width`` dimensions."""
    for at in range(numbers.shape[0]):
        row = numbers[at]
        if row >= 0:
            put(scores, rows, dot(vectors[row, :width], query[:width]), row)


@njit(nogil=True, cache=True)
def postings(offsets, documents, values, latents, amounts, total, touched):
    """Inverted lists: add ``amount * value`` to ``total[document]`` for every posting of the query's latents. ``total`` is
    zero on entry; the documents met are listed in ``touched``, one twice only where its sum came back to zero on the way; how
    many."""
    met = 0
    for at in range(latents.shape[0]):
        amount = amounts[at]
        for i in range(offsets[latents[at]], offsets[latents[at] + 1]):
            document = documents[i]
            if total[document] == 0:
                touched[met] = document
                met += 1
            total[document] += amount * values[i]
    return met


@njit(nogil=True, cache=True)
def sparse_search(offsets, documents, values, pointers, latents, amounts, allowed, low, high, total, scores, rows):
    """The best documents for queries ``low`` to ``high`` of a CSR matrix (``pointers, latents, amounts``), by inner product
    over inverted lists (``offsets, documents, values``); how many candidates were met in all. ``total`` float32 ``[n]`` is
    zero on entry and on return; a product of zero is no match."""
    every = allowed.shape[0] == 0
    candidates = 0
    for q in range(low, high):
        begin, end = pointers[q], pointers[q + 1]
        longest = 0
        for at in range(begin, end):
            longest += offsets[latents[at] + 1] - offsets[latents[at]]
        touched = np.empty(longest, np.int32)
        met = postings(offsets, documents, values, latents[begin:end], amounts[begin:end], total, touched)
        candidates += met
        least, last = scores[q, -1], scores.shape[1] - 1
        for at in range(met):
            document = touched[at]
            score = total[document]
            total[document] = 0
            if score != 0 and (every or allowed[document]) and (score > least or (score == least and document < rows[q, last])):
                put_first(scores[q], rows[q], score, document)
                least = scores[q, last]
    return candidates


@njit(nogil=True, cache=True)
def put_first(scores, rows, score, row):
    """:func:`put` for rows that come in any order: among equals the lower number goes first."""
    at = scores.shape[0] - 1
    if score < scores[at] or (score == scores[at] and row >= rows[at] >= 0):
        return
    while at > 0 and (score > scores[at - 1] or (score == scores[at - 1] and row < rows[at - 1])):
        scores[at] = scores[at - 1]
        rows[at] = rows[at - 1]
        at -= 1
    scores[at] = score
    rows[at] = row
