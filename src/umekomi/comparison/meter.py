"""What a comparison has done already: vectors on disk with the seconds they took, and a journal of finished work."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from umekomi.files import content_hash


class Meter:
    """An embedder that keeps what it encoded, on disk, with the seconds it took: a cut of it, a hybrid with it, and the
    same comparison after a kill encode nothing again."""

    def __init__(self, embedder: Any, folder: Path, journal: Journal, name: str, dimensions: int | None = None) -> None:
        self.embedder, self.folder, self.journal, self.name, self.dimensions = (
            embedder,
            folder,
            journal,
            name,
            dimensions,
        )
        self.seen: dict[str, tuple[int, float]] = {}
        self.documents: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.embedder, name)

    def encode(
        self, items: list[str], *, role: str | None = None, batch_size: int = 32, progress: bool = False, **_: Any
    ) -> Any:
        """Vectors, from the store where they are there."""
        key = content_hash(role, items)
        file = self.folder / f"{key}.npz"
        if file.is_file():
            vectors, seconds = _load_vectors(file)
        else:
            self.embedder.encode(items[:2], role=role)  # load and compile outside the clock
            begun = time.perf_counter()
            vectors = self.embedder.encode(items, role=role, batch_size=batch_size, progress=progress)
            seconds = time.perf_counter() - begun
            _save_vectors(file, vectors, seconds)
            self.journal.note("encoded", self.name, key, len(items))
        self.seen[role or "text"] = (len(items), seconds)
        if self.dimensions is not None and self.dimensions < self.embedder.dimension:
            vectors = self.embedder.cut(vectors, self.dimensions)
        if role != "query":
            self.documents = vectors
        return vectors

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


def _save_vectors(file: Path, vectors: Any, seconds: float) -> None:
    import numpy as np

    from umekomi.contracts import Vectors
    from umekomi.files import whole_file

    if isinstance(vectors, Vectors):
        arrays: dict[str, Any] = {"flat": vectors.flat, "offsets": vectors.offsets}
    elif hasattr(vectors, "indptr"):
        arrays = {
            "data": vectors.data,
            "indices": vectors.indices,
            "indptr": vectors.indptr,
            "shape": np.array(vectors.shape),
        }
    else:
        arrays = {"dense": vectors}
    with whole_file(file) as temporary, temporary.open("wb") as stream:
        arrays["seconds"] = np.array(seconds)
        np.savez(stream, **arrays)


def _load_vectors(file: Path) -> tuple[Any, float]:
    import numpy as np

    from umekomi.contracts import Vectors

    with np.load(file, allow_pickle=False) as found:
        seconds = float(found["seconds"])
        if "dense" in found:
            return found["dense"], seconds
        if "flat" in found:
            return Vectors(found["flat"], found["offsets"]), seconds
        from scipy.sparse import csr_array

        return csr_array((found["data"], found["indices"], found["indptr"]), shape=tuple(found["shape"])), seconds
