"""Requests of many clients in one batch of the model. While a batch runs, requests queue; when it ends, the next takes
a piece of every waiting request in turn, up to as many tokens as keep the batch within the latency target. The queue is
bounded in tokens.

Where the model may run on several threads, each core runs a batch of its own: while one is being answered, another
computes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import UmekomiError
from umekomi.models.base import Encoded
from umekomi.models.truncation import encode_truncated
from umekomi.parts.kernels.threads import cores
from umekomi.server.workers import Panic, T, in_thread

if TYPE_CHECKING:
    from umekomi.models.base import EmbedderBase


PIECE = 32
"""Texts of one request that go into a batch before the next request's."""
GATHER_SECONDS = 0.001
LEAST_TOKENS, LANE_TOKENS = 512, 512
FULL_TOKENS = 128
"""Tokens from which on a larger batch makes a token little cheaper (minilm on one core: 3.4 ms a text of 14 tokens by
eights, 3.3 by sixteens, 4.3 alone)."""


class Busy(Exception):
    """The queue is full; ``after`` seconds from now there should be room."""

    def __init__(self, after: float) -> None:
        super().__init__(f"the queue is full; try again in {after:.0f} s")
        self.after = after


def estimate(text: str) -> int:
    """About how many tokens a text has, without a tokenizer: a quarter of its letters in ASCII, one a character
    elsewhere."""
    return 2 + (
        len(text) // 4 if text.isascii() else len(text) - sum(character.isascii() for character in text) * 3 // 4
    )


@dataclass(eq=False)
class _Request:
    texts: list[str]
    role: str | None
    truncation: str
    tokens: list[int]
    done: asyncio.Future[Encoded]
    at: int = 0
    parts: dict[int, Encoded] = field(default_factory=dict)


