"""The same face over databases that others keep: LanceDB, embedded in the process, and Qdrant, a server or a cluster.
Vectors, ids, payload and filters as in :class:`umekomi.indexes.Index`; each database finds its candidates in its own
way.

Both compare by cosine, inner product or Euclidean distance; scores are the similarity of
:mod:`umekomi.parts.similarity`, higher is nearer. Ids are text. ``search`` takes vectors, or texts where ``embedder``
is given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from umekomi.errors import DataError, MissingExtra, WrongUse
from umekomi.indexes.filters import parse, qdrant, quoted, sql
from umekomi.indexes.fitting import fit
from umekomi.indexes.index import Hit
from umekomi.indexes.payload import as_ids, as_json, as_table, row_of
from umekomi.indexes.reading import count

METRICS = ("cosine", "dot", "euclidean")


class Adapter(ABC):
    """What both databases share: checks, and hits from what they answer."""

    taken: frozenset[str] = frozenset({"__id__"})
    """Names of columns that it uses itself."""

    def __init__(self, dimension: int, metric: str, embedder: Any, text: str) -> None:
        if metric not in METRICS:
            raise WrongUse(f"{type(self).__name__}: expected a metric of {', '.join(METRICS)}, found {metric!r}")
        if dimension < 1:
            raise WrongUse(f"{type(self).__name__}: expected one dimension or more, found {dimension}")
        self.dimension, self.metric, self.embedder, self.text = dimension, metric, embedder, text

    @abstractmethod
    def __len__(self) -> int: ...

    def add(
        self,
        ids: Sequence[Any],
        items: Any,
        payload: Mapping[str, Any] | pa.Table | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Add rows; an id that is there already is an error, unless ``replace``."""
        vectors = self._vectors(items, "added", "document")
        names = as_ids(ids, "add")
        table = as_table(payload, "add")
        taken = sorted(self.taken & set(table.column_names))
        if taken:
            raise WrongUse(
                f"add: {', '.join(taken)} are names that {type(self).__name__} uses itself: rename that column of the "
                "payload"
            )
        if len(names) != len(vectors) or (table.num_columns and table.num_rows != len(names)):
            raise WrongUse(
                f"add: expected as many ids and payload rows as vectors, found {len(names)}, {table.num_rows} and "
                f"{len(vectors)}"
            )
        if len(set(names)) < len(names):
            raise DataError("add: expected every id once")
        if not names:
            return
        there = self._there(names)
        if there and not replace:
            raise DataError(
                f"add: {len(there):,} ids are there already "
                f"({', '.join(there[:5])}{', …' if len(there) > 5 else ''}): say replace to replace them"
            )
        self._add(names, vectors, table)

    def delete(self, ids: Sequence[Any]) -> None:
        """Delete rows by id; one that is not there is an error, and nothing is deleted."""
        names = list(dict.fromkeys(as_ids(ids, "delete")))
        missing = sorted(set(names) - set(self._there(names)))
        if missing:
            raise DataError(
                f"delete: {len(missing):,} of {len(names):,} ids are not there ({', '.join(missing[:5])}); nothing "
                "was deleted"
            )
        self._delete(names)

    def search(self, queries: Any, k: int = 10, *, filter: str | None = None) -> list[list[Hit]]:
        """The ``k`` nearest of every query, best first; ``filter`` as an index takes it."""
        k = count(k)
        condition = parse(filter, self._fields()) if filter else None
        return [self._search(query, k, condition) for query in self._vectors(queries, "query", "query")]

    def _hit(self, name: str, score: float, payload: dict[str, Any]) -> Hit:
        return Hit(name, score, str(payload.pop(self.text, "") or "") if self.text else "", (0, 0), payload)

    def _vectors(self, items: Any, what: str, role: str) -> Any:
        if isinstance(items, str) or (isinstance(items, (list, tuple)) and items and isinstance(items[0], str)):
            if self.embedder is None:
                raise WrongUse(f"{type(self).__name__}: texts need an embedder; give vectors, or embedder=")
            items = self.embedder.encode([items] if isinstance(items, str) else list(items), role=role)
        return fit(items, {"metric": self.metric, "output": "dense", "dimension": self.dimension}, what)

    @abstractmethod
    def _fields(self) -> list[str] | None: ...

    @abstractmethod
    def _there(self, names: list[str]) -> list[str]: ...

    @abstractmethod
    def _add(self, names: list[str], vectors: Any, payload: pa.Table) -> None: ...

    @abstractmethod
    def _delete(self, names: list[str]) -> None: ...

    @abstractmethod
    def _search(self, query: Any, k: int, condition: Any) -> list[Hit]: ...


