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
from umekomi.parts.ranking import METHODS, RRF_K, Fusion, fuse
from umekomi.progress import say
from umekomi.tasks.retrieval import RetrievalTask, SearchTask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.comparison.judging import Judging, Ranking

TUNED = ":tuned"
WEIGHTS = tuple(round(0.1 * n, 1) for n in range(11))
SETTINGS = tuple(
    Fusion(method, weight) for weight in sorted(WEIGHTS, key=lambda each: abs(each - 0.5)) for method in METHODS
)
"""What is tried, equal weights first."""
FOLDS = 5
MOST = 300
"""Training queries that a weight is chosen on."""
VERSION = 2


def hybrids(
    run: Judging, rows: Sequence[Row], ending: str, skipped: dict[str, str], reason_of: Callable[[Exception], str]
) -> list[Row]:
    """BM25 + each dense candidate of a run, untuned and tuned; why one cannot be fused goes to ``skipped``, ``ending``
    behind its name."""
    if not isinstance(run.plan.task, SearchTask):
        skipped["hybrid"] = f"fusion orders texts; the task is {run.plan.task.kind}"
        return []
    lexical = next((row for row in rows if row.candidate == "bm25"), None)
    if lexical is None:
        skipped[f"hybrid{ending}"] = "bm25 could not be judged"
        return []
    out = []
    rankings = Rankings(run, lexical)
    for row in rows:
        if row.makes != "embedder" or (row.baseline and row.candidate.split("@")[0] != "lsa"):
            continue
        for spec, judged in ((f"bm25+{row.candidate}", _untuned), (f"bm25+{row.candidate}{TUNED}", _tuned)):
            name = f"{spec}{ending}"
            try:
                both, again = judged(rankings, spec, row)
            except Exception as error:
                skipped[name] = reason_of(error)
                say(f"{name}: skipped: {skipped[name]}")
                continue
            if not again:
                say(f"{name}: {both.metric} {both.score.value:.4f}")
            out.append(both)
    return out


class Rankings:
    """What is fused: each candidate's ranking of the judged queries and of others, made once.

    Args:
        run: the comparison.
        lexical: the row of the first ranking of every pair.
    """

    def __init__(self, run: Judging, lexical: Row) -> None:
        task = run.plan.task
        assert isinstance(task, SearchTask)
        self.run, self.lexical, self.task = run, lexical, task
        self._kept: dict[tuple[str, bool], Ranking] = {}

    @cached_property
    def development(self) -> RetrievalTask | None:
        """Training queries that a setting is chosen on."""
        return _training_queries(self.run, self.task)

    def of(self, row: Row, task: SearchTask) -> list[Ranking]:
        """BM25's and this candidate's rankings of the judged queries or of :attr:`development`'s."""
        return [self._one(part.candidate, task) for part in (self.lexical, row)]

    def _one(self, spec: str, task: SearchTask) -> Ranking:
        key = spec, task is self.task
        if key not in self._kept:
            self._kept[key] = self.run.ranking(self.run.parsed[spec], task.questions, task.texts(), self.task.depth)
        return self._kept[key]


def _untuned(rankings: Rankings, spec: str, row: Row) -> tuple[Row, bool]:
    """The finished row of two rankings as one, and whether it was finished before."""
    run, lexical, task = rankings.run, rankings.lexical, rankings.task
    key = content_hash(lexical.key, row.key, "rrf", RRF_K)
    file = run.row_file(key)
    if file.is_file():
        return dataclasses.replace(read_row(file), candidate=spec), True
    order, scores = untuned(rankings.of(row, task), task)
    note = f"reciprocal rank fusion, k = {RRF_K}, of the first hundred of each"
    return _row(rankings, spec, key, row, order, scores, note), False


