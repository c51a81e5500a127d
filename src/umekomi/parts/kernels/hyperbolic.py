"""One pass of Riemannian SGD over relations (u, v), in the Poincaré ball (Nickel & Kiela 2017), on the hyperboloid
(Nickel & Kiela 2018), and in Euclidean space (the arm both papers compare with); and exact ranks.

All three minimise, for a relation and ``K`` negatives, the paper's equation 6:
``-log(exp(-d(u, v)) / (exp(-d(u, v)) + Σ exp(-d(u, n))))``. No exponential or logarithm is computed for the gradients:
with ``t = cosh(d) - 1``, ``exp(-d) = 1 / (1 + t + sqrt(t (t + 2)))``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from umekomi.parts.kernels.draw import draw

if TYPE_CHECKING:
    from numpy.typing import NDArray

BALL, LORENTZ, EUCLIDEAN, DOT = 0, 1, 2, 3
GEOMETRIES = {"poincare": BALL, "lorentz": LORENTZ, "euclidean": EUCLIDEAN, "cosine": DOT, "dot": DOT}
"""By the name of the similarity; cosine is dot of vectors of length one."""
FARTHEST = 1e8
"""The hyperboloid's points are kept at norms of the space part up to this, 19 from the middle: the table that is kept
is float32, and farther out that cannot tell neighbours apart."""
_FAST = {"contract", "arcp", "nsz", "reassoc"}


@njit(nogil=True, cache=True, inline="always")
def _related(start, stop, neighbours, node):
    """Whether ``node`` is in the sorted ``neighbours[start:stop]``."""
    while stop - start > 8:
        middle = (start + stop) // 2
        if neighbours[middle] <= node:
            start = middle
        else:
            stop = middle
    found = False
    for i in range(start, stop):
        found |= neighbours[i] == node
    return found


@njit(nogil=True, cache=True, inline="always")
def _cosh_less_one(columns, query, along, norm, out):
    """t = cosh(d) - 1 of a point of the hyperboloid and each of ``columns`` ``[d, n]``, without the difference of large
    squares that |u - x|² - (u0 - x0)² = 2 t is: with g = u - x and a = u + x of the space parts, g has a part along a,
    (u0 - x0)² (u0 + x0)² / |a|² long (squared), and one across it, and (u0 + x0)² - |a|² = 4 + 2 t; so 2 t = across² +
    f (4 + 2 t), where f is (u0 - x0)² / |a|². ``along`` and ``norm`` ``[n]`` are working space."""
    width, size = columns.shape
    for j in range(size):
        along[j] = 0.0
        norm[j] = 1e-300
        out[j] = 0.0
    for i in range(1, width):
        for j in range(size):
            both = query[i] + columns[i, j]
            along[j] += (query[i] - columns[i, j]) * both
            norm[j] += both * both
    for j in range(size):
        along[j] /= norm[j]
    for i in range(1, width):
        for j in range(size):
            across = query[i] - columns[i, j] - along[j] * (query[i] + columns[i, j])
            out[j] += across * across
    for j in range(size):
        root = along[j] / (query[0] + columns[0, j])
        share = root * root * norm[j]
        out[j] = 0.5 * (out[j] + 4.0 * share) / max(1.0 - share, 1e-15)


@njit(nogil=True, cache=True, fastmath=_FAST)
def sgd(
    table,
    history,
    heads,
    tails,
    order,
    offsets,
    neighbours,
    pool,
    nearest,
    share,
    negatives,
    rate,
    edge,
    geometry,
    state,
):
    """Relations ``order`` (indices into ``heads``, ``tails`` int32) once. ``table`` float64 ``[n, d]`` is changed in
    place.

    Negatives of head u are drawn from ``pool`` int32 (a node that stands there twice is drawn twice as often), or with
    probability ``share`` from ``nearest[u]`` int32 ``[n, m]``, where u's closest unrelated nodes were put; those in u's
    own ``neighbours[offsets[u]:offsets[u + 1]]`` (sorted) and u itself are drawn again. ``rate`` is the learning rate;
    the ball's points are kept at norms up to 1 - ``edge``, the hyperboloid's within :data:`FARTHEST`. ``history``
    float64 ``[n]`` adds up each node's squared gradients, and divides its steps by their root (Adagrad with one number
    a point, as Riemannian spaces allow it: Bécigneul & Ganea 2019); an empty one leaves the rate as it is. ``state``
    uint64 ``[1]`` is the generator's.

    Returns the summed loss.
    """
    width = table.shape[1]
    count = negatives + 1
    chosen = np.empty(count, np.int32)
    points = np.empty((width, count))
    squares = np.empty(count)
    inside = np.empty(count)
    weight = np.empty(count)
    slope = np.empty(count)
    u = np.empty(width)
    step = np.empty(width)
    loss = 0.0
    size = np.uint64(len(pool))
    limit = (1.0 - edge) * (1.0 - edge)
    outermost = FARTHEST * FARTHEST
    choices = nearest.shape[1]
    low = np.uint64(0xFFFFFFFF)
    threshold = np.uint64(share * 4294967296.0)
    adaptive = len(history) > 0
    rates = np.full(count, rate)
    own = rate
    key = state[0]
    for index in order:
        head = heads[index]
        start, stop = offsets[head], offsets[head + 1]
        chosen[0] = tails[index]
        for j in range(1, count):
            node = head
            for _ in range(64):
                key, bits = draw(key)
                node = pool[((bits >> np.uint64(32)) * size) >> np.uint64(32)]
                if choices > 0 and (bits & low) < threshold:
                    key, bits = draw(key)
                    node = nearest[head, ((bits >> np.uint64(32)) * np.uint64(choices)) >> np.uint64(32)]
                if node != head and not _related(start, stop, neighbours, node):
                    break
                node = head
            chosen[j] = node
        for i in range(width):
            u[i] = table[head, i]
        for j in range(count):
            node = chosen[j]
            for i in range(width):
                points[i, j] = table[node, i]
        if geometry == LORENTZ:
            _cosh_less_one(points, u, slope, inside, squares)
            total = 0.0
            for j in range(count):
                t = squares[j]
                root = np.sqrt(t * (t + 2.0))
                slope[j] = root
                weight[j] = 1.0 / (1.0 + t + root)
                total += weight[j]
        elif geometry == BALL:
            alpha = 1.0
            for i in range(width):
                alpha -= u[i] * u[i]
            for j in range(count):
                squares[j] = 0.0
                inside[j] = 1.0
            for i in range(width):
                for j in range(count):
                    gap = u[i] - points[i, j]
                    squares[j] += gap * gap
                    inside[j] -= points[i, j] * points[i, j]
            total = 0.0
            for j in range(count):
                t = 2.0 * squares[j] / (alpha * inside[j])
                root = np.sqrt(t * (t + 2.0))
                slope[j] = root
                weight[j] = 1.0 / (1.0 + t + root)
                total += weight[j]
        else:
            for j in range(count):
                squares[j] = 0.0
            for i in range(width):
                for j in range(count):
                    gap = u[i] - points[i, j]
                    squares[j] += gap * gap
            # the paper's Euclidean arm scores by the squared distance
            total = 0.0
            least = squares.min()
            for j in range(count):
                weight[j] = np.exp(least - squares[j])
                total += weight[j]
        loss -= np.log(weight[0] / total)
        for i in range(width):
            step[i] = 0.0
        if adaptive:
            # the gradient of a distance has length one, so a node's is as long as its share of the loss
            for j in range(count):
                push = (1.0 if j == 0 else 0.0) - weight[j] / total
                energy = push * push
                if geometry == EUCLIDEAN:
                    energy *= 4.0 * squares[j]
                node = chosen[j]
                history[node] += energy
                rates[j] = rate / np.sqrt(history[node] + 1e-6)
        if geometry == BALL:
            along = 0.0
            for j in range(count):
                push = (1.0 if j == 0 else 0.0) - weight[j] / total
                push = push / max(slope[j], 1e-12) if chosen[j] != head else 0.0
                weight[j] = push
                # for u: lr α Σ push/β ((u - x) + (s/α) u)
                slope[j] = push / inside[j]
                along += slope[j] * (1.0 + squares[j] / alpha)
            for i in range(width):
                total = 0.0
                for j in range(count):
                    total += slope[j] * points[i, j]
                step[i] = alpha * (along * u[i] - total)
            norm = 0.0
            if adaptive:
                for i in range(width):
                    norm += step[i] * step[i]
                history[head] += 4.0 * norm / (alpha * alpha)
                own = rate / np.sqrt(history[head] + 1e-6)
                norm = 0.0
            for i in range(width):
                u[i] -= own * step[i]
                norm += u[i] * u[i]
            scale = 1.0 if norm < limit else (1.0 - edge) / np.sqrt(norm)
            for j in range(count):
                # for x: lr push β/α ((x - u) + (s/β) x), u as it was
                factor = rates[j] * weight[j] * inside[j] / alpha
                inside[j] = 1.0 - factor * (1.0 + squares[j] / inside[j])
                weight[j] = factor
                squares[j] = 0.0
            for i in range(width):
                before = table[head, i]
                table[head, i] = u[i] * scale
                for j in range(count):
                    points[i, j] = points[i, j] * inside[j] + weight[j] * before
                    squares[j] += points[i, j] * points[i, j]
            for j in range(count):
                inside[j] = 1.0 if squares[j] < limit else (1.0 - edge) / np.sqrt(squares[j])
            for j in range(count):
                node = chosen[j]
                if node != head:
                    for i in range(width):
                        table[node, i] = points[i, j] * inside[j]
        elif geometry == LORENTZ:
            # dd/du = -(x - (1 + t) u) / sinh d after projection on the tangent space (flip of g0 included)
            along = 0.0
            for j in range(count):
                push = (1.0 if j == 0 else 0.0) - weight[j] / total
                push = push / max(slope[j], 1e-9) if chosen[j] != head else 0.0
                weight[j] = push
                along += push * (1.0 + squares[j])
            # its length as the distances: the part across u, and the part along it, of which a tangent of the
            # hyperboloid keeps 1 / u0²
            inner, norm = 0.0, 1e-300
            for i in range(1, width):
                total = 0.0
                for j in range(count):
                    total += weight[j] * points[i, j]
                step[i] = -(along * u[i] - total)
                inner += step[i] * u[i]
                norm += u[i] * u[i]
            length = inner * inner / (norm * u[0] * u[0])
            for i in range(1, width):
                across = step[i] - inner / norm * u[i]
                length += across * across
            if adaptive:
                history[head] += length
                own = rate / np.sqrt(history[head] + 1e-6)
            length = own * np.sqrt(length)
            for j in range(count):
                # the tangent at x of length rate * |push| * sinh d, pointing away from or to u: the geodesic is ahead x
                # + side tangent
                step_length = rates[j] * weight[j]
                far = abs(step_length) * slope[j]
                x = min(far * far, 1.0)
                ahead = 1.0 + x / 2.0 * (
                    1.0 + x / 12.0 * (1.0 + x / 30.0 * (1.0 + x / 56.0 * (1.0 + x / 90.0 * (1.0 + x / 132.0))))
                )
                side = 1.0 + x / 6.0 * (
                    1.0 + x / 20.0 * (1.0 + x / 42.0 * (1.0 + x / 72.0 * (1.0 + x / 110.0 * (1.0 + x / 156.0))))
                )
                weight[j] = side * step_length / max(far, 1.0)
                inside[j] = ahead - weight[j] * (1.0 + squares[j])
                squares[j] = 1.0
            for i in range(1, width):
                for j in range(count):
                    points[i, j] = inside[j] * points[i, j] + weight[j] * u[i]
                    squares[j] += points[i, j] * points[i, j]
            for j in range(count):
                points[0, j] = np.sqrt(squares[j])
            for j in range(count):
                node = chosen[j]
                if squares[j] > outermost:
                    scale = np.sqrt(outermost / squares[j])
                    points[0, j] = np.sqrt(1.0 + scale * scale * (squares[j] - 1.0))
                    for i in range(1, width):
                        points[i, j] *= scale
                if node != head:
                    for i in range(width):
                        table[node, i] = points[i, j]
            clipped = min(length, 1.0)
            ahead, side = np.cosh(clipped), np.sinh(clipped)
            if length > 0.0:
                side *= own / length
            norm = 1.0
            for i in range(1, width):
                value = ahead * u[i] + side * step[i]
                table[head, i] = value
                norm += value * value
            if norm > outermost:
                scale = np.sqrt(outermost / norm)
                for i in range(1, width):
                    table[head, i] *= scale
                norm = 1.0 + scale * scale * (norm - 1.0)
            table[head, 0] = np.sqrt(norm)
        else:
            for j in range(count):
                push = (1.0 if j == 0 else 0.0) - weight[j] / total
                weight[j] = 2.0 * push if chosen[j] != head else 0.0
            for j in range(count):
                node = chosen[j]
                if node != head:
                    for i in range(width):
                        gap = u[i] - points[i, j]
                        table[node, i] = points[i, j] + rates[j] * weight[j] * gap
                        step[i] += weight[j] * gap
            if adaptive:
                norm = 0.0
                for i in range(width):
                    norm += step[i] * step[i]
                history[head] += norm
                own = rate / np.sqrt(history[head] + 1e-6)
            for i in range(width):
                table[head, i] = u[i] - own * step[i]
    state[0] = key
    return loss


def columns_of(points: NDArray[np.floating], geometry: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What :func:`ranks` and :func:`closest` read: (float64 ``[d, n]``, the weights ``[n]`` of the ball's distance) of
    ``[n, d]``."""
    weights = 1 / (1 - (points**2).sum(1)) if geometry == BALL else np.ones(len(points))
    return np.ascontiguousarray(points.T), weights


