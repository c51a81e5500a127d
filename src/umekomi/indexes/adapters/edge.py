"""Qdrant Edge: Qdrant's own engine in this process, over a folder. It is met as a client: each collection is a shard of
the engine in a folder of its own, and what :class:`~umekomi.indexes.adapters.qdrant.QdrantIndex` asks of a client is
asked of the shard. One process at a time may have a shard open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np

from umekomi.errors import DataError, MissingExtra
from umekomi.files import read_json


class EdgeClient:
    """The part of a Qdrant client that an index asks for, over the engine's shards in ``folder``."""

    def __init__(self, folder: str | Path) -> None:
        try:
            import qdrant_edge
        except ImportError:
            raise MissingExtra("qdrant-edge-py", "edge", "Qdrant Edge") from None
        self.edge, self.folder = qdrant_edge, Path(folder)
        self._shards: dict[str, Any] = {}

    def _place(self, name: str) -> Path:
        return self.folder / quote(name, safe="")

    def _shard(self, name: str) -> Any:
        if name not in self._shards:
            self._shards[name] = self.edge.EdgeShard.load(str(self._place(name)))
        return self._shards[name]

    def collection_exists(self, name: str) -> bool:
        """Is there a shard of this name?"""
        return self._place(name).is_dir() and any(self._place(name).iterdir())

    def create_collection(self, name: str, *, vectors_config: Any) -> None:
        """A new shard."""
        self._place(name).mkdir(parents=True, exist_ok=True)
        distance = getattr(self.edge.Distance, vectors_config.distance.value)
        config = self.edge.EdgeConfig(vectors=self.edge.EdgeVectorParams(vectors_config.size, distance))
        self._shards[name] = self.edge.EdgeShard.create(str(self._place(name)), config)
        self._shards[name].flush()

    def get_collection(self, name: str) -> Any:
        """What the shard's own file says of it: ``.config.params.vectors``, its width and distance."""
        from qdrant_client import models

        file = self._place(name) / "edge_config.json"
        try:
            own = read_json(file)["vectors"][""]
            vectors = models.VectorParams(size=own["size"], distance=models.Distance(own["distance"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{file}: expected the width and distance of a shard, found another content") from error
        return SimpleNamespace(config=SimpleNamespace(params=SimpleNamespace(vectors=vectors)))

    def upsert(self, name: str, points: Sequence[Any], *, wait: bool = True) -> None:
        """Points put in, or in the place of those of the same number."""
        made = [self.edge.Point(point.id, point.vector, point.payload) for point in points]
        self._shard(name).update(self.edge.UpdateOperation.upsert_points(made))
        self._shard(name).flush()

    def delete(self, name: str, chosen: Any, *, wait: bool = True) -> None:
        """Points taken out."""
        self._shard(name).update(self.edge.UpdateOperation.delete_points(list(chosen.points)))
        self._shard(name).flush()

    def count(self, name: str, *, exact: bool = True) -> Any:
        """How many points there are, as ``.count``."""
        return SimpleNamespace(count=self._shard(name).count(self.edge.CountRequest(exact=exact)))

    def retrieve(self, name: str, ids: Sequence[str], *, with_payload: bool = True) -> list[Any]:
        """Points by number."""
        return list(self._shard(name).retrieve(list(ids), with_payload=with_payload, with_vector=False))

    def scroll(self, name: str, *, limit: int, offset: Any, with_payload: bool, with_vectors: bool) -> Any:
        """(points in the order of their numbers, where the next begin)."""
        asked = self.edge.ScrollRequest(offset=offset, limit=limit, with_payload=with_payload, with_vector=with_vectors)
        points, following = self._shard(name).scroll(asked)
        return points, None if following is None else str(following)

    def query_points(
        self, name: str, *, query: list[float], limit: int, query_filter: Any = None, search_params: Any = None
    ) -> Any:
        """The nearest points, as ``.points``."""
        asked = self.edge.QueryRequest(
            limit=limit,
            query=self.edge.Query.Nearest(query),
            with_payload=True,
            params=None
            if search_params is None
            else self.edge.SearchParams(hnsw_ef=search_params.hnsw_ef, exact=bool(search_params.exact)),
            filter=None if query_filter is None else self._filter(query_filter),
        )
        return SimpleNamespace(points=self._shard(name).query(asked))

    def optimize(self, name: str) -> None:
        """The engine's own upkeep, to its end: its graph over segments that are large enough."""
        self._shard(name).optimize()

    def close(self) -> None:
        """Every shard closed."""
        for shard in self._shards.values():
            shard.close()
        self._shards = {}

    def _filter(self, part: Any) -> Any:
        """qdrant-client's filter as the engine's."""
        edge = self.edge
        sides = {
            side: [self._condition(each) for each in found]
            for side in ("must", "should", "must_not")
            if (found := getattr(part, side)) is not None
        }
        return edge.Filter(**sides)

    def _condition(self, part: Any) -> Any:
        from qdrant_client import models

        edge = self.edge
        if isinstance(part, models.Filter):
            return self._filter(part)
        if isinstance(part, models.HasIdCondition):
            return edge.HasIdCondition(set(part.has_id))
        if isinstance(part, models.IsEmptyCondition):
            return edge.IsEmptyCondition(part.is_empty.key)
        if part.match is not None:
            asked = part.match.value
            # the engine of 0.9 reads True as the number 1, and NumPy's as a truth value
            return edge.FieldCondition(
                part.key, match=edge.MatchValue(np.bool_(asked) if isinstance(asked, bool) else asked)
            )
        bounds = {
            name: value for name in ("gt", "gte", "lt", "lte") if (value := getattr(part.range, name)) is not None
        }
        if isinstance(part.range, models.DatetimeRange):
            moments = {name: value.isoformat() for name, value in bounds.items()}
            return edge.FieldCondition(part.key, range=edge.RangeDateTime(**moments))
        return edge.FieldCondition(part.key, range=edge.RangeFloat(**bounds))
