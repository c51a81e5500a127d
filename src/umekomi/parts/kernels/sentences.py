"""FastSent's inner loop (Hill, Cho & Korhonen 2016): a sentence's sum of word vectors predicts the words of its
neighbours through a hierarchical softmax (Morin & Bengio 2005)."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FAST = {"contract", "arcp", "nsz", "reassoc"}
LIMIT = 6.0
"""A logit beyond this is certain enough: no step is taken (the released code's table ends there)."""
EXCHANGE = 64
"""Sentences between two exchanges of the hot nodes with the other threads."""


def huffman(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """(offsets ``[words + 1]``, inner nodes, codes 0 or 1) of every word's path from the root, by its frequency. Node 0
    is the root, and nodes near it have low numbers."""
    size = len(counts)
    heap = [(int(count), word) for word, count in enumerate(counts)]
    heapq.heapify(heap)
    parent, bit = np.zeros(2 * size - 1, np.int64), np.zeros(2 * size - 1, np.float32)
    for node in range(size, 2 * size - 1):
        (few, a), (more, b) = heapq.heappop(heap), heapq.heappop(heap)
        parent[a] = parent[b] = node
        bit[b] = 1.0
        heapq.heappush(heap, (few + more, node))
    paths: list[int] = []
    codes: list[float] = []
    offsets = np.zeros(size + 1, np.int64)
    root = 2 * size - 2
    for word in range(size):
        node, path, code = word, [], []
        while node != root:
            code.append(bit[node])
            node = int(parent[node])
            path.append(root - node)
        paths += path[::-1]
        codes += code[::-1]
        offsets[word + 1] = len(paths)
    return offsets, np.array(paths, np.int32), np.array(codes, np.float32)


@njit(nogil=True, cache=True, fastmath=_FAST)
def fastsent(words, nodes, order, offsets, ids, documents, path_offsets, paths, codes, autoencode, rate, hot):
    """One pass over the sentences ``order``. ``words`` float32 ``[n, d]`` (the u of the paper) and ``nodes`` ``[n - 1,
    d]`` are changed in place. Sentence i owns ``ids[offsets[i]:offsets[i + 1]]`` and is of document ``documents[i]``:
    neighbours are of the same one. ``autoencode`` adds the sentence's own words to what it predicts.

    Nodes up to ``hot`` are written on every word; with ``hot`` above zero each thread keeps its own copy of them, and
    adds its changes to the shared ones every 64 sentences: else the threads' caches would wait for one another.

    Returns (the summed loss of all predictions, their number).
    """
    width = words.shape[1]
    total = np.empty(width, np.float32)
    error = np.empty(width, np.float32)
    mine, base = nodes[:hot].copy(), nodes[:hot].copy()
    loss, chance = 0.0, 1.0
    predicted = 0
    since = 0
    for index in order:
        start, stop = offsets[index], offsets[index + 1]
        if start == stop:
            continue
        for k in range(width):
            total[k] = 0.0
            error[k] = 0.0
        for i in range(start, stop):
            row = words[ids[i]]
            for k in range(width):
                total[k] += row[k]
        for side in range(-1, 2):
            other = index + side
            if (
                other < 0
                or other >= len(documents)
                or documents[other] != documents[index]
                or (side == 0 and not autoencode)
            ):
                continue
            for i in range(offsets[other], offsets[other + 1]):
                word = ids[i]
                predicted += 1
                for step in range(path_offsets[word], path_offsets[word + 1]):
                    at = paths[step]
                    node = mine[at] if at < hot else nodes[at]
                    logit = np.float32(0.0)
                    for k in range(width):
                        logit += total[k] * node[k]
                    if logit <= -LIMIT or logit >= LIMIT:
                        right = (logit < 0.0) == (codes[step] == 1.0)
                        loss += 0.0025 if right else abs(logit)
                        continue
                    likely = np.float32(1.0) / (np.float32(1.0) + np.exp(-logit))
                    want = np.float32(1.0) - codes[step]
                    # one logarithm for many turns
                    chance *= likely if want > 0.5 else np.float32(1.0) - likely
                    if chance < 1e-280:
                        loss -= np.log(chance)
                        chance = 1.0
                    push = (want - likely) * rate
                    for k in range(width):
                        error[k] += push * node[k]
                        node[k] += push * total[k]
        scale = np.float32(1.0) / np.float32(stop - start)
        for i in range(start, stop):
            row = words[ids[i]]
            for k in range(width):
                row[k] += scale * error[k]
        since += 1
        if since == EXCHANGE and hot > 0:
            since = 0
            for j in range(hot):
                for k in range(width):
                    value = nodes[j, k] + mine[j, k] - base[j, k]
                    nodes[j, k] = value
                    mine[j, k] = value
                    base[j, k] = value
    for j in range(hot):
        for k in range(width):
            nodes[j, k] += mine[j, k] - base[j, k]
    return loss - np.log(chance), predicted
