"""An index by where it lies: a folder, or an address in a database; and its rows carried from one to another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from umekomi.errors import WrongUse
from umekomi.indexes.adapters import Adapter, is_database, open_database
from umekomi.indexes.adapters.base import Batch
from umekomi.indexes.index import Index
from umekomi.indexes.joining import ID
from umekomi.indexes.store import Store
from umekomi.parts import similarity as similarities

AnyIndex: TypeAlias = "Index | Adapter"


def is_index(place: object) -> bool:
    """Does an index lie here, or is this an address where one may?"""
    return is_database(place) or (isinstance(place, (str, Path)) and Store(place).exists())


def open_index(place: str | Path, *, prepare: bool | None = None) -> AnyIndex:
    """The index in a folder, or at an address; ``prepare`` is of :class:`Index`: False where nothing is searched."""
    return open_database(str(place)) if is_database(place) else Index(place, prepare=prepare)


def index_name(place: str | Path) -> str:
    """What an index is called by those who serve it: its folder's name, or its table's.

    >>> index_name("postgresql://me@db/shop/my%20texts?sslmode=require"), index_name("here/library")
    ('my texts', 'library')
    """
    if is_database(place):
        return unquote(urlsplit(str(place)).path.rpartition("/")[2])
    return Path(place).resolve().name


def batches_of(source: AnyIndex, after: Any = None, rows: int = 1024) -> Iterator[Batch]:
    """All rows of an index, some at a time, those behind ``after``, an earlier batch's ``last``; of one on disk those
    of its present commit, all of them where ``after`` is of another."""
    if isinstance(source, Adapter):
        yield from source.batches(after, rows)
        return
    now = source.snapshot()
    if now.about["output"] != "dense":
        raise WrongUse(f"{source.where} holds {now.about['output']} vectors: only dense ones go from index to index")
    generation, done = (after or [0, 0]) if isinstance(after, list) else [0, 0]
    done = done if generation == now.manifest.generation else 0
    seen = 0
    for each in now.segments:
        living = [number for number in range(each.segment.rows) if each.living[number]]
        for start in range(0, len(living), rows):
            some = living[start : start + rows]
            seen += len(some)
            if seen <= done:
                continue
            table = each.whole_payload().take(pa.array(some))
            yield Batch(
                table[ID].to_pylist(),
                similarities.take(each.vectors, some),
                table.select(table.column_names[1:]),
                [now.manifest.generation, seen],
            )