@njit(nogil=True, cache=True, fastmath=_FAST)
def _keys(columns, weights, query, geometry, space, out):
    """What orders all points by their distance to ``query`` (rising): ``out[i]``. ``space`` ``[2, n]`` is working
    space."""
    width, size = columns.shape
    if geometry == LORENTZ:
        _cosh_less_one(columns, query, space[0], space[1], out)
        return
    for i in range(size):
        out[i] = 0.0
    for k in range(width):
        value = query[k]
        column = columns[k]
        if geometry == DOT:
            for i in range(size):
                out[i] -= column[i] * value
            continue
        for i in range(size):
            gap = column[i] - value
            out[i] += gap * gap
    if geometry == BALL:
        for i in range(size):
            out[i] *= weights[i]


@njit(nogil=True, cache=True)
def ranks(columns, weights, geometry, rows, wanted_offsets, wanted, known_offsets, known, precision, places):
    """Where each wanted neighbour of each of ``rows`` stands among all nodes that are neither it, nor u, nor known.

    ``columns`` float64 ``[d, n]`` is the table turned; ``weights`` 1 / (1 - |x|²) in the ball. ``wanted`` int32 by
    ``wanted_offsets`` (one range a row), ``known`` the links to leave out beside them. Average precision goes to
    ``precision [rows]``, ranks to ``places`` (as ``wanted``); an equal distance counts half.
    """
    size = columns.shape[1]
    key, space = np.empty(size), np.empty((2, size))
    query = np.empty(columns.shape[0])
    for r in range(len(rows)):
        row = rows[r]
        for k in range(columns.shape[0]):
            query[k] = columns[k, row]
        _keys(columns, weights, query, geometry, space, key)
        start, stop = wanted_offsets[r], wanted_offsets[r + 1]
        mine = np.empty(stop - start)
        for j in range(start, stop):
            mine[j - start] = key[wanted[j]]
        key[row] = np.inf
        for j in range(start, stop):
            key[wanted[j]] = np.inf
        for j in range(known_offsets[r], known_offsets[r + 1]):
            key[known[j]] = np.inf
        ahead = np.empty(stop - start)
        for j in range(stop - start):
            value = mine[j]
            less, equal = 0, 0
            for i in range(size):
                less += key[i] < value
                equal += key[i] == value
            ahead[j] = less + 0.5 * equal
            places[start + j] = ahead[j] + 1.0
        ahead.sort()
        total = 0.0
        for j in range(stop - start):
            total += (j + 1.0) / (ahead[j] + j + 1.0)
        precision[r] = total / (stop - start)


