"""What stands behind the routes: models, indexes, and how each request is answered."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response

from umekomi.errors import WrongUse
from umekomi.indexes import Hit, Index
from umekomi.indexes.payload import as_json
from umekomi.models.base import Reported
from umekomi.server.batching import Batcher, Busy
from umekomi.server.errors import Answer, ApiError
from umekomi.server.groups import grouped
from umekomi.server.metrics import Metrics
from umekomi.server.model_pool import Held, Holder, check_source, memory_there, memory_used, model_id
from umekomi.server.schemas import ROLES, EmbeddingRequest, RerankRequest, SearchRequest, SimilarityRequest
from umekomi.verbs.search import marked, pieces

MAP_ROWS = 100_000
MARKED_SENTENCES = 32


@dataclass(frozen=True)
class Settings:
    """How a server answers. ``memory`` bytes for open models (0: half of the machine's); ``queue_tokens`` waiting per
    model; ``latency`` seconds a batch should take at most; ``timeout`` seconds a request may take; ``body`` bytes it
    may have."""

    engine: str = "auto"
    memory: int = 0
    queue_tokens: int = 262_144
    latency: float = 0.2
    timeout: float = 60.0
    body: int = 8 << 20
    body_seconds: float = 20.0
    batching: bool = True
    api_key: str = ""
    hosts: frozenset[str] = frozenset()
    """The names that a request's Host may have where there is no key (all where empty): a page elsewhere cannot reach a
    server on loopback by a name of its own."""


class App:
    """Everything behind the routes."""

    def __init__(self, models: Sequence[Any], indexes: Sequence[str | Path], settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.indexes: dict[str, tuple[Index, asyncio.Lock]] = {}
        self.models_of: dict[str, str] = {}
        sources = list(models)
        for source in sources:
            check_source(source)
        for folder in indexes:
            name = Path(folder).resolve().name
            if name in self.indexes:
                raise WrongUse(f"serve: two indexes are called {name!r}: give one folder another name")
            index = Index(folder)
            self.indexes[name] = (index, asyncio.Lock())
            inside = index.about["model"]["name"]
            if inside:
                source = str(Path(folder) / inside) if inside.startswith("./") else inside
                same = next((each for each in sources if isinstance(each, (str, Path)) and _same(each, source)), None)
                if same is None:
                    sources.append(source)
                self.models_of[name] = model_id(same or source)
        if not sources:
            raise WrongUse("serve: expected at least one model or one index")
        self.holder = Holder(
            sources, memory=settings.memory or memory_there() // 2, engine=settings.engine, batcher=self._batcher
        )
        self.ready = self.draining = False
        self.maps: dict[str, tuple[int, Any, Any]] = {}
        self.metrics.watch(
            "umekomi_queue_tokens",
            "Tokens waiting, about",
            lambda: sum(h.batcher.queued for h in self.holder.models.values() if h.batcher),
        )
        self.metrics.watch(
            "umekomi_models_open",
            "Models in memory",
            lambda: sum(h.opened is not None for h in self.holder.models.values()),
        )
        self.metrics.watch("umekomi_evictions", "Models closed to make room", lambda: self.holder.evictions)
        self.metrics.watch("umekomi_memory_bytes", "Resident memory", memory_used)

    def _batcher(self, embedder: Any, name: str) -> Batcher:
        m = self.metrics
        texts, tokens = m.texts.labels(name), m.tokens.labels(name)
        sizes, seconds = m.batch_texts.labels(name), m.batch_seconds.labels(name)

        def seen(count: int, length: int, took: float) -> None:
            texts.inc(count)
            tokens.inc(length)
            sizes.observe(count)
            seconds.observe(took)

        s = self.settings
        return Batcher(embedder, queue_tokens=s.queue_tokens, latency=s.latency, batching=s.batching, seen=seen)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """The first model is opened before requests are taken; at the end every accepted one has been answered (uvicorn
        waits), and all is put away."""
        async with self.holder.using(next(iter(self.holder.models))):
            pass
        self.ready = True
        yield
        await self.holder.close_all()

    # --- models -----------------------------------------------------------------------------------------------------

    async def embedded(self, held: Held, texts: list[str], role: str | None, truncation: str) -> Reported:
        """Vectors of the model's own width."""
        if held.scorer or held.batcher is None or "dense" not in held.opened.outputs:
            raise ApiError(400, f"model: {held.id} gives no dense vectors: expected an embedder", param="model")
        if role is not None and role not in ("query", "document") and role not in held.opened.roles:
            known = ", ".join(sorted({"query", "document", *held.opened.roles}))
            raise ApiError(400, f"role: expected one of {known}, found {role!r}", param="role")
        try:
            found = await held.batcher.encode(texts, role=role, truncation=truncation)
        except Busy as busy:
            self.metrics.rejected.labels(held.id).inc()
            raise ApiError(429, str(busy), kind="rate_limit_error", code="queue_full", after=busy.after) from None
        cut = int(found.truncated.sum())
        if cut:
            self.metrics.truncated.labels(held.id).inc(cut)
        return found

    async def embeddings(self, asked: EmbeddingRequest) -> Response:
        """``POST /v1/embeddings``."""
        role = next((ROLES.get(word, word) for word in (asked.role, asked.input_type, asked.task) if word), None)
        async with self.holder.using(asked.model) as held:
            texts = self._texts(held, asked.input)
            if role == "similarity" and "similarity" not in getattr(held.opened, "roles", ()):
                role = None
            dimensions = asked.dimensions
            if not held.scorer and dimensions is not None and dimensions > held.opened.dimension:
                raise ApiError(
                    400,
                    f"dimensions: expected 1 to {held.opened.dimension}, which {held.id} has, found {dimensions}",
                    param="dimensions",
                )
            if asked.late_chunking:
                from umekomi.models.within import late_chunks

                if held.scorer or held.batcher is None:
                    raise ApiError(400, f"model: {held.id} gives no vectors", param="model")
                late = await held.batcher.run(lambda: late_chunks(held.opened, [texts], role=role))
                lengths = await held.batcher.run(lambda: held.opened.lengths(texts, role))
                found = Reported(late.flat, lengths, lengths < 0)
            else:
                found = await self.embedded(held, texts, role, asked.truncation)
            vectors = found.vectors
            if dimensions is not None and dimensions < held.opened.dimension:
                vectors = held.opened.cut(vectors, dimensions)
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
                    "model": held.id,
                    **_told(int(found.tokens.sum()), _places(found.truncated)),
                }
            )

    def _texts(self, held: Held, given: Any) -> list[str]:
        """Texts as they are; arrays of token ids as the model's tokenizer writes them out."""
        one = isinstance(given, str) or (given and isinstance(given[0], int))
        items = [given] if one else list(given)
        out = []
        for place, item in enumerate(items):
            text = item if isinstance(item, str) else _written(held, item, place)
            if not text:
                where = "input" if one else f"input.{place}"
                raise ApiError(400, f"{where}: expected a text, found an empty one", param="input")
            out.append(text)
        return out

    async def rerank(self, asked: RerankRequest) -> Response:
        """``POST /v1/rerank``."""
        async with self.holder.using(asked.model) as held:
            scores, tokens, cut = await self._scored(held, asked.query, asked.texts, asked.truncation)
        order = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[: asked.top_n]
        results: list[dict[str, Any]] = [{"index": place, "relevance_score": float(scores[place])} for place in order]
        if asked.return_documents:
            for entry in results:
                entry["document"] = {"text": asked.texts[entry["index"]]}
        return Answer({"id": f"rerank-{uuid.uuid4().hex}", "model": held.id, "results": results, **_told(tokens, cut)})

    async def similarity(self, asked: SimilarityRequest) -> Response:
        """``POST /v1/similarity``: every text against every other, by the model's own measure."""
        async with self.holder.using(asked.model) as held:
            found = await self.embedded(held, asked.input, asked.role, asked.truncation)
            values = held.opened.similarity(found.vectors, found.vectors)
        told = _told(int(found.tokens.sum()), _places(found.truncated))
        return Answer({"model": held.id, "metric": held.opened.metric, "similarity": values, **told})

    async def _scored(self, held: Held, query: str, texts: list[str], truncation: str) -> tuple[Any, int, list[int]]:
        """(a score a text, tokens, which texts were cut)."""
        import numpy as np

        if held.scorer:
            return await asyncio.to_thread(held.opened.score, [query] * len(texts), texts), 0, []
        if held.batcher is not None and held.opened.outputs == {"multi"}:
            embedder = held.opened
            scores = await held.batcher.run(
                lambda: embedder.similarity(embedder.encode_query([query]), embedder.encode_document(texts))[0]
            )
            return scores, 0, []
        asked, given = await asyncio.gather(
            self.embedded(held, [query], "query", truncation), self.embedded(held, texts, "document", truncation)
        )
        scores = held.opened.similarity(asked.vectors, given.vectors)[0]
        return np.asarray(scores), int(asked.tokens.sum() + given.tokens.sum()), _places(given.truncated)

    # --- search -----------------------------------------------------------------------------------------------------

    def index(self, name: str | None) -> tuple[str, Index, asyncio.Lock]:
        """The index of this id; the only one where none is named."""
        if not self.indexes:
            raise ApiError(
                404, "this server has no index: start it with --index", param="index", code="index_not_found"
            )
        if name is None and len(self.indexes) == 1:
            name = next(iter(self.indexes))
        if name not in self.indexes:
            raise ApiError(
                404,
                f"index: expected one of {', '.join(self.indexes)}, found {name!r}",
                param="index",
                code="index_not_found",
            )
        return name, *self.indexes[name]

    async def search(self, asked: SearchRequest) -> Response:
        """``POST /v1/search``."""
        import numpy as np

        name, index, lock = self.index(asked.index)
        tokens, cut = 0, False
        whole: Any = None
        model = self.models_of.get(name)
        begun = time.perf_counter()
        async with lock:
            rows, about = await asyncio.to_thread(lambda: (len(index), index.about))
        width = about["dimension"]
        if isinstance(asked.query, str):
            if model is None:
                raise ApiError(
                    400,
                    f"query: the index {name} was made from vectors: expected a vector of {width} numbers, found a "
                    "text",
                    param="query",
                )
            async with self.holder.using(model) as held:
                if "dense" in held.opened.outputs:
                    found = await self.embedded(held, [asked.query], "query", asked.truncation)
                    whole, tokens, cut = found.vectors, int(found.tokens[0]), bool(found.truncated[0])
                    vectors = held.opened.cut(whole, width) if 0 < width < whole.shape[1] else whole
                else:
                    assert held.batcher is not None
                    vectors = await held.batcher.run(lambda: held.opened.encode_query([asked.query]))
        else:
            vectors = np.asarray([asked.query], np.float32)
            if about["output"] != "dense" or vectors.shape[1] != width:
                raise ApiError(
                    400, f"query: expected a text or {width} numbers, found {vectors.shape[1]} numbers", param="query"
                )
            if not np.isfinite(vectors).all():
                raise ApiError(400, "query: expected finite numbers", param="query")
        async with lock:
            hits = (
                (await asyncio.to_thread(index.search, vectors, min(asked.k, rows), filter=asked.filter))[0]
                if rows
                else []
            )
        seconds = time.perf_counter() - begun
        if asked.rerank is not None and hits:
            async with self.holder.using(asked.rerank) as held:
                if not isinstance(asked.query, str):
                    raise ApiError(400, "rerank: expected a query that is a text, found a vector", param="rerank")
                scores, more, _ = await self._scored(held, asked.query, [hit.text for hit in hits], asked.truncation)
            tokens += more
            order = sorted(range(len(hits)), key=lambda place: (-float(scores[place]), place))
            hits = [replace(hits[place], score=float(scores[place])) for place in order]
        if asked.mark and model is not None and whole is not None and about["output"] == "dense":
            hits = await self._marked(model, whole, hits)
        return Answer(
            {
                "object": "list",
                "index": name,
                "model": asked.rerank or model,
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
                **_told(tokens, cut),
                "seconds": seconds,
            }
        )

    async def _marked(self, model: str, query: Any, hits: list[Hit]) -> list[Hit]:
        """Each hit with the place of the sentence that is nearest to the query's vector, ``[1, d]``."""
        spans, texts = pieces(hits, MARKED_SENTENCES)
        if not texts:
            return marked(hits, spans, [])
        async with self.holder.using(model) as held:
            found = await self.embedded(held, texts, "document", "warn")
            scores = held.opened.similarity(query, found.vectors)[0]
        return marked(hits, spans, scores)

    async def map(self, name: str) -> Response:
        """Places of the index's rows (at most 100,000 of them, evenly taken) in two dimensions: float32 x, y in [-1,
        1], row by row."""
        _, index, lock = self.index(name)
        async with lock:
            _, places = await asyncio.to_thread(self._placed, name, index)
        return Response(places.tobytes(), media_type="application/octet-stream", headers={"x-rows": str(len(places))})

    async def items(self, name: str, wanted: str) -> Response:
        """Id and text of points of the map, by their place in it."""
        import numpy as np

        _, index, lock = self.index(name)
        try:
            numbers = [int(word) for word in wanted.split(",")]
        except ValueError:
            raise ApiError(
                400, f"points: expected numbers with commas between, found {wanted[:40]!r}", param="points"
            ) from None
        async with lock:
            rows, _ = await asyncio.to_thread(self._placed, name, index)
            if len(numbers) > 1000 or any(not 0 <= number < len(rows) for number in numbers):
                raise ApiError(400, f"points: expected at most 1,000 numbers from 0 to {len(rows) - 1}", param="points")
            found = await asyncio.to_thread(index.rows, [int(row) for row in np.asarray(rows)[numbers]])
            text = index.about["text"]
        data = [
            {"id": row.pop("__id__"), "text": str(row.pop(text, "") or "") if text else "", "payload": as_json(row)}
            for row in found
        ]
        return Answer({"object": "list", "data": data})

    async def groups(self, name: str, field: str) -> Response:
        """The points of the map in at most ten groups by a column of the payload."""
        _, index, lock = self.index(name)

        def work() -> Any:
            if field not in index.fields:
                raise ApiError(
                    400,
                    f"field: expected one of {', '.join(index.fields) or 'none, there is no payload'}, found "
                    f"{field[:40]!r}",
                    param="field",
                )
            return grouped(index.column(field, self._placed(name, index)[0]))

        async with lock:
            found, ordered, points = await asyncio.to_thread(work)
        return Answer(
            {
                "object": "groups",
                "field": field,
                "ordered": ordered,
                "groups": [asdict(group) for group in found],
                "points": points,
            }
        )

    def _placed(self, name: str, index: Index) -> tuple[Any, Any]:
        """(row numbers, places float32 ``[rows, 2]``), worked out once for each state of the index."""
        import numpy as np

        numbers = index.living()
        known = self.maps.get(name)
        if known is not None and known[0] == hash(numbers.tobytes()):
            return known[1], known[2]
        state = hash(numbers.tobytes())
        if len(numbers) > MAP_ROWS:
            numbers = numbers[np.linspace(0, len(numbers) - 1, MAP_ROWS).astype(np.int64)]
        places = projected(index.vectors(numbers)) if len(numbers) else np.zeros((0, 2), np.float32)
        self.maps[name] = (state, numbers, places)
        return numbers, places

    # --- lists ------------------------------------------------------------------------------------------------------

    def listed(self, held: Held) -> dict[str, Any]:
        """One model as ``GET /v1/models`` shows it."""
        out: dict[str, Any] = {
            "id": held.id,
            "object": "model",
            "created": held.created,
            "owned_by": "umekomi",
            "open": held.opened is not None,
        }
        if held.opened is not None:
            out["kind"] = held.opened.kind
            if not held.scorer:
                out |= {
                    "dimension": held.opened.dimension,
                    "metric": held.opened.metric,
                    "roles": sorted({"query", "document", *held.opened.roles}),
                    "reads": getattr(held.opened, "reads", None),
                }
            out["licence"] = (getattr(held.opened, "card", None) or {}).get("licence")
        return out

    async def listed_indexes(self) -> Response:
        """``GET /v1/indexes``."""
        data = []
        for name, (index, lock) in self.indexes.items():
            async with lock:
                rows, about, fields = await asyncio.to_thread(_said, index)
            data.append(
                {
                    "id": name,
                    "object": "index",
                    "rows": rows,
                    "model": self.models_of.get(name),
                    "dimension": about["dimension"],
                    "output": about["output"],
                    "fields": [field for field in fields if field != about["text"]],
                    "map": min(rows, MAP_ROWS) if about["output"] != "multi" else 0,
                }
            )
        return Answer({"object": "list", "data": data})


