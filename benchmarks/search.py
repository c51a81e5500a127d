"""Search on real encoder output, queries not in the index: recall at 10 against exact search and milliseconds a query,
ours and faiss's and usearch's, two threads each; build.

Sets: 1,000,000 rows of static(minilm), WordNet's glosses and sentences and windows of the novels; 60,000 glosses,
60,000 sentences of the novels and 60,000 sentences of JaQuAD's paragraphs by minilm, the last asked its questions. They
are encoded once and kept in results/.kept. HNSW is built on 200,000 of the million: it takes minutes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.run import figure, rate, timed
from umekomi.data import load
from umekomi.indexes import Index
from umekomi.indexes.kinds import make_kind
from umekomi.models import load as load_model
from umekomi.models.engines.choice import open_for_encoding
from umekomi.parts.kernels.threads import cores
from umekomi.parts.similarity import normalise
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.verbs.reproduce import Measurement, cached

CLAIM = "speed-search"
ASKED = 300
SHORTLISTS = {"binary": (50, 100, 200, 400, 1000, 3000), "turbo": (20, 40, 60, 100, 200), "funnel": (200, 1000, 3000)}
ROWS = 1_001_000
"""A thousand are kept out of the index: queries are drawn from them."""


def sentences() -> list[str]:
    return list(dict.fromkeys(s for d in load("english-novels")["train"]["document"].to_pylist() for s in d))


def glosses() -> list[str]:
    return list(dict.fromkeys(load("wordnet-glosses")["train"]["anchor"].to_pylist()))


def million() -> Any:
    def encode() -> list[Any]:
        documents = load("english-novels")["train"]["document"].to_pylist()
        windows = (" ".join(d[i : i + n]) for n in (1, 2, 3, 4) for d in documents for i in range(len(d) - n + 1))
        texts = list(islice(dict.fromkeys([*glosses(), *windows]), ROWS + 20_000))
        order = np.random.default_rng(0).permutation(len(texts))
        model = get("static")().fit(start=load_model("minilm"))
        found = model.encode([texts[i] for i in order])
        # vectors of words that occur nowhere else are zero: they have no direction to search
        found = found[np.linalg.norm(found, axis=1) > 0][:ROWS]
        if len(found) < ROWS:
            raise RuntimeError(f"expected {ROWS:,} vectors, found {len(found):,}")
        return [found]

    return cached(["search", "static", ROWS], encode)[0]


def japanese() -> tuple[list[str], list[str]]:
    """JaQuAD's questions, and the sentences of its paragraphs."""
    splits = load("jaquad")
    texts = [text for split in ("train", "test") for text in splits[split].corpus["text"].to_pylist()]
    found = (sentence.strip() for text in texts for sentence in text.replace("\n", "。").split("。"))
    return splits["test"].queries["text"].to_pylist(), list(
        dict.fromkeys(sentence for sentence in found if len(sentence) > 10)
    )


def by_minilm(name: str, texts: list[str], asked: list[str] | None = None) -> Any:
    """A thousand vectors to ask with, of ``asked`` or of the texts, and those of 60,000 other texts."""

    def encode() -> list[Any]:
        generator = np.random.default_rng(0)
        order = generator.permutation(len(texts))[: 60_000 if asked else 61_000]
        first = [asked[i] for i in generator.permutation(len(asked))[:1000]] if asked else []
        return [open_for_encoding("minilm").encode(first + [texts[i] for i in order], batch_size=64, progress=True)]

    return cached(["search", "minilm", name, 61_000], encode)[0]


def recall(found: Any, true: Any) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), true.tolist(), strict=True)]))


def measured(arm: str, data: str, rows: int, ask: Any, queries: Any, true: Any) -> Iterator[Measurement]:
    """Recall, and milliseconds a query: one after another, and all at once."""
    found = np.concatenate([ask(query[None]) for query in queries])
    yield figure(CLAIM, arm, data, rows, "recall@10", [recall(found, true)])
    for what, job in (
        ("one by one", lambda: [ask(query[None]) for query in queries]),
        ("300 at once", lambda: ask(queries)),
    ):
        median, least, most = timed(job)
        yield Measurement(
            CLAIM,
            arm,
            data,
            rows,
            f"ms/query, {what}",
            1000 * median / len(queries),
            1000 * least / len(queries),
            1000 * most / len(queries),
            seeds=1,
        )


def measure() -> Iterator[Measurement]:
    whole = million()
    for data, vectors, graphs in (
        ("static(minilm), 256 dimensions", whole, False),
        ("static(minilm), 256 dimensions", whole[:201_000], True),
        ("minilm, WordNet glosses", by_minilm("glosses", glosses()), True),
        ("minilm, novels", by_minilm("novels", [s for s in sentences() if len(s) > 30]), True),
        ("minilm, JaQuAD's sentences, its questions", by_minilm("jaquad", japanese()[1], japanese()[0]), True),
    ):
        yield from one_set(data, vectors, graphs)


