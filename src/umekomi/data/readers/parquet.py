"""Parquet files in batches; whatever Arrow finds wrong with one is one line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from umekomi.data.lines import UNREADABLE, read_bytes, shorten
from umekomi.data.plain import plain_type, to_plain
from umekomi.errors import DataError, UmekomiError


@contextmanager
def faults(path: Path, place: str = "") -> Iterator[None]:
    """What Arrow raises on a damaged or foreign file, as one line."""
    try:
        yield
    except UmekomiError:
        raise
    except (pa.ArrowException, *UNREADABLE, ValueError, OverflowError, MemoryError, RecursionError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}{place}: expected a Parquet file, found: {said}") from None


def opened(path: Path, packed: bool) -> pq.ParquetFile:
    """The Parquet file, its schema read; duplicate column names are refused, since nothing could tell them apart."""
    source = io.BytesIO(read_bytes(path, packed)) if packed else path
    with faults(path):
        file = pq.ParquetFile(source)
        names = file.schema_arrow.names
        "".join(names).encode("utf-8")
    for place, name in enumerate(names):
        if name in names[:place]:
            raise DataError(f"{path}: expected distinct column names, found {shorten(name)} twice")
    if not names:
        raise DataError(f"{path}: expected at least one column, found none")
    if file.metadata.num_rows == 0:
        raise DataError(f"{path}: expected at least one row, found zero rows")
    return file


def texts(schema: pa.Schema) -> list[str]:
    """The columns that hold text, or bytes that may be."""
    return [field.name for field in schema if textual(plain_type(field.type))]


def textual(kind: pa.DataType) -> bool:
    """Whether a plain type is text or bytes."""
    return pa.types.is_string(kind) or pa.types.is_binary(kind)


def batches(
    path: Path, file: pq.ParquetFile, rows: int, columns: list[str] | None, as_text: set[str]
) -> Iterator[pa.Table]:
    """Checked tables of at most ``rows`` rows with plain types; ``as_text`` names columns whose bytes are text."""
    done = 0
    held: list[pa.Table] = []
    with faults(path):
        record_batches = file.iter_batches(rows, columns=columns)
    while True:
        with faults(path, f", row {done + 1} or after"):
            batch = next(record_batches, None)
            if batch is None:
                break
            batch.validate(full=True)
            table = to_plain(pa.Table.from_batches([batch]))
            for name in as_text & set(table.column_names):
                place = table.column_names.index(name)
                if pa.types.is_binary(table.schema.field(place).type):
                    table = table.set_column(place, name, table.column(place).cast(pa.string()))
        done += len(table)
        held.append(table)
        while sum(map(len, held)) >= rows:  # Arrow's batches may end with a row group
            joined = pa.concat_tables(held)
            held = [joined.slice(rows)] if len(joined) > rows else []
            yield joined.slice(0, rows)
    if held:
        yield pa.concat_tables(held)
