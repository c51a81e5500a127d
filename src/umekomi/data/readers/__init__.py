"""Files into Arrow tables: JSONL, CSV, TSV, Parquet (each also gzipped), text files, folders of documents and BEIR
folders. Every error names the file, the line, the column, what was expected and what was found.

A file is read through once before its first table is given: what is wrong with its last line is said before any work is
done, and a column's type holds every one of its values (:class:`Source`). TSV has no quoting (a tab ends a field,
whatever surrounds it), CSV has the usual one; lines that hold nothing are no rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umekomi.data.lines import check_path
from umekomi.data.readers.beir import beir, retrieval
from umekomi.data.readers.file import BATCH, TABLE_SUFFIXES, document_texts, identifiers
from umekomi.data.readers.folders import folder
from umekomi.data.readers.source import Source

if TYPE_CHECKING:
    import pyarrow as pa

    from umekomi.data.columns import RetrievalData

__all__ = [
    "BATCH",
    "TABLE_SUFFIXES",
    "Source",
    "batches",
    "beir",
    "document_texts",
    "identifiers",
    "read",
    "retrieval",
    "tables",
]


def read(path: str | Path, *, encoding: str | None = None) -> pa.Table | RetrievalData | dict[str, Any]:
    """Everything at ``path``: a table; a :class:`RetrievalData` or its splits for a BEIR folder; the splits of a folder
    that holds train/dev/test files; or a table (id, text[, label]) for a folder of documents; of a PDF, slides or
    another document a row for each page, slide or section. ``encoding``: of files that are not UTF-8."""
    path = Path(path)
    check_path(path)
    if path.is_dir():
        return folder(path, encoding)
    return Source(path, encoding=encoding).read()


def batches(source: Path, rows: int, *, encoding: str | None = None) -> Iterator[pa.Table]:
    """Tables of at most ``rows`` rows of a file, or of a folder of documents."""
    yield from Source(source, encoding=encoding).tables(rows)


def tables(path: str | Path, rows: int = BATCH, *, encoding: str | None = None) -> Iterator[pa.Table]:
    """Tables of at most ``rows`` rows, in order, in bounded memory."""
    yield from Source(path, encoding=encoding).tables(rows)
