import json

import pytest

from umekomi.errors import WrongUse
from umekomi.files import content_hash, folder_hash, read_json, whole_file, whole_folder, write_json


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})

    class Stop(Exception):
        pass

    with pytest.raises(Stop), whole_file(path) as temporary:
        temporary.write_text("half")
        raise Stop
    assert json.loads(path.read_text()) == {"x": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model"
    with whole_folder(target) as place:
        write_json(place / "umekomi.json", {"version": 1})
    with pytest.raises(ZeroDivisionError), whole_folder(target) as place:
        write_json(place / "umekomi.json", {"version": 2})
        raise ZeroDivisionError
    assert read_json(target / "umekomi.json") == {"version": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_never_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(WrongUse, match="no saved model"), whole_folder(tmp_path):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert not list(tmp_path.iterdir())


def test_hashes_tell_contents_apart(tmp_path):
    assert content_hash("ab", "c") != content_hash("a", "bc")
    (tmp_path / "a").write_text("1")
    before = folder_hash(tmp_path)
    (tmp_path / "a").write_text("2")
    assert folder_hash(tmp_path) != before
