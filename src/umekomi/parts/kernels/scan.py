"""Search loops: exact scans, bit codes, 8-bit codes, inverted lists, and the exact second look at what a coarse scan
chose.

A coarse scan gives every row a key, an unsigned 16-bit number below ``BINS``, higher is nearer, and counts how many
rows have each key; from the counts of all threads one threshold follows, and :func:`rescore` looks again, with the
stored vectors, only at rows that reach it. A scan counts only keys that may still be among the ``wanted`` best: after
its first block, and each time it has seen four times as many rows, it leaves out what lies below the wanted-th so far,
and at the end returns the key from which its counts are whole. Rows come in order, so among equals the first stays: one
answer, however many threads there are.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

BINS = 8192
BLOCK = 512
DOCUMENTS = 65536
"""As many float32 sums as half of a core's second cache holds."""
ONE, LAST = np.float32(1), np.float32(BINS - 1)
ONE_BIT = np.uint64(1)
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
    """The best rows of ``vectors[low:high]`` by inner product with one query, into ``scores`` and ``rows`` (``[k]``,
    preset to minus infinity and -1). ``allowed`` is uint8 ``[n]``, or empty for all."""
    every = allowed.shape[0] == 0
    for row in range(low, high):
        if every or allowed[row]:
            put(scores, rows, dot(vectors[row], query), row)


@njit(nogil=True, cache=True)
def take_best(block, first, allowed, scores, rows):
    """Scores ``[queries, rows of the block]``, whose first row has number ``first``, into the lists ``[queries,
    k]``."""
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
def unlike_four(codes, planes, word, start, unlike):
    """Add to ``unlike`` what four words of :func:`bit_keys` add, for a query of four bits: all in registers."""
    size = unlike.shape[0]
    first, second = codes[word, start : start + size], codes[word + 1, start : start + size]
    third, fourth = codes[word + 2, start : start + size], codes[word + 3, start : start + size]
    a0, a1, a2, a3 = planes[0, word], planes[0, word + 1], planes[0, word + 2], planes[0, word + 3]
    b0, b1, b2, b3 = planes[1, word], planes[1, word + 1], planes[1, word + 2], planes[1, word + 3]
    c0, c1, c2, c3 = planes[2, word], planes[2, word + 1], planes[2, word + 2], planes[2, word + 3]
    d0, d1, d2, d3 = planes[3, word], planes[3, word + 1], planes[3, word + 2], planes[3, word + 3]
    for i in range(size):
        w, x, y, z = first[i], second[i], third[i], fourth[i]
        total = ones(w ^ d0) + ones(x ^ d1) + ones(y ^ d2) + ones(z ^ d3)
        total = (total << ONE_BIT) + ones(w ^ c0) + ones(x ^ c1) + ones(y ^ c2) + ones(z ^ c3)
        total = (total << ONE_BIT) + ones(w ^ b0) + ones(x ^ b1) + ones(y ^ b2) + ones(z ^ b3)
        unlike[i] += (total << ONE_BIT) + ones(w ^ a0) + ones(x ^ a1) + ones(y ^ a2) + ones(z ^ a3)


@njit(nogil=True, cache=True, fastmath=LOOSE)
def unlike_one(codes, planes, word, start, unlike):
    """Add to ``unlike`` what one word of :func:`bit_keys` adds."""
    part = codes[word, start : start + unlike.shape[0]]
    if planes.shape[0] == 4:
        a, b, c, d = planes[0, word], planes[1, word], planes[2, word], planes[3, word]
        for i in range(unlike.shape[0]):
            total = (ones(part[i] ^ d) << ONE_BIT) + ones(part[i] ^ c)
            total = (total << ONE_BIT) + ones(part[i] ^ b)
            unlike[i] += (total << ONE_BIT) + ones(part[i] ^ a)
    else:
        for p in range(planes.shape[0]):
            plane, place = planes[p, word], np.uint64(p)
            for i in range(unlike.shape[0]):
                unlike[i] += ones(part[i] ^ plane) << place


