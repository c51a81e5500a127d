"""A collection of Qdrant."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa

from umekomi.errors import DataError, MissingExtra, UmekomiError, WrongUse
from umekomi.indexes.adapters.base import Batch, about_of, line, settled
from umekomi.indexes.adapters.walking import WalkingAdapter
from umekomi.indexes.filters import qdrant
from umekomi.indexes.index import Hit
from umekomi.indexes.payload import as_json, as_table, row_of

ABOUT = "__umekomi__"
"""The collection in which what the others say of themselves is kept: points of one dimension, by the other's name."""


class QdrantIndex(WalkingAdapter):
    """A collection of a Qdrant server or cluster, or of a folder, through its client. Ids are kept in the payload;
    points are numbered by their hash.

    Args:
        client: the server's address (``"http://…:6333"``), or a client made elsewhere (``QdrantClient(path=…)`` for a
            folder, ``QdrantClient(":memory:")`` for small tests).
        name: the collection's.
        dimension: the vectors' width; None: as the collection says.
        metric: how they compare: ``"cosine"``, ``"dot"`` or ``"euclidean"``.
        embedder: embeds texts that are added or asked for; None: the model that the collection names, if it does.
        text: the column of the payload that was embedded.
        batch: points sent at once.
        about: of a new collection, in place of dimension, metric, embedder and text.
        where: how errors name it.
    """

    def __init__(
        self,
        client: Any,
        name: str = "umekomi",
        *,
        dimension: int | None = None,
        metric: str = "cosine",
        embedder: Any = None,
        text: str = "",
        batch: int = 256,
        about: dict[str, Any] | None = None,
        where: str = "",
    ) -> None:
        try:
            from qdrant_client import QdrantClient
        except ImportError:
            raise MissingExtra("qdrant-client", "qdrant", "a Qdrant index") from None
        where = where or f"the collection {name!r}"
        self.client = QdrantClient(url=client) if isinstance(client, str) else client
        self.name, self.batch, self.where = name, batch, where
        if about is None and dimension is not None:
            about = about_of(dimension, metric, text, embedder)
        if name == ABOUT:
            raise WrongUse(f"the collection {ABOUT} is where others say what they are: choose another name")
        with ExitStack() as failing:
            if isinstance(client, str):
                failing.callback(self.client.close)
            there = self._safely(lambda: self.client.collection_exists(name))
            about = settled(where, "collection", there, self._said() if there else None, about)
            super().__init__(where, about, embedder)
            self._prepare(there)
            failing.pop_all()

    def _prepare(self, there: bool) -> None:
        """The collection made, or held against what is said of it."""
        from qdrant_client import models

        kind = {"cosine": models.Distance.COSINE, "dot": models.Distance.DOT, "euclidean": models.Distance.EUCLID}[
            self.metric
        ]
        if not there:
            config = models.VectorParams(size=self.dimension, distance=kind)
            self._write_about(self.about)  # first: a collection that says nothing would be another's
            self._safely(lambda: self.client.create_collection(self.name, vectors_config=config))
            return
        found = self._safely(lambda: self.client.get_collection(self.name)).config.params.vectors
        if (getattr(found, "size", None), getattr(found, "distance", None)) != (self.dimension, kind):
            raise WrongUse(
                f"the collection {self.name!r} holds {getattr(found, 'size', 'named')} dimensions compared by "
                f"{getattr(found, 'distance', 'their own')}: expected {self.dimension} by {kind}"
            )

    def _safely(self, job: Any) -> Any:
        """What ``job`` gives; a connection that is lost is tried once more, and is then one line."""
        from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

        for attempt in (0, 1):
            try:
                return job()
            except (ResponseHandlingException, ConnectionError) as error:
                if attempt:
                    raise UmekomiError(
                        f"{self.where} cannot be reached: {line(error)}; what was committed is there, and the same "
                        "command goes on behind it"
                    ) from None
            except (UnexpectedResponse, ApiException) as error:
                raise DataError(f"{self.where}: Qdrant does not take it: {line(error)}") from None
            except (ValueError, RuntimeError) as error:  # how the local mode and the engine refuse
                raise DataError(f"{self.where}: Qdrant does not take it: {line(error)}") from None
        raise AssertionError("the last attempt returns or raises")

    def _said(self) -> str | None:
        if not self._safely(lambda: self.client.collection_exists(ABOUT)):
            return None
        (found,) = self._safely(lambda: self.client.retrieve(ABOUT, [self._point(self.name)])) or (None,)
        return None if found is None else str((found.payload or {}).get("about", ""))

    def _note(self, notes: Mapping[str, Any]) -> None:
        self._write_about(self.about | dict(notes))

    def _write_about(self, about: dict[str, Any]) -> None:
        from qdrant_client import models

        if not self._safely(lambda: self.client.collection_exists(ABOUT)):
            config = models.VectorParams(size=1, distance=models.Distance.DOT)
            self._safely(lambda: self.client.create_collection(ABOUT, vectors_config=config))
        said = {"name": self.name, "about": json.dumps(about, ensure_ascii=False)}
        point = models.PointStruct(id=self._point(self.name), vector=[1.0], payload=said)
        self._safely(lambda: self.client.upsert(ABOUT, [point], wait=True))
        self.about = about

    def __len__(self) -> int:
        return int(self._safely(lambda: self.client.count(self.name, exact=True)).count)

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
            points = self._safely(lambda part=part: self.client.retrieve(self.name, list(part), with_payload=False))
            found += [part[str(point.id)] for point in points]
        return found

    def _add(self, names: list[str], vectors: Any, payload: pa.Table, replace: bool, notes: Mapping[str, Any]) -> None:
        from qdrant_client import models

        rows = [as_json(row_of(payload, number)) if payload.num_columns else {} for number in range(len(names))]
        points = [
            models.PointStruct(id=self._point(name), vector=vector.tolist(), payload={"__id__": name} | each)
            for name, vector, each in zip(names, vectors, rows, strict=True)
        ]
        for start in range(0, len(points), self.batch):
            some = points[start : start + self.batch]
            self._safely(lambda some=some: self.client.upsert(self.name, some, wait=True))
        if notes:
            self._note(notes)

    def _delete(self, names: list[str]) -> None:
        from qdrant_client import models

        chosen = models.PointIdsList(points=[self._point(name) for name in names])
        self._safely(lambda: self.client.delete(self.name, chosen, wait=True))

    def batches(self, after: Any = None, rows: int = 1024) -> Iterator[Batch]:
        """All points in the order of their numbers."""
        while True:
            points, after = self._safely(
                lambda after=after: self.client.scroll(
                    self.name, limit=rows, offset=after, with_payload=True, with_vectors=True
                )
            )
            if not points:
                return
            payloads = [dict(point.payload or {}) for point in points]
            ids = [each.pop("__id__") for each in payloads]
            vectors = np.array([point.vector for point in points], np.float32)
            yield Batch(ids, vectors, as_table(columns_of(payloads), self.where), after)
            if after is None:
                return

    def compact(self, kind: str | None = None, *, recall: float | None = None, **settings: Any) -> None:
        """Upkeep, where the engine is in this process (a server does it by itself), and the effort of a walk: the least
        that reaches ``recall`` (.95) on rows of the collection."""
        super().compact(kind, recall=recall, **settings)
        upkeep = getattr(self.client, "optimize", None)
        if upkeep is not None:
            self._safely(lambda: upkeep(self.name))
        self._tune(0.95 if recall is None else recall, {})

    def close(self) -> None:
        """Done with the client; a folder's lock is given back."""
        self.client.close()

    def _search(self, query: Any, k: int, condition: Any) -> list[Hit]:
        # under a filter every row that passes is looked at: a graph made before its columns had payload indexes loses
        # its way between them
        hits = []
        for score, payload in self._nearest(query, k, condition, exact=condition is not None):
            hits.append(self._hit(payload.pop("__id__"), score, payload))
        return hits

    def _nearest(self, query: Any, k: int, condition: Any, *, exact: bool) -> list[tuple[float, dict[str, Any]]]:
        from qdrant_client import models

        how = models.SearchParams(exact=True) if exact else models.SearchParams(hnsw_ef=self._effort(k))
        chosen = None if condition is None else qdrant(condition)
        asked = {"query": query.tolist(), "limit": k, "query_filter": chosen, "search_params": how}
        points = self._safely(lambda: self.client.query_points(self.name, **asked)).points
        sign = -1 if self.metric == "euclidean" else 1
        return [(sign * float(point.score), dict(point.payload or {})) for point in points]

    def _some(self, sample: int, seed: int) -> Any:
        drawn: dict[str, Any] = {}
        for offset in (self._point(f"seed {seed}"), None):  # numbers are hashes: those behind any of them are drawn
            points, _ = self._safely(
                lambda offset=offset: self.client.scroll(
                    self.name, limit=sample, offset=offset, with_payload=False, with_vectors=True
                )
            )
            drawn |= {str(point.id): point.vector for point in points}
        return np.array(list(drawn.values())[:sample], np.float32)

    def _scored(self, vector: Any, k: int, *, exact: bool) -> list[tuple[str, float]]:
        return [(payload["__id__"], score) for score, payload in self._nearest(vector, k, None, exact=exact)]


def columns_of(payloads: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Points' payloads as columns of equal length, None where a point lacks a field."""
    names = dict.fromkeys(name for each in payloads for name in each)
    return {name: [each.get(name) for each in payloads] for name in names}
