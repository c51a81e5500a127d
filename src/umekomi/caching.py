"""Vectors that were finished before, under the content that made them: one SQLite file a model, so that no text is
encoded twice.

Each addition is one transaction: a kill leaves the vectors of all finished ones. Several processes may share a file. No
job ends because of its cache: one that cannot be used is said once, and the vectors are made.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from umekomi.files import cache_folder
from umekomi.progress import say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats

LARGEST = 4 << 30
"""Bytes that one model's file may grow to; then it is read and no longer added to."""
_ASKED = 500


class VectorCache:
    """Vectors float32 ``[d]`` of texts by one model in one setting. ``folder``: the cache folder's ``vectors`` when not
    said."""

    def __init__(
        self,
        fingerprint: str,
        dimension: int,
        setting: str = "",
        folder: str | Path | None = None,
        largest: int = LARGEST,
    ) -> None:
        place = Path(folder) if folder is not None else cache_folder() / "vectors"
        self.file, self.dimension, self.largest = place / f"{fingerprint}.sqlite", dimension, largest
        self._salt = hashlib.blake2b(setting.encode(), digest_size=16).digest()
        self._full = False
        self._base: sqlite3.Connection | None = None
        try:
            place.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(self.file, timeout=60, check_same_thread=False)
            self._base.execute("pragma journal_mode = wal")
            self._base.execute("pragma synchronous = normal")
            self._base.execute(
                "create table if not exists vectors (key blob primary key, tokens integer, cut integer, vector blob) "
                "without rowid"
            )
        except (sqlite3.Error, OSError) as error:
            self._left_out(error)

    def _left_out(self, error: Exception) -> None:
        """Go on without the cache, and say so: once, since nothing asks it again."""
        self.close()
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        advice = "; remove it to have a new one" if damaged else ""
        say(f"note: no vectors are taken from {self.file} or kept there ({error}){advice}")

    def key(self, text: str) -> bytes:
        """What the vector of a text is kept under."""
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._salt).digest()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, tuple[NDArray[np.float32], int, bool]]:
        """(vector, tokens, whether it was cut) of every key that is there."""
        entries: dict[bytes, tuple[NDArray[np.float32], int, bool]] = {}
        if self._base is None:
            return entries
        try:
            for start in range(0, len(keys), _ASKED):
                part = keys[start : start + _ASKED]
                rows = self._base.execute(
                    f"select key, tokens, cut, vector from vectors where key in ({','.join('?' * len(part))})", part
                )
                for key, tokens, cut, vector in rows:
                    if isinstance(vector, bytes) and len(vector) == 4 * self.dimension:
                        numbers = np.frombuffer(vector, "<f4")
                        if np.isfinite(numbers).all():  # a broken model's, kept by an earlier version
                            entries[key] = (numbers, int(tokens), bool(cut))
        except (sqlite3.Error, TypeError, ValueError) as error:  # a damaged file, or another one with our name
            self._left_out(error)
        return entries

    def put(self, keys: Sequence[bytes], vectors: Floats, tokens: NDArray[np.int64], cut: NDArray[np.bool_]) -> None:
        """Keep these, in one transaction. A full cache, or a full disk, is said once and adds no more."""
        if self._full or self._base is None:
            return
        try:
            if self.file.stat().st_size > self.largest:
                self._full = True
                say(f"note: {self.file} has grown to {self.largest / 1e9:.1f} GB; it is read, and no longer added to")
                return
            rows = zip(keys, tokens, cut, np.ascontiguousarray(vectors, "<f4"), strict=True)
            with self._base:
                self._base.executemany(
                    "insert or ignore into vectors values (?, ?, ?, ?)",
                    [(k, int(t), int(c), v.tobytes()) for k, t, c, v in rows],
                )
        except (sqlite3.Error, OSError) as error:
            self._full = True
            say(f"note: {self.file} takes no more vectors ({error}); the rest is not kept")

    def __len__(self) -> int:
        return int(self._base.execute("select count(*) from vectors").fetchone()[0]) if self._base is not None else 0

    def close(self) -> None:
        """Done with the file."""
        if self._base is not None:
            self._base.close()
            self._base = None