class LanceIndex(Adapter):
    """A LanceDB table at ``uri``. LanceDB never compacts by itself: here every ``compact_every`` writes do.

    Args:
        uri: a folder, or S3.
        name: the table's.
        dimension: the vectors' width.
        metric: how they compare: ``"cosine"``, ``"dot"`` or ``"euclidean"``.
        embedder: embeds texts that are added or asked for; None: vectors alone are taken.
        text: the column of the payload that was embedded.
        compact_every: after so many writes.
    """

    taken = frozenset({"__id__", "vector", "_distance", "_rowid", "_score", "_relevance_score"})

    def __init__(
        self,
        uri: str | Path,
        name: str = "umekomi",
        *,
        dimension: int,
        metric: str = "cosine",
        embedder: Any = None,
        text: str = "",
        compact_every: int = 20,
    ) -> None:
        super().__init__(dimension, metric, embedder, text)
        try:
            import lancedb
        except ImportError:
            raise MissingExtra("lancedb", "lance", "a LanceDB index") from None
        self.name, self.compact_every, self._writes = name, compact_every, 0
        self._database = lancedb.connect(str(uri))
        self._table: Any = self._database.open_table(name) if name in self._names() else None

    def _names(self) -> list[str]:
        return list(self._database.list_tables().tables)

    def __len__(self) -> int:
        return int(self._table.count_rows()) if self._table is not None else 0

    def _fields(self) -> list[str]:
        return [] if self._table is None else [name for name in self._table.schema.names if name not in self.taken]

    def _there(self, names: list[str]) -> list[str]:
        if self._table is None or not names:
            return []
        found: list[str] = []
        for start in range(0, len(names), 1000):
            chosen = ", ".join(quoted(name) for name in names[start : start + 1000])
            found += (
                self._table.search()
                .where(f"__id__ IN ({chosen})")
                .select(["__id__"])
                .limit(1000)
                .to_arrow()["__id__"]
                .to_pylist()
            )
        return found

    def _add(self, names: list[str], vectors: Any, payload: pa.Table) -> None:
        vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), self.dimension)
        table = pa.table(
            {"__id__": pa.array(names), "vector": vector}
            | {name: _present(payload[name]) for name in payload.column_names}
        )
        try:
            if self._table is None:
                self._table = self._database.create_table(self.name, table)
            else:
                rows = self._table.merge_insert("__id__").when_matched_update_all().when_not_matched_insert_all()
                rows.execute(table)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise DataError(f"add: LanceDB does not take it: {str(error).splitlines()[0][:200]}") from None
        self._written()

    def _delete(self, names: list[str]) -> None:
        for start in range(0, len(names), 1000):
            self._table.delete(f"__id__ IN ({', '.join(quoted(name) for name in names[start : start + 1000])})")
        self._written()

    def _written(self) -> None:
        from datetime import timedelta

        self._writes += 1
        if self._writes >= self.compact_every:
            self._table.optimize(cleanup_older_than=timedelta(0))
            self._writes = 0

    def _search(self, query: Any, k: int, condition: Any) -> list[Hit]:
        if self._table is None:
            return []
        asked = self._table.search(query).distance_type({"euclidean": "l2"}.get(self.metric, self.metric)).limit(k)
        if condition is not None:
            asked = asked.where(sql(condition, self._table.schema), prefilter=True)
        try:
            table = asked.to_arrow()
        except (ValueError, RuntimeError) as error:
            # what LanceDB's planner does not take; without a condition nothing of the user's reaches it
            if condition is None:
                raise
            raise WrongUse(f"filter: LanceDB does not take it: {str(error).splitlines()[0][:200]}") from None
        hits = []
        for number in range(table.num_rows):
            found = row_of(table.drop_columns(["vector"]), number)
            distance = found.pop("_distance")
            # LanceDB's distances: 1 - cosine, 1 - inner product, the square of Euclid's
            score = -(distance**0.5) if self.metric == "euclidean" else 1 - distance
            hits.append(self._hit(found.pop("__id__"), float(score), found))
        return hits


