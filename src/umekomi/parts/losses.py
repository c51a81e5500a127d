"""Objectives that sentence-transformers lacks, as modules its trainers take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def nested_cross_entropy(vectors: Tensor, heads: Sequence[tuple[Tensor, Tensor]], weights: Sequence[float], labels: Tensor) -> Tensor:
    """Σ_m c_m CE(W_m f[:m] + b_m, y) (Kusupati et al. 2022, eq. 1): ``vectors`` ``[batch, d]``, ``heads`` a ``[classes, m]`` matrix
    and a ``[classes]`` bias for each prefix, ``labels`` int64 ``[batch]``; a scalar."""
    losses = [
        weight * functional.cross_entropy(functional.linear(vectors[:, : matrix.shape[1]], matrix, bias), labels)
        for (matrix, bias), weight in zip(heads, weights, strict=True)
    ]
    return torch.stack(losses).sum()


def online_contrastive(distances: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Σ d² over the hard positives + Σ max(margin - d, 0)² over the hard negatives of a batch, ``distances`` and 0/1 ``labels`` ``[n]``: positives
    further than the nearest negative, negatives nearer than the furthest positive (UCO, arXiv 2410.15930; sentence-transformers' loss of this
    name). Of one kind alone in the batch, those beyond their own mean."""
    good, bad = distances[labels > 0], distances[labels <= 0]
    far = good[good > (bad.min() if len(bad) > 1 else good.mean())] if len(good) else good
    near = bad[bad < (good.max() if len(good) > 1 else bad.mean())] if len(bad) else bad
    return far.pow(2).sum() + functional.relu(margin - near).pow(2).sum()


class GradedSum(nn.Module):
    """Multiple negatives over the positives of a batch of graded pairs, plus :func:`online_contrastive` over all of it, on every prefix (NEAR²: both
    losses on the same batch, added)."""

    def __init__(self, model: nn.Module | None, *, temperature: float, margin: float, prefixes: Sequence[int] = ()) -> None:
        super().__init__()
        self.model, self.temperature, self.margin, self.prefixes = model, temperature, margin, tuple(prefixes)

    def of(self, queries: Tensor, documents: Tensor, labels: Tensor, same: Tensor | None = None) -> Tensor:
        """The loss from vectors ``[n, d]`` twice and labels ``[n]``; ``same`` bool ``[n, n]``: rows with one query or one document."""
        from umekomi.parts.contrastive import info_nce

        good = labels.view(-1) > 0
        total = []
        for width in self.prefixes or (queries.shape[-1],):
            a, b = (functional.normalize(part[:, :width], dim=-1) for part in (queries, documents))
            total.append(online_contrastive(1 - (a * b).sum(-1), labels.view(-1), self.margin))
            if good.any():
                total.append(info_nce(a[good], b[good], temperature=self.temperature, same=None if same is None else same[good][:, good]))
        return torch.stack(total).sum()

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The loss of a batch of (query, document, label), as sentence-transformers' trainer calls it."""
        from umekomi.parts.contrastive import numbered

        assert self.model is not None
        columns = list(sentence_features)
        numbers = numbered(columns)
        same = (numbers[0][:, None] == numbers[0]) | (numbers[1][:, None] == numbers[1])
        queries, documents = (self.model(column)["sentence_embedding"] for column in columns)
        return self.of(queries, documents, labels, same)

    def get_config_dict(self) -> dict[str, Any]:
        """For the trainer's model card."""
        return {"temperature": self.temperature, "margin": self.margin, "prefixes": self.prefixes}


class SparseContrast(nn.Module):
    """CSRv2's objective with the backbone in it (arXiv 2602.05735): a tied top-k code of the model's vectors, |v - v_k|² + |v - v_4k|² / 8 (means over
    elements) + γ times the contrast of unit codes, whose positives are the text's pair or all texts of its label. The code's parameters begin
    where the frozen code ended. The reconstruction does not pull at the vectors: they would shrink to what is easily coded; the contrast does."""

    def __init__(self, model: nn.Module | None, arrays: dict[str, Any], k: int, *, contrast: float, temperature: float) -> None:
        super().__init__()
        self.model, self.k, self.contrast, self.temperature = model, k, contrast, temperature
        self.weight, self.inner, self.outer = (nn.Parameter(torch.tensor(arrays[name])) for name in ("weight_", "inner_", "outer_"))

    def code(self, vectors: Tensor, k: int) -> Tensor:
        """Top-k codes ``[n, width]`` of vectors ``[n, d]``."""
        values, places = ((vectors - self.outer) @ self.weight.T + self.inner).topk(min(k, len(self.weight)))
        return torch.zeros(len(vectors), len(self.weight), device=vectors.device, dtype=vectors.dtype).scatter(1, places, values.relu())

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
            return loss + self.contrast * functional.cross_entropy(scores, torch.arange(len(scores), device=scores.device))
        itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        good = (labels.view(-1, 1) == labels.view(1, -1)) & ~itself
        found = good.any(1)
        if found.any():
            whole = torch.logsumexp(scores.masked_fill(itself, -torch.inf), 1)
            loss = loss + self.contrast * (whole - torch.logsumexp(scores.masked_fill(~good, -torch.inf), 1))[found].mean()
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


class NestedHeads(nn.Module):
    """A linear classifier on every prefix of a model's sentence vectors. ``tied``: one matrix, of which each prefix takes its
    first columns (MRL-E). ``drawn`` prefixes are drawn anew each step; -1 takes all."""

    def __init__(
        self, model: nn.Module | None, classes: int, widths: Sequence[int], weights: Sequence[float], *, tied: bool = False, drawn: int = -1, seed: int = 0
    ) -> None:
        super().__init__()
        self.model, self.widths, self.weights, self.drawn = model, tuple(widths), tuple(weights), drawn
        generator = torch.Generator().manual_seed(seed)
        sizes = [max(widths)] if tied else list(widths)
        self.matrices = nn.ParameterList([nn.Parameter((torch.rand(classes, size, generator=generator) * 2 - 1) / size**0.5) for size in sizes])
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
        return {"widths": self.widths, "weights": self.weights, "tied": len(self.matrices) < len(self.widths), "drawn": self.drawn}
