"""Recursive networks learned from parsed trees with a label at their nodes: batches, the loss over all labelled nodes,
accuracy at the roots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from umekomi.errors import DataError
from umekomi.files import content_hash
from umekomi.parts.layers.sentence import padded
from umekomi.parts.layers.trees import Levels
from umekomi.parts.learning.samplers import Epoch, hold_out, shuffled

Ints = NDArray[np.int64]
LEFT_OUT = -1
"""Of a node without a label."""


class TreeBatch:
    """Trees walked together: ``levels``, and ``classes`` int64 ``[nodes]`` in their order."""

    def __init__(self, nodes: Sequence[Ints], classes: Sequence[Ints]) -> None:
        ids, lengths = padded(nodes)
        self.levels = Levels(ids.numpy(), lengths.numpy())
        joined = np.concatenate(classes)
        self.classes = np.empty_like(joined)
        self.classes[self.levels.place] = joined
        self.count = len(nodes)

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True)
class TreeRows:
    """``nodes`` int64 ``[nodes, 3]`` of each tree (:class:`~umekomi.parts.layers.trees.Levels`), ``classes`` of its
    nodes (-1: left out), and the classes' ``names``."""

    nodes: list[Ints]
    classes: list[Ints]
    names: tuple[str, ...]

    @staticmethod
    def of(nodes: Sequence[Ints], labels: Sequence[Sequence[str | None]], who: str) -> TreeRows:
        """Trees whose root has no label are left out; the error where fewer than two labels stand at roots."""
        some = [place for place, tree in enumerate(labels) if tree[-1] is not None]
        roots = {str(labels[place][-1]) for place in some}
        if len(roots) < 2:
            raise DataError(
                f"{who}: expected two labels or more at the roots of trees, found {', '.join(roots) or 'none'}"
            )
        names = tuple(sorted({label for place in some for label in labels[place] if label is not None}))
        number: dict[str | None, int] = {name: place for place, name in enumerate(names)}
        number[None] = LEFT_OUT
        classes = [np.array([number[label] for label in labels[place]], np.int64) for place in some]
        return TreeRows([nodes[place] for place in some], classes, names)

    def content(self) -> str:
        """Names all of it."""
        lengths = np.array([len(tree) for tree in self.nodes])
        whole = np.concatenate(self.nodes).tobytes(), np.concatenate(self.classes).tobytes()
        return content_hash(self.names, lengths.tobytes(), *whole)

    def held_out(self, share: float, generator: np.random.Generator, who: str) -> tuple[Ints, Ints]:
        """(trees to learn from, trees held out); one of each at least."""
        if len(self.nodes) < 2:
            raise DataError(f"{who}: expected two trees or more, found {len(self.nodes)}")
        return hold_out(len(self.nodes), share, generator)

    def batch(self, rows: Ints) -> TreeBatch:
        """These trees."""
        return TreeBatch([self.nodes[row] for row in rows], [self.classes[row] for row in rows])

    def batches(self, rows: Ints, size: int, epoch: int, generator: np.random.Generator) -> Epoch[TreeBatch]:
        """An epoch of ``rows`` in random order."""
        return shuffled(len(rows), lambda some, _: self.batch(rows[some]), size)(epoch, generator)

    def loss(self, dropout: float, network: Any, batch: TreeBatch) -> Tensor:
        """Cross-entropy of every labelled node, summed over a tree's nodes, the mean over trees (Tai+ 2015, section
        4.1); ``dropout`` stands before the classifier."""
        states = functional.dropout(network.states(batch.levels), dropout, network.training)
        classes = torch.from_numpy(batch.classes).to(states.device)
        return functional.cross_entropy(network.head(states), classes, ignore_index=LEFT_OUT, reduction="sum") / len(
            batch
        )

    def accuracy(self, rows: Ints, size: int, network: nn.Module) -> float:
        """The share of roots whose label is named."""
        right = 0
        for at in range(0, len(rows), size):
            batch = self.batch(rows[at : at + size])
            places = batch.levels.place[batch.levels.roots]
            logits = network.head(network.states(batch.levels)[torch.from_numpy(places)])  # type: ignore[operator]
            right += int((logits.argmax(1).cpu().numpy() == batch.classes[places]).sum())
        return right / len(rows)
