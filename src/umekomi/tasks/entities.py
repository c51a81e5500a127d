"""Tables of entities: reconstruct a graph or hierarchy, predict its held-out links, and rank pairs by how much the one
is a kind of the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.data.graphs import REVERSED
from umekomi.data.tables import check
from umekomi.errors import DataError, WrongUse
from umekomi.models.bags import BagEmbedder
from umekomi.models.cached import unwrap
from umekomi.models.entity import EntityEmbedder
from umekomi.parts.similarity import hyperboloid
from umekomi.tasks.base import Result, Score, Task, count_of, vectors_of

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from umekomi.contracts import Floats
    from umekomi.models.base import EmbedderBase

HITS = (1, 3, 10)


def _edges(table: pa.Table, who: str) -> tuple[list[str], list[str]]:
    columns = ("child", "parent") if "child" in table.column_names else ("source", "target")
    table = check(table, columns, who)
    return [str(v) for v in table[columns[0]].to_pylist()], [str(v) for v in table[columns[1]].to_pylist()]


def neighbours(model: EntityEmbedder, edges: Iterable[tuple[str, str]], who: str) -> dict[int, set[int]]:
    """``{row: rows it points to}`` in the model's table; an entity that is not there is an error."""
    out: dict[int, set[int]] = {}
    for a, b in edges:
        for entity in (a, b):
            if entity not in model.rows:
                raise DataError(f"{who}: expected an entity of {model.name}, found {entity!r}")
        if a != b:
            out.setdefault(model.rows[a], set()).add(model.rows[b])
    return out


def rank(model: EntityEmbedder, wanted: Mapping[int, set[int]], known: Mapping[int, set[int]]) -> dict[str, Score]:
    """For every entity with wanted neighbours: where each stands among all entities that are neither it nor a neighbour
    (Bordes et al. 2013's filtered rank; Nickel & Kiela 2017, section 4.1). An equal score counts half.

    Values are per entity (average precision) and per link (rank, hits@k). All pairs are compared, in the model's own
    geometry, by a compiled loop.
    """
    from umekomi.parts.kernels import hyperbolic
    from umekomi.parts.kernels.threads import cores, run_all, shards

    vectors, geometry = np.asarray(model.vectors, np.float64), hyperbolic.GEOMETRIES.get(model.metric)
    if geometry is None:
        raise WrongUse(
            f"ranks are known for {', '.join(hyperbolic.GEOMETRIES)}; {model.name} compares by {model.metric}"
        )
    if model.metric == "cosine":
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    elif model.metric == "lorentz":
        vectors = hyperboloid(vectors)
    rows = np.array(sorted(wanted), np.int32)
    columns, weights = hyperbolic.columns_of(vectors, geometry)
    wanted_offsets, links = _flat([wanted[int(row)] for row in rows])
    known_offsets, others = _flat([known.get(int(row), set()) for row in rows])
    precision, places = np.empty(len(rows)), np.empty(len(links))

    def part(low: int, high: int) -> None:
        hyperbolic.ranks(
            columns,
            weights,
            geometry,
            rows[low:high],
            wanted_offsets[low : high + 1],
            links,
            known_offsets[low : high + 1],
            others,
            precision[low:high],
            places,
        )

    run_all(part, shards(len(rows), cores()))
    scores = {"map": Score(precision), "mean rank": Score(places)}
    return scores | {f"hits@{k}": Score((places <= k).astype(np.float64)) for k in HITS}


def _flat(sets: list[set[int]]) -> tuple[Any, Any]:
    """(offsets int64, members int32), each set sorted."""
    offsets = np.zeros(len(sets) + 1, np.int64)
    np.cumsum([len(found) for found in sets], out=offsets[1:])
    return offsets, np.fromiter((member for found in sets for member in sorted(found)), np.int32, int(offsets[-1]))


def _ranked(
    who: str, model: EntityEmbedder, wanted: Mapping[int, set[int]], known: Mapping[int, set[int]], found: str
) -> dict[str, Score]:
    """:func:`rank`, where there is something to rank: a link, and an entity that it may be mistaken for."""
    if not wanted:
        raise DataError(f"{who}: expected links between entities, {found}")
    entities = len(model.vectors)
    if not any(entities - 1 > len((links | known.get(row, set())) - {row}) for row, links in wanted.items()):
        raise DataError(
            f"{who}: expected entities that are not linked, found that every one of the {entities} is linked to all "
            "others: there is nothing to rank"
        )
    return rank(model, wanted, known)


