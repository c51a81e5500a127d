"""ELMo's claims about its layers at a size for two cores: a language model of novels' sentences (LSTM of 512 cells and
128 numbers; the paper's is of 4,096 and 512, over a billion words), its layers one by one, their mean and their learned
mix on TREC, MR and parts of speech, beside its untrained shape, GloVe of 50 numbers, and minilm.

The tags are an averaged perceptron's (the package ``denckring-en-pos``, trained on UD English-EWT, .934 of its tags
right), since no tagged corpus is at hand: they are the sentence's, not the word's alone, but a tenth-part of the errors
of both probes is the tagger's. The probe of tags sees one word's vector, of sentences of the Brown corpus.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reproductions.shared.splits import learned_and_judged
from reproductions.shared.word_vectors import glove, word_means
from umekomi.data import load
from umekomi.errors import WrongUse
from umekomi.models import load as open_model
from umekomi.progress import say
from umekomi.recipes.elmo import Elmo
from umekomi.statistics import interval, paired_interval
from umekomi.tasks.labels import Classification, linear_probe
from umekomi.verbs import reproduce
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS = (0, 1, 2)
SENTENCES, EPOCHS, WIDTH, PROJECTION, FILTERS, VOCABULARY = 60_000, 3, 512, 128, 32, 10_000
TAGGED, TAGS_JUDGED = 3_000, 1_000
QUICK = {"SEEDS": (0,), "SENTENCES": 60, "EPOCHS": 1, "WIDTH": 8, "PROJECTION": 4, "FILTERS": 4, "VOCABULARY": 50}
QUICK |= {"TAGGED": 40, "TAGS_JUDGED": 20}
TEXTS = ("trec", "mr")
LAYERS = ("layer 0", "layer 1", "layer 2")
MIXES = ("mean of layers", "learned mix")
NETWORKS = (*LAYERS, *MIXES, "untrained, mean of layers")
TAGGER = "denckring_en_pos"


def recipe(**more: Any) -> Elmo:
    """Of the size that is measured at."""
    filters = tuple((width, FILTERS * count) for width, count in ((1, 1), (2, 1), (3, 2), (4, 4), (5, 4)))
    own = replace(Elmo.small(), filters=filters, width=WIDTH, projection=PROJECTION, vocabulary=VOCABULARY)
    return replace(own, epochs=EPOCHS, tokenizer="spaces", **more)


@cache
def sentences() -> pa.Table:
    """Sentences of the novels to learn from, drawn whole paragraph by whole paragraph."""
    paragraphs = load("english-novels", "train")["document"].to_pylist()
    order = np.random.default_rng(0).permutation(len(paragraphs))
    lines: list[str] = []
    for place in order:
        if len(lines) >= SENTENCES:
            break
        lines += paragraphs[place]
    return pa.table({"text": lines[:SENTENCES]})


def at_layer(model: Any, layer: int | None) -> Any:
    """The same network, read at one layer, or at all with equal shares."""
    from umekomi.models.elmo import ElmoEmbedder
    from umekomi.parts.layers.bilm import ElmoNetwork

    return ElmoEmbedder(model.reader, ElmoNetwork(model.network.model, layer=layer), name=model.name)


@cache
def language(seed: int) -> Any:
    """The language model of this seed: half an hour, so that an interrupted one is gone on with, and both claims have
    the same."""
    say(f"  elmo: a language model of {SENTENCES:,} sentences, seed {seed}")
    return recipe().fit(sentences(), seed=seed, checkpoint=reproduce.cached_folder() / f"elmo-{seed}")


@cache
def untrained(seed: int) -> Any:
    """A network of the same shape that has learned nothing."""
    from umekomi.models.elmo import ElmoEmbedder
    from umekomi.models.words import CharacterReader
    from umekomi.parts.layers.bilm import BiLanguageModel, ElmoNetwork
    from umekomi.parts.learning.modules import seed_globals

    own = recipe()
    with seed_globals(seed):
        model = BiLanguageModel(**own.sizes())
    return ElmoEmbedder(CharacterReader.of(own.tokenizer, own.longest), ElmoNetwork(model), name="untrained")


def words() -> Any:
    """The mean of GloVe's vectors."""
    table = glove()
    return word_means(table.names, table.vectors, "averaged GloVe", "spaces")


