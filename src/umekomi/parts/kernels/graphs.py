"""Are stored numbers whole that others follow unasked? An edge to a node that is not there, or a list with a document
that is not, leads out of memory."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def number(data, at, size):
    """The unsigned whole number of so many bytes, the lowest first, at any place of uint8 ``[n]``."""
    total = np.uint64(0)
    for i in range(size):
        total |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return total


@njit(nogil=True, cache=True)
def list_fault(data, at, most, levels, level):
    """Is a list of neighbours at fault: longer than ``most``, or with a node that is not there or does not reach
    ``level``?"""
    length = number(data, at, 4)
    if length > most:
        return True
    for i in range(length):
        node = number(data, at + 4 + 4 * i, 4)
        if node >= levels.shape[0] or levels[node] < level:
            return True
    return False


@njit(nogil=True, cache=True)
def graph_fault(data, levels, connections, base, seen):
    """The first node at fault, -1 where all are whole. ``data`` uint8 are the nodes one after another: a key (8 bytes),
    a level (2), the neighbours of level 0 (their number and ``base`` places, 4 bytes each) and of every level above
    (``connections`` places); ``levels`` int16 ``[n]`` says how long each is. Keys are 0 to n - 1, each once: ``seen``
    uint8 ``[n]`` comes as zeros."""
    at = 0
    for node in range(levels.shape[0]):
        key = number(data, at, 8)
        if key >= levels.shape[0] or seen[key] or number(data, at + 8, 2) != levels[node]:
            return node
        seen[key] = 1
        at += 10
        if list_fault(data, at, base, levels, 0):
            return node
        at += 4 + 4 * base
        for level in range(1, levels[node] + 1):
            if list_fault(data, at, connections, levels, level):
                return node
            at += 4 + 4 * connections
    return -1


@njit(nogil=True, cache=True)
def lists_fault(offsets, documents, rows):
    """The first inverted list whose documents do not rise from 0 up and stay below ``rows``, -1 where all do. List
    ``i`` is ``documents[offsets[i]:offsets[i + 1]]``."""
    for each in range(offsets.shape[0] - 1):
        last = np.int64(-1)
        for i in range(offsets[each], offsets[each + 1]):
            if documents[i] <= last:
                return each
            last = np.int64(documents[i])
        if last >= rows:
            return each
    return -1
