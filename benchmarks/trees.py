"""Training recursive networks on the Stanford Sentiment Treebank: trees a second, forward, backward and the step of the
optimiser, a batch of 25 trees walked level by level, beside the same code with one tree at a time, and beside a plain
recursion that joins one pair after the other (25 trees a step too). What the three give is compared first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.run import REPEATS, rate, spread
from umekomi.data import load
from umekomi.data.trees import parse_trees
from umekomi.models.labelled import LabelledTrees
from umekomi.parts.learning.trees import TreeRows
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-trees"
TREES, BATCH, INPUTS = 500, 25, 50
SHAPES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Tree-LSTM of 150", {"cell": "tree-lstm", "width": 150}),
    ("RNN of 50", {"cell": "rnn", "width": 50}),
    ("RNTN of 25", {"cell": "rntn", "width": 25}),
    ("deep RNN, 3 layers of 50", {"cell": "deep-rnn", "width": 50, "layers": 3}),
)


def rows_of_treebank(count: int) -> tuple[TreeRows, int]:
    """The first trees of the training split, and how many words there are."""
    words: dict[str, int] = {}
    nodes, labels = [], []
    for tree in parse_trees(load("sst-trees")["train"]["tree"].to_pylist()[:count]):
        numbers = np.array([*(words.setdefault(word, len(words)) for word in tree.words), -1])
        nodes.append(np.column_stack([numbers[tree.word], tree.children]))
        labels.append(tree.labels)
    return TreeRows.of(nodes, labels, CLAIM), len(words)


def recursive_loss(network: LabelledTrees, rows: TreeRows, some: Any) -> Tensor:
    """One pair after the other, as the equations are read."""
    losses = []
    for place in some:
        vectors = network.words(torch.from_numpy(np.maximum(rows.nodes[place][:, 0], 0)))
        given: list[Tensor] = list(vectors.split(1))
        for number, layer in enumerate(network.encoder.layers):
            states: list[Tensor] = []
            for node, (_, left, right) in enumerate(rows.nodes[place].tolist()):
                if left < 0:
                    states.append(layer.leaf(given[node]))
                else:
                    below = given[node] if number else None
                    states.append(layer.join(torch.cat([states[left], states[right]]), below))
            given = [layer.output(state) for state in states]
        logits = network.head(torch.cat(given))
        losses.append(functional.cross_entropy(logits, torch.from_numpy(rows.classes[place]), reduction="sum"))
    return torch.stack(losses).sum() / len(losses)


def levels_loss(network: LabelledTrees, rows: TreeRows, some: Any) -> Tensor:
    return rows.loss(0.0, network, rows.batch(np.asarray(some)))


def training(network: LabelledTrees, rows: TreeRows, loss: Callable[..., Tensor], batch: int, count: int) -> float:
    """Seconds for one pass over the first ``count`` trees."""
    optimiser = torch.optim.Adagrad(network.parameters(), lr=0.0)  # all arms keep the same weights
    begun = time.perf_counter()
    for start in range(0, count, batch):
        optimiser.zero_grad()
        loss(network, rows, range(start, min(start + batch, count))).backward()
        optimiser.step()
    return time.perf_counter() - begun


def measure() -> Iterator[Measurement]:
    rows, words = rows_of_treebank(TREES)
    for name, settings in SHAPES:
        torch.manual_seed(0)
        network = LabelledTrees(words, INPUTS, rows.names, **settings)
        first = range(BATCH)
        one, other = levels_loss(network, rows, first), recursive_loss(network, rows, first)
        alone = torch.stack([levels_loss(network, rows, [place]) for place in first]).mean()
        for value in (other, alone):
            if not torch.allclose(one, value, rtol=1e-5):
                raise AssertionError(f"{name}: {one.item()} by levels, {value.item()} otherwise")
        arms: tuple[tuple[str, Callable[..., Tensor], int, int], ...] = (
            (f"{name}, {BATCH} trees level by level", levels_loss, BATCH, TREES),
            (f"{name}, one tree at a time, level by level", levels_loss, 1, TREES // 5),
            (f"{name}, one node at a time", recursive_loss, BATCH, TREES // 5),
        )
        seconds: dict[str, list[float]] = {arm: [] for arm, *_ in arms}
        for turn in range(REPEATS + 1):
            for arm, loss, batch, count in arms:
                took = training(network, rows, loss, batch, count) * TREES / count
                if turn:
                    seconds[arm].append(took)
        for arm, *_ in arms:
            yield rate(CLAIM, arm, "sst-trees", TREES, "trees/s, training", TREES, spread(seconds[arm]))
