"""Contrast of sparse codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class SparseContrast(nn.Module):
    """CSRv2's objective with the backbone in it (arXiv 2602.05735): a tied top-k code of the model's vectors, |v -
    v_k|² + |v - v_4k|² / 8 (means over elements) + γ times the contrast of unit codes, whose positives are the text's
    pair or all texts of its label. The code's parameters begin where the frozen code ended. The reconstruction does not
    pull at the vectors: they would shrink to what is easily coded; the contrast does."""

    def __init__(
        self, model: nn.Module | None, arrays: dict[str, Any], k: int, *, contrast: float, temperature: float
    ) -> None:
        super().__init__()
        self.model, self.k, self.contrast, self.temperature = model, k, contrast, temperature
        self.weight, self.inner, self.outer = (
            nn.Parameter(torch.tensor(arrays[name])) for name in ("weight_", "inner_", "outer_")
        )

    def code(self, vectors: Tensor, k: int) -> Tensor:
        """Top-k codes ``[n, width]`` of vectors ``[n, d]``."""
        values, places = ((vectors - self.outer) @ self.weight.T + self.inner).topk(min(k, len(self.weight)))
        return torch.zeros(len(vectors), len(self.weight), device=vectors.device, dtype=vectors.dtype).scatter(
            1, places, values.relu()
        )

    def of(self, vectors: Tensor, labels: Tensor | None = None, pairs: int = 0) -> Tensor:
        """The loss from vectors ``[n, d]``; with ``pairs``, row i and ``pairs + i`` belong together."""
        still = vectors.detach()
        loss = torch.zeros((), device=vectors.device)
        for k, share in ((self.k, 1.0), (4 * self.k, 1 / 8)):
            loss = loss + share * (still - self.code(still, k) @ self.weight - self.outer).pow(2).mean()
        if not self.contrast:
            return loss
        unit = functional.normalize(self.code(vectors, self.k), dim=-1)
        a, b = (unit[:pairs], unit[pairs:]) if pairs else (unit, unit)
        scores = a @ b.T / self.temperature
        if labels is None:
            return loss + self.contrast * functional.cross_entropy(
                scores, torch.arange(len(scores), device=scores.device)
            )
        itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        good = (labels.view(-1, 1) == labels.view(1, -1)) & ~itself
        found = good.any(1)
        if found.any():
            whole = torch.logsumexp(scores.masked_fill(itself, -torch.inf), 1)
            loss = (
                loss + self.contrast * (whole - torch.logsumexp(scores.masked_fill(~good, -torch.inf), 1))[found].mean()
            )
        return loss

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """The loss of a batch: one column of labelled texts, or two of pairs."""
        assert self.model is not None
        columns = [self.model(column)["sentence_embedding"] for column in sentence_features]
        if len(columns) == 1:
            return self.of(columns[0], labels)
        return self.of(torch.cat(columns[:2]), None, len(columns[0]))

    def get_config_dict(self) -> dict[str, Any]:
        """For the trainer's model card."""
        return {"k": self.k, "contrast": self.contrast, "temperature": self.temperature}