def network(arm: str, seed: int, train: pa.Table | None = None) -> Any:
    """The embedder of an arm."""
    if arm.startswith("untrained"):
        return untrained(seed)
    if arm == "learned mix":
        return recipe(mix="learned").fit(train, start=language(seed), seed=seed)
    return at_layer(language(seed), int(arm.split()[-1]) if arm in LAYERS else None)


# --- texts ------------------------------------------------------------------------------------------------------------


def of_texts(name: str, arm: str, seed: int) -> Any:
    """Whether each text judged was named right by a linear probe, float64 ``[n]``."""

    def measure() -> list[Any]:
        train, test = learned_and_judged(name)
        if arm in NETWORKS:
            model = network(arm, seed, train)
        else:
            model = words() if arm == "averaged GloVe" else open_model(arm)
        say(f"  elmo: {name}, {arm}, seed {seed}")
        return [Classification(test, train=train, name=name).evaluate(model, batch_size=64).main.values]

    key = ["elmo texts", 1, name, arm] + ([recipe().settings(), SENTENCES, seed] if arm in NETWORKS else [])
    return cached(key, measure)[0]


def texts(progress: bool) -> Iterator[Measurement]:
    for name in TEXTS:
        found = {}
        for arm in (*NETWORKS, "averaged GloVe", "minilm", "random"):
            seeds = SEEDS if arm in NETWORKS else SEEDS[:1]
            found[arm] = np.mean([of_texts(name, arm, seed) for seed in seeds], 0)
            yield Measurement(
                "elmo-layers", arm, name, len(found[arm]), "accuracy", *interval(found[arm]), seeds=len(seeds)
            )
        for one, other, paper in (
            ("learned mix", "layer 2", "+"),
            ("learned mix", "mean of layers", "+"),
            ("mean of layers", "layer 2", "+"),
            ("learned mix", "averaged GloVe", "+"),
            ("learned mix", "untrained, mean of layers", ""),
        ):
            yield Measurement(
                "elmo-layers", f"{one} − {other}", name, len(found[one]), "accuracy, paired difference",
                *paired_interval(found[one], found[other]), seeds=len(SEEDS), paper=paper,
                paper_data="SQuAD, SNLI, SRL; table 2" if paper else "",
            )  # fmt: skip


# --- tags -------------------------------------------------------------------------------------------------------------


@cache
def tagger() -> Any:
    """The tagger of the package, from its own table of weights."""
    package = find_spec(TAGGER)
    if package is None or not package.submodule_search_locations:
        raise WrongUse(f"parts of speech: expected the package {TAGGER.replace('_', '-')} (pip install --no-deps)")
    folder = Path(package.submodule_search_locations[0])
    table = json.loads(gzip.decompress((folder / "data" / "tagger.json.gz").read_bytes()))
    own = spec_from_file_location("perceptron", folder / "perceptron.py")
    assert own is not None and own.loader is not None
    module = module_from_spec(own)
    own.loader.exec_module(module)
    return module.Tagger(table["weights"], table["tagdict"], table["classes"], frozenset(table["vocabulary"]))


@cache
def tagged() -> tuple[list[list[str]], list[list[str]]]:
    """(words without marks, their universal tags) of Brown's sentences."""
    brown = load("brown")
    lines = [line for split in brown.splits.values() for row in split["document"].to_pylist() for line in row]
    rng = np.random.default_rng(1)
    chosen = rng.permutation(len(lines))
    out: tuple[list[list[str]], list[list[str]]] = ([], [])
    for place in chosen:
        row = [word for word in lines[place].split() if any(letter.isalpha() for letter in word)]
        if 3 <= len(row) <= 60:
            out[0].append(row)
            out[1].append([tag.split("|")[0] for tag in tagger().tag(row)])
        if len(out[0]) == TAGGED + TAGS_JUDGED:
            break
    return out


def of_tags(arm: str, seed: int) -> Any:
    """Whether each word judged got its tag, float64 ``[words]``."""

    def measure() -> list[Any]:
        rows, tags = tagged()
        say(f"  elmo: tags, {arm}, seed {seed}")
        if arm == "tag of the word":
            return [_most_frequent(rows, tags)]
        if arm == "averaged GloVe":
            table = glove()
            known = {name: row for row, name in enumerate(table.names)}
            nothing = np.zeros(table.vectors.shape[1], np.float32)
            vectors = [
                np.stack([table.vectors[known[w.lower()]] if w.lower() in known else nothing for w in row])
                for row in rows
            ]
        else:
            mixed = arm == "learned mix"
            model = network("mean of layers" if mixed else arm, seed)
            vectors = _mixed(model, rows, tags, seed) if mixed else _token_vectors(model, rows)
        learned, judged = (np.concatenate(part) for part in (vectors[:TAGGED], vectors[TAGGED:]))
        before, after = (np.array([tag for row in part for tag in row]) for part in (tags[:TAGGED], tags[TAGGED:]))
        named = linear_probe(learned, before, judged, seed, "tags", arm)
        return [(named == after).astype(np.float64)]

    key = ["elmo tags", 1, arm, TAGGED, TAGS_JUDGED] + (
        [recipe().settings(), SENTENCES, seed] if arm in NETWORKS else []
    )
    return cached(key, measure)[0]


