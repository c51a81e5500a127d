"""One candidate's first documents in the order that a scorer gives them: what a pair of retriever and reranker is
worth, and costs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.comparison.leaderboard import Row
from umekomi.comparison.meter import ScoreMeter
from umekomi.errors import WrongUse
from umekomi.models.base import Scorer, describe
from umekomi.models.engines.choice import EXPORTED
from umekomi.models.opening import resolve
from umekomi.tasks.base import scores_of
from umekomi.tasks.retrieval import RetrievalTask

if TYPE_CHECKING:
    from umekomi.comparison.candidates import Candidate
    from umekomi.comparison.judging import Judging

LATENCY_QUERIES = 5


def reranked(run: Judging, candidate: Candidate, key: str) -> Row:
    """The row of ``FIRST>SCORER``: the first's best ``depth`` documents of each query, ordered by the scorer; those
    behind them stay as they were."""
    task, first = run.plan.task, candidate.first
    assert first is not None
    if not isinstance(task, RetrievalTask):
        raise WrongUse(f"a reranker orders documents; the task is {task.kind}")
    if candidate.recipe is None and resolve(candidate.name).kind in EXPORTED:  # said before a graph is exported
        raise WrongUse(f"expected a scorer behind >; {candidate.name} is an embedder")
    scorer, model_key, seconds, _ = run.scorer(candidate)
    if not isinstance(scorer, Scorer):
        raise WrongUse(f"expected a scorer behind >; {describe(scorer)}")
    before, _ = run.candidate(first)
    queries, corpus = task.data.queries["text"].to_pylist(), task.data.corpus["text"].to_pylist()
    numbers, scores = run.ranking(first, queries, corpus, task.depth)
    depth = min(candidate.depth, numbers.shape[1])
    meter = ScoreMeter(scorer, run.folder / "scores" / model_key, run.journal, candidate.name)
    order, values = _ordered(meter, queries, corpus, numbers, scores, depth, run.progress)
    result = task.result(order, values)
    took = []
    for place, query in enumerate(queries[:LATENCY_QUERIES]):
        begun = time.perf_counter()
        scorer.score([query] * depth, [corpus[number] for number in numbers[place, :depth]])
        took.append(time.perf_counter() - begun)
    more = 1000 * float(np.median(took))
    return Row(
        candidate=candidate.spec,
        key=key,
        metric=result.metric,
        statistic=result.main.statistic,
        values=result.main.values.tolist(),
        others={metric: score.interval() for metric, score in list(result.scores.items())[1:]},
        dimensions=before.dimensions,
        bytes_per_item=before.bytes_per_item,
        texts_per_second=before.texts_per_second,
        queries_per_second=None,
        ms_per_query=None if before.ms_per_query is None else before.ms_per_query + more,
        training_seconds=seconds + before.training_seconds,
        licence=str(scorer.card.get("licence") or "unknown"),
        notes=(f"{first.spec}'s first {depth} of each query, ordered by {candidate.name}", *result.notes),
        hits={query: list(found) for query, found in result.hits.items()},
        start=first.spec,
        model=before.model,
        makes="reranked",
        items_per_second=meter.count / max(meter.seconds, 1e-9),
        task_seconds=meter.seconds + (before.task_seconds or 0),
        tokens=before.tokens,
        usd=None if before.usd is None else before.usd + meter.seconds / 3600 * (run.usd_per_hour or 0.0),
        usd_per_million=before.usd_per_million,
    )


def _ordered(
    meter: ScoreMeter,
    queries: list[str],
    corpus: list[str],
    numbers: Any,
    scores: Any,
    depth: int,
    progress: bool,
) -> tuple[Any, Any]:
    """(document numbers, scores): the first ``depth`` of each query by the scorer, above all that stand behind."""
    hits = np.isfinite(scores[:, :depth])
    asked = [query for query, row in zip(queries, hits, strict=True) for _ in range(int(row.sum()))]
    documents = [corpus[n] for found, row in zip(numbers[:, :depth], hits, strict=True) for n in found[row]]
    flat = scores_of(meter, asked, documents, progress=progress)
    order, values = numbers.copy(), np.where(np.isfinite(scores), 0.0, -np.inf)
    tail = -np.arange(numbers.shape[1], dtype=float)
    for place, own in enumerate(np.split(flat, np.cumsum(hits.sum(1))[:-1])):
        rank = np.argsort(-own, kind="stable")
        count = len(own)
        order[place, :count] = numbers[place, :depth][hits[place]][rank]
        behind = np.isfinite(scores[place, count:])
        floor = float(own.min()) - 1 if count else 0.0
        values[place, :count] = own[rank]
        values[place, count:] = np.where(behind, floor + tail[count:], -np.inf)
    return order, values
