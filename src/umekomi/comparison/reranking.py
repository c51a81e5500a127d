"""One candidate's first documents in the order that a scorer gives them: what a pair of retriever and reranker is
worth, and costs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.comparison.costs import foresee_order, money_of_order, unpayable
from umekomi.comparison.leaderboard import Row
from umekomi.comparison.meter import ScoreMeter
from umekomi.errors import WrongUse
from umekomi.models.base import Scorer, describe
from umekomi.models.engines.choice import EXPORTED
from umekomi.models.opening import resolve
from umekomi.models.services.money import BudgetReached
from umekomi.models.services.scorer import ServiceScorer
from umekomi.progress import say
from umekomi.tasks.base import scores_of
from umekomi.tasks.retrieval import SearchTask

if TYPE_CHECKING:
    from umekomi.comparison.candidates import Candidate
    from umekomi.comparison.judging import Judging

LATENCY_QUERIES = 5


def reranked(run: Judging, candidate: Candidate, key: str) -> Row:
    """The row of ``FIRST>SCORER``: the first's best ``depth`` texts of each query, ordered by the scorer; those
    behind them stay as they were."""
    task, first = run.plan.task, candidate.first
    assert first is not None
    if not isinstance(task, SearchTask):
        raise WrongUse(f"a reranker orders texts; the task is {task.kind}")
    if candidate.recipe is None and resolve(candidate.name).kind in EXPORTED:  # said before a graph is exported
        raise WrongUse(f"expected a scorer behind >; {candidate.name} is an embedder")
    scorer, model_key, seconds, _ = run.scorer(candidate)
    if not isinstance(scorer, Scorer):
        raise WrongUse(f"expected a scorer behind >; {describe(scorer)}")
    before, _ = run.candidate(first)
    queries, texts = task.questions, task.texts()
    numbers, scores = run.ranking(first, queries, texts, task.depth)
    depth = min(candidate.depth, numbers.shape[1])
    hits = np.isfinite(scores[:, :depth])
    asked = [query for query, row in zip(queries, hits, strict=True) for _ in range(int(row.sum()))]
    documents = [texts[n] for found, row in zip(numbers[:, :depth], hits, strict=True) for n in found[row]]
    notes = [f"{first.spec}'s first {depth} of each query, ordered by {candidate.name}"]
    money: dict[str, Any] = {}
    meter = ScoreMeter(scorer, run.folder / "scores" / model_key, run.journal, candidate.name)
    if isinstance(scorer, ServiceScorer):
        about, timed = foresee_order(scorer, asked, documents), len(scorer.bill.waits)
        if about.texts:
            say(f"  {candidate.spec}: {about}")
            reason = unpayable(run.purse, scorer, about, 0.0)
            if reason:
                raise BudgetReached(reason)
        flat = scores_of(meter, asked, documents, progress=run.progress)
        money = money_of_order(scorer, asked, documents, before, notes)
        more = _waited(scorer, timed)
        if more is None:
            notes.append("every pair was answered before: no request was timed")
    else:
        flat = scores_of(meter, asked, documents, progress=run.progress)
        here = meter.seconds / 3600 * (run.usd_per_hour or 0.0)
        money = {"tokens": before.tokens, "usd_per_million": before.usd_per_million}
        money["usd"] = None if before.usd is None else before.usd + here
        more = _latency(scorer, queries, [[texts[n] for n in found] for found in numbers[:LATENCY_QUERIES, :depth]])
    order, values = _ordered(flat, hits, numbers, scores)
    result = task.result(order, values)
    notes += result.notes
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
        ms_per_query=None if before.ms_per_query is None or more is None else before.ms_per_query + more,
        training_seconds=seconds + before.training_seconds,
        licence=str(scorer.card.get("licence") or "unknown"),
        notes=tuple(notes),
        hits={query: list(found) for query, found in result.hits.items()},
        start=first.spec,
        model=before.model,
        makes="reranked",
        items_per_second=meter.count / max(meter.seconds, 1e-9),
        task_seconds=meter.seconds + (before.task_seconds or 0),
        **money,
    )


def _waited(scorer: ServiceScorer, first: int) -> float | None:
    """Milliseconds of the requests that were sent since the ``first``, the median: none is sent, and paid, to be timed.
    None where none was."""
    waits = scorer.bill.waits[first:]
    return 1000 * float(np.median(waits)) if waits else None


def _latency(scorer: Scorer, queries: list[str], found: list[list[str]]) -> float:
    """Milliseconds of ordering what a query found, the median of some."""
    took = []
    for query, texts in zip(queries, found, strict=False):
        begun = time.perf_counter()
        scorer.score([query] * len(texts), texts)
        took.append(time.perf_counter() - begun)
    return 1000 * float(np.median(took))


def _ordered(flat: Any, hits: Any, numbers: Any, scores: Any) -> tuple[Any, Any]:
    """(text numbers, scores): what stands among the ``hits`` of each query by the scorer's ``flat`` scores, above all
    that stand behind."""
    depth = hits.shape[1]
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