def one_set(data: str, vectors: Any, graphs: bool) -> Iterator[Measurement]:
    vectors = normalise(vectors)  # the peers know inner products only
    queries, stored = np.ascontiguousarray(vectors[:ASKED]), np.ascontiguousarray(vectors[1000:])
    rows = len(stored)
    with tempfile.TemporaryDirectory() as folder:
        index = Index.create(Path(folder) / "i", metric="cosine", kind="exact")
        for start in range(0, rows, 131_072):
            index.add([str(i) for i in range(start, min(start + 131_072, rows))], stored[start : start + 131_072])
        index.compact()
        true, _ = index.nearest(queries, 10)
        yield from measured("umekomi exact", data, rows, lambda asked: index.nearest(asked, 10)[0], queries, true)
        for kind, settings in (("binary", {}), ("turbo", {}), ("turbo", {"bits": 2}), ("funnel", {})):
            if kind == "turbo" and find_spec("turbovec") is None:
                say("turbovec is not installed: its arms are left out")
                continue
            begun = time.perf_counter()
            index.compact(kind, **settings)
            took = (time.perf_counter() - begun,) * 3
            own = index.kind.settings()
            what = {"funnel": f"funnel of {own.get('width')} bytes", "turbo": f"turbo of {own.get('bits')} bits"}.get(
                kind, kind
            )
            yield rate(CLAIM, f"umekomi {what}, built", data, rows, "rows/s", rows, took)
            yield figure(CLAIM, f"umekomi {what}, on disk", data, rows, "bytes/row", [index.bytes_on_disk() / rows])
            yield figure(CLAIM, f"umekomi {what}, tuned", data, rows, "shortlist for .95", [own["shortlist"]])
            for shortlist in (0, *(SHORTLISTS[kind])):
                now = index.snapshot()
                tried = make_kind(kind, own | {"shortlist": shortlist or own["shortlist"]})
                tried.codec = now.kind.codec
                arm = f"umekomi {what}, shortlist {shortlist}" if shortlist else f"umekomi {what}, tuned"

                def ask(asked: Any, now: Any = now, tried: Any = tried) -> Any:
                    return now.nearest(asked, 10, kind=tried)[0]

                yield from measured(arm, data, rows, ask, queries, true)
        yield from peers(stored, queries, true, data, rows, graphs)


def peers(stored: Any, queries: Any, true: Any, data: str, rows: int, graphs: bool) -> Iterator[Measurement]:
    try:
        import faiss
    except ImportError:
        say("faiss is not installed: its arms are left out")
        return
    faiss.omp_set_num_threads(cores())
    width = stored.shape[1]
    flat = faiss.IndexFlatIP(width)
    flat.add(stored)
    yield from measured("faiss IndexFlatIP", data, rows, lambda asked: flat.search(asked, 10)[1], queries, true)
    begun = time.perf_counter()
    lists = int(4 * rows**0.5)
    coarse = faiss.index_factory(width, f"IVF{lists},PQ{width // 8}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT)
    coarse.train(stored[: max(40 * lists, 50_000)])
    coarse.add(stored)
    yield rate(
        CLAIM, "faiss IVF-PQ fast scan + refine, built", data, rows, "rows/s", rows, (time.perf_counter() - begun,) * 3
    )
    inner = faiss.extract_index_ivf(coarse)
    for probes in (8, 32, 128):
        inner.nprobe, coarse.k_factor = probes, 20
        yield from measured(
            f"faiss IVF-PQ fast scan + refine, {probes} lists",
            data,
            rows,
            lambda asked: coarse.search(asked, 10)[1],
            queries,
            true,
        )
    if not graphs:
        return
    begun = time.perf_counter()
    graph = faiss.IndexHNSWFlat(width, 16, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 128
    graph.add(stored)
    yield rate(CLAIM, "faiss HNSW (16, 128), built", data, rows, "rows/s", rows, (time.perf_counter() - begun,) * 3)
    for effort in (32, 64, 128, 256):
        graph.hnsw.efSearch = effort
        yield from measured(
            f"faiss HNSW (16, 128), ef {effort}", data, rows, lambda asked: graph.search(asked, 10)[1], queries, true
        )
    try:
        from usearch.index import Index as Graph
    except ImportError:
        say("usearch is not installed: its arms are left out")
        return
    begun = time.perf_counter()
    walk = Graph(ndim=width, metric="ip", dtype="f32", connectivity=16, expansion_add=128)
    walk.add(np.arange(rows, dtype=np.uint64), stored, threads=cores())
    yield rate(CLAIM, "usearch HNSW (16, 128), built", data, rows, "rows/s", rows, (time.perf_counter() - begun,) * 3)
    for effort in (32, 64, 128, 256):
        walk.expansion_search = effort

        def ask(asked: Any) -> Any:
            return np.atleast_2d(walk.search(asked, 10, threads=cores()).keys).astype(np.int64)

        yield from measured(f"usearch HNSW (16, 128), ef {effort}", data, rows, ask, queries, true)
