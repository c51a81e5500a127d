"""Requests that are sent until they are answered: back-off, Retry-After, a bound on the whole time of an answer; and
the shapes of request and answer, three for vectors and one for the order of documents.

OpenAI's, as its API reference has it: ``{"model", "input": [...]}`` in, ``{"data": [{"index", "embedding"}], "usage":
{"prompt_tokens"}}`` out. Cohere's ``/v2/embed``: ``{"model", "texts", "input_type", "embedding_types": ["float"]}`` in,
``{"embeddings": {"float": [...]}, "meta": {"billed_units": {"input_tokens"}}}`` out. Google's ``batchEmbedContents``:
one request for every text, so that no two are made into one vector.

``/rerank``, as Cohere, Jina, vLLM, llama-server, LiteLLM and ``umekomi serve`` have it: ``{"model", "query",
"documents", "top_n"}`` in, ``{"results": [{"index", "relevance_score"}]}`` out; Voyage says ``top_k`` and ``data``.
What was used stands in ``usage.total_tokens``, of Cohere in ``meta.billed_units.search_units``.
"""

from __future__ import annotations

import email.utils
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from umekomi.errors import MissingExtra, UmekomiError, WrongUse
from umekomi.models.services.endpoints import Endpoint
from umekomi.models.services.money import SEARCH
from umekomi.progress import say

if TYPE_CHECKING:
    import httpx

AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""Answers after which the same request is sent again."""
LONGEST = 600.0
"""Seconds of Retry-After that are waited for; a service that asks for more is named."""


class Stopped(UmekomiError):
    """Another request failed or Ctrl-C was pressed: this one is given up."""


class Answer(NamedTuple):
    """A vector or None for every text asked for, in their order, or (index, score) of every document that was ordered;
    and the tokens that the service counted (of one that counts searches: :data:`SEARCH` for each)."""

    found: list[Any]
    tokens: int | None


class Wire:
    """The connection to one endpoint. Threads may share it; ``stop`` ends all waiting, and what is under way is still
    read: it is paid for."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.stop = threading.Event()
        self.attempts = 0
        self._answered = self._told = False
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def client(self) -> httpx.Client:
        """Made when first needed."""
        with self._lock:
            if self._client is None:
                try:
                    import httpx
                except ImportError:
                    raise MissingExtra("httpx", "services", f"the service {self.endpoint.name}") from None
                secret = self.endpoint.secret()
                headers = {"User-Agent": "umekomi"}
                if secret and self.endpoint.shape == "google":
                    headers["x-goog-api-key"] = secret
                elif secret:
                    headers["Authorization"] = f"Bearer {secret}"
                limits = httpx.Limits(max_connections=max(4, self.endpoint.parallel + 1))
                self._client = httpx.Client(timeout=self.endpoint.timeout, headers=headers, limits=limits)
            return self._client

    def post(self, path: str, body: dict[str, Any], about: str) -> dict[str, Any]:
        """The answer to one request, a JSON object; ``about`` names its texts for an error."""
        client, who = self.client(), self.endpoint.name
        import httpx

        url = f"{self.endpoint.url}/{path}"
        why = ""
        for attempt in range(1, self.endpoint.attempts + 1):
            if self.stop.is_set():
                raise Stopped(f"{who}: given up")
            wait: float | None = None
            with self._lock:
                self.attempts += 1
            try:
                status, headers, content = self._sent(client, url, body)
            except httpx.TimeoutException:
                why = f"no whole answer within {self.endpoint.timeout:g} seconds"
            except httpx.TransportError as error:
                why = f"the connection fails: {_line(error) or type(error).__name__}"
                if isinstance(error, (httpx.ConnectError, httpx.UnsupportedProtocol)) and not self._answered:
                    raise UmekomiError(f"{who}: the service cannot be reached at {url}: {_line(error)}") from None
            except httpx.HTTPError as error:
                raise UmekomiError(f"{who}: {url}: {_line(error)}") from None
            else:
                self._answered = True
                if status == 200:
                    try:
                        answer = json.loads(content)
                    except ValueError:
                        why = f"the answer is no whole JSON ({len(content):,} bytes, ending in {_tail(content)})"
                    else:
                        if isinstance(answer, dict):
                            return answer
                        raise UmekomiError(f"{who}: expected a JSON object, found {type(answer).__name__}, for {about}")
                elif status in AGAIN:
                    why = f"it answers {status}: {self._message(content)}"
                    wait = _retry_after(headers.get("retry-after"))
                else:
                    raise self._refusal(status, url, self._message(content), about)
            if attempt < self.endpoint.attempts:
                self._pause(self._wait(attempt, wait, why), why)
        times = "once" if self.endpoint.attempts == 1 else f"{self.endpoint.attempts} times"
        raise UmekomiError(f"{who}: asked {times} for {about}, in vain: {why}")

    def _sent(self, client: httpx.Client, url: str, body: dict[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        """(status, headers, content). A client's timeout begins anew with every byte, this one does not: a slow drip
        ends, too."""
        import httpx

        end = time.monotonic() + self.endpoint.timeout
        parts = []
        with client.stream("POST", url, json=body) as response:
            for part in response.iter_bytes():
                parts.append(part)
                if time.monotonic() > end:
                    raise httpx.ReadTimeout("dripping")
        return response.status_code, response.headers, b"".join(parts)

    def _wait(self, attempt: int, asked: float | None, why: str) -> float:
        if asked is None:
            wait = self.endpoint.delay * 2 ** (attempt - 1)
            return float(min(wait, 60.0) * (1 + random.random() / 4))
        if asked > LONGEST:
            raise UmekomiError(f"{self.endpoint.name}: the service asks to wait {asked:,.0f} seconds ({why})")
        return asked

    def _pause(self, seconds: float, why: str) -> None:
        if seconds > 2 and not self._told:
            self._told = True
            say(f"{self.endpoint.name}: waiting {seconds:.0f} s and then asking again: {why}")
        self.stop.wait(seconds)

    def _refusal(self, status: int, url: str, message: str, about: str) -> UmekomiError:
        who = self.endpoint.name
        if status in (401, 403):
            names = " or ".join(self.endpoint.key.split(",")) or "none: name its variable with #key=NAME"
            return WrongUse(f"{who}: the service refuses the key ({names}): {status}: {message}")
        if status == 404:
            return WrongUse(
                f"{who}: expected the model {self.endpoint.model} at {url}, the service answers 404: {message}"
            )
        if 300 <= status < 400:
            return WrongUse(f"{who}: expected an answer at {url}, the service points elsewhere ({status})")
        return UmekomiError(f"{who}: the service answers {status} for {about}: {message}")

    def _message(self, content: bytes) -> str:
        """What an error's body says, in one line, without the key."""
        text = content.decode("utf-8", "replace")
        try:
            found: Any = json.loads(text)
            for word in ("error", "message", "detail"):
                if isinstance(found, dict) and word in found:
                    found = found[word]
            text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        except ValueError:
            pass
        secret = self.endpoint.secret()
        line = " ".join((text.replace(secret, "…") if secret else text).split())
        return line[:200] or "nothing more"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _tail(content: bytes) -> str:
    return repr(content[-20:].decode("utf-8", "replace"))


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After, which may be a number or a date; None where it says neither.

    >>> _retry_after("2.5"), _retry_after(None), _retry_after("soon")
    (2.5, None, None)
    """
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


# --- the shapes ------------------------------------------------------------------------------------------------------

Reader = Callable[[dict[str, Any], int], Answer]


def request(endpoint: Endpoint, texts: Sequence[str], role: str | None) -> tuple[str, dict[str, Any]]:
    """(path, body) that ask for the vectors of these texts, prompts before them."""
    more = dict(endpoint.fields.get(role or "", {}))
    if endpoint.shape == "cohere":
        asked = {"output_dimension": endpoint.dimensions} if endpoint.dimensions else {}
        return "v2/embed", {
            "model": endpoint.model, "texts": list(texts), "embedding_types": ["float"], **asked, **more
        }  # fmt: skip
    if endpoint.shape == "google":
        model = f"models/{endpoint.model.removeprefix('models/')}"
        asked = {"outputDimensionality": endpoint.dimensions} if endpoint.dimensions else {}
        return f"v1beta/{model}:batchEmbedContents", {
            "requests": [{"model": model, "content": {"parts": [{"text": text}]}, **asked, **more} for text in texts]
        }
    word = "output_dimension" if "voyageai.com" in endpoint.url else "dimensions"
    asked = {word: endpoint.dimensions} if endpoint.dimensions else {}
    return "embeddings", {"model": endpoint.model, "input": list(texts), **asked, **more}


def read(endpoint: Endpoint, answer: dict[str, Any], count: int) -> Answer:
    """The vectors that an answer holds; the error for one of another shape."""
    reader: Reader = {"openai": _openai, "cohere": _cohere, "google": _google}[endpoint.shape]
    return _shaped(endpoint, answer, f"the shape of {endpoint.shape}'s embeddings", lambda: reader(answer, count))


def rerank_request(endpoint: Endpoint, query: str, documents: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """(path, body) that ask for the scores of all these documents."""
    word = "top_k" if "voyageai.com" in endpoint.url else "top_n"
    return "v2/rerank" if endpoint.shape == "cohere" else "rerank", {
        "model": endpoint.model, "query": query, "documents": list(documents), word: len(documents),
        **endpoint.fields.get("", {}),
    }  # fmt: skip


def read_scores(endpoint: Endpoint, answer: dict[str, Any], by_search: bool) -> Answer:
    """The (index, score) pairs that an answer holds, whatever they are; the error for one of another shape."""

    def scores() -> Answer:
        rows = answer["results"] if "results" in answer else answer["data"]
        scored = [(row["index"], row["relevance_score"]) for row in rows]
        if by_search:
            units = _whole(((answer.get("meta") or {}).get("billed_units") or {}).get("search_units"))
            return Answer(scored, units and units * SEARCH)
        usage = answer.get("usage") or {}
        return Answer(scored, _whole(usage.get("total_tokens") or usage.get("prompt_tokens")))

    return _shaped(endpoint, answer, "results with index and relevance_score", scores)


def _shaped(endpoint: Endpoint, answer: dict[str, Any], what: str, reader: Callable[[], Answer]) -> Answer:
    try:
        taken = reader()
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        shown = json.dumps(answer, ensure_ascii=False)[:160]
        raise UmekomiError(f"{endpoint.name}: expected an answer in {what}, found {shown}") from None
    return taken if taken.tokens is None or taken.tokens >= 0 else Answer(taken.found, None)


def _openai(answer: dict[str, Any], count: int) -> Answer:
    rows = answer["data"]
    usage = answer.get("usage") or {}
    tokens = usage.get("prompt_tokens") or usage.get("total_tokens")
    places = [row.get("index", place) for place, row in enumerate(rows)]
    if len(rows) == count and sorted(places) == list(range(count)):
        vectors: list[Any] = [None] * count
        for place, row in zip(places, rows, strict=True):
            vectors[place] = row["embedding"]
        return Answer(vectors, _whole(tokens))
    return Answer([row["embedding"] for row in rows], _whole(tokens))


def _cohere(answer: dict[str, Any], count: int) -> Answer:
    units = (answer.get("meta") or {}).get("billed_units") or {}
    embeddings = answer["embeddings"]
    return Answer(
        list(embeddings["float"] if isinstance(embeddings, dict) else embeddings), _whole(units.get("input_tokens"))
    )


def _google(answer: dict[str, Any], count: int) -> Answer:
    usage = answer.get("usageMetadata") or {}
    return Answer([None if row is None else row["values"] for row in answer["embeddings"]],
                  _whole(usage.get("promptTokenCount")))  # fmt: skip


def _whole(tokens: Any) -> int | None:
    return int(tokens) if isinstance(tokens, (int, float)) and not isinstance(tokens, bool) else None
