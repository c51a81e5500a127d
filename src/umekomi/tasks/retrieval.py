"""Retrieval and reranking, by query, with trec_eval's own figures (pytrec-eval-terrier)."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from umekomi.data.columns import RetrievalData as Data
from umekomi.data.tables import check
from umekomi.errors import DataError
from umekomi.models.base import Scorer, Sort
from umekomi.models.lexical import Bm25Embedder
from umekomi.parts import similarity as similarities
from umekomi.parts.ranking import exact_search
from umekomi.tasks.base import Result, Score, Task, count_of, scores_of, vectors_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats, Output
    from umekomi.models.base import EmbedderBase
    from umekomi.tasks.base import Judged

MEASURES = {"ndcg@10": "ndcg_cut_10", "mrr@10": "recip_rank", "recall@100": "recall_100", "map": "map"}
FACTORS = (1, 2, 3, 4, 5, 6, 8, 10, 100, 1000)
ALL_PAIRS = 10_000
"""Queries times documents up to which a scorer is asked for all of them."""
MOST_GRADE = 10_000
"""trec_eval keeps one counter for every grade up to the highest."""

Judgements = Mapping[str, Mapping[str, float]]


def whole_grades(judgements: Judgements) -> tuple[dict[str, dict[str, int]], str]:
    """(the judgements in whole numbers, as trec_eval takes them; a note on what was done, or nothing).

    nDCG keeps its value when all grades are multiplied by one number. Fractions are multiplied by the least factor that
    makes them whole; where none up to 1,000 does, or a grade is too high for trec_eval's counters, the highest becomes
    10,000 and the others are rounded. No grade above zero becomes zero.
    """
    grades = {grade for judged in judgements.values() for grade in judged.values()}
    top = max(grades, default=0)
    factor: float | None = next(
        (
            factor
            for factor in FACTORS
            if factor * top <= MOST_GRADE
            and all(math.isclose(factor * g, round(factor * g), rel_tol=1e-6) for g in grades)
        ),
        None,
    )
    whole = {grade: grade if factor == 1 else grade * (factor or MOST_GRADE / top) for grade in grades}
    levels = {grade: max(round(value), 1) if grade > 0 else 0 for grade, value in whole.items()}
    out = {query: {document: levels[g] for document, g in judged.items()} for query, judged in judgements.items()}
    if factor == 1:
        return out, ""
    how = "as they are" if factor else f"to one part in {MOST_GRADE:,} of the highest"
    return out, f"grades are no small whole numbers: nDCG takes them {how}, the other figures count all above zero"


def trec(judgements: Judgements, run: Mapping[str, Mapping[str, float]]) -> tuple[dict[str, Score], list[str]]:
    """(figures by query, notes on the grades). A query for which nothing was found counts as zero; MRR is cut at ten by
    giving trec_eval ten."""
    import pytrec_eval

    whole, note = whole_grades(judgements)
    every = pytrec_eval.RelevanceEvaluator(whole, {"ndcg_cut.10", "map", "recall.100"}).evaluate(dict(run))
    # trec_eval breaks ties by document id, last first: so must the cut
    ten = {
        query: dict(sorted(found.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)[:10])
        for query, found in run.items()
    }
    first = pytrec_eval.RelevanceEvaluator(whole, {"recip_rank"}).evaluate(ten)
    scores = {}
    for metric, measure in MEASURES.items():
        source = first if metric == "mrr@10" else every
        scores[metric] = Score(np.array([source.get(query, {}).get(measure, 0.0) for query in judgements]))
    return scores, [note] if note else []


def check_retrieval(data: Data, who: str) -> None:
    """One error for tables that do not fit each other, or in which nothing is an answer."""
    import pyarrow as pa
    import pyarrow.compute as pc

    check(data.qrels, ("query_id", "corpus_id", "score"), f"{who}: qrels")
    for name, table in (("queries", data.queries), ("corpus", data.corpus)):
        check(table, ("id",), f"{who}: {name}")
        if "text" not in table.column_names:
            raise DataError(f"{who}: {name} needs the column 'text'; found {', '.join(table.column_names)}")
        row = pc.index(pc.is_null(table["text"]), True).as_py()
        if row >= 0:
            raise DataError(f"{who}: {name}, row {row + 1}, column 'text': expected text, found nothing")
        ids = table["id"]
        if pc.count_distinct(ids).as_py() < len(ids):
            twice = next(pair["values"] for pair in pc.value_counts(ids).to_pylist() if pair["counts"] > 1)
            raise DataError(f"{who}: {name}, column 'id': expected distinct ids, found {twice!r} twice")
        column = "query_id" if name == "queries" else "corpus_id"
        judged = data.qrels[column]
        for values, where in ((ids, f"{name}, column 'id'"), (judged, f"qrels, column {column!r}")):
            if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
                raise DataError(f"{who}: {where}: expected ids as text, found {values.type}")
        row = pc.index(pc.is_in(judged, ids.combine_chunks()), False).as_py()
        if row >= 0:
            raise DataError(
                f"{who}: qrels, row {row + 1}, column {column!r}: expected an id of "
                f"{'queries' if name == 'queries' else 'the corpus'}, found {judged[row].as_py()!r}"
            )
    if not pc.max(data.qrels["score"]).as_py() > 0:
        raise DataError(
            f"{who}: qrels, column 'score': expected a document judged above zero, found none in "
            f"{count_of(data.qrels.num_rows, 'row')}"
        )


def graded(data: Data) -> list[str]:
    """Earlier versions cut fractions off."""
    import pyarrow.compute as pc

    scores = data.qrels["score"]
    return ["grades as they are"] if pc.any(pc.not_equal(scores, pc.floor(scores))).as_py() else []


class Shortlist:
    """Which documents a scorer is asked for: all where there are few pairs, else each query's first ``depth`` by
    BM25."""

    def __init__(self, data: Data, depth: int) -> None:
        self.corpus, self.depth = data.corpus["text"].to_pylist(), depth
        self.whole = data.queries.num_rows * len(self.corpus) <= ALL_PAIRS or depth >= len(self.corpus)
        if not self.whole:
            self.first = Bm25Embedder.fit(self.corpus)
            self.documents = self.first.encode_document(self.corpus)

    @property
    def note(self) -> str:
        """What is scored."""
        return (
            f"scores every query with all {len(self.corpus):,} documents"
            if self.whole
            else f"orders BM25's first {self.depth} documents of each query, and finds no other"
        )

    def of(self, queries: list[str]) -> list[Any]:
        """The numbers of each query's documents."""
        import numpy as np

        if self.whole:
            return [np.arange(len(self.corpus))] * len(queries)
        numbers, scores = exact_search(self.first, self.first.encode_query(queries), self.documents, self.depth)
        return [row[np.isfinite(values)] for row, values in zip(numbers, scores, strict=True)]

    def scored(self, model: Any, queries: list[str], progress: bool = False) -> tuple[Any, Any]:
        """(document numbers, scores), both ``[queries, depth or all]``, best first; minus infinity is no hit."""
        import numpy as np

        chosen = self.of(queries)
        asked = [query for query, row in zip(queries, chosen, strict=True) for _ in row]
        flat = scores_of(model, asked, [self.corpus[n] for row in chosen for n in row], progress=progress)
        width = max(map(len, chosen))
        numbers, scores = np.zeros((len(queries), width), np.int64), np.full((len(queries), width), -np.inf)
        for place, values in enumerate(np.split(flat, np.cumsum([len(row) for row in chosen])[:-1])):
            order = np.argsort(-values, kind="stable")
            numbers[place, : len(order)], scores[place, : len(order)] = chosen[place][order], values[order]
        return numbers, scores


