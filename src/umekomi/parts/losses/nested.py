"""Nested prefixes of one vector: Matryoshka's losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def over_prefixes(prefixes: Mapping[int, float], loss: Callable[[int], Tensor]) -> Tensor:
    """Σ_m c_m L(m) (Kusupati et al. 2022, eq. 1) for ``{m: c_m}`` and the loss of a prefix of m dimensions; a scalar.
    Losses of sentence-transformers are nested by its own ``MatryoshkaLoss``; this is the sum for ours."""
    return torch.stack([weight * loss(width) for width, weight in prefixes.items()]).sum()


def nested_cross_entropy(
    vectors: Tensor, heads: Sequence[tuple[Tensor, Tensor]], weights: Sequence[float], labels: Tensor
) -> Tensor:
    """Σ_m c_m CE(W_m f[:m] + b_m, y) (Kusupati et al. 2022, eq. 1): ``vectors`` ``[batch, d]``, ``heads`` a ``[classes,
    m]`` matrix and a ``[classes]`` bias for each prefix, ``labels`` int64 ``[batch]``; a scalar."""
    by_width = {matrix.shape[1]: (matrix, bias) for matrix, bias in heads}

    def loss(width: int) -> Tensor:
        return functional.cross_entropy(functional.linear(vectors[:, :width], *by_width[width]), labels)

    return over_prefixes(dict(zip(by_width, weights, strict=True)), loss)


class NestedHeads(nn.Module):
    """A linear classifier on every prefix of a model's sentence vectors.

    Args:
        model: gives the vectors; None: they are handed in.
        classes: how many there are.
        widths: of the prefixes.
        weights: of their losses.
        tied: one matrix, of which each prefix takes its first columns (MRL-E).
        drawn: prefixes that are drawn anew each step; -1 takes all.
        seed: of the drawing.
    """

    def __init__(
        self,
        model: nn.Module | None,
        classes: int,
        widths: Sequence[int],
        weights: Sequence[float],
        *,
        tied: bool = False,
        drawn: int = -1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.widths, self.weights, self.drawn = model, tuple(widths), tuple(weights), drawn
        generator = torch.Generator().manual_seed(seed)
        sizes = [max(widths)] if tied else list(widths)
        self.matrices = nn.ParameterList(
            [nn.Parameter((torch.rand(classes, size, generator=generator) * 2 - 1) / size**0.5) for size in sizes]
        )
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(classes)) for _ in sizes])

    def heads(self) -> list[tuple[Tensor, Tensor]]:
        """(matrix, bias) of every prefix."""
        if len(self.matrices) == len(self.widths):
            return list(zip(self.matrices, self.biases, strict=True))
        return [(self.matrices[0][:, :width], self.biases[0]) for width in self.widths]

    def loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """:func:`nested_cross_entropy` over all prefixes, or over those drawn."""
        heads = self.heads()
        chosen = range(len(heads)) if self.drawn < 0 else sorted(torch.randperm(len(heads))[: self.drawn].tolist())
        return nested_cross_entropy(vectors, [heads[i] for i in chosen], [self.weights[i] for i in chosen], labels)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The loss of a batch of labelled texts, as sentence-transformers' trainer calls it."""
        assert self.model is not None
        (features,) = list(sentence_features)
        return self.loss(self.model(features)["sentence_embedding"], labels.view(-1).long())

    def get_config_dict(self) -> dict[str, Any]:
        """For the trainer's model card."""
        return {
            "widths": self.widths,
            "weights": self.weights,
            "tied": len(self.matrices) < len(self.widths),
            "drawn": self.drawn,
        }
