"""Data as Arrow tables with standard columns: ``load`` takes a named dataset, a file, a folder, a hub id, or a
table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umekomi.data.columns import Dataset, RetrievalData, fingerprint
from umekomi.data.readers import read, retrieval, tables
from umekomi.data.shapes import SHAPES, shape_name
from umekomi.data.tables import as_table, check
from umekomi.errors import DataError, WrongUse, unknown_name

if TYPE_CHECKING:
    from umekomi.data.columns import Given

__all__ = [
    "SHAPES",
    "DataError",
    "Dataset",
    "RetrievalData",
    "as_table",
    "check",
    "fingerprint",
    "load",
    "names",
    "read",
    "retrieval",
    "shape_name",
    "tables",
]


def names() -> list[str]:
    """The named datasets."""
    from umekomi.data.sets import catalogue

    return list(catalogue())


def load(data: Given, split: str | None = None, *, encoding: str | None = None) -> Any:
    """A :class:`Dataset` of splits, or with ``split`` that table.

    ``data`` is a named dataset (``"stsb"``), a file (JSONL, CSV, TSV, Parquet, text; each also gzipped), a folder
    (BEIR, files named train/dev/test, or documents), a hub id (``"user/name"``), or what :func:`as_table` takes. A
    single table becomes the split ``"all"``. ``encoding``: of files that are not UTF-8.
    """
    dataset = _load(data, encoding)
    return dataset[split] if split is not None else dataset


def _load(data: Given, encoding: str | None = None) -> Dataset:
    at = Path(data).expanduser() if isinstance(data, (str, os.PathLike)) else None
    if encoding is not None and (at is None or not at.exists()):
        what = f"{data}, which is no file here" if at is not None else type(data).__name__
        raise WrongUse(f"encoding: expected a file or folder to read in {encoding}, found {what}")
    if isinstance(data, Dataset):
        return data
    if isinstance(data, (str, os.PathLike)):
        from umekomi.data import sets as named

        if encoding is None and isinstance(data, str) and data in named.catalogue():
            return named.load(data)
        path = Path(data).expanduser()
        if path.exists():
            tables_read = read(path, encoding=encoding)
            splits = tables_read if isinstance(tables_read, dict) else {"all": tables_read}
            return Dataset(str(path), splits)
        text = os.fspath(data)
        if path.suffix or text.startswith((".", "/", "~")) or text.count("/") > 1:
            raise WrongUse(f"{text}: no such file or folder")
        if "/" not in text:
            raise unknown_name("dataset, file or folder", text, named.catalogue())
        return _from_hub(text)
    if (
        isinstance(data, dict)
        and data
        and not set(data) >= {"queries", "corpus", "qrels"}
        and all(_is_split(value) for value in data.values())
    ):
        return Dataset("a dictionary of tables", {name: as_table(value) for name, value in data.items()})
    return Dataset("a table", {"all": as_table(data)})


def _is_split(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return False
    return isinstance(value, (pa.Table, RetrievalData)) or hasattr(value, "column_names") or hasattr(value, "columns")


def _from_hub(name: str) -> Dataset:
    from umekomi.errors import MissingExtra

    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", "neural", f"fetching {name} from the hub") from None
    try:
        fetched = datasets.load_dataset(name)
    except Exception as error:
        raise WrongUse(
            f"{name}: no such file, folder or named dataset, and the hub does not give it ({type(error).__name__})"
        ) from None
    standard = {"validation": "dev", "valid": "dev"}
    return Dataset(name, {standard.get(split, split): as_table(table) for split, table in fetched.items()})
