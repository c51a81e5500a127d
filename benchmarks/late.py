"""Token vectors: every row by MaxSim beside the rows that lie at a query's centroids, on the same vectors in one run.

60,000 sentences of the novels, minilm's token vectors before its pooling; asked are 100 other sentences by their first
32 tokens. They are encoded once and kept in results/.kept (2 GB).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recall import long_sentences, shares
from benchmarks.run import figure, rate, timed
from umekomi.contracts import Vectors
from umekomi.indexes import Index
from umekomi.indexes.kinds import Late, make_kind
from umekomi.models import load
from umekomi.parts import similarity as similarities
from umekomi.verbs.reproduce import Measurement, cached

CLAIM = "speed-late"
ROWS, ASKED, TOKENS = 60_000, 100, 32
DATA = "minilm's token vectors, novels"


def tokens() -> Vectors:
    def encode() -> list[Any]:
        from umekomi.models.multivector import MultiVectorEmbedder
        from umekomi.models.text import TextEmbedder

        model = load("minilm")
        assert isinstance(model, TextEmbedder)
        texts = long_sentences()
        order = np.random.default_rng(0).permutation(len(texts))[: ROWS + ASKED]
        found = MultiVectorEmbedder.of(model).encode([texts[i] for i in order], batch_size=64, progress=True)
        return [found.flat, found.offsets]

    return Vectors(*cached(["late", "minilm", ROWS, ASKED], encode))


def measure() -> Iterator[Measurement]:
    whole = tokens()
    yield from of(similarities.rows(whole, ASKED, ASKED + ROWS), similarities.rows(whole, 0, ASKED), DATA)


def of(stored: Vectors, asked: Vectors, data: str) -> Iterator[Measurement]:
    """Both kinds on these vectors."""
    rows = stored.items
    queries = Vectors.of([asked.item(query)[:TOKENS] for query in range(asked.items)])
    with tempfile.TemporaryDirectory() as folder:
        index = Index.create(Path(folder) / "i", metric="maxsim", output="multi", kind="late")
        index.add([str(row) for row in range(rows)], stored)
        true = index.nearest(queries, 10)
        seconds = timed(lambda: index.nearest(queries, 10), 1)
        yield from _milliseconds("late, every row", data, rows, queries.items, seconds)
        begun = time.perf_counter()
        index.compact("centroids")
        yield rate(CLAIM, "centroids, built", data, rows, "rows/s", rows, (time.perf_counter() - begun,) * 3)
        yield figure(CLAIM, "centroids, on disk", data, rows, "bytes/row", [index.bytes_on_disk() / rows])
        now = index.snapshot()
        own = now.kind.settings()
        for shortlist in (own["shortlist"], 200, 800, 1600):
            tried = make_kind("centroids", own | {"shortlist": shortlist})
            tried.codec, tried.reach = now.kind.codec, now.kind.reach
            arm = f"centroids, {'tuned' if shortlist == own['shortlist'] else f'shortlist {shortlist}'}"
            found = now.nearest(queries, 10, kind=tried)
            yield figure(CLAIM, arm, data, rows, "recall@10", [float(shares(true, found, 10).mean())])
            fast = timed(lambda tried=tried: now.nearest(queries, 10, kind=tried))  # type: ignore[misc]
            yield from _milliseconds(arm, data, rows, queries.items, fast)
            yield figure(CLAIM, f"{arm} / late", data, rows, "ratio of queries/s", [seconds[0] / fast[0]])
        one = Vectors.of([queries.item(0)])
        for arm, kind in (("late, every row", Late()), ("centroids, tuned", None)):
            alone = timed(lambda kind=kind: now.nearest(one, 10, kind=kind), 5)  # type: ignore[misc]
            yield from _milliseconds(f"{arm}, one query", data, rows, 1, alone)


def _milliseconds(
    arm: str, data: str, rows: int, queries: int, seconds: tuple[float, float, float]
) -> Iterator[Measurement]:
    median, least, most = (1000 * each / queries for each in seconds)
    yield Measurement(CLAIM, arm, data, rows, "ms/query", median, least, most, seeds=1)
