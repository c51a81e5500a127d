"""A hybrid index against its legs: nDCG@10 and milliseconds a query through the index, on Cranfield, SciFact and
JaQuAD.

The index is the one that ``umekomi index bm25+minilm`` makes; a query goes in as text and comes out as hits, embedding
and all. Vectors of the texts are made once and kept in results/.kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.run import timed
from umekomi.data import load
from umekomi.indexes import Index
from umekomi.indexes.lexical import NAME, settings
from umekomi.models.engines.choice import open_for_encoding
from umekomi.parts.words import choose
from umekomi.statistics import interval
from umekomi.tasks.retrieval import RetrievalTask
from umekomi.verbs.reproduce import Measurement, cached

CLAIM = "speed-hybrid"
TIMED = 100
"""Queries that are timed."""


def measure() -> Iterator[Measurement]:
    for name in ("cranfield", "scifact", "jaquad"):
        yield from of(name)


def of(name: str, model: str = "minilm", most: int | None = None) -> Iterator[Measurement]:
    """One set, its legs alone and both; ``most`` documents for a trial."""
    data: Any = load(name)["test"]
    task = RetrievalTask(data, name)
    texts = data.corpus["text"].to_pylist()[:most]
    queries = data.queries["text"].to_pylist()
    embedder = open_for_encoding(model)
    vectors = cached(["hybrid", model, name, len(texts)], lambda: [embedder.encode_document(texts, progress=True)])[0]
    with tempfile.TemporaryDirectory() as folder:
        index = Index.create(
            Path(folder) / "i", model=embedder, source=model, text="text", words=settings(choose(texts))
        )
        index.add([str(row) for row in range(len(texts))], vectors, {"text": texts})
        index.compact()
        for leg in (None, NAME, "vectors"):
            arm = f"bm25+{model}" if leg is None else "bm25" if leg == NAME else model
            numbers = np.zeros((len(queries), min(100, len(texts))), np.int64)
            scores = np.full(numbers.shape, -np.inf)
            for query, hits in enumerate(index.search(queries, numbers.shape[1], leg=leg)):
                for place, hit in enumerate(hits):
                    numbers[query, place], scores[query, place] = int(hit.id), hit.score
            result = task.result(numbers, scores)
            mean = interval(result.main.values)
            what = f"{arm}, through the index"
            yield Measurement(CLAIM, what, name, len(texts), result.metric, mean.value, mean.low, mean.high, seeds=1)

            def ask(leg: str | None = leg) -> None:
                for query in queries[:TIMED]:
                    index.search(query, 10, leg=leg)

            median, least, most_ = (1000 * each / min(TIMED, len(queries)) for each in timed(ask))
            yield Measurement(CLAIM, what, name, len(texts), "ms/query, text to hits", median, least, most_, seeds=1)