def _present(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column with null for NaN: to DataFusion NaN is a number above all others, to a filter it is missing."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


class QdrantIndex(Adapter):
    """A collection of a Qdrant server or cluster through its client. Ids are kept in the payload; points are numbered
    by their hash.

    Args:
        client: the server's address (``"http://…:6333"``), or a client made elsewhere (``QdrantClient(":memory:")`` for
            small tests).
        name: the collection's.
        dimension: the vectors' width.
        metric: how they compare: ``"cosine"``, ``"dot"`` or ``"euclidean"``.
        embedder: embeds texts that are added or asked for; None: vectors alone are taken.
        text: the column of the payload that was embedded.
        batch: points sent at once.
    """

    def __init__(
        self,
        client: Any,
        name: str = "umekomi",
        *,
        dimension: int,
        metric: str = "cosine",
        embedder: Any = None,
        text: str = "",
        batch: int = 256,
    ) -> None:
        super().__init__(dimension, metric, embedder, text)
        try:
            from qdrant_client import QdrantClient, models
        except ImportError:
            raise MissingExtra("qdrant-client", "qdrant", "a Qdrant index") from None
        self.client = QdrantClient(url=client) if isinstance(client, str) else client
        self.name, self.batch = name, batch
        kind = {"cosine": models.Distance.COSINE, "dot": models.Distance.DOT, "euclidean": models.Distance.EUCLID}[
            metric
        ]
        if not self.client.collection_exists(name):
            self.client.create_collection(name, vectors_config=models.VectorParams(size=dimension, distance=kind))
        else:
            found = self.client.get_collection(name).config.params.vectors
            if (found.size, found.distance) != (dimension, kind):
                raise WrongUse(
                    f"the collection {name!r} holds {found.size} dimensions compared by {found.distance}: expected "
                    f"{dimension} by {kind}"
                )

    def __len__(self) -> int:
        return int(self.client.count(self.name, exact=True).count)

    def _fields(self) -> None:
        return None  # a collection has no schema: an unknown field meets no condition

    @staticmethod
    def _point(name: str) -> str:
        import hashlib
        import uuid

        return str(uuid.UUID(bytes=hashlib.blake2b(name.encode(), digest_size=16).digest()))

    def _there(self, names: list[str]) -> list[str]:
        found: list[str] = []
        for start in range(0, len(names), self.batch):
            part = {self._point(name): name for name in names[start : start + self.batch]}
            found += [part[str(point.id)] for point in self.client.retrieve(self.name, list(part), with_payload=False)]
        return found

    def _add(self, names: list[str], vectors: Any, payload: pa.Table) -> None:
        from qdrant_client import models

        rows = [as_json(row_of(payload, number)) if payload.num_columns else {} for number in range(len(names))]
        points = [
            models.PointStruct(id=self._point(name), vector=vector.tolist(), payload={"__id__": name} | each)
            for name, vector, each in zip(names, vectors, rows, strict=True)
        ]
        for start in range(0, len(points), self.batch):
            self.client.upsert(self.name, points[start : start + self.batch], wait=True)

    def _delete(self, names: list[str]) -> None:
        from qdrant_client import models

        self.client.delete(self.name, models.PointIdsList(points=[self._point(name) for name in names]), wait=True)

    def _search(self, query: Any, k: int, condition: Any) -> list[Hit]:
        answer = self.client.query_points(
            self.name, query=query.tolist(), limit=k, query_filter=None if condition is None else qdrant(condition)
        )
        sign = -1 if self.metric == "euclidean" else 1
        hits = []
        for point in answer.points:
            found = dict(point.payload or {})
            hits.append(self._hit(found.pop("__id__"), sign * float(point.score), found))
        return hits
