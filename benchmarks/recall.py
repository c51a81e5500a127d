"""What every index kind gives of what exact search finds, for 1 to 1,000 hits, of all rows and of those that a filter
lets through: a half, a twentieth, a two-hundredth, a ten-thousandth of them, drawn at random.

60,000 sentences by minilm, each kind tuned as ``umekomi index`` does, to a recall of .95 at ten hits; asked are 300
others. ``sparse`` holds BM25's weights of the same sentences, ``late`` passages of eight sentences' vectors each, asked
with four. A query's recall is the share of the places of its true neighbours that rows as near were found for; low and
high bound its mean over the queries (95 %, by bootstrap).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search import by_minilm, glosses, japanese, sentences
from umekomi.contracts import Vectors
from umekomi.indexes import Index
from umekomi.indexes.kinds import plain
from umekomi.models.lexical import Bm25Embedder
from umekomi.parts import similarity as similarities
from umekomi.progress import say
from umekomi.statistics import interval
from umekomi.verbs.reproduce import Measurement

CLAIM = "recall"
ASKED = 300
HITS = (1, 10, 100, 1000)
SHARES = (1.0, 0.5, 0.05, 0.005, 0.0001)


def long_sentences() -> list[str]:
    return [text for text in sentences() if len(text) > 30]


def measure() -> Iterator[Measurement]:
    for data, vectors in (
        ("minilm, novels", by_minilm("novels", long_sentences())),
        ("minilm, WordNet glosses", by_minilm("glosses", glosses())),
        ("minilm, JaQuAD's sentences, its questions", by_minilm("jaquad", japanese()[1], japanese()[0])),
    ):
        for kind in ("auto", "exact", "turbo", "funnel", "hnsw"):
            yield from of_kind(kind, data, vectors[1000:], vectors[:ASKED])
        if data == "minilm, novels":
            eight = np.ascontiguousarray(vectors[1000:60_200]).reshape(-1, 8, vectors.shape[1])
            yield from of_kind("late", "minilm, novels, 8 sentences a row", passages(eight), passages(vectors[:400], 4))
    texts = long_sentences()[:61_000]
    model = Bm25Embedder.fit(texts[1000:])
    stored, asked = model.encode_document(texts[1000:]), model.encode_query(texts[:ASKED])
    yield from of_kind("sparse", "BM25, novels", stored, asked)


def passages(vectors: Any, size: int = 8) -> Vectors:
    flat = vectors.reshape(-1, vectors.shape[-1])
    return Vectors(flat, np.arange(0, len(flat) + 1, size))


def of_kind(kind: str, data: str, stored: Any, queries: Any) -> Iterator[Measurement]:
    """Recall of one kind under every filter."""
    rows = similarities.size(stored)
    metric, output = {"late": ("maxsim", "multi"), "sparse": ("dot", "sparse")}.get(kind, ("cosine", "dense"))
    place = np.random.default_rng(0).permutation(rows) / rows
    with tempfile.TemporaryDirectory() as folder:
        index = Index.create(
            Path(folder) / "i", metric=metric, output=output, kind="auto" if output != "dense" else kind
        )
        index.add([str(row) for row in range(rows)], stored, {"place": place})
        index.compact()
        now = index.snapshot()
        arm = f"{now.kind.name}, chosen by itself" if kind == "auto" else kind
        for share in SHARES:
            condition = None if share == 1 else f"place < {share}"
            true = now.nearest(queries, max(HITS), filter=condition, kind=plain(output))
            for k in HITS:
                found = now.nearest(queries, k, filter=condition)
                values = shares(true, found, k)
                mean = interval(values)
                passing = "all rows" if share == 1 else f"{100 * share:g} % pass"
                yield Measurement(
                    CLAIM, f"{arm}: {passing}", data, rows, f"recall@{k}", mean.value, mean.low, mean.high, seeds=1
                )
        say(f"{arm}, {data}: {now.kind.settings()}")


def shares(true: Any, found: Any, k: int) -> Any:
    """Every query's recall; those without a neighbour are left out."""
    out = []
    for true_rows, true_scores, rows, scores in zip(*true, *found, strict=True):
        wanted = true_scores[true_rows >= 0][:k]
        if len(wanted):
            near = scores[rows >= 0] >= wanted[-1] - 1e-6 * max(abs(float(wanted[-1])), 1.0)
            out.append(min(int(near.sum()), len(wanted)) / len(wanted))
    return np.array(out)
