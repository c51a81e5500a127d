"""Filters and payload on the command line: hits as JSON, or one line and exit status 2."""

from __future__ import annotations

import datetime
import json
import shlex
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umekomi.cli.main import main


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    table = pa.table(
        {
            "text": ["red apples", "green pears", "blue plums"],
            "pub year": [2019, 2020, None],
            "day": [datetime.date(2024, 1, day) for day in (1, 20, 31)],
            "raw": [[b"\xff"], None, []],
            "price": [Decimal("1.50"), None, None],
            "mass": [0.5, float("nan"), float("inf")],
        }
    )
    pq.write_table(table, folder / "texts.parquet")
    assert main(["index", "hashing", str(folder / "texts.parquet"), "--out", str(folder / "i")]) == 0
    return folder


def search(library, capsys, *words):
    capsys.readouterr()
    status = main(["search", str(library / "i"), "apples", *words])
    return status, *capsys.readouterr()


def test_hits_of_every_type_are_json(library, capsys):
    status, out, _ = search(library, capsys, "--json")
    hits = {hit["id"]: hit["payload"] for hit in json.loads(out, parse_constant=pytest.fail)}
    assert status == 0
    assert hits["1"] == {"pub year": 2019, "day": "2024-01-01", "raw": ["/w=="], "price": "1.50", "mass": 0.5}
    assert hits["2"]["mass"] is hits["3"]["mass"] is None


@pytest.mark.parametrize(
    ("condition", "found"), [("day > '2024-01-15'", "23"), ("`pub year` != 2019", "2"), ("`pub year` is None", "3")]
)
def test_a_filter_finds_rows(library, capsys, condition, found):
    status, out, _ = search(library, capsys, "--filter", condition, "--json")
    assert (status, sorted(hit["id"] for hit in json.loads(out))) == (0, list(found))


@pytest.mark.parametrize(
    "condition",
    [
        "day > 3",
        "raw == 'x'",
        "`pub year` > 'x'",
        "pub year > 1",
        "day == '\udcff'",
        "(" * 9000,
        "`pub year` > 1e999",
        "\0",
    ],
)
def test_a_wrong_filter_is_one_line(library, capsys, condition):
    status, out, error = search(library, capsys, "--filter", condition)
    assert (status, out) == (2, "")
    assert error.startswith("umekomi: filter ") and error.count("\n") == 1 and "fault" not in error


def test_a_payload_that_no_index_keeps_is_refused_before_anything_is_written(tmp_path, capsys):
    far = pa.array([0], pa.int64()).cast(pa.timestamp("us", "Mars/X"))
    pq.write_table(pa.table({"text": ["a"], "seen at": far}), tmp_path / "t.parquet")
    assert main(["index", "hashing", str(tmp_path / "t.parquet"), "--out", str(tmp_path / "i")]) == 1
    assert "payload column 'seen at': expected a time zone that is known here" in capsys.readouterr().err
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("command", [["index", "hashing"], ["encode", "hashing"]])
def test_what_comes_next_can_be_run_as_it_stands(tmp_path, capsys, command):
    """A place with a space in it, or a semicolon, was printed bare."""
    texts, place = tmp_path / "my texts.csv", tmp_path / "mine; now.parquet"
    texts.write_text("text\nthe cat sat\nprices fell\n", encoding="utf-8")
    assert main([*command, str(texts), "--out", str(place)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert main(shlex.split(last.removeprefix("next: umekomi "))) == 0
    assert "the cat sat" in capsys.readouterr().out
