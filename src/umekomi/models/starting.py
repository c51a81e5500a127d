"""The text embedder that a recipe goes on from."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from umekomi.errors import WrongUse
from umekomi.models.backbone import TransformerBackbone
from umekomi.models.opening import load
from umekomi.models.text import TextEmbedder
from umekomi.parts.networks import bidirectional as turn
from umekomi.parts.networks import decodes, with_eos

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

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


def cross_encoder(start: Any, who: str, seed: int) -> CrossEncoder:
    """The cross-encoder that a recipe goes on from: a saved one, or the network of a text embedder or backbone with a
    head of one score on it, whose first weights are drawn by ``seed``. ``start`` stays as it is."""
    import tempfile

    from sentence_transformers import CrossEncoder

    from umekomi.models.scorers import CrossEncoderScorer
    from umekomi.models.text import device
    from umekomi.parts.learning.modules import seed_globals

    if isinstance(start, CrossEncoderScorer):
        if start.model.num_labels != 1:
            raise WrongUse(f"{who} trains a scorer of one score; {start.name} gives {start.model.num_labels}")
        return start.model  # type: ignore[no-any-return]
    base = trainable_model(start, who)
    with tempfile.TemporaryDirectory() as folder, seed_globals(seed):
        network = base.model.transformers_model
        network.save_pretrained(folder)
        base.model.tokenizer.save_pretrained(folder)
        # written here this moment: what it lacks, the head, is drawn
        model = CrossEncoder(folder, num_labels=1, device=device(), local_files_only=True)
    model.max_seq_length = base.model.max_seq_length or model.max_seq_length
    return model


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
    pooled: TextEmbedder = backbone.embedder(
        pooling or "mean", bidirectional=looks, **({"max_length": base.model.max_seq_length} | options)
    )
    pooled.model.prompts = {**(pooled.model.prompts or {}), **(base.model.prompts or {})}
    return pooled


def with_last_token(start: Named | None, who: str, pooling: str, *, bidirectional: bool = False) -> TextEmbedder:
    """:func:`with_pooling` for recipes that take a decoder's last token: ``"own"`` is an embedder's own pooling and a
    backbone's last token; a decoder's texts end in their mark."""
    own = "lasttoken" if isinstance(start, TransformerBackbone) else None
    base = with_pooling(start, who, own if pooling == "own" else pooling, bidirectional=bidirectional)
    if decodes(base.model.transformers_model):
        with_eos(base.model.tokenizer)
    return base
