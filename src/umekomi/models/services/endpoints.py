"""How a service is named: ``openai:MODEL@URL``, ``cohere:MODEL``, ``google:MODEL``, a maker's name before the model, or
a name of the user's file of endpoints (TOML).

The file is ``umekomi-endpoints.toml`` in the working folder, or the one that ``UMEKOMI_ENDPOINTS`` names::

    [my-bge]                       # a candidate's name
    shape = "openai"
    model = "bge-m3"
    url = "http://localhost:11434/v1"
    key = "MY_KEY"                 # the environment variable that holds it, never the key
    max_items = 64
    prompts = { query = "query: ", document = "passage: " }
    fields.query = { input_type = "search_query" }

    [prices."bge-m3"]              # what a model costs, beside or instead of the table that comes along
    usd = 0.01
    date = "2026-11-01"
    source = "the invoice"

The same words stand behind a ``#`` in a name: ``openai:bge-m3@http://localhost:11434/v1#key=MY_KEY&query=query: ``.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from umekomi.errors import DataError, WrongUse, unknown_name
from umekomi.files import content_hash

FILE = "umekomi-endpoints.toml"
SHAPES = ("openai", "cohere", "google")
"""Whose requests and answers: OpenAI's ``/v1/embeddings``, Cohere's ``/v2/embed``, Google's ``batchEmbedContents``."""


@dataclass(frozen=True)
class Endpoint:
    """One model of one service.

    Args:
        name: what the user calls it.
        shape: one of :data:`SHAPES`.
        model: what the service calls it.
        url: where it answers, without the last words of the path.
        key: the environment variables of which the first that is set holds the key, by commas; empty: it wants none.
        prompts: what stands before a text, by role.
        fields: what a request says beside, by role; ``""`` is of a text without one.
        max_items: texts of one request at most.
        max_tokens: tokens of one request at most, guessed from bytes.
        parallel: requests at once.
        attempts: how often a request is sent when the service is busy or fails.
        delay: seconds before the second attempt, doubled each time, where the service does not say how long.
        timeout: seconds that one request may take, all of it.
        dimensions: asked for, where the service can cut; 0: as it comes.
    """

    name: str
    shape: str
    model: str
    url: str
    key: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    max_items: int = 128
    max_tokens: int = 100_000
    parallel: int = 4
    attempts: int = 6
    delay: float = 1.0
    timeout: float = 60.0
    dimensions: int = 0

    def __post_init__(self) -> None:
        who = f"service {self.name}"
        if self.shape not in SHAPES:
            raise WrongUse(f"{who}, shape: expected {', '.join(SHAPES)}, found {self.shape!r:.60}")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WrongUse(f"{who}, url: expected one that begins with http:// or https://, found {self.url!r:.100}")
        if parts.username or parts.password:
            raise WrongUse(f"{who}, url: expected none with a password in it; keys stand in environment variables")
        if not self.model:
            raise WrongUse(f"{who}: expected a model's name before the URL, found none")
        for setting in ("max_items", "max_tokens", "parallel", "attempts"):
            if getattr(self, setting) < 1:
                raise WrongUse(f"{who}, {setting}: expected 1 or more, found {getattr(self, setting)}")
        if self.delay <= 0 or self.timeout <= 0 or self.dimensions < 0:
            raise WrongUse(f"{who}: expected a delay and a timeout above zero, and dimensions of 0 or more")
        if any(name and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in self.key.split(",")):
            raise WrongUse(f"{who}, key: expected the name of an environment variable, found no such name")

    def identity(self) -> str:
        """Names what makes the vectors: not how fast it is asked, nor with whose key."""
        return content_hash(
            "service", self.shape, self.url, self.model, self.dimensions, dict(self.prompts),
            {role: dict(more) for role, more in self.fields.items()},
        )  # fmt: skip

    def secret(self) -> str:
        """The key, or the error that says which variable is to hold it; empty where none is wanted."""
        names = [name for name in self.key.split(",") if name]
        value = next((os.environ[name] for name in names if os.environ.get(name)), "")
        if names and not value:
            raise WrongUse(f"{self.name} is a service that wants a key: set {' or '.join(names)} to it")
        return value


