"""Is a tuned fusion of BM25 and a dense model better than either, and than reciprocal rank as it is published? On five
labelled sets, with minilm; method and weight are chosen by five-fold cross-fitting, never on the queries judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from umekomi.comparison.fusion import FOLDS, choose, folds
from umekomi.data import RetrievalData, fingerprint, load
from umekomi.models import load as load_model
from umekomi.parts.ranking import exact_search, fuse, fuse_ranks
from umekomi.progress import say
from umekomi.recipes import get
from umekomi.statistics import interval, paired_interval
from umekomi.tasks.retrieval import RetrievalTask
from umekomi.verbs.reproduce import Claim, Measurement, cached

SETS = ("pydocs", "scifact", "cranfield", "crowdflower-search", "jaquad")
CLAIM = "fusion-tuned"
DEPTH = 100


def rankings(data: RetrievalData, progress: bool) -> list[Any]:
    """[BM25's documents, its scores, minilm's documents, its scores], each ``[queries, 100]``."""
    texts, queries = data.corpus["text"].to_pylist(), data.queries["text"].to_pylist()
    out: list[Any] = []
    for model in (get("bm25")().fit({"text": texts}), load_model("minilm")):
        asked = model.encode_query(queries, batch_size=64, progress=progress)
        out += exact_search(model, asked, model.encode_document(texts, batch_size=64, progress=progress), DEPTH)
    return out


def tuned(data: RetrievalData, pair: list[Any]) -> tuple[Any, Any]:
    """(document numbers, scores), each fifth of the queries by what was chosen on the others."""
    fold = folds(data.queries["text"].to_pylist())
    order, scores = np.zeros(pair[0][0].shape, np.int64), np.full(pair[0][0].shape, -np.inf)
    for number in range(FOLDS):
        others, own = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        queries = data.queries.take(others)
        wanted = set(queries["id"].to_pylist())
        kept = [n for n, query in enumerate(data.qrels["query_id"].to_pylist()) if query in wanted]
        part = RetrievalData(queries, data.corpus, data.qrels.take(kept))
        setting = choose([(numbers[others], values[others]) for numbers, values in pair], part)
        say(f"  fold {number}: {setting[0]}, {setting[1]:g} of bm25")
        for query in own:
            found, values = fuse([(numbers[query], each[query]) for numbers, each in pair], *setting)
            count = min(len(found), order.shape[1])
            order[query, :count], scores[query, :count] = found[:count], values[:count] + 1e-9
    return order, scores


def untuned(data: RetrievalData, pair: list[Any]) -> tuple[Any, Any]:
    order, scores = np.zeros(pair[0][0].shape, np.int64), np.zeros(pair[0][0].shape)
    for query in range(len(order)):
        found = [numbers[query][np.isfinite(values[query])] for numbers, values in pair]
        total = fuse_ranks(found, data.corpus.num_rows)
        order[query] = np.argsort(-total, kind="stable")[: order.shape[1]]
        scores[query] = total[order[query]]
    return order, np.where(scores > 0, scores, -np.inf)


def measure(progress: bool) -> Iterator[Measurement]:
    for name in SETS:
        data = load(name, "test")
        task = RetrievalTask(data, name)
        found = cached([CLAIM, fingerprint(data), DEPTH], lambda data=data: rankings(data, progress))  # type: ignore[misc]
        pair = [(found[0], found[1]), (found[2], found[3])]
        say(f"  {name}")
        values = {
            "bm25": task.result(*pair[0]).main.values,
            "minilm": task.result(*pair[1]).main.values,
            "reciprocal rank, k = 60": task.result(*untuned(data, pair)).main.values,
            "tuned on other queries": task.result(*tuned(data, pair)).main.values,
        }
        for arm, each in values.items():
            yield Measurement(CLAIM, arm, name, len(each), "ndcg@10", *interval(each), seeds=1)
        for other in ("bm25", "minilm", "reciprocal rank, k = 60"):
            gap = paired_interval(values["tuned on other queries"], values[other])
            metric = "ndcg@10, paired difference"
            yield Measurement(CLAIM, f"tuned − {other}", name, len(values[other]), metric, *gap, seeds=1)


CLAIMS = [
    Claim(
        CLAIM,
        "fusion",
        "A fusion whose weight is chosen on other queries is better than either model and than reciprocal rank.",
        "users' threads on weights of hybrid search; Bruch, Gai & Ingber 2023, section 4",
        "+",
        measure,
    )
]
