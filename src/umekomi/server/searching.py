"""What orders texts by a query: ``/v1/rerank``, and ``/v1/search`` in an index with its best sentences marked."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi.responses import Response

from umekomi.errors import UmekomiError
from umekomi.indexes import Hit, Index
from umekomi.indexes.lexical import NAME
from umekomi.indexes.opening import AnyIndex
from umekomi.indexes.payload import as_json
from umekomi.server.app import App
from umekomi.server.batching import Busy
from umekomi.server.embedding import embed_texts, positions, refusal, usage
from umekomi.server.errors import Answer, ApiError
from umekomi.server.model_pool import LoadedModel
from umekomi.server.schemas import RerankRequest, SearchRequest
from umekomi.server.workers import Panic, alone
from umekomi.verbs.search import mark_best, sentences_of_hits

if TYPE_CHECKING:
    from umekomi.contracts import Floats

MARKED_SENTENCES = 32
HUGE, TINY = 1e15, 1e-15
"""Beyond and below these a vector's products leave float32 where no cosine brings it to length one."""


async def rerank(app: App, asked: RerankRequest) -> Response:
    """``POST /v1/rerank``."""
    _check_query(asked.query)
    async with app.holder.using(asked.model) as held:
        scores, order, tokens, cut = await _ranked(app, held, asked.query, asked.texts, asked.truncation)
    results: list[dict[str, Any]] = [
        {"index": place, "relevance_score": scores[place]} for place in order[: asked.top_n]
    ]
    if asked.return_documents:
        for entry in results:
            entry["document"] = {"text": asked.texts[entry["index"]]}
    return Answer({"id": f"rerank-{uuid.uuid4().hex}", "model": held.id, "results": results, **usage(tokens, cut)})


async def _ranked(
    app: App, held: LoadedModel, query: str, texts: list[str], truncation: str
) -> tuple[list[float], list[int], int, list[int]]:
    """(a score a text, their places best first, tokens, which texts were cut). A text that says nothing to the model,
    because it is blank or its vector is zero, comes last, below every other."""
    filled = [place for place, text in enumerate(texts) if text.strip()]
    scores, empty, tokens, cut = np.zeros(len(texts)), np.ones(len(texts), bool), 0, []
    if filled:
        given_scores, nothing, tokens, short = await _scored(
            app, held, query, [texts[place] for place in filled], truncation
        )
        if not np.isfinite(given_scores).all():
            raise UmekomiError(f"{held.id} gave a score that is no number: its weights are damaged")
        scores[filled], empty[filled], cut = given_scores, nothing, [filled[place] for place in short]
        if not empty.all():
            scores[empty] = min(float(scores[~empty].min()), 0.0)
    return scores.tolist(), np.lexsort((np.arange(len(texts)), -scores, empty)).tolist(), tokens, cut


async def _scored(
    app: App, entry: LoadedModel, query: str, texts: list[str], truncation: str
) -> tuple[Any, Any, int, list[int]]:
    """(a score a text, which texts say nothing to the model, tokens, which texts were cut)."""
    none = np.zeros(len(texts), bool)
    try:
        assert entry.batcher is not None
        if not entry.scorer and not entry.embeds:
            raise ApiError(400, f"model: {entry.id} orders no texts: expected an embedder or a scorer", param="model")
        if entry.scorer:
            pairs = [query] * len(texts)
            scores = await entry.batcher.run(lambda: entry.opened.score(pairs, texts), [*pairs, *texts])
            return scores, none, 0, []
        if entry.opened.outputs == {"multi"}:
            embedder = entry.opened
            scores = await entry.batcher.run(
                lambda: embedder.similarity(embedder.encode_query([query]), embedder.encode_document(texts))[0],
                [query, *texts],
            )
            return scores, none, 0, []
    except (Busy, Panic) as error:
        raise refusal(app, entry, error) from None
    asked, given = await asyncio.gather(
        embed_texts(app, entry, [query], "query", truncation), embed_texts(app, entry, texts, "document", truncation)
    )
    scores = entry.opened.similarity(asked.vectors, given.vectors)[0]
    nothing = ~given.vectors.any(1) if entry.opened.metric == "cosine" else none
    return scores, nothing, int(asked.tokens.sum() + given.tokens.sum()), positions(given.truncated)


