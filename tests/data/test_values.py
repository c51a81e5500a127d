"""What stands in a file comes back, or one line says why not: values, types, columns, encodings, places."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz import files
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from umekomi.data import check, load, read
from umekomi.data import lines as reading_lines
from umekomi.data.pydocs import remove_sentence
from umekomi.data.readers import Source, parsing, tables
from umekomi.data.readers.kinds import EXACT
from umekomi.errors import DataError, UmekomiError, WrongUse

EVERY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def written(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def jsonl(folder, rows, name="a.jsonl"):
    return written(folder, name, "".join(json.dumps(row) + "\n" for row in rows))


# --- generated tables -----------------------------------------------------------------------------------------------

SIGNS = st.characters(exclude_categories=["Cs"])
NAMES = st.text(SIGNS, min_size=1, max_size=6).filter(lambda name: name.strip() == name and "\0" not in name)
PLAIN = st.one_of(
    st.text(SIGNS, max_size=8), st.integers(-(1 << 62), 1 << 62), st.booleans(), st.floats(allow_nan=False)
)


def homes(values):
    """Columns each of whose values is of one kind, missing ones among them."""
    return st.lists(st.one_of(st.none(), values), min_size=3, max_size=3)


COLUMN = st.one_of(
    homes(st.text(SIGNS, max_size=8)),
    homes(st.integers(-(1 << 63), (1 << 63) - 1)),
    homes(st.floats(allow_nan=False, allow_infinity=False)),
    homes(st.one_of(st.integers(-EXACT, EXACT), st.floats(allow_nan=False, allow_infinity=False))),
    homes(st.booleans()),
    homes(st.lists(st.text(SIGNS, max_size=3), max_size=3)),
    homes(st.lists(st.lists(st.integers(-9, 9), max_size=2), max_size=2)),
    homes(st.dictionaries(NAMES, st.integers(-9, 9), max_size=2)),
)


def same(found, put):
    """Equal as JSON counts: a missing key is no value, an object without keys neither, 2 is 2.0."""
    if put is None or put == {}:
        return found is None or found == {} or (isinstance(found, dict) and not any(found.values()))
    if isinstance(put, dict):
        return all(same(found.get(key), put.get(key)) for key in {*put, *found})
    if isinstance(put, list):
        return len(found) == len(put) and all(map(same, found, put))
    return found == put and isinstance(found, bool) == isinstance(put, bool)


@EVERY
@given(st.dictionaries(NAMES, COLUMN, min_size=1, max_size=4))
def test_jsonl_comes_back(tmp_path, columns):
    columns = {f"c {name}": values for name, values in columns.items()}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    found = read(jsonl(tmp_path, rows))
    assert found.column_names == list(columns)
    for name, values in columns.items():
        assert all(map(same, found[name].to_pylist(), values)), name
    parts = pa.concat_tables(list(tables(tmp_path / "a.jsonl", 1)))
    assert parts.schema.equals(found.schema), "every part has the types of the whole"
    pq.write_table(found, tmp_path / "b.parquet")
    assert read(tmp_path / "b.parquet").to_pylist() == found.to_pylist()


@EVERY
@given(st.lists(st.one_of(PLAIN, st.none(), st.lists(PLAIN, max_size=3)), min_size=1, max_size=5))
@example([1, 1 << 70])
@example([EXACT + 1, 0.5])
@example([True, 1])
@example([[1], [[2]]])
@example([float("inf")])
def test_mixed_values_come_back_or_are_named(tmp_path, values):
    said = ""
    try:
        found = read(jsonl(tmp_path, [{"x": value} for value in values]))["x"].to_pylist()
    except DataError as error:
        said = str(error)
    if said:
        assert "line" in said and "column 'x'" in said and "\n" not in said
    else:
        assert all(map(same, found, values))


FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@EVERY
@given(st.lists(st.lists(FIELD, min_size=2, max_size=2), min_size=1, max_size=4), st.sampled_from(",;\t"))
def test_csv_comes_back(tmp_path, rows, sign):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=sign)
    writer.writerows([["name", "other"], *rows])
    found = read(written(tmp_path, "a.csv", out.getvalue()))
    assert [list(row.values()) for row in found.to_pylist()] == rows


@EVERY
@given(st.lists(st.lists(FIELD, min_size=2, max_size=2), min_size=1, max_size=4))
def test_tsv_comes_back(tmp_path, rows):
    rows = [["".join(sign for sign in field if sign not in "\t\n\r") for field in row] for row in rows]
    text = "".join("\t".join(row) + "\n" for row in [["name", "other"], *rows])
    assert [list(row.values()) for row in read(written(tmp_path, "a.tsv", text)).to_pylist()] == rows


NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    st.from_regex(r"[+-]?0?[0-9]{1,20}(\.[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(["", "0x1F", "1_000", "nan", "inf", "-0", "-0.0", "1e5", "5e-07", "٣", "１", " 1", "1 ", "TRUE"]),
)


@EVERY
@given(st.lists(NUMBERS, min_size=1, max_size=4))
@example(["1.1", "1.10"])
@example(["5", "5.0"])
@example(["9007199254740993", "0.5"])
@example(["5", "7.5"])
def test_csv_numbers_are_those_that_give_their_fields_back(tmp_path, fields):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["t", "x"], *(["a", field] for field in fields)])
    found = next(Source(path, typed=True).tables())["x"]
    if pa.types.is_string(found.type):
        assert found.to_pylist() == fields
        return
    for value, field in zip(found.to_pylist(), fields, strict=True):
        assert ("" if value is None else repr(value)) == field or (
            isinstance(value, float) and str(int(value)) == field
        )
    assert len(set(found.to_pylist())) == len(set(fields)), "no two fields become one number"


def test_damaged_files_are_tables_or_one_line():
    counts, failed = files.run(250, 3)
    assert not failed
    assert sum(counts.values()) == 250


# --- types over the whole file --------------------------------------------------------------------------------------


def test_a_late_row_changes_no_value_and_loses_none(tmp_path):
    rows = [{"text": "a", "price": i, "meta": {"k": i}} for i in range(20)]
    rows[15] = {"text": "a", "price": 15.5, "meta": {"k": 1, "new": "late"}, "more": [1]}
    parts = list(tables(jsonl(tmp_path, rows), 5))
    assert [part.schema for part in parts] == [parts[0].schema] * 4
    found = pa.concat_tables(parts).to_pylist()
    assert found[15] == {"text": "a", "price": 15.5, "meta": {"k": 1, "new": "late"}, "more": [1]}
    assert found[3] == {"text": "a", "price": 3.0, "meta": {"k": 3, "new": None}, "more": None}


def test_a_late_fault_is_said_before_the_first_table(tmp_path):
    rows = [{"text": "a", "n": i} for i in range(20)] + [{"text": " ", "n": 1}]
    with pytest.raises(DataError, match="line 21, column 'text': expected text, found empty text"):
        next(tables(jsonl(tmp_path, rows), 5))
    rows[-1] = {"text": "b", "id": "x"}
    with pytest.raises(DataError, match="line 1, column 'id': expected a value, found none"):
        next(tables(jsonl(tmp_path, rows), 5))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"x": "\\ud83d"}', "line 2, column 'x': expected text, found half a surrogate pair"),
        ('{"\\udc00": 1}', "line 2, column .*: expected text, found half a surrogate pair"),
        ('{"x": 12345678901234567890123}', "line 2, column 'x': expected a whole number of at most 64 bits"),
        ('{"x": ' + "1" * 5000 + "}", "line 2: expected a whole number of at most 64 bits"),
        ('{"x": 1e400}', "line 2, column 'x': expected a number of at most 64 bits"),
        ('{"x": [1, "a"]}', "line 2, column 'x': expected int64 as in the rows before, found 'a'"),
        ('{"x": {"a": [{"b": 1}, {"b": "c"}]}}', "line 2, column 'x': expected int64 as in the rows before, found 'c'"),
        ('{"x": ' + "[" * 5000 + "]" * 5000 + "}", "line 2: expected values nested at most 32 deep"),
        ('{"x": ' + "[" * 40 + "1" + "]" * 40 + "}", "line 2, column 'x': expected values nested at most 32 deep"),
        ('{"x": 1, "x": 2}', "line 2: expected distinct keys in an object, found 'x' twice"),
        ('{"y": {"a": 1, "a": 2}}', "line 2: expected distinct keys in an object, found 'a' twice"),
        ('{"x": "a\0"}', "line 2: expected text, found a byte of zero"),
        (
            json.dumps({"x": {str(i): i for i in range(2001)}}),
            "line 2, column 'x': expected objects of at most 2,000 different keys",
        ),
    ],
)
def test_odd_values_are_one_line_each(tmp_path, line, message):
    with pytest.raises(DataError, match=message) as caught:
        read(written(tmp_path, "a.jsonl", '{"z": 1}\n' + line + "\n"))
    assert len(str(caught.value)) < 500


def test_odd_values_that_are_kept(tmp_path):
    lines = ['{"t": "\\ud83d\\ude00", "n": NaN, "i": Infinity, "e": {}, "l": [], "z": "\\u0000"}']
    found = read(written(tmp_path, "a.jsonl", "\n".join(lines))).to_pylist()[0]
    assert found["t"] == "😀" and found["n"] != found["n"] and found["i"] == float("inf") and found["z"] == "\0"
    assert (found["e"], found["l"]) == (None, [])


# --- CSV ------------------------------------------------------------------------------------------------------------


def test_csv_line_ends_within_quotes_stay(tmp_path):
    path = written(tmp_path, "a.csv", 'a,b\r\n"one\r\ntwo",x\r\n"three\nfour",y')
    assert [row["a"] for row in read(path).to_pylist()] == ["one\r\ntwo", "three\nfour"]
    with pytest.raises(DataError, match="line 6: expected 2 fields"):
        read(written(tmp_path, "b.csv", 'a,b\n"one\ntwo\nthree",x\n\n"y"\n'))
    with pytest.raises(DataError, match="line 1: expected a CSV record, found a carriage return outside quotes"):
        read(written(tmp_path, "c.csv", "a,b\rone,two\r"))


def test_a_long_field(tmp_path):
    read(written(tmp_path, "a.csv", "text\n" + "word " * 40_000 + "\n"))


@pytest.mark.parametrize("text", ["text;label\na, b;1\n", "sep=;\ntext;label\na, b;1\n", "text\tlabel\na, b\t1\n"])
def test_what_separates_fields_is_what_the_header_has(tmp_path, text):
    assert read(written(tmp_path, "a.csv", text)).to_pylist() == [{"text": "a, b", "label": "1"}]


def test_headers(tmp_path, capsys):
    assert read(written(tmp_path, "a.csv", "\n text , label\na,1\n")).column_names == ["text", "label"]
    for name, text in (("b.csv", "text, text\na,b\n"), ("b.tsv", "text\ttext \na\tb\n")):
        with pytest.raises(DataError, match="expected distinct column names, found 'text' twice"):
            read(written(tmp_path, name, text))
    assert read(written(tmp_path, "c.csv", ",text\n0,a\n")).to_pylist() == [{"index": "0", "text": "a"}]
    assert "the first column has no name (pandas' index?) and is read as 'index'" in capsys.readouterr().err
    assert read(written(tmp_path, "d.csv", ",index\n0,a\n")).column_names == ["level_0", "index"]
    with pytest.raises(DataError, match="line 1: expected a name for column 2"):
        read(written(tmp_path, "e.csv", "text,,\na,b,c\n"))


def test_numbers_that_the_user_names(tmp_path, capsys):
    path = written(tmp_path, "a.csv", "text,price,code\na,9.90,007\nb,,12\n")
    source = Source(path, typed=True, numbers=["price"])
    assert next(source.tables()).to_pylist() == [
        {"text": "a", "price": 9.9, "code": "007"},
        {"text": "b", "price": None, "code": "12"},
    ]
    said = capsys.readouterr().err
    assert "the column 'code' stays text, since 007 (line 2) would not come back" in said and "price" not in said
    with pytest.raises(DataError, match="line 2, column 'other': expected a number, found 'a'"):
        next(Source(written(tmp_path, "b.csv", "text,other\na,a\n"), numbers=["other"]).tables())
    with pytest.raises(
        WrongUse, match="column 'text' of numbers: expected a column of a CSV or TSV file that holds no"
    ):
        next(Source(path, numbers=["text"]).tables())
    with pytest.raises(DataError, match="expected the column 'size' of numbers, found text, price, code"):
        next(Source(path, numbers=["size"]).tables())


# --- Parquet --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array(["a", "b"], pa.large_string()),
        pa.array(["a", "b"], pa.string_view()),
        pa.array([b"a", b"b"]),
        pa.array([b"a", b"b"], pa.large_binary()),
    ],
)
def test_text_is_text_however_arrow_keeps_it(tmp_path, column):
    pq.write_table(pa.table({"text": column, "id": column, "tags": pa.array([["x"], []])}), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert found["text"].to_pylist() == found["id"].to_pylist() == ["a", "b"]
    assert found["text"].type == pa.string()


def test_parquet_that_is_wrong_is_one_line(tmp_path):
    def parquet(table, name="a.parquet"):
        pq.write_table(table, tmp_path / name)
        return tmp_path / name

    for table, message in (
        (pa.table({"text": ["a", " "]}), "row 2, column 'text': expected text, found empty text"),
        (
            pa.table({"id": ["a", None]}),
            r"row 2, column 'id': expected an id \(text or a whole number\), found nothing",
        ),
        (pa.table({"id": [1.0, 2.5]}), "row 2, column 'id': expected an id .*found 2.5"),
        (pa.table({"score": [0.5, None]}), "row 2, column 'score'"),
        (pa.table([pa.array(["a"]), pa.array(["b"])], ["text", "text"]), "distinct column names, found 'text' twice"),
        (pa.table({"text": pa.array([b"\xff"])}), "row 1 or after: expected a Parquet file, found: Invalid UTF8"),
        (pa.table({"text": pa.array([], pa.string())}), "expected at least one row"),
    ):
        with pytest.raises(DataError, match=message):
            next(tables(parquet(table)))
    whole = parquet(pa.table({"text": ["a" * 100] * 99})).read_bytes()
    for data in (whole[:-9], whole[: len(whole) // 2], b"", whole[:4] + b"\xff" * 40 + whole[44:]):
        with pytest.raises(DataError, match="expected a Parquet file, found"):
            read(written(tmp_path, "b.parquet", data))


def test_parquet_in_tables_of_so_many_rows_whatever_its_row_groups(tmp_path):
    pq.write_table(pa.table({"text": [f"t{i}" for i in range(25)]}), tmp_path / "a.parquet", row_group_size=7)
    parts = list(tables(tmp_path / "a.parquet", 10))
    assert [part.num_rows for part in parts] == [10, 10, 5]


# --- places, encodings ----------------------------------------------------------------------------------------------


def test_places_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "a.jsonl")
    (tmp_path / "b.parquet").symlink_to("/dev/zero")
    for name, found in (("a.jsonl", "a named pipe"), ("b.parquet", "a device")):
        for call in (read, load, lambda path: next(tables(path))):
            with pytest.raises(WrongUse, match=f"expected a file or a folder, found {found}"):
                call(tmp_path / name)
    (tmp_path / "c.jsonl").mkdir()
    with pytest.raises(WrongUse, match="found 0 entries"):
        read(tmp_path / "c.jsonl")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.parquet.gz", "a.labeldoc.gz"])
def test_damaged_gzip(tmp_path, name):
    data = gzip.compress("".join(f'{{"a": "{i * i}"}}\n' for i in range(900)).encode())
    for wrong in (data[:-40], b"no gzip", data[:30] + b"\xff" * 40 + data[70:], data + b"more"):
        with pytest.raises(DataError, match=r"expected a (whole )?gzip file, found|UTF-8"):
            read(written(tmp_path, name, wrong))


TEXT = "text,label\n埋め込み,あ\n検索,い\n"


@pytest.mark.parametrize(
    "encoding", ["cp932", "euc-jp", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "iso2022_jp", "UTF-8"]
)
def test_encodings(tmp_path, encoding):
    wanted = [{"text": "埋め込み", "label": "あ"}, {"text": "検索", "label": "い"}]
    path = written(tmp_path, "a.csv", TEXT.encode(encoding))
    assert read(path, encoding=encoding).to_pylist() == wanted
    assert load(path, "all", encoding=encoding).to_pylist() == wanted
    packed = written(tmp_path, "b.csv.gz", gzip.compress(TEXT.encode(encoding)))
    assert read(packed, encoding=encoding).to_pylist() == wanted


@pytest.mark.parametrize("encoding", ["cp932", "euc-jp", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt", "a.labeldoc", "docs/a.txt"])
def test_another_encoding_is_a_line_that_says_how_to_name_it(tmp_path, name, encoding):
    (tmp_path / "docs").mkdir()
    text = '{"text": "埋め込み"}\n' if name.endswith("jsonl") else TEXT
    path = written(tmp_path, name, text.encode(encoding))
    with pytest.raises(DataError, match="--encoding"):
        read(path.parent if "/" in name else path)


def test_an_encoding_that_is_none_or_another(tmp_path):
    path = written(tmp_path, "a.csv", "text\nab\n" + "cd\n" * 9000 + "é\n")
    for name in ("nonsense", "hex", "rot13", "unicode_escape", "undefined", "\0"):
        with pytest.raises(WrongUse, match="encoding: expected a name such as"):
            read(path, encoding=name)
    with pytest.raises(DataError, match="line 9003: expected ascii, found"):
        read(path, encoding="ascii")
    with pytest.raises(DataError, match="line 3: expected utf-16"):
        read(written(tmp_path, "b.csv", "text\nab\n".encode("utf-16") + b"\x00\xdc"), encoding="utf-16")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "c.parquet")
    with pytest.raises(WrongUse, match="leave out the encoding"):
        read(tmp_path / "c.parquet", encoding="cp932")
    with pytest.raises(WrongUse, match="expected a file or folder to read in cp932, found Table"):
        load(pa.table({"text": ["a"]}), encoding="cp932")
    with pytest.raises(WrongUse, match="stsb, which is no file here"):
        load("stsb", encoding="cp932")


def test_marks_line_ends_and_bytes_of_zero(tmp_path):
    for name, text in (
        ("a.csv", "\ufefftext,label\r\na,1\r\n"),
        ("a.tsv", "\ufefftext\tlabel\r\na\t1\r\n"),
        ("a.jsonl", '\ufeff{"text": "a", "label": "1"}\r\n\r\n'),
    ):
        assert read(written(tmp_path, name, text)).to_pylist() == [{"text": "a", "label": "1"}]
    with pytest.raises(DataError, match="line 3: expected text, found a byte of zero"):
        read(written(tmp_path, "b.csv", "text\na\nb\0\n"))


def test_a_file_that_changes_between_two_readings(tmp_path):
    path = jsonl(tmp_path, [{"text": "a", "n": 1}] * 5)
    source = Source(path)
    assert source.rows == 5
    jsonl(tmp_path, [{"text": "a", "n": 1.5}] * 7)
    with pytest.raises(DataError, match="it was changed while it was read"):
        next(source.tables())


# --- retrieval sets -------------------------------------------------------------------------------------------------


def beir(folder, documents, judged, name="test.tsv"):
    (folder / "qrels").mkdir(parents=True)
    jsonl(folder, documents, "corpus.jsonl")
    jsonl(folder, [{"_id": "q1", "text": "cat", "metadata": {}}], "queries.jsonl")
    written(folder / "qrels", name, judged)
    return folder


HEAD = "query-id\tcorpus-id\tscore\n"


def test_a_title_is_a_text_and_what_has_neither_is_left_out_and_counted(tmp_path, capsys):
    documents = [
        {"_id": "d1", "title": "On cats", "text": "", "metadata": {}},
        {"_id": "d2", "title": "", "text": "They purr."},
        {"_id": "d3", "title": "", "text": ""},
    ]
    found = load(beir(tmp_path / "a", documents, HEAD + "q1\td1\t1\nq1\td3\t1\n"), "test")
    assert found.corpus.to_pylist() == [
        {"id": "d1", "text": "On cats", "title": "On cats"},
        {"id": "d2", "text": "They purr.", "title": ""},
    ]
    assert found.judgements() == {"q1": {"d1": 1}}
    said = capsys.readouterr().err
    assert "1 documents have neither title nor text" in said and "1 judgements of such documents" in said


@pytest.mark.parametrize(
    ("name", "judged"),
    [
        ("test.tsv", "q1\t0\td1\t2\n"),
        ("test.tsv", "q1 0 d1 2\n"),
        ("test.txt", "q1  Q0  d1  2\r\n"),
        ("test.tsv", "q1\td1\t2\n"),
        ("test.qrels.gz", gzip.compress(b"q1 0 d1 2\n", mtime=0)),
        ("test.jsonl", '{"query-id": "q1", "corpus-id": "d1", "score": 2}\n'),
    ],
)
def test_judgements_with_and_without_header(tmp_path, name, judged):
    found = load(beir(tmp_path / "b", [{"_id": "d1", "text": "a"}], judged, name), "test")
    assert found.judgements() == {"q1": {"d1": 2}}


def test_judgements_that_are_wrong_name_their_line(tmp_path):
    for number, (judged, message) in enumerate(
        [
            (
                "q1 0 d1 1\nq1 0 d9 1\n",
                "test.tsv, line 2, column 'corpus_id': expected an id of the corpus, found 'd9'",
            ),
            ("q1 0 d1 1\nq1 0 d1\n", "test.tsv, line 2: expected query, document and grade"),
            ("q1 0 d1 1\n\nq1 0 d1 good\n", "test.tsv, line 3: expected query, document and grade"),
            ("\n", "expected at least one row"),
        ]
    ):
        with pytest.raises(UmekomiError, match=message):
            load(beir(tmp_path / str(number), [{"_id": "d1", "text": "a"}], judged))
    folder = beir(tmp_path / "twice", [{"_id": "d1", "text": "a"}], "q1 0 d1 1\n")
    written(folder / "qrels", "test.txt", "q1 0 d1 1\n")
    with pytest.raises(WrongUse, match="expected one file of judgements of test, found test.tsv, test.txt"):
        load(folder)


def test_a_folder_never_leaves_a_file_out_in_silence(tmp_path):
    written(tmp_path, "train.csv", "text\na\n")
    written(tmp_path, "train.jsonl", '{"text": "b"}\n')
    with pytest.raises(WrongUse, match=r"expected one file of the split train, found train.csv, train.jsonl"):
        read(tmp_path)
    (tmp_path / "train.csv").unlink()
    (tmp_path / "train.jsonl").rename(tmp_path / "mine.jsonl")
    written(tmp_path, "README.md", "about it")
    assert read(tmp_path).to_pylist() == [{"text": "b"}]
    written(tmp_path, "notes.txt", "a note")
    with pytest.raises(WrongUse, match=r"expected tables or documents, found both \(mine.jsonl and notes.txt\)"):
        read(tmp_path)


# --- tables in memory -----------------------------------------------------------------------------------------------


def test_rows_in_memory_keep_late_keys(tmp_path):
    assert load([{"text": "a"}, {"text": "b", "late": 1}], "all").to_pylist()[1] == {"text": "b", "late": 1}
    column = pa.array(["a", "b"])
    for kept in (column.dictionary_encode(), column.cast(pa.string_view()), pa.array(["a", "b"], pa.large_string())):
        found = check({"text": kept}, ("text",), "test")
        assert found["text"].to_pylist() == ["a", "b"]
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": pandas.Series(["a", "b"], dtype="category")})
    assert check(frame, ("text",), "test")["text"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize(
    "data",
    [
        [{"x": 1}, {"x": "a"}],
        [{"x": EXACT + 1}, {"x": 0.5}],
        [{"x": 10**30}],
        [{"x": "\ud800"}],
        [{1: 2}],
        {"x": [1], "y": [1, 2]},
        {"x": 3},
        [{"x": True}, {"x": 1}],
    ],
)
def test_rows_in_memory_that_make_no_table_are_one_line(data):
    with pytest.raises(DataError, match="the data: expected columns of one type and length each, found: .") as caught:
        load(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.tsv.gz", "a.txt.gz", "a.parquet.gz", "a.labeldoc.gz"])
def test_what_is_unpacked_has_an_end(tmp_path, monkeypatch, name):
    monkeypatch.setattr(reading_lines, "UNPACKED", 1 << 20)
    (tmp_path / name).write_bytes(gzip.compress(b"x" * 100 + b"\n" * (4 << 20)))
    with pytest.raises(
        DataError, match=rf"{name}: expected at most 1,048,576 bytes in a packed file of [\d,]+ \("
    ) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)


def test_what_is_packed_well_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_lines, "UNPACKED", 1 << 20)
    rows = b"".join(b'{"text": "%d"}\n' % (i * i) for i in range(100_000))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(rows))
    assert len(rows) > 1 << 20 and len(read(tmp_path / "a.jsonl.gz")) == 100_000


@pytest.mark.parametrize("encoding", [None, "cp932"])
@pytest.mark.parametrize(
    ("name", "before", "after", "what"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": "', '"}\n', "a line"),
        ("a.tsv", "text\na\n", "\n", "a line"),
        ("a.txt", "a\n", "\n", "a line"),
        ("a.csv", "text\na\n", "\n", "a line"),
        ("a.csv", 'text\n"', "", "a CSV record"),
    ],
)
def test_lines_end(tmp_path, monkeypatch, encoding, name, before, after, what):
    for module in (reading_lines, parsing):
        monkeypatch.setattr(module, "LINE", 200_000)
    record = what == "a CSV record"
    (tmp_path / name).write_text(before + ("x\n" * 101_000 if record else "x" * 300_000) + after)
    line = before.count("\n") + 1
    found = "expected a (line|CSV record) of at most 200,000 bytes, found a longer one"
    with pytest.raises(DataError, match=f"{name}, line {line}: {found}"):
        read(tmp_path / name, encoding=encoding)
    longest = "x\n" * 90_000 + '"' if record else "x" * 190_000
    (tmp_path / name).write_text(before + longest + after)
    assert read(tmp_path / name, encoding=encoding)["text"].to_pylist()[-1] == longest.removesuffix('"')


def test_payload_of_standard_names_is_the_users(tmp_path):
    rows = [
        {"text": "a", "score": "high", "label": None, "query": 7, "document": {"x": 1}, "positive": ""},
        {"text": "b", "score": None, "label": "x", "query": 8, "document": {"x": 2}, "positive": "y"},
    ]
    path = jsonl(tmp_path, rows)
    assert Source(path, column="text").read().to_pylist() == rows
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert Source(tmp_path / "a.parquet", column="text").read().to_pylist() == rows
    assert Source(written(tmp_path, "a.csv", "text,score\na,\nb,high\n"), column="text").read()[
        "score"
    ].to_pylist() == [
        "",
        "high",
    ]
    with pytest.raises(DataError, match="a.jsonl, line 1, column 'score': expected a number, found 'high'"):
        read(path)


def test_utf_32_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes("text\na\n".encode("utf-32"))
    with pytest.raises(DataError, match="found UTF-32 .by its byte order mark.: read it with --encoding utf-32"):
        read(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", encoding="utf-32").to_pylist() == [{"text": "a"}]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["a.", "A.", "b", "B", "ab", "İ", "é", "É", " ", "  ", "\t", "\n", "\u3000"])).map(
        "".join
    ),
    st.lists(st.sampled_from(["a.", "b", "ab", "é"]), min_size=1, max_size=3).map(" ".join),
)
def test_a_sentence_is_taken_out_as_a_pattern_takes_it_out(text, sentence):
    pattern = r"\s+".join(re.escape(word) for word in sentence.split())
    assert remove_sentence(text, sentence) == re.sub(rf"[ \t]*{pattern}[ \t]*", "", text, flags=re.IGNORECASE).strip()