@dataclass(frozen=True)
class Reconstruction(Task):
    """Every entity's neighbours among all entities, on the data the table was learned from: how much of it the geometry
    holds. MAP, mean rank, hits@k. ``child, parent`` or ``source, target``."""

    data: pa.Table
    name: str = "reconstruction"
    kind: ClassVar[str] = "reconstruction"
    shapes: ClassVar[tuple[str, ...]] = ("hierarchy", "graph")

    def size(self) -> Mapping[str, int]:
        return {"links": self.data.num_rows}

    def check(self) -> None:
        _edges(self.data, self.kind)

    def _evaluate(self, model: EmbedderBase, batch_size: int, progress: bool) -> Result:
        table = _table_of(model, self.name)
        wanted = neighbours(table, zip(*_edges(self.data, self.kind), strict=True), self.name)
        return Result(self.name, _ranked(self.name, table, wanted, {}, "found each linked to itself alone"))


@dataclass(frozen=True)
class LinkPrediction(Task):
    """Held-out links among all entities, the links of ``train`` left out of the ranking. MAP, mean rank, hits@k."""

    data: pa.Table
    train: pa.Table
    name: str = "link-prediction"
    kind: ClassVar[str] = "link-prediction"
    shapes: ClassVar[tuple[str, ...]] = ("hierarchy", "graph")

    def size(self) -> Mapping[str, int]:
        return {"links": self.data.num_rows}

    def check(self) -> None:
        _edges(self.data, self.kind)
        _edges(self.train, f"{self.kind}, training split")

    def _evaluate(self, model: EmbedderBase, batch_size: int, progress: bool) -> Result:
        table = _table_of(model, self.name)
        wanted = neighbours(table, zip(*_edges(self.data, self.kind), strict=True), self.name)
        known = neighbours(table, zip(*_edges(self.train, self.kind), strict=True), self.name)
        new = {row: links - known.get(row, set()) for row, links in wanted.items()}
        wanted_new = {row: links for row, links in new.items() if links}
        scores = _ranked(self.name, table, wanted_new, known, "found none that the training split does not hold")
        left = sum(map(len, wanted.values())) - sum(map(len, wanted_new.values()))
        note = f"{count_of(left, 'link')} left out: the training split holds them too"
        return Result(self.name, scores, (note,) if left else ())


@dataclass(frozen=True)
class TripleRanking(Task):
    """Held-out ``head, relation, tail``: where the tail stands among all entities for (head, relation), and the head
    for (tail, relation turned round); other true answers, in ``data`` or ``known``, are left out (Bordes et al. 2013,
    filtered). MRR, mean rank, hits@k. Triples with an entity or relation that the model does not know are left out and
    counted."""

    data: pa.Table
    known: pa.Table | None = None
    name: str = "triple-ranking"
    kind: ClassVar[str] = "triple-ranking"
    shapes: ClassVar[tuple[str, ...]] = ("triples",)

    def size(self) -> Mapping[str, int]:
        return {"triples": self.data.num_rows}

    def check(self) -> None:
        for table in (self.data, *(() if self.known is None else (self.known,))):
            check(table, ("head", "relation", "tail"), self.kind)

    def _evaluate(self, model: EmbedderBase, batch_size: int, progress: bool) -> Result:
        table = unwrap(model)
        if not isinstance(table, BagEmbedder):
            raise WrongUse(
                f"{self.name} asks a model that embeds bags (recipe starspace); {model.name} is of kind {model.kind}"
            )
        columns = ("head", "relation", "tail")
        judged = list(zip(*(self.data[column].to_pylist() for column in columns), strict=True))
        known = (
            []
            if self.known is None
            else list(zip(*(self.known[column].to_pylist() for column in columns), strict=True))
        )
        answers: dict[tuple[str, str], set[str]] = {}
        for head, relation, tail in [*judged, *known]:
            answers.setdefault((head, relation), set()).add(tail)
            answers.setdefault((tail, relation + REVERSED), set()).add(head)
        entities = sorted({name for head, _, tail in [*judged, *known] for name in (head, tail) if name in table.rows})
        row_of = {name: row for row, name in enumerate(entities)}
        triples = [
            row
            for row in judged
            if row[0] in row_of and row[2] in row_of and row[1] in table.rows and row[1] + REVERSED in table.rows
        ]
        if not triples:
            raise DataError(f"{self.name}: expected triples of {model.name}'s entities, found none among {len(judged)}")
        questions = [((head, relation), tail) for head, relation, tail in triples] + [
            ((tail, relation + REVERSED), head) for head, relation, tail in triples
        ]
        candidates = vectors_of(model, [[name] for name in entities], "document", batch_size, progress)
        rivals = [len(entities) - sum(name in row_of for name in answers[query]) for query, _ in questions]
        if not any(rivals):
            raise DataError(
                f"{self.name}: expected entities that are no answer, found that each of the {len(entities)} is one to "
                "every triple: there is nothing to rank"
            )
        ranks = np.empty(len(questions))
        for start in range(0, len(questions), 1024):
            part = questions[start : start + 1024]
            queries = vectors_of(model, [list(query) for query, _ in part], None, batch_size, False)
            block = model.similarity(queries, candidates)
            for row, ((query, answer), scores) in enumerate(zip(part, block, strict=True), start):
                value = scores[row_of[answer]]
                scores[[row_of[name] for name in answers[query] if name in row_of]] = -np.inf
                ranks[row] = 1 + (scores > value).sum() + 0.5 * (scores == value).sum()
        note = (
            (f"{len(judged) - len(triples)} of {len(judged)} triples have a name that the model does not know",)
            if len(triples) < len(judged)
            else ()
        )
        hits = {f"hits@{k}": Score((ranks <= k).astype(np.float64)) for k in HITS}
        return Result(self.name, {"mrr": Score(1 / ranks), "mean rank": Score(ranks)} | hits, note)


