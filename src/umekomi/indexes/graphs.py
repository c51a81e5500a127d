"""usearch's graph as bytes (its format 2), looked through before it is handed over: usearch follows what it reads, so
that one wrong number ends in a walk without end, in memory that is not ours, or in an order for more than there is."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats

MATRIX = struct.Struct("<II")
"""Rows and bytes a row of the vectors, which follow."""
HEAD = struct.Struct("<7sHHHBBBBQQQB22x")
"""Magic, version (three numbers), kinds of metric, scalar, key and slot, vectors there and deleted, dimensions, whether
a key may come twice."""
GRAPH = struct.Struct("<QQQQQ")
"""Nodes, connections, connections of level 0, the highest level, where a walk enters."""
KINDS = {"metric": ord("i"), "scalar": 11, "key": 14, "slot": 15}
"""Inner product, float32, 64-bit keys, 32-bit slots: as :class:`~umekomi.indexes.kinds.hnsw.Hnsw` makes them."""
BLOCK = 65536


def check_graph(data: NDArray[np.uint8], vectors: Floats, connections: int) -> None:
    """ValueError unless ``data``, uint8 ``[n]``, is a graph over these vectors, float32 ``[rows, d]``: sizes, every
    edge, every key once, and the vectors it keeps are these. Reads all of it once."""
    from umekomi.parts.kernels.graphs import graph_fault

    rows, width = vectors.shape
    at = MATRIX.size + 4 * rows * width
    if len(data) < at + HEAD.size + GRAPH.size + 2 * rows:
        raise ValueError(f"expected a graph over {rows:,} rows, found {len(data):,} bytes")
    if MATRIX.unpack_from(data) != (rows, 4 * width):
        raise ValueError(f"expected vectors {[rows, width]}, found {list(MATRIX.unpack_from(data))} rows and bytes")
    head = HEAD.unpack_from(data, at)
    if head[:2] != (b"usearch", 2):
        raise ValueError(f"expected a graph of usearch's format 2, found {head[0]!r} {head[1]}")
    if head[4:] != (*KINDS.values(), rows, 0, width, 0):
        raise ValueError(f"expected a graph of {rows:,} vectors of {width} dimensions, found {head[4:]}")
    nodes, found, base, highest, entry = GRAPH.unpack_from(data, at + HEAD.size)
    if (nodes, found, base) != (rows, connections, 2 * connections):
        raise ValueError(f"expected {rows:,} nodes of {connections} connections, found {nodes:,} of {found}, {base}")
    at += HEAD.size + GRAPH.size
    levels = np.frombuffer(data[at : at + 2 * rows].tobytes(), "<i2")
    at += 2 * rows
    size = 14 + 4 * base + levels.astype(np.int64) * (4 + 4 * connections)
    if levels.min() < 0 or entry >= rows or not levels.max() == highest == levels[entry]:
        raise ValueError(f"expected to enter at level {levels.max()}, found node {entry} and level {highest}")
    if len(data) - at != size.sum():
        raise ValueError(f"expected {size.sum():,} bytes of nodes, found {len(data) - at:,}")
    fault = graph_fault(data[at:], levels, connections, base, np.zeros(rows, np.uint8))
    if fault >= 0:
        raise ValueError(f"node {fault:,} has a key, level or neighbour that cannot be")
    keys = _keys(data[at:], np.concatenate([[0], np.cumsum(size[:-1])]))
    kept = data[MATRIX.size : MATRIX.size + 4 * rows * width].reshape(rows, 4 * width)
    own = vectors.view(np.uint8)
    for start in range(0, rows, BLOCK):
        if not np.array_equal(kept[start : start + BLOCK], own[keys[start : start + BLOCK]]):
            raise ValueError("its vectors are not those of the segment")


def _keys(nodes: np.ndarray, starts: np.ndarray) -> NDArray[np.int64]:
    """The key of every node, int64 ``[rows]``."""
    return nodes[starts[:, None] + np.arange(8)].copy().view("<i8")[:, 0]
