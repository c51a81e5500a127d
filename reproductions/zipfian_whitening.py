"""Zipfian whitening's claim: whitening under the words' own probabilities beats whitening, and centring, under a
uniform one.

The paper's tables are GloVe, word2vec and fastText of billions of words; ours are minilm's token vectors (each through
the model once) and word2vec vectors that gensim trains here on english-novels and brown (200 dimensions, 5 epochs), and
for Japanese on JaQuAD's paragraphs cut by fugashi. A sentence is the mean of its words' vectors. Frequencies are
wordfreq's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from umekomi.data import load
from umekomi.data.frequencies import of_tokens, of_words
from umekomi.data.vocabulary import count_tokens, split_words
from umekomi.models import load as load_model
from umekomi.models.bags import BagEmbedder
from umekomi.models.static import StaticEmbedder
from umekomi.recipes import get
from umekomi.statistics import spearman
from umekomi.tasks.pairs import pair_scores
from umekomi.transforms import AllButTheTop, Sif, Whitening, ZipfianCentring, ZipfianWhitening
from umekomi.verbs.reproduce import Claim, Measurement, cached

ENGLISH = ("sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sick-r")
QUICK = {"ENGLISH": ("stsb", "sick-r"), "SEEDS": (0,), "RESAMPLES": 20}
SEEDS = (0, 1, 2)
RESAMPLES = 300
PAPER = {  # word2vec, GloVe 840B: average of the same sets, Spearman × 100
    "as it is": "63.30 / 52.69",
    "uniform centring": "62.10 / 50.87",
    "uniform whitening": "62.64 / 58.74",
    "Zipfian centring": "64.65 / 61.04",
    "Zipfian whitening": "67.19 / 67.75",
    "all but the top": "62.89 / 60.36",
    "SIF": "66.34 / 62.30",
}


@cache
def minilm_table() -> tuple[StaticEmbedder, Any]:
    model = get("static")(whiten="none", dimensions=384, texts=0).fit(start=load_model("minilm"))
    return model, of_tokens(model.tokenizer, "en")


@cache
def word2vec(language: str, seed: int) -> tuple[BagEmbedder, Any]:
    """Skip-gram with negative sampling: gensim's, one worker so that a seed is a model."""
    if language == "en":
        texts = [
            s
            for name in ("english-novels", "brown")
            for document in load(name)["train"]["document"].to_pylist()
            for s in document
        ]
    else:
        texts = load("jaquad")["train"].corpus["text"].to_pylist()
    found = count_tokens(split_words(texts, "auto"), 5)

    def train() -> list[Any]:
        from gensim.models import Word2Vec

        sentences = [found.text(i) for i in range(len(texts))]
        model = Word2Vec(
            sentences, vector_size=200, window=5, negative=5, min_count=5, sg=0, epochs=5, workers=1, seed=seed
        )
        return [model.wv[found.names].astype(np.float32)]

    (vectors,) = cached(["cbow", language, seed, len(texts), len(found.ids)], train)
    return BagEmbedder(
        found.names, vectors, tokenizer="plain" if language == "en" else "surfaces", name=f"word2vec {seed}"
    ), of_words(found.names, language)


def arms(model: Any, p: Any, sentences: list[str]) -> Iterator[tuple[str, Any]]:
    """The model as it is, and behind each transform. SIF takes its common component, and all-but-the-top nothing, from
    the sentences judged on, as their papers do."""
    table = model.table if isinstance(model, StaticEmbedder) else model.vectors
    yield "as it is", model
    yield "uniform centring", model.with_transform(ZipfianCentring().fit(table, weights=np.ones(len(table))))
    yield "uniform whitening", model.with_transform(Whitening().fit(table))
    yield "Zipfian centring", model.with_transform(ZipfianCentring().fit(table, weights=p))
    yield "Zipfian whitening", model.with_transform(ZipfianWhitening().fit(table, weights=p))
    top = AllButTheTop(3).fit(table)
    yield "all but the top", changed(model, top.transform(table))
    weighted = model.with_transform(Sif(1e-3).fit(table, weights=p))
    yield "SIF", weighted.with_transform(AllButTheTop(1, centre=False).fit(weighted.encode(sentences)))


