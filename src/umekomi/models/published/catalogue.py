"""Published models by name: what they are, what they want, under which licence, and how they load today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One published model. ``loads``: ``"package"``, ``"sentence-transformers"`` (from the hub as it is), ``"service"``
    or ``"shapes"`` (its folder wants to run code, which umekomi does not: the weights are read into the house's
    layers), or ``"code"`` (not yet). ``context``: the tokens of a text that it reads; 0: all."""

    name: str
    hub: str
    dimensions: int
    context: int
    pooling: str
    licence: str
    loads: str
    prompts: Mapping[str, str] = field(default_factory=dict)
    matryoshka: tuple[int, ...] = ()
    parameters: str = ""
    note: str = ""
    ends_in: str = ""
    """The token that every text must end in, for last-token pooling."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Figures of its makers or of a leaderboard, by a name that says which average they are."""

    @property
    def non_commercial(self) -> bool:
        """Whether the licence forbids commercial use."""
        return "NC" in self.licence or "NonCommercial" in self.licence


_RURI3 = {
    "query": "検索クエリ: ",
    "document": "検索文書: ",
    "classification": "トピック: ",
    "clustering": "トピック: ",
    "similarity": "",
}
_JMTEB = "JMTEB v1, mean over its 16 data sets"
_FLOOR = "pair classification (saying yes to all: 62)"
_KINDS = ("retrieval", "STS", "classification", "reranking", "clustering", _FLOOR)


def _jmteb(average: float, *kinds: float) -> dict[str, float]:
    """The published row: its average, and what its kinds of task come to, where they are given."""
    return {_JMTEB: average} | {f"JMTEB v1, {name}": value for name, value in zip(_KINDS, kinds, strict=bool(kinds))}


_RURI1 = {"query": "クエリ: ", "document": "文章: "}
_QWEN = {
    "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
    "document": "",
}
_NV = "Instruct: Given a question, retrieve passages that answer the question\nQuery: "
_END = "<|endoftext|>"
_ST = "sentence-transformers"
_E5 = {"query": "query: ", "document": "passage: "}
_E5 |= dict.fromkeys(("similarity", "classification", "clustering"), "query: ")


def _mean(hub: str, dimensions: int, context: int, licence: str, parameters: str, **more: Any) -> Entry:
    """A model on the hub under its own name, that sentence-transformers opens and that pools by the mean."""
    name = hub.rpartition("/")[2]
    return Entry(name, hub, dimensions, context, "mean", licence, _ST, parameters=parameters, **more)


def _ruri3(size: str, dimensions: int, parameters: str, *figures: float) -> Entry:
    own: dict[str, Any] = {"prompts": _RURI3, "published": _jmteb(*figures)}
    return _mean(f"cl-nagoya/ruri-v3-{size}", dimensions, 8192, "Apache-2.0", parameters, **own)


def _ruri(size: str, dimensions: int, parameters: str, *figures: float) -> Entry:
    own: dict[str, Any] = {"prompts": _RURI1, "published": _jmteb(*figures) if figures else {}}
    own["note"] = "its tokenizer needs fugashi and unidic-lite"
    return _mean(f"cl-nagoya/ruri-{size}", dimensions, 512, "Apache-2.0", parameters, **own)


def _qwen3(size: str, dimensions: int, parameters: str) -> Entry:
    name = f"Qwen3-Embedding-{size}"
    widths = tuple(sorted({32, 64, 128, 256, 512, 1024, dimensions}))
    own: dict[str, Any] = {"prompts": _QWEN, "matryoshka": widths, "parameters": parameters, "ends_in": _END}
    return Entry(name.lower(), f"Qwen/{name}", dimensions, 32768, "last token", "Apache-2.0", _ST, **own)


def _e5(size: str, dimensions: int, parameters: str) -> Entry:
    return _mean(f"intfloat/multilingual-e5-{size}", dimensions, 512, "MIT", parameters, prompts=_E5)


