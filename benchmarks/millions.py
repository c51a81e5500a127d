"""Ten million rows of 256 dimensions: build, size, memory, the first query and one query after another.

Nine of ten are generated: the million of :mod:`benchmarks.search` turned by small random rotations, with noise of a
tenth of a vector's length. Their neighbourhoods are those of real vectors, spread; what is said here is of speed and
memory, and recall is said beside it because rows that resemble one another so are hard to tell apart.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.opening import opening
from benchmarks.run import figure, rate
from benchmarks.search import ASKED, measured, million
from umekomi.indexes import Index
from umekomi.parts.similarity import normalise
from umekomi.progress import say
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-millions"
TIMES = 10
BATCH = 250_000
ANGLE, NOISE = 0.1, 0.1


def turned(vectors: Any, number: int) -> Any:
    """The vectors once more: as they are (0), or turned by a rotation near the identity, with noise."""
    if not number:
        return vectors
    generator = np.random.default_rng(number)
    width = vectors.shape[1]
    skew = np.triu(generator.standard_normal((width, width)), 1) * ANGLE / width**0.5
    rotation, _ = np.linalg.qr(np.eye(width) + skew - skew.T)
    noise = generator.standard_normal(vectors.shape, np.float32) * np.float32(NOISE / width**0.5)
    return normalise(vectors @ rotation.astype(np.float32) + noise)


def measure() -> Iterator[Measurement]:
    whole = normalise(million())
    yield from of(whole[1000:], np.ascontiguousarray(whole[:ASKED]), TIMES)


def of(stored: Any, queries: Any, times: int) -> Iterator[Measurement]:
    """``times`` as many rows as are given."""
    data, rows = f"static(minilm) and {times - 1} turned copies of it, 256 dimensions", times * len(stored)
    with tempfile.TemporaryDirectory() as folder:
        index = Index.create(Path(folder) / "i", metric="cosine", kind="exact")
        begun = time.perf_counter()
        for number in range(times):
            copy = turned(stored, number)
            for start in range(0, len(copy), BATCH):
                some = copy[start : start + BATCH]
                index.add([f"{number}-{start + i}" for i in range(len(some))], some)
        yield rate(CLAIM, "umekomi, added", data, rows, "rows/s", rows, (time.perf_counter() - begun,) * 3)
        true, _ = index.nearest(queries, 10)
        for kind in ("binary", "turbo"):
            if kind == "turbo" and find_spec("turbovec") is None:
                say("turbovec is not installed: its arms are left out")
                continue
            begun = time.perf_counter()
            index.compact(kind)
            took = time.perf_counter() - begun
            if kind == "binary":  # joined segments have other row numbers
                true, _ = index.snapshot().nearest(queries, 10, kind=_exact())
            yield rate(CLAIM, f"umekomi {kind}, built", data, rows, "rows/s", rows, (took,) * 3)
            yield figure(CLAIM, f"umekomi {kind}, on disk", data, rows, "bytes/row", [index.bytes_on_disk() / rows])
            yield from opening(index, queries, data, rows, kind, CLAIM, repeats=1)
            ask = index.snapshot()
            for row in measured(
                f"umekomi {kind}, tuned",
                data,
                rows,
                lambda asked, ask=ask: ask.nearest(asked, 10)[0],  # type: ignore[misc]
                queries,
                true,
            ):
                yield _mine(row)


def _exact() -> Any:
    from umekomi.indexes.kinds import Exact

    return Exact()


def _mine(row: Measurement) -> Measurement:
    from dataclasses import replace

    return replace(row, claim=CLAIM)