class SearchTask(Task):
    """Queries are asked of texts, and what was found is judged."""

    data: Data
    depth: int
    """Texts that are looked at for each query."""
    main_depth: ClassVar[int]
    """Those of them that the main figure looks at."""

    @property
    def questions(self) -> list[str]:
        """The queries' texts."""
        return cast("list[str]", self.data.queries["text"].to_pylist())

    @property
    @abstractmethod
    def count(self) -> int:
        """How many texts are searched."""

    @abstractmethod
    def texts(self) -> list[str]:
        """The texts that are searched."""

    @abstractmethod
    def result(self, numbers: NDArray[np.int64], scores: Floats) -> Result:
        """The figures of a ranking: numbers of texts and scores, both ``[queries, k]``; minus infinity is no hit."""


@dataclass(frozen=True)
class RetrievalTask(SearchTask):
    """Find each query's documents among all of the corpus. Main metric nDCG@10, as BEIR and mteb. A scorer orders what
    :class:`Shortlist` gives it."""

    data: Data
    name: str = "retrieval"
    depth: int = 100
    main_depth: ClassVar[int] = 10
    kind: ClassVar[str] = "retrieval"
    shapes: ClassVar[tuple[str, ...]] = ("retrieval",)
    judges: ClassVar[tuple[Sort, ...]] = ("embedder", "scorer")

    def size(self) -> Mapping[str, int]:
        return {"queries": self.data.queries.num_rows, "documents": self.data.corpus.num_rows}

    @property
    def count(self) -> int:
        return int(self.data.corpus.num_rows)

    def texts(self) -> list[str]:
        return cast("list[str]", self.data.corpus["text"].to_pylist())

    def check(self) -> None:
        check_retrieval(self.data, self.name)
        if self.data.corpus.num_rows < 2:
            raise DataError(f"{self.name}: corpus: expected two documents or more, found one, which every query finds")

    def edition(self) -> list[str]:
        return graded(self.data)

    def _evaluate(self, model: Any, batch_size: int, progress: bool) -> Result:
        if isinstance(model, Scorer):
            shortlist = Shortlist(self.data, self.depth)
            numbers, scores = shortlist.scored(model, self.questions, progress)
            self._orders(model, scores)
            result = self.result(numbers[:, : self.depth], scores[:, : self.depth])
            return dataclasses.replace(result, notes=(shortlist.note, *result.notes))
        documents = vectors_of(model, self.texts(), "document", batch_size, progress)
        queries = vectors_of(model, self.questions, "query", batch_size, progress)
        return self.judge(model, queries, documents)

    def judge(self, model: EmbedderBase, queries: Output, documents: Output) -> Result:
        """The figures of vectors already made."""
        numbers, scores = exact_search(model, queries, documents, self.depth)
        self._orders(model, scores)
        return self.result(numbers, scores)

    def _orders(self, model: Any, scores: Any) -> None:
        if np.isfinite(scores).all() and (scores == scores[:, :1]).all():
            raise DataError(f"{self.name}: {model.name} gives every document the same score: it ranks nothing")

    def result(self, numbers: NDArray[np.int64], scores: Floats) -> Result:
        ids = self.data.corpus["id"].to_pylist()
        run: dict[str, dict[str, float]] = {}
        hits: dict[str, list[tuple[str, float]]] = {}
        for query, row, values in zip(self.data.queries["id"].to_pylist(), numbers, scores, strict=True):
            found = [(ids[i], float(value)) for i, value in zip(row, values, strict=True) if np.isfinite(value)]
            run[query], hits[query] = dict(found), found[:10]
        judgements = self.data.judgements()
        figures, notes = trec(judgements, run)
        without = sum(not any(grade > 0 for grade in judged.values()) for judged in judgements.values())
        if without:
            notes.append(
                f"{count_of(without, 'query', 'queries')} without a document judged above zero: each counts as zero, "
                "whatever a model finds"
            )
        return Result(self.name, figures, tuple(notes), hits)


