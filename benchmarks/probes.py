"""SentEval's nested cross-validation on MR, all its logistic regressions at once beside scikit-learn's one by one (at
its default tolerance, and at the one reached here): fits a second, and the accuracy that comes out. On averages of
random vectors of 100 numbers, which any machine has; on TF-IDF; and on minilm where it is installed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.run import figure, rate
from umekomi.data import load
from umekomi.models.bags import BagEmbedder
from umekomi.parts import logistic
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.tasks import senteval
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-probes"
TEXTS, PEERS = 10_662, 20
"""Of MR; and the fits of scikit-learn that are timed."""


def vectors_of(arm: str, texts: list[str]) -> Any:
    if arm == "TF-IDF":
        return get("tfidf")().fit({"text": texts}).encode(texts)
    if arm == "minilm":
        from umekomi.models import load as open_model

        return open_model("minilm").encode(texts)
    words = sorted({word for text in texts for word in text.split()})
    table = np.random.default_rng(0).normal(size=(len(words), 100)).astype(np.float32)
    return BagEmbedder(words, table, metric="dot", power=1, tokenizer="spaces", name=arm).encode(texts)


def measure() -> Iterator[Measurement]:
    data = load("mr")["all"].slice(0, TEXTS)
    texts, labels = data["text"].to_pylist(), np.array([int(label) for label in data["label"].to_pylist()])
    order = senteval._by_length([data], labels)
    for arm in ("random word vectors", "TF-IDF", "minilm"):
        try:
            features = vectors_of(arm, texts)
        except Exception as error:
            say(f"{arm} is left out: {error}")
            continue
        begun = time.perf_counter()
        predicted, _ = senteval.nested(features, labels, order)
        took = time.perf_counter() - begun
        fits = senteval.FOLDS * (senteval.FOLDS + 1) * len(senteval.GRID)
        shape = f"{arm}, {features.shape[1]:,} columns"
        yield rate(CLAIM, f"{shape}, all at once", "mr", len(labels), "fits/s", fits, (took, took, took))
        yield figure(
            CLAIM, f"{shape}, all at once", "mr", len(labels), "accuracy", [float((predicted == labels).mean())]
        )
        yield from by_scikit_learn(shape, features, labels, order)


def by_scikit_learn(shape: str, features: Any, labels: Any, order: Any) -> Iterator[Measurement]:
    """Some of the same fits, spread over all penalties; and how many rows the two name alike at the tight tolerance."""
    folds = [order[fit] for fit, _ in senteval._folds(labels[order], senteval.FOLDS)]
    some = [(folds[number % len(folds)], senteval.GRID[number % len(senteval.GRID)]) for number in range(PEERS)]
    for tolerance, name in ((1e-4, "scikit-learn, its default tolerance"), (1e-6, "scikit-learn, tolerance 1e-6")):
        alike = []
        begun = time.perf_counter()
        for fold, penalty in some:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                peer = LogisticRegression(C=penalty, tol=tolerance, max_iter=1000).fit(features[fold], labels[fold])
            alike.append((fold, penalty, peer))
        took = time.perf_counter() - begun
        yield rate(CLAIM, f"{shape}, {name}", "mr", len(labels), "fits/s", PEERS, (took, took, took))
        agree = []
        for fold, penalty, peer in alike:
            ours = logistic.predict(features, labels, senteval._mask(len(labels), fold)[None], [penalty]).classes[0, 0]
            agree.append(float((ours == peer.predict(features)).mean()))
        yield figure(CLAIM, f"{shape}, {name}", "mr", len(labels), "rows named alike", agree)
