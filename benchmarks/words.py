"""Reading word vectors from text beside gensim's reader: lines a second of a file of 100,000 words, random numbers
written as GloVe's (50 numbers, five digits) and fastText's (300 numbers, four decimals) are. Both give the same array;
readers take turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.run import REPEATS, rate, spread
from umekomi.models import word2vec
from umekomi.progress import say
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-words"
WORDS = 100_000


def measure() -> Iterator[Measurement]:
    for name, width, way, header in (
        ("GloVe's, 50 numbers", 50, "%.5g", False),
        ("fastText's, 300", 300, "%.4f", True),
    ):
        generator = np.random.default_rng(0)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "words.vec"
            with file.open("w", encoding="utf-8") as stream:
                if header:
                    stream.write(f"{WORDS} {width}\n")
                for row in range(WORDS):
                    numbers = " ".join(way % value for value in generator.normal(0, 0.3, width))
                    stream.write(f"word{row} {numbers}\n")
            arms = {"umekomi": lambda file=file: word2vec.read(file).vectors}
            if find_spec("gensim"):
                from gensim.models import KeyedVectors

                arms["gensim"] = lambda file=file, bare=not header: (
                    KeyedVectors.load_word2vec_format(str(file), no_header=bare).vectors
                )
            else:
                say("gensim is not installed: left out")
            first = [read() for read in arms.values()]
            assert all(np.array_equal(first[0], other) for other in first)
            seconds: dict[str, list[float]] = {arm: [] for arm in arms}
            for _ in range(REPEATS):
                for arm, read in arms.items():
                    begun = time.perf_counter()
                    read()
                    seconds[arm].append(time.perf_counter() - begun)
        for arm, took in seconds.items():
            yield rate(CLAIM, f"{arm}, {name}", f"{WORDS:,} random words", WORDS, "lines/s", WORDS, spread(took))
