"""Bags of features learned by ranking against negatives: the inner loop of StarSpace (Wu et al. 2018).

An example is a left bag and one or more right bags; ``mode`` says which of them becomes left and which right: 0 the
left bag, one random right bag · 1 one random bag right, the others left · 2 one left, the others right · 3 two random
bags · 4 the first, the second · 5 a word of a sentence right, its window left. A batch shares its negatives.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from umekomi.parts.kernels.draw import draw

_FAST = {"contract", "arcp", "nsz", "reassoc"}
HINGE, SOFTMAX = 0, 1
OFF, ROW, COORDINATE = 0, 1, 2
_MIX = np.uint64(0x9E3779B97F4A7C15)


@njit(nogil=True, cache=True, inline="always")
def _below(key, bound):
    """(the next state, a number from 0 to bound - 1)."""
    key, bits = draw(key)
    return key, np.int64(((bits >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))


@njit(nogil=True, cache=True, inline="always")
def _chance(key):
    key, bits = draw(key)
    return key, np.float64(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(nogil=True, cache=True)
def _copy(ids, weights, start, stop, out_ids, out_weights, at, dropout, key):
    """Append features, each left out with probability ``dropout``; returns (state, new length)."""
    for i in range(start, stop):
        if dropout > 0.0:
            key, chance = _chance(key)
            if chance < dropout:
                continue
        out_ids[at] = ids[i]
        out_weights[at] = weights[i]
        at += 1
    return key, at


@njit(nogil=True, cache=True)
def _right(mode, first, last, bag_offsets, ids, weights, out_ids, out_weights, dropout, key):
    """A right side as negatives are drawn: bags ``first`` to ``last`` of an example. Returns (state, length)."""
    count = last - first
    if mode == 2:
        key, left = _below(key, count)
        at = 0
        for bag in range(count):
            if bag != left:
                key, at = _copy(
                    ids,
                    weights,
                    bag_offsets[first + bag],
                    bag_offsets[first + bag + 1],
                    out_ids,
                    out_weights,
                    at,
                    dropout,
                    key,
                )
        return key, at
    bag = np.int64(1)
    if mode != 4:
        key, bag = _below(key, count)
    return _copy(
        ids, weights, bag_offsets[first + bag], bag_offsets[first + bag + 1], out_ids, out_weights, 0, dropout, key
    )


@njit(nogil=True, cache=True)
def _content(ids, count):
    """A hash of a bag that does not depend on the order of its features."""
    total = np.uint64(count)
    for i in range(count):
        bits = (np.uint64(ids[i]) + np.uint64(1)) * _MIX
        total += (bits ^ (bits >> np.uint64(29))) * _MIX
    return total


@njit(nogil=True, cache=True, fastmath=_FAST)
def _project(table, ids, weights, count, cosine, power, out):
    """The bag's vector: its weighted sum over n^power, or brought to length one. Returns what it was divided by."""
    width = table.shape[1]
    for k in range(width):
        out[k] = 0.0
    for i in range(count):
        row = table[ids[i]]
        weight = weights[i]
        for k in range(width):
            out[k] += weight * row[k]
    if cosine:
        length = np.float32(0.0)
        for k in range(width):
            length += out[k] * out[k]
        length = np.sqrt(length)
        norm = max(length, np.float32(1e-12))
    else:
        norm = np.float32(max(count, 1) ** power)
    scale = np.float32(1.0) / norm
    for k in range(width):
        out[k] *= scale
    return norm


@njit(nogil=True, cache=True, fastmath=_FAST)
def _jacobian(gradient, vector, norm, cosine):
    """``gradient`` through the normalisation that made ``vector``."""
    width = len(gradient)
    along = np.float32(0.0)
    if cosine:
        for k in range(width):
            along += gradient[k] * vector[k]
    scale = np.float32(1.0) / norm
    for k in range(width):
        gradient[k] = (gradient[k] - along * vector[k]) * scale


@njit(nogil=True, cache=True, fastmath=_FAST)
def _update(table, squares, ids, weights, count, gradient, rate, adagrad, limit):
    """Every feature of the bag a step against ``gradient``; rows longer than ``limit`` are brought back to it."""
    width = table.shape[1]
    energy = np.float32(0.0)
    if adagrad == ROW:
        for k in range(width):
            energy += gradient[k] * gradient[k]
        energy /= np.float32(width)
    for i in range(count):
        row = table[ids[i]]
        step = rate * weights[i]
        if adagrad == ROW:
            squares[ids[i], 0] += energy
            step /= np.sqrt(squares[ids[i], 0] + np.float32(1e-6))
        length = np.float32(0.0)
        if adagrad == COORDINATE:
            past = squares[ids[i]]
            for k in range(width):
                past[k] += gradient[k] * gradient[k]
                row[k] -= step * gradient[k] / np.sqrt(past[k] + np.float32(1e-6))
                length += row[k] * row[k]
        else:
            for k in range(width):
                row[k] -= step * gradient[k]
                length += row[k] * row[k]
        if length > limit * limit:
            scale = limit / np.sqrt(length)
            for k in range(width):
                row[k] *= scale


