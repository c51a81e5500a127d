"""The map of an index that the page draws: places in two dimensions, what lies at a point, points in groups."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi.responses import Response

from umekomi.indexes import Index
from umekomi.indexes.payload import as_json
from umekomi.server.errors import Answer, ApiError
from umekomi.server.groups import Group, group_values
from umekomi.server.workers import alone
from umekomi.transforms import Pca

if TYPE_CHECKING:
    from umekomi.contracts import Floats
    from umekomi.server.app import App

MAP_ROWS = 100_000
FITTED_ROWS = 20_000
"""Rows that the axes are found from."""
WIDE = 4096
"""Dimensions from which on all axes would be too many to find."""
MOST_POINTS = 1000


class Maps:
    """The places of each index's rows, worked out once for each state of it."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, Any, Any]] = {}

    def placed(self, name: str, index: Index) -> tuple[Any, Any]:
        """(row numbers, places float32 ``[rows, 2]``) of at most :data:`MAP_ROWS` rows, evenly taken."""
        numbers = index.living()
        state = hash(numbers.tobytes())
        known = self._known.get(name)
        if known is not None and known[0] == state:
            return known[1], known[2]
        if len(numbers) > MAP_ROWS:
            numbers = numbers[np.linspace(0, len(numbers) - 1, MAP_ROWS).astype(np.int64)]
        places = project(index.vectors(numbers)) if len(numbers) else np.zeros((0, 2), np.float32)
        self._known[name] = (state, numbers, places)
        return numbers, places


def _drawn(app: App, name: str) -> tuple[Index, asyncio.Lock]:
    """An index whose map can be drawn: one on disk, whose rows have numbers."""
    _, index, lock = app.index(name)
    if not isinstance(index, Index):
        raise ApiError(400, f"index: the map is drawn of indexes on disk, {name} lies in a database", param="index")
    return index, lock


async def map_of(app: App, name: str) -> Response:
    """Places of the index's rows in two dimensions: float32 x, y in [-1, 1], row by row."""
    index, lock = _drawn(app, name)
    _, places = await alone(lock, partial(app.maps.placed, name, index))
    return Response(places.tobytes(), media_type="application/octet-stream", headers={"x-rows": str(len(places))})


async def items(app: App, name: str, wanted: str) -> Response:
    """Id and text of points of the map, by their place in it."""
    index, lock = _drawn(app, name)
    try:
        numbers = [int(word) for word in wanted.split(",")]
    except ValueError:
        raise ApiError(
            400, f"points: expected numbers with commas between, found {wanted[:40]!r}", param="points"
        ) from None

    def work() -> tuple[list[dict[str, Any]], str]:
        rows, _ = app.maps.placed(name, index)
        if len(numbers) > MOST_POINTS or any(not 0 <= number < len(rows) for number in numbers):
            raise ApiError(
                400, f"points: expected at most {MOST_POINTS:,} numbers from 0 to {len(rows) - 1}", param="points"
            )
        return index.rows([int(row) for row in np.asarray(rows)[numbers]]), index.about["text"]

    chosen, text = await alone(lock, work)
    data = [
        {"id": row.pop("__id__"), "text": str(row.pop(text, "") or "") if text else "", "payload": as_json(row)}
        for row in chosen
    ]
    return Answer({"object": "list", "data": data})


async def groups(app: App, name: str, field: str) -> Response:
    """The points of the map in at most ten groups by a column of the payload."""
    index, lock = _drawn(app, name)

    def work() -> tuple[list[Group], bool, list[int]]:
        if field not in index.fields:
            raise ApiError(
                400,
                f"field: expected one of {', '.join(index.fields) or 'none, there is no payload'}, found "
                f"{field[:40]!r}",
                param="field",
            )
        return group_values(index.column(field, app.maps.placed(name, index)[0]))

    parts, ordered, points = await alone(lock, work)
    return Answer(
        {
            "object": "groups",
            "field": field,
            "ordered": ordered,
            "groups": [asdict(group) for group in parts],
            "points": points,
        }
    )


def project(vectors: Floats) -> Floats:
    """The first two principal components, brought into [-1, 1]: float32 ``[n, 2]``."""
    if hasattr(vectors, "indptr") or (isinstance(vectors, np.ndarray) and vectors.shape[1] > WIDE):
        from sklearn.decomposition import TruncatedSVD

        two = min(2, vectors.shape[1] - 1)
        places = TruncatedSVD(max(two, 1), random_state=0).fit_transform(vectors)
    elif isinstance(vectors, np.ndarray):
        places = np.zeros((len(vectors), 2))
        if len(vectors) > 1:
            largest = max(float(np.abs(vectors).max()), 1e-30)
            scaled = (vectors / np.float32(largest)).astype(np.float32)
            scaled = np.pad(scaled, ((0, 0), (0, max(2 - scaled.shape[1], 0))))
            axes = Pca(2).fit(scaled[:: len(scaled) // FITTED_ROWS + 1])
            places = (scaled - axes.mean_) @ axes.directions_
    else:
        raise ApiError(400, "map: an index of several vectors an item has no map")
    if places.shape[1] < 2:
        places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    return np.ascontiguousarray(places / np.maximum(np.abs(places).max(0), 1e-12), np.float32)
