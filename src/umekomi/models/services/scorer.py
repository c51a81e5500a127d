"""A service as a reranker: asked once for all documents of a query, never twice for the same pair, and believed only
where every document has a score of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from umekomi.caching import VectorCache
from umekomi.errors import UmekomiError, WrongUse
from umekomi.files import cache_folder, content_hash
from umekomi.models.base import Scorer
from umekomi.models.services.endpoints import LISTWISE, Endpoint
from umekomi.models.services.money import BYTES_A_TOKEN, CHUNK, CHUNKS, SEARCH
from umekomi.models.services.service import Kept, Outcome, Service, guess, shared, shown
from umekomi.models.services.wire import read_scores, rerank_request

LARGEST = float(np.finfo(np.float32).max)
Pair = tuple[str, str]
"""A query and a document."""


class ServiceScorer(Service, Scorer):
    """A reranker behind HTTP, at ``/rerank`` (:mod:`umekomi.models.services.wire`). A pair that was answered once is
    kept in the cache folder under the model, the prompts and both texts, and never paid for again; one of a reranker
    that reads its documents together, under all of them. A blank document is not sent: it stands below the query's
    others."""

    kind = "service-scorer"
    reranks = True
    by_query = True

    def __init__(self, endpoint: Endpoint, name: str = "", card: dict[str, Any] | None = None) -> None:
        super().__init__(endpoint, name, card)
        self._caches: dict[str, VectorCache] = {}

    # --- scoring ------------------------------------------------------------------------------------------------------

    def _score(self, a: list[Any], b: list[Any], condition: Sequence[str] | None) -> Any:
        lists = self._lists(a, b)
        known = {query: self._kept(query, documents) for query, documents in lists.items()}
        requests = (
            partial(self._one, query, batch, documents)
            for query, documents in lists.items()
            for batch in self._batches(query, self._missing(documents, known[query]))
        )
        if any(self._missing(documents, known[query]) for query, documents in lists.items()):
            for (query, document), kept in self._ask_all(requests, lambda good: self._keep(good, lists), None).items():
                known[query][document] = kept
        lowest = {query: min((score for score, _ in own.values()), default=1.0) for query, own in known.items()}
        return np.array(
            [
                known[query][document][0] if document.strip() else lowest[query] - 1
                for query, document in zip(a, b, strict=True)
            ],
            np.float32,
        )

    def _lists(self, a: Sequence[Any], b: Sequence[Any]) -> dict[str, list[str]]:
        """The documents to be ordered for each query, each once, without blank ones."""
        lists: dict[str, dict[str, None]] = {}
        for place, (query, document) in enumerate(zip(a, b, strict=True)):
            if not isinstance(query, str) or not isinstance(document, str) or not query.strip():
                found = "an empty query" if isinstance(query, str) and isinstance(document, str) else "no text"
                raise WrongUse(f"{self.name}: expected queries and documents, found {found} in pair {place + 1}")
            own = lists.setdefault(query, {})
            if document.strip():
                own[document] = None
        return {query: list(own) for query, own in lists.items()}

    @property
    def _together(self) -> bool:
        """Does it read the documents of a request together?"""
        return self.endpoint.model.startswith(LISTWISE)

    def _missing(self, documents: list[str], known: Mapping[str, Kept]) -> list[str]:
        """Those that are asked for."""
        missing = [document for document in documents if document not in known]
        return documents if missing and self._together else missing

    def _batches(self, query: str, documents: Sequence[str]) -> Iterator[list[str]]:
        """As many at once as the service takes, the query's tokens counted with each document's."""
        own = guess(self._prompted("query", query))
        return self._batched(documents, lambda document: own + guess(self._prompted("document", document)))

    def _one(self, query: str, documents: list[str], all_of_it: list[str]) -> Outcome[Pair]:
        """One request: what of its answer is good, and what is wrong with the rest."""
        asked, sent = self._prompted("query", query), [self._prompted("document", each) for each in documents]
        path, body = rerank_request(self.endpoint, asked, sent)
        about = f"{shown(documents, 'document')} of the query {query[:60]!r}"
        most = self._units(asked, sent, 1)
        bought = self._buy(path, body, about, most, lambda answer: read_scores(self.endpoint, answer, self.by_search))
        rows, counted = bought.answer
        tokens = self._units(asked, sent, BYTES_A_TOKEN) if counted is None else counted
        whole = len(documents) == len(all_of_it)  # its time is what a query waits
        self._count(tokens, counted is not None, bought.seconds if whole else None)
        return self._checked(query, documents, rows, shared(sent, tokens))

    def _units(self, query: str, documents: Sequence[str], bytes_a_token: float) -> int:
        """What ordering these is charged for, in tokens: the query's with every document's; or a search for every
        hundred pieces."""
        own, *each = (len(text.encode()) / bytes_a_token + 4 for text in (query, *documents))
        if not self.by_search:
            return round(sum(own + tokens for tokens in each))
        pieces = sum(math.ceil(tokens / max(CHUNK / 10, CHUNK - own)) for tokens in each)
        return math.ceil(pieces / CHUNKS) * SEARCH

    def _checked(
        self, query: str, documents: list[str], rows: Sequence[tuple[Any, Any]], shares: list[int]
    ) -> Outcome[Pair]:
        """Good scores by their pairs, and the error that names the first document that has none. Where an index is none
        of theirs or comes twice, no score of the answer is believed: they may be anybody's."""
        whose = f"of the query {query[:60]!r}"
        places = [index for index, _ in rows]
        strange = [each for each in places if type(each) is not int or not 0 <= each < len(documents)]
        scored = {each for each in places if type(each) is int}
        without = next((n for n in range(len(documents)) if n not in scored), None)
        if strange:
            named = shown([documents[without or 0]], "document")
            last = len(documents) - 1
            return {}, UmekomiError(
                f"{self.name}: expected an index of 0 to {last}, found {strange[0]!r:.40}, for {named} {whose}"
            )
        twice = next((each for each in places if places.count(each) > 1), None)
        if twice is not None:
            named = shown([documents[twice]], "document")
            return {}, UmekomiError(f"{self.name}: expected one score a document, found several for {named} {whose}")
        good: dict[Pair, Kept] = {}
        problem = ""
        for index, score in rows:
            value = score if isinstance(score, (int, float)) and not isinstance(score, bool) else math.nan
            if not math.isfinite(value) or abs(value) > LARGEST:
                found = "null" if score is None else str(score)[:40] if isinstance(score, float) else f"{score!r:.40}"
                problem = problem or f"a finite score, found {found}, for {shown([documents[index]], 'document')}"
            else:
                good[query, documents[index]] = (float(np.float32(value)), shares[index])
        if without is not None:
            named = shown([documents[without]], "document")
            problem = f"{len(documents)} scores, found {len(rows)}: none for {named}"
        if problem:
            return {} if self._together else good, UmekomiError(f"{self.name}: expected {problem} {whose}")
        return good, None

    # --- what it takes ------------------------------------------------------------------------------------------------

    def units(self, a: Sequence[str], b: Sequence[str], asked_anew: bool = False) -> tuple[int, int]:
        """(pairs, tokens) that ordering ``b[i]`` by ``a[i]`` is charged for: as the service counted where it was asked,
        else by bytes; with ``asked_anew`` only of what is not kept. Of a maker that counts searches, the tokens are
        millionths of one."""
        count = total = 0
        for query, documents in self._lists(a, b).items():
            known = self._kept(query, documents)
            missing = self._missing(documents, known)
            if not asked_anew:
                total += sum(known[document][1] for document in documents if document not in missing)
            for batch in self._batches(query, missing):
                sent = [self._prompted("document", document) for document in batch]
                total += self._units(self._prompted("query", query), sent, BYTES_A_TOKEN)
            count += len(missing) if asked_anew else len(documents)
        return count, total

    @property
    def kept(self) -> int:
        """Pairs that are kept, of all queries."""
        with self._lock:
            return len(self._cache())

    # --- what is kept -------------------------------------------------------------------------------------------------

    def _cache(self) -> VectorCache:
        """Scores as vectors of one number."""
        name = content_hash("reranker", self.endpoint.identity())
        if name not in self._caches:
            self._caches[name] = VectorCache(name, 1, "", cache_folder() / "services")
        return self._caches[name]

    def _key(self, query: str, document: str, documents: Sequence[str]) -> str:
        return json.dumps([query, document, content_hash(list(documents)) if self._together else ""])

    def _kept(self, query: str, documents: Sequence[str]) -> dict[str, Kept]:
        with self._lock:
            cache = self._cache()
            keys = [cache.key(self._key(query, document, documents)) for document in documents]
            entries = cache.get(keys)
        return {
            document: (float(entries[key][0][0]), entries[key][1])
            for document, key in zip(documents, keys, strict=True)
            if key in entries
        }

    def _keep(self, good: dict[Pair, Kept], lists: Mapping[str, Sequence[str]]) -> None:
        if not good:
            return
        with self._lock:
            cache = self._cache()
            keys = [cache.key(self._key(query, document, lists[query])) for query, document in good]
            scores = np.array([[score] for score, _ in good.values()], np.float32)
            shares = np.array([share for _, share in good.values()], np.int64)
            cache.put(keys, scores, shares, np.zeros(len(good), bool))
