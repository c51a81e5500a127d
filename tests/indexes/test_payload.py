"""Payload columns: every Arrow type comes back in Python and in JSON, or is refused in one line."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from umekomi.errors import DataError
from umekomi.indexes import Index
from umekomi.indexes.payload import NESTED, as_json, as_table, duration, row_of


def written(value):
    """What comes back of it: through the server's serialiser where that is installed, else the standard library's."""
    try:
        import orjson
    except ImportError:
        return json.loads(json.dumps(value, allow_nan=False))
    return json.loads(orjson.dumps(value))


NOON = datetime.datetime(2024, 1, 15, 12)


def stored(number: int, kind: pa.DataType) -> pa.Array:
    """What Arrow keeps for a time of this type."""
    bits = pa.int32() if kind in (pa.date32(), pa.time32("s"), pa.time32("ms")) else pa.int64()
    return pa.array([number], bits).cast(kind)


def nested(levels: int) -> pa.DataType:
    kind = pa.int64()
    for _ in range(levels):
        kind = pa.list_(kind)
    return kind


def runs(values: pa.Array) -> pa.Array:
    return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, len(values) + 1), pa.int32()), values)


KINDS = {
    "null": (pa.nulls(1), None, None),
    "bool": (pa.array([True]), True, True),
    "uint64": (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1, 2**64 - 1),
    "float16": (pa.array([np.float16(1.5)]), 1.5, 1.5),
    "infinite": (pa.array([float("-inf")]), float("-inf"), None),
    "decimal": (pa.array([Decimal("1.50")]), Decimal("1.50"), "1.50"),
    "decimal32": (pa.array([Decimal("1.50")], pa.decimal32(5, 2)), Decimal("1.50"), "1.50"),
    "decimal256": (pa.array([Decimal(10) ** 50], pa.decimal256(60, 0)), Decimal(10**50), "1" + "0" * 50),
    "hundreds": (pa.array([Decimal("1E+2")], pa.decimal128(5, -2)), Decimal(100), "100"),
    "text": (pa.array(["é\0"]), "é\0", "é\0"),
    "large text": (pa.array(["a"], pa.large_string()), "a", "a"),
    "text view": (pa.array(["a" * 20], pa.string_view()), "a" * 20, "a" * 20),
    "bytes": (pa.array([b"\xff\0"]), b"\xff\0", "/wA="),
    "large bytes": (pa.array([b"ab"], pa.large_binary()), b"ab", "YWI="),
    "bytes view": (pa.array([b"ab"], pa.binary_view()), b"ab", "YWI="),
    "fixed bytes": (pa.array([b"ab"], pa.binary(2)), b"ab", "YWI="),
    "date32": (pa.array([NOON.date()]), NOON.date(), "2024-01-15"),
    "date64": (pa.array([NOON.date()], pa.date64()), NOON.date(), "2024-01-15"),
    "far date": (stored(1 << 30, pa.date32()), "2941775-04-07", "2941775-04-07"),
    "early date": (stored(-(1 << 30), pa.date32()), "-2937836-09-26", "-2937836-09-26"),
    "far date64": (stored(86_400_000 * 10**9, pa.date64()), "2739877-01-03", "2739877-01-03"),
    "time": (pa.array([NOON.time()], pa.time32("s")), NOON.time(), "12:00:00"),
    "time in ns": (stored(1, pa.time64("ns")), "00:00:00.000000001", "00:00:00.000000001"),
    "timestamp": (pa.array([NOON], pa.timestamp("s")), NOON, "2024-01-15T12:00:00"),
    "far timestamp": (stored(1 << 62, pa.timestamp("s")), "146138514283-06-19T07:45:04", "146138514283-06-19T07:45:04"),
    "far with a zone": (stored(1 << 62, pa.timestamp("ms", "Asia/Tokyo")), "146140482-04-24T15:36:27.904000000Z",
                        "146140482-04-24T15:36:27.904000000Z"),
    "last in UTC": (stored(253_402_300_799, pa.timestamp("s", "Asia/Tokyo")), "9999-12-31T23:59:59Z",
                    "9999-12-31T23:59:59Z"),
    "timestamp in ns": (stored(1, pa.timestamp("ns")), "1970-01-01T00:00:00.000000001", "1970-01-01T00:00:00.000000001"),
    "ns with a zone": (stored(1, pa.timestamp("ns", "+09:00")), "1970-01-01T09:00:00.000000001+09:00",
                       "1970-01-01T09:00:00.000000001+09:00"),
    "duration": (pa.array([datetime.timedelta(1, 7200)]), datetime.timedelta(1, 7200), "P1DT2H"),
    "far duration": (stored(-(1 << 62), pa.duration("s")), "-P53375995583650DT7H45M4S", "-P53375995583650DT7H45M4S"),
    "duration in ns": (stored(1, pa.duration("ns")), "PT0.000000001S", "PT0.000000001S"),
    "list of bytes": (pa.array([[b"a", None]]), [b"a", None], ["YQ==", None]),
    "list of decimals": (pa.array([[Decimal("1.50")]]), [Decimal("1.50")], ["1.50"]),
    "list of NaN": (pa.array([[1.0, float("inf")]]), [1.0, float("inf")], [1.0, None]),
    "list of float16": (pa.array([[np.float16(1.5)]], pa.list_(pa.float16())), [1.5], [1.5]),
    "list of views": (pa.array([["a"]], pa.list_(pa.string_view())), ["a"], ["a"]),
    "list of far dates": (pa.array([[1 << 30]], pa.list_(pa.int32())).cast(pa.list_(pa.date32())), ["2941775-04-07"],
                          ["2941775-04-07"]),
    "large list": (pa.array([[1]], pa.large_list(pa.int8())), [1], [1]),
    "fixed list": (pa.array([[b"a", b"b"]], pa.list_(pa.binary(), 2)), [b"a", b"b"], ["YQ==", "Yg=="]),
    "list view": (pa.array([[1, 2]], pa.list_view(pa.int64())), [1, 2], [1, 2]),
    "struct": (pa.array([{"a": Decimal("1.5"), "b": [NOON]}]), {"a": Decimal("1.5"), "b": [NOON]},
               {"a": "1.5", "b": ["2024-01-15T12:00:00"]}),
    "empty struct": (pa.array([{}], pa.struct([])), {}, {}),
    "map": (pa.array([[("k", b"a"), ("k", None)]], pa.map_(pa.string(), pa.binary())), [("k", b"a"), ("k", None)],
            [["k", "YQ=="], ["k", None]]),
    "dictionary": (pa.array(["a"]).dictionary_encode(), "a", "a"),
    "dictionary of decimals": (pa.array([Decimal("1.5")]).dictionary_encode(), Decimal("1.5"), "1.5"),
    "list of dictionary": (pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))), ["a"], ["a"]),
    "run-end": (runs(pa.array([Decimal("1.5")])), Decimal("1.5"), "1.5"),
    "uuid": (pa.array([b"0" * 16], pa.uuid()), "30303030-3030-3030-3030-303030303030", "30303030-3030-3030-3030-303030303030"),
    "bool8": (pa.array([1], pa.bool8()), True, True),
    "json": (pa.array(['{"a": 1}'], pa.json_()), '{"a": 1}', '{"a": 1}'),
    "deep": (pa.nulls(1, nested(NESTED)), None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_every_type_comes_back_in_python_and_in_json(name):
    array, python, as_said = KINDS[name]
    table = as_table(pa.table({"x": array}), "add")
    found = row_of(table, 0)["x"]
    assert found == python and type(found) is type(python)
    said = as_json({"x": found})
    assert said == {"x": as_said}
    assert written(said) == json.loads(json.dumps(said, allow_nan=False)) == {"x": as_said}
    # an index of an earlier version has it as it was
    assert as_json(row_of(pa.table({"x": array}), 0)["x"]) == as_said


def test_nan_and_zones_come_back():
    found = row_of(as_table({"x": pa.array([float("nan")])}, "add"), 0)
    assert found["x"] != found["x"] and as_json(found) == {"x": None}
    at = row_of(as_table({"at": stored(0, pa.timestamp("us", "Asia/Tokyo"))}, "add"), 0)["at"]
    assert at.isoformat() == as_json(at) == "1970-01-01T09:00:00+09:00"


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (
            pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1]), pa.array(["a"])]),
            "expected one type for all values, found sparse_union",
        ),
        (pa.array([pa.MonthDayNano([1, 2, 3])]), "expected a duration, found month_day_nano_interval"),
        (
            stored(0, pa.timestamp("us", "Mars/X")),
            "expected a time zone that is known here, found timestamp[us, tz=Mars/X]",
        ),
        (pa.array([b"\xff"]).view(pa.string()), "Invalid UTF8 sequence"),
        (
            pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]),
            "expected every name in a struct once",
        ),
        (stored(2**50, pa.time64("us")), "not within the acceptable range"),
        (pa.array([["a"]], pa.list_view(pa.string_view())), "expected a list in place of a list view"),
        (pa.nulls(1, nested(NESTED + 1)), "expected at most 50 levels of lists and structs"),
        (pa.array([Decimal("1E+75")], pa.decimal256(70, -70)), "expected decimals of at most 76 digits"),
        ([1, "b"], "expected values of one type"),
        ([10**30], "expected values of one type"),
        (["\ud800"], "expected values of one type"),
        (3, "expected values of one type"),
        (object(), "expected values of one type"),
    ],
)
def test_what_is_no_payload_is_refused_with_its_column(tmp_path, column, said):
    with pytest.raises(DataError) as error:
        as_table({"fine": [1], "pub year": column}, "t.parquet")
    line = str(error.value)
    assert line.startswith("t.parquet: payload column 'pub year': expected") and said in line
    assert "\n" not in line and len(line) < 400
    index = Index.create(tmp_path / "i", metric="cosine")
    with pytest.raises(DataError, match="payload column 'pub year'"):
        index.add(["a", "b"], np.eye(2, dtype="f4"), {"pub year": column})
    assert len(index) == 0


def test_columns_of_one_length_each_once():
    with pytest.raises(DataError, match="expected payload columns of one length, found 'a' of 1, 'b' of 2"):
        as_table({"a": [1], "b": [1, 2]}, "add")
    with pytest.raises(DataError, match="expected every payload column once, found 'a' twice"):
        as_table(pa.table([[1], [2]], ["a", "a"]), "add")
    with pytest.raises(DataError, match="payload column"):
        as_table({"\ud800": [1]}, "add")
    assert as_table(None, "add").num_columns == 0


def test_durations_in_iso_8601():
    for seconds, said in (
        (0, "PT0S"),
        (1, "PT1S"),
        (60, "PT1M"),
        (-90, "-PT1M30S"),
        (86_400, "P1D"),
        (90_061.5, "P1DT1H1M1.5S"),
    ):
        assert duration(round(seconds * 10**9)) == as_json(datetime.timedelta(seconds=seconds)) == said


def test_an_index_of_an_earlier_version_takes_rows_and_compacts(tmp_path, monkeypatch):
    words = pa.array(["a", "b"])
    old = {
        "word": words.dictionary_encode(),
        "view": words.cast(pa.string_view()),
        "span": pa.array([pa.MonthDayNano([1, 2, 3])] * 2),
    }
    index = Index.create(tmp_path / "i", metric="cosine")
    with monkeypatch.context() as earlier:
        earlier.setattr("umekomi.indexes.index.as_table", lambda payload, where: payload)
        index.add(["a", "b"], np.eye(2, 3, dtype="f4"), pa.table(old))
    index = Index(tmp_path / "i")
    index.add(["c"], np.ones((1, 3), "f4"), {"word": ["a"], "view": ["a"]})
    index.delete(["b"])
    for _ in range(2):
        hits = index.search(np.ones((1, 3), "f4"), 2, filter="word == 'a' and view in ('a', 'c')")[0]
        assert [(hit.id, hit.payload["view"]) for hit in hits] == [("c", "a"), ("a", "a")]
        written([as_json(hit.payload) for hit in hits])
        index.compact()


def test_an_index_keeps_filters_and_compacts_every_type(tmp_path):
    """Views, dictionaries of several chunks and the rest go through a write, a compaction and a filter."""
    columns = {name: array for name, (array, _, _) in KINDS.items() if len(array) == 1}
    two = {name: pa.chunked_array([array, array]) for name, array in columns.items()}
    two["dictionary"] = pa.chunked_array([pa.array(["a"]).dictionary_encode(), pa.array(["b"]).dictionary_encode()])
    index = Index.create(tmp_path / "i", metric="cosine")
    index.add(["a", "b"], np.eye(2, 3, dtype="f4"), pa.table(two))
    index.add(["c"], np.ones((1, 3), "f4"), pa.table(columns))
    index.delete(["b"])
    index.compact()
    hits = Index(tmp_path / "i").search(
        np.eye(1, 3, dtype="f4"), 2, filter="`text view` == 'aaaaaaaaaaaaaaaaaaaa' and dictionary == 'a'"
    )[0]
    assert [hit.id for hit in hits] == ["a", "c"]
    for hit in hits:
        assert as_json(hit.payload) == {name: said for name, (_, _, said) in KINDS.items()}
        written(as_json(hit.payload))
