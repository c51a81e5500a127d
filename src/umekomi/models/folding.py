"""Transforms folded into sentence-transformers' own layers, so that a shrunk model opens there, and wherever it does,
as it is."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import WrongUse
from umekomi.models.transformed import TransformedEmbedder

if TYPE_CHECKING:
    from umekomi.models.base import EmbedderBase
    from umekomi.models.text import TextEmbedder


def without_storage(model: EmbedderBase) -> tuple[EmbedderBase, list[str]]:
    """(the model without the transforms at its end that only store fewer bits, their names)."""
    if not isinstance(model, TransformedEmbedder):
        return model, []
    kept = list(model.transforms)
    left: list[str] = []
    while kept and kept[-1].stored_only:
        left.insert(0, kept.pop().name)
    return (model.base.with_transform(*kept) if kept else model.base), left


def fold(model: EmbedderBase) -> TextEmbedder:
    """A text embedder whose layers do what ``model``'s base and linear transforms do: each run of them is one Dense
    layer, a Normalize behind it where they bring vectors to length one. A transform that is not linear is an error that
    names it."""
    import torch
    from sentence_transformers.base.modules import Dense, Normalize

    from umekomi.models.text import TextEmbedder

    if not isinstance(model, TransformedEmbedder) or not isinstance(model.base, TextEmbedder):
        raise WrongUse(
            f"{model.name}: expected a transformer text embedder with transforms behind it, found kind {model.kind}"
        )
    layers: list[Any] = []
    width = model.base.dimension
    matrix, bias = np.eye(width), np.zeros(width)
    pending = False

    def flush() -> None:
        nonlocal matrix, bias, pending
        if pending:
            dense = Dense(matrix.shape[0], matrix.shape[1], bias=True, activation_function=torch.nn.Identity())
            with torch.no_grad():
                dense.linear.weight.copy_(torch.tensor(matrix.T, dtype=torch.float32))
                dense.linear.bias.copy_(torch.tensor(bias, dtype=torch.float32))
            layers.append(dense)
        matrix, bias, pending = np.eye(width), np.zeros(width), False

    for transform in model.transforms:
        matrix_and_offset = transform.affine(width)
        if matrix_and_offset is None:
            raise WrongUse(
                f"{model.name}: {transform.name} is no linear layer, so sentence-transformers' own layers cannot hold "
                "it"
            )
        by, shift, unit = matrix_and_offset
        matrix, bias, pending = matrix @ np.asarray(by, np.float64), bias @ np.asarray(by, np.float64) + shift, True
        width = matrix.shape[1]
        if unit:
            flush()
            layers.append(Normalize())
    flush()
    out = copy.deepcopy(model.base.model)
    for layer in layers:
        out.append(layer.to(out.device))
    return TextEmbedder(out, model.name, model.card)
