"""The user's columns through encode, index and search: none is lost, changed or taken for one of ours in silence."""

from __future__ import annotations

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.models.untrained import HashingEmbedder, RandomEmbedder
from umekomi.verbs.encode import encode
from umekomi.verbs.index import index
from umekomi.verbs.search import search

MODEL = HashingEmbedder(32)


def written(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def jsonl(folder, rows, name="a.jsonl"):
    return written(folder, name, "".join(json.dumps(row) + "\n" for row in rows))


class Never(HashingEmbedder):
    """No text may reach it: what is wrong with the input is said before."""

    def _encode(self, items, **options):
        raise AssertionError("work was begun")


def test_columns_of_ones_own_with_encodes_names_are_refused_before_the_work(tmp_path):
    for name in ("vector", "truncated"):
        source = jsonl(tmp_path, [{"text": "a", name: "mine"}])
        with pytest.raises(WrongUse, match=f"a.jsonl: the column '{name}' has a name that encode writes itself"):
            encode(Never(8), source, tmp_path / "v.parquet")
        encode(MODEL, source, tmp_path / "v.npy")
        found = index(MODEL, source, tmp_path / name)
        assert found.search(["a"], 1)[0][0].payload == {name: "mine"}, "an index has no such names"
        assert search(MODEL, "a", source)[0].payload == {name: "mine"}
    assert not list(tmp_path.glob("*.shards"))


def test_what_encode_wrote_is_encoded_anew(tmp_path, capsys):
    encode(MODEL, jsonl(tmp_path, [{"text": "a", "n": 1}]), tmp_path / "a.parquet")
    encode(RandomEmbedder(8), tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert "in place of those that hashing gave" in capsys.readouterr().err
    table = pq.read_table(tmp_path / "b.parquet")
    assert table.column_names == ["text", "n", "vector", "truncated"]
    assert len(table["vector"][0].as_py()) == 8


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a", "x": 1}] * 9 + [{"text": "a", "x": "b"}], "line 10, column 'x': expected int64"),
        ([{"text": "a"}] * 9 + [{"text": " "}], "line 10, column 'text': expected text, found empty text"),
        ([{"text": "a", "x": [1, "b"]}], "line 1, column 'x': expected int64"),
        ([{"text": "a", "x": 10**22}], "line 1, column 'x': expected a whole number of at most 64 bits"),
        ([{"body": "a"}], "expected the column 'text', found body: name one with column"),
    ],
)
def test_a_fault_of_the_last_row_is_said_before_the_first_is_encoded(tmp_path, rows, message):
    source = jsonl(tmp_path, rows)
    for call in (
        lambda: encode(Never(8), source, tmp_path / "v.parquet", shard_rows=2),
        lambda: index(Never(8), source, tmp_path / "i"),
        lambda: search(Never(8), "a", source),
    ):
        with pytest.raises(DataError, match=message):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_late_fractions_and_keys_reach_the_vectors_file(tmp_path):
    rows = [{"text": f"t{i}", "price": i, "metadata": {}} for i in range(20)]
    rows[15] |= {"price": 15.5, "metadata": {"late": "key"}}
    encode(MODEL, jsonl(tmp_path, rows), tmp_path / "v.parquet", shard_rows=4)
    found = pq.read_table(tmp_path / "v.parquet").to_pylist()
    assert (found[15]["price"], found[15]["metadata"]) == (15.5, {"late": "key"})
    assert [row["price"] for row in found[:3]] == [0, 1, 2]
    encode(MODEL, jsonl(tmp_path, [{"text": "a", "metadata": {}, "l": [{}]}], "b.jsonl"), tmp_path / "w.parquet")
    assert pq.read_table(tmp_path / "w.parquet")["metadata"].to_pylist() == [None]


def test_csv_fields_come_back_as_they_stand(tmp_path):
    source = written(
        tmp_path,
        "a.csv",
        "text,postcode,word,serial,year,share\nred,02139,0x1F,12345678901234567890,2020,0.5\n"
        "green,10001,ab,12345678901234567891,2021,0.25\n",
    )
    found = index(MODEL, source, tmp_path / "i")
    hit = found.search(["red"], 1)[0][0].payload
    assert hit == {
        "postcode": "02139",
        "word": "0x1F",
        "serial": "12345678901234567890",
        "year": 2020,
        "share": 0.5,
    }
    assert [each.text for each in found.search(["red"], 2, filter="year > 2020")[0]] == ["green"]
    forced = index(MODEL, source, tmp_path / "j", numbers=["postcode"])
    assert forced.search(["red"], 1)[0][0].payload["postcode"] == 2139
    with pytest.raises(DataError, match="line 2, column 'word': expected a number, found '0x1F'"):
        index(Never(8), source, tmp_path / "k", numbers=["word"])