def _by(field_name: str, **words: str) -> dict[str, dict[str, str]]:
    return {role: {field_name: word} for role, word in words.items()}


MAKERS: dict[str, dict[str, Any]] = {
    "openai": {
        "shape": "openai", "url": "https://api.openai.com/v1", "key": "OPENAI_API_KEY",
        "max_items": 2048, "max_tokens": 300_000,
    },
    "voyage": {
        "shape": "openai", "url": "https://api.voyageai.com/v1", "key": "VOYAGE_API_KEY", "max_items": 1000,
        "fields": _by("input_type", query="query", document="document"),
    },
    "mistral": {
        "shape": "openai", "url": "https://api.mistral.ai/v1", "key": "MISTRAL_API_KEY",
        "max_items": 256, "max_tokens": 16_000,
    },
    "jina": {
        "shape": "openai", "url": "https://api.jina.ai/v1", "key": "JINA_API_KEY",
        "fields": _by("task", query="retrieval.query", document="retrieval.passage", similarity="text-matching",
                      classification="classification", clustering="separation"),
    },
    "ollama": {"shape": "openai", "url": "http://localhost:11434/v1", "parallel": 1},
    "cohere": {
        "shape": "cohere", "url": "https://api.cohere.com", "key": "CO_API_KEY,COHERE_API_KEY", "max_items": 96,
        "fields": {"": {"input_type": "search_document"}}
        | _by("input_type", query="search_query", document="search_document", classification="classification",
              clustering="clustering"),
    },
    "google": {
        "shape": "google", "url": "https://generativelanguage.googleapis.com", "key": "GEMINI_API_KEY,GOOGLE_API_KEY",
        "max_items": 100,
    },
}  # fmt: skip
"""What is known of each maker, read in November 2026:

- OpenAI: 2,048 texts and 300,000 tokens of a request: its API reference, Create embeddings.
- Voyage: 1,000 texts, and 120,000 tokens for the models that take least; input_type:
  docs.voyageai.com/docs/embeddings.
- Mistral: 256 texts, 257 are refused: rig-core 0.42.0 (providers/mistral/embedding.rs), which asked; 16,000 tokens:
  langchain-mistralai (MAX_TOKENS). Mistral's own reference says neither.
- Jina: the tasks: docs.pixeltable.com/sdk/latest/jina and qdrant.tech's page, after Jina's API. How many texts it takes
  could be found nowhere: the 128 are ours.
- Ollama: one slot, however many requests: OLLAMA_NUM_PARALLEL is 1 unless set (0.20.3), and for embedding models
  server/sched.go keeps it there.
- Cohere: 96 texts, input_type: cohere-python, ``embed``. Its models must be told a type: a text without a role is a
  document.
- Google: 100 texts: "at most 100 requests can be in one batch" (langchainjs #4491, vercel/ai #16575).
"""
RERANKERS: dict[str, dict[str, Any]] = {
    "cohere": {"max_items": 1000},
    "voyage": {"max_items": 1000, "max_tokens": 300_000},
    "jina": {"fields": {"": {"return_documents": False}}},
}
"""What differs where a maker orders documents, read in November 2026. Cohere: 10,000 of a request
(docs.cohere.com/docs/reranking-best-practices), of which its API reference recommends 1,000. Voyage: 1,000, and 300,000
tokens for the models that take least, 600,000 for rerank-2.5, the query's counted with every document
(docs.voyageai.com/docs/reranker). Jina sends the documents back where it is not told otherwise (jina.ai/reranker)."""
LISTWISE = ("jina-reranker-v3",)
"""Beginnings of names of rerankers that read all documents of a request together (jina.ai/models/jina-reranker-v3):
a score is one among these documents, and none of the pair alone."""
GOOGLE_TASKS = {
    "query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "similarity": "SEMANTIC_SIMILARITY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
    "question": "QUESTION_ANSWERING",
    "fact": "FACT_VERIFICATION",
    "code": "CODE_RETRIEVAL_QUERY",
}
"""gemini-embedding-001's task type for each role; without a role it is told none."""
GOOGLE_PROMPTS = {
    "query": "task: search result | query: ",
    "document": "title: none | text: ",
    "similarity": "task: sentence similarity | query: ",
    "classification": "task: classification | query: ",
    "clustering": "task: clustering | query: ",
    "question": "task: question answering | query: ",
    "fact": "task: fact checking | query: ",
    "code": "task: code retrieval | query: ",
}
"""What gemini-embedding-2 wants before a text instead: it takes a task type without a word and does not use it (mteb
#4851 measured the same vectors for every one)."""
ROLES = tuple(GOOGLE_PROMPTS)
"""Whose prompts a name may give behind its #; the file of endpoints takes any role."""
BEFORE = frozenset({"name", "shape", "model", "url", "prompts", "fields"})
"""Settings that are no words behind the #."""
SCHEMES = tuple(MAKERS)
_SPEC = re.compile(r"(?P<maker>[a-z]+):(?P<model>.*?)(?:@(?P<url>https?://[^#]*))?(?:#(?P<more>.*))?", re.DOTALL)


