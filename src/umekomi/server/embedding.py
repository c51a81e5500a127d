"""Texts to vectors: ``/v1/embeddings`` and ``/v1/similarity``."""

from __future__ import annotations

import base64
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi.responses import Response

from umekomi.errors import UmekomiError
from umekomi.models.base import Encoded
from umekomi.server.app import App
from umekomi.server.batching import Busy
from umekomi.server.errors import Answer, ApiError
from umekomi.server.model_pool import LoadedModel
from umekomi.server.schemas import ROLES, EmbeddingRequest, SimilarityRequest
from umekomi.server.workers import Panic, in_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray


async def embed_texts(app: App, entry: LoadedModel, texts: list[str], role: str | None, truncation: str) -> Encoded:
    """Vectors of the model's own width."""
    if not entry.embeds or entry.batcher is None or "dense" not in entry.opened.outputs:
        raise ApiError(400, f"model: {entry.id} gives no dense vectors: expected an embedder", param="model")
    if role is not None and role not in ("query", "document") and role not in entry.opened.roles:
        known = ", ".join(sorted({"query", "document", *entry.opened.roles}))
        raise ApiError(400, f"role: expected one of {known}, found {role!r}", param="role")
    try:
        encoded = await entry.batcher.encode(texts, role=role, truncation=truncation)
    except (Busy, Panic) as error:
        raise refusal(app, entry, error) from None
    if not np.isfinite(encoded.vectors).all():
        raise UmekomiError(f"{entry.id} gave a vector with NaN or infinity in it: its weights are damaged")
    cut = int(encoded.truncated.sum())
    if cut:
        app.metrics.truncated.labels(entry.id).inc(cut)
    return encoded


async def embeddings(app: App, asked: EmbeddingRequest) -> Response:
    """``POST /v1/embeddings``."""
    role = next((ROLES.get(word, word) for word in (asked.role, asked.input_type, asked.task) if word), None)
    async with app.holder.using(asked.model) as entry:
        texts = await _texts(app, entry, asked.input)
        if role == "similarity" and "similarity" not in getattr(entry.opened, "roles", ()):
            role = None
        dimensions = asked.dimensions
        if entry.embeds and dimensions is not None and dimensions > entry.opened.dimension:
            raise ApiError(
                400,
                f"dimensions: expected 1 to {entry.opened.dimension}, which {entry.id} has, found {dimensions}",
                param="dimensions",
            )
        if asked.late_chunking:
            encoded = await _late(app, entry, texts, role)
        else:
            encoded = await embed_texts(app, entry, texts, role, asked.truncation)
        vectors = encoded.vectors
        if dimensions is not None and dimensions < entry.opened.dimension:
            vectors = entry.opened.cut(vectors, dimensions)
        packed = asked.encoding_format == "base64"
        rows = (
            [base64.b64encode(row.astype("<f4", copy=False).tobytes()).decode() for row in vectors]
            if packed
            else vectors
        )
        data = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)]
        return Answer(
            {
                "object": "list",
                "data": data,
                "model": entry.id,
                **usage(int(encoded.tokens.sum()), positions(encoded.truncated)),
            }
        )


async def _late(app: App, entry: LoadedModel, texts: list[str], role: str | None) -> Encoded:
    if not entry.embeds or entry.batcher is None:
        raise ApiError(400, f"model: {entry.id} gives no vectors", param="model")
    try:
        from umekomi.models.truncation import late_chunks

        late = await entry.batcher.run(lambda: late_chunks(entry.opened, [texts], role=role), texts)
        lengths = await entry.batcher.run(lambda: entry.opened.lengths(texts, role))
    except ImportError as error:
        raise ApiError(
            400, f"late_chunking needs the torch engine, and {error.name} is not installed", param="late_chunking"
        ) from None
    except (Busy, Panic) as error:
        raise refusal(app, entry, error) from None
    return Encoded(late.flat, lengths, lengths < 0)


async def _texts(app: App, held: LoadedModel, given: Any) -> list[str]:
    """Texts as they are; arrays of token ids as the model's tokenizer writes them out."""
    one = isinstance(given, str) or (given and isinstance(given[0], int))
    items = [given] if one else list(given)
    try:
        texts = items if isinstance(items[0], str) else await in_thread(partial(_written, held, items))
    except Panic as error:
        raise refusal(app, held, error) from None
    for place, text in enumerate(texts):
        if not text:
            where = "input" if one else f"input.{place}"
            raise ApiError(400, f"{where}: expected a text, found an empty one", param="input")
    return texts


def _written(held: LoadedModel, items: list[list[int]]) -> list[str]:
    opened = held.opened
    tokenizer = getattr(opened, "tokenizer", None) or getattr(getattr(opened, "model", None), "tokenizer", None)
    inner = getattr(tokenizer, "_tokenizer", tokenizer)
    if inner is None or not hasattr(inner, "get_vocab_size"):
        raise ApiError(400, f"input.0: {held.id} has no tokenizer of ids: expected texts", param="input")
    size = inner.get_vocab_size()
    for place, ids in enumerate(items):
        if max(ids) >= size:
            raise ApiError(
                400,
                f"input.{place}: expected ids of {held.id}'s own tokenizer, below {size}, found {max(ids)}: send the "
                "text itself",
                param="input",
            )
    return [str(inner.decode(ids, skip_special_tokens=True)) for ids in items]


async def similarity(app: App, asked: SimilarityRequest) -> Response:
    """``POST /v1/similarity``: every text against every other, by the model's own measure."""
    async with app.holder.using(asked.model) as held:
        encoded = await embed_texts(app, held, asked.input, asked.role, asked.truncation)
        values = held.opened.similarity(encoded.vectors, encoded.vectors)
    named = usage(int(encoded.tokens.sum()), positions(encoded.truncated))
    return Answer({"model": held.id, "metric": held.opened.metric, "similarity": values, **named})


def refusal(app: App, held: LoadedModel, error: Busy | Panic) -> ApiError:
    """The answer where the queue is full, or a library gives up on a text: as any other that a model cannot read."""
    if isinstance(error, Panic):
        return ApiError(400, f"{held.id} cannot read {error}", code="unreadable_text")
    app.metrics.rejected.labels(held.id).inc()
    return ApiError(429, str(error), kind="rate_limit_error", code="queue_full", after=error.after)


def usage(tokens: int, truncated: list[int] | bool) -> dict[str, Any]:
    """What every answer says of the texts: their tokens, as OpenAI's do, and what of them was cut."""
    return {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}, "truncated": truncated}


def positions(mask: NDArray[np.bool_]) -> list[int]:
    """Where ``mask`` is true."""
    return [int(place) for place in mask.nonzero()[0]]