def changed(model: Any, table: Any) -> Any:
    """The same tokens or words with another table."""
    if isinstance(model, StaticEmbedder):
        return StaticEmbedder(model.tokenizer, table.astype(np.float32), model.name)
    return BagEmbedder(model.names, table.astype(np.float32), tokenizer=model.tokenizer, name=model.name)


def judge(model: Any, sets: tuple[str, ...]) -> list[Any]:
    """For each set ``[pairs, 2]``: gold and predicted."""
    out = []
    for name in sets:
        data = load(name)
        table = data["test"] if "test" in data.splits and data["test"].num_rows else data["dev"]
        out.append(np.column_stack([table["score"].to_numpy(), pair_scores(model, table, 256, False)]))
    return out


def averages(runs: list[list[Any]]) -> Any:
    """[the average of Spearman over sets, mean over seeds; the same on :data:`RESAMPLES` resamples of every set's
    pairs]."""
    generator = np.random.default_rng(0)
    rows = [[generator.integers(0, len(values), len(values)) for values in runs[0]] for _ in range(RESAMPLES)]
    point = np.mean([[spearman(values) for values in run] for run in runs])
    drawn = [
        np.mean([[spearman(values[chosen]) for values, chosen in zip(run, row, strict=True)] for run in runs])
        for row in rows
    ]
    return np.array([point, *drawn])


def bounds(values: Any) -> tuple[float, float, float]:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    shift = values[0] - values[1:].mean()
    return float(values[0]), float(low + shift), float(high + shift)


def compared(
    claim: str, source: str, sets: tuple[str, ...], models: list[tuple[Any, Any]], seeds: int
) -> Iterator[Measurement]:
    sentences = [
        text for name in sets for part in load(name).splits.values() for text in part["sentence1"].to_pylist()
    ][:20_000]
    found: dict[str, list[list[Any]]] = {}
    for model, p in models:
        for arm, changed_model in arms(model, p, sentences):
            found.setdefault(arm, []).append(judge(changed_model, sets))
    label = f"{source} on {'STS12-16, STS-B, SICK-R' if len(sets) > 1 else sets[0]}"
    pairs = sum(len(values) for values in found["as it is"][0])
    drawn = {arm: averages(runs) for arm, runs in found.items()}
    for arm, values in drawn.items():
        yield Measurement(
            claim,
            arm,
            label,
            pairs,
            "spearman, average",
            *bounds(values),
            seeds=seeds,
            paper=PAPER[arm] if len(sets) > 1 else "",
            paper_data="word2vec / GloVe 840B" if len(sets) > 1 else "",
        )
    for other in ("uniform whitening", "Zipfian centring", "SIF", "all but the top", "as it is"):
        difference = bounds(drawn["Zipfian whitening"] - drawn[other])
        yield Measurement(
            claim,
            f"Zipfian whitening − {other}",
            label,
            pairs,
            "spearman, paired difference",
            *difference,
            seeds=seeds,
            paper="+",
        )


def whitening(progress: bool) -> Iterator[Measurement]:
    yield from compared("zipfian-whitening", "minilm's tokens", ENGLISH, [minilm_table()], 1)
    yield from compared(
        "zipfian-whitening",
        "word2vec of novels and brown",
        ENGLISH,
        [word2vec("en", seed) for seed in SEEDS],
        len(SEEDS),
    )
    yield from compared(
        "zipfian-whitening", "word2vec of JaQuAD", ("jsts",), [word2vec("ja", seed) for seed in SEEDS], len(SEEDS)
    )


CLAIMS = [
    Claim(
        "zipfian-whitening",
        "static",
        "Whitening word vectors under their own probabilities beats uniform whitening, centring, SIF and "
        "all-but-the-top on STS.",
        "Yokoi et al. 2024, table 2",
        "+",
        whitening,
    )
]
