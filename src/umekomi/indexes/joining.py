"""The payload: what lies beside the vectors, as Arrow columns. A column may be missing from some segments, and its type
may widen (whole numbers beside fractions), but it never changes so that a value would be another one: then all segments
can be joined at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umekomi.errors import DataError, WrongUse

if TYPE_CHECKING:
    import pyarrow as pa

ID = "__id__"
ROW = "__row__"


def given(payload: pa.Table | Mapping[str, Any] | None, rows: int) -> pa.Table:
    """A caller's payload of so many rows, in types that can be joined, filtered and taken by row."""
    import pyarrow as pa

    try:
        table = payload if isinstance(payload, pa.Table) else pa.table(dict(payload or {}))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"add: the payload is no table of columns: {_line(error)}") from None
    if table.num_columns and table.num_rows != rows:
        raise WrongUse(f"add: expected a payload of {rows:,} rows, found {table.num_rows:,}")
    names = table.column_names
    if {ID, ROW} & set(names):
        raise WrongUse(f"add: {ID} and {ROW} are the index's own names: rename that column of the payload")
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise WrongUse(f"add: expected every column of the payload once, found {twice!r} twice")
    return plain(table, "add: the payload")


def plain(table: Any, where: str) -> pa.Table:
    """The table with every column in a type that can be joined."""
    import pyarrow as pa

    return pa.table({name: _storable(table[name], name, where) for name in table.column_names})


def _storable(column: Any, name: str, where: str) -> Any:
    """The column in a type that Arrow can take rows of and join: views as plain text, runs and dictionaries as the
    values they stand for."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        column.validate(full=True)
        if pa.types.is_run_end_encoded(column.type):
            column = pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], column.type.value_type)
        kind = _plain(column.type)
        column = column if kind == column.type else column.cast(kind)
        column.slice(0, 1).take(pa.array([0] if len(column) else [], pa.int64()))
    except pa.ArrowException as error:
        raise DataError(f"{where}: column {name!r} of type {column.type} cannot be kept: {_line(error)}") from None
    return column


def _plain(kind: Any) -> Any:
    """The type that holds the same values and that every Arrow function knows."""
    import pyarrow as pa

    types = pa.types
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    if types.is_large_list(kind) or types.is_large_list_view(kind):
        return pa.large_list(kind.value_field.with_type(_plain(kind.value_type)))
    if types.is_list(kind) or types.is_list_view(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)), kind.list_size)
    if types.is_struct(kind):
        return pa.struct([each.with_type(_plain(each.type)) for each in kind])
    if types.is_map(kind):
        return pa.map_(_plain(kind.key_type), kind.item_field.with_type(_plain(kind.item_type)))
    return kind


def joint(tables: Sequence[tuple[Any, Callable[[str], Any]]], where: str) -> pa.Schema:
    """The schema that holds every table's columns without changing a value, or the error that names the column. A table
    comes as its schema and what gives a column."""
    import pyarrow as pa

    types: dict[str, Any] = {}
    for schema, _ in tables:
        for each in schema:
            known = types.get(each.name)
            types[each.name] = (
                _plain(each.type) if known is None else _wider(known, _plain(each.type), each.name, where)
            )
    for schema, column in tables:
        for each in schema:
            if _plain(each.type) != types[each.name]:
                _cast(_storable(column(each.name), each.name, where), types[each.name], each.name, where)
    return pa.schema(list(types.items()))


def _wider(first: Any, second: Any, name: str, where: str) -> Any:
    import pyarrow as pa

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


def _keeps(narrow: Any, wide: Any) -> bool:
    """Does a value stay what it is in the wider type? Text does not as bytes, nor a decimal as a binary fraction."""
    from pyarrow import types

    def text(kind: Any) -> bool:
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


def _cast(column: Any, kind: Any, name: str, where: str) -> Any:
    import pyarrow as pa

    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        raise DataError(f"{where}: column {name!r} has values that are no {kind}: {_line(error)}") from None


def joined(tables: Iterable[Any], where: str) -> pa.Table:
    """The rows of several tables in one, null where one lacks a column."""
    import pyarrow as pa

    tables = [plain(table, where) for table in tables]
    schema = joint([(table.schema, table.column) for table in tables], where)
    return pa.concat_tables([_fitted(table, schema, where) for table in tables])


def _fitted(table: Any, schema: pa.Schema, where: str) -> pa.Table:
    """The table with these columns, in this order; null where it has none."""
    import pyarrow as pa

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
