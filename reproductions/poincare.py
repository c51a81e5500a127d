"""The Poincaré papers' claims on WordNet: few hyperbolic dimensions hold a hierarchy that Euclidean ones do not; the
figures on the whole noun closure; and how well the learned hierarchy agrees with people (HyperLex)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from umekomi.data import load
from umekomi.data.graphs import closure as closed
from umekomi.models.entity import EntityEmbedder
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.statistics import interval
from umekomi.tasks.entities import LinkPrediction, Reconstruction
from umekomi.verbs.reproduce import Claim, Measurement, cached

SEEDS = (0, 1, 2)
RATES = {"ball": 0.1, "lorentz": 0.1, "euclidean": 0.01}
EPOCHS, BURN_IN = 600, 20
NOUNS: dict[str, Any] = {}
"""Settings of the nouns beside ``Poincare.nouns()``'s."""
QUICK = {"SEEDS": (0,), "EPOCHS": 4, "BURN_IN": 1, "NOUNS": {"epochs": 4}}


def split(table: pa.Table, seed: int, held_out: float) -> tuple[pa.Table, pa.Table]:
    """(what is learned from, a share of the links that is not)."""
    chosen = np.zeros(table.num_rows, bool)
    if held_out:
        chosen[np.random.default_rng(seed).choice(table.num_rows, int(held_out * table.num_rows), replace=False)] = True
    return table.filter(pa.array(~chosen)), table.filter(pa.array(chosen))


def values(name: str, recipe: Any, seed: int, held_out: float = 0.0) -> list[Any]:
    """[average precision of every node, rank of every link], and the table itself."""
    table = load(name)["train"]
    train, test = split(table, seed, held_out)

    def measure() -> list[Any]:
        say(f"  {name}, {recipe.manifold}, {recipe.dimensions} dimensions, seed {seed}")
        model = replace(recipe, transitive=False).fit(train, seed=seed, progress=True)
        task: Any = LinkPrediction(test, train=train) if held_out else Reconstruction(table)
        if held_out:
            known = set(model.names)
            kept_rows = [
                a in known and b in known
                for a, b in zip(test["child"].to_pylist(), test["parent"].to_pylist(), strict=True)
            ]
            task = LinkPrediction(test.filter(pa.array(kept_rows)), train=train)
        found = task.evaluate(model)
        return [found.scores["map"].values, found.scores["mean rank"].values, model.vectors, np.array(model.names)]

    return cached(["poincare", name, recipe.settings(), seed, held_out], measure)


def rows_of(claim: str, arm: str, name: str, runs: list[list[Any]], paper: dict[str, str]) -> Iterator[Measurement]:
    for place, metric in enumerate(("map", "mean rank")):
        each = [float(run[place].mean()) for run in runs]
        inside = interval(runs[0][place], resamples=200)
        low, high = min([inside.low, *each]), max([inside.high, *each])
        yield Measurement(
            claim,
            arm,
            name,
            len(runs[0][place]),
            metric,
            float(np.mean(each)),
            low,
            high,
            seeds=len(runs),
            paper=paper.get(metric, ""),
            paper_data="WordNet nouns" if metric in paper else "",
        )


def dimensions(progress: bool) -> Iterator[Measurement]:
    """Reconstruction and link prediction (a tenth of the links held out) of the mammals, by manifold and width."""
    claim = "poincare-dimensions"
    for held_out, what in ((0.0, "reconstruction"), (0.1, "link prediction")):
        for width in (2, 5, 10, 20):
            found = {}
            for manifold in RATES:
                recipe = get("poincare")(
                    dimensions=width,
                    manifold=manifold,
                    negatives=20,
                    learning_rate=RATES[manifold],
                    epochs=EPOCHS,
                    burn_in=BURN_IN,
                    schedule="linear",
                )
                found[manifold] = [values("wordnet-mammals", recipe, seed, held_out) for seed in SEEDS]
                yield from rows_of(
                    claim, f"{manifold}, {width} dimensions", f"wordnet-mammals, {what}", found[manifold], {}
                )
            gaps = np.subtract.outer(
                [run[0].mean() for run in found["ball"]], [run[0].mean() for run in found["euclidean"]]
            ).ravel()
            yield Measurement(
                claim,
                f"ball − euclidean, {width} dimensions",
                f"wordnet-mammals, {what}",
                len(found["ball"][0][0]),
                "map, difference over seeds",
                float(gaps.mean()),
                float(gaps.min()),
                float(gaps.max()),
                seeds=len(SEEDS),
                paper="+",
            )


@cache
def nouns(seed: int, width: int, held_out: float = 0.0) -> list[Any]:
    return values("wordnet-nouns", replace(get("poincare").nouns(), dimensions=width, **NOUNS), seed, held_out)


