"""Encoders of sentiment (Hong & Fang 2015, with Kim 2014): convolution, LSTM and Tree-LSTM over GloVe's vectors of 50
numbers (the papers have 300) on SST-2, SST-5, TREC and MR, beside TF-IDF and minilm under logistic regression; Kim's
four variants; the mean of an LSTM's states against its last one, and paragraph vectors, on long reviews (IMDB).

Networks are judged by their own classifier, three seeds each; the epoch is chosen on a tenth of what is learned from.
MR has no split of its own: every tenth sentence is judged, the others are learned from.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from reproductions.shared.splits import learned_and_judged
from reproductions.shared.word_vectors import glove
from umekomi.data import load
from umekomi.data.trees import parse_trees
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.statistics import interval, paired_interval
from umekomi.tasks.labels import Classification
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS = (0, 1, 2)
SETS = ("sst2", "sst5", "trec", "mr")
TREES = ("Tree-LSTM", "RNTN", "RNN", "deep RNN")
SELF_ATTENTIVE = "self-attentive, probed"
"""Its classifier is no part of its model: a linear probe names labels by its vectors."""
EPOCHS, LSTM_EPOCHS, TREE_EPOCHS, IMDB_EPOCHS, PV_EPOCHS = 15, 12, 12, 5, 20
MAPS, WIDTH, LONG_WIDTH, DIMENSIONS, INFER = 100, 150, 100, 100, 20
QUICK = {"SEEDS": (0,), "EPOCHS": 1, "LSTM_EPOCHS": 1, "TREE_EPOCHS": 1, "IMDB_EPOCHS": 1, "PV_EPOCHS": 2}
QUICK |= {"MAPS": 4, "WIDTH": 4, "LONG_WIDTH": 4, "DIMENSIONS": 4, "INFER": 2}
KIM = {  # SST-2, SST-5, TREC, MR
    "CNN, rand": (0.827, 0.450, 0.912, 0.761),
    "CNN, static": (0.868, 0.455, 0.928, 0.810),
    "CNN, nonstatic": (0.872, 0.480, 0.936, 0.815),
    "CNN, multichannel": (0.881, 0.474, 0.922, 0.811),
}
PAPER = {("Tree-LSTM", "sst2"): 0.880, ("Tree-LSTM", "sst5"): 0.510, ("RNTN", "sst2"): 0.854, ("RNTN", "sst5"): 0.457}
PAPER |= {("deep RNN", "sst2"): 0.866, ("deep RNN", "sst5"): 0.498}


def recipe(arm: str) -> Any:
    kind = get("sentiment-encoders")
    if arm.startswith("CNN"):
        return dataclasses.replace(kind(), variant=arm.split(", ")[1], maps=MAPS, epochs=EPOCHS, word_dimensions=50)
    if arm.startswith("LSTM"):
        readout = "last" if "last" in arm else "mean"
        return dataclasses.replace(kind.lstm(), variant="nonstatic", readout=readout, width=WIDTH, epochs=LSTM_EPOCHS)
    if arm == SELF_ATTENTIVE:
        half = max(WIDTH // 2, 1)  # of each direction
        return dataclasses.replace(get("self-attentive").small(), width=half, attention_width=half, epochs=LSTM_EPOCHS)
    if arm == "RNTN":
        return dataclasses.replace(kind.rntn(), variant="nonstatic", width=min(25, WIDTH), epochs=TREE_EPOCHS)
    cells = {"Tree-LSTM": "tree-lstm", "RNN": "rnn", "deep RNN": "deep-rnn"}
    widths = {"Tree-LSTM": WIDTH, "RNN": min(50, WIDTH), "deep RNN": min(50, WIDTH)}
    how = {"encoder": cells[arm], "width": widths[arm], "layers": 3 if arm == "deep RNN" else 1, "epochs": TREE_EPOCHS}
    return dataclasses.replace(kind.tree_lstm(), variant="nonstatic", **how)


@cache
def trees(binary: bool) -> tuple[Any, list[str], list[str]]:
    """(trees to learn from, those judged, their labels)."""
    data = load("sst-trees")
    judged, labels = [], []
    for line, tree in zip(data["test"]["tree"].to_pylist(), parse_trees(data["test"]["tree"].to_pylist()), strict=True):
        label = tree.labels[-1]
        if not binary or label != "2":
            judged.append(line)
            labels.append(str(int(label > "2")) if binary else label)
    return data["train"], judged, labels


def _letters(text: str) -> str:
    """What a sentence is known by in both forms of the treebank, which write brackets, quotes and capitals in their
    own way."""
    return re.sub("-[lr][rs]b-|[^a-z0-9]", "", text.lower().encode("ascii", "ignore").decode())


@cache
def place_of_tree(name: str) -> list[int] | None:
    """For each judged text of the set of sentences the place of its tree, whose order is another; None of cut sets,
    which hold other sentences."""
    judged, _ = trees(name == "sst2")[1:]
    place = {_letters(tree.text): at for at, tree in enumerate(parse_trees(judged))}
    texts = [_letters(text) for text in learned_and_judged(name)[1]["text"].to_pylist()]
    return [place[text] for text in texts] if len(place) == len(judged) and place.keys() == set(texts) else None


def hits(name: str, arm: str, seed: int) -> Any:
    """Whether each judged text's label is named, float64 ``[n]``; of trees in the order of their set."""

    def measure() -> list[Any]:
        from umekomi.models.labelled import predict_labels

        say(f"  {name}, {arm}, seed {seed}")
        train, test = learned_and_judged(name)
        if arm in PROBED:
            judged = PROBED[arm](train, seed)
            return [Classification(test, train=train).evaluate(judged, batch_size=64).main.values]
        if arm in TREES:
            train, texts_of, labels = trees(name == "sst2")
            how = dataclasses.replace(recipe(arm), binary=name == "sst2")
        else:
            texts_of, labels, how = test["text"].to_pylist(), [str(v) for v in test["label"].to_pylist()], recipe(arm)
        start = None if "rand" in arm else glove()
        model = how.fit(train, start=start, seed=seed)
        return [np.array([a == b for a, b in zip(predict_labels(model, texts_of), labels, strict=True)], np.float64)]

    version = 2 if arm in ("RNTN", SELF_ATTENTIVE) else 1
    key = ["sentiment", version, name, arm, seed, EPOCHS, LSTM_EPOCHS, TREE_EPOCHS, MAPS, WIDTH]
    return cached(key, measure)[0]


