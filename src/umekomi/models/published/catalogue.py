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
_RURI1 = {"query": "クエリ: ", "document": "文章: "}
_QWEN = {
    "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
    "document": "",
}
_NV = "Instruct: Given a question, retrieve passages that answer the question\nQuery: "
_END = "<|endoftext|>"
_ST = "sentence-transformers"

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
        Entry("ruri-v3-30m", "cl-nagoya/ruri-v3-30m", 256, 8192, "mean", "Apache-2.0", _ST, _RURI3, parameters="37 M"),
        Entry("ruri-v3-70m", "cl-nagoya/ruri-v3-70m", 384, 8192, "mean", "Apache-2.0", _ST, _RURI3, parameters="70 M"),
        Entry(
            "ruri-v3-130m", "cl-nagoya/ruri-v3-130m", 512, 8192, "mean", "Apache-2.0", _ST, _RURI3, parameters="132 M"
        ),
        Entry(
            "ruri-v3-310m", "cl-nagoya/ruri-v3-310m", 768, 8192, "mean", "Apache-2.0", _ST, _RURI3, parameters="315 M"
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
            note="its tokenizer needs fugashi and unidic-lite",
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
            note="its tokenizer needs fugashi and unidic-lite",
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
            note="its tokenizer needs fugashi and unidic-lite",
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
