"""Vectors of words from their characters (bytes): convolutions of several widths, the maximum over a word, highway
layers and a projection (Kim, Jernite, Sontag & Rush 2016; ELMo's, Peters+ 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from umekomi.errors import WrongUse
from umekomi.parts.characters import CHARACTERS

CHUNK = 4096
"""Words whose convolutions are held at once."""


class Highway(nn.Module):
    """y = g · relu(W x + b) + (1 − g) · x with g = σ(W_g x + b_g) (Srivastava+ 2015); b_g begins at −2, so that it
    begins near the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.transform, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        for linear, bias in ((self.transform, 0.0), (self.gate, -2.0)):
            nn.init.normal_(linear.weight, std=width**-0.5)
            nn.init.constant_(linear.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[n, width]`` in and out."""
        gate = torch.sigmoid(self.gate(x))
        return gate * torch.relu(self.transform(x)) + (1 - gate) * x


class CharacterEncoder(nn.Module):
    """``filters`` are pairs (characters, how many); the maximum over a word is taken before the activation, padding
    within it, as in ELMo's released code. Weights begin as there."""

    def __init__(
        self,
        filters: Sequence[tuple[int, int]],
        projection: int,
        *,
        characters: int = 16,
        highway: int = 2,
        longest: int = 50,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if not filters or min(min(pair) for pair in filters) < 1:
            raise WrongUse(f"filters: expected pairs of widths and counts of 1 or more, found {list(filters)}")
        if longest < max(3, *(width for width, _ in filters)):
            raise WrongUse(f"longest: expected a word as long as the widest filter and 3 or more, found {longest}")
        if activation not in ("relu", "tanh"):
            raise WrongUse(f"activation: expected relu or tanh, found {activation!r}")
        self.longest, self.dimension = longest, projection
        self.activation = torch.relu if activation == "relu" else torch.tanh
        self.table = nn.Embedding(CHARACTERS, characters, padding_idx=0)
        layers = [nn.Conv1d(characters, count, width) for width, count in filters]
        self.filters = nn.ModuleList(layers)
        total = sum(count for _, count in filters)
        self.highways = nn.ModuleList(Highway(total) for _ in range(highway))
        self.projection = nn.Linear(total, projection)
        with torch.no_grad():
            nn.init.uniform_(self.table.weight[1:], -1.0, 1.0)
            for (width, _), layer in zip(filters, layers, strict=True):
                if activation == "relu":
                    nn.init.uniform_(layer.weight, -0.05, 0.05)
                else:
                    nn.init.normal_(layer.weight, std=(width * characters) ** -0.5)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
            nn.init.normal_(self.projection.weight, std=total**-0.5)
            nn.init.zeros_(self.projection.bias)

    def forward(self, characters: Tensor) -> Tensor:
        """int64 ``[n, longest]`` in, ``[n, dimension]`` out."""
        if torch.onnx.is_in_onnx_export() or len(characters) <= CHUNK:
            return self._encode(characters)
        return torch.cat([self._encode(chunk) for chunk in torch.split(characters, CHUNK)])

    def _encode(self, characters: Tensor) -> Tensor:
        given = self.table(characters).transpose(1, 2)
        x = torch.cat([self.activation(layer(given).amax(2)) for layer in self.filters], 1)
        for layer in self.highways:
            x = layer(x)
        return self.projection(x)  # type: ignore[no-any-return]
