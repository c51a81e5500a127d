"""Recursive networks: a parent's state is a function of its two children's. The plain one (Socher+ 2011), with a tensor
(RNTN, Socher+ 2013, eq. 2 and the one behind it), the binary Tree-LSTM (Tai, Socher & Manning 2015, eq. 9 to 14), and
the deep one (Irsoy & Cardie 2014, eq. 4 to 6).

All trees of a batch are walked together, level by level: everything whose children are known is computed at once. No
node is padded. A state waits only until its parent takes it, so a level costs what it joins.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from umekomi.errors import DataError
from umekomi.fields import AtLeast, Within
from umekomi.parts.layers.sentence import EncodedBatch

Cell = Literal["rnn", "rntn", "tree-lstm", "deep-rnn"]
Size = Annotated[int, AtLeast(1)]


class Levels:
    """How a batch of trees is walked. ``nodes`` int64 ``[trees, most, 3]``: word number (-1: none), left and right
    child (-1: a word); children stand before their parent, the root of tree i is its node ``lengths[i] - 1``.

    Nodes are numbered anew, words before all others, those in the order in which their parents take them:
    ``number[tree, node]``.
    """

    def __init__(self, nodes: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        count, most = nodes.shape[:2]
        there = np.arange(most) < lengths[:, None]
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        flat = nodes[there]
        tree = np.repeat(np.arange(count), lengths)
        self.roots = first + lengths - 1
        children = np.where(flat[:, 1:] >= 0, flat[:, 1:] + first[tree][:, None], -1)
        leaf = children[:, 0] < 0
        own = np.arange(len(flat))
        if ((children >= own[:, None]) | ((children < first[tree][:, None]) & ~leaf[:, None])).any():
            raise DataError("trees: expected children that stand before their parent")
        inner = np.flatnonzero(~leaf)
        height, parent = np.zeros(len(flat), np.int64), np.full(len(flat), -1)
        parent[children[inner]] = inner[:, None]
        _heights(height, children, leaf, parent)
        level_of_parent = np.where(parent >= 0, height[np.maximum(parent, 0)], np.iinfo(np.int64).max)
        order = np.lexsort((own, np.where(leaf, level_of_parent, height), ~leaf))
        self.place = np.empty(len(flat), np.int64)
        self.place[order] = own
        self.words = flat[order[: int(leaf.sum())], 0]
        self.levels: list[tuple[int, int, NDArray[np.int64], NDArray[np.int64]]] = []
        self._plan(height, children, leaf, level_of_parent, order)
        self.tree, self.first = tree, first

    def _plan(self, height: Any, children: Any, leaf: Any, level_of_parent: Any, order: Any) -> None:
        """For each level: (first and last word that it takes, where left and right children stand behind [those words,
        waiting], which of [waiting, new] still wait)."""
        leaves = int(leaf.sum())
        taken = level_of_parent[order[:leaves]]
        inner = order[leaves:]
        heights = height[inner]
        waiting, where = np.zeros(0, np.int64), np.empty(len(height), np.int64)
        for level in range(1, int(height.max(initial=0)) + 1):
            low, high = np.searchsorted(taken, [level, level + 1])
            new = inner[slice(*np.searchsorted(heights, [level, level + 1]))]
            at_hand = np.concatenate([order[low:high], waiting])
            where[at_hand] = np.arange(len(at_hand))
            both = np.concatenate([children[new, 0], children[new, 1]])
            after = np.concatenate([waiting, new])
            stays = np.flatnonzero((level_of_parent[after] > level) & (level_of_parent[after] < 1 << 62))
            self.levels.append((int(low), int(high), where[both], stays))
            waiting = after[stays]

    @cached_property
    def joins(self) -> int:
        """Nodes with children."""
        return sum(len(both) // 2 for _, _, both, _ in self.levels)


def _heights(height: Any, children: Any, leaf: Any, parent: Any) -> None:
    """0 for a word, else one more than the higher child: from the words upwards, each node with its second child."""
    missing = np.where(leaf, 0, 2)
    front = np.flatnonzero(leaf)
    while len(front):
        above = parent[front]
        front = above[above >= 0]
        np.subtract.at(missing, front, 1)
        front = np.unique(front[missing[front] == 0])
        if len(front):
            height[front] = height[children[front]].max(1) + 1


class Recursion(nn.Module):
    """What makes states of words and of pairs of states. A state is one row; :meth:`output` is what of it is read."""

    width: int

    @abstractmethod
    def leaf(self, vectors: Tensor) -> Tensor:
        """``[n, inputs]`` in, states ``[n, s]`` out."""

    @abstractmethod
    def join(self, both: Tensor, below: Tensor | None) -> Tensor:
        """States of the left children and behind them of the right ones, ``[2 n, s]``, in, those of their parents
        ``[n, s]`` out; ``below`` ``[n, inputs]`` is what a layer beneath made of the parents."""

    def output(self, states: Tensor) -> Tensor:
        """``[n, width]``"""
        return states


class PlainRecursion(Recursion):
    """p = tanh(W [a; b] + c). A word's state is tanh of its vector, mapped where it is of another width."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.words = nn.Linear(inputs, width) if inputs != width else None
        self.both = nn.Linear(2 * width, width)

    def leaf(self, vectors: Tensor) -> Tensor:
        return torch.tanh(vectors if self.words is None else self.words(vectors))

    def join(self, both: Tensor, below: Tensor | None) -> Tensor:
        return torch.tanh(self.both(_side_by_side(both)))


