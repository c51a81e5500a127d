"""A service as an embedder: asked in parallel, never twice for the same text, and believed only where every text has a
vector of its own."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.caching import VectorCache
from umekomi.errors import UmekomiError, WrongUse
from umekomi.files import cache_folder, content_hash, read_json, write_json
from umekomi.models.base import Open, TextFace
from umekomi.models.folders import settings
from umekomi.models.services.endpoints import Endpoint, endpoint_of
from umekomi.models.services.money import BYTES_A_TOKEN, Bill, Price, Purse, price_of
from umekomi.models.services.wire import Wire, read, request
from umekomi.progress import Progress, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats

Kept = tuple[Any, int]
"""A vector float32 ``[d]``, and the tokens that its text was counted for."""


class ServiceEmbedder(TextFace):
    """A model behind HTTP (:mod:`umekomi.models.services.endpoints` says how one is named).

    ``bill`` counts what was asked in this process. With a ``purse`` nothing is asked that might pass its budget. A text
    that was answered once is kept in the cache folder under the model, its prompt and its content, and never paid for
    again.
    """

    kind = "service"
    costly = True

    def __init__(self, endpoint: Endpoint, name: str = "", card: dict[str, Any] | None = None) -> None:
        super().__init__(name or endpoint.name, card or {"licence": "service", "service": endpoint.url})
        self.endpoint, self.wire = endpoint, Wire(endpoint)
        self.bill = Bill()
        self.purse: Purse | None = None
        self._lock = threading.Lock()
        self._caches: dict[str, VectorCache] = {}
        self._width = endpoint.dimensions
        self._asking = 0

    @classmethod
    def named(cls, name: str) -> ServiceEmbedder:
        """The embedder that a name of a service leads to."""
        return cls(endpoint_of(name), name)

    @property
    def roles(self) -> frozenset[str]:
        return frozenset({*self.endpoint.prompts, *self.endpoint.fields} - {""})

    @property
    def price(self) -> Price | None:
        """Dollars for a million tokens, where they are known."""
        return price_of(self.endpoint)

    @property
    def dimension(self) -> int:  # type: ignore[override]
        """How wide its vectors are; asked for with one word where nothing was asked yet."""
        if not self._width:
            about = self._about_file()
            if about.is_file():
                self._width = int(read_json(about).get("dimension", 0))
        if not self._width:
            self._encode(["a"], output="dense", role=None, batch_size=1, progress=False)
        return self._width

    # --- encoding -----------------------------------------------------------------------------------------------------

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Floats:
        known = self._taken(items, role, progress)
        return np.stack([known[text][0] for text in items]) if items else np.zeros((0, self.dimension), np.float32)

    def _taken(self, items: list[str], role: str | None, progress: bool) -> dict[str, Kept]:
        """The vector of every text, from the cache or the service."""
        if role is not None and role not in ("query", "document") and role not in self.roles:
            known_roles = ", ".join(sorted({"query", "document", *self.roles}))
            raise WrongUse(f"{self.name} knows no role {role!r}; there are: {known_roles}")
        empty = next((place for place, text in enumerate(items) if not text.strip()), None)
        if empty is not None:
            raise WrongUse(f"{self.name}: expected texts, found an empty one in place {empty + 1}")
        texts = list(dict.fromkeys(items))
        known = self._kept(texts, role)
        missing = [text for text in texts if text not in known]
        if missing:
            if progress and known:
                say(f"{self.name}: {len(known):,} of {len(texts):,} texts were answered before and are not asked again")
            with Progress(f"{self.name}: asking", len(missing), "texts", progress) as bar:
                known.update(self._ask(missing, role, bar))
        return known

    def lengths(self, items: Sequence[str], role: str | None = None) -> NDArray[np.int64]:
        """How many tokens the service counted for each text, where it was asked; else a guess from its bytes."""
        known = self._kept(list(dict.fromkeys(items)), role)
        prompt = self.endpoint.prompts.get(role or "", "")
        return np.array([known[text][1] if text in known else round(_guess(prompt + text)) for text in items], np.int64)

    def to_ask(self, items: Sequence[str], role: str | None = None) -> list[str]:
        """Those of the texts that are not kept: what encoding them costs money for."""
        texts = list(dict.fromkeys(items))
        known = self._kept(texts, role)
        return [text for text in texts if text not in known]

    def seconds_of(self, text: str, role: str | None = None) -> float:
        """Seconds from a text to its vector, asked anew whatever is kept; the bill's texts a second know nothing of
        it."""
        self.wire.client()
        with self._lock:
            if not self._asking:
                self.wire.stop.clear()
        good, problem = self._one([text], role)
        self._keep(good, role)
        if problem is not None:
            raise problem
        return self.bill.waits[-1]

    def _ask(self, texts: list[str], role: str | None, bar: Progress | None) -> dict[str, Kept]:
        """Ask for all of them, several requests at once. What was answered when something fails is kept all the
        same."""
        found: dict[str, Kept] = {}
        self.wire.client()  # no key, no package: said before a thread is begun
        with self._lock:
            if not self._asking:
                self.wire.stop.clear()
            self._asking += 1
        asked: set[Future[tuple[dict[str, Kept], UmekomiError | None]]] = set()
        begun = time.perf_counter()

        def take() -> None:
            for future in wait(asked, return_when=FIRST_COMPLETED).done:
                asked.remove(future)
                good, problem = future.result()
                self._keep(good, role)
                found.update(good)
                self.bill.texts += len(good)
                if bar is not None:
                    bar.advance(len(good))
                if problem is not None:
                    raise problem

        pool = ThreadPoolExecutor(self.endpoint.parallel, "umekomi-service")
        try:
            for batch in self._batches(texts, role):
                asked.add(pool.submit(self._one, batch, role))
                if len(asked) >= self.endpoint.parallel:
                    take()
            while asked:
                take()
        except BaseException:
            self.wire.stop.set()
            for future in asked:  # and paid for
                try:
                    self._keep(future.result()[0], role)
                except UmekomiError:
                    continue
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            with self._lock:
                self._asking -= 1
            self.bill.seconds += time.perf_counter() - begun
        return found

    def _batches(self, texts: Sequence[str], role: str | None) -> Iterator[list[str]]:
        """As many at once as the service takes, in texts and in tokens."""
        prompt, batch, tokens = self.endpoint.prompts.get(role or "", ""), list[str](), 0.0
        for text in texts:
            more = _guess(prompt + text)
            if batch and (len(batch) >= self.endpoint.max_items or tokens + more > self.endpoint.max_tokens):
                yield batch
                batch, tokens = [], 0.0
            batch.append(text)
            tokens += more
        if batch:
            yield batch

    def _one(self, texts: list[str], role: str | None) -> tuple[dict[str, Kept], UmekomiError | None]:
        """One request: what of its answer is good, and what is wrong with the rest."""
        prompt = self.endpoint.prompts.get(role or "", "")
        sent = [prompt + text for text in texts]
        # no tokenizer makes more tokens of a text than it has bytes, but for those at its two ends
        most = sum(len(text.encode()) + 4 for text in sent)
        aside = self._reserve(most)
        paid = 0.0
        try:
            path, body = request(self.endpoint, sent, role)
            begun = time.perf_counter()
            answer = self.wire.post(path, body, _about(texts))
            took = time.perf_counter() - begun
            paid = aside  # where the service does not say how much it was
            vectors, tokens = read(self.endpoint, answer, len(texts))
            if tokens is not None:
                paid = self.price.of(tokens) if self.purse is not None and self.price else 0.0
        finally:
            if self.purse is not None:
                self.purse.settle(aside, paid)
        shares = _shared(sent, tokens)
        with self._lock:
            self.bill.requests += 1
            self.bill.attempts = self.wire.attempts
            self.bill.tokens += sum(shares)
            self.bill.counted &= tokens is not None
            if len(texts) == 1:
                self.bill.waits.append(took)
        return self._checked(texts, vectors, shares)

    def _reserve(self, tokens: int) -> float:
        if self.purse is None:
            return 0.0
        price = self.price
        if price is None:
            from umekomi.models.services.money import ask_for_price

            raise WrongUse(f"{self.name}: a budget needs its price; {ask_for_price(self.endpoint)}")
        usd = price.of(tokens)
        self.purse.reserve(usd, self.name)
        return usd

    def _checked(
        self, texts: list[str], vectors: list[Any], shares: list[int]
    ) -> tuple[dict[str, Kept], UmekomiError | None]:
        """Good vectors by their texts, and the error that names the first text whose vector is not."""
        if len(vectors) != len(texts):
            return {}, UmekomiError(
                f"{self.name}: expected {len(texts)} vectors, found {len(vectors)}, for {_about(texts)}"
                + ("; if it makes one of several texts, set max_items to 1" if len(vectors) == 1 else "")
            )
        good: dict[str, Kept] = {}
        problem = ""
        for text, vector, share in zip(texts, vectors, shares, strict=True):
            wrong, array = self._problem(vector)
            if wrong:
                problem = problem or f"{self.name}: expected {wrong}, for {_about([text])}"
            else:
                good[text] = (array, share)
        return good, UmekomiError(problem) if problem else None

    def _problem(self, vector: Any) -> tuple[str, Any]:
        """(what was expected and found instead, the vector): nothing where it is a good one. The first good one says
        how wide all are."""
        if vector is None or not isinstance(vector, list):
            return f"a vector, found {'null' if vector is None else type(vector).__name__}", None
        try:
            array = np.array(vector, np.float32)
        except (TypeError, ValueError, OverflowError):
            array = np.array([np.nan])
        if array.ndim != 1 or not len(array):
            return f"a vector, found one of {len(vector)} numbers" if not len(vector) else "a flat vector", None
        if not np.isfinite(array).all():
            return "finite numbers, found null, NaN or infinity in a vector", None
        if not array.any():
            return "a vector, found nothing but zeros", None
        with self._lock:
            if not self._width:
                about = self._about_file()
                self._width = int(read_json(about)["dimension"]) if about.is_file() else len(array)
                if not about.is_file():
                    write_json(about, {"dimension": len(array), "model": self.endpoint.model, "url": self.endpoint.url})
            width = self._width
        if len(array) != width:
            how = "too wide" if len(array) > width else "too narrow"
            return f"vectors of {width:,} numbers as before, found one of {len(array):,} ({how})", None
        return "", array

    # --- what is kept -------------------------------------------------------------------------------------------------

    def _about_file(self) -> Path:
        return cache_folder() / "services" / f"{self.endpoint.identity()}.json"

    def _cache(self, role: str | None) -> VectorCache:
        """Under the model, and the prompt and fields of the role: two roles that are asked alike share theirs."""
        said = {"prompt": self.endpoint.prompts.get(role or "", ""), "fields": self.endpoint.fields.get(role or "", {})}
        setting = content_hash(said)
        if setting not in self._caches:
            bare = dataclasses.replace(self.endpoint, prompts={}, fields={})
            self._caches[setting] = VectorCache(
                content_hash("service", bare.identity()), self._width, setting, cache_folder() / "services"
            )
        self._caches[setting].dimension = self._width
        return self._caches[setting]

    def _kept(self, texts: Sequence[str], role: str | None) -> dict[str, Kept]:
        about = self._about_file()
        if not self._width and about.is_file():
            self._width = int(read_json(about)["dimension"])
        if not self._width:
            return {}
        with self._lock:
            cache = self._cache(role)
            keys = [cache.key(text) for text in texts]
            found = cache.get(keys)
        return {text: found[key][:2] for text, key in zip(texts, keys, strict=True) if key in found}

    def _keep(self, good: dict[str, Kept], role: str | None) -> None:
        if not good:
            return
        with self._lock:
            cache = self._cache(role)
            tokens = np.array([share for _, share in good.values()], np.int64)
            vectors = np.stack([vector for vector, _ in good.values()])
            cache.put([cache.key(text) for text in good], vectors, tokens, np.zeros(len(good), bool))

    # --- saving -------------------------------------------------------------------------------------------------------

    def _write(self, folder: Path) -> dict[str, Any]:
        own = dataclasses.asdict(self.endpoint)
        return own | {"prompts": dict(own["prompts"]), "fields": {k: dict(v) for k, v in own["fields"].items()}}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> ServiceEmbedder:
        own = settings(
            folder, head, name=str, shape=str, model=str, url=str, key=str, prompts=dict, fields=dict, max_items=int,
            max_tokens=int, parallel=int, attempts=int, delay=float, timeout=float, dimensions=int,
        )  # fmt: skip
        return cls(Endpoint(**own), head.get("name", ""), head.get("card"))


def _guess(text: str) -> float:
    return len(text.encode()) / BYTES_A_TOKEN + 1


def _about(texts: Sequence[str]) -> str:
    """The first text, and how many come with it."""
    first = " ".join(texts[0].split())
    shown = repr(first if len(first) <= 60 else first[:59] + "…")
    return f"the text {shown}" if len(texts) == 1 else f"the text {shown} and {len(texts) - 1} more"


def _shared(texts: Sequence[str], tokens: int | None) -> list[int]:
    """Tokens of a request among its texts by their bytes, whole numbers that come to the same sum; guessed where the
    service counted none."""
    sizes = [max(1, len(text.encode())) for text in texts]
    if tokens is None:
        return [round(_guess(text)) for text in texts]
    ends = np.cumsum(sizes) * tokens // sum(sizes)
    return [int(n) for n in np.diff(ends, prepend=0)]
