"""The hierarchical autoencoder's claims at a size for two cores: runs of four to six sentences of at most fifteen words
from IMDB's reviews, read into one vector and written again, by three networks of as many weights; beside words drawn by
their frequency, and the document's own words in the order of their frequency. What is judged are runs of other reviews;
the order of sentences is :func:`umekomi.tasks.generation.order_gap`. And what the vectors say of a review: nearest
neighbours and a linear probe on its sentiment, beside TF-IDF and minilm's mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from umekomi.data import load
from umekomi.models import load as open_model
from umekomi.parts.words import split_sentences, treebank
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.statistics import interval, paired_interval
from umekomi.tasks.generation import order_gap, written_scores
from umekomi.tasks.labels import Classification
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS = (0, 1, 2)
WIDTH, WORDS, VOCABULARY, EPOCHS = 128, 100, 3000, 20
DOCUMENTS, JUDGED, REVIEWS = 3000, 400, (3000, 1500)
SENTENCES, LONGEST = (4, 6), 15
QUICK = {"SEEDS": (0,), "WIDTH": 8, "WORDS": 6, "EPOCHS": 1, "DOCUMENTS": 30, "JUDGED": 6, "REVIEWS": (30, 30),
         "SENTENCES": (2, 3)}  # fmt: skip
FORMS = ("standard", "hierarchical", "attention")
METRICS = ("bleu", "rouge-1", "rouge-2", "order gap")


def runs_of(split: str) -> list[list[str]]:
    """Runs of short sentences that follow each other, one a review."""
    texts = load("imdb")[split]["text"].to_pylist()
    if split == "train":
        texts += load("imdb-unlabelled")["train"]["text"].to_pylist()
    out = []
    for text in texts:
        run: list[str] = []
        for sentence in split_sentences(text.replace("⏎", "\n")):
            if not 2 <= len(treebank(sentence)) <= LONGEST:
                if len(run) >= SENTENCES[0]:
                    break
                run = []
                continue
            run.append(sentence)
            if len(run) == SENTENCES[1]:
                break
        if len(run) >= SENTENCES[0]:
            out.append(run)
    return out


@cache
def documents() -> tuple[list[list[str]], list[list[str]]]:
    """(what is learned from, what is written again)."""
    return runs_of("train")[:DOCUMENTS], runs_of("test")[:JUDGED]


@cache
def recipe(form: str) -> Any:
    """With as many weights as the hierarchical form has at WIDTH, to the nearest width."""
    from umekomi.parts.layers.documents import DocumentAutoencoder

    own = replace(
        get("hierarchical-autoencoder").small(), form=form, width=WIDTH, word_dimensions=WORDS, vocabulary=VOCABULARY,
        epochs=EPOCHS, tokenizer="treebank",
    )  # fmt: skip

    def weights(kind: str, width: int) -> int:
        import torch

        with torch.device("meta"):
            network = DocumentAutoencoder(VOCABULARY, WORDS, form=kind, width=width)  # type: ignore[arg-type]
        return sum(weight.numel() for weight in network.parameters())

    goal = weights("hierarchical", WIDTH)
    return replace(own, width=min(range(2, 3 * WIDTH), key=lambda width: abs(weights(form, width) - goal)))


@cache
def model(form: str, seed: int) -> Any:
    say(f"  {form}, seed {seed}")
    return recipe(form).fit({"document": documents()[0]}, seed=seed)


def wanted() -> list[str]:
    """The documents that are judged, a sentence a line, as the model's words have them."""
    return ["\n".join(" ".join(treebank(sentence.lower())) for sentence in run) for run in documents()[1]]


def written(arm: str, seed: int) -> list[str]:
    """What an arm writes of each."""

    def measure() -> list[Any]:
        if arm in FORMS:
            texts = ["\n".join(run) for run in documents()[1]]
            return [np.array(model(arm, seed).reconstruct(texts), dtype=np.str_)]
        counts = Counter(word for run in documents()[0] for line in run for word in treebank(line.lower()))
        names = [word for word, _ in counts.most_common(VOCABULARY)]
        chances = np.array([counts[word] for word in names]) / sum(counts[word] for word in names)
        generator, out = np.random.default_rng(seed), []
        for text in wanted():
            lines = text.split("\n")
            if arm == "words by their frequency":
                made = [" ".join(generator.choice(names, len(line.split()), p=chances)) for line in lines]
            else:
                words = sorted((word for word in text.split() if word in counts), key=lambda word: -counts[word])
                sizes = np.cumsum([len(line.split()) for line in lines])[:-1]
                made = [" ".join(part) for part in np.split(np.array(words), np.minimum(sizes, len(words)))]
            out.append("\n".join(made))
        return [np.array(out, dtype=np.str_)]

    own = recipe(arm).settings() if arm in FORMS else VOCABULARY
    return [str(text) for text in cached(["documents", 1, arm, seed, own, DOCUMENTS, JUDGED, SENTENCES], measure)[0]]


