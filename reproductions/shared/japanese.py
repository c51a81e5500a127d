"""Japanese sets that claims share: a paragraph's first sentence and what follows it as weak pairs, JaQuAD's questions
and JSTS's well-scored pairs as supervised ones, and the texts that small networks are pre-trained on. Nothing of what
is judged (the test splits of JSTS and JSQuAD) is in them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pyarrow as pa

from benchmarks.packages import Unavailable
from reproductions.shared import found
from reproductions.shared import small_networks as small
from umekomi.data import load
from umekomi.models import load as load_model
from umekomi.parts.words import split_sentences
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.verbs.reproduce import Measurement

TASKS = ("jsts", "jsquad")
PEERS = (found.E5_SMALL, found.USE, found.MPNET)
"""Published models whose weights packages carry."""
QUICK = {"PEERS": ()}


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


def peer(arm: str, seed: int = 0) -> Any:
    """BM25, minilm, or a published model by the name of its arm."""
    if arm == "bm25":
        return bm25()
    return load_model("minilm") if arm == "minilm" else found.opened(arm)


def peers(claim: str) -> Iterator[Measurement]:
    """The figures that every Japanese table has: measured once for all of them."""
    arms = small.Arms(claim, TASKS, peer, kept_as="japanese peers")
    for arm in ("bm25", "minilm", *PEERS):
        try:
            yield from arms.figures(arm, (0,))
        except Unavailable as error:
            say(f"{arm}: left out: {error}")