@njit(nogil=True, cache=True)
def _sift(keys, numbers, at, size):
    """Let the entry at ``at`` of a heap whose largest key is first sink to its place."""
    key, number = keys[at], numbers[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] > keys[child]:
            child += 1
        if keys[child] <= key:
            break
        keys[at], numbers[at] = keys[child], numbers[child]
        at = child
    keys[at], numbers[at] = key, number


@njit(nogil=True, cache=True)
def closest(columns, weights, geometry, rows, offsets, neighbours, out):
    """For each of ``rows`` its ``out.shape[1]`` closest nodes that it is not related to, closest first, into
    ``out[row]`` int32; the row itself where there are fewer."""
    size = columns.shape[1]
    wanted = out.shape[1]
    key, space = np.empty(size), np.empty((2, size))
    query = np.empty(columns.shape[0])
    best = np.empty(wanted)
    for r in range(len(rows)):
        row = rows[r]
        for k in range(columns.shape[0]):
            query[k] = columns[k, row]
        _keys(columns, weights, query, geometry, space, key)
        key[row] = np.inf
        for j in range(offsets[row], offsets[row + 1]):
            key[neighbours[j]] = np.inf
        best[:] = np.inf
        nearest = out[row]
        nearest[:] = row
        for start in range(0, size, 16):
            stop = min(start + 16, size)
            low = key[start]
            for i in range(start + 1, stop):
                low = min(low, key[i])
            if low >= best[0]:
                continue
            for i in range(start, stop):
                if key[i] < best[0]:
                    best[0], nearest[0] = key[i], i
                    _sift(best, nearest, 0, wanted)
        for last in range(wanted - 1, 0, -1):
            best[0], best[last] = best[last], best[0]
            nearest[0], nearest[last] = nearest[last], nearest[0]
            _sift(best, nearest, 0, last)
