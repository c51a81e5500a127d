"""StarSpace: examples a second with accuracy or hits@10, one thread and all. The original C++ program is a peer where a
binary named ``starspace`` is on the path; fastText's where ``fasttext`` is (Debian's package of that name)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.run import figure, rate, timed
from umekomi.data import load
from umekomi.data.vocabulary import split_words
from umekomi.parts.kernels.threads import cores
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.tasks.entities import TripleRanking
from umekomi.verbs.reproduce import Measurement

CLAIM, SEEDS = "speed-starspace", (0, 1, 2)


def measure() -> Iterator[Measurement]:
    yield from _topics()
    yield from _triples()
    yield from _sentences()


def _threads(arm: str) -> Iterator[tuple[str, int]]:
    for threads in dict.fromkeys((1, cores())):
        yield f"{arm}, {threads} thread{'s' * (threads > 1)}", threads


def _topics() -> Iterator[Measurement]:
    data = load("agnews")
    train, test = data["train"], data["test"]
    gold = [f"__label__{label}" for label in test["label"].to_pylist()]

    def accuracy(model: Any) -> float:
        return float(
            np.mean(
                [row[0] == label for row, label in zip(model.predict(test["text"].to_pylist())[0], gold, strict=True)]
            )
        )

    for arm, threads in _threads("umekomi, as the published example: dim 10, dot, no Adagrad"):
        recipe = get("starspace")(
            dimensions=10,
            similarity="dot",
            adagrad="off",
            learning_rate=0.01,
            search=5,
            negatives=3,
            epochs=20,
            threads=threads,
        )
        recipe.fit(train.slice(0, 100))
        yield rate(
            CLAIM,
            arm,
            "agnews",
            train.num_rows,
            "examples/s, the whole fit",
            20 * train.num_rows,
            timed(lambda recipe=recipe: recipe.fit(train)),
        )
        yield figure(
            CLAIM, arm, "agnews", test.num_rows, "accuracy", [accuracy(recipe.fit(train, seed=seed)) for seed in SEEDS]
        )
    for name in ("fasttext", "starspace"):
        if not shutil.which(name):
            say(f"no program named {name} here: its arm is left out")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            for part, table in (("train", train), ("test", test)):
                lines = [
                    f"{' '.join(bag)} __label__{label}"
                    for bag, label in zip(
                        split_words(table["text"].to_pylist(), "plain").to_pylist(),
                        table["label"].to_pylist(),
                        strict=True,
                    )
                ]
                (place / f"{part}.txt").write_text("\n".join(lines) + "\n")
            for arm, threads in _threads(name):
                words: list[str] = [
                    name,
                    "supervised",
                    "-input",
                    str(place / "train.txt"),
                    "-output",
                    str(place / "m"),
                    "-dim",
                    "10",
                    "-epoch",
                    "20",
                    "-lr",
                    "0.1",
                ]
                if name == "starspace":
                    words = [
                        name,
                        "train",
                        "-trainFile",
                        str(place / "train.txt"),
                        "-model",
                        str(place / "m"),
                        "-dim",
                        "10",
                        "-epoch",
                        "20",
                        "-lr",
                        "0.01",
                    ]
                    words += ["-similarity", "dot", "-adagrad", "0", "-negSearchLimit", "5", "-maxNegSamples", "3"]
                words += ["-thread", str(threads)]
                took = timed(lambda words=words: subprocess.run(words, check=True, capture_output=True))
                yield rate(CLAIM, arm, "agnews", train.num_rows, "examples/s, the whole fit", 20 * train.num_rows, took)
                if name == "fasttext":
                    said = subprocess.run(
                        [name, "test", str(place / "m.bin"), str(place / "test.txt")],
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout
                    found = next(float(line.split()[-1]) for line in said.splitlines() if line.startswith("P@1"))
                    yield figure(CLAIM, arm, "agnews", test.num_rows, "accuracy", [found])


def _triples() -> Iterator[Measurement]:
    data = load("fb15k-237")
    train = data["train"]
    task = TripleRanking(data["test"], known=pa.concat_tables([train, data["dev"]]))
    for arm, threads in _threads("umekomi, dim 50, dot, rate .1, 50 negatives, 20 epochs"):
        recipe = get("starspace")(
            dimensions=50, similarity="dot", learning_rate=0.1, epochs=20, search=50, negatives=50, threads=threads
        )
        took = timed(lambda recipe=recipe: recipe.fit(train), repeats=1)
        yield rate(CLAIM, arm, "fb15k-237", train.num_rows, "examples/s, the whole fit", 40 * train.num_rows, took)
        if threads == cores():
            yield figure(
                CLAIM,
                arm,
                "fb15k-237",
                data["test"].num_rows,
                "hits@10, filtered",
                [task.evaluate(recipe.fit(train)).scores["hits@10"].value],
            )


def _sentences() -> Iterator[Measurement]:
    """Two sentences of one paragraph: find the second among 5,000 by the first."""
    novels = load("english-novels")
    long = [[s for s in document if len(s.split()) >= 8] for document in novels["test"]["document"].to_pylist()]
    pairs = [(document[0], document[1]) for document in long if len(document) > 1][:5000]
    for arm, threads in _threads("umekomi, mode 3, dim 100, rate .05, 50 negatives, 5 epochs"):
        recipe = get("starspace")(dimensions=100, learning_rate=0.05, epochs=5, search=50, min_count=5, threads=threads)
        took = timed(lambda recipe=recipe: recipe.fit(novels["train"]), repeats=1)
        model = recipe.fit(novels["train"]) if threads == cores() else None
        examples = sum(len(document) > 1 for document in novels["train"]["document"].to_pylist())
        yield rate(CLAIM, arm, "english-novels", examples, "examples/s, the whole fit", 5 * examples, took)
        if model is not None:
            scores = model.similarity(model.encode([a for a, _ in pairs]), model.encode([b for _, b in pairs]))
            place = (scores > np.diag(scores)[:, None]).sum(1)
            yield figure(CLAIM, arm, "english-novels", len(pairs), "hits@10", [float((place < 10).mean())])
