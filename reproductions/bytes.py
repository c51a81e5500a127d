"""What retrieval keeps in fewer bytes an item: minilm's vectors of four collections, stored whole, as prefixes (its
own, and of minilm tuned for prefixes), main directions, random projections, bytes, and, alone and with a second look,
four or two bits a dimension, signs, RaBitQ's turned signs, and product-quantised; and sparse codes. Everything that
learns, learns from the documents; the tuned model from pydocs' pairs. All arms read 128 tokens of a text. The tuning is
by sentence-transformers' MatryoshkaLoss; its own quantisation stands beside the house's."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from umekomi.parts.similarity import normalise
from umekomi.progress import say
from umekomi.statistics import interval, paired_interval
from umekomi.verbs.reproduce import Claim, Measurement, cached

SETS = ("scifact", "cranfield", "crowdflower-search", "jaquad")
SEEDS = (0, 1, 2)
TOKENS = 128
WIDTHS = (256, 128, 64, 32, 16)
ACTIVE = (8, 16, 32)
PIECES = (48, 24, 12)
SHORTLIST = 100
DOCUMENTS = 6000
EPOCHS = 60
CENTROIDS = 256
QUICK = {"SEEDS": (0,), "SETS": ("cranfield",), "TOKENS": 16, "DOCUMENTS": 300, "EPOCHS": 1, "CENTROIDS": 16}


@cache
def collection(name: str) -> Any:
    """The judged split as a retrieval task, its largest collections cut to the judged documents and as many others as
    make 6,000."""
    import pyarrow as pa

    from umekomi.data import load
    from umekomi.data.views import as_retrieval
    from umekomi.tasks.retrieval import RetrievalTask

    data = load(name)
    split = next(each for each in ("test", "validation", "dev", *data.splits) if each in data.splits)
    found = data[split]
    found = as_retrieval(found)
    if found.corpus.num_rows > DOCUMENTS:
        judged = set(found.qrels["corpus_id"].to_pylist())
        ids = found.corpus["id"].to_pylist()
        others = np.random.default_rng(0).permutation([place for place, each in enumerate(ids) if each not in judged])
        chosen = sorted(
            [place for place, each in enumerate(ids) if each in judged]
            + others[: max(DOCUMENTS - len(judged), 0)].tolist()
        )
        found = found._replace(corpus=found.corpus.take(pa.array(chosen)))
    return RetrievalTask(found, name)


@cache
def model(seed: int | None) -> Any:
    """minilm, or minilm tuned for prefixes on pydocs' pairs; by ONNX Runtime, 128 tokens of a text."""
    from umekomi.data import load
    from umekomi.models import load as load_model
    from umekomi.models.engines.onnx import export
    from umekomi.recipes import get

    base = load_model("minilm")
    if seed is not None:
        from dataclasses import replace

        recipe = replace(get("matryoshka").small(), prefixes=(384, 256, 128, 64, 32, 16), epochs=1)  # type: ignore[type-var]
        base = recipe.fit(load("pydocs", "train"), start=base, seed=seed)
    base = copy.copy(base)
    base.model.max_seq_length = TOKENS
    return export(base)


def vectors(name: str, seed: int | None) -> tuple[Any, Any]:
    """(documents, queries) of a collection by minilm, or by the model tuned with this seed."""
    task = collection(name)

    def encode() -> list[Any]:
        say(f"  {name}: {'minilm' if seed is None else f'tuned, seed {seed}'}, {task.data.corpus.num_rows} documents")
        embedder = model(seed)
        return [
            embedder.encode_document(task.data.corpus["text"].to_pylist()),
            embedder.encode_query(task.data.queries["text"].to_pylist()),
        ]

    documents, queries = cached(["bytes", name, seed, TOKENS, DOCUMENTS], encode)
    return documents, queries


class Cosine:
    """What a task asks of a model when the vectors are there."""

    @staticmethod
    def similarity(a: Any, b: Any) -> Any:
        b = b if hasattr(b, "indptr") else normalise(b)
        found = normalise(a) @ b.T
        return np.asarray(found.todense() if hasattr(found, "todense") else found, np.float32)


