"""Relations between entities: their names as numbers, who is whose neighbour, and what follows from a hierarchy."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from umekomi.data.tables import as_table, check
from umekomi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.data.columns import TableLike

REVERSED = "⁻¹"
"""Behind a relation's name: the same relation from tail to head."""

Node = TypeVar("Node", bound=Hashable)


class Relations(NamedTuple):
    """Pairs of entities: ``names[heads[i]]`` is related to ``names[tails[i]]``; ``weights`` float64 ``[n]``."""

    names: list[str]
    heads: NDArray[np.int32]
    tails: NDArray[np.int32]
    weights: NDArray[np.float64]

    def neighbours(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """(offsets ``[names + 1]``, tails): the tails of head i, sorted, are ``tails[offsets[i]:offsets[i + 1]]``."""
        offsets = np.zeros(len(self.names) + 1, np.int64)
        np.cumsum(np.bincount(self.heads, minlength=len(self.names)), out=offsets[1:])
        return offsets, self.tails[np.lexsort((self.tails, self.heads))]

    def both_ways(self) -> Relations:
        """Each pair also the other way round, each once (its largest weight)."""
        heads, tails = np.concatenate([self.heads, self.tails]), np.concatenate([self.tails, self.heads])
        weights = np.concatenate([self.weights, self.weights])
        key = heads.astype(np.int64) * len(self.names) + tails
        first = np.lexsort((-weights, key))
        first = first[np.concatenate([[True], np.diff(key[first]) > 0])]
        return Relations(self.names, heads[first], tails[first], weights[first])


def hierarchy(data: TableLike, who: str) -> list[tuple[str, str]]:
    """(child, parent) of every row, each once."""
    table = check(data, ("child", "parent"), who)
    return list(dict.fromkeys(zip(table["child"].to_pylist(), table["parent"].to_pylist(), strict=True)))


def relations(pairs: Sequence[tuple[str, str]], weights: Sequence[float] | None = None) -> Relations:
    """Pairs of names as numbers, names in the order they first occur."""
    rows: dict[str, int] = {}
    numbers = np.array([rows.setdefault(name, len(rows)) for pair in pairs for name in pair], np.int32).reshape(-1, 2)
    given = np.ones(len(pairs)) if weights is None else np.asarray(weights, np.float64)
    return Relations(list(rows), np.ascontiguousarray(numbers[:, 0]), np.ascontiguousarray(numbers[:, 1]), given)


def graph(data: TableLike, who: str) -> tuple[Relations, int]:
    """(relations of ``source, target[, weight]`` or of ``child, parent``, how many self-loops were left out). A pair
    that occurs twice counts with the sum of its weights; weights must be above zero."""
    data = as_table(data)
    columns = getattr(data, "column_names", ())
    ends = ("child", "parent") if "child" in columns else ("source", "target")
    table = check(data, (*ends, *(["weight"] if "weight" in columns else [])), who)
    source, target = ([str(value) for value in table[column].to_pylist()] for column in ends)
    weights = table["weight"].to_pylist() if "weight" in table.column_names else [1.0] * len(source)
    summed: dict[tuple[str, str], float] = {}
    loops = 0
    for row, (a, b, weight) in enumerate(zip(source, target, weights, strict=True)):
        if weight <= 0:
            raise DataError(f"{who}: row {row + 1}, column 'weight': expected a number above zero, found {weight}")
        if a == b:
            loops += 1
        else:
            summed[a, b] = summed.get((a, b), 0.0) + weight
    if not summed:
        raise DataError(f"{who} needs an edge between two nodes; found {loops} self-loops and nothing else")
    return relations(list(summed), np.fromiter(summed.values(), np.float64, len(summed))), loops  # type: ignore[arg-type]


def closure(edges: Iterable[tuple[Node, Node]]) -> list[tuple[Node, Node]]:
    """All (descendant, ancestor) pairs that follow from (child, parent) edges; a cycle is an error that shows one.

    >>> sorted(closure([(1, 2), (2, 3)]))
    [(1, 2), (1, 3), (2, 3)]
    >>> closure([(1, 2), (2, 1)])
    Traceback (most recent call last):
    umekomi.errors.DataError: a hierarchy may hold no cycle, found 1 → 2 → 1
    """
    parents: dict[Node, list[Node]] = {}
    for child, parent in edges:
        parents.setdefault(child, []).append(parent)
    ancestors: dict[Node, frozenset[Node]] = {}
    for start in parents:
        stack: list[tuple[Node, bool]] = [(start, False)]
        path: dict[Node, None] = {}
        while stack:
            node, ready = stack.pop()
            if ready:
                path.popitem()
                above = parents.get(node, [])
                ancestors[node] = frozenset(above).union(*[ancestors[parent] for parent in above])
            elif node not in ancestors:
                if node in path:
                    nodes = list(path)
                    loop = [*nodes[nodes.index(node) :], node]
                    raise DataError(f"a hierarchy may hold no cycle, found {' → '.join(map(str, loop))}")
                path[node] = None
                stack.append((node, True))
                stack += [(parent, False) for parent in parents.get(node, [])]
    # the order is the data's, never a hash's: one seed must give one model in every process
    place = {
        node: number
        for number, node in enumerate(
            dict.fromkeys(node for child, above in parents.items() for node in (child, *above))
        )
    }
    return [(node, ancestor) for node in parents for ancestor in sorted(ancestors[node], key=place.__getitem__)]