class TensorRecursion(PlainRecursion):
    """p = tanh([a; b]ᵀ V [a; b] + W [a; b] + c), V ``[2 d, 2 d, d]``."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, width)
        self.tensor = nn.Parameter(torch.empty(2 * width, 2 * width, width))
        nn.init.uniform_(self.tensor, -1 / (4 * width), 1 / (4 * width))  # the authors' program: 1 over four widths

    def join(self, both: Tensor, below: Tensor | None) -> Tensor:
        pair = _side_by_side(both)
        wide = 2 * self.width
        mapped = (pair @ self.tensor.view(wide, -1)).view(-1, wide, self.width)
        return torch.tanh(torch.bmm(pair.unsqueeze(1), mapped).squeeze(1) + self.both(pair))


class TreeLstm(Recursion):
    """The binary Tree-LSTM over constituents: words give i, o and u; two states give i, o, u and a forget gate for each
    side. A state is [h; c]."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.words = nn.Linear(inputs, 3 * width)
        self.both = nn.Linear(2 * width, 5 * width)

    def leaf(self, vectors: Tensor) -> Tensor:
        gates = self.words(vectors)
        i, o, u = gates.chunk(3, 1)
        cell = torch.sigmoid(i) * torch.tanh(u)
        return torch.cat([torch.sigmoid(o) * torch.tanh(cell), cell], 1)

    def join(self, both: Tensor, below: Tensor | None) -> Tensor:
        n, d = len(both) // 2, self.width
        gates = self.both(torch.cat([both[:n, :d], both[n:, :d]], 1))
        shares = torch.sigmoid(gates[:, : 4 * d])
        i, o, left, right = shares.chunk(4, 1)
        cell = i * torch.tanh(gates[:, 4 * d :]) + left * both[:n, d:] + right * both[n:, d:]
        return torch.cat([o * torch.tanh(cell), cell], 1)

    def output(self, states: Tensor) -> Tensor:
        return states[:, : self.width]


class DeepLayer(Recursion):
    """One layer of the deep recursive network: h = f(W_l h_l + W_r h_r + V h_below + b), f the rectifier. In the first
    one words come in by V and parents have nothing below; above it, both have."""

    def __init__(self, inputs: int, width: int, first: bool) -> None:
        super().__init__()
        self.width, self.first = width, first
        self.words = nn.Linear(inputs, width)
        self.both = nn.Linear(2 * width, width)
        self.below = None if first else nn.Linear(inputs, width, bias=False)

    def leaf(self, vectors: Tensor) -> Tensor:
        return torch.relu(self.words(vectors))

    def join(self, both: Tensor, below: Tensor | None) -> Tensor:
        total = self.both(_side_by_side(both))
        return torch.relu(total if self.below is None else total + self.below(below))


def _side_by_side(both: Tensor) -> Tensor:
    n = len(both) // 2
    return torch.cat([both[:n], both[n:]], 1)


CELLS: dict[str, type[Recursion]] = {"rnn": PlainRecursion, "rntn": TensorRecursion, "tree-lstm": TreeLstm}


