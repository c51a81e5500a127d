"""What a comparison has done already: vectors on disk with the seconds they took, and a journal of finished work."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.models.cached import CachedEmbedder, OnDisk
from umekomi.parts import similarity as similarities

if TYPE_CHECKING:
    from umekomi.contracts import Output
    from umekomi.models.base import EmbedderBase


class Meter(CachedEmbedder):
    """An embedder that keeps what it encoded, on disk, with the seconds it took: a cut of it, a hybrid with it, and the
    same comparison after a kill encode nothing again."""

    warm = True

    def __init__(
        self, embedder: EmbedderBase, folder: Path, journal: Journal, name: str, dimensions: int | None = None
    ) -> None:
        super().__init__(embedder, OnDisk(folder))
        self.journal, self.name, self.dimensions = journal, name, dimensions
        self.seen: dict[str, tuple[int, float]] = {}
        self.documents: Any = None

    def encode(
        self, items: Any, *, role: str | None = None, batch_size: int = 32, progress: bool = False, **options: Any
    ) -> Output:
        """Vectors, from the store where they are there."""
        vectors, seconds = self.timed(items, role, batch_size, progress, options)
        self.seen[role or "text"] = (similarities.size(vectors), seconds)
        if self.dimensions is not None and self.dimensions < similarities.width(vectors):
            vectors = self.embedder.cut(vectors, self.dimensions)
        if role != "query":
            self.documents = vectors
        return vectors

    def made(self, key: str, count: int) -> None:
        self.journal.note("encoded", self.name, key, count)

    def rate(self, role: str) -> float | None:
        """Texts a second in this role."""
        if role not in self.seen:
            return None
        count, seconds = self.seen[role]
        return count / max(seconds, 1e-9)


class Journal:
    """Every piece of work that was done, appended when it was finished: proof that nothing is done twice."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)

    def note(self, event: str, candidate: str, key: str, count: int = 1) -> None:
        """One line, on disk before going on."""
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"event": event, "candidate": candidate, "key": key, "count": count}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