def _told(tokens: int, truncated: Any) -> dict[str, Any]:
    """What every answer says of the texts: their tokens, as OpenAI's do, and what of them was cut."""
    return {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}, "truncated": truncated}


def _places(mask: Any) -> list[int]:
    return [int(place) for place in mask.nonzero()[0]]


def projected(vectors: Any) -> Any:
    """The first two principal components, brought into [-1, 1]: float32 ``[n, 2]``."""
    import numpy as np

    if hasattr(vectors, "indptr"):
        from sklearn.decomposition import TruncatedSVD

        two = min(2, vectors.shape[1] - 1)
        places = TruncatedSVD(max(two, 1), random_state=0).fit_transform(vectors)
    elif isinstance(vectors, np.ndarray):
        centred = vectors - vectors.mean(0)
        _, axes = np.linalg.eigh(centred.T @ centred)
        places = centred @ axes[:, ::-1][:, :2]
    else:
        raise ApiError(400, "map: an index of several vectors an item has no map")
    if places.shape[1] < 2:
        places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    return np.ascontiguousarray(places / np.maximum(np.abs(places).max(0), 1e-12), np.float32)


def _written(held: Held, ids: list[int], place: int) -> str:
    opened = held.opened
    tokenizer = getattr(opened, "tokenizer", None) or getattr(getattr(opened, "model", None), "tokenizer", None)
    inner = getattr(tokenizer, "_tokenizer", tokenizer)
    if inner is None or not hasattr(inner, "get_vocab_size"):
        raise ApiError(400, f"input.{place}: {held.id} has no tokenizer of ids: expected texts", param="input")
    size = inner.get_vocab_size()
    if max(ids) >= size:
        raise ApiError(
            400,
            f"input.{place}: expected ids of {held.id}'s own tokenizer, below {size}, found {max(ids)}: send the text "
            "itself",
            param="input",
        )
    return str(inner.decode(ids, skip_special_tokens=True))


def _same(a: Any, b: str) -> bool:
    return str(a) == b or (Path(a).is_dir() and Path(b).is_dir() and Path(a).resolve() == Path(b).resolve())


def _said(index: Any) -> tuple[int, Any, Any]:
    """(rows, what it says of itself, its payload's columns) of an index."""
    return len(index), index.about, index.fields
