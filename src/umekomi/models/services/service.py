"""What every model behind HTTP shares: its bill and budget, requests sent in parallel, what of an answer is kept when
something fails, and what its folder says."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from umekomi.errors import UmekomiError, WrongUse
from umekomi.models.base import Open, Saved
from umekomi.models.folders import settings
from umekomi.models.services.endpoints import Endpoint, endpoint_of
from umekomi.models.services.money import BYTES_A_TOKEN, Bill, Price, Purse, ask_for_price, price_of
from umekomi.models.services.wire import Answer, Wire
from umekomi.progress import Progress

Item = TypeVar("Item")
Kept = tuple[Any, int]
"""What was answered for an item, and the tokens that it was counted for."""
Outcome = tuple[dict[Item, Kept], UmekomiError | None]
"""What of an answer is good, and what is wrong with the rest."""


class Bought(NamedTuple):
    """An answer, and the seconds that it took."""

    answer: Answer
    seconds: float


class Service(Saved):
    """A model behind HTTP (:mod:`umekomi.models.services.endpoints` says how one is named).

    ``bill`` counts what was asked in this process. With a ``purse`` nothing is asked that might pass its budget.
    """

    reranks = False
    """Is it asked to order documents?"""

    def __init__(self, endpoint: Endpoint, name: str = "", card: dict[str, Any] | None = None) -> None:
        super().__init__(name or endpoint.name, card or {"licence": "service", "service": endpoint.url})
        self.endpoint, self.wire = endpoint, Wire(endpoint)
        self.bill = Bill()
        self.purse: Purse | None = None
        self._lock = threading.Lock()
        self._asking = 0

    @classmethod
    def named(cls, name: str) -> Self:
        """The model that a name of a service leads to."""
        return cls(endpoint_of(name, cls.reranks), name)

    @property
    def roles(self) -> frozenset[str]:
        """The roles that it is told of."""
        return frozenset({*self.endpoint.prompts, *self.endpoint.fields} - {""})

    @property
    def price(self) -> Price | None:
        """Dollars for a million tokens, or for a search, where they are known."""
        return price_of(self.endpoint, self.by_search)

    @property
    def by_search(self) -> bool:
        """Is it paid by the search, and not by the token?"""
        return self.reranks and self.endpoint.shape == "cohere"

    @property
    def ask_for_price(self) -> str:
        """What to do about a price that is not known."""
        return ask_for_price(self.endpoint, self.by_search)

    # --- asking -------------------------------------------------------------------------------------------------------

    def _prompted(self, role: str | None, text: str) -> str:
        """A text as it is sent."""
        return self.endpoint.prompts.get(role or "", "") + text

    def _batched(self, texts: Sequence[str], tokens_of: Callable[[str], float]) -> Iterator[list[str]]:
        """As many at once as the service takes, in texts and in tokens."""
        batch, tokens = list[str](), 0.0
        for text in texts:
            more = tokens_of(text)
            if batch and (len(batch) >= self.endpoint.max_items or tokens + more > self.endpoint.max_tokens):
                yield batch
                batch, tokens = [], 0.0
            batch.append(text)
            tokens += more
        if batch:
            yield batch

    @contextmanager
    def _begun(self) -> Iterator[None]:
        """Around asking: a missing key or package is said first, and what stopped an earlier asking stops no more."""
        self.wire.client()
        with self._lock:
            if not self._asking:
                self.wire.stop.clear()
            self._asking += 1
        try:
            yield
        finally:
            with self._lock:
                self._asking -= 1

    def _ask_all(
        self,
        requests: Iterable[Callable[[], Outcome[Item]]],
        keep: Callable[[dict[Item, Kept]], None],
        bar: Progress | None,
    ) -> dict[Item, Kept]:
        """Send all requests, several at once. What was answered when something fails is kept all the same."""
        answers: dict[Item, Kept] = {}
        asked: set[Future[Outcome[Item]]] = set()

        def take() -> None:
            for future in wait(asked, return_when=FIRST_COMPLETED).done:
                asked.remove(future)
                good, problem = future.result()
                keep(good)
                answers.update(good)
                self.bill.texts += len(good)
                if bar is not None:
                    bar.advance(len(good))
                if problem is not None:
                    raise problem

        with self._begun():
            begun = time.perf_counter()
            pool = ThreadPoolExecutor(self.endpoint.parallel, "umekomi-service")
            try:
                for request in requests:
                    asked.add(pool.submit(request))
                    if len(asked) >= self.endpoint.parallel:
                        take()
                while asked:
                    take()
            except BaseException:
                self.wire.stop.set()
                for future in asked:  # and paid for
                    try:
                        keep(future.result()[0])
                    except UmekomiError:
                        continue
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                self.bill.seconds += time.perf_counter() - begun
        return answers

    def _buy(
        self, path: str, body: dict[str, Any], about: str, most: int, read: Callable[[dict[str, Any]], Answer]
    ) -> Bought:
        """One request, paid: ``most`` is what it can be charged for, in tokens."""
        aside = self._reserve(most)
        paid = 0.0
        try:
            begun = time.perf_counter()
            answer = self.wire.post(path, body, about)
            took = time.perf_counter() - begun
            paid = aside  # where the service does not say how much it was
            told = read(answer)
            if told.tokens is not None:
                paid = self.price.of(told.tokens) if self.purse is not None and self.price else 0.0
        finally:
            if self.purse is not None:
                self.purse.settle(aside, paid)
        return Bought(told, took)

    def _reserve(self, tokens: int) -> float:
        if self.purse is None:
            return 0.0
        price = self.price
        if price is None:
            raise WrongUse(f"{self.name}: a budget needs its price; {self.ask_for_price}")
        usd = price.of(tokens)
        self.purse.reserve(usd, self.name)
        return usd

    def _count(self, tokens: int, counted: bool, waited: float | None) -> None:
        """A request goes on the bill."""
        with self._lock:
            self.bill.requests += 1
            self.bill.attempts = self.wire.attempts
            self.bill.tokens += tokens
            self.bill.counted &= counted
            if waited is not None:
                self.bill.waits.append(waited)

    # --- saving -------------------------------------------------------------------------------------------------------

    def _write(self, folder: Path) -> dict[str, Any]:
        own = dataclasses.asdict(self.endpoint)
        return own | {"prompts": dict(own["prompts"]), "fields": {k: dict(v) for k, v in own["fields"].items()}}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> Self:
        own = settings(
            folder, head, name=str, shape=str, model=str, url=str, key=str, prompts=dict, fields=dict, max_items=int,
            max_tokens=int, parallel=int, attempts=int, delay=float, timeout=float, dimensions=int,
        )  # fmt: skip
        return cls(Endpoint(**own), head.get("name", ""), head.get("card"))


def guess(text: str) -> float:
    """Tokens of a text, by its bytes."""
    return len(text.encode()) / BYTES_A_TOKEN + 1


def shown(texts: Sequence[str], what: str = "text") -> str:
    """The first text, and how many come with it."""
    first = " ".join(texts[0].split())
    cut = repr(first if len(first) <= 60 else first[:59] + "…")
    return f"the {what} {cut}" if len(texts) == 1 else f"the {what} {cut} and {len(texts) - 1} more"


def shared(texts: Sequence[str], tokens: int) -> list[int]:
    """Tokens of a request among its texts by their bytes, whole numbers that come to the same sum."""
    sizes = [max(1, len(text.encode())) for text in texts]
    ends = np.cumsum(sizes) * tokens // sum(sizes)
    return [int(n) for n in np.diff(ends, prepend=0)]
