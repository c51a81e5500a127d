"""Payloads of several segments as one. A column may be missing from some of them, and its type may widen (whole numbers
beside fractions), but it never changes so that a value would be another one: then segments can be joined at any
time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

from umekomi.errors import DataError

ID = "__id__"
ROW = "__row__"


def common_schema(tables: Sequence[tuple[Any, Callable[[str], Any]]], where: str) -> pa.Schema:
    """The schema that holds every table's columns without changing a value, or the error that names the column. A table
    comes as its schema and what gives a column."""
    types: dict[str, Any] = {}
    for schema, _ in tables:
        for each in schema:
            known = types.get(each.name)
            types[each.name] = each.type if known is None else _wider(known, each.type, each.name, where)
    for schema, column in tables:
        for each in schema:
            if each.type != types[each.name]:
                _cast(column(each.name), types[each.name], each.name, where)
    return pa.schema(list(types.items()))


def _wider(first: pa.DataType, second: pa.DataType, name: str, where: str) -> pa.DataType:
    if first == second:
        return first
    try:
        both = pa.unify_schemas(
            [pa.schema([(name, first)]), pa.schema([(name, second)])], promote_options="permissive"
        ).field(0)
    except pa.ArrowException:
        both = None
    if both is None or not (_keeps(first, both.type) and _keeps(second, both.type)):
        raise DataError(f"{where}: column {name!r} is {first} in some rows and {second} in others: give it one type")
    return both.type


def _keeps(narrow: pa.DataType, wide: pa.DataType) -> bool:
    """Does a value stay what it is in the wider type? Text does not as bytes, nor a decimal as a binary fraction."""
    from pyarrow import types

    def text(kind: pa.DataType) -> bool:
        return types.is_string(kind) or types.is_large_string(kind)

    if text(narrow) != text(wide) and not types.is_null(narrow):
        return False
    if types.is_decimal(narrow) and types.is_floating(wide):
        return False
    if narrow.num_fields and narrow.num_fields == wide.num_fields and not types.is_struct(narrow):
        return all(_keeps(narrow.field(i).type, wide.field(i).type) for i in range(narrow.num_fields))
    if types.is_struct(narrow) and types.is_struct(wide):
        return all(_keeps(each.type, wide.field(each.name).type) for each in narrow)
    return True


def _cast(column: pa.ChunkedArray, kind: pa.DataType, name: str, where: str) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        raise DataError(f"{where}: column {name!r} has values that are no {kind}: {_line(error)}") from None


def concatenate_tables(tables: Iterable[Any], where: str) -> pa.Table:
    """The rows of several tables in one, null where one lacks a column."""
    tables = list(tables)
    schema = common_schema([(table.schema, table.column) for table in tables], where)
    return pa.concat_tables([_fitted(table, schema, where) for table in tables])


def _fitted(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """The table with these columns, in this order; null where it has none."""
    return pa.table(
        {
            each.name: _cast(table[each.name], each.type, each.name, where)
            if each.name in table.column_names
            else pa.nulls(table.num_rows, each.type)
            for each in schema
        },
        schema=schema,
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
