"""BM25 with each dense candidate as one ranking: by reciprocal rank as it is published (k = 60, equal weights), and
tuned, the method and the weight chosen on queries that are not judged with them (:func:`umekomi.parts.ranking.fuse`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.comparison.leaderboard import Row, read_row, write_row
from umekomi.data.columns import RetrievalData, fingerprint
from umekomi.files import content_hash
from umekomi.parts.ranking import METHODS, RRF_K, Fusion, fuse, fuse_ranks
from umekomi.progress import say
from umekomi.tasks.retrieval import RetrievalTask, whole_grades

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.comparison.judging import Judging, Ranking

TUNED = ":tuned"
WEIGHTS = tuple(round(0.1 * n, 1) for n in range(11))
FOLDS = 5
MOST = 300
"""Training queries that a weight is chosen on."""
VERSION = 2


def hybrids(
    run: Judging, rows: Sequence[Row], skipped: dict[str, str], reason_of: Callable[[Exception], str]
) -> list[Row]:
    """BM25 + each dense candidate, untuned and tuned; what cannot be fused goes to ``skipped``."""
    task = run.plan.task
    if not isinstance(task, RetrievalTask):
        skipped["hybrid"] = f"fusion orders documents; the task is {task.kind}"
        return []
    lexical = next((row for row in rows if row.candidate == "bm25"), None)
    if lexical is None:
        skipped["hybrid"] = "bm25 could not be judged"
        return []
    out = []
    rankings = Rankings(run, lexical)
    for row in rows:
        if row.makes != "embedder" or (row.baseline and row.candidate.split("@")[0] != "lsa"):
            continue
        for spec, judged in ((f"bm25+{row.candidate}", _untuned), (f"bm25+{row.candidate}{TUNED}", _tuned)):
            try:
                fused, again = judged(rankings, spec, row)
            except Exception as error:
                skipped[spec] = reason_of(error)
                say(f"{spec}: skipped: {skipped[spec]}")
                continue
            if not again:
                say(f"{spec}: {fused.metric} {fused.score.value:.4f}")
            out.append(fused)
    return out


class Rankings:
    """What is fused: each candidate's ranking of the judged queries and of others, made once.

    Args:
        run: the comparison.
        lexical: the row of the first ranking of every pair.
    """

    def __init__(self, run: Judging, lexical: Row) -> None:
        task = run.plan.task
        assert isinstance(task, RetrievalTask)
        self.run, self.lexical, self.task = run, lexical, task
        self._kept: dict[tuple[str, bool], Ranking] = {}

    @cached_property
    def development(self) -> RetrievalData | None:
        """Training queries that a setting is chosen on."""
        return _training_queries(self.run, self.task.data)

    def of(self, row: Row, data: RetrievalData) -> list[Ranking]:
        """BM25's and this candidate's rankings of the judged data or of :attr:`development`."""
        return [self._one(part.candidate, data) for part in (self.lexical, row)]

    def _one(self, spec: str, data: RetrievalData) -> Ranking:
        key = spec, data is self.task.data
        if key not in self._kept:
            queries, corpus = data.queries["text"].to_pylist(), data.corpus["text"].to_pylist()
            self._kept[key] = self.run.ranking(self.run.parsed[spec], queries, corpus, self.task.depth)
        return self._kept[key]


def _untuned(rankings: Rankings, spec: str, row: Row) -> tuple[Row, bool]:
    """The finished row of two rankings as one, and whether it was finished before."""
    run, lexical, task = rankings.run, rankings.lexical, rankings.task
    key = content_hash(lexical.key, row.key, "rrf", RRF_K)
    file = run.row_file(key)
    if file.is_file():
        return dataclasses.replace(read_row(file), candidate=spec), True
    pair = rankings.of(row, task.data)
    order, scores = _empty(task)
    for query in range(len(order)):
        found = [numbers[query][np.isfinite(values[query])] for numbers, values in pair]
        total = fuse_ranks(found, task.data.corpus.num_rows)
        order[query] = np.argsort(-total, kind="stable")[: order.shape[1]]
        scores[query] = total[order[query]]
    note = f"reciprocal rank fusion, k = {RRF_K}, of the first hundred of each"
    return _row(rankings, spec, key, row, order, scores, note), False


def _tuned(rankings: Rankings, spec: str, row: Row) -> tuple[Row, bool]:
    run, lexical, task = rankings.run, rankings.lexical, rankings.task
    key = content_hash(lexical.key, row.key, "tuned", VERSION)
    file = run.row_file(key)
    if file.is_file():
        return dataclasses.replace(read_row(file), candidate=spec), True
    pair = rankings.of(row, task.data)
    development = None if row.training_seconds else rankings.development
    order, scores = _empty(task)
    if development is not None:
        shipped = choose(rankings.of(row, development), development)
        settings = [shipped] * len(order)
        where = f"{development.queries.num_rows} training queries"
    else:
        fold = folds(task.data.queries["text"].to_pylist())
        chosen = {}
        for number in range(FOLDS):
            others = np.flatnonzero(fold != number)
            part = _part(task.data, others)
            chosen[number] = choose([(numbers[others], values[others]) for numbers, values in pair], part)
        settings = [chosen[number] for number in fold.tolist()]
        shipped = choose(pair, task.data)
        where = f"the other {FOLDS - 1} fifths of the queries, for each fifth; on all of them {shipped}"
    for query, (method, weight) in enumerate(settings):
        found, values = fuse([(numbers[query], values[query]) for numbers, values in pair], method, weight)
        count = min(len(found), order.shape[1])
        order[query, :count], scores[query, :count] = found[:count], values[:count] + 1e-9
    said = ", ".join(f"{method} {weight:g} of bm25" for method, weight in sorted(set(settings)))
    return _row(rankings, spec, key, row, order, scores, f"{said}: chosen on {where}", shipped), False


def choose(pair: Sequence[Ranking], data: RetrievalData) -> Fusion:
    """The method and weight with the highest mean nDCG@10 on these queries; of equals the first, weights nearest to one
    half before others."""
    import pytrec_eval

    ids, queries = data.corpus["id"].to_pylist(), data.queries["id"].to_pylist()
    judge = pytrec_eval.RelevanceEvaluator(whole_grades(data.judgements())[0], {"ndcg_cut.10"})
    best = (-1.0, Fusion("convex", 0.5))
    for weight in sorted(WEIGHTS, key=lambda each: abs(each - 0.5)):
        for method in METHODS:
            run = {}
            for place, query in enumerate(queries):
                found, values = fuse([(numbers[place], scores[place]) for numbers, scores in pair], method, weight)
                run[query] = {ids[n]: float(v) for n, v in zip(found[:10], values[:10], strict=True)}
            each = judge.evaluate(run).values()
            mean = sum(figures["ndcg_cut_10"] for figures in each) / max(1, len(queries))
            if mean > best[0] + 1e-12:
                best = (mean, Fusion(method, weight))
    return best[1]


def folds(texts: Sequence[str]) -> NDArray[np.int64]:
    """Which fifth each query is in, int64 ``[n]``, by a hash of its text: equal ones are in the same."""
    return np.array([int(content_hash("fold", text)[:8], 16) % FOLDS for text in texts], np.int64)


def _training_queries(run: Judging, judged: RetrievalData) -> RetrievalData | None:
    """Some queries of the training split, where it is about the same documents."""
    train = run.plan.train
    if not isinstance(train, RetrievalData) or fingerprint(train.corpus) != fingerprint(judged.corpus):
        return None
    seen = set(judged.queries["text"].to_pylist())
    texts = train.queries["text"].to_pylist()
    rows = [row for row in range(len(texts)) if texts[row] not in seen]
    rows = sorted(sorted(rows, key=lambda row: content_hash(texts[row]))[:MOST])
    return _part(train, np.array(rows, np.int64)) if len(rows) >= 10 else None


def _part(data: RetrievalData, rows: NDArray[np.int64]) -> RetrievalData:
    """The retrieval set with these queries only, in their order."""
    import pyarrow.compute as pc

    queries = data.queries.take(rows)
    kept = pc.is_in(data.qrels["query_id"], queries["id"].combine_chunks())
    return RetrievalData(queries, data.corpus, data.qrels.filter(kept))


def _empty(task: RetrievalTask) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    order = np.zeros((task.data.queries.num_rows, min(task.depth, task.data.corpus.num_rows)), np.int64)
    return order, np.full(order.shape, -np.inf)


def _row(
    rankings: Rankings,
    spec: str,
    key: str,
    dense: Row,
    order: Any,
    scores: Any,
    note: str,
    shipped: Fusion | None = None,
) -> Row:
    """The row of the fused ranking: it costs what both cost. ``shipped`` is what an index of it is made with."""
    run, both = rankings.run, (rankings.lexical, dense)
    result = rankings.task.result(order, np.where(scores > 0, scores, -np.inf))
    made = dataclasses.replace(
        dense,
        candidate=spec,
        key=key,
        values=result.main.values.tolist(),
        others={metric: score.interval() for metric, score in list(result.scores.items())[1:]},
        usd=_sum(part.usd for part in both),
        usd_per_million=_sum(part.usd_per_million for part in both),
        ms_p95=None,
        bytes_per_item=sum(part.bytes_per_item or 0 for part in both),
        texts_per_second=_together(part.texts_per_second for part in both),
        queries_per_second=_together(part.queries_per_second for part in both),
        ms_per_query=sum(part.ms_per_query or 0 for part in both),
        training_seconds=sum(part.training_seconds for part in both),
        task_seconds=sum(part.task_seconds or 0 for part in both),
        notes=(note, *result.notes),
        hits={query: list(found) for query, found in result.hits.items()},
        start=None,
        fusion=None if shipped is None else str(shipped),
    )
    write_row(run.row_file(key), made)
    run.journal.note("judged", spec, key)
    return made


def _sum(amounts: Any) -> float | None:
    """Of what is known; None where nothing is."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def _together(rates: Any) -> float | None:
    """One after the other; None where one of them was not measured."""
    rates = list(rates)
    return None if None in rates else 1 / sum(1 / rate for rate in rates)
