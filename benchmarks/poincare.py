"""Poincaré embeddings: relations a second and quality, beside gensim's PoincareModel at the same dimensions and
negatives."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from benchmarks.run import figure, rate, spread, timed
from umekomi.data import load
from umekomi.models.entity import EntityEmbedder
from umekomi.parts.kernels.threads import cores
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.run import Run
from umekomi.tasks.entities import Reconstruction
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-poincare"


def measure() -> Iterator[Measurement]:
    mammals, nouns = load("wordnet-mammals")["train"], load("wordnet-nouns")["train"]
    task = Reconstruction(mammals)
    for negatives in (10, 20):
        for threads in dict.fromkeys((1, cores())):
            recipe = get("poincare")(
                dimensions=5,
                negatives=negatives,
                learning_rate=0.1,
                epochs=150,
                burn_in=15,
                threads=threads,
                transitive=False,
            )
            recipe.fit(mammals)
            took = timed(lambda recipe=recipe: recipe.fit(mammals))
            arm = f"umekomi, {negatives} negatives, {threads} thread{'s' * (threads > 1)}"
            yield rate(
                CLAIM, arm, "wordnet-mammals", mammals.num_rows, "relations/s", mammals.num_rows * recipe.epochs, took
            )
            yield figure(
                CLAIM,
                arm,
                "wordnet-mammals",
                mammals.num_rows,
                "map",
                [task.evaluate(recipe.fit(mammals, seed=seed)).value for seed in range(3)],
            )
            yield _loop(nouns, negatives, threads)
    yield from _whole(nouns)
    yield from _gensim(mammals, nouns, task)


def _whole(nouns: pa.Table) -> Iterator[Measurement]:
    """WordNet's nouns by the settings that hold them: the whole fit, start and numbering included, and what it
    reaches."""
    recipe = replace(get("poincare").nouns(), transitive=False)
    begun = time.perf_counter()
    model = recipe.fit(nouns, progress=True)
    took = time.perf_counter() - begun
    arm = f"umekomi, Poincare.nouns(), {cores()} threads, the whole fit"
    yield rate(
        CLAIM, arm, "wordnet-nouns", nouns.num_rows, "relations/s", nouns.num_rows * recipe.epochs, spread([took])
    )
    yield figure(CLAIM, arm, "wordnet-nouns", nouns.num_rows, "map", [Reconstruction(nouns).evaluate(model).value])


def _loop(nouns: object, negatives: int, threads: int) -> Measurement:
    """WordNet's nouns: the loop alone, five epochs, the closure and the numbering left out."""
    from umekomi.data.graphs import hierarchy, relations
    from umekomi.parts.kernels.draw import mix
    from umekomi.parts.kernels.hyperbolic import BALL, sgd
    from umekomi.parts.learning.arrays import learn, order

    found = relations(hierarchy(nouns, CLAIM))
    offsets, neighbours = found.neighbours()
    table = np.random.default_rng(0).uniform(-1e-3, 1e-3, (len(found.names), 5))
    nearest = np.zeros((len(found.names), 0), np.int32)
    pool, rows = np.arange(len(found.names), dtype=np.int32), order(len(found.heads), 0, 0)

    def work(epoch: int, low: int, high: int, thread: int) -> float:
        return sgd(
            table,
            np.zeros(0),
            found.heads,
            found.tails,
            rows[low:high],
            offsets,
            neighbours,
            pool,
            nearest,
            0.0,
            negatives,
            0.1,
            1e-5,
            BALL,
            mix(epoch, low, thread),
        )

    took = timed(
        lambda: learn({"points": table}, 5, len(rows), work, run=Run(CLAIM), unit="relations", threads=threads)
    )
    return rate(
        CLAIM,
        f"umekomi, {negatives} negatives, {threads} thread{'s' * (threads > 1)}",
        "wordnet-nouns",
        len(rows),
        "relations/s",
        5 * len(rows),
        took,
    )


def _gensim(mammals: object, nouns: object, task: Reconstruction) -> Iterator[Measurement]:
    try:
        from gensim.models.poincare import PoincareModel
    except ImportError:
        say("gensim is not installed: its arm is left out")
        return
    for name, table, rows, epochs in (("wordnet-mammals", mammals, None, 50), ("wordnet-nouns", nouns, 40_000, 1)):
        pairs = list(zip(table["child"].to_pylist(), table["parent"].to_pylist(), strict=True))
        pairs = pairs if rows is None else random.Random(0).sample(pairs, rows)
        model = PoincareModel(pairs, size=5, negative=20, burn_in=0, seed=0)
        took = timed(lambda model=model, epochs=epochs: model.train(epochs=epochs), repeats=1)
        yield rate(CLAIM, "gensim, 20 negatives", name, len(pairs), "relations/s", len(pairs) * epochs, took)
        if rows is None:
            table = EntityEmbedder(model.kv.index_to_key, model.kv.vectors.astype(np.float32), metric="poincare")
            yield figure(
                CLAIM, f"gensim, 20 negatives, {epochs} epochs", name, len(pairs), "map", [task.evaluate(table).value]
            )