BASELINES = ("words by their frequency", "the document's words by frequency")


def gaps(arm: str, seed: int) -> Any:
    """The order gap of every document, NaN where it has none."""
    each = zip(wanted(), written(arm, seed), strict=True)
    found = [order_gap(a.splitlines(), b.splitlines()) for a, b in each]
    return np.array([np.nan if gap is None else gap for gap in found])


def reconstruction(progress: bool) -> Iterator[Measurement]:
    claim, goal = "documents-written-again", wanted()
    scores: dict[tuple[str, int], Any] = {}
    for arm in (*FORMS, *BASELINES):
        seeds = SEEDS[:1] if arm == BASELINES[1] else SEEDS
        for seed in seeds:
            scores[arm, seed] = written_scores(goal, written(arm, seed))
        for metric in METRICS:
            each = [scores[arm, seed][metric].interval() for seed in seeds if metric in scores[arm, seed]]
            if not each:
                say(f"{arm}: {metric} left out: no document of two sentences was written")
                continue
            value, low, high = (float(np.mean([one[part] for one in each])) for part in range(3))
            yield Measurement(
                claim, arm, "imdb, runs of sentences", len(goal), metric, value, min(low, value), max(high, value),
                len(each),
            )  # fmt: skip
    for arm, other in (("attention", "standard"), ("hierarchical", "standard"), ("attention", "hierarchical")):
        for metric in METRICS:
            each = []
            for seed in SEEDS:
                if metric == "order gap":
                    a, b = gaps(arm, seed), gaps(other, seed)
                    both = np.isfinite(a) & np.isfinite(b)
                    if both.sum() < 2:
                        continue
                    each.append(paired_interval(a[both], b[both]))
                else:
                    one, two = scores[arm, seed][metric], scores[other, seed][metric]
                    each.append(paired_interval(one.values, two.values, one.statistic))
            if each:
                value = float(np.mean([one.value for one in each]))
                yield Measurement(
                    claim, f"{arm} − {other}", "imdb, runs of sentences", len(goal), f"{metric}, paired difference",
                    value, min(one.low for one in each), max(one.high for one in each), len(each),
                    "-" if metric == "order gap" else "+",
                )  # fmt: skip


def vectors(progress: bool) -> Iterator[Measurement]:
    claim, data = "documents-vectors", load("imdb")
    train, test = (data[split] for split in ("train", "test"))
    some = [
        table.take(np.sort(np.random.default_rng(0).permutation(table.num_rows)[:most]))
        for table, most in zip((train, test), REVIEWS, strict=True)
    ]
    arms = (*FORMS, "TF-IDF", "minilm, mean of tokens")
    values: dict[tuple[str, str], list[Any]] = {}
    for arm in arms:
        for seed in SEEDS if arm in FORMS else SEEDS[:1]:

            def measure(arm: str = arm, seed: int = seed) -> list[Any]:
                if arm in FORMS:
                    judged = model(arm, seed)
                else:
                    judged = get("tfidf")().fit(some[0]) if arm == "TF-IDF" else open_model("minilm")
                say(f"  reviews, {arm}, seed {seed}")
                probes = [Classification(some[1], train=some[0], probe=probe) for probe in ("linear", "knn")]
                return [probe.evaluate(judged, batch_size=64).main.values for probe in probes]

            own = recipe(arm).settings() if arm in FORMS else ""
            found = cached(["documents-vectors", 1, arm, seed, own, DOCUMENTS, REVIEWS], measure)
            for probe, items in zip(("linear", "nearest neighbours"), found, strict=True):
                values.setdefault((arm, probe), []).append(items)
    for probe in ("linear", "nearest neighbours"):
        for arm in arms:
            each = values[arm, probe]
            merged = np.mean(each, axis=0)
            yield Measurement(claim, arm, "imdb", len(merged), f"accuracy, {probe}", *interval(merged), seeds=len(each))
        for arm in FORMS:
            difference = paired_interval(np.mean(values[arm, probe], axis=0), values["TF-IDF", probe][0])
            yield Measurement(
                claim, f"{arm} − TF-IDF", "imdb", REVIEWS[1], f"accuracy, {probe}, paired difference", *difference,
                seeds=len(SEEDS),
            )  # fmt: skip


CLAIMS = [
    Claim("documents-written-again", "hierarchical-autoencoder", "A document that is read sentence by sentence is "
          "written again better, and better still with attention.", "Li, Luong & Jurafsky 2015, table 2", "+",
          reconstruction),
    Claim("documents-vectors", "hierarchical-autoencoder", "What a document can be written again from says what it is "
          "about.", "Li, Luong & Jurafsky 2015, section 1", "+", vectors),
]  # fmt: skip