def is_spec(name: str) -> bool:
    """Does a name begin with a maker and a colon?

    >>> is_spec("openai:bge-m3@http://localhost:8000/v1"), is_spec("minilm"), is_spec("mteb:stsb")
    (True, False, False)
    """
    return name.partition(":")[0] in MAKERS and ":" in name


def is_service(name: str) -> bool:
    """Does a name lead to a service: one with a maker before it, or one of the user's file?"""
    return is_spec(name) or name in _entries()


def check_maker(name: str) -> None:
    """The error for a name that looks like a service's but begins with none that is known.

    >>> check_maker("opnai:m")
    Traceback (most recent call last):
    umekomi.errors.WrongUse: no maker of services named 'opnai'; the nearest: openai
    """
    maker = name.partition(":")[0]
    if ":" in name and re.fullmatch(r"[a-z]{2,}", maker) and maker not in MAKERS:
        raise unknown_name("maker of services", maker, MAKERS)


def endpoint_of(name: str, reranks: bool = False) -> Endpoint:
    """The endpoint that a name leads to, as an embedder is asked or, where it ``reranks``, as a reranker is.

    >>> endpoint_of("openai:bge-m3@http://localhost:8000").url
    'http://localhost:8000/v1'
    """
    if not is_spec(name):
        entries = _entries()
        if name not in entries:
            raise unknown_name("endpoint", name, entries)
        return _of_file(name, entries[name], reranks)
    parts = _SPEC.fullmatch(name)
    assert parts is not None
    more = _settings_of(parts["more"] or "", name)
    return _endpoint(name, parts["maker"], {"model": parts["model"]} | more, parts["url"] or "", reranks)


def _endpoint(name: str, maker: str, settings: Mapping[str, Any], url: str, reranks: bool) -> Endpoint:
    """With what is known of the maker; its key goes to its own address only. A reranker is told the fields of the role
    ``rerank`` with every request, and none of an embedder's."""
    known = dict(MAKERS[maker])
    if reranks:
        if known["shape"] == "google":
            raise WrongUse(f"{name}: expected a service that answers at /rerank, found {maker}, which has none")
        known |= {"fields": {}} | RERANKERS.get(maker, {})
    if "fields" in settings:
        own = dict(settings["fields"])
        alone = own.pop("rerank", {})
        settings = {**settings, "fields": {"": alone} if reranks else own}
    if url:
        known["url"] = _completed(url, known["shape"])
        if urlsplit(url).hostname != urlsplit(MAKERS[maker]["url"]).hostname:
            known.pop("key", None)
    if known["shape"] == "google":
        second = str(settings.get("model", "")).removeprefix("models/").startswith("gemini-embedding-2")
        known |= {"prompts": GOOGLE_PROMPTS} if second else {"fields": _by("taskType", **GOOGLE_TASKS)}
    return Endpoint(name=name, **(known | dict(settings)))