class TreeEncoder(nn.Module):
    """States of all nodes of a batch of trees over vectors of their words. ``layers`` are the deep network's, one on
    the other; the others have one. ``dropout`` stands between layers."""

    def __init__(self, inputs: int, *, cell: Cell, width: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.cell, self.width, self.dropout = cell, width, dropout
        if cell == "deep-rnn":
            each: list[Recursion] = [
                DeepLayer(width if number else inputs, width, number == 0) for number in range(layers)
            ]
        else:
            each = [CELLS[cell](inputs, width)]
        self.layers = nn.ModuleList(each)

    def forward(self, vectors: Tensor, levels: Levels) -> Tensor:
        """``vectors`` ``[words, inputs]`` in the order of :attr:`Levels.words`; ``[nodes, width]`` in the order of
        :attr:`Levels.place`."""
        out = vectors
        for number, layer in enumerate(self.layers):
            if number:
                out = nn.functional.dropout(out, self.dropout, self.training)
            out = self._walk(layer, out, levels, number > 0)  # type: ignore[arg-type]
        return out

    def _walk(self, layer: Recursion, given: Tensor, levels: Levels, above: bool) -> Tensor:
        device, words = given.device, len(levels.words)
        leaves = layer.leaf(given[:words])
        states = [leaves]
        waiting, at = leaves[:0], words
        for low, high, both, stays in levels.levels:
            at_hand = torch.cat([leaves[low:high], waiting]) if len(waiting) else leaves[low:high]
            count = len(both) // 2
            below = given[at : at + count] if above else None
            new = layer.join(at_hand.index_select(0, torch.from_numpy(both).to(device)), below)
            states.append(new)
            at += count
            if len(stays):
                after = torch.cat([waiting, new]) if len(waiting) else new
                # most levels leave all of their nodes to the next
                waiting = (
                    after if len(stays) == len(after) else after.index_select(0, torch.from_numpy(stays).to(device))
                )
            else:
                waiting = leaves[:0]
        return layer.output(torch.cat(states))


class TreeNetwork(nn.Module):
    """A table of word vectors under a recursive network: a sentence's vector is its root's. ``rows`` words of
    ``inputs`` numbers, ``cell``, ``width`` and, for the deep one, ``layers``."""

    kind: ClassVar[str] = "trees"
    padding: ClassVar[str] = "masked"
    token_width: ClassVar[int] = 0

    def __init__(
        self,
        rows: Size,
        inputs: Size,
        *,
        cell: Cell = "tree-lstm",
        width: Size = 150,
        layers: Annotated[int, Within(1, 64, "[]")] = 1,
        dropout: Annotated[float, Within(0, 1)] = 0.0,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(rows, inputs)
        self.encoder = TreeEncoder(inputs, cell=cell, width=width, layers=layers, dropout=dropout)
        self._settings: dict[str, Any] = {
            "rows": rows,
            "inputs": inputs,
            "cell": cell,
            "width": width,
            "layers": layers,
        }
        self._settings["dropout"] = dropout

    @property
    def dimension(self) -> int:
        """Width of its vectors."""
        return self.encoder.width

    def settings(self) -> dict[str, Any]:
        """What makes another one like it."""
        return dict(self._settings)

    def states(self, levels: Levels) -> Tensor:
        """``[nodes, width]`` of every node of a batch, in the order of :attr:`Levels.place`."""
        ids = torch.from_numpy(levels.words).to(self.words.weight.device)
        return self.encoder(self.words(ids), levels)  # type: ignore[no-any-return]

    def forward(self, ids: Tensor, lengths: Tensor) -> EncodedBatch:
        """``ids`` int64 ``[batch, most, 3]`` as :class:`Levels` has nodes, of ``lengths`` nodes each; a tree without a
        node has a zero vector."""
        counts = lengths.cpu().numpy()
        some = np.flatnonzero(counts)
        out = self.words.weight.new_zeros(len(counts), self.dimension)
        if len(some):
            levels = Levels(ids.cpu().numpy()[some], counts[some])
            roots = self.states(levels)[torch.from_numpy(levels.place[levels.roots]).to(out.device)]
            out = out.index_copy(0, torch.from_numpy(some).to(out.device), roots)
        return EncodedBatch(out)

    def encode(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The vectors alone."""
        return self(ids, lengths).vectors  # type: ignore[no-any-return]

    def encode_long(self, ids: Tensor) -> Tensor:
        """``[dimension]`` of one large tree ``[nodes, 3]``."""
        return self(ids.unsqueeze(0), torch.tensor([len(ids)])).vectors[0]  # type: ignore[no-any-return]
