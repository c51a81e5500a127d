"""StarSpace against what a user would take instead: TF-IDF with logistic regression, and the fastText-style settings of
the same recipe (softmax over labels, bigrams), on the sets at hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from umekomi.data import Dataset, load
from umekomi.data.views import split_held_out
from umekomi.recipes import get
from umekomi.statistics import interval, paired_interval
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS, SETS = (0, 1, 2), ("agnews", "trec", "sst2", "subj")
QUICK = {"SEEDS": (0,), "SETS": ("trec", "subj")}
ARMS = {
    "StarSpace, hinge, cosine": {"dimensions": 50, "epochs": 20, "learning_rate": 0.05},
    "StarSpace, hinge, dot, no Adagrad (the published example)": {
        "dimensions": 10,
        "epochs": 20,
        "learning_rate": 0.01,
        "similarity": "dot",
        "adagrad": "off",
        "search": 5,
        "negatives": 3,
    },
    "StarSpace, softmax, dot, bigrams (fastText-style)": {
        "dimensions": 50,
        "epochs": 20,
        "learning_rate": 0.05,
        "loss": "softmax",
        "similarity": "dot",
        "search": 5,
        "ngrams": 2,
    },
}


def right(name: str, arm: str, seed: int) -> Any:
    """1 for every test text whose label was found."""
    data: Any = load(name)
    if "test" not in data.splits:
        data = split_held_out(Dataset(name, {"all": data["all"]}, data.licence), seed=0)
    train, test = data["train"], data["test"]
    texts, gold = test["text"].to_pylist(), [str(label) for label in test["label"].to_pylist()]

    def measure() -> list[Any]:
        if arm in ARMS:
            model = get("starspace")(**ARMS[arm]).fit(train, seed=seed)
            predicted = [row[0].removeprefix("__label__") for row in model.predict(texts)[0]]
        else:
            from sklearn.feature_extraction.text import TfidfVectorizer
            from sklearn.linear_model import LogisticRegression
            from sklearn.pipeline import make_pipeline

            pipe = make_pipeline(
                TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), LogisticRegression(C=10, max_iter=500)
            )
            predicted = list(
                pipe.fit(train["text"].to_pylist(), [str(label) for label in train["label"].to_pylist()]).predict(texts)
            )
        return [np.array([a == b for a, b in zip(predicted, gold, strict=True)], np.float64)]

    return cached(["starspace", name, arm, ARMS.get(arm, {}), seed], measure)[0]


def classification(progress: bool) -> Iterator[Measurement]:
    claim, baseline = "starspace-classification", "TF-IDF of uni- and bigrams, logistic regression"
    for name in SETS:
        found = {arm: np.mean([right(name, arm, seed) for seed in SEEDS], axis=0) for arm in ARMS}
        found[baseline] = right(name, baseline, 0)
        for arm, values in found.items():
            yield Measurement(
                claim, arm, name, len(values), "accuracy", *interval(values), seeds=1 if arm == baseline else len(SEEDS)
            )
        for arm in ARMS:
            yield Measurement(
                claim,
                f"{arm} − TF-IDF",
                name,
                len(found[arm]),
                "accuracy, paired difference",
                *paired_interval(found[arm], found[baseline]),
                seeds=len(SEEDS),
                paper="0",
            )


CLAIMS = [
    Claim(
        "starspace-classification",
        "starspace",
        "StarSpace classifies texts about as well as linear models on bags of n-grams.",
        "Wu et al. 2018, section 4.1",
        "0",
        classification,
    )
]
