"""InferSent's claims at a size for two cores: BiLSTM-max is the best of seven encoders of one dimension, training on
entailment is worth something beside the same encoder untrained, and the zeros behind short sentences help.

The paper's 570,000 pairs of SNLI are not here: what is learned from is SNLI's dev split and the counterfactual pairs
made of it (Kaushik+ 2020), about 18,000, without the pairs of SNLI's test split, on which all is judged: by a linear
probe on [u; v; |u − v|; u · v] of frozen vectors, learned from the same pairs, so that every row is one of a model's
vectors. GloVe of 50 numbers stands in for the paper's 300.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from reproductions.shared.word_vectors import glove
from umekomi.data import fingerprint, load
from umekomi.models import load as load_model
from umekomi.models.entity import EntityEmbedder
from umekomi.parts.words import treebank
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.recipes.infersent import InferSent
from umekomi.statistics import interval, paired_interval
from umekomi.tasks.labels import Classification
from umekomi.tasks.relations import Relation
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS = (0, 1, 2)
DIMENSION = 256
EPOCHS = 8
TRANSFER = ("trec", "mr")
QUICK = {"SEEDS": (0,), "DIMENSION": 16, "EPOCHS": 1}
ENCODERS = ("lstm", "gru", "bigru-last", "bilstm-mean", "bilstm-max", "inner-attention", "convnet")
PAPER = {
    "lstm": 80.7, "gru": 81.8, "bigru-last": 80.9, "bilstm-mean": 78.2, "bilstm-max": 84.5, "inner-attention": 82.5,
    "convnet": 83.4,
}  # fmt: skip
"""Table 3: accuracy on SNLI's test split."""
WHERE = "SNLI, 570k pairs, GloVe 840B, 4,096 dimensions; table 3"


@cache
def pairs() -> tuple[pa.Table, pa.Table]:
    """(what is learned from, SNLI's test split)."""
    test = load("snli", "test")
    asked = set(zip(test["sentence1"].to_pylist(), test["sentence2"].to_pylist(), strict=True))
    columns = ("sentence1", "sentence2", "label")
    some = [load("snli", "dev").select(columns), load("snli-cad", "train").select(columns)]
    rows: dict[tuple[str, str], str] = {}
    for table in some:
        for one, other, label in zip(*(table[name].to_pylist() for name in columns), strict=True):
            if (one, other) not in asked:
                rows[one, other] = label
    first, second = zip(*rows, strict=True)
    return pa.table({"sentence1": first, "sentence2": second, "label": list(rows.values())}), test.select(columns)


@cache
def words() -> EntityEmbedder:
    """GloVe's vectors of the words that are read here."""
    texts = [text for table in pairs() for side in ("sentence1", "sentence2") for text in table[side].to_pylist()]
    texts += [text for name in TRANSFER for split in load(name).values() for text in split["text"].to_pylist()]
    known = {word for text in texts for word in treebank(text.lower())}
    table = glove()
    rows = [row for row, name in enumerate(table.names) if name in known]
    return EntityEmbedder([table.names[row] for row in rows], table.vectors[rows], name=table.name)