@njit(nogil=True, cache=True, fastmath=LOOSE)
def bit_keys(codes, factors, planes, scale, middle, offset, wanted, allowed, low, high, keys, counts):
    """Keys of bit codes uint64 ``[words, n]`` (+1 or -1 a dimension) with a factor a row, float32 ``[n]``, for a query
    of odd whole numbers from ``1 - 2^planes`` to ``2^planes - 1``, which come as bit planes uint64 ``[planes, words]``:
    ``scale factor (middle - unlike) + offset``, where ``unlike`` is how many bits differ from the first plane's, twice
    those from the second's, and so on. With ``middle`` half of ``(2^planes - 1)`` times the dimensions, twice the
    bracket is the signs' product with the query (after Gao & Long 2024, eq. 20, whose whole numbers start at zero and
    need the code's own bits counted too)."""
    differing = np.empty(BLOCK, np.uint64)
    floor, seen_at = 1, BLOCK
    fused = codes.shape[0] // 4 * 4 if planes.shape[0] == 4 else 0
    for start in range(low, high, BLOCK):
        size = min(BLOCK, high - start)
        unlike = differing[:size]
        unlike[:] = 0
        for word in range(0, fused, 4):
            unlike_four(codes, planes, word, start, unlike)
        for word in range(fused, codes.shape[0]):
            unlike_one(codes, planes, word, start, unlike)
        own = keys[start : start + size]
        factor = factors[start : start + size]
        for i in range(size):
            held = min(max(scale * factor[i] * (middle - np.float32(np.int32(unlike[i]))) + offset, ONE), LAST)
            own[i] = np.uint16(np.int32(held))
        count(own, allowed[start : start + size], floor, counts)
        if start + size - low >= seen_at:
            floor, seen_at = max(floor, threshold(counts, wanted)), 4 * seen_at
    return floor


@njit(nogil=True, cache=True)
def count(keys, allowed, floor, counts):
    """Count the keys from ``floor`` up; those of rows that are not ``allowed`` become zero (all are where it is
    empty)."""
    for i in range(allowed.shape[0]):
        keys[i] *= allowed[i]
    for start in range(0, keys.shape[0], 64):
        part = keys[start : start + 64]
        if highest(part) >= floor:
            for i in range(part.shape[0]):
                if part[i] >= floor:
                    counts[part[i]] += 1


@njit(nogil=True, cache=True)
def highest(keys):
    """The highest of a few keys: most blocks have none worth a look, and this says so many at a time."""
    top = np.uint16(0)
    for i in range(keys.shape[0]):
        top = max(top, keys[i])
    return top


@njit(nogil=True, cache=True, fastmath=LOOSE)
def byte_products(codes, query, start, products):
    """Inner products of int8 codes from row ``start`` on with an int16 query: as many as ``products`` int32 has room
    for. (Stored as anything else they would be summed in 64 bits, at half the speed.)"""
    for row in range(products.shape[0]):
        total = np.int32(0)
        part = codes[start + row]
        for i in range(part.shape[0]):
            total += np.int32(part[i]) * np.int32(query[i])
        products[row] = total


@njit(nogil=True, cache=True, fastmath=LOOSE)
def byte_keys(codes, query, scale, offset, wanted, allowed, low, high, keys, counts):
    """Keys of 8-bit codes int8 ``[n, p]`` for one query int16 ``[p]``: ``scale (code . query) + offset``, held to the
    bins. ``scale`` and ``offset`` are float32."""
    sums = np.empty(BLOCK, np.int32)
    floor, seen_at = 1, BLOCK
    for start in range(low, high, BLOCK):
        size = min(BLOCK, high - start)
        products = sums[:size]
        byte_products(codes, query, start, products)
        own = keys[start : start + size]
        for i in range(size):
            own[i] = np.uint16(np.int32(min(max(scale * np.float32(products[i]) + offset, ONE), LAST)))
        count(own, allowed[start : start + size], floor, counts)
        if start + size - low >= seen_at:
            floor, seen_at = max(floor, threshold(counts, wanted)), 4 * seen_at
    return floor


@njit(nogil=True, cache=True)
def reaching(keys, least, low, high, numbers):
    """The rows whose key reaches ``least``, into ``numbers``, as far as it is long; how many there were."""
    met = 0
    for start in range(low, high, 64):
        stop = min(start + 64, high)
        if highest(keys[start:stop]) >= least:
            for row in range(start, stop):
                if keys[row] >= least:
                    if met < numbers.shape[0]:
                        numbers[met] = row
                    met += 1
    return met


@njit(nogil=True, cache=True)
def rescore(vectors, query, keys, least, below, low, high, scores, rows):
    """:func:`exact` over the rows whose key reaches ``least`` (at least 1) and is ``below`` another; how many those
    were."""
    looked = 0
    for start in range(low, high, 64):
        stop = min(start + 64, high)
        if highest(keys[start:stop]) >= least:
            for row in range(start, stop):
                if least <= keys[row] < below:
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
def before(numbers, start, stop, limit):
    """The first place of the rising ``numbers[start:stop]`` whose number is ``limit`` or more."""
    while start < stop:
        middle = (start + stop) // 2
        if numbers[middle] < limit:
            start = middle + 1
        else:
            stop = middle
    return start


