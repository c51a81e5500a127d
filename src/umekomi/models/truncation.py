"""What happens to texts that are longer than the model reads: said, refused, ignored, or read in windows. And late
chunking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from umekomi.contracts import Vectors
from umekomi.errors import DataError, WrongUse
from umekomi.models.base import EmbedderBase, Encoded, TextFace
from umekomi.models.borders import border
from umekomi.models.tokens import NetworkEmbedder
from umekomi.parts.similarity import normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.models.text import TextEmbedder

TRUNCATIONS = ("warn", "error", "silent", "chunk")


def check_truncation(truncation: str) -> None:
    """The error for any other word."""
    if truncation not in TRUNCATIONS:
        raise WrongUse(f"truncation: expected {', '.join(TRUNCATIONS[:-1])} or {TRUNCATIONS[-1]}, found {truncation!r}")


def reads_texts(embedder: EmbedderBase) -> TypeGuard[TextFace]:
    """Does it embed texts, itself or the one that it stands in for?"""
    return "text" in embedder.modalities


def is_truncated(embedder: EmbedderBase, items: Sequence[Any], role: str | None = None) -> NDArray[np.bool_]:
    """Which items are longer than the embedder reads: bool ``[n]``; none where they are no texts."""
    return embedder.truncated(items, role) if reads_texts(embedder) else np.zeros(len(items), bool)


def encode_truncated(
    embedder: EmbedderBase,
    texts: Sequence[str],
    *,
    truncation: str = "warn",
    role: str | None = None,
    dimensions: int | None = None,
    batch_size: int = 32,
    first: int = 0,
) -> Encoded:
    """Dense vectors of ``texts`` and what was seen of them.

    Args:
        embedder: what encodes.
        texts: in the order of the vectors.
        truncation: ``"warn"`` and ``"silent"``: long texts are cut, and ``truncated`` says which (``"silent"`` does not
            look, where looking costs). ``"error"``: the first of them is named, and nothing is encoded. ``"chunk"``: a
            long text's vector is the mean of its windows', each weighted by its tokens, brought to length one where the
            model compares by cosine; nothing is cut then.
        role: whose prompt is put before them.
        dimensions: keeps the first so many.
        batch_size: items that are encoded at once.
        first: how many texts stand before these, for the error's number.
    """
    check_truncation(truncation)
    texts = list(texts)
    if truncation == "silent" or not reads_texts(embedder):
        vectors = embedder.encode(texts, output="dense", role=role, dimensions=dimensions, batch_size=batch_size)
        return Encoded(vectors, np.zeros(len(texts), np.int64), np.zeros(len(texts), bool))
    if truncation == "warn":
        return embedder.encode_with_counts(texts, role=role, dimensions=dimensions, batch_size=batch_size)
    long = embedder.truncated(texts, role)
    if truncation == "error":
        if long.any():
            at = int(np.flatnonzero(long)[0])
            raise DataError(f"text {first + at + 1} is longer than {embedder.name} reads: {texts[at][:60]!r}…")
        return embedder.encode_with_counts(texts, role=role, dimensions=dimensions, batch_size=batch_size)
    if not long.any():
        return embedder.encode_with_counts(texts, role=role, dimensions=dimensions, batch_size=batch_size)
    pieces = [embedder.windows(text, role) if long[at] else [text] for at, text in enumerate(texts)]
    starts = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(part) for part in pieces], out=starts[1:])
    seen = embedder.encode_with_counts([piece for part in pieces for piece in part], role=role, batch_size=batch_size)
    weights = np.maximum(seen.tokens, 1).astype(np.float32)[:, None]
    sums = np.add.reduceat(seen.vectors * weights, starts[:-1], axis=0)
    vectors = np.where(
        (np.diff(starts) > 1)[:, None], sums / np.add.reduceat(weights, starts[:-1], axis=0), seen.vectors[starts[:-1]]
    )
    if embedder.metric == "cosine":
        vectors = np.where((np.diff(starts) > 1)[:, None], normalise(vectors), vectors)
    if dimensions not in (None, embedder.dimension):
        vectors = embedder.cut(vectors, dimensions or 0)
    return Encoded(
        vectors.astype(np.float32, copy=False), np.add.reduceat(seen.tokens, starts[:-1]), np.zeros(len(texts), bool)
    )


def late_chunks(embedder: TextEmbedder, texts: Sequence[Sequence[str]], *, role: str | None = None) -> Vectors:
    """Vectors of the pieces of each text, read together: item ``i`` owns one vector a piece of ``texts[i]`` (Günther et
    al. 2024, Late Chunking).

    The pieces of a text are joined, the network reads them in one pass, and each piece's tokens are pooled by their
    mean, so that a piece knows what stands around it. Needs a transformer whose own pooling is the mean; a text that is
    longer than the model reads is an error that names it.
    """
    if not isinstance(embedder, NetworkEmbedder):
        raise WrongUse(f"late chunking needs a transformer with torch; {embedder.name} is of kind {embedder.kind}")
    import torch

    layers = [type(module).__name__ for module in embedder.model]
    pooling = getattr(embedder.model[1], "pooling_mode", None) if layers[:2] == ["Transformer", "Pooling"] else None
    if pooling != "mean" or layers[2:] not in ([], ["Normalize"]):
        raise WrongUse(
            f"late chunking needs a transformer that pools by the mean and nothing behind it; {embedder.name} is "
            f"{', '.join(layers)} ({pooling})"
        )
    before = embedder.prompt(role) or ""
    out = []
    for number, pieces in enumerate(texts):
        if not pieces:
            raise WrongUse(f"late chunking: expected at least one piece a text, found none in text {number + 1}")
        ends = np.cumsum([len(piece) for piece in pieces]) + len(before)
        whole = before + "".join(pieces)
        with embedder.whole(role) as tokenizer:
            if tokenizer is None:
                raise WrongUse(
                    f"{embedder.name}: its tokenizer does not say where tokens stand in a text, so late chunking "
                    "cannot find the pieces"
                )
            encoding = tokenizer.encode(whole)
        reads = embedder.reads(role)
        if reads is not None and len(encoding.ids) > reads:
            raise DataError(
                f"text {number + 1} has {len(encoding.ids)} tokens, {embedder.name} reads {reads} at once: "
                "pass fewer pieces together"
            )
        # a token belongs to the piece that its first character is in; special tokens (no characters) to none, and the
        # prompt's to none
        owner = [
            -1 if special or end <= start or start < len(before) else int(np.searchsorted(ends, start, side="right"))
            for (start, end), special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        ]
        with torch.inference_mode(), border(embedder.name):
            tokens = embedder.model.encode(
                whole, output_value="token_embeddings", convert_to_numpy=False, show_progress_bar=False
            )
        tokens = np.asarray(tokens.float().cpu() if hasattr(tokens, "cpu") else tokens)[: len(owner)]
        rows = np.zeros((len(pieces), tokens.shape[1]), np.float32)
        for piece in range(len(pieces)):
            mine = np.flatnonzero(np.array(owner) == piece)
            if not len(mine):
                raise DataError(
                    f"text {number + 1}, piece {piece + 1}: expected a piece with at least one token of its own, "
                    f"found {pieces[piece][:40]!r}"
                )
            rows[piece] = tokens[mine].mean(0)
        out.append(normalise(rows) if embedder.metric == "cosine" else rows)
    return Vectors.of(out)