def recipe(encoder: str, **more: Any) -> InferSent:
    """At the one dimension of all."""
    width = {"lstm": DIMENSION, "gru": DIMENSION, "convnet": DIMENSION // 8}.get(encoder, DIMENSION // 2)
    return replace(InferSent.small(), encoder=encoder, width=max(width, 1), epochs=EPOCHS, **more)


def baseline(arm: str) -> Any:
    """A model that learns nothing from the pairs' labels."""
    if arm == "minilm":
        return load_model("minilm")
    if arm == "averaged word vectors":
        return get("word-average")().fit(start=words())
    texts = [text for side in ("sentence1", "sentence2") for text in pairs()[0][side].to_pylist()]
    return get("tfidf")().fit({"text": texts}) if arm == "tfidf" else load_model("random")


def judge(arm: str, seed: int, task: str, progress: bool) -> Any:
    """Was each item right? ``arm``: an encoder (with ``untrained`` or ``zero`` before it), or a baseline."""
    how, _, encoder = arm.rpartition(" ")
    own = None
    if encoder in ENCODERS:
        more: dict[str, Any] = {"pooling_padding": "zero"} if how == "zero" else {}
        own = recipe(encoder, **more)
        own = replace(own, epochs=0) if how == "untrained" else own
    about = [fingerprint(table) for table in pairs()] if task == "snli" else load(task).fingerprint()
    key = [arm, seed, task, about, None if own is None else own.settings(), words().name, len(words())]
    return cached(key, lambda: [_measured(arm, own, seed, task, progress)])[0]


@cache
def model(arm: str, own: InferSent | None, seed: int, progress: bool) -> Any:
    """Learned once for all tasks."""
    if own is None:
        return baseline(arm)
    say(f"  {arm}, seed {seed}")
    return own.fit(pairs()[0], start=words(), seed=seed, progress=progress)


def _measured(arm: str, own: InferSent | None, seed: int, task: str, progress: bool) -> Any:
    embedder = model(arm, own, seed, progress)
    if task == "snli":
        train, test = pairs()
        judged: Any = Relation(test, train=train, name=task)
    else:
        data = load(task)
        judged = (
            Classification(data["test"], train=data["train"], name=task)
            if "train" in data.splits
            else Classification(data["all"], name=task)
        )
    return judged.evaluate(embedder, batch_size=64).main.values


def values(arm: str, task: str, progress: bool) -> Any:
    """Of every item, the mean over seeds."""
    seeds = SEEDS if arm.rpartition(" ")[2] in ENCODERS else (0,)
    return np.mean([judge(arm, seed, task, progress) for seed in seeds], axis=0)


BASELINES = ("averaged word vectors", "minilm", "tfidf", "random")


def _row(claim: str, arm: str, task: str, found: Any, **paper: str) -> Measurement:
    seeds = len(SEEDS) if arm.rpartition(" ")[2] in ENCODERS else 1
    return Measurement(claim, arm, task, len(found), "accuracy", *interval(found), seeds=seeds, **paper)


def _difference(claim: str, arm: str, other: str, task: str, progress: bool, **paper: str) -> Measurement:
    found, less = values(arm, task, progress), values(other, task, progress)
    name = f"{arm} − {other}"
    metric = "accuracy, paired difference"
    return Measurement(claim, name, task, len(found), metric, *paired_interval(found, less), seeds=len(SEEDS), **paper)


def encoders(progress: bool) -> Iterator[Measurement]:
    claim = "infersent-encoders"
    for arm in ENCODERS:
        yield _row(claim, arm, "snli", values(arm, "snli", progress), paper=str(PAPER[arm]), paper_data=WHERE)
    for arm in ("untrained bilstm-max", *BASELINES):
        yield _row(claim, arm, "snli", values(arm, "snli", progress))
    for other in ENCODERS:
        if other != "bilstm-max":
            gap = f"{PAPER['bilstm-max'] - PAPER[other]:+.1f}"
            yield _difference(claim, "bilstm-max", other, "snli", progress, paper=gap, paper_data=WHERE)
    yield _difference(claim, "bilstm-max", "untrained bilstm-max", "snli", progress, paper="+")


def transfer(progress: bool) -> Iterator[Measurement]:
    claim = "infersent-transfer"
    paper = {"trec": {"bilstm-max": "88.7", "untrained bilstm-max": "85.8"},
             "mr": {"bilstm-max": "79.9", "untrained bilstm-max": "77.5"}}  # fmt: skip
    for task in TRANSFER:
        for arm in ("bilstm-max", "untrained bilstm-max", "bilstm-mean", *BASELINES):
            told = paper[task].get(arm, "")
            found = values(arm, task, progress)
            yield _row(claim, arm, task, found, paper=told, paper_data="trained on SNLI; table 4" if told else "")
        gap = float(paper[task]["bilstm-max"]) - float(paper[task]["untrained bilstm-max"])
        yield _difference(claim, "bilstm-max", "untrained bilstm-max", task, progress, paper=f"{gap:+.1f}")


def padding(progress: bool) -> Iterator[Measurement]:
    claim = "infersent-padding"
    for task in ("snli", *TRANSFER):
        for arm in ("zero bilstm-max", "bilstm-max"):
            yield _row(claim, arm, task, values(arm, task, progress))
        yield _difference(claim, "zero bilstm-max", "bilstm-max", task, progress, paper="+")


CLAIMS = [
    Claim(
        "infersent-encoders",
        "infersent",
        "Of seven encoders with one dimension, a BiLSTM with max pooling is the best at natural language inference.",
        "Conneau et al. 2017, table 3",
        "+",
        encoders,
    ),
    Claim(
        "infersent-transfer",
        "infersent",
        "Vectors learned from natural language inference transfer better than those of the encoder untrained.",
        "Conneau et al. 2017, table 4",
        "+",
        transfer,
    ),
    Claim(
        "infersent-padding",
        "infersent",
        "The maximum over the zeros behind short sentences, as first released, transfers better than the masked one.",
        "the released code's issue 51",
        "+",
        padding,
    ),
]