@njit(nogil=True, cache=True, fastmath={"nnan", "nsz", "reassoc"})
def largest(numbers):
    """The largest of a few float32, none of them NaN."""
    top = np.float32(-np.inf)
    for i in range(numbers.shape[0]):
        top = max(top, numbers[i])
    return top


@njit(nogil=True, cache=True)
def add_postings(documents, values, amount, first, total):
    """Add ``amount * value`` to the total of every posting's document; ``total[0]`` is that of document ``first``."""
    for i in range(documents.shape[0]):
        total[documents[i] - first] += amount * values[i]


@njit(nogil=True, cache=True)
def sparse_search(offsets, documents, values, pointers, latents, amounts, allowed, low, high, scores, rows):
    """The best of documents ``low`` to ``high`` for every query of a CSR matrix (``pointers, latents, amounts``), by
    inner product over inverted lists (``offsets, documents, values``; documents rise within a list). A product of zero
    is no match. The lists are walked together, so many documents at a time as have their sums in the core's cache."""
    every = allowed.shape[0] == 0
    totals = np.zeros(DOCUMENTS, np.float32)
    last = scores.shape[1] - 1
    for q in range(scores.shape[0]):
        begin, end = pointers[q], pointers[q + 1]
        places = np.empty(end - begin, np.int64)
        for at in range(begin, end):
            places[at - begin] = before(documents, offsets[latents[at]], offsets[latents[at] + 1], low)
        least = scores[q, last]
        for start in range(low, high, DOCUMENTS):
            stop = min(start + DOCUMENTS, high)
            for at in range(begin, end):
                place = places[at - begin]
                until = before(documents, place, offsets[latents[at] + 1], stop)
                add_postings(documents[place:until], values[place:until], amounts[at], start, totals)
                places[at - begin] = until
            for some in range(start, stop, 64):
                part = totals[some - start : min(some + 64, stop) - start]
                if largest(part) > least:
                    for i in range(part.shape[0]):
                        if part[i] > least and part[i] != 0 and (every or allowed[some + i]):
                            put(scores[q], rows[q], part[i], some + i)
                            least = scores[q, last]
                part[:] = 0


@njit(nogil=True, cache=True)
def add_words(documents, counts, lengths, idf, amount, k1, b, average, factor, first, total):
    """Add ``amount`` times BM25's weight to the total of every posting's document; ``total[0]`` is that of document
    ``first``. The weight is ``idf factor tf / (k1 (1 - b + b length / average) + tf)``, ``factor`` one or, for atire,
    ``k1 + 1``."""
    for i in range(documents.shape[0]):
        tf = np.float64(counts[i])
        weight = factor * tf / (k1 * ((1 - b) + b * lengths[documents[i]] / average) + tf)
        total[documents[i] - first] += amount * np.float32(weight * idf)


@njit(nogil=True, cache=True)
def lexical_search(
    starts, stops, idfs, amounts, documents, counts, lengths, k1, b, average, factor, allowed, low, high, scores, rows
):
    """The best of documents ``low`` to ``high`` for one query by BM25: its words' lists are ``documents[start:stop]``,
    rising, with how often each holds the word; as :func:`sparse_search`, with weights worked out on the way."""
    every = allowed.shape[0] == 0
    totals = np.zeros(DOCUMENTS, np.float32)
    last = scores.shape[0] - 1
    places = np.empty(starts.shape[0], np.int64)
    for at in range(starts.shape[0]):
        places[at] = before(documents, starts[at], stops[at], low)
    least = scores[last]
    for start in range(low, high, DOCUMENTS):
        stop = min(start + DOCUMENTS, high)
        for at in range(starts.shape[0]):
            place = places[at]
            until = before(documents, place, stops[at], stop)
            add_words(
                documents[place:until],
                counts[place:until],
                lengths,
                idfs[at],
                amounts[at],
                k1,
                b,
                average,
                factor,
                start,
                totals,
            )
            places[at] = until
        for some in range(start, stop, 64):
            part = totals[some - start : min(some + 64, stop) - start]
            if largest(part) > least:
                for i in range(part.shape[0]):
                    if part[i] > least and part[i] != 0 and (every or allowed[some + i]):
                        put(scores, rows, part[i], some + i)
                        least = scores[last]
            part[:] = 0
