"""Is a tuned fusion of BM25 and a dense model better than either, and than reciprocal rank as it is published? On five
labelled sets, with minilm; method and weight are chosen by five-fold cross-fitting, never on the queries judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from umekomi.comparison.fusion import cross_fitted, fused, untuned
from umekomi.data import RetrievalData, fingerprint, load
from umekomi.models import load as load_model
from umekomi.parts.ranking import exact_search
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


def measure(progress: bool) -> Iterator[Measurement]:
    for name in SETS:
        data = load(name, "test")
        task = RetrievalTask(data, name)
        found = cached([CLAIM, fingerprint(data), DEPTH], lambda data=data: rankings(data, progress))  # type: ignore[misc]
        pair = [(found[0], found[1]), (found[2], found[3])]
        settings, _ = cross_fitted(pair, task)
        say(f"  {name}: {', '.join(sorted(map(str, set(settings))))}")
        values = {
            "bm25": task.result(*pair[0]).main.values,
            "minilm": task.result(*pair[1]).main.values,
            "reciprocal rank, k = 60": task.result(*untuned(pair, task)).main.values,
            "tuned on other queries": task.result(*fused(pair, task, settings, DEPTH)).main.values,
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
