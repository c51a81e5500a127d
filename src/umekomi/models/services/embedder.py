"""A service as an embedder: asked in parallel, never twice for the same text, and believed only where every text has a
vector of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.caching import VectorCache
from umekomi.errors import UmekomiError, WrongUse
from umekomi.files import cache_folder, content_hash, read_json, write_json
from umekomi.models.base import TextFace
from umekomi.models.services.endpoints import Endpoint
from umekomi.models.services.service import Kept, Outcome, Service, guess, shared, shown
from umekomi.models.services.wire import read, request
from umekomi.progress import Progress, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats


class ServiceEmbedder(Service, TextFace):
    """An embedder behind HTTP. A text that was answered once is kept in the cache folder under the model, its prompt
    and its content, and never paid for again."""

    kind = "service"
    costly = True

    def __init__(self, endpoint: Endpoint, name: str = "", card: dict[str, Any] | None = None) -> None:
        super().__init__(endpoint, name, card)
        self._caches: dict[str, VectorCache] = {}
        self._width = endpoint.dimensions

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
        return np.array(
            [known[text][1] if text in known else round(guess(self._prompted(role, text))) for text in items], np.int64
        )

    def to_ask(self, items: Sequence[str], role: str | None = None) -> list[str]:
        """Those of the texts that are not kept: what encoding them costs money for."""
        texts = list(dict.fromkeys(items))
        known = self._kept(texts, role)
        return [text for text in texts if text not in known]

    def seconds_of(self, text: str, role: str | None = None) -> float:
        """Seconds from a text to its vector, asked anew whatever is kept; the bill's texts a second know nothing of
        it."""
        with self._begun():
            good, problem = self._one([text], role)
        self._keep(good, role)
        if problem is not None:
            raise problem
        return self.bill.waits[-1]

    def _ask(self, texts: list[str], role: str | None, bar: Progress | None) -> dict[str, Kept]:
        batches = self._batched(texts, lambda text: guess(self._prompted(role, text)))
        requests = (partial(self._one, batch, role) for batch in batches)
        return self._ask_all(requests, lambda good: self._keep(good, role), bar)

    def _one(self, texts: list[str], role: str | None) -> Outcome[str]:
        """One request: what of its answer is good, and what is wrong with the rest."""
        sent = [self._prompted(role, text) for text in texts]
        # no tokenizer makes more tokens of a text than it has bytes, but for those at its two ends
        most = sum(len(text.encode()) + 4 for text in sent)
        path, body = request(self.endpoint, sent, role)
        bought = self._buy(path, body, shown(texts), most, lambda answer: read(self.endpoint, answer, len(texts)))
        vectors, tokens = bought.answer
        shares = [round(guess(text)) for text in sent] if tokens is None else shared(sent, tokens)
        self._count(sum(shares), tokens is not None, bought.seconds if len(texts) == 1 else None)
        return self._checked(texts, vectors, shares)

    def _checked(self, texts: list[str], vectors: list[Any], shares: list[int]) -> Outcome[str]:
        """Good vectors by their texts, and the error that names the first text whose vector is not."""
        if len(vectors) != len(texts):
            return {}, UmekomiError(
                f"{self.name}: expected {len(texts)} vectors, found {len(vectors)}, for {shown(texts)}"
                + ("; if it makes one of several texts, set max_items to 1" if len(vectors) == 1 else "")
            )
        good: dict[str, Kept] = {}
        problem = ""
        for text, vector, share in zip(texts, vectors, shares, strict=True):
            wrong, array = self._problem(vector)
            if wrong:
                problem = problem or f"{self.name}: expected {wrong}, for {shown([text])}"
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
            entries = cache.get(keys)
        return {text: entries[key][:2] for text, key in zip(texts, keys, strict=True) if key in entries}

    def _keep(self, good: dict[str, Kept], role: str | None) -> None:
        if not good:
            return
        with self._lock:
            cache = self._cache(role)
            tokens = np.array([share for _, share in good.values()], np.int64)
            vectors = np.stack([vector for vector, _ in good.values()])
            cache.put([cache.key(text) for text in good], vectors, tokens, np.zeros(len(good), bool))
