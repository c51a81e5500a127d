"""The structured self-attentive embedding's claims at a size for two cores: the penalty keeps hops apart, and several
hops are better than a maximum or one hop. Texts are SST-2's sentences and reviews of IMDB (the paper's are private or
larger: Age, Yelp); GloVe of 50 numbers begins the words. Accuracy is a linear probe's on frozen vectors, learned from
the same training split, so that every row is one of a model's vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pyarrow as pa

from reproductions.shared.word_vectors import glove
from umekomi.data import fingerprint, load
from umekomi.inspection.attention import overlap
from umekomi.models import load as load_model
from umekomi.models.entity import EntityEmbedder
from umekomi.parts.words import treebank
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.recipes.self_attentive import SelfAttentive
from umekomi.statistics import interval, paired_interval
from umekomi.tasks.labels import Classification
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS = (0, 1, 2)
TRAIN, TEST = 4000, 2000
WIDTH, EPOCHS = 64, 6
LOOKED_AT = 300
SETS = ("sst2", "imdb")
QUICK = {"SEEDS": (0,), "TRAIN": 40, "TEST": 40, "WIDTH": 8, "EPOCHS": 1, "LOOKED_AT": 20}
HOPS, PENALTIES = (1, 4, 8), (0.0, 0.3, 1.0)


@cache
def splits(name: str) -> tuple[pa.Table, pa.Table]:
    """(training rows, test rows), the same for all seeds."""
    out = []
    for split, most in (("train", TRAIN), ("test", TEST)):
        table = load(name, split).select(["text", "label"])
        rows = np.sort(np.random.default_rng(0).permutation(table.num_rows)[:most])
        out.append(table.take(pa.array(rows)))
    return out[0], out[1]


@cache
def words(name: str) -> EntityEmbedder:
    """GloVe's vectors of the words that are read here."""
    texts = (text for table in splits(name) for text in table["text"].to_pylist())
    known = {word for text in texts for word in treebank(text.lower())}
    table = glove()
    rows = [row for row, word in enumerate(table.names) if word in known]
    return EntityEmbedder([table.names[row] for row in rows], table.vectors[rows], name=table.name)


def recipe(**more: Any) -> SelfAttentive:
    """Of the size that is measured at."""
    return replace(SelfAttentive.small(), width=WIDTH, attention_width=WIDTH, epochs=EPOCHS, **more)


def maximum(name: str, seed: int) -> Any:
    """A BiLSTM of the same width under a maximum and the same classifier, learned in the same way."""
    import torch

    from umekomi.models.sequence import SequenceEmbedder
    from umekomi.models.word_tables import begin_words
    from umekomi.parts.layers.heads import DenseHead
    from umekomi.parts.layers.sentence import RecurrentEncoder, WordNetwork
    from umekomi.parts.learning.labelled import LabelledRows, cross_entropy, learn_labelled
    from umekomi.parts.learning.modules import seed_globals
    from umekomi.run import Run

    like, (train, _) = recipe(), splits(name)
    texts, run = train["text"].to_pylist(), Run("bilstm-max", seed)
    begun = begin_words(texts, words(name), run.who, dimensions=50, begin="", end="", generator=run.generator())
    rows = LabelledRows.of([begun.reader.read(texts)], train["label"].to_pylist(), run.who)

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = WordNetwork(*begun.table.shape, RecurrentEncoder(begun.table.shape[1], width=WIDTH))
            self.network.words.weight.data = torch.from_numpy(begun.table)
            self.head = DenseHead(1, 2 * WIDTH, like.classifier_width, len(rows.names), like.dropout)

        def forward(self, side: Any) -> Any:
            return self.head(self.network(*side).vectors.unsqueeze(1)), None

    with seed_globals(seed):
        module = Classifier()
    learn_labelled(
        module,
        rows,
        texts,
        cross_entropy,
        run=run,
        key="maximum",
        share=like.held_out,
        batch_size=like.batch_size,
        epochs=like.epochs,
        optimiser=partial(torch.optim.Adam, lr=like.learning_rate, weight_decay=like.weight_decay),
        clip=like.clip,
        patience=like.patience,
    )
    return SequenceEmbedder(begun.reader, module.network, name=run.who)


def model(name: str, arm: str, seed: int, progress: bool) -> Any:
    train, start = splits(name)[0], words(name)
    say(f"  {name}, {arm}, seed {seed}")
    if arm == "bilstm-max":
        return maximum(name, seed)
    if arm.startswith(("hops", "penalty", "untrained")):
        _, _, number = arm.partition(" ")
        more: dict[str, Any] = {"hops": int(number)} if arm.startswith("hops") else {}
        more |= {"penalty": float(number)} if arm.startswith("penalty") else {}
        own = replace(recipe(**more), **({"epochs": 0} if arm.startswith("untrained") else {}))
        return own.fit(train, start=start, seed=seed, progress=progress)
    if arm == "averaged word vectors":
        return get("word-average")().fit(start=start)
    return get("tfidf")().fit({"text": train["text"].to_pylist()}) if arm == "tfidf" else load_model(arm)