def _completed(url: str, shape: str) -> str:
    """An address as it is used: OpenAI's shape stands under ``/v1`` where no path is named."""
    url = url.rstrip("/")
    for path in ("/embeddings", "/rerank") if shape == "openai" else ("/v2/embed", "/v2/rerank"):
        url = url.removesuffix(path)
    return url + "/v1" if shape == "openai" and not urlsplit(url).path.strip("/") else url


def _settings_of(text: str, name: str) -> dict[str, Any]:
    """``key=MY_KEY&query=query: &parallel=2``: settings by their names, prompts by their roles."""
    out: dict[str, Any] = {}
    kinds = {each.name: each.type for each in dataclasses.fields(Endpoint)}
    for word, value in parse_qsl(text, keep_blank_values=True, strict_parsing=False):
        if word in BEFORE:
            raise WrongUse(f"{name}: {word} stands before the #, or in {FILE}")
        kind = kinds.get(word)
        if kind is None:
            if word not in ROLES:
                raise unknown_name(f"setting or role of {name}", word, [*sorted(set(kinds) - BEFORE), *ROLES])
            out.setdefault("prompts", {})[word] = value
        elif kind == "str":
            out[word] = value
        else:
            try:
                out[word] = int(value) if kind == "int" else float(value)
            except ValueError:
                raise WrongUse(f"{name}, {word}: expected a number, found {value!r:.40}") from None
    return out


# --- the user's file --------------------------------------------------------------------------------------------------


def _file() -> Path | None:
    named = os.environ.get("UMEKOMI_ENDPOINTS")
    path = Path(named or FILE).expanduser()
    if named and not path.is_file():
        raise WrongUse(f"UMEKOMI_ENDPOINTS: {named}: expected a TOML file of endpoints, found none")
    return path if path.is_file() else None


def _read() -> dict[str, Any]:
    path = _file()
    if path is None:
        return {}
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected TOML, found what is none: {error}") from None


def _entries() -> dict[str, dict[str, Any]]:
    """The endpoints of the file, by name."""
    entries = _read()
    strange = next((name for name, value in entries.items() if not isinstance(value, dict)), None)
    if strange is not None:
        raise DataError(f"{_file()}, {strange}: expected a table of settings, found {type(entries[strange]).__name__}")
    return {name: entry for name, entry in entries.items() if name != "prices"}


def own_prices() -> dict[str, Any]:
    """The prices that the user's file names, by model."""
    prices = _read().get("prices", {})
    if not isinstance(prices, dict):
        raise DataError(f"{_file()}, prices: expected tables by model, found {type(prices).__name__}")
    return prices


def _of_file(name: str, entry: Mapping[str, Any], reranks: bool) -> Endpoint:
    where, settings = f"{_file()}, {name}", dict(entry)
    maker = settings.pop("maker", None) or settings.get("shape")
    if maker not in MAKERS:
        raise DataError(f"{where}: expected a shape among {', '.join(SHAPES)}, or a maker; found {maker!r:.40}")
    like = {each.name: each for each in dataclasses.fields(Endpoint)}
    types: dict[str, tuple[type, ...]] = {
        "int": (int,), "float": (int, float), "str": (str,), "Mapping[str, str]": (dict,),
        "Mapping[str, Mapping[str, Any]]": (dict,),
    }  # fmt: skip
    for word, value in settings.items():
        if word not in like or word == "name":
            known = ", ".join(each for each in like if each != "name")
            raise DataError(f"{where}: expected {known}, found {word!r:.40}")
        if not isinstance(value, types[str(like[word].type)]) or isinstance(value, bool):
            raise DataError(f"{where}, {word}: expected {like[word].type}, found {value!r:.60}")
    for word in ("prompts", "fields"):
        inner = str if word == "prompts" else dict
        strange = next((each for each in settings.get(word, {}).items() if not isinstance(each[1], inner)), None)
        if strange is not None:
            raise DataError(f"{where}, {word}.{strange[0]}: expected {inner.__name__}, found {strange[1]!r:.60}")
    if "url" not in settings and "maker" not in entry:
        raise DataError(f"{where}: expected a url, found none")
    url = settings.get("url", "")
    if url:
        settings["url"] = _completed(url, MAKERS[maker]["shape"])
    return _endpoint(name, maker, settings, url, reranks)
