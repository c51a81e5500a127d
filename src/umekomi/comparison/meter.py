"""What a comparison has done already: vectors on disk with the seconds they took, and a journal of finished work."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.files import content_hash
from umekomi.models.base import Open, Predictor, Scorer
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

    @property
    def seconds(self) -> float:
        """Spent on encoding, all roles together."""
        return sum(took for _, took in self.seen.values())

    def rate(self, role: str) -> float | None:
        """Texts a second in this role."""
        if role not in self.seen:
            return None
        count, seconds = self.seen[role]
        return count / max(seconds, 1e-9)


class ScoreMeter(Scorer):
    """A scorer that keeps what it scored, on disk, call by call, with the seconds it took: after a kill it goes on from
    the last."""

    kind = "metered scorer"

    def __init__(self, scorer: Scorer, folder: Path, journal: Journal, name: str) -> None:
        super().__init__(scorer.name, scorer.card)
        self.scorer, self.store, self.journal, self.spec = scorer, OnDisk(folder), journal, name
        self.conditions, self.by_query = scorer.conditions, scorer.by_query  # type: ignore[misc]
        self.count, self.seconds = 0, 0.0

    def score(self, a: Sequence[Any], b: Sequence[Any], *, condition: Sequence[str] | None = None) -> Any:
        """The scores, from the store where they are there."""
        key = content_hash("scores", list(a), list(b), None if condition is None else list(condition))
        kept = self.store.get(key)
        if kept is None or len(kept[0]) != len(a):
            if not self.count and not self.by_query:  # what loads and compiles at the first call costs no seconds
                self.scorer.score(a[:2], b[:2], condition=None if condition is None else condition[:2])
            begun = time.perf_counter()
            scores = self.scorer.score(a, b, condition=condition)
            kept = scores, time.perf_counter() - begun
            self.store.put(key, *kept)
            self.journal.note("scored", self.spec, key, len(scores))
        self.count += len(a)
        self.seconds += kept[1]
        return kept[0]

    def _score(self, a: list[Any], b: list[Any], condition: Sequence[str] | None) -> Any:
        return self.scorer._score(a, b, condition)

    def _write(self, folder: Path) -> dict[str, Any]:
        return self.scorer._write(folder)

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> Any:
        return open(folder)


class PredictionMeter(Predictor):
    """A predictor whose seconds are taken."""

    kind = "metered predictor"

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor.name, predictor.card)
        self.predictor, self.classes = predictor, predictor.classes
        self.count, self.seconds = 0, 0.0

    def predict(self, rows: Any) -> Any:
        """The predictions."""
        begun = time.perf_counter()
        predictions = self.predictor.predict(rows)
        self.seconds += time.perf_counter() - begun
        self.count += len(predictions)
        return predictions

    def _predict(self, rows: list[Any]) -> Any:
        return self.predictor._predict(rows)

    def _write(self, folder: Path) -> dict[str, Any]:
        return self.predictor._write(folder)

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> Any:
        return open(folder)


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
