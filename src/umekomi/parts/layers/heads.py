"""What stands on encoded sentences while they are learned: the features of a pair, classifiers, the pruned ones of the
structured self-attentive embedding and its gates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from umekomi.parts.layers.sentence import EncodedBatch, WordNetwork, redundancy

Side = tuple[Tensor, Tensor]
"""Ids int64 ``[batch, time]`` and lengths ``[batch]``."""


def pair_features(u: Tensor, v: Tensor) -> Tensor:
    """[u; v; |u − v|; u · v] (Conneau+ 2017, figure 1): ``[batch, dim]`` twice in, ``[batch, 4 · dim]`` out."""
    return torch.cat([u, v, (u - v).abs(), u * v], 1)


def classifier(inputs: int, hidden: int, classes: int, *, nonlinear: bool = False, dropout: float = 0.0) -> nn.Module:
    """InferSent's: three linear layers, with dropout and tanh between them where ``nonlinear``."""
    parts: list[nn.Module] = []
    for width, out in ((inputs, hidden), (hidden, hidden)):
        parts += [nn.Dropout(dropout)] * nonlinear + [nn.Linear(width, out)] + [nn.Tanh()] * nonlinear
    return nn.Sequential(*parts, *[nn.Dropout(dropout)] * nonlinear, nn.Linear(hidden, classes))


class DenseHead(nn.Module):
    """One hidden layer with ReLU over the whole matrix ``[batch, hops, width]``."""

    def __init__(self, hops: int, width: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(hops * width, hidden), nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, matrix: Tensor) -> Tensor:
        """``[batch, classes]``."""
        hidden = torch.relu(self.hidden(self.dropout(matrix.flatten(1))))
        return self.out(self.dropout(hidden))  # type: ignore[no-any-return]


class PrunedHead(nn.Module):
    """The same with most weights left out (Lin+ 2017, appendix A): each row of the matrix has ``by_row`` hidden units
    of its own, each column ``by_column``: hops · width · (by_row + by_column) weights."""

    def __init__(self, hops: int, width: int, by_row: int, by_column: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.empty(hops, width, by_row))
        self.columns = nn.Parameter(torch.empty(width, hops, by_column))
        self.row_bias, self.column_bias = (
            nn.Parameter(torch.zeros(hops, by_row)),
            nn.Parameter(torch.zeros(width, by_column)),
        )
        for weights in (self.rows, self.columns):  # as torch's linear layers begin, by what a unit reads
            bound = weights.shape[1] ** -0.5
            nn.init.uniform_(weights, -bound, bound)
        self.out = nn.Linear(hops * by_row + width * by_column, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, matrix: Tensor) -> Tensor:
        """``[batch, classes]``."""
        matrix = self.dropout(matrix)
        of_rows = torch.einsum("bhw,hwp->bhp", matrix, self.rows) + self.row_bias
        of_columns = torch.einsum("bhw,whq->bwq", matrix, self.columns) + self.column_bias
        hidden = torch.relu(torch.cat([of_rows.flatten(1), of_columns.flatten(1)], 1))
        return self.out(self.dropout(hidden))  # type: ignore[no-any-return]


class Gates(nn.Module):
    """Two matrices as one (Lin+ 2017, appendix B): each row is mapped by weights of its own and of its side, and the
    two products are multiplied number by number. ``[batch, hops, width]`` twice in, the same out."""

    def __init__(self, hops: int, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Parameter(torch.empty(hops, width, width)) for _ in range(2))
        for weights in (self.first, self.second):
            nn.init.uniform_(weights, -(width**-0.5), width**-0.5)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The relation of the two."""
        one = torch.einsum("bhw,hwk->bhk", first, self.first)
        return one * torch.einsum("bhw,hwk->bhk", second, self.second)


class PairClassifier(nn.Module):
    """Both sentences by the same network, a classifier over their features (Conneau+ 2017, figure 1)."""

    def __init__(
        self, network: WordNetwork, hidden: int, classes: int, *, nonlinear: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.network = network
        self.head = classifier(4 * network.dimension, hidden, classes, nonlinear=nonlinear, dropout=dropout)

    def forward(self, first: Side, second: Side) -> tuple[Tensor, None]:
        """(``[batch, classes]``, nothing); each side ids ``[batch, time]`` and lengths."""
        sides = [one.vectors for one in encode_sides(self.network, (first, second))]
        return self.head(pair_features(*sides)), None


def encode_sides(network: WordNetwork, sides: Sequence[Side]) -> list[EncodedBatch]:
    """What the network makes of each side; of both at once, where nothing depends on the batch: the weights of a step
    are then read once."""
    if network.padding == "zero" or len(sides) == 1:
        return [network(*side) for side in sides]
    longest = max(ids.shape[1] for ids, _ in sides)
    ids = torch.cat([functional.pad(ids, (0, longest - ids.shape[1])) for ids, _ in sides])
    read = network(ids, torch.cat([lengths for _, lengths in sides]))
    parts = [[None] * len(sides) if part is None else part.chunk(len(sides)) for part in read]
    return [EncodedBatch(*own) for own in zip(*parts, strict=True)]


class SelfAttentiveClassifier(nn.Module):
    """A classifier of texts, or of pairs, over the matrices of a self-attentive network. Its second value is the
    penalty on the attention's mean redundancy (:func:`~umekomi.parts.layers.sentence.redundancy`).

    Args:
        network: gives the matrices.
        shape: theirs, hops and width.
        classes: how many.
        pairs: two matrices are brought together by :class:`Gates`.
        hidden: units of the dense head; by row and by column, of the pruned one.
        dropout: before each linear map.
        penalty: what the redundancy is multiplied with.
    """

    def __init__(
        self,
        network: WordNetwork,
        shape: tuple[int, int],
        classes: int,
        *,
        pairs: bool,
        hidden: int | tuple[int, int],
        dropout: float,
        penalty: float,
    ) -> None:
        super().__init__()
        self.network, self.shape, self.penalty = network, shape, penalty
        self.gates = Gates(*shape) if pairs else None
        self.head = (
            DenseHead(*shape, hidden, classes, dropout)
            if isinstance(hidden, int)
            else PrunedHead(*shape, *hidden, classes, dropout)
        )

    def forward(self, *sides: Side) -> tuple[Tensor, Tensor]:
        """(``[batch, classes]``, the penalty)."""
        read = encode_sides(self.network, sides)
        matrices = [one.vectors.view(-1, *self.shape) for one in read]
        matrix = matrices[0] if self.gates is None else self.gates(*matrices)
        overlaps = [redundancy(one.attention).mean() for one in read if one.attention is not None]
        return self.head(matrix), self.penalty * torch.stack(overlaps).mean()
