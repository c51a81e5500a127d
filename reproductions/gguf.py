"""What fewer bits a weight cost: minilm as a GGUF file in every type that ``convert --to gguf`` writes, on STS-B, JSTS
and SciFact, its bytes, and texts a second of one core; and multilingual-e5-small, of which a package carries blocks of
four bits: its F32 are these, expanded, for its float weights are not here."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.packages import Unavailable
from reproductions.shared.found import E5_SMALL, folder_of
from umekomi.data import load
from umekomi.models import load as load_model
from umekomi.models.engines.choice import open_for_encoding
from umekomi.models.engines.gguf.writing import write
from umekomi.progress import say
from umekomi.statistics import interval, paired_interval
from umekomi.verbs.evaluate import evaluate
from umekomi.verbs.reproduce import Claim, Measurement, cached

CLAIM = "quality-by-bits"
TYPES = ("F32", "F16", "Q8_0", "Q4_K", "Q4_1", "Q4_0")
SETS = {"stsb": ("spearman", "spearman"), "jsts": ("spearman", "spearman"), "scifact": ("ndcg@10", "mean")}
"""Each set's metric, and the statistic that makes it of items."""
TIMED, REPEATS = 500, 3
PEERS = {E5_SMALL: ("F32", "Q8_0", "Q4_0")}
QUICK = {"TIMED": 20, "REPEATS": 1, "PEERS": {}}


def judged(model: Any, progress: bool) -> list[np.ndarray]:
    """What each set's statistic is made of, item by item."""
    return [evaluate(model, name, batch_size=64, progress=progress).main.values for name in SETS]


def of_file(file: Path, progress: bool) -> list[np.ndarray]:
    """The sets' values, then texts a second of one core's time, ``[REPEATS]``, and the file's bytes, ``[1]``."""
    model = open_for_encoding(str(file))
    texts = load("stsb", "test")["sentence1"].to_pylist()[:TIMED]
    model.encode(texts[:8])
    rates = []
    for _ in range(REPEATS):
        begun = time.process_time()
        model.encode(texts)
        rates.append(len(texts) / (time.process_time() - begun))
    return [*judged(model, progress), np.array(rates), np.array([file.stat().st_size])]


def figures(arm: str, values: list[np.ndarray]) -> Iterator[Measurement]:
    """Each set's figure."""
    for (name, (metric, statistic)), each in zip(SETS.items(), values, strict=True):
        yield Measurement(CLAIM, arm, name, len(each), metric, *interval(each, statistic), seeds=1)


def measure(progress: bool) -> Iterator[Measurement]:
    yield from of_model("minilm", load_model("minilm"), TYPES, progress)
    for name, types in PEERS.items():
        try:
            yield from of_model(name, load_model(folder_of(name)), types, progress)
        except Unavailable as error:
            say(f"{name}: left out: {error}")


def of_model(name: str, base: Any, types: tuple[str, ...], progress: bool) -> Iterator[Measurement]:
    """A model in each type, and what each has over the first."""
    values = {}
    for type in types:
        say(f"  {name} in {type}")
        key = [CLAIM, base.fingerprint(), type, list(SETS), TIMED]
        with tempfile.TemporaryDirectory() as place:

            def of_type(type: str = type, file: Path = Path(place) / f"model-{type}.gguf") -> list[np.ndarray]:
                write(base, file, type)
                return of_file(file, progress)

            *values[type], rates, size = cached(key, of_type)
        arm = f"{name}, {type}"
        yield from figures(arm, values[type])
        middle = statistics.median(rates.tolist())
        yield Measurement(
            CLAIM, arm, "stsb", TIMED, "texts/s of one core", middle, rates.min(), rates.max(), seeds=len(rates)
        )
        yield Measurement(CLAIM, arm, "the file", 1, "megabytes", *(float(size[0]) / 1e6,) * 3, seeds=1)
    for type in types[1:]:
        for (data, (metric, statistic)), mine, whole in zip(SETS.items(), values[type], values[types[0]], strict=True):
            gap = paired_interval(mine, whole, statistic)
            arm = f"{name}, {type} − {types[0]}"
            yield Measurement(CLAIM, arm, data, len(mine), f"{metric}, difference", *gap, seeds=1)


CLAIMS = [
    Claim(
        CLAIM,
        "gguf",
        "Weights of eight bits cost no quality, those of four little.",
        "what users of GGUF files are told",
        "0",
        measure,
    )
]
