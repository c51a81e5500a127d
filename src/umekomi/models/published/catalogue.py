"""Published models by name: what they are, what they want, under which licence, and how they load today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """One published model. ``loads``: ``"package"``, ``"sentence-transformers"`` (from the hub as it is), ``"service"``
    or ``"shapes"`` (its folder wants to run code, which umekomi does not: the weights are read into the house's
    layers), or ``"code"`` (not yet)."""

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
_FUGASHI = "its tokenizer needs fugashi and unidic-lite"
_E5 = {"query": "query: ", "document": "passage: ", "similarity": "query: ", "classification": "query: "}
_E5["clustering"] = "query: "

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
        Entry(
            "ruri-v3-30m",
            "cl-nagoya/ruri-v3-30m",
            256,
            8192,
            "mean",
            "Apache-2.0",
            _ST,
            _RURI3,
            parameters="37 M",
            published=_jmteb(74.51, 78.08, 82.48, 74.80, 93.00, 52.12, 62.40),
        ),
        Entry(
            "ruri-v3-70m",
            "cl-nagoya/ruri-v3-70m",
            384,
            8192,
            "mean",
            "Apache-2.0",
            _ST,
            _RURI3,
            parameters="70 M",
            published=_jmteb(75.48, 79.96, 79.82, 76.97, 93.27, 52.70, 61.75),
        ),
        Entry(
            "ruri-v3-130m",
            "cl-nagoya/ruri-v3-130m",
            512,
            8192,
            "mean",
            "Apache-2.0",
            _ST,
            _RURI3,
            parameters="132 M",
            published=_jmteb(76.55, 81.89, 79.25, 77.16, 93.31, 55.36, 62.26),
        ),
        Entry(
            "ruri-v3-310m",
            "cl-nagoya/ruri-v3-310m",
            768,
            8192,
            "mean",
            "Apache-2.0",
            _ST,
            _RURI3,
            parameters="315 M",
            published=_jmteb(77.24, 81.89, 81.22, 78.66, 93.43, 55.69, 62.60),
        ),
        Entry(
            "ruri-small",
            "cl-nagoya/ruri-small",
            768,
            512,
            "mean",
            "Apache-2.0",
            _ST,
            _RURI1,
            parameters="68 M",
            note=_FUGASHI,
            published=_jmteb(71.53),
        ),
        Entry(
            "ruri-small-v2",
            "cl-nagoya/ruri-small-v2",
            768,
            512,
            "mean",
            "Apache-2.0",
            _ST,
            _RURI1,
            parameters="68 M",
            note=_FUGASHI,
        ),
        Entry(
            "ruri-base",
            "cl-nagoya/ruri-base",
            768,
            512,
            "mean",
            "Apache-2.0",
            _ST,
            _RURI1,
            parameters="111 M",
            note=_FUGASHI,
            published=_jmteb(71.91),
        ),
        Entry(
            "ruri-base-v2",
            "cl-nagoya/ruri-base-v2",
            768,
            512,
            "mean",
            "Apache-2.0",
            _ST,
            _RURI1,
            parameters="111 M",
            note=_FUGASHI,
        ),
        Entry(
            "ruri-large",
            "cl-nagoya/ruri-large",
            1024,
            512,
            "mean",
            "Apache-2.0",
            _ST,
            _RURI1,
            parameters="337 M",
            note=_FUGASHI,
            published=_jmteb(73.31, 73.02, 83.13, 77.43, 92.99, 51.82, 62.29),
        ),
        Entry(
            "ruri-large-v2",
            "cl-nagoya/ruri-large-v2",
            1024,
            512,
            "mean",
            "Apache-2.0",
            _ST,
            _RURI1,
            parameters="337 M",
            note=_FUGASHI,
            published=_jmteb(74.55),
        ),
        Entry(
            "qwen3-embedding-0.6b",
            "Qwen/Qwen3-Embedding-0.6B",
            1024,
            32768,
            "last token",
            "Apache-2.0",
            _ST,
            _QWEN,
            (32, 64, 128, 256, 512, 1024),
            "0.6 B",
            ends_in=_END,
        ),
        Entry(
            "qwen3-embedding-4b",
            "Qwen/Qwen3-Embedding-4B",
            2560,
            32768,
            "last token",
            "Apache-2.0",
            _ST,
            _QWEN,
            (32, 64, 128, 256, 512, 1024, 2560),
            "4 B",
            ends_in=_END,
        ),
        Entry(
            "qwen3-embedding-8b",
            "Qwen/Qwen3-Embedding-8B",
            4096,
            32768,
            "last token",
            "Apache-2.0",
            _ST,
            _QWEN,
            (32, 64, 128, 256, 512, 1024, 4096),
            "8 B",
            ends_in=_END,
        ),
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
        Entry(
            "multilingual-e5-small",
            "intfloat/multilingual-e5-small",
            384,
            512,
            "mean",
            "MIT",
            _ST,
            _E5,
            parameters="118 M",
        ),
        Entry(
            "multilingual-e5-base",
            "intfloat/multilingual-e5-base",
            768,
            512,
            "mean",
            "MIT",
            _ST,
            _E5,
            parameters="278 M",
        ),
        Entry(
            "multilingual-e5-large",
            "intfloat/multilingual-e5-large",
            1024,
            512,
            "mean",
            "MIT",
            _ST,
            _E5,
            parameters="560 M",
        ),
        Entry(
            "mpnet", "sentence-transformers/all-mpnet-base-v2", 768, 384, "mean", "Apache-2.0", _ST, parameters="109 M"
        ),
        Entry(
            "llm-jp-modernbert-base",
            "llm-jp/llm-jp-modernbert-base",
            768,
            8192,
            "mean",
            "Apache-2.0",
            _ST,
            parameters="187 M",
            note="a masked language model: a backbone, not trained to embed",
        ),
        Entry(
            "modernbert-ja-30m",
            "sbintuitions/modernbert-ja-30m",
            256,
            8192,
            "mean",
            "MIT",
            _ST,
            parameters="37 M",
            note="a masked language model: a backbone, not trained to embed",
        ),
        Entry(
            "modernbert-ja-70m",
            "sbintuitions/modernbert-ja-70m",
            384,
            8192,
            "mean",
            "MIT",
            _ST,
            parameters="70 M",
            note="a masked language model: a backbone, not trained to embed",
        ),
        Entry(
            "modernbert-ja-130m",
            "sbintuitions/modernbert-ja-130m",
            512,
            8192,
            "mean",
            "MIT",
            _ST,
            parameters="132 M",
            note="a masked language model: a backbone, not trained to embed",
        ),
        Entry(
            "modernbert-ja-310m",
            "sbintuitions/modernbert-ja-310m",
            768,
            8192,
            "mean",
            "MIT",
            _ST,
            parameters="315 M",
            note="a masked language model: a backbone, not trained to embed",
        ),
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