def _minilm() -> Any:
    from umekomi.models import load as open_model

    return open_model("minilm")


PROBED: dict[str, Any] = {
    "TF-IDF + LR": lambda train, seed: get("tfidf")().fit({"text": train["text"].to_pylist()}),
    "minilm + LR": lambda train, seed: _minilm(),
    SELF_ATTENTIVE: lambda train, seed: recipe(SELF_ATTENTIVE).fit(train, start=glove(), seed=seed),
}
"""Models of which a linear probe names the labels."""


def rows(claim: str, name: str, arms: tuple[str, ...], baseline: str, published: Any) -> Iterator[Measurement]:
    """Every arm, and every network's paired difference to the baseline where both judge the same texts."""
    values = {}
    for arm in arms:
        seeds = SEEDS[:1] if arm.endswith("+ LR") else SEEDS
        runs = [hits(name, arm, seed) for seed in seeds]
        values[arm] = np.mean(runs, 0)
        if arm in TREES and (places := place_of_tree(name)) is not None:
            values[arm] = values[arm][places]
        value, low, high = interval(values[arm])
        paper = published(arm, name)
        yield Measurement(
            claim, arm, name, len(values[arm]), "accuracy", value, low, high, len(runs),
            f"{paper:.3f}" if paper else "",
            f"{name}, 300-d vectors{', every phrase' if name.startswith('sst') else ''}" if paper else "",
        )  # fmt: skip
    for arm in arms:
        if arm != baseline and (arm not in TREES or place_of_tree(name) is not None):
            difference = paired_interval(values[arm], values[baseline])
            label = f"{arm} − {baseline}"
            yield Measurement(
                claim, label, name, len(values[arm]), "accuracy, paired difference", *difference, seeds=len(SEEDS)
            )


def published(arm: str, name: str) -> float | None:
    return KIM[arm][SETS.index(name)] if arm in KIM else PAPER.get((arm, name))


def networks(progress: bool) -> Iterator[Measurement]:
    for name in SETS:
        arms = ["CNN, nonstatic", "LSTM, mean of states", "LSTM, last state", SELF_ATTENTIVE]
        arms += TREES if name.startswith("sst") else []
        yield from rows("sentiment-networks", name, (*arms, "TF-IDF + LR", "minilm + LR"), "TF-IDF + LR", published)


def variants(progress: bool) -> Iterator[Measurement]:
    for name in ("mr", "trec"):
        yield from rows("sentiment-cnn-variants", name, (*KIM, "TF-IDF + LR"), "CNN, rand", published)


# --- long texts -------------------------------------------------------------------------------------------------------