@dataclass(frozen=True)
class HypernymyRanking(Task):
    """Graded "is a kind of" (HyperLex, Vulić et al. 2017): Spearman of the gold with -(1 + alpha (|parent| - |child|))
    d (Nickel & Kiela 2017, eq. 8); ``alpha`` 0 asks the distance alone. Pairs with an unknown entity are left out and
    counted."""

    data: pa.Table
    name: str = "hypernymy-ranking"
    alpha: float = 1000.0
    kind: ClassVar[str] = "hypernymy-ranking"
    shapes: ClassVar[tuple[str, ...]] = ("hierarchy",)

    def size(self) -> Mapping[str, int]:
        return {"pairs": self.data.num_rows}

    def check(self) -> None:
        scores = check(self.data, ("child", "parent", "score"), self.kind)["score"].unique()
        if len(scores) < 2:
            raise DataError(
                f"{self.name}: column 'score': expected two scores or more that differ, found {scores[0].as_py()} in "
                f"{count_of(self.data.num_rows, 'row')}"
            )

    def _evaluate(self, model: EmbedderBase, batch_size: int, progress: bool) -> Result:
        table = _table_of(model, self.name)
        columns = (self.data[column].to_pylist() for column in ("child", "parent", "score"))
        rows = list(zip(*columns, strict=True))
        pairs = [row for row in rows if row[0] in table and row[1] in table]
        if len({score for _, _, score in pairs}) < 2:
            raise DataError(
                f"{self.name}: expected pairs of entities of {table.name} with scores that differ, found {len(pairs)} "
                f"of {len(rows)}{f', all scored {pairs[0][2]}' if pairs else ''}"
            )
        child, parent = (np.stack([table[row[side]] for row in pairs]) for side in (0, 1))
        distance = -np.asarray(table.similarity_pairwise(child, parent), np.float64)
        depth = _radius(parent, table.metric) - _radius(child, table.metric)
        score = (
            -(1 + self.alpha * depth) * distance if table.metric in ("poincare", "lorentz", "euclidean") else -distance
        )
        values = np.column_stack([[row[2] for row in pairs], score])
        note = (
            (f"{len(rows) - len(pairs)} of {len(rows)} pairs have an entity that is not in the table",)
            if len(pairs) < len(rows)
            else ()
        )
        return Result(self.name, {"spearman": Score(values, "spearman")}, note)


def _radius(points: Floats, metric: str) -> NDArray[np.float64]:
    """How far from the middle; on the hyperboloid, in the ball it is drawn in: |x| / (1 + x₀)."""
    if metric != "lorentz":
        return np.linalg.norm(points, axis=1)
    lifted = hyperboloid(points)
    return np.linalg.norm(lifted[:, 1:], axis=1) / (1 + lifted[:, 0])


def _table_of(model: EmbedderBase, who: str) -> EntityEmbedder:
    """The table of entities that the model is, or that it stands in for."""
    table = unwrap(model)
    if not isinstance(table, EntityEmbedder):
        raise WrongUse(f"{who} judges a table of entities; {model.name} is of kind {model.kind}")
    return table
