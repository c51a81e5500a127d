"""Tables from what users hold, and the check that their standard columns are filled as they should be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

from umekomi.data.columns import Dataset, RetrievalData, Split, TableLike, first_problem
from umekomi.data.plain import to_plain
from umekomi.data.readers.beir import retrieval
from umekomi.errors import DataError, where


def as_table(data: TableLike) -> Split:
    """A ``pyarrow.Table`` or :class:`RetrievalData` from what users hold: those, a ``datasets.Dataset`` (without
    copying), a pandas or polars frame, a mapping of columns, or a list of row dictionaries. Dictionaries, views and
    extensions become the plain type of the same values."""
    try:
        table = _as_table(data)
        return table if isinstance(table, RetrievalData) else to_plain(table, large=False)
    except (pa.ArrowException, ArithmeticError, LookupError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(f"the data: expected columns of one type and length each, found: {said}") from None


def _as_table(data: TableLike) -> Split:
    if isinstance(data, (pa.Table, RetrievalData)):
        return data
    if isinstance(data, Mapping) and not isinstance(data, Dataset):
        if set(data) >= {"queries", "corpus", "qrels"}:
            return retrieval(*(as_table(data[name]) for name in ("queries", "corpus", "qrels")), source="qrels")
        return pa.table(dict(data))
    if hasattr(data, "data") and isinstance(getattr(data.data, "table", None), pa.Table):
        if getattr(data, "_indices", None) is not None:
            return data.flatten_indices().data.table  # type: ignore[union-attr]
        return data.data.table
    if isinstance(data, (list, tuple)) and data and isinstance(data[0], Mapping):
        names = dict.fromkeys(name for row in data for name in row)
        return pa.table({name: pa.array([row.get(name) for row in data]) for name in names})
    if isinstance(data, (list, tuple)) and all(isinstance(item, str) for item in data):
        return pa.table({"text": pa.array(data, pa.string())})
    if hasattr(data, "__dataframe__") or hasattr(data, "__arrow_c_stream__"):
        return (
            pa.table(data) if hasattr(data, "__arrow_c_stream__") else pa.Table.from_pandas(data, preserve_index=False)
        )
    if hasattr(data, "columns"):
        return pa.Table.from_pandas(data, preserve_index=False)
    raise DataError(f"expected a table, a mapping of columns or a list of rows; found {type(data).__name__}")


def check(data: TableLike, columns: Iterable[str], who: str) -> pa.Table:
    """The table with these columns filled as they should be, or one error that names ``who``, column, row and finding.

    A :class:`RetrievalData` is turned into pairs where pairs are wanted, and into its corpus where texts are.
    """
    columns = tuple(columns)
    table = as_table(data)
    if isinstance(table, RetrievalData):
        if {"queries", "corpus", "qrels"} <= set(columns):
            return table
        table = table.pairs() if "anchor" in columns else table.corpus
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise DataError(f"{who} needs the column {missing[0]!r}; found {', '.join(table.column_names) or 'none'}")
    if table.num_rows == 0:
        raise DataError(f"{who} needs at least one row; found zero rows")
    source = (table.schema.metadata or {}).get(b"source", b"").decode() or None
    for column in columns:
        problem = first_problem(column, table[column])
        if problem is not None:
            row, expected, found = problem
            raise DataError(
                f"{who}: {where(source)}, row {row + 1}, column {column!r}: expected {expected}, found {found}"
            )
    return table