def test_ids_are_text_or_whole_numbers_and_never_missing(tmp_path):
    def parquet(ids):
        pq.write_table(pa.table({"id": ids, "text": ["red", "green"]}), tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    for number, (ids, wanted) in enumerate(
        [([1.0, 2.0], {"1", "2"}), ([7, 8], {"7", "8"}), (["01", "1"], {"01", "1"}), ([b"x", b"y"], {"x", "y"})]
    ):
        found = index(MODEL, parquet(ids), tmp_path / str(number))
        assert {hit.id for hit in found.search(["red"], 2)[0]} == wanted
        assert search(MODEL, "red", tmp_path / "a.parquet", k=1)[0].id in wanted
    for ids, message in (
        (pa.array(["1", None]), "row 2, column 'id': expected an id .*found nothing"),
        (pa.array([1.0, None]), "row 2, column 'id': expected an id .*found nothing"),
        ([1.5, 2.0], "row 1, column 'id': expected an id .*found 1.5"),
        ([True, False], "row 1, column 'id': expected an id .*found True"),
    ):
        for call in (
            lambda ids=ids: index(Never(8), parquet(ids), tmp_path / "none"),
            lambda ids=ids: search(Never(8), "red", parquet(ids)),
        ):
            with pytest.raises(DataError, match=message):
                call()
    assert not (tmp_path / "none").exists()
    source = jsonl(tmp_path, [{"text": "a", "sku": "x"}, {"text": "b", "sku": "x"}])
    with pytest.raises(DataError, match="line 2, column 'sku': expected distinct ids, found 'x' twice"):
        index(Never(8), source, tmp_path / "none", id_column="sku")


def test_a_row_without_text_is_there_by_its_title(tmp_path, capsys):
    source = jsonl(
        tmp_path, [{"_id": "a", "title": "green pears", "text": ""}, {"_id": "b", "title": "", "text": "red"}]
    )
    found = index(MODEL, source, tmp_path / "i")
    assert found.search(["green pears"], 1)[0][0].text == "green pears"
    assert "1 rows have no text and are read by their title" in capsys.readouterr().err
    assert search(MODEL, "green pears", source, k=1)[0].text == "green pears"
    encode(MODEL, source, tmp_path / "v.parquet")
    table = pq.read_table(tmp_path / "v.parquet")
    assert table["text"].to_pylist() == ["", "red"], "the user's column stays"
    assert table["vector"][0].as_py() == MODEL.encode(["green pears"])[0].tolist()
    with pytest.raises(DataError, match="line 1, column 'text': expected text, found empty text"):
        encode(Never(8), jsonl(tmp_path, [{"title": "", "text": ""}]), tmp_path / "w.npy")


def test_encodings_through_the_verbs(tmp_path):
    source = written(tmp_path, "a.csv", "id,text\n1,埋め込み\n2,検索\n".encode("cp932"))
    with pytest.raises(DataError, match="line 2: expected UTF-8, found byte .*--encoding"):
        encode(Never(8), source, tmp_path / "v.parquet")
    encode(MODEL, source, tmp_path / "v.parquet", encoding="cp932", shard_rows=1)
    assert pq.read_table(tmp_path / "v.parquet")["text"].to_pylist() == ["埋め込み", "検索"]
    assert index(MODEL, source, tmp_path / "i", encoding="cp932").search(["検索"], 1)[0][0].text == "検索"
    assert search(MODEL, "検索", source, encoding="cp932", k=1)[0].id == "2"


def test_names_that_an_index_uses_itself(tmp_path):
    with pytest.raises(WrongUse, match="the column '__row__' has a name that an index uses itself"):
        index(Never(8), jsonl(tmp_path, [{"text": "a", "__row__": 1}]), tmp_path / "i")


def test_no_pipe_is_waited_for_and_no_folder_written_over(tmp_path):
    os.mkfifo(tmp_path / "a.parquet")
    for call in (
        lambda: encode(Never(8), tmp_path / "a.parquet", tmp_path / "v.npy"),
        lambda: index(Never(8), tmp_path / "a.parquet", tmp_path / "i"),
        lambda: search(Never(8), "a", tmp_path / "a.parquet"),
    ):
        with pytest.raises(WrongUse, match="expected a file or a folder, found a named pipe"):
            call()
    (tmp_path / "v.npy").mkdir()
    with pytest.raises(WrongUse, match="v.npy: expected a file to write to, found a folder"):
        encode(Never(8), jsonl(tmp_path, [{"text": "a"}]), tmp_path / "v.npy")


def test_a_damaged_file_of_vectors_is_one_line(tmp_path):
    encode(MODEL, jsonl(tmp_path, [{"text": f"t{i}"} for i in range(50)]), tmp_path / "v.parquet")
    whole = (tmp_path / "v.parquet").read_bytes()
    table = pq.read_table(tmp_path / "v.parquet")
    for number, vectors in enumerate([pa.array(["x"] * 50), pa.array([[1.0]] * 49 + [[1.0, 2.0]])]):
        other = table.set_column(1, "vector", vectors)
        pq.write_table(other, tmp_path / "w.parquet")
        with pytest.raises(UmekomiError, match="w.parquet, column 'vector': expected what encode wrote, found"):
            index(MODEL, tmp_path / "w.parquet", tmp_path / f"i{number}")
    for data in (whole[:-20], whole[:100], b"PAR1"):
        for call in (index, lambda model, source, out: search(model, "a", source)):
            with pytest.raises(DataError, match=r"x.parquet.*: expected a Parquet file, found"):
                call(MODEL, written(tmp_path, "x.parquet", data), tmp_path / "none")
