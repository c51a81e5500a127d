"""SentEval's protocol (Conneau & Kiela, LREC 2018) on what is at hand: random vectors, TF-IDF, means of word vectors
(random; learned from IMDB's reviews by gensim; GloVe's) and minilm. A yardstick, not a claim of a paper's: the columns
``paper`` hold what others published for the same kind of vectors, and on what they learned them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from reproductions.shared.word_vectors import glove, word_means
from umekomi.data import load
from umekomi.errors import UmekomiError
from umekomi.models.untrained import RandomEmbedder
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.statistics import interval
from umekomi.tasks.base import Score
from umekomi.tasks.senteval import WAYS, make
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS = (0, 1, 2)
ARMS = (
    "random vectors",
    "TF-IDF",
    "random word vectors, mean",
    "CBOW on IMDB, mean",
    "skip-gram on IMDB, mean",
    "GloVe 6B 50-d, mean",
    "minilm",
)
RANDOM = ("random vectors", "random word vectors, mean")
WIDTH, EPOCHS = 200, {"CBOW on IMDB, mean": 10, "skip-gram on IMDB, mean": 5}
QUICK = {"SEEDS": (0,), "WIDTH": 8, "EPOCHS": {"CBOW on IMDB, mean": 1, "skip-gram on IMDB, mean": 1}}
SETS = ("mr", "cr", "subj", "mpqa", "trec")
HILL = {"TF-IDF": (73.7, 79.2, 90.3, 82.4, 85.0), "CBOW": (73.6, 77.3, 89.1, 85.0, 82.2)}
HILL |= {"skip-gram": (73.6, 77.3, 89.2, 85.0, 82.2)}
GLOVE = {"mr": 78.7, "cr": 78.5, "subj": 91.6, "mpqa": 87.6, "sst2": 79.8, "trec": 83.6, "sick-e": 78.6}


def published(arm: str, task: str, metric: str) -> tuple[str, str]:
    """(a figure, what it was measured with)."""
    kind = next((name for name in HILL if arm.startswith(name)), None)
    if kind and metric == "accuracy" and task in SETS:
        return str(HILL[kind][SETS.index(task)] / 100), "Hill et al. 2016, 70M sentences of books"
    if arm.startswith("GloVe") and metric == "accuracy" and task in GLOVE:
        return str(GLOVE[task] / 100), "Conneau et al. 2017, GloVe 840B 300-d"
    return "", ""


@cache
def reviews() -> list[list[str]]:
    """Sentences of all of IMDB's reviews, as words; nothing is judged on IMDB here."""
    texts = [
        text
        for name in ("imdb", "imdb-unlabelled")
        for part in load(name).values()
        for text in part["text"].to_pylist()
    ]
    cut = (re.findall(r"\w+|[^\w\s]", line.lower()) for text in texts for line in re.split(r"(?<=[.!?])\s+|⏎", text))
    return [words for words in cut if words]


@cache
def model(arm: str, seed: int) -> Any:
    if arm == "random vectors":
        return RandomEmbedder(384, seed)
    if arm == "minilm":
        from umekomi.models import load as open_model

        return open_model("minilm")
    if arm.startswith("GloVe"):
        table = glove()
        return word_means([str(name) for name in table.names], table.vectors, arm)
    if arm.startswith("random word"):
        table = glove()  # its words: what matters is that they are drawn and stay
        vectors = np.random.default_rng(seed).normal(size=(len(table.names), WIDTH)).astype(np.float32)
        return word_means([str(name) for name in table.names], vectors, arm)
    from gensim.models import Word2Vec

    table = Word2Vec(
        reviews(), vector_size=WIDTH, window=5, negative=5, min_count=5, sg=int(arm.startswith("skip")),
        epochs=EPOCHS[arm], workers=1, seed=seed,
    )  # fmt: skip
    return word_means(table.wv.index_to_key, table.wv.vectors, arm)


def values(arm: str, seed: int, task: str) -> dict[str, Score]:
    """The values of every item, by metric."""
    judge = make(f"senteval:{task}")

    def measure() -> list[Any]:
        say(f"  {arm}, seed {seed}: {task}")
        judged = get("tfidf")().fit(judge.data) if arm == "TF-IDF" else model(arm, seed)
        scores = judge.evaluate(judged, batch_size=64).scores
        parts = [np.array([f"{metric}|{score.statistic}" for metric, score in scores.items()])]
        return [*parts, *(score.values for score in scores.values())]

    names, *arrays = cached(["senteval", 2, arm, seed, task, EPOCHS, WIDTH], measure)
    pairs = (str(name).split("|") for name in names)
    return {metric: Score(array, statistic) for (metric, statistic), array in zip(pairs, arrays, strict=True)}


def yardstick(progress: bool) -> Iterator[Measurement]:
    for task in WAYS:
        for arm in ARMS:
            try:
                runs = [values(arm, seed, task) for seed in (SEEDS if arm in RANDOM else SEEDS[:1])]
            except (UmekomiError, ImportError) as error:
                say(f"{task}, {arm}: left out: {error}")
                continue
            for metric in runs[0]:
                each = [interval(run[metric].values, run[metric].statistic, resamples=300) for run in runs]
                value, low, high = (float(np.mean([one[place] for one in each])) for place in range(3))
                yield Measurement(
                    "senteval",
                    arm,
                    task,
                    len(runs[0][metric].values),
                    metric,
                    value,
                    low,
                    high,
                    len(runs),
                    *published(arm, task, metric),
                )


CLAIMS = [
    Claim(
        "senteval",
        "senteval",
        "The published protocol gives the published figures for TF-IDF and means of word vectors.",
        "Conneau & Kiela 2018; Hill, Cho & Korhonen 2016, table 2",
        "0",
        yardstick,
    )
]
