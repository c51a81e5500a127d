import gzip

import pytest

from umekomi.data import load
from umekomi.data.bags import read_bags
from umekomi.errors import DataError, WrongUse
from umekomi.recipes import get


def test_fasttext_lines(tmp_path):
    file = tmp_path / "a.fasttext"
    file.write_text("ball goal __label__sport\n\nsoup __label__food __label__hot\n")
    table = load(file)["all"]
    assert table.to_pylist() == [
        {"left": ["ball", "goal"], "right": [["__label__sport"]]},
        {"left": ["soup"], "right": [["__label__food"], ["__label__hot"]]},
    ]
    model = get("starspace")(dimensions=4, threads=1).fit(table)
    assert set(model.labels) == {"__label__sport", "__label__food", "__label__hot"}


def test_labeldoc_lines_with_weights_and_packed(tmp_path):
    plain = tmp_path / "a.labeldoc"
    plain.write_text("a b\tx y\tz\nc\tw\n")
    assert load(plain)["all"].to_pylist() == [
        {"left": ["a", "b"], "right": [["x", "y"], ["z"]]},
        {"left": ["c"], "right": [["w"]]},
    ]
    packed = tmp_path / "b.labeldoc.gz"
    packed.write_bytes(gzip.compress(b"a:0.5 b:2\tx:1\n"))
    assert load(packed)["all"].to_pylist() == [
        {"left": ["a", "b"], "right": [["x"]], "left_weights": [0.5, 2.0], "right_weights": [[1.0]]}
    ]
    assert load(packed)["all"].num_rows == 1
    assert get("starspace")(dimensions=4, threads=1).fit(load(packed)["all"]).names
    for mode in (1, 2, 3, 4):
        model = get("starspace")(mode=mode, dimensions=4, threads=1).fit(load(plain)["all"])
        assert "a" in model and "w" in model, "in these modes the left bag is one of the bags"


def test_broken_lines_say_where(tmp_path):
    file = tmp_path / "a.fasttext"
    file.write_text("ball __label__a\nno label here\n")
    with pytest.raises(
        DataError, match="a.fasttext, line 2: expected a label that begins with '__label__', found none"
    ):
        load(file)
    file = tmp_path / "a.labeldoc"
    file.write_text("a\t\tb\n")
    with pytest.raises(DataError, match="line 1: expected features between the tabs, found an empty bag"):
        load(file)
    file.write_text("a:1\tb\n")
    with pytest.raises(DataError, match="line 1: expected a feature with a weight such as word:0.3, found 'b'"):
        read_bags(file, "labeldoc", weights=True)
    file.write_bytes(b"a\tb\nc\t\xff\n")
    with pytest.raises(DataError, match="line 2: expected UTF-8, found byte 0xff"):
        load(file)
    file.write_text("\n")
    with pytest.raises(DataError, match="found zero rows"):
        load(file)
    with pytest.raises(WrongUse, match="expected one of fasttext, labeldoc"):
        read_bags(file, "csv")
