"""The text embedder that a recipe goes on from."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from umekomi.errors import WrongUse
from umekomi.models.backbone import TransformerBackbone
from umekomi.models.opening import load
from umekomi.models.text import TextEmbedder
from umekomi.parts.networks import bidirectional as turn
from umekomi.parts.networks import decodes

if TYPE_CHECKING:
    from umekomi.models.base import Named


def trainable_model(start: Named | None, who: str) -> TextEmbedder:
    """The transformer text embedder that a recipe goes on from: minilm where none is named; a backbone gets its
    pooling."""
    base = load(start or "minilm")
    if isinstance(base, TransformerBackbone):
        base = base.embedder()
    if not isinstance(base, TextEmbedder):
        raise WrongUse(f"{who} trains a transformer text embedder; {base.name} is of kind {base.kind}")
    return base


def with_pooling(
    start: Named | None, who: str, pooling: str | None, *, bidirectional: bool | None = None, **options: Any
) -> TextEmbedder:
    """The embedder that a recipe goes on from, with the ``pooling`` it wants (None: the model's own; a backbone's
    mean): a copy whose network looks both ways or back only (decoders; encoders see all as they are). ``options`` as of
    :meth:`umekomi.models.backbone.TransformerBackbone.embedder`."""
    base = load(start or "minilm")
    if not isinstance(base, (TextEmbedder, TransformerBackbone)):
        raise WrongUse(f"{who} trains a transformer text embedder; {base.name} is of kind {base.kind}")
    network = base.model if isinstance(base, TransformerBackbone) else base.model.transformers_model
    looks = bidirectional if decodes(network) else None
    if isinstance(base, TransformerBackbone):
        return base.embedder(pooling or "mean", bidirectional=looks, **options)  # type: ignore[no-any-return]
    if pooling is None:
        if looks is None:
            return base
        out = TextEmbedder(copy.deepcopy(base.model), base.name, base.card)
        turn(out.model.transformers_model, looks)
        return out
    backbone = TransformerBackbone(network, base.model.tokenizer, base.name, base.card)
    made: TextEmbedder = backbone.embedder(
        pooling or "mean", bidirectional=looks, **({"max_length": base.model.max_seq_length} | options)
    )
    made.model.prompts = {**(made.model.prompts or {}), **(base.model.prompts or {})}
    return made
