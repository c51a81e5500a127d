"""Every bad input has its own one line: file, line, column, expected, found."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umekomi.data import RetrievalData, check, load, read
from umekomi.data.readers import tables
from umekomi.errors import DataError, UmekomiError, WrongUse

GOOD = {
    "a.jsonl": '{"anchor": "q", "positive": "p"}\n{"anchor": "r", "positive": "s"}\n',
    "a.csv": 'anchor,positive\nq,p\n"r, with a comma","s\nand a line"\n',
    "a.tsv": 'anchor\tpositive\nq\tp\nr "quoted\ts\n',
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("packed", [False, True])
def test_files_plain_and_gzipped(tmp_path, name, packed):
    path = tmp_path / (name + (".gz" if packed else ""))
    data = GOOD[name].encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    table = read(path)
    assert table.num_rows == 2
    assert table.column_names == ["anchor", "positive"]
    assert table["anchor"][1].as_py().startswith("r")


def test_parquet_plain_and_gzipped(tmp_path):
    table = pa.table({"text": ["a", "b"], "label": [1, 2]})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    assert read(tmp_path / "a.parquet").to_pylist() == read(tmp_path / "b.parquet.gz").to_pylist() == table.to_pylist()


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    (tmp_path / "a.csv").write_bytes("\ufefftext,label\nhello,1\n".encode())
    assert read(tmp_path / "a.csv").column_names == ["text", "label"]


BAD = [
    ("a.jsonl", b'{"text": "\xff"}\n', "line 1: expected UTF-8, found byte 0xff"),
    ("a.tsv", b"text\tlabel\na\t1\nb\n", r"line 3: expected 2 fields \(text, label\), found 1"),
    ("a.csv", b"text,label\na,1,2\n", r"line 2: expected 2 fields \(text, label\), found 3"),
    ("a.jsonl", b'{"text": "a"}\n{"text": "  "}\n', "line 2, column 'text': expected text, found empty text"),
    ("a.csv", b"sentence1,sentence2,score\na,b,nan\n", "line 2, column 'score': expected a finite number, found 'nan'"),
    ("a.csv", b"sentence1,sentence2,score\na,b,good\n", "line 2, column 'score': expected a number, found 'good'"),
    (
        "a.jsonl",
        b'{"id": "1", "text": "a"}\n{"id": "1", "text": "b"}\n',
        "line 2, column 'id': expected distinct ids, found '1' twice",
    ),
    (
        "a.jsonl",
        b'{"text": "a"}\n{"text": "b',
        "line 2: expected a whole JSON object, found that the file ends mid-line",
    ),
    (
        "a.csv",
        b'text,label\na,1\n"b,2\n',
        "line 3: expected a CSV record, found that the file ends mid-line, inside quotes",
    ),
    ("a.tsv", b"text\tlabel\na\t1\nb", r"line 3: expected 2 fields .*found 1; the file ends mid-line"),
    ("a.jsonl", b"", "expected at least one row, found zero rows"),
    ("a.csv", b"text,label\n", "expected at least one row, found zero rows"),
    ("a.jsonl", b'{"text": 3}\n', "line 1, column 'text': expected text, found int 3"),
    ("a.jsonl", b"[1, 2]\n", "line 1: expected a JSON object, found list"),
    ("a.jsonl", b'{"text": "a"}\nnot json\n', "line 2: expected a JSON object, found"),
    ("a.jsonl", b'{"text": "a"}\n{"label": 2}\n', "line 2, column 'text': expected a value, found none"),
    (
        "a.jsonl",
        b'{"text": "a", "n": 1}\n{"text": "b", "n": "x"}\n',
        "line 2, column 'n': expected int64 as in the rows before, found 'x'",
    ),
    ("a.csv", b"text,text\na,b\n", "line 1: expected distinct column names, found 'text' twice"),
    (
        "a.jsonl.gz",
        gzip.compress(b'{"text": "a"}\n' * 9999)[:-40],
        "expected a whole gzip file, found that it ends mid-line",
    ),
    ("a.parquet", b"PAR1 not really", "expected a Parquet file"),
]


@pytest.mark.parametrize(("name", "data", "message"), BAD)
def test_bad_input_is_one_clear_line(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_names(tmp_path):
    with pytest.raises(WrongUse, match="the nearest: stsb"):
        load("stbs")
    with pytest.raises(WrongUse, match="no such file"):
        load(str(tmp_path / "no.csv"))
    (tmp_path / "a.xlsx").write_text("x")
    with pytest.raises(WrongUse, match=r"expected a file ending in .jsonl"):
        read(tmp_path / "a.xlsx")


def beir(folder, qrels="query-id\tcorpus-id\tscore\nq1\td1\t1\n", queries='{"_id": "q1", "text": "cat"}\n'):
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": "On cats", "text": "They purr."}\n{"_id": "d2", "title": "", "text": "Dogs."}\n'
    )
    (folder / "queries.jsonl").write_text(queries)
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def test_beir_folder(tmp_path):
    found = load(beir(tmp_path / "b"), "test")
    assert isinstance(found, RetrievalData)
    assert found.corpus["text"].to_pylist() == ["On cats They purr.", "Dogs."]
    assert found.judgements() == {"q1": {"d1": 1}}
    assert found.pairs().to_pylist() == [{"anchor": "cat", "positive": "On cats They purr."}]


def test_judgements_that_point_nowhere(tmp_path):
    with pytest.raises(
        DataError, match=r"test.tsv, line 3, column 'corpus_id': expected an id of the corpus, found 'd9'"
    ):
        load(beir(tmp_path / "b", "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td9\t1\n"))
    with pytest.raises(DataError, match=r"column 'query_id': expected an id of queries, found 'q7'"):
        load(beir(tmp_path / "c", "query-id\tcorpus-id\tscore\nq7\td1\t1\n"))


def test_folder_of_documents_with_labels(tmp_path):
    for name, text in (("sport/a.txt", "Goal."), ("sport/b.md", "Match."), ("news/c.txt", "選挙")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    table = read(tmp_path)
    assert table.to_pylist()[0] == {"id": "news/c.txt", "text": "選挙", "label": "news"}
    (tmp_path / "sport" / "d.txt").write_bytes("ok\nbad \xe9".encode("latin-1"))
    with pytest.raises(DataError, match=r"d.txt, line 2: expected UTF-8"):
        read(tmp_path)


def test_splits_by_file_name(tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.csv").write_text(f"text,label\n{split},1\n")
    assert sorted(load(tmp_path)) == ["dev", "test", "train"]


def test_batches_are_bounded_and_in_order(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": f"t{i}"}) + "\n" for i in range(25)))
    parts = list(tables(tmp_path / "a.jsonl", 10))
    assert [part.num_rows for part in parts] == [10, 10, 5]
    assert [row for part in parts for row in part["text"].to_pylist()] == [f"t{i}" for i in range(25)]


def test_check_names_recipe_column_row_and_finding():
    with pytest.raises(DataError, match="near2 needs the column 'positive'; found anchor"):
        check({"anchor": ["a"]}, ("anchor", "positive"), "near2")
    with pytest.raises(DataError, match="near2: the data, row 2, column 'positive': expected text, found empty text"):
        check({"anchor": ["a", "b"], "positive": ["x", " "]}, ("anchor", "positive"), "near2")
    with pytest.raises(DataError, match="row 1, column 'score': expected a finite number, found nan"):
        check(
            {"sentence1": ["a"], "sentence2": ["b"], "score": [float("nan")]}, ("sentence1", "sentence2", "score"), "x"
        )
    with pytest.raises(DataError, match="at least one row; found zero rows"):
        check(pa.table({"text": pa.array([], pa.string())}), ("text",), "x")


def test_a_hub_dataset_is_taken_without_copying():
    datasets = pytest.importorskip("datasets")
    table = pa.table({"text": ["a", "b", "c"]})
    found = load(datasets.Dataset(datasets.table.InMemoryTable(table)), "all")
    assert found["text"].chunk(0).buffers()[2].address == table["text"].chunk(0).buffers()[2].address
    assert load(datasets.Dataset.from_dict({"text": ["a", "b", "c"]}).select([2, 0]), "all")["text"].to_pylist() == [
        "c",
        "a",
    ]


def test_pandas_lists_and_mappings():
    pandas = pytest.importorskip("pandas")
    assert load(pandas.DataFrame({"text": ["a"]}), "all").to_pylist() == [{"text": "a"}]
    assert load([{"text": "a"}], "all").to_pylist() == [{"text": "a"}]
    assert load(["a", "b"], "all").num_rows == 2
    assert sorted(load({"train": pa.table({"text": ["a"]}), "test": pa.table({"text": ["b"]})})) == ["test", "train"]
    with pytest.raises(UmekomiError, match="found int"):
        load(3)


# --- parallel texts ---------------------------------------------------------------------------------------------------


def test_parallel_files_are_pairs(tmp_path):
    import gzip

    folder = tmp_path / "corpus.en-de"
    folder.mkdir()
    (folder / "train.en").write_text("a cat\nthe dog\n", encoding="utf-8")
    (folder / "train.de").write_text("eine Katze\r\nder Hund\r\n", encoding="utf-8")
    (folder / "valid.en").write_text("a hen", encoding="utf-8")
    (folder / "valid.de.gz").write_bytes(gzip.compress(b"ein Huhn\n"))
    (folder / "README.md").write_text("where it is from")
    data = load(folder)
    assert data["train"].to_pydict() == {"anchor": ["a cat", "the dog"], "positive": ["eine Katze", "der Hund"]}
    assert data["dev"].to_pydict() == {"anchor": ["a hen"], "positive": ["ein Huhn"]}
    turned = folder.rename(tmp_path / "de-en")
    assert load(turned)["train"]["anchor"].to_pylist() == ["eine Katze", "der Hund"]


def test_parallel_files_that_do_not_go_together_are_one_line(tmp_path):
    folder = tmp_path / "en-de"
    folder.mkdir()
    english, german = folder / "train.en", folder / "train.de"
    english.write_text("a cat\nthe dog\nthe hen\n")
    for text, says in (
        (
            "eine Katze\nder Hund\n",
            "train.de, line 3: expected a line beside line 3 of train.en, found the end of the file",
        ),
        (
            "eine\nder\ndas\nmehr\n",
            "train.en, line 4: expected a line beside line 4 of train.de, found the end of the file",
        ),
        ("eine Katze\n\ndas Huhn\n", "train.de, line 2: expected text beside line 2 of train.en, found none"),
    ):
        german.write_text(text)
        with pytest.raises(UmekomiError) as error:
            load(folder)
        assert str(error.value).endswith(says)
    german.unlink()
    with pytest.raises(UmekomiError, match=r"expected a file train\.de beside train\.en, found none"):
        load(folder)
    (folder / "train.en").write_text("")
    german.write_text("")
    with pytest.raises(UmekomiError, match=r"train\.en: expected lines, found an empty file"):
        load(folder)