def long_hits(arm: str, seed: int) -> Any:
    def measure() -> list[Any]:
        from umekomi.models.labelled import predict_labels

        say(f"  imdb, {arm}, seed {seed}")
        train, test = learned_and_judged("imdb")
        kind = get("sentiment-encoders")
        if arm == "TF-IDF + LR":
            model = get("tfidf")().fit({"text": train["text"].to_pylist()})
            return [Classification(test, train=train).evaluate(model).main.values]
        start, data = None, train
        if arm.startswith("LSTM"):
            how = dataclasses.replace(
                kind.lstm(), variant="nonstatic", readout="last" if "last" in arm else "mean", width=LONG_WIDTH,
                epochs=IMDB_EPOCHS, optimiser="adam", learning_rate=0.002,
            )  # fmt: skip
            start = glove()
        elif arm == "CNN, rand":
            how = recipe(arm)
        else:
            way, classifier = arm.removeprefix("paragraphs ").split(", ")[:2]
            how = dataclasses.replace(
                kind.paragraph_vectors(), paragraphs=way, classifier=classifier, dimensions=DIMENSIONS,
                epochs=PV_EPOCHS, infer_epochs=INFER, transductive="transductive" in arm,
                classified="inferred" if "inferred" in arm else "learned",
            )  # fmt: skip
            data = {"train": train, "unlabelled": load("imdb-unlabelled")["train"]}
            if "transductive" in arm:
                data["test"] = pa.table({"text": test["text"]})
        model = how.fit(data, start=start, seed=seed)
        named = predict_labels(model, test["text"].to_pylist())
        return [np.array([a == str(b) for a, b in zip(named, test["label"].to_pylist(), strict=True)], np.float64)]

    return cached(["long", 1, arm, seed, IMDB_EPOCHS, LONG_WIDTH, EPOCHS, PV_EPOCHS, DIMENSIONS, INFER], measure)[0]


def long_rows(claim: str, arms: tuple[str, ...], differences: tuple[tuple[str, str], ...]) -> Iterator[Measurement]:
    values = {}
    for arm in arms:
        runs = [long_hits(arm, seed) for seed in (SEEDS[:1] if arm == "TF-IDF + LR" else SEEDS)]
        values[arm] = np.mean(runs, 0)
        yield Measurement(claim, arm, "imdb", len(values[arm]), "accuracy", *interval(values[arm]), seeds=len(runs))
    for a, b in differences:
        label = f"{a} − {b}"
        difference = paired_interval(values[a], values[b])
        yield Measurement(
            claim, label, "imdb", len(values[a]), "accuracy, paired difference", *difference, seeds=len(SEEDS)
        )


def readout(progress: bool) -> Iterator[Measurement]:
    mean, last = "LSTM, mean of states", "LSTM, last state"
    yield from long_rows("sentiment-readout", (mean, last, "TF-IDF + LR"), ((mean, last), (mean, "TF-IDF + LR")))


def paragraphs(progress: bool) -> Iterator[Measurement]:
    arms = tuple(f"paragraphs {way}, {how}" for way in ("dm", "dbow", "both") for how in ("logistic", "mlp"))
    known, anew = "paragraphs both, mlp, transductive", "paragraphs both, mlp, inferred"
    pairs = (("paragraphs both, mlp", "TF-IDF + LR"), ("paragraphs both, mlp", "paragraphs both, logistic"))
    pairs += ((known, "paragraphs both, mlp"), (anew, "paragraphs both, mlp"), (anew, "TF-IDF + LR"))
    yield from long_rows("sentiment-paragraphs", (*arms, known, anew, "TF-IDF + LR"), pairs)


CLAIMS = [
    Claim("sentiment-networks", "sentiment-encoders", "Networks that read words in order, or along a tree, name "
          "sentiment and question types better than bags of words.", "Kim 2014, table 2; Tai et al. 2015, table 2", "+",
          networks),
    Claim("sentiment-cnn-variants", "sentiment-encoders", "Pretrained word vectors help the convolution, and learning "
          "them on helps a little more.", "Kim 2014, table 2", "+", variants),
    Claim("sentiment-readout", "sentiment-encoders", "On long texts the mean of an LSTM's states says more than its "
          "last one.", "Hong & Fang 2015", "+", readout),
    Claim("sentiment-paragraphs", "sentiment-encoders", "Paragraph vectors under a network of two layers are the best "
          "on IMDB.", "Hong & Fang 2015 (94.5 %)", "+", paragraphs),
]  # fmt: skip