def judged(name: str, queries: Any, documents: Any) -> Any:
    """nDCG@10 of every query."""
    return collection(name).judge(Cosine, queries, documents).main.values


def product_quantised(documents: Any, pieces: int, seed: int) -> Any:
    """Each of ``pieces`` parts of a vector replaced by the nearest of 256 centroids learned from the documents (Jégou
    et al. 2011): a byte a piece."""
    from sklearn.cluster import MiniBatchKMeans

    out = np.empty_like(documents)
    for columns in np.array_split(np.arange(documents.shape[1]), pieces):
        means = MiniBatchKMeans(CENTROIDS, random_state=seed, n_init=1, batch_size=2048).fit(documents[:, columns])
        out[:, columns] = means.cluster_centers_[means.labels_]
    return out


def peers(queries: Any, documents: Any, precision: str) -> tuple[Any, Any]:
    """(documents, queries) by sentence-transformers' ``quantize_embeddings``, its ranges taken from the documents; its
    bits as they lie, -1 and 1."""
    from sentence_transformers.util import quantize_embeddings

    found = [quantize_embeddings(each, precision, calibration_embeddings=documents) for each in (documents, queries)]  # type: ignore[arg-type]
    if precision == "ubinary":
        found = [np.unpackbits(each, axis=1).astype(np.float32) * 2 - 1 for each in found]
    return np.asarray(found[0], np.float32), np.asarray(found[1], np.float32)


def rabitq(queries: Any, documents: Any, seed: int) -> tuple[Any, Any]:
    """The hundred best (numbers, scores) of every query by the estimates of the index kind ``binary``: a bit a
    dimension after a random rotation and one float32 a document, 52 bytes, asked with four bits a dimension (Gao & Long
    2024)."""
    from umekomi.indexes.kinds import make_kind
    from umekomi.indexes.scans import Part

    kind: Any = make_kind("binary", {"seed": seed})
    documents = normalise(documents)
    kind.learn(documents)
    part, every = Part.fresh(documents, kind.derive(documents)), np.arange(len(documents))
    scores = np.stack([kind.keys(part, query, 1, 1).estimates(every) for query in normalise(queries)])
    numbers = np.argsort(-scores, axis=1, kind="stable")[:, :SHORTLIST]
    return numbers, np.take_along_axis(scores, numbers, 1).astype(np.float32)


def shortlisted(queries: Any, coarse: Any) -> Any:
    """The hundred best of every query by the coarse documents."""
    from umekomi.parts.ranking import exact_search

    return exact_search(Cosine, queries, coarse, SHORTLIST)[0]


def second_look(name: str, queries: Any, documents: Any, numbers: Any) -> Any:
    """Bytes order the hundred documents of each query that a coarse look chose."""
    from umekomi.transforms import Int8

    task = collection(name)
    bytes_ = normalise(Int8().fit(documents).transform(documents))
    scores = np.einsum("qd,qkd->qk", normalise(queries), bytes_[numbers])
    order = np.argsort(-scores, axis=1, kind="stable")
    return task.result(
        np.take_along_axis(numbers, order, 1), np.take_along_axis(scores, order, 1).astype(np.float32)
    ).main.values