def _token_vectors(model: Any, rows: list[list[str]]) -> list[Any]:
    """``[words, d]`` of each sentence; the reader splits at spaces, so that words stay what they are."""
    encoded = model.encode([" ".join(row) for row in rows], output="multi", batch_size=64)
    vectors = [encoded.item(number) for number in range(encoded.items)]
    assert [len(part) for part in vectors] == [len(row) for row in rows]
    return vectors


def _mixed(model: Any, rows: list[list[str]], tags: list[list[str]], seed: int) -> list[Any]:
    """Every word's layers mixed by what serves the tags of the training sentences best."""
    from umekomi.parts.learning.bilm import learn_mix
    from umekomi.run import Run

    layers = [_token_vectors(at_layer(model, number), rows) for number in range(3)]
    stacked = np.stack([np.concatenate(part[:TAGGED]) for part in layers], 1)
    labels = [tag for row in tags[:TAGGED] for tag in row]
    learn_mix(
        model.network, stacked, labels, run=Run("tags", seed), key="tags", penalty=0.001, epochs=20, learning_rate=0.01
    )
    shares = model.network.shares().detach().numpy()
    return [sum(share * part for share, part in zip(shares, each, strict=True)) for each in zip(*layers, strict=True)]


def _most_frequent(rows: list[list[str]], tags: list[list[str]]) -> Any:
    """Every word gets the tag that it has most often in the training sentences, a new one the most frequent of all."""
    from collections import Counter, defaultdict

    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row, own in zip(rows[:TAGGED], tags[:TAGGED], strict=True):
        for word, tag in zip(row, own, strict=True):
            counts[word.lower()][tag] += 1
    most = sum(counts.values(), Counter()).most_common(1)[0][0]
    best = {word: count.most_common(1)[0][0] for word, count in counts.items()}
    pairs = [
        (word, tag) for row, own in zip(rows[TAGGED:], tags[TAGGED:], strict=True)
        for word, tag in zip(row, own, strict=True)
    ]  # fmt: skip
    return np.array([best.get(word.lower(), most) == tag for word, tag in pairs], np.float64)


def parts_of_speech(progress: bool) -> Iterator[Measurement]:
    found = {}
    paper = {"layer 1": "0.973", "layer 2": "0.968"}
    for arm in (*NETWORKS, "averaged GloVe", "tag of the word"):
        seeds = SEEDS if arm in NETWORKS else SEEDS[:1]
        found[arm] = np.mean([of_tags(arm, seed) for seed in seeds], 0)
        yield Measurement(
            "elmo-tags", arm, "brown", len(found[arm]), "accuracy", *interval(found[arm]), len(seeds),
            paper.get(arm, ""), "Penn Treebank, gold tags; table 6" if arm in paper else "",
        )  # fmt: skip
    for one, other, sign in (
        ("layer 1", "layer 2", "+"),
        ("layer 1", "layer 0", ""),
        ("learned mix", "layer 2", ""),
        ("layer 1", "averaged GloVe", ""),
        ("layer 1", "tag of the word", ""),
    ):
        yield Measurement(
            "elmo-tags", f"{one} − {other}", "brown", len(found[one]), "accuracy, paired difference",
            *paired_interval(found[one], found[other]), seeds=len(SEEDS), paper=sign,
            paper_data="Penn Treebank; table 6" if sign else "",
        )  # fmt: skip


CLAIMS = [
    Claim(
        "elmo-layers",
        "elmo",
        "All layers mixed by learned weights serve a task better than their mean, and both better than the last layer.",
        "Peters et al. 2018, table 2",
        "+",
        texts,
    ),
    Claim(
        "elmo-tags",
        "elmo",
        "The first layer knows parts of speech better than the second.",
        "Peters et al. 2018, table 6",
        "+",
        parts_of_speech,
    ),
]
