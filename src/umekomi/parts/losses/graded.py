"""Graded pairs: the hard ones of a batch by distance, and the positives against the batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from umekomi.parts.losses.contrastive import info_nce, numbered
from umekomi.parts.losses.nested import over_prefixes


def online_contrastive(distances: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Σ d² over the hard positives + Σ max(margin - d, 0)² over the hard negatives of a batch, ``distances`` and 0/1
    ``labels`` ``[n]``: positives further than the nearest negative, negatives nearer than the furthest positive (UCO,
    arXiv 2410.15930; sentence-transformers' loss of this name). Of one kind alone in the batch, those beyond their own
    mean."""
    good, bad = distances[labels > 0], distances[labels <= 0]
    far = good[good > (bad.min() if len(bad) > 1 else good.mean())] if len(good) else good
    near = bad[bad < (good.max() if len(good) > 1 else bad.mean())] if len(bad) else bad
    return far.pow(2).sum() + functional.relu(margin - near).pow(2).sum()


class GradedSum(nn.Module):
    """Multiple negatives over the positives of a batch of graded pairs, plus :func:`online_contrastive` over all of it,
    on every prefix (NEAR²: both losses on the same batch, added)."""

    def __init__(
        self, model: nn.Module | None, *, temperature: float, margin: float, prefixes: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.model, self.temperature, self.margin, self.prefixes = model, temperature, margin, tuple(prefixes)

    def of(self, queries: Tensor, documents: Tensor, labels: Tensor, same: Tensor | None = None) -> Tensor:
        """The loss from vectors ``[n, d]`` twice and labels ``[n]``; ``same`` bool ``[n, n]``: rows with one query or
        one document."""
        good = labels.view(-1) > 0
        alike = None if same is None else same[good][:, good]

        def loss(width: int) -> Tensor:
            a, b = (functional.normalize(part[:, :width], dim=-1) for part in (queries, documents))
            hard = online_contrastive(1 - (a * b).sum(-1), labels.view(-1), self.margin)
            if not good.any():
                return hard
            return hard + info_nce(a[good], b[good], temperature=self.temperature, same=alike)

        return over_prefixes(dict.fromkeys(self.prefixes or (queries.shape[-1],), 1.0), loss)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The loss of a batch of (query, document, label), as sentence-transformers' trainer calls it."""
        assert self.model is not None
        columns = list(sentence_features)
        numbers = numbered(columns)
        same = (numbers[0][:, None] == numbers[0]) | (numbers[1][:, None] == numbers[1])
        queries, documents = (self.model(column)["sentence_embedding"] for column in columns)
        return self.of(queries, documents, labels, same)

    def get_config_dict(self) -> dict[str, Any]:
        """For the trainer's model card."""
        return {"temperature": self.temperature, "margin": self.margin, "prefixes": self.prefixes}