def ways(name: str) -> Iterator[tuple[str, float, list[Any]]]:
    """(arm, bytes an item, nDCG@10 of every query for each seed)."""
    from umekomi.transforms import Binary, Int2, Int4, Int8, Pca, RandomProjection, SparseCode

    documents, queries = vectors(name, None)
    tuned = [vectors(name, seed) for seed in SEEDS]

    def stored(transform: Any, d: Any = documents, q: Any = queries) -> Any:
        transform.fit(d)
        return judged(name, q if transform.stored_only else transform.transform(q), transform.transform(d))

    yield "whole", 1536, [judged(name, queries, documents)]
    yield "tuned, whole", 1536, [judged(name, q, d) for d, q in tuned]
    for width in WIDTHS:
        yield f"prefix {width}", 4 * width, [judged(name, queries[:, :width], documents[:, :width])]
        yield f"tuned prefix {width}", 4 * width, [judged(name, q[:, :width], d[:, :width]) for d, q in tuned]
        yield f"main directions {width}", 4 * width, [stored(Pca(width))]
        yield f"random {width}", 4 * width, [stored(RandomProjection(width, seed)) for seed in SEEDS]
    yield "int8", 384, [stored(Int8())]
    for precision, size in (("int8", 384), ("ubinary", 48)):
        d, q = peers(queries, documents, precision)
        yield f"sentence-transformers' {precision}", size, [judged(name, q, d)]
    for width in (128, 64):
        yield f"tuned prefix {width}, int8", width, [stored(Int8(), d[:, :width], q[:, :width]) for d, q in tuned]
    for transform, size in ((Int4(), 192), (Int2(), 96), (Binary(), 48)):
        yield transform.name, size, [stored(transform)]
        numbers = shortlisted(queries, transform.transform(documents))
        yield f"{transform.name}, second look at int8", size + 384, [second_look(name, queries, documents, numbers)]
    lists = [rabitq(queries, documents, seed) for seed in SEEDS]
    yield "RaBitQ", 52, [collection(name).result(*each).main.values for each in lists]
    yield "RaBitQ, second look at int8", 436, [second_look(name, queries, documents, each) for each, _ in lists]
    for pieces in PIECES:
        coarse = [product_quantised(documents, pieces, seed) for seed in SEEDS]
        yield f"product-quantised {pieces}", pieces, [judged(name, queries, each) for each in coarse]
        yield (
            f"product-quantised {pieces}, second look at int8",
            pieces + 384,
            [second_look(name, queries, documents, shortlisted(queries, each)) for each in coarse],
        )
    epochs = min(EPOCHS, max(5, 400_000 // len(documents)))
    for k in ACTIVE:
        runs = []
        for seed in SEEDS:
            code = SparseCode(
                k,
                4 * documents.shape[1],
                seed=seed,
                epochs=epochs,
                batch_size=512,
                learning_rate=1e-3,
                weight_decay=0.0,
                contrast=0.0,
                auxiliary_k=256,
            )
            runs.append(stored(code))
        yield f"sparse code {k}", 8 * k, runs


def measure(progress: bool) -> Iterator[Measurement]:
    claim = "quality-by-bytes"
    shares: dict[str, list[float]] = {}
    sizes: dict[str, float] = {}
    for name in SETS:
        whole: Any = None
        for arm, size, runs in ways(name):
            inside, each = interval(runs[0]), [float(values.mean()) for values in runs]
            label = f"{arm}, {size:g} bytes"
            yield Measurement(
                claim,
                label,
                name,
                len(runs[0]),
                "ndcg@10",
                float(np.mean(each)),
                min([inside.low, *each]),
                max([inside.high, *each]),
                seeds=len(runs),
            )
            if whole is None:
                whole = runs[0]
            else:
                gap = paired_interval(np.mean(runs, axis=0), whole)
                yield Measurement(
                    claim,
                    f"{label} − whole",
                    name,
                    len(whole),
                    "ndcg@10, difference",
                    gap.value,
                    gap.low,
                    gap.high,
                    seeds=len(runs),
                    paper="-",
                )
            shares.setdefault(arm, []).append(float(np.mean(each)) / float(whole.mean()))
            sizes[arm] = size
    for arm, kept_ in shares.items():
        yield Measurement(
            claim,
            f"{arm}, {sizes[arm]:g} bytes",
            "mean of the four",
            len(SETS),
            "share of the whole's ndcg@10, range of sets",
            float(np.mean(kept_)),
            min(kept_),
            max(kept_),
            seeds=3,
        )


CLAIMS = [
    Claim(
        "quality-by-bytes",
        "bytes",
        "Fewer bytes an item cost retrieval little, and which way to save them matters more than how many.",
        "Kusupati et al. 2022 (prefixes); Wen et al. 2025 (sparse codes); Jégou et al. 2011 (product quantisation); "
        "Gao & Long 2024 (RaBitQ)",
        "-",
        measure,
    )
]
