"""The sentence convolution of Y. Kim, "Convolutional neural networks for sentence classification" (EMNLP 2014,
arXiv 1408.5882), section 2: filters over windows of words, and of each its maximum over the sentence."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from umekomi.errors import WrongUse
from umekomi.fields import AtLeast
from umekomi.parts.layers.sentence import EncodedBatch, Encoder, WordNetwork, mask_of


class KimEncoder(Encoder):
    """``maps`` filters of each of ``widths`` words, the rectifier, the maximum over time; side by side.

    Windows reach over both ends of a sentence, as in the released code, but for those that lie beyond it altogether:
    there they would give every sentence the rectified bias, here a vector depends on its own words only.
    """

    kind = "kim"

    def __init__(self, inputs: int, *, widths: list, maps: Annotated[int, AtLeast(1)] = 100) -> None:
        super().__init__()
        if not widths or not all(type(width) is int and 1 <= width <= 1024 for width in widths):
            raise WrongUse(f"kim encoder, widths: expected windows of 1 word or more, found {widths!r}")
        self.widths, self.maps = list(widths), maps
        self.filters = nn.ModuleList(nn.Conv1d(inputs, maps, width, padding=width - 1) for width in widths)
        self.dimension = maps * len(widths)

    def settings(self) -> dict[str, Any]:
        return {"widths": self.widths, "maps": self.maps}

    def forward(self, vectors: Tensor, lengths: Tensor) -> EncodedBatch:
        if not torch.onnx.is_in_onnx_export() and not vectors.shape[1]:
            return EncodedBatch(vectors.new_zeros(len(vectors), self.dimension))
        time = vectors.shape[1]
        given = (vectors * mask_of(lengths, time).unsqueeze(2)).transpose(1, 2)
        maxima = []
        for width, layer in zip(self.widths, self.filters, strict=True):
            windows = mask_of(lengths + (width - 1), time + width - 1).unsqueeze(1)
            maxima.append((torch.relu(layer(given)) * windows).amax(2))
        return EncodedBatch(torch.cat(maxima, 1) * (lengths > 0).unsqueeze(1))

    def encode_long(self, vectors: Tensor) -> Tensor:
        around, piece = max(self.widths) - 1, 1 << 14
        highest = vectors.new_zeros(self.dimension)
        for start in range(0, len(vectors), piece):
            # a piece overlaps the one before, so that each whole window is in one; windows cut at its ends are
            # only those of the sentence's own ends
            first = max(start - around, 0)
            part = vectors[first : start + piece]
            data = part.t().unsqueeze(0)
            maxima = []
            for width, layer in zip(self.widths, self.filters, strict=True):
                out = torch.relu(layer(data))[0]
                low = 0 if first == 0 else width - 1
                high = out.shape[1] if start + piece >= len(vectors) else out.shape[1] - (width - 1)
                maxima.append(out[:, low:high].amax(1) if high > low else vectors.new_zeros(self.maps))
            highest = torch.maximum(highest, torch.cat(maxima))
        return highest


class SentenceClassifier(nn.Module):
    """``network`` and its ``head`` with ``dropout`` between them. ``fixed`` ``[words, inputs]`` are vectors that stay
    as they are and are added to the network's own: Kim's two channels, whose filters are the same and whose results are
    added."""

    def __init__(self, network: WordNetwork, head: nn.Linear, dropout: float, fixed: Tensor | None = None) -> None:
        super().__init__()
        self.network, self.head, self.dropout = network, head, nn.Dropout(dropout)
        self.fixed: Tensor | None
        self.register_buffer("fixed", fixed)

    def forward(self, side: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
        """``[batch, classes]``, and no penalty; ids ``[batch, time]`` and lengths in."""
        ids, lengths = side
        vectors = self.network.words(ids)
        if self.fixed is not None:
            vectors = vectors + self.fixed[ids]
        encoded = self.network.encoder(vectors, lengths)
        return self.head(self.dropout(encoded.vectors)), None


def limit_rows(weight: Tensor, longest: float) -> None:
    """Rows longer than ``longest`` are brought to that length (Kim 2014, section 2.1)."""
    weight.mul_((longest / weight.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0))
