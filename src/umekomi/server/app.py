"""What stands behind the routes: settings, models, indexes, metrics. How requests are answered stands in
:mod:`embedding`, :mod:`searching` and :mod:`maps` beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import Response

from umekomi.errors import WrongUse
from umekomi.indexes import Index
from umekomi.indexes.opening import AnyIndex, index_name, open_index
from umekomi.models.base import Predictor, sort_of
from umekomi.models.engines.choice import as_reranker
from umekomi.models.opening import file_of, folder_of
from umekomi.server.batching import Batcher
from umekomi.server.errors import Answer, ApiError
from umekomi.server.maps import MAP_ROWS, Maps
from umekomi.server.metrics import Metrics
from umekomi.server.model_pool import LoadedModel, ModelPool, check_source, memory_there, memory_used, model_id
from umekomi.server.workers import alone
from umekomi.verbs.search import stage_of

if TYPE_CHECKING:
    from umekomi.models.base import EmbedderBase


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
        self.indexes: dict[str, tuple[AnyIndex, asyncio.Lock]] = {}
        self.models_of: dict[str, str] = {}
        self.rerankers: dict[str, tuple[str, int]] = {}
        sources = list(models)
        for source in sources:
            check_source(source)
        with ExitStack() as failing:
            for folder in indexes:
                name = index_name(folder)
                if name in self.indexes:
                    raise WrongUse(f"serve: two indexes are called {name!r}: give one folder another name")
                index = open_index(folder, prepare=False)  # lifespan does
                failing.callback(index.close)
                self.indexes[name] = (index, asyncio.Lock())
                inside = index.about["model"]["name"]
                if inside:
                    source = str(Path(folder) / inside) if inside.startswith("./") else inside
                    self.models_of[name] = model_id(_among(sources, source))
                stage = stage_of(index, None, None)
                if stage is not None:
                    self.rerankers[name] = model_id(_among(sources, as_reranker(stage[0]))), stage[1]
            if not sources:
                raise WrongUse("serve: expected at least one model or one index")
            self.holder = ModelPool(
                sources, memory=settings.memory or memory_there() // 2, engine=settings.engine, batcher=self._batcher
            )
            failing.pop_all()
        self.ready = self.draining = False
        self.maps = Maps()
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

    def _batcher(self, embedder: EmbedderBase, name: str) -> Batcher:
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
        try:
            async with self.holder.using(next(iter(self.holder.models))):
                pass
            for index, lock in self.indexes.values():
                if isinstance(index, Index):
                    await alone(lock, index.prepare)
        except BaseException:
            self.close()
            raise
        self.ready = True
        try:
            yield
        except asyncio.CancelledError:  # a second Ctrl-C: nothing is waited for
            return
        await self.holder.close_all()
        for index, lock in self.indexes.values():
            await alone(lock, index.close)

    def close(self) -> None:
        """Close the indexes, where no request is being answered."""
        for index, _ in self.indexes.values():
            index.close()

    def index(self, name: str | None) -> tuple[str, AnyIndex, asyncio.Lock]:
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

    def listed(self, entry: LoadedModel) -> dict[str, Any]:
        """One model as ``GET /v1/models`` shows it."""
        out: dict[str, Any] = {
            "id": entry.id,
            "object": "model",
            "created": entry.created,
            "owned_by": "umekomi",
            "open": entry.opened is not None,
        }
        if entry.opened is not None:
            out["kind"] = entry.opened.kind
            out["makes"] = sort_of(entry.opened)
            if isinstance(entry.opened, Predictor):
                out |= {"classes": list(entry.opened.classes), "columns": list(getattr(entry.opened, "columns", ()))}
            if entry.embeds:
                reads = getattr(entry.opened, "reads", None)
                out |= {
                    "dimension": entry.opened.dimension,
                    "metric": entry.opened.metric,
                    "roles": sorted({"query", "document", *entry.opened.roles}),
                    "reads": None if reads is None else reads(),
                }
            out["licence"] = (getattr(entry.opened, "card", None) or {}).get("licence")
        return out

    async def listed_indexes(self) -> Response:
        """``GET /v1/indexes``."""
        data = []
        for name, (index, lock) in self.indexes.items():
            rows, about, fields, legs = await alone(lock, partial(_said, index))
            data.append(
                {
                    "id": name,
                    "object": "index",
                    "rows": rows,
                    "model": self.models_of.get(name),
                    "dimension": about["dimension"],
                    "output": about["output"],
                    "legs": list(legs),
                    "rerank": self.rerankers.get(name, (None,))[0],
                    "fields": [field for field in fields if field != about["text"]],
                    "map": min(rows, MAP_ROWS) if about["output"] != "multi" and isinstance(index, Index) else 0,
                }
            )
        return Answer({"object": "list", "data": data})


def _among(sources: list[Any], name: Any) -> Any:
    """The one of ``sources`` that is the model of this name or folder, which joins them where it is not there yet."""
    same = next((each for each in sources if isinstance(each, (str, Path)) and _same(each, name)), None)
    if same is None:
        sources.append(name)
    return same or name


def _same(a: object, b: Any) -> bool:
    one, other = folder_of(a) or file_of(a), folder_of(b) or file_of(b)
    return str(a) == b or (one is not None and other is not None and one.resolve() == other.resolve())


def _said(index: Any) -> tuple[int, Any, Any, Any]:
    """(rows, what it says of itself, its payload's columns, its legs) of an index."""
    return len(index), index.about, index.fields, index.legs