@dataclass(frozen=True)
class Reranking(Task):
    """Order each query's judged documents. Main metric nDCG@10."""

    data: Data
    name: str = "reranking"
    kind: ClassVar[str] = "reranking"
    shapes: ClassVar[tuple[str, ...]] = ("retrieval",)
    judges: ClassVar[tuple[Sort, ...]] = ("embedder", "scorer")

    def size(self) -> Mapping[str, int]:
        return {"queries": self.data.queries.num_rows, "pairs": self.data.qrels.num_rows}

    def check(self) -> None:
        check_retrieval(self.data, self.name)
        if not self._to_order():
            raise DataError(
                f"{self.name}: reranking needs queries with two judged documents or more of different grades, one of "
                "them above zero; found none"
            )

    def edition(self) -> list[str]:
        even = any(len(judged) > 1 and len(set(judged.values())) == 1 for judged in self.data.judgements().values())
        return graded(self.data) + (["equal grades left out"] if even else [])

    def _to_order(self) -> dict[str, dict[str, float]]:
        """The judgements of queries whose documents have an order, the best of them an answer."""
        return {
            query: judged
            for query, judged in self.data.judgements().items()
            if max(judged.values()) > max(min(judged.values()), 0)
        }

    def _evaluate(self, model: Judged, batch_size: int, progress: bool) -> Result:
        queries = dict(zip(self.data.queries["id"].to_pylist(), self.data.queries["text"].to_pylist(), strict=True))
        corpus = dict(zip(self.data.corpus["id"].to_pylist(), self.data.corpus["text"].to_pylist(), strict=True))
        judgements = self._to_order()
        run: dict[str, dict[str, float]] = {}
        if isinstance(model, Scorer):
            pairs = [(query, document) for query, judged in judgements.items() for document in judged]
            values = scores_of(model, [queries[q] for q, _ in pairs], [corpus[d] for _, d in pairs], progress=progress)
            for (query, document), value in zip(pairs, values, strict=True):
                run.setdefault(query, {})[document] = float(value)
        else:
            used = sorted({document for judged in judgements.values() for document in judged})
            row_of = {document: number for number, document in enumerate(used)}
            documents = vectors_of(model, [corpus[d] for d in used], "document", batch_size, progress)
            query_vectors = vectors_of(model, [queries[q] for q in judgements], "query", batch_size, progress)
            for row, (query, judged) in enumerate(judgements.items()):
                candidates = similarities.take(documents, [row_of[document] for document in judged])
                values = model.similarity(similarities.rows(query_vectors, row, row + 1), candidates)[0]
                run[query] = dict(zip(judged, values.tolist(), strict=True))
        every = np.array([value for found in run.values() for value in found.values()])
        if not np.isfinite(every).all():
            raise DataError(f"{self.name}: {model.name} gives a score that is no finite number")
        if all(len(set(found.values())) == 1 for found in run.values()):
            raise DataError(
                f"{self.name}: {model.name} gives all documents of a query the same score: it orders nothing"
            )
        figures, notes = trec(judgements, run)
        left = self.data.num_rows - len(judgements)
        if left:
            notes.append(f"{count_of(left, 'query', 'queries')} with nothing to order left out")
        return Result(self.name, figures, tuple(notes))