def _backbone(hub: str, dimensions: int, licence: str, parameters: str) -> Entry:
    note = "a masked language model: a backbone, not trained to embed"
    return _mean(hub, dimensions, 8192, licence, parameters, note=note)


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "minilm",
            "sentence-transformers/all-MiniLM-L6-v2",
            384,
            256,
            "mean",
            "Apache-2.0",
            "package",
            parameters="22.7 M",
        ),
        _ruri3("30m", 256, "37 M", 74.51, 78.08, 82.48, 74.80, 93.00, 52.12, 62.40),
        _ruri3("70m", 384, "70 M", 75.48, 79.96, 79.82, 76.97, 93.27, 52.70, 61.75),
        _ruri3("130m", 512, "132 M", 76.55, 81.89, 79.25, 77.16, 93.31, 55.36, 62.26),
        _ruri3("310m", 768, "315 M", 77.24, 81.89, 81.22, 78.66, 93.43, 55.69, 62.60),
        _ruri("small", 768, "68 M", 71.53),
        _ruri("small-v2", 768, "68 M"),
        _ruri("base", 768, "111 M", 71.91),
        _ruri("base-v2", 768, "111 M"),
        _ruri("large", 1024, "337 M", 73.31, 73.02, 83.13, 77.43, 92.99, 51.82, 62.29),
        _ruri("large-v2", 1024, "337 M", 74.55),
        _qwen3("0.6B", 1024, "0.6 B"),
        _qwen3("4B", 2560, "4 B"),
        _qwen3("8B", 4096, "8 B"),
        Entry(
            "sarashina-embedding-v1-1b",
            "sbintuitions/sarashina-embedding-v1-1b",
            1792,
            8192,
            "last token",
            "Sarashina NonCommercial",
            _ST,
            parameters="1.2 B",
            published=_jmteb(75.50, 77.61, 82.71, 78.37, 93.74, 53.86, 62.00),
        ),
        Entry(
            "sarashina-embedding-v2-1b",
            "sbintuitions/sarashina-embedding-v2-1b",
            1792,
            8192,
            "last token",
            "Sarashina NonCommercial",
            _ST,
            {
                "query": "task: クエリを与えるので、もっともクエリに意味が似ている一節を探してください。\nquery: ",
                "document": "text: ",
                "classification": "task: 与えられたドキュメントを適切なカテゴリに分類してください。\nquery: ",
                "clustering": "task: 与えられたドキュメントのトピックまたはテーマを特定してください。\nquery: ",
            },
            parameters="1.2 B",
        ),
        _e5("small", 384, "118 M"),
        _e5("base", 768, "278 M"),
        _e5("large", 1024, "560 M"),
        Entry(
            "mpnet", "sentence-transformers/all-mpnet-base-v2", 768, 384, "mean", "Apache-2.0", _ST, parameters="109 M"
        ),
        Entry(
            "use-multilingual",
            "google/universal-sentence-encoder/multilingual",
            512,
            0,
            "sum over the square root of the length",
            "Apache-2.0",
            "code",
            parameters="69 M",
            note="a TensorFlow graph on Kaggle, of 16 languages, Japanese among them, without prompts",
        ),
        _backbone("llm-jp/llm-jp-modernbert-base", 768, "Apache-2.0", "187 M"),
        _backbone("sbintuitions/modernbert-ja-30m", 256, "MIT", "37 M"),
        _backbone("sbintuitions/modernbert-ja-70m", 384, "MIT", "70 M"),
        _backbone("sbintuitions/modernbert-ja-130m", 512, "MIT", "132 M"),
        _backbone("sbintuitions/modernbert-ja-310m", 768, "MIT", "315 M"),
        Entry(
            "nv-embed-v2",
            "nvidia/NV-Embed-v2",
            4096,
            32768,
            "latent attention",
            "CC-BY-NC-4.0",
            "shapes",
            {"query": _NV, "document": ""},
            parameters="7.85 B",
            note="its repository's code breaks on transformers 5 (MISTRAL_INPUTS_DOCSTRING is gone); "
            "umekomi reads the weights without it; fp16, 16 GB",
        ),
        Entry(
            "nv-embed-v1",
            "nvidia/NV-Embed-v1",
            4096,
            32768,
            "latent attention",
            "CC-BY-NC-4.0",
            "shapes",
            {"query": _NV, "document": ""},
            parameters="7.85 B",
            note="as nv-embed-v2",
        ),
        Entry(
            "jina-embeddings-v4",
            "jinaai/jina-embeddings-v4",
            2048,
            32768,
            "mean",
            "CC-BY-NC-4.0",
            "code",
            {"query": "Query: ", "document": "Passage: "},
            (128, 256, 512, 1024, 2048),
            "3.8 B",
        ),
        Entry(
            "gemini-embedding-001",
            "",
            3072,
            2048,
            "mean",
            "service",
            "service",
            matryoshka=(768, 1536, 3072),
            note="a paid service; vectors of other versions do not compare; "
            "widths other than 3072 are brought to length one here",
        ),
        Entry(
            "gemini-embedding-2",
            "",
            3072,
            8192,
            "",
            "service",
            "service",
            matryoshka=(768, 1536, 3072),
            note="a paid service; it takes prefixes, not task types, and every text is a request of its own in a "
            "batch, else it makes one vector of them all",
        ),
    )
}