async def search(app: App, asked: SearchRequest) -> Response:
    """``POST /v1/search``."""
    name, index, lock = app.index(asked.index)
    tokens, cut = 0, False
    whole: Any = None
    model = app.models_of.get(name)
    begun = time.perf_counter()
    rows, about, legs = await alone(lock, lambda: (_rows(index), index.about, index.legs))
    width = about["dimension"]
    rerank, depth = stage_asked(app, name, asked)
    if rerank is not None and not isinstance(asked.query, str):
        raise ApiError(400, "rerank: expected a query that is a text, found a vector", param="rerank")
    vectors: Any = None
    if isinstance(asked.query, str):
        _check_query(asked.query)
        if asked.leg == NAME and NAME in legs:
            pass  # its words are all that is asked
        elif model is None:
            raise ApiError(
                400,
                f"query: the index {name} was made from vectors: expected a vector of {width} numbers, found a text",
                param="query",
            )
        else:
            async with app.holder.using(model) as entry:
                if "dense" in entry.opened.outputs:
                    embedded = await embed_texts(app, entry, [asked.query], "query", asked.truncation)
                    whole, tokens, cut = embedded.vectors, int(embedded.tokens[0]), bool(embedded.truncated[0])
                    vectors = entry.opened.cut(whole, width) if 0 < width < whole.shape[1] else whole
                else:
                    assert entry.batcher is not None
                    try:
                        vectors = await entry.batcher.run(
                            partial(entry.opened.encode_query, [asked.query]), [asked.query]
                        )
                    except (Busy, Panic) as error:
                        raise refusal(app, entry, error) from None
    else:
        vectors = _vector(asked.query, about)
    texts = [asked.query] if isinstance(asked.query, str) else None
    wanted = min(max(asked.k, depth), rows)
    hits: list[Hit] = []
    if rows:
        asking = texts if vectors is None else vectors
        (hits,) = await alone(
            lock, partial(index.search, asking, wanted, filter=asked.filter, leg=asked.leg, texts=texts)
        )
    seconds = time.perf_counter() - begun
    if rerank is not None and hits:
        assert isinstance(asked.query, str)
        async with app.holder.using(rerank) as entry:
            scores, order, more, _ = await _ranked(
                app, entry, asked.query, [hit.text for hit in hits], asked.truncation
            )
        tokens += more
        hits = [replace(hits[place], score=scores[place]) for place in order[: asked.k]]
    if asked.mark and model is not None and whole is not None and about["output"] == "dense":
        hits = await _marked(app, model, whole, hits)
    return Answer(
        {
            "object": "list",
            "index": name,
            "model": rerank or model,
            "results": [
                {
                    "id": hit.id,
                    "score": hit.score,
                    "text": hit.text,
                    "best": list(hit.best) if asked.mark else None,
                    "payload": as_json(hit.payload),
                }
                for hit in hits
            ],
            **usage(tokens, cut),
            "seconds": seconds,
        }
    )


def _rows(index: AnyIndex) -> int:
    """How many rows there are; of a database, which would count them each time, as many as may be."""
    return len(index) if isinstance(index, Index) else 1 << 31


def stage_asked(app: App, name: str, asked: SearchRequest) -> tuple[str | None, int]:
    """(the id of the model that orders the first hits anew, how many of them), as asked for, or as the index says."""
    if asked.rerank == "none" and "none" not in app.holder.models:
        return None, 0
    if asked.rerank is not None:
        return asked.rerank, asked.depth or asked.k
    named, depth = app.rerankers.get(name, (None, 0))
    # a vector has no words for a reranker: only what is asked for by name is refused
    return (named, asked.depth or depth) if named is not None and isinstance(asked.query, str) else (None, 0)


def _check_query(query: str) -> None:
    if not query.strip():
        raise ApiError(400, "query: expected a text, found white space only", param="query")


def _vector(numbers: list[float], about: dict[str, Any]) -> Floats:
    """A query's numbers as float32 ``[1, width]``; 400 where float32 cannot compare them by the index's measure."""
    if about["output"] != "dense" or len(numbers) != about["dimension"]:
        raise ApiError(
            400, f"query: expected a text or {about['dimension']} numbers, found {len(numbers)} numbers", param="query"
        )
    vector = np.asarray(numbers, np.float64)
    largest = float(np.abs(vector).max())
    if about["metric"] == "cosine":  # its length says nothing: brought to one while that can still be done
        if not largest:
            raise ApiError(400, "query: expected a vector with a direction, found zeros only", param="query")
        vector = vector / largest
        vector /= np.linalg.norm(vector)
    elif largest > HUGE or 0 < largest < TINY:
        raise ApiError(
            400,
            f"query: expected a vector whose largest number lies between {TINY:g} and {HUGE:g}, found {largest:g}",
            param="query",
        )
    elif about["metric"] == "poincare" and (vector.astype(np.float32).astype(np.float64) ** 2).sum() >= 1:
        raise ApiError(400, "query: expected a vector shorter than 1, inside of the Poincaré ball", param="query")
    return vector.astype(np.float32)[None]


async def _marked(app: App, model: str, query: Floats, hits: list[Hit]) -> list[Hit]:
    """Each hit with the place of the sentence that is nearest to the query's vector, ``[1, d]``."""
    spans, texts = sentences_of_hits(hits, MARKED_SENTENCES)
    if not texts:
        return mark_best(hits, spans, np.zeros(0, np.float32))
    async with app.holder.using(model) as held:
        encoded = await embed_texts(app, held, texts, "document", "warn")
        scores = held.opened.similarity(query, encoded.vectors)[0]
    return mark_best(hits, spans, scores)
