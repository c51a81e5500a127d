"""What writing leaves: all of a commit or none of it, columns that fit together, nothing of what failed."""

from __future__ import annotations

import errno
import os
import signal

import numpy as np
import pyarrow as pa
import pytest

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.indexes import Index, store
from umekomi.indexes.store import Store

V = np.eye(8, dtype=np.float32)


def index_of(folder, *payloads):
    index = Index.create(folder, metric="cosine")
    for place, columns in enumerate(payloads):
        index.add([f"p{place}"], V[place : place + 1], columns)
    return index


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (pa.array([1]), pa.array(["s"])),
        (pa.array(["s"]), pa.array([b"s"])),
        (pa.array([True]), pa.array([1])),
        (pa.array([[1]]), pa.array([["s"]])),
        (pa.array([2**53 + 1]), pa.array([0.5])),
        (pa.array([1], pa.decimal128(3, 2)), pa.array([0.1])),
        (pa.array([1], pa.timestamp("s")), pa.array([1], pa.timestamp("s", "UTC"))),
        (pa.array([{"a": 1}]), pa.array([{"a": "s"}])),
    ],
)
def test_a_column_of_another_type_is_refused_wherever_the_first_one_lies(tmp_path, first, other):
    index = index_of(tmp_path / "i", {"x": first}, {"y": ["s"]})
    for _ in range(2):
        with pytest.raises(DataError, match="add: the payload does not fit that of .*column 'x'"):
            index.add(["new"], V[5:6], {"x": other})
        assert len(index) == 2
        index.compact()
    for number in range(20):
        index.add([f"k{number}"], V[5:6], {"y": ["s"]})
    rows = {hit.id: hit.payload for hit in index.search(V[:1], 30)[0]}
    assert rows["p0"]["x"] == first[0].as_py()


@pytest.mark.parametrize(
    ("first", "other", "after"),
    [
        (pa.array([1]), pa.array([0.5]), [1, 0.5]),
        (pa.array([1], pa.int8()), pa.array([2**40]), [1, 2**40]),
        (pa.array([None]), pa.array(["s"]), [None, "s"]),
        (pa.array(["a"]), pa.array(["b"], pa.large_string()), ["a", "b"]),
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"]).dictionary_encode(), ["a", "b"]),
        (pa.array([{"a": 1}]), pa.array([{"b": "s"}]), [{"a": 1, "b": None}, {"a": None, "b": "s"}]),
        (pa.array([[1]]), pa.array([[0.5]]), [[1], [0.5]]),
    ],
)
def test_columns_that_widen_are_joined_with_their_values(tmp_path, first, other, after):
    index = index_of(tmp_path / "i", {"x": first}, {"y": [1]}, {"x": other})
    values = [row["x"] for row in index.rows([0, 2])]
    index.compact()
    rows = {hit.id: hit.payload for hit in index.search(V[:1], 3)[0]}
    assert [rows["p0"]["x"], rows["p2"]["x"]] == after
    assert rows["p1"] == {"x": None, "y": 1}
    assert [value for value in values if not isinstance(value, dict)] in (after, [])


def test_an_index_that_was_given_two_types_before_says_so_and_can_be_mended(tmp_path, monkeypatch):
    """An earlier version let a column change its type where the last segment lacked it."""
    monkeypatch.setattr("umekomi.indexes.joining.common_schema", lambda tables, where: None)
    index = index_of(tmp_path / "i", {"x": [1]}, {"y": ["s"]}, {"x": ["s"]})
    monkeypatch.undo()
    for use in (index.compact, lambda: index.add(["new"], V[5:6], {"y": ["s"]})):
        with pytest.raises(DataError, match="column 'x' is int64 in some rows and string in others"):
            use()
    assert len(index) == 3
    index.delete(["p2"])
    index.compact()
    index.add(["new"], V[5:6], {"x": [2]})
    assert len(index) == 3


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("writes", range(8))
def test_a_full_disk_is_as_empty_as_before(tmp_path, monkeypatch, writes):
    """The write of each file in turn fails; nothing of the addition stays, and it can be done again."""
    index = Index.create(tmp_path / "i", metric="cosine", kind="binary")
    index.add(["a", "b"], V[:2], {"x": [1, 2]})
    before = files(tmp_path / "i")
    left = [writes]
    done = store._Summed.done

    def full(self):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return done(self)

    monkeypatch.setattr(store._Summed, "done", full)
    with pytest.raises(OSError, match="No space left"):
        index.add(["b", "c"], V[2:4], {"x": [3, 4]}, replace=True)
    assert files(tmp_path / "i") == before
    assert len(index) == 2
    monkeypatch.undo()
    index.add(["b", "c"], V[2:4], {"x": [3, 4]}, replace=True)
    assert len(Index(tmp_path / "i", verify=True)) == 3


