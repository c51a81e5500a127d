"""Rows of a table whose column ``target`` is to be predicted from all the others: a class or a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umekomi.data.tables import check
from umekomi.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def is_number(kind: Any) -> bool:
    """Is an Arrow type one of numbers?"""
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def features_of(table: pa.Table, who: str) -> list[str]:
    """The columns that ``target`` is predicted from."""
    names = [name for name in table.column_names if name != "target"]
    if not names:
        raise DataError(f"{who}: expected columns to predict 'target' from, found none beside it")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{who}: expected distinct columns, found {twice!r} twice")
    return names


def targets(table: pa.Table, who: str) -> tuple[tuple[str, ...], Any]:
    """(classes, values) of the column ``target``: texts, truth values and two distinct numbers are classes, the values
    then their numbers, int64 ``[n]``; other numbers are what they are, float64 ``[n]``, and there are no classes.
    Classes are sorted; of two the second is what a probability speaks of."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    column = check(table, ("target",), who)["target"]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    worded = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (worded or pa.types.is_boolean(kind) or is_number(kind)):
        raise DataError(f"{who}: column 'target': expected numbers, texts or truth values, found {kind}")
    if is_number(kind):
        numbers = pc.cast(column, pa.float64(), safe=False).to_numpy()
        strange = np.flatnonzero(~np.isfinite(numbers))
        if len(strange):
            place = int(strange[0])
            raise DataError(
                f"{who}: row {place + 1}, column 'target': expected a finite number, found {numbers[place]}"
            )
        distinct = np.unique(numbers)
        if len(distinct) > 2:
            return (), numbers
        names, codes = tuple(f"{value:g}" for value in distinct), np.searchsorted(distinct, numbers)
    else:
        values = [str(value).lower() if isinstance(value, bool) else str(value) for value in column.to_pylist()]
        names = tuple(sorted(set(values)))
        place_of = {name: place for place, name in enumerate(names)}
        codes = np.array([place_of[value] for value in values])
    if len(names) < 2:
        raise DataError(f"{who}: column 'target': expected values that differ, found only {names[0]!r}")
    return names, codes.astype(np.int64)
