"""Retrieval and reranking, by query, with trec_eval's own figures (pytrec-eval-terrier)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from umekomi.data.columns import Retrieval as Data
from umekomi.errors import DataError
from umekomi.parts import similarity as similarities
from umekomi.tasks.base import Result, Score, Task

BLOCK = 1 << 25
MEASURES = {"ndcg@10": "ndcg_cut_10", "mrr@10": "recip_rank", "recall@100": "recall_100", "map": "map"}


def best(model: Any, queries: Any, documents: Any, k: int) -> tuple[Any, Any]:
    """Exact search with the model's own similarity: (document numbers, scores), both ``[queries, k]``, best first;
    equal scores in the documents' order. A sparse match of zero is no hit: its score is minus infinity."""
    import numpy as np

    count, total = similarities.size(queries), similarities.size(documents)
    k = min(k, total)
    numbers, scores = np.zeros((count, k), np.int64), np.zeros((count, k), np.float32)
    step = max(1, BLOCK // max(total, 1))
    for start in range(0, count, step):
        stop = min(start + step, count)
        block = model.similarity(similarities.rows(queries, start, stop), documents)
        if hasattr(documents, "indptr"):
            block = np.where(block == 0, -np.inf, block)
        if k < total:
            # the k-th best value is exact; among equals at the border the first documents stay
            border = np.partition(block, total - k, axis=1)[:, total - k]
            for row in range(stop - start):
                above = np.flatnonzero(block[row] > border[row])
                chosen = np.concatenate([above, np.flatnonzero(block[row] == border[row])[: k - len(above)]])
                order = np.lexsort((chosen, -block[row, chosen]))
                numbers[start + row] = chosen[order]
                scores[start + row] = block[row, chosen[order]]
        else:
            order = np.argsort(-block, axis=1, kind="stable")
            numbers[start:stop], scores[start:stop] = order, np.take_along_axis(block, order, 1)
    return numbers, scores


def trec(judgements: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]) -> dict[str, Score]:
    """Figures by query. A query for which nothing was found counts as zero; MRR is cut at ten by giving trec_eval
    ten."""
    import numpy as np
    import pytrec_eval

    names = {"ndcg_cut.10", "map", "recall.100"}
    whole = pytrec_eval.RelevanceEvaluator(dict(judgements), names).evaluate(dict(run))
    # trec_eval breaks ties by document id, last first: so must the cut
    ten = {
        query: dict(sorted(found.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)[:10])
        for query, found in run.items()
    }
    first = pytrec_eval.RelevanceEvaluator(dict(judgements), {"recip_rank"}).evaluate(ten)
    scores = {}
    for metric, measure in MEASURES.items():
        source = first if metric == "mrr@10" else whole
        scores[metric] = Score(np.array([source.get(query, {}).get(measure, 0.0) for query in judgements]))
    return scores


@dataclass(frozen=True)
class Retrieval(Task):
    """Find each query's documents among all of the corpus. Main metric nDCG@10, as BEIR and mteb."""

    data: Data
    name: str = "retrieval"
    depth: int = 100
    kind: ClassVar[str] = "retrieval"
    shapes: ClassVar[tuple[str, ...]] = ("retrieval",)

    def size(self) -> Mapping[str, int]:
        return {"queries": self.data.queries.num_rows, "documents": self.data.corpus.num_rows}

    def evaluate(self, model: Any, *, batch_size: int = 32, progress: bool = False) -> Result:
        documents = model.encode(
            self.data.corpus["text"].to_pylist(), role="document", batch_size=batch_size, progress=progress
        )
        queries = model.encode(
            self.data.queries["text"].to_pylist(), role="query", batch_size=batch_size, progress=progress
        )
        return self.judge(model, queries, documents)

    def judge(self, model: Any, queries: Any, documents: Any) -> Result:
        """The figures of vectors already made."""
        numbers, scores = best(model, queries, documents, self.depth)
        return self.result(numbers, scores)

    def result(self, numbers: Any, scores: Any) -> Result:
        """The figures of a ranking: document numbers and scores, both ``[queries, k]``; minus infinity is no hit."""
        import numpy as np

        ids = self.data.corpus["id"].to_pylist()
        run: dict[str, dict[str, float]] = {}
        hits: dict[str, list[tuple[str, float]]] = {}
        for query, row, values in zip(self.data.queries["id"].to_pylist(), numbers, scores, strict=True):
            found = [(ids[i], float(value)) for i, value in zip(row, values, strict=True) if np.isfinite(value)]
            run[query], hits[query] = dict(found), found[:10]
        return Result(self.name, trec(self.data.judgements(), run), hits=hits)


@dataclass(frozen=True)
class Reranking(Task):
    """Order each query's judged documents. Main metric nDCG@10."""

    data: Data
    name: str = "reranking"
    kind: ClassVar[str] = "reranking"
    shapes: ClassVar[tuple[str, ...]] = ("retrieval",)
    scores_pairs: ClassVar[bool] = True

    def size(self) -> Mapping[str, int]:
        return {"queries": self.data.queries.num_rows, "pairs": self.data.qrels.num_rows}

    def evaluate(self, model: Any, *, batch_size: int = 32, progress: bool = False) -> Result:
        judgements = self.data.judgements()
        queries = dict(zip(self.data.queries["id"].to_pylist(), self.data.queries["text"].to_pylist(), strict=True))
        corpus = dict(zip(self.data.corpus["id"].to_pylist(), self.data.corpus["text"].to_pylist(), strict=True))
        kept = {query: judged for query, judged in judgements.items() if len(judged) > 1 and any(judged.values())}
        if not kept:
            raise DataError(
                f"{self.name}: reranking needs queries with two judged documents or more, one of them above zero; "
                "found none"
            )
        run: dict[str, dict[str, float]] = {}
        if hasattr(model, "score"):
            pairs = [(query, document) for query, judged in kept.items() for document in judged]
            values = model.score([queries[q] for q, _ in pairs], [corpus[d] for _, d in pairs])
            for (query, document), value in zip(pairs, values, strict=True):
                run.setdefault(query, {})[document] = float(value)
        else:
            used = sorted({document for judged in kept.values() for document in judged})
            place = {document: number for number, document in enumerate(used)}
            documents = model.encode(
                [corpus[d] for d in used], role="document", batch_size=batch_size, progress=progress
            )
            asked = model.encode([queries[q] for q in kept], role="query", batch_size=batch_size, progress=progress)
            for row, (query, judged) in enumerate(kept.items()):
                chosen = similarities.take(documents, [place[document] for document in judged])
                values = model.similarity(similarities.rows(asked, row, row + 1), chosen)[0]
                run[query] = dict(zip(judged, values.tolist(), strict=True))
        left = len(judgements) - len(kept)
        note = (f"{left} queries with nothing to order were left out",) if left else ()
        return Result(self.name, trec(kept, run), note)