class Batcher:
    """One model's queue. ``queue_tokens``: its bound; ``latency``: seconds that a batch should take at most; without
    ``batching`` each request is a batch of its own."""

    def __init__(
        self,
        embedder: EmbedderBase,
        *,
        queue_tokens: int,
        latency: float,
        batching: bool = True,
        encode: Callable[..., Encoded] = encode_truncated,
        seen: Callable[[int, int, float], None] | None = None,
    ) -> None:
        self.embedder, self.queue_tokens, self.latency, self.batching = embedder, queue_tokens, latency, batching
        self.waiting: deque[_Request] = deque()
        self.queued = 0
        """Tokens waiting, about."""
        self.rate = 2000.0
        """Tokens a second, as the last batches ran; a first guess until then."""
        self._encode, self._seen = encode, seen
        self.lanes = cores() if getattr(embedder, "parallel", False) else 1
        if self.lanes > 1:
            inner: Any = getattr(embedder, "base", embedder)
            inner.alone = max(getattr(inner, "alone", 0), 2 * LANE_TOKENS)  # a lane is one core: it shares nothing out
        self._work = asyncio.Condition()
        self._idle = 0
        self._last = 1
        self._thread = ThreadPoolExecutor(self.lanes, "encode")
        self._tasks = [asyncio.get_running_loop().create_task(self._run()) for _ in range(self.lanes)]

    async def encode(self, texts: list[str], *, role: str | None = None, truncation: str = "warn") -> Encoded:
        """Vectors of full width, tokens and cuts of ``texts``; :class:`Busy` where they do not fit in the queue.
        Cancelling takes them out of it."""
        tokens = [estimate(text) for text in texts]
        total = sum(tokens)
        self._admit(total)
        request = _Request(texts, role, truncation, tokens, asyncio.get_running_loop().create_future())
        self.waiting.append(request)
        self.queued += total
        async with self._work:
            self._work.notify_all()
        try:
            return await request.done
        finally:
            if request.at < len(texts) and request in self.waiting:  # cancelled before all of it had its turn
                self.waiting.remove(request)
                self.queued -= sum(tokens[request.at :])

    async def run(self, job: Callable[[], T], texts: Sequence[str] = ()) -> T:
        """Something else for the model, between batches, in its thread; :class:`Busy` where the ``texts`` that it is
        about do not fit in the queue."""
        tokens = sum(estimate(text) for text in texts)
        self._admit(tokens)
        self.queued += tokens
        try:
            return await in_thread(job, self._thread)
        finally:
            self.queued -= tokens

    def _admit(self, tokens: int) -> None:
        if self.queued and self.queued + tokens > self.queue_tokens:
            raise Busy(max((self.queued + tokens - self.queue_tokens) / self.rate, 1.0))

    async def close(self) -> None:
        """No more batches; the one that runs ends first."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for request in self.waiting:
            if not request.done.done():
                request.done.set_exception(Busy(1.0))
        await asyncio.to_thread(self._thread.shutdown)

    def _next(self) -> list[tuple[_Request, int, int]]:
        """Pieces (request, start, end) of the next batch: of one role and truncation, those of the longest waiting."""
        if self.lanes == 1:
            budget = max(self.rate * self.latency, LEAST_TOKENS)
        else:
            # what waits is shared with the cores that have nothing to do, and with the one that ends next: it would
            # else stand idle until its clients ask again
            share = max(self.queued // (self._idle + 2), min(self.queued // (self._idle + 1), FULL_TOKENS))
            budget = min(LANE_TOKENS, max(share, 1))
        batch: list[tuple[_Request, int, int]] = []
        first = self.waiting[0]
        others: list[_Request] = []
        taken = 0
        while self.waiting and taken < budget:
            request = self.waiting.popleft()
            if (request.role, request.truncation) != (first.role, first.truncation) or (
                batch and not self.batching and request is not first
            ):
                others.append(request)
                continue
            start = end = request.at
            most = len(request.texts) if not self.batching else start + PIECE
            while end < min(most, len(request.texts)) and (
                (not batch and end == start) or taken < budget or not self.batching
            ):
                taken += request.tokens[end]
                end += 1
            batch.append((request, start, end))
            request.at = end
            if end < len(request.texts):
                self.waiting.append(request)
            self.queued -= sum(request.tokens[start:end])
        self.waiting.extendleft(reversed(others))
        return batch

    async def _run(self) -> None:
        """One lane: batch after batch, for as long as the model is open. No batch ends it."""
        while True:
            if not self.waiting:
                self._idle += 1
                try:
                    async with self._work:
                        await self._work.wait_for(lambda: bool(self.waiting))
                finally:
                    self._idle -= 1
                if (
                    self.batching and self._last > 1
                ):  # where requests come together, the first of them waits a moment for the others
                    await asyncio.sleep(GATHER_SECONDS)
                    if not self.waiting:
                        continue
            batch = [piece for piece in self._next() if not piece[0].done.done()]
            self._last = len({id(request) for request, _, _ in batch})
            if not batch:
                continue
            try:
                await self._answer(batch)
            except Exception as error:
                await self._failed(batch, error)

    async def _answer(self, batch: list[tuple[_Request, int, int]]) -> None:
        texts = [text for request, start, end in batch for text in request.texts[start:end]]
        begun = time.perf_counter()
        encoded = await self._encoded(batch[0][0], texts)
        seconds = time.perf_counter() - begun
        tokens = max(int(np.sum(encoded.tokens)), 1)
        self.rate = 0.8 * self.rate + 0.2 * max(tokens / max(seconds, 1e-4), 1.0)
        if self._seen is not None:
            self._seen(len(texts), tokens, seconds)
        at = 0
        for request, start, end in batch:
            request.parts[start] = Encoded._make(each[at : at + end - start] for each in encoded)
            at += end - start
            if (
                sum(len(part.tokens) for part in request.parts.values()) == len(request.texts)
                and not request.done.done()
            ):
                parts = [request.parts[key] for key in sorted(request.parts)]
                request.done.set_result(
                    parts[0]
                    if len(parts) == 1
                    else Encoded(*(np.concatenate(each) for each in zip(*parts, strict=True)))
                )

    async def _encoded(self, request: _Request, texts: list[str]) -> Encoded:
        """``texts`` in this model's thread, by the role and truncation of ``request``."""
        encode = partial(self._encode, self.embedder, texts, truncation=request.truncation, role=request.role)
        encoded: Encoded = await in_thread(encode, self._thread)
        if any(len(each) != len(texts) for each in encoded):
            name = getattr(self.embedder, "name", "the model")
            raise UmekomiError(f"{name} gave {len(encoded.vectors)} vectors for {len(texts)} texts")
        return encoded

    async def _failed(self, batch: list[tuple[_Request, int, int]], error: Exception) -> None:
        """One request's fault is not its neighbours': each is tried alone, and only those that fail again get the
        error."""
        for request in dict.fromkeys(piece[0] for piece in batch):
            if request in self.waiting:
                self.waiting.remove(request)
                self.queued -= sum(request.tokens[request.at :])
            if request.done.done():
                continue
            found, own = None, error
            if len(batch) > 1 or batch[0][2] - batch[0][1] < len(request.texts):  # it was not alone, or not whole
                try:
                    found = await self._encoded(request, request.texts)
                except Exception as again:
                    own = again
            if found is None and isinstance(own, Panic) and len(request.texts) > 1:
                own = await self._named(request, own)
            if request.done.done():
                continue
            if found is None:
                request.done.set_exception(own)
            else:
                request.done.set_result(found)

    async def _named(self, request: _Request, error: Panic) -> Panic:
        """``error`` with the number of the first text that a library gives up on, found by halves."""
        low, high = 0, len(request.texts)
        while high - low > 1 and not request.done.done():
            middle = (low + high) // 2
            try:
                await self._encoded(request, request.texts[low:middle])
                low = middle
            except Exception as own:
                error, high = (own, middle) if isinstance(own, Panic) else (error, middle)
        return Panic(f"text {low + 1}: {error}")