def _tuned(rankings: Rankings, spec: str, row: Row) -> tuple[Row, bool]:
    run, lexical, task = rankings.run, rankings.lexical, rankings.task
    key = content_hash(lexical.key, row.key, "tuned", VERSION)
    file = run.row_file(key)
    if file.is_file():
        return dataclasses.replace(read_row(file), candidate=spec), True
    pair = rankings.of(row, task)
    development = None if row.training_seconds else rankings.development
    if development is not None:
        shipped = choose(tried(rankings.of(row, development), development))
        settings = [shipped] * len(task.questions)
        where = f"{len(development.questions)} training queries"
    else:
        settings, shipped = cross_fitted(pair, task)
        where = f"the other {FOLDS - 1} fifths of the queries, for each fifth; on all of them {shipped}"
    order, scores = fused(pair, task, settings, task.depth)
    said = ", ".join(f"{method} {weight:g} of bm25" for method, weight in sorted(set(settings)))
    return _row(rankings, spec, key, row, order, scores, f"{said}: chosen on {where}", shipped), False


def untuned(pair: Sequence[Ranking], task: SearchTask) -> Ranking:
    """Reciprocal rank fusion as it is published, the first ``task.depth`` texts of each query."""
    return fused(pair, task, [None] * len(task.questions), task.depth)


def cross_fitted(pair: Sequence[Ranking], task: SearchTask) -> tuple[list[Fusion], Fusion]:
    """(the setting of every query, chosen on the other fifths; the one chosen on all)."""
    values, fold = tried(pair, task), folds(task.questions)
    place = {name: number for number, name in enumerate(task.data.queries["id"].to_pylist())}
    judged = fold[[place[name] for name in task.data.judgements()]]
    chosen = [choose(values[:, judged != number]) for number in range(FOLDS)]
    return [chosen[number] for number in fold.tolist()], choose(values)


def fused(pair: Sequence[Ranking], task: SearchTask, settings: Sequence[Fusion | None], depth: int) -> Ranking:
    """The first ``depth`` texts of each query, fused as its setting says (None: as published); minus infinity is no
    hit."""
    order, scores = _empty(task, depth)
    for query, setting in enumerate(settings):
        fused_numbers, values = fuse([(numbers[query], values[query]) for numbers, values in pair], setting)
        count = min(len(fused_numbers), order.shape[1])
        order[query, :count], scores[query, :count] = fused_numbers[:count], values[:count]
    return order, scores


def tried(pair: Sequence[Ranking], task: SearchTask) -> NDArray[np.float64]:
    """The task's main figure of every judged query by each of :data:`SETTINGS`, float64 ``[settings, judged]``."""
    count = len(task.questions)
    return np.stack(
        [task.result(*fused(pair, task, [setting] * count, task.main_depth)).main.values for setting in SETTINGS]
    )


def choose(values: NDArray[np.float64]) -> Fusion:
    """The setting with the highest mean of :func:`tried`; of equals the first, weights nearest to one half before
    others. Without a query, equal weights."""
    means = values.mean(1) if values.shape[1] else np.zeros(len(SETTINGS))
    return SETTINGS[int(np.flatnonzero(means >= means.max() - 1e-12)[0])]


def folds(texts: Sequence[str]) -> NDArray[np.int64]:
    """Which fifth each query is in, int64 ``[n]``, by a hash of its text: equal ones are in the same."""
    return np.array([int(content_hash("fold", text)[:8], 16) % FOLDS for text in texts], np.int64)


def _training_queries(run: Judging, task: SearchTask) -> RetrievalTask | None:
    """Some queries of the training split, where it is about the same documents; chunks have none of their own."""
    train = run.plan.train
    if not isinstance(task, RetrievalTask) or not isinstance(train, RetrievalData):
        return None
    if fingerprint(train.corpus) != fingerprint(task.data.corpus):
        return None
    seen = set(task.questions)
    texts = train.queries["text"].to_pylist()
    rows = [row for row in range(len(texts)) if texts[row] not in seen]
    rows = sorted(sorted(rows, key=lambda row: content_hash(texts[row]))[:MOST])
    return dataclasses.replace(task, data=_part(train, np.array(rows, np.int64))) if len(rows) >= 10 else None


def _part(data: RetrievalData, rows: NDArray[np.int64]) -> RetrievalData:
    """The retrieval set with these queries only, in their order."""
    import pyarrow.compute as pc

    queries = data.queries.take(rows)
    kept = pc.is_in(data.qrels["query_id"], queries["id"].combine_chunks())
    return RetrievalData(queries, data.corpus, data.qrels.filter(kept))


def _empty(task: SearchTask, depth: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    order = np.zeros((len(task.questions), min(depth, task.count)), np.int64)
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
    result = rankings.task.result(order, scores)
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