def links(progress: bool) -> Iterator[Measurement]:
    """All links that were held out; and of them those that follow from what was kept. Of the others (a node and its
    parent) no link that is learned from tells; whether the paper holds such out it does not say."""
    paper = {"map": ".825", "mean rank": "5.7"}
    runs = [nouns(seed, 5, 0.1) for seed in SEEDS]
    yield from rows_of(
        "poincare-links", "Poincare.nouns(), 5 dimensions", "wordnet-nouns, link prediction", runs, paper
    )
    followed = [
        following(run, *split(load("wordnet-nouns")["train"], seed, 0.1)) for seed, run in zip(SEEDS, runs, strict=True)
    ]
    yield from rows_of(
        "poincare-links",
        "Poincare.nouns(), 5 dimensions",
        "wordnet-nouns, prediction of the links that follow from others",
        followed,
        paper,
    )


def following(run: list[Any], train: pa.Table, test: pa.Table) -> list[Any]:
    """[average precision of every node, rank of every link] over the links of ``test`` that follow from ``train``; its
    others are left out of the ranking."""
    model = EntityEmbedder([str(name) for name in run[3]], run[2], metric=get("poincare").nouns().metric())
    known, implied = (
        set(model.names),
        set(closed(zip(train["child"].to_pylist(), train["parent"].to_pylist(), strict=True))),
    )
    pairs = list(zip(test["child"].to_pylist(), test["parent"].to_pylist(), strict=True))
    there = np.array([a in known and b in known for a, b in pairs])
    follows = np.array([pair in implied for pair in pairs]) & there
    beside = pa.concat_tables([train, test.filter(pa.array(there & ~follows))])
    found = LinkPrediction(test.filter(pa.array(follows)), train=beside).evaluate(model)
    return [found.scores["map"].values, found.scores["mean rank"].values]


PAPER = {5: {"map": ".823", "mean rank": "4.9"}, 10: {"map": ".851", "mean rank": "4.02"}}


def closure(claim: str, width: int, seeds: tuple[int, ...]) -> Iterator[Measurement]:
    runs = [nouns(seed, width) for seed in seeds]
    yield from rows_of(claim, f"Poincare.nouns(), {width} dimensions", "wordnet-nouns", runs, PAPER[width])
    found = [hyperlex(run) for run in runs]
    bounds = interval(found[0][0], "spearman")
    values = [value for _, value in found]
    yield Measurement(
        claim,
        f"HyperLex, {width} dimensions",
        "hyperlex",
        len(found[0][0]),
        "spearman",
        float(np.mean(values)),
        min(bounds.low, *values),
        max(bounds.high, *values),
        seeds=len(seeds),
        paper=".512",
        paper_data="HyperLex nouns, 5 dimensions",
    )


def hyperlex(run: list[Any]) -> tuple[Any, float]:
    """(gold and score of every noun pair, their Spearman): over the senses of both words the pair with the best score,
    -(1 + α (|v| - |u|)) d, α = 1000 (Nickel & Kiela 2017, section 4.3)."""
    from umekomi.statistics import spearman

    model = EntityEmbedder([str(name) for name in run[3]], run[2], metric=get("poincare").nouns().metric())
    senses: dict[str, list[int]] = {}
    for row, name in enumerate(model.names):
        senses.setdefault(name.rsplit(".", 2)[0].replace("_", " "), []).append(row)
    points = np.asarray(model.vectors, np.float64)
    from umekomi.tasks.entities import _radius

    radius = _radius(points, model.metric)
    out = []
    for pair in load("hyperlex")["test"].to_pylist():
        a, b = senses.get(pair["child"]), senses.get(pair["parent"])
        if a and b:
            distance = -np.asarray(model.similarity(points[a], points[b]), np.float64)
            score = -(1 + 1000 * (radius[b][None] - radius[a][:, None])) * distance
            out.append((pair["score"], float(score.max())))
    pairs = np.array(out)
    return pairs, spearman(pairs)


CLAIMS = [
    Claim(
        "poincare-dimensions",
        "poincare",
        "In few dimensions the Poincaré ball holds a hierarchy better than Euclidean space.",
        "Nickel & Kiela 2017, table 1",
        "+",
        dimensions,
    ),
    Claim(
        "poincare-nouns",
        "poincare",
        "Five hyperbolic dimensions hold WordNet's nouns at MAP .823, mean rank 4.9.",
        "Nickel & Kiela 2017, tables 1 and 3",
        "0",
        lambda progress: closure("poincare-nouns", 5, SEEDS),
    ),
    Claim(
        "poincare-nouns-10",
        "poincare",
        "Ten hyperbolic dimensions hold WordNet's nouns at MAP .851, mean rank 4.02.",
        "Nickel & Kiela 2017, table 1",
        "0",
        lambda progress: closure("poincare-nouns-10", 10, (0,)),
    ),
    Claim(
        "poincare-links",
        "poincare",
        "Five hyperbolic dimensions foretell links of WordNet's nouns that were held out (here a tenth of the "
        "closure) at MAP .825, mean rank 5.7.",
        "Nickel & Kiela 2017, table 1",
        "0",
        links,
    ),
]
