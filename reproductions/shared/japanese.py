"""Japanese sets that claims share: a paragraph's first sentence and what follows it as weak pairs, JaQuAD's questions
and JSTS's well-scored pairs as supervised ones, and the texts that small networks are pre-trained on. Nothing of what
is judged (the test splits of JSTS and JSQuAD) is in them."""

from __future__ import annotations

from functools import cache
from typing import Any

import pyarrow as pa

from umekomi.data import load
from umekomi.parts.words import split_sentences
from umekomi.recipes import get

TASKS = ("jsts", "jsquad")


@cache
def paragraphs() -> list[str]:
    """JaQuAD's training paragraphs, each once."""
    return list(dict.fromkeys(load("jaquad", "train").corpus["text"].to_pylist()))


@cache
def japanese() -> list[str]:
    """Texts to pre-train on."""
    pairs = load("jsts", "train")
    return [*paragraphs(), *dict.fromkeys(pairs["sentence1"].to_pylist() + pairs["sentence2"].to_pylist())]


@cache
def weak_pairs() -> pa.Table:
    """The first sentence of each paragraph that has two or more, and the rest of it."""
    split = [sentences for sentences in map(split_sentences, paragraphs()) if len(sentences) > 1]
    return pa.table({"anchor": [s[0] for s in split], "positive": ["".join(s[1:]) for s in split]})


def training_sets(weak: bool = True, supervised: bool = True) -> dict[str, Any]:
    """The sets by name, as recipes of two stages take them."""
    strong = {"questions": load("jaquad", "train"), "sts": load("jsts", "train")}
    return ({"weak paragraphs": weak_pairs()} if weak else {}) | (strong if supervised else {})


def bm25() -> Any:
    """BM25 over all that is judged; Japanese words where fugashi is installed."""
    judged = load("jsts", "test")
    texts = [*load("jsquad", "test").corpus["text"].to_pylist(), *judged["sentence1"].to_pylist()]
    return get("bm25")().fit({"text": [*texts, *judged["sentence2"].to_pylist()]})
