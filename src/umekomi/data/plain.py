"""Arrow's many ways to keep the same values (dictionaries, views, large offsets, extensions), each as its plain
type."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def plain_type(kind: pa.DataType, large: bool = True) -> pa.DataType:
    """The plain type of the same values: text is ``string``, bytes ``binary``, a list ``list``; ``large`` also where
    its offsets have 64 bits."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return pa.string() if kind.extension_name == "arrow.uuid" else plain_type(kind.storage_type, large)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain_type(kind.value_type, large)
    if types.is_string_view(kind) or (large and types.is_large_string(kind)):
        return pa.string()
    if types.is_binary_view(kind) or (large and types.is_large_binary(kind)):
        return pa.binary()
    if types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type, large)) for field in kind])
    if types.is_map(kind):
        return pa.map_(plain_type(kind.key_type, large), plain_type(kind.item_type, large))
    if types.is_fixed_size_list(kind):
        return pa.list_(plain_type(kind.value_type, large), kind.list_size)
    if types.is_large_list(kind) and not large:
        return pa.large_list(plain_type(kind.value_type, large))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_list_view(kind) or types.is_large_list_view(kind):
        return pa.list_(kind.value_field.with_type(plain_type(kind.value_type, large)))
    return kind


def to_plain(table: pa.Table, large: bool = True) -> pa.Table:
    """A table whose columns have their plain types; the same table where they do already."""
    for place, field in enumerate(table.schema):
        kind = plain_type(field.type, large)
        if kind != field.type:
            column = pa.chunked_array([_plain(chunk, kind) for chunk in table.column(place).chunks], kind)
            table = table.set_column(place, field.with_type(kind), column)
    return table


def _plain(array: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if array.type == kind:
        return array
    if isinstance(array.type, pa.BaseExtensionType):
        if array.type.extension_name == "arrow.uuid":
            return pa.array([None if value is None else str(value) for value in array.to_pylist()], kind)
        return _plain(array.storage, kind)
    if pa.types.is_dictionary(array.type):
        return _plain(array.dictionary_decode(), kind)
    if pa.types.is_run_end_encoded(array.type):
        return _plain(pc.run_end_decode(array), kind)
    try:
        return array.cast(kind)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # within lists and the like not every cast is there
        return pa.array(array.to_pylist(), kind)
