"""A table of names and vectors: words, nodes, labels, users. Cosine, dot, Euclidean, or hyperbolic."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, WrongUse, unknown_name
from umekomi.files import write_json
from umekomi.models.base import EmbedderBase, Open
from umekomi.models.folders import read_floats, read_list, settings
from umekomi.parts import similarity as similarities
from umekomi.progress import say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats, Transform
    from umekomi.models.base import Saved

UNKNOWN = ("error", "skip", "zero")


class EntityEmbedder(EmbedderBase):
    """``names[i]`` has ``vectors[i]``, float32 ``[n, d]``; ``metric`` says how they compare.

    ``unknown``: a name that is not there is an ``"error"``, is ``"skip"``-ped (its row is missing from the result), or
    is ``"zero"``; the last two say how many there were.
    """

    kind = "entity"
    modalities = frozenset({"entity"})

    def __init__(
        self,
        names: Sequence[str],
        vectors: NDArray[np.float32],
        *,
        metric: str = "cosine",
        unknown: str = "error",
        name: str = "entities",
        card: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, card)
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or len(names) != len(vectors):
            raise DataError(
                f"{name}: expected one vector a name, found {len(names)} names and an array of shape {vectors.shape}"
            )
        if not np.isfinite(vectors).all():
            row = int(np.argwhere(~np.isfinite(vectors))[0, 0])
            raise DataError(f"{name}: expected finite vectors, found NaN or infinity in row {row + 1} ({names[row]!r})")
        if unknown not in UNKNOWN:
            raise WrongUse(f"unknown: expected one of {', '.join(UNKNOWN)}, found {unknown!r}")
        similarities.similarity_function(metric)
        self.names, self.vectors, self.metric, self.unknown = list(names), vectors, metric, unknown
        self.dimension = vectors.shape[1]
        self.rows = {entity: row for row, entity in enumerate(self.names)}
        if len(self.rows) < len(self.names):
            twice = next(entity for row, entity in enumerate(self.names) if self.rows[entity] != row)
            raise DataError(f"{name}: expected distinct names, found {twice!r} twice")

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, entity: str) -> bool:
        return entity in self.rows

    def __getitem__(self, entity: str) -> NDArray[np.float32]:
        return self.vectors[self.row(entity)]

    def row(self, entity: str) -> int:
        """Where a name stands; the error names the nearest."""
        if entity not in self.rows:
            near = self.names if len(self.names) < 5000 else self._like(str(entity))
            raise unknown_name(f"entity of {self.name}", str(entity), map(str, near))
        return self.rows[entity]

    def _like(self, entity: str) -> list[str]:
        return [name for name in self.names if str(name)[:2] == entity[:2]][:2000] or self.names[:10]

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Floats:
        strange = next((place for place, item in enumerate(items) if not isinstance(item, (str, int, float))), None)
        if strange is not None:
            raise WrongUse(f"{self.name}: expected names, item {strange + 1} is {type(items[strange]).__name__}")
        rows_of = np.array([self.rows.get(item, -1) for item in items], np.int64)
        missing = int((rows_of < 0).sum())
        if missing and self.unknown == "error":
            self.row(items[int(np.flatnonzero(rows_of < 0)[0])])
        if missing:
            done = "left out" if self.unknown == "skip" else "given a zero vector"
            say(f"note: {missing} of {len(items)} names are not in {self.name} and were {done}")
        if self.unknown == "skip":
            return self.vectors[rows_of[rows_of >= 0]]
        return (
            np.where(rows_of[:, None] >= 0, self.vectors[rows_of], np.float32(0)) if missing else self.vectors[rows_of]
        )

    def with_table(self, transforms: Sequence[Transform]) -> EntityEmbedder:
        """The same names with their vectors changed (cosine and dot tables only)."""
        if self.metric not in ("cosine", "dot"):
            raise WrongUse(
                f"{self.name} compares by {self.metric}: a linear transform would carry its vectors out of their space"
            )
        other = copy(self)
        for transform in transforms:
            other.vectors = np.ascontiguousarray(transform.transform(other.vectors), np.float32)
        other.dimension = other.vectors.shape[1]
        other.name = "+".join([self.name, *(transform.name for transform in transforms)])
        return other

    def most_similar(
        self, positive: str | Sequence[str], negative: Sequence[str] = (), k: int = 10
    ) -> list[tuple[str, float]]:
        """The ``k`` names nearest to a name, or to the sum of unit vectors of ``positive`` minus ``negative`` (Mikolov
        et al. 2013, 3CosAdd; cosine and dot tables only). The names asked about are left out."""
        asked = [positive] if isinstance(positive, str) else list(positive)
        if len(asked) + len(negative) == 1:
            query = self[asked[0]][None]
        elif self.metric in ("cosine", "dot"):
            unit = {name: similarities.normalise(self[name]) for name in [*asked, *negative]}
            query = (
                sum(unit[name] for name in asked)
                - sum((unit[name] for name in negative), np.zeros(self.dimension, np.float32))
            )[None]
        else:
            raise WrongUse(
                f"{self.name} compares by {self.metric}: sums of its vectors mean nothing, ask about one name"
            )
        scores = self.similarity(query, self.vectors)[0]
        scores[[self.row(name) for name in [*asked, *negative]]] = -np.inf
        best = np.argsort(-scores, kind="stable")[: min(k, len(scores))]
        return [(self.names[i], float(scores[i])) for i in best if np.isfinite(scores[i])]

    def _write(self, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        save_file({"vectors": self.vectors}, folder / "vectors.safetensors")
        write_json(folder / "names.json", self.names)
        return {"unknown": self.unknown}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> EntityEmbedder:
        own = settings(folder, head, unknown=str)
        vectors = read_floats(folder / "vectors.safetensors", "vectors", 2)
        return cls(read_list(folder / "names.json"), vectors, metric=head["metric"], name=head["name"], **own)


def begin_with(table: NDArray[Any], names: Sequence[str], start: Saved | None, who: str, skip: int = 0) -> None:
    """Put the vectors of those names that ``start`` (a table of entities as wide, or None) knows in their rows of
    ``table``; ``skip`` leaves its first so many coordinates out."""
    if start is None:
        return
    if not isinstance(start, EntityEmbedder) or start.dimension - skip != table.shape[1]:
        raise WrongUse(f"{who}: start must be a table of {table.shape[1]} dimensions")
    for row, name in enumerate(names):
        if name in start.rows:
            table[row] = start[name][skip:]
