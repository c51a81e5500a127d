"""Pooling layers that sentence-transformers lacks, as its modules. :data:`LAYERS` is the allow-list of
:func:`umekomi.load`: the only classes outside sentence-transformers that a folder may name."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.base.modules import Module


class TailMean(Module):
    """Mean over the last ``share`` of a text's real tokens, at least one: between last-token pooling and the mean, for
    backbones whose late tokens have read the most.

    ``token_embeddings`` ``[batch, tokens, dim]`` and ``attention_mask`` ``[batch, tokens]`` in, ``sentence_embedding``
    ``[batch, dim]`` out. Padding may stand on either side.
    """

    config_keys = ["dimension", "share"]

    def __init__(self, dimension: int, share: float = 0.5) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share: expected more than 0 and at most 1, found {share}")
        self.dimension, self.share = dimension, share

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Pool the tail of every text."""
        mask = features["attention_mask"].to(torch.int64)
        count = mask.sum(1, keepdim=True)
        kept = torch.clamp((count * self.share).ceil().to(torch.int64), min=1)
        position = mask.cumsum(1)
        tail = (mask.bool() & (position > count - kept)).unsqueeze(-1).to(features["token_embeddings"].dtype)
        features["sentence_embedding"] = (features["token_embeddings"] * tail).sum(1) / tail.sum(1).clamp(min=1)
        return features

    def get_embedding_dimension(self) -> int:
        """Width of what comes out."""
        return self.dimension

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the configuration; there are no weights."""
        self.save_config(output_path)


LAYERS: dict[str, type[Module]] = {f"{layer.__module__}.{layer.__qualname__}": layer for layer in (TailMean,)}
