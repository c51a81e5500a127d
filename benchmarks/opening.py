"""The first query of a process, over an index that was on disk before: milliseconds to open it, for that query and for
the next, the index's pages in the page cache or not; and what the process then holds in anonymous memory.

Opening an index of 100,000 rows or more loads what its first query would wait for, unless it is told not to; both are
measured. Python's start and the imports of NumPy and of the package are left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.run import REPEATS, figure
from benchmarks.search import ASKED, million
from umekomi.indexes import Index
from umekomi.parts.similarity import normalise
from umekomi.progress import say
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-opening"
DATA = "static(minilm), 256 dimensions"
ROWS = (200_000, 1_000_000)
KINDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("exact", "exact", {}),
    ("binary", "binary", {}),
    ("turbo of 4 bits", "turbo", {}),
    ("turbo of 2 bits", "turbo", {"bits": 2}),
)
FRESH = """
import json, sys, time
import numpy as np
from umekomi.indexes import Index
def anonymous():
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Anonymous:")) / 1024
folder, asked, how = sys.argv[1:]
queries = np.load(asked)
if how == "memory":
    import umekomi.parts.kernels.scan, pyarrow.dataset
    Index(folder, prepare=False)
before = anonymous()
begun = time.perf_counter(); index = Index(folder, prepare=None if how == "prepared" else False)
opened = time.perf_counter() - begun
begun = time.perf_counter(); index.nearest(queries[:1], 10); first = time.perf_counter() - begun
rest = []
for query in queries[1:50]:
    begun = time.perf_counter(); index.nearest(query[None], 10); rest.append(time.perf_counter() - begun)
print(json.dumps([opened * 1000, first * 1000, 1000 * float(np.median(rest)), anonymous() - before]))
"""


def measure() -> Iterator[Measurement]:
    whole = normalise(million())
    queries = np.ascontiguousarray(whole[:ASKED])
    for rows in ROWS:
        with tempfile.TemporaryDirectory() as folder:
            index = Index.create(Path(folder) / "i", metric="cosine", kind="exact")
            index.add([str(i) for i in range(rows)], whole[1000 : 1000 + rows])
            for what, kind, settings in KINDS:
                if kind == "turbo" and find_spec("turbovec") is None:
                    say("turbovec is not installed: its arms are left out")
                    continue
                if kind != "exact":
                    index.compact(kind, **settings)
                yield from opening(index, queries, DATA, rows, what)


def opening(
    index: Index, queries: Any, data: str, rows: int, what: str, claim: str = CLAIM, repeats: int = REPEATS
) -> Iterator[Measurement]:
    """Processes of their own: the median of so many, with the least and the most; memory once."""
    folder, arm = index.store.folder, f"umekomi {what}, a process of its own"
    asked = folder.parent / "queries.npy"
    np.save(asked, queries)
    for pages in ("cold", "warm"):
        for how in ("prepared", "not prepared"):
            found = np.array([_asked(folder, asked, how, pages == "cold")[:3] for _ in range(repeats)])
            for said, values in zip(
                ("ms to open", "ms, first query", "ms, median of the next 49"), found.T, strict=True
            ):
                yield Measurement(
                    claim, arm, data, rows, f"{said}, {pages}, {how}",
                    float(np.median(values)), float(values.min()), float(values.max()), seeds=1,
                )  # fmt: skip
    yield figure(claim, arm, data, rows, "MB anonymous", [_asked(folder, asked, "memory", False)[3]])
    flat = "vectors in memory, as a flat index holds them"
    yield figure(claim, flat, data, rows, "MB anonymous", [rows * queries.shape[1] * 4 / 2**20])


def _asked(folder: Path, queries: Path, how: str, cold: bool) -> list[float]:
    """What one process says: milliseconds to open, of the first query and of the next, MB."""
    for path in folder.rglob("*") if cold else ():
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)
    told = [sys.executable, "-c", FRESH, str(folder), str(queries), how]
    values: list[float] = json.loads(subprocess.run(told, capture_output=True, text=True, check=True).stdout)
    return values