def measured(name: str, arm: str, seed: int, progress: bool) -> tuple[Any, Any]:
    """(was each test text right, [cosine of two hops, redundancy])."""
    train, test = splits(name)
    key = [2, name, arm, seed, fingerprint(train), fingerprint(test), recipe().settings(), len(words(name)), LOOKED_AT]

    def measure() -> list[Any]:
        embedder = model(name, arm, seed, progress)
        right = Classification(test, train=train, name=name).evaluate(embedder, batch_size=64).main.values
        looks = overlap(embedder, test["text"].to_pylist()[:LOOKED_AT]) if getattr(embedder, "hops", 0) else {}
        return [right, np.array(list(looks.values()) or [np.nan, np.nan])]

    found = cached(key, measure)
    return found[0], found[1]


def _seeds(arm: str) -> tuple[int, ...]:
    return SEEDS if arm.startswith(("hops", "penalty", "untrained", "bilstm")) else (0,)


def values(name: str, arm: str, progress: bool) -> Any:
    """Of every text, the mean over seeds."""
    return np.mean([measured(name, arm, seed, progress)[0] for seed in _seeds(arm)], axis=0)


def penalty(progress: bool) -> Iterator[Measurement]:
    claim = "self-attentive-penalty"
    for name in SETS:
        arms = [f"penalty {value:g}" for value in PENALTIES]
        looks = {arm: np.array([measured(name, arm, seed, progress)[1] for seed in SEEDS]) for arm in arms}
        for number, metric in enumerate(("cosine of two hops", "redundancy of hops")):
            for arm in arms:
                found = looks[arm][:, number]
                yield Measurement(
                    claim, arm, name, LOOKED_AT, metric, float(found.mean()), float(found.min()), float(found.max()),
                    seeds=len(SEEDS),
                )  # fmt: skip
        for arm in arms[1:]:
            ratio = looks[arms[0]][:, 1] / looks[arm][:, 1]
            yield Measurement(
                claim, f"{arms[0]} / {arm}", name, LOOKED_AT, "redundancy of hops, ratio", float(ratio.mean()),
                float(ratio.min()), float(ratio.max()), seeds=len(SEEDS), paper="> 1", paper_data="figure 4",
            )  # fmt: skip
        for arm in arms:
            found = values(name, arm, progress)
            yield Measurement(claim, arm, name, len(found), "accuracy", *interval(found), seeds=len(SEEDS))
            if arm != arms[0]:
                gap = paired_interval(found, values(name, arms[0], progress))
                yield Measurement(
                    claim, f"{arm} − {arms[0]}", name, len(found), "accuracy, paired difference", *gap,
                    seeds=len(SEEDS), paper="+", paper_data="Age, Yelp; figure 4",
                )  # fmt: skip


def hops(progress: bool) -> Iterator[Measurement]:
    claim = "self-attentive-hops"
    for name in SETS:
        best = f"hops {HOPS[-1]}"
        arms = [*(f"hops {count}" for count in HOPS), "bilstm-max", "untrained", "averaged word vectors"]
        for arm in [*arms, "minilm", "tfidf", "random"]:
            found = values(name, arm, progress)
            yield Measurement(claim, arm, name, len(found), "accuracy", *interval(found), seeds=len(_seeds(arm)))
        for other in (f"hops {HOPS[0]}", "bilstm-max", "untrained"):
            ours = values(name, best, progress)
            gap = paired_interval(ours, values(name, other, progress))
            paper = {"bilstm-max": "+2.2 to +3.1", f"hops {HOPS[0]}": "+"}.get(other, "")
            where = "Yelp, Age; table 1 and figure 5" if paper else ""
            yield Measurement(
                claim, f"{best} − {other}", name, len(ours), "accuracy, paired difference", *gap, seeds=len(SEEDS),
                paper=paper, paper_data=where,
            )  # fmt: skip


CLAIMS = [
    Claim(
        "self-attentive-penalty",
        "self-attentive",
        "The penalty makes hops look at different words, and the classifier better.",
        "Lin et al. 2017, section 4.4.1",
        "+",
        penalty,
    ),
    Claim(
        "self-attentive-hops",
        "self-attentive",
        "A matrix of several attended vectors is better than one of them, or than the maximum over states.",
        "Lin et al. 2017, table 1 and section 4.4.2",
        "+",
        hops,
    ),
]