@njit(nogil=True, cache=True, fastmath=_FAST)
def starspace(
    left_table,
    right_table,
    left_squares,
    right_squares,
    order,
    left_offsets,
    left_ids,
    left_weights,
    example_offsets,
    bag_offsets,
    bag_ids,
    bag_weights,
    words,
    longest,
    mode,
    loss,
    cosine,
    power,
    margin,
    draws,
    kept,
    rate,
    adagrad,
    jacobian,
    limit,
    batch,
    window,
    short,
    drop_left,
    drop_right,
    state,
):
    """One pass over the examples ``order``; in mode 5 they are positions in ``left_ids``. The tables, float32 ``[n,
    d]``, are changed in place (the same array twice shares them).

    Left features of example e are ``left_ids[left_offsets[e]:left_offsets[e + 1]]``; its right bags are
    ``example_offsets[e]`` to ``example_offsets[e + 1]``, and bag b's features ``bag_ids[bag_offsets[b]:bag_offsets[b +
    1]]``. ``words`` int64: the sentence of every position (mode 5). ``longest``: the most features any side may have.
    ``draws`` negatives a batch; the hinge keeps the first ``kept`` that violate ``margin``. Returns the summed loss.
    """
    width = left_table.shape[1]
    examples = len(example_offsets) - 1
    lids, lweights = np.empty((batch, longest), np.int32), np.empty((batch, longest), np.float32)
    rids, rweights = np.empty((batch, longest), np.int32), np.empty((batch, longest), np.float32)
    nids, nweights = np.empty((draws, longest), np.int32), np.empty((draws, longest), np.float32)
    lcount, rcount, ncount = np.zeros(batch, np.int64), np.zeros(batch, np.int64), np.zeros(draws, np.int64)
    rhash, nhash = np.zeros(batch, np.uint64), np.zeros(draws, np.uint64)
    left, right, negative = (
        np.empty((batch, width), np.float32),
        np.empty((batch, width), np.float32),
        np.empty((draws, width), np.float32),
    )
    lnorm, rnorm, nnorm = np.ones(batch, np.float32), np.ones(batch, np.float32), np.ones(draws, np.float32)
    lgradient, rgradient = np.empty((batch, width), np.float32), np.empty((batch, width), np.float32)
    ngradient = np.empty((draws, width), np.float32)
    touched = np.zeros(draws, np.bool_)
    scores = np.empty(draws, np.float32)
    violating = np.empty(draws, np.int64)
    total = 0.0
    key = state[0]
    one = np.float32(1.0)
    for begin in range(0, len(order), batch):
        filled = 0
        for index in range(begin, min(begin + batch, len(order))):
            example = order[index]
            lat = rat = np.int64(0)
            if mode == 5:
                sentence = words[example]
                low = max(left_offsets[sentence], example - window)
                high = min(left_offsets[sentence + 1], example + window + (0 if short else 1))
                key, lat = _copy(
                    left_ids, left_weights, low, example, lids[filled], lweights[filled], 0, drop_left, key
                )
                key, lat = _copy(
                    left_ids, left_weights, example + 1, high, lids[filled], lweights[filled], lat, drop_left, key
                )
                key, rat = _copy(
                    left_ids, left_weights, example, example + 1, rids[filled], rweights[filled], 0, 0.0, key
                )
            else:
                first, last = example_offsets[example], example_offsets[example + 1]
                count = last - first
                if mode == 0:
                    key, lat = _copy(
                        left_ids,
                        left_weights,
                        left_offsets[example],
                        left_offsets[example + 1],
                        lids[filled],
                        lweights[filled],
                        0,
                        drop_left,
                        key,
                    )
                    key, chosen = _below(key, count)
                    key, rat = _copy(
                        bag_ids,
                        bag_weights,
                        bag_offsets[first + chosen],
                        bag_offsets[first + chosen + 1],
                        rids[filled],
                        rweights[filled],
                        0,
                        drop_right,
                        key,
                    )
                elif mode == 1 or mode == 2:
                    key, chosen = _below(key, count)
                    for bag in range(count):
                        alone = bag == chosen
                        start, stop = bag_offsets[first + bag], bag_offsets[first + bag + 1]
                        if alone == (mode == 2):
                            key, lat = _copy(
                                bag_ids, bag_weights, start, stop, lids[filled], lweights[filled], lat, drop_left, key
                            )
                        else:
                            key, rat = _copy(
                                bag_ids, bag_weights, start, stop, rids[filled], rweights[filled], rat, drop_right, key
                            )
                else:
                    a, b = np.int64(0), np.int64(1)
                    if mode == 3:
                        key, a = _below(key, count)
                        key, b = _below(key, count - 1)
                        b += b >= a
                    key, lat = _copy(
                        bag_ids,
                        bag_weights,
                        bag_offsets[first + a],
                        bag_offsets[first + a + 1],
                        lids[filled],
                        lweights[filled],
                        0,
                        drop_left,
                        key,
                    )
                    key, rat = _copy(
                        bag_ids,
                        bag_weights,
                        bag_offsets[first + b],
                        bag_offsets[first + b + 1],
                        rids[filled],
                        rweights[filled],
                        0,
                        drop_right,
                        key,
                    )
            if lat == 0 or rat == 0:
                continue
            lcount[filled], rcount[filled] = lat, rat
            rhash[filled] = _content(rids[filled], rat)
            lnorm[filled] = _project(left_table, lids[filled], lweights[filled], lat, cosine, power, left[filled])
            rnorm[filled] = _project(right_table, rids[filled], rweights[filled], rat, cosine, power, right[filled])
            filled += 1
        if filled == 0:
            continue
        for j in range(draws):
            at = np.int64(0)
            for _ in range(16):
                if mode == 5:
                    key, place = _below(key, len(left_ids))
                    nids[j, 0], nweights[j, 0], at = left_ids[place], one, np.int64(1)
                else:
                    key, example = _below(key, examples)
                    key, at = _right(
                        mode,
                        example_offsets[example],
                        example_offsets[example + 1],
                        bag_offsets,
                        bag_ids,
                        bag_weights,
                        nids[j],
                        nweights[j],
                        drop_right,
                        key,
                    )
                if at > 0:
                    break
            ncount[j] = at
            nhash[j] = _content(nids[j], at)
            nnorm[j] = _project(right_table, nids[j], nweights[j], at, cosine, power, negative[j])
            touched[j] = False
        for e in range(filled):
            a, b, gl, gr = left[e], right[e], lgradient[e], rgradient[e]
            positive = np.float32(0.0)
            for k in range(width):
                positive += a[k] * b[k]
            found = 0
            if loss == HINGE:
                missed = 0.0
                for j in range(draws):
                    if nhash[j] == rhash[e]:
                        continue
                    score = np.float32(0.0)
                    n = negative[j]
                    for k in range(width):
                        score += a[k] * n[k]
                    over = margin - positive + score
                    if over > 0.0:
                        missed += over
                        violating[found] = j
                        found += 1
                        if found == kept:
                            break
                total += missed / draws
                if found == 0:
                    lcount[e] = -1
                    continue
                share = one / np.float32(found)
                for k in range(width):
                    gl[k] = -b[k]
                    gr[k] = -a[k]
                for i in range(found):
                    j = violating[i]
                    scores[j] = share
            else:
                top = positive
                for j in range(draws):
                    if nhash[j] == rhash[e]:
                        continue
                    score = np.float32(0.0)
                    n = negative[j]
                    for k in range(width):
                        score += a[k] * n[k]
                    scores[j] = score
                    top = max(top, score)
                    violating[found] = j
                    found += 1
                own = np.exp(positive - top)
                mass = own
                for i in range(found):
                    j = violating[i]
                    scores[j] = np.exp(scores[j] - top)
                    mass += scores[j]
                total -= np.log(own / mass)
                slope = own / mass - one
                for i in range(found):
                    scores[violating[i]] /= mass
                for k in range(width):
                    gl[k] = slope * b[k]
                    gr[k] = slope * a[k]
            for i in range(found):
                j = violating[i]
                n, gn, weight = negative[j], ngradient[j], scores[j]
                if not touched[j]:
                    touched[j] = True
                    for k in range(width):
                        gn[k] = 0.0
                for k in range(width):
                    gl[k] += weight * n[k]
                    gn[k] += weight * a[k]
        for e in range(filled):
            if lcount[e] < 0:
                continue
            if jacobian:
                _jacobian(lgradient[e], left[e], lnorm[e], cosine)
                _jacobian(rgradient[e], right[e], rnorm[e], cosine)
            _update(left_table, left_squares, lids[e], lweights[e], lcount[e], lgradient[e], rate, adagrad, limit)
            _update(right_table, right_squares, rids[e], rweights[e], rcount[e], rgradient[e], rate, adagrad, limit)
        for j in range(draws):
            if touched[j]:
                if jacobian:
                    _jacobian(ngradient[j], negative[j], nnorm[j], cosine)
                _update(right_table, right_squares, nids[j], nweights[j], ncount[j], ngradient[j], rate, adagrad, limit)
    state[0] = key
    return total