def test_upkeep_that_fails_leaves_the_rows_and_says_so(tmp_path, monkeypatch, capfd):
    index = Index.create(tmp_path / "i", metric="cosine")
    for number in range(16):
        index.add([number], V[:1])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("umekomi.indexes.upkeep.concatenate", full)
    index.add([16], V[:1])
    assert "looking after it failed: [Errno 28] No space left on device" in capfd.readouterr().err
    assert len(index) == 17
    assert len(list((tmp_path / "i").glob("segment-*"))) == 17
    monkeypatch.undo()
    index.add([17], V[:1])
    assert len(Store(tmp_path / "i").read().segments) < 17


def test_a_creation_that_fails_leaves_no_folder(tmp_path, monkeypatch):
    def full(self, manifest):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Store, "commit", full)
    with pytest.raises(OSError, match="No space"):
        Index.create(tmp_path / "i", metric="cosine")
    assert not (tmp_path / "i").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("where", ["open", "fsync", "replace"])
def test_a_creation_that_is_killed_can_be_made_again(tmp_path, where, monkeypatch):
    child = os.fork()
    if not child:
        target = {"open": "os.open", "fsync": "os.fsync", "replace": "pathlib.Path.replace"}[where]
        monkeypatch.setattr(target, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        try:
            Index.create(tmp_path / "i", metric="cosine")
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert (tmp_path / "i").is_dir()
    Index.create(tmp_path / "i", metric="cosine").add(["a"], V[:1])
    assert sorted(path.name for path in (tmp_path / "i").iterdir() if path.is_file())[-1] == "umekomi-index.json"
    assert not list((tmp_path / "i").glob(".umekomi*"))
    with pytest.raises(WrongUse, match="exists already"):
        Index.create(tmp_path / "i", metric="cosine")


def test_a_folder_of_something_else_is_no_place_for_an_index(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(WrongUse, match="exists already"):
        Index.create(tmp_path, metric="cosine")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_facts_and_ids_that_cannot_be_kept_are_refused(tmp_path):
    index = index_of(tmp_path / "i", {"x": [1]})
    for use, said in (
        (lambda: index.note(kind={}), "kind are the index's own facts"),
        (lambda: index.add(["b"], V[:1], metric="dot"), "metric are the index's own facts"),
        (lambda: index.note(made={1, 2}), "expected facts that JSON can hold"),
        (lambda: index.note(made=float("nan")), "expected facts that JSON can hold"),
        (lambda: index.add([None], V[:1]), r"expected an id \(text or a whole number\), found None in row 1"),
        (lambda: index.add(["a\ud800"], V[:1]), "expected an id of whole characters"),
        (lambda: index.delete(["a\ud800"]), "expected an id of whole characters"),
        (lambda: index.add(["b"], V[:1], {"x": [1], "__id__": [2]}), "__id__ and __row__ are the index's own"),
        (lambda: index.add(["b", "c"], ["text", 3]), "was made from vectors|expected texts"),
        (lambda: Index.create(tmp_path / "j", metric="cosine", text=3), "index: about: text: expected str"),
        (lambda: Index.create(tmp_path / "j", metric="cosine", output="dens"), "output: expected dense"),
        (lambda: Index.create(tmp_path / "j", metric="cosine", dimension=-1), "dimension: expected a whole number"),
        (lambda: Index.create(tmp_path / "j", metric="cosine", recall="high"), "recall: expected a share"),
    ):
        with pytest.raises(UmekomiError, match=said):
            use()
    assert len(Index(tmp_path / "i")) == 1
    assert not (tmp_path / "j").exists()


def test_a_failed_addition_leaves_the_searching_kind_alone(tmp_path, monkeypatch):
    index = Index.create(tmp_path / "i", metric="cosine", kind="binary")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Store, "add_files", full)
    with pytest.raises(OSError, match="No space"):
        index.add(["a", "b"], V[:2])
    monkeypatch.undo()
    assert index.search(V[:1]) == [[]]
    index.add(["a", "b"], V[:2])
    assert [hit.id for hit in index.search(V[:1], 1)[0]] == ["a"]
