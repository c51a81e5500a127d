"""NEAR²'s claim, and the one under it: that adapting a small general model to one's own pairs helps at all.

The paper's data (eBay) are private; these are a public product search set and pydocs, and for adaptation a Japanese set
that minilm was never made for. Settings are ``Near2.small()``: 1,000 pairs, one epoch, two cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from umekomi.data import fingerprint, load
from umekomi.models import load as load_model
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.statistics import interval, paired_interval
from umekomi.tasks.retrieval import RetrievalTask
from umekomi.transforms import Pca, RandomProjection
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS = (0, 1, 2)
WIDTH = 64
QUICK = {"SEEDS": (0,)}


@cache
def task(name: str) -> RetrievalTask:
    return RetrievalTask(load(name, "test"), name)


@cache
def vectors(name: str, arm: str, seed: int, progress: bool) -> list[Any]:
    """[queries, documents, 1,000 training documents] by ``arm``: nested, plain, or minilm as it is."""
    recipe = replace(get("near2").small(), nested=arm == "nested")
    data, train = load(name, "test"), load(name, "train")
    key = [name, fingerprint(data), fingerprint(train), arm, seed, recipe.settings()]

    def measure() -> list[Any]:
        model = load_model("minilm")
        if arm != "minilm":
            model = recipe.fit(train, seed=seed, progress=progress)
        chosen = np.random.default_rng(0).permutation(train.corpus.num_rows)[:1000]
        seen = train.corpus["text"].take(chosen).to_pylist() if arm == "plain" else []
        sides = (
            (data.queries["text"].to_pylist(), "query"),
            (data.corpus["text"].to_pylist(), "document"),
            (seen, "document"),
        )
        return [model.encode(texts, role=role, batch_size=64) for texts, role in sides]

    found = cached(key, measure)
    say(f"  {name}, {arm}, seed {seed}")
    return found


def values(name: str, arm: str, change: str, progress: bool) -> Any:
    """nDCG@10 of every query, mean over seeds."""
    model = load_model("minilm")
    out = []
    for seed in SEEDS if arm != "minilm" else (0,):
        queries, documents, seen = vectors(name, arm, seed, progress)
        if change == "cut":
            queries, documents = model.cut(queries, WIDTH), model.cut(documents, WIDTH)
        elif change in ("pca", "random"):
            transform = (Pca(WIDTH) if change == "pca" else RandomProjection(WIDTH, seed)).fit(seen)
            queries, documents = transform.transform(queries), transform.transform(documents)
        out.append(task(name).judge(model, queries, documents).main.values)
    return np.mean(out, axis=0)


def lexical(name: str, claim: str) -> Iterator[Measurement]:
    for recipe in ("bm25", "tfidf"):
        model = get(recipe)().fit({"text": task(name).data.corpus["text"].to_pylist()})
        score = task(name).evaluate(model).main
        yield Measurement(claim, recipe, name, len(score.values), "ndcg@10", *score.interval(), seeds=1)


def prefixes(progress: bool) -> Iterator[Measurement]:
    claim = "near2-prefix"
    for name in ("pydocs", "crowdflower-search"):
        arms = {
            "nested, 384 dimensions": values(name, "nested", "", progress),
            "nested, first 64": values(name, "nested", "cut", progress),
            "un-nested, 384 dimensions": values(name, "plain", "", progress),
            "un-nested, first 64": values(name, "plain", "cut", progress),
            "un-nested, PCA to 64": values(name, "plain", "pca", progress),
            "un-nested, random 64": values(name, "plain", "random", progress),
            "minilm as it is, 384 dimensions": values(name, "minilm", "", progress),
            "minilm as it is, first 64": values(name, "minilm", "cut", progress),
        }
        for arm, found in arms.items():
            yield Measurement(
                claim, arm, name, len(found), "ndcg@10", *interval(found), seeds=1 if "as it is" in arm else len(SEEDS)
            )
        for arm, other in (
            ("nested, first 64", "un-nested, first 64"),
            ("nested, first 64", "un-nested, PCA to 64"),
            ("nested, 384 dimensions", "un-nested, 384 dimensions"),
        ):
            difference = paired_interval(arms[arm], arms[other])
            yield Measurement(
                claim,
                f"{arm} − {other}",
                name,
                len(arms[arm]),
                "ndcg@10, paired difference",
                *difference,
                seeds=len(SEEDS),
                paper="+",
                paper_data="eBay, private",
            )
        yield from lexical(name, claim)


def adaptation(progress: bool) -> Iterator[Measurement]:
    claim = "adaptation"
    for name in ("pydocs", "jaquad"):
        before, after = values(name, "minilm", "", progress), values(name, "nested", "", progress)
        yield Measurement(claim, "minilm as it is", name, len(before), "ndcg@10", *interval(before), seeds=1)
        yield Measurement(
            claim,
            "minilm adapted by near2, 1,000 pairs",
            name,
            len(after),
            "ndcg@10",
            *interval(after),
            seeds=len(SEEDS),
        )
        yield Measurement(
            claim,
            "adapted − as it is",
            name,
            len(after),
            "ndcg@10, paired difference",
            *paired_interval(after, before),
            seeds=len(SEEDS),
            paper="+",
        )
        yield from lexical(name, claim)


CLAIMS = [
    Claim(
        "near2-prefix",
        "near2",
        "A short prefix of the nested model keeps more quality than the un-nested model cut to the same width.",
        "Qian et al. 2025, abstract: up to 12 times smaller at inference",
        "+",
        prefixes,
    ),
    Claim(
        "adaptation",
        "near2",
        "Fine-tuning a small general model on 1,000 of one's own pairs improves retrieval on held-out ones.",
        "the premise of NEAR² and of every domain adaptation",
        "+",
        adaptation,
    ),
]
