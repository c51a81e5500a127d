"""The models and indexes that a server holds: opened when first asked for, the longest unused put away when memory runs
short."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.errors import UmekomiError, WrongUse, unknown_name
from umekomi.files import folder_bytes
from umekomi.models.base import EmbedderBase, Predictor, Scorer, describe
from umekomi.models.engines.choice import open_to_judge
from umekomi.models.opening import file_of, folder_of, is_model_name, known_names
from umekomi.progress import say
from umekomi.server.batching import Batcher
from umekomi.server.workers import in_thread

if TYPE_CHECKING:
    from umekomi.models.base import Named, Saved


def memory_used() -> int:
    """Bytes of this process that lie in memory."""
    try:
        with open("/proc/self/statm") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def memory_there() -> int:
    """Bytes of the machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 8 << 30


@dataclass
class LoadedModel:
    """One model by its id: open or not."""

    id: str
    source: Any
    opened: Any = None
    loaded: Any = None
    """Read from disk, and not yet taken into service."""
    loading: asyncio.Task[Any] | None = None
    batcher: Batcher | None = None
    bytes: int = 0
    used: float = 0.0
    users: int = 0
    created: int = field(default_factory=lambda: int(time.time()))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def scorer(self) -> bool:
        """Is it a model that judges pairs and gives no vectors?"""
        return isinstance(self.opened, Scorer)

    @property
    def embeds(self) -> bool:
        """Is it a model that gives vectors?"""
        return isinstance(self.opened, EmbedderBase)


class ModelPool:
    """All models by id. ``memory``: bytes that open models may take together; the one asked for is opened even if it
    alone takes more."""

    def __init__(
        self, sources: Sequence[Any], *, memory: int, engine: str, batcher: Callable[[Any, str], Batcher]
    ) -> None:
        self.memory, self.engine, self._batcher = memory, engine, batcher
        self.models: dict[str, LoadedModel] = {}
        self.evictions = 0
        for source in sources:
            name = model_id(source)
            if name in self.models:
                raise WrongUse(f"serve: two models are called {name!r}: give one folder another name")
            self.models[name] = LoadedModel(name, source)

    def named(self, name: str | None) -> LoadedModel:
        """The model of this id; the only one where none is named."""
        if name is None:
            if len(self.models) != 1:
                raise WrongUse(f"model: expected one of {', '.join(self.models)}, found none")
            return next(iter(self.models.values()))
        if name not in self.models:
            raise unknown_name("model", name, self.models)
        return self.models[name]

    @asynccontextmanager
    async def using(self, name: str | None) -> AsyncIterator[LoadedModel]:
        """The model, open for as long as the block takes."""
        entry = self.named(name)
        entry.users += 1
        try:
            await self._open(entry)
            entry.used = time.monotonic()
            yield entry
        finally:
            entry.users -= 1

    async def _open(self, entry: LoadedModel) -> None:
        if entry.opened is not None:
            return
        async with entry.lock:
            if entry.opened is not None:
                return
            if entry.loaded is None:
                await self._make_room(_bytes(entry.source))
                if entry.loading is None:
                    entry.loading = asyncio.create_task(in_thread(partial(self._weighed, entry.source)))
                try:  # shielded: a request that no longer waits leaves what was read to the next one
                    entry.loaded, entry.bytes = await asyncio.shield(entry.loading)
                finally:
                    if entry.loading.done():
                        entry.loading = None
            opened, entry.loaded = entry.loaded, None
            entry.batcher = self._batcher(opened, entry.id)
            entry.opened = opened
        await self._make_room(0)

    def load_first(self) -> None:
        """Read the first model now, so that what is wrong with it is said before anything listens."""
        held = next(iter(self.models.values()))
        held.loaded, held.bytes = self._weighed(held.source)

    def _weighed(self, source: Named) -> tuple[Saved, int]:
        """(the model, bytes that it takes: what the process grew by while it was read, and no less than its files)."""
        before = memory_used()
        opened = self._load(source)
        return opened, max(memory_used() - before, _bytes(source), 1)

    def _load(self, source: Named) -> Saved:
        opened = open_to_judge(source, self.engine)
        if isinstance(opened, EmbedderBase):
            if "text" not in opened.modalities:
                raise WrongUse(f"serve: {opened.name} embeds {' and '.join(sorted(opened.modalities))}, not text")
            opened.encode(
                ["a text"]
            ) if "dense" in opened.outputs else None  # what is compiled or made at the first call is made now
        elif not isinstance(opened, (Scorer, Predictor)):
            raise WrongUse(f"serve: {describe(opened)}; expected an embedder, a scorer or a predictor")
        return opened

    async def _make_room(self, need: int) -> None:
        """Close the longest unused models that nobody uses until the open ones and ``need`` fit."""
        while True:
            open_ones = [entry for entry in self.models.values() if entry.opened is not None]
            idle = sorted((entry for entry in open_ones if not entry.users), key=lambda entry: entry.used)
            if not idle or sum(entry.bytes for entry in open_ones) + need <= self.memory:
                return
            await self.close(idle[0])
            self.evictions += 1
            say(
                f"note: {idle[0].id} was closed to make room ({idle[0].bytes / 1e6:.0f} MB); it is opened again when "
                "asked for"
            )

    async def close(self, held: LoadedModel) -> None:
        """Put a model away."""
        batcher, held.batcher, held.opened = held.batcher, None, None
        if batcher is not None:
            await batcher.close()
        import gc

        gc.collect()

    async def close_all(self) -> None:
        """Put all away."""
        for held in self.models.values():
            if held.opened is not None:
                await self.close(held)


def model_id(source: Named) -> str:
    """What a model is called on the wire: its folder's name, its file's without the ending, or its name."""
    if isinstance(source, (str, Path)):
        folder, file = folder_of(source), file_of(source)
        return folder.resolve().name if folder is not None else str(source) if file is None else file.stem
    return str(source.name)


def _bytes(source: Named) -> int:
    folder, file = folder_of(source), file_of(source)
    return folder_bytes(folder) if folder is not None else 0 if file is None else file.stat().st_size


def check_source(source: Named) -> None:
    """The error for a model that is not there, before the server starts."""
    if isinstance(source, (str, Path)):
        if not is_model_name(source):
            raise unknown_name("model or folder", str(source), known_names())
    elif not isinstance(source, (EmbedderBase, Scorer, Predictor)):
        raise UmekomiError(f"serve: expected embedders, scorers and predictors, found {type(source).__name__}")
