"""An index from anywhere: names that lead elsewhere, numbers that cannot be, damage with the checksums made right."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from fuzz import indexes as fuzz

from umekomi.errors import DataError, UmekomiError
from umekomi.indexes import Index
from umekomi.indexes.store import Store

BAD = (
    "..",
    ".",
    "",
    "../beside",
    "/etc",
    "a/b",
    "..\\x",
    "C:x",
    "NUL",
    "segment-1",
    "segment-000001/x",
    "x" * 300,
    None,
    3,
)


@pytest.fixture
def index(tmp_path):
    """Two segments, a deleted row; beside it what must stay."""
    made = Index.create(tmp_path / "i", metric="cosine", kind="binary")
    made.add(["a", "b"], np.eye(4, dtype=np.float32)[:2], {"t": ["x", "y"]})
    made.add(["c", "d"], np.eye(4, dtype=np.float32)[2:], {"t": ["x", "y"]})
    made.delete(["b"])
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "file.txt").write_text("mine")
    return made


def first(folder):
    """The first segment's folder."""
    return (
        folder / json.loads(json.loads((folder / "umekomi-index.json").read_text())["manifest"])["segments"][0]["name"]
    )


def body(index):
    return json.loads(json.loads(index.store.manifest.read_text())["manifest"])


def write(index, found):
    text = json.dumps(found)
    index.store.manifest.write_text(json.dumps({"crc32": zlib.crc32(text.encode()), "manifest": text}))


def every_use(folder):
    for use in (
        lambda: Index(folder),
        lambda: Index(folder, verify=False).search(np.ones((1, 4), np.float32)),
        lambda: Index(folder, verify=False).delete(["a"]),
        lambda: Index(folder, verify=False).compact(),
        lambda: Store(folder).lock().__enter__(),
    ):
        with pytest.raises(UmekomiError, match="is damaged|expected"):
            use()


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("place", ["segment", "deleted", "segment's file", "file", "codec", "model"])
def test_a_name_that_no_index_writes_is_refused(tmp_path, index, place, name):
    found = body(index)
    segment = found["segments"][0]
    if place == "segment":
        segment["name"] = name
    elif place == "deleted":
        segment["deleted"] = name
        found["files"][str(name)] = [136, 0]
    elif place == "segment's file":
        segment["files"][str(name)] = [136, 0]
    elif place == "file":
        found["files"][str(name)] = [136, 0]
    elif place == "codec":
        found["about"]["kind"]["codec"]["mean"] = name
    else:
        found["about"]["model"]["name"] = f"./{name}" if isinstance(name, str) else name
    write(index, found)
    before = sorted(tmp_path.rglob("*"))
    every_use(tmp_path / "i")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.name != "posix", reason="needs links and FIFOs")
@pytest.mark.parametrize("what", ["segment", "vectors", "fifo", "zero", "lock", "manifest"])
def test_links_and_fifos_of_an_index_are_refused(tmp_path, index, what):
    folder = tmp_path / "i"
    segment = first(folder)
    file = next(segment.glob("vectors*.npy"))
    if what == "segment":
        shutil.copytree(segment, tmp_path / "beside" / "segment")
        (tmp_path / "beside" / "segment" / "other.npy").write_text("mine")
        shutil.rmtree(segment)
        segment.symlink_to(tmp_path / "beside" / "segment")
    elif what == "lock":
        (folder / "lock").unlink()
        (folder / "lock").symlink_to(tmp_path / "beside" / "made")
    elif what == "manifest":
        index.store.manifest.unlink()
        os.mkfifo(index.store.manifest)
    elif what == "vectors":
        file.rename(tmp_path / "beside" / "vectors")
        file.symlink_to(tmp_path / "beside" / "vectors")
    else:
        file.unlink()
        os.mkfifo(file) if what == "fifo" else file.symlink_to("/dev/zero")
    before = sorted(tmp_path.rglob("*"))
    for use in (lambda: Index(folder, verify=False).delete(["a"]), lambda: Index(folder).compact()):
        with pytest.raises(DataError, match="found a link|found a FIFO"):
            use()
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "beside" / "file.txt").read_text() == "mine"


def test_a_file_that_no_segment_needs_is_missed_too(index):
    found = body(index)
    found["files"]["deleted-000001.npy"] = [136, 0]
    write(index, found)
    for use in (lambda: Index(index.store.folder), Index(index.store.folder, verify=False).verify):
        with pytest.raises(DataError, match="deleted-000001.npy is missing"):
            use()


def test_only_what_an_index_writes_is_swept(tmp_path, index):
    folder = tmp_path / "i"
    for name in ("segment-photos", "segment-000099", "own"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("x")
    for name in ("deleted-000077.npy", "deleted-by-me.txt", "codec-notes.npy", ".umekomi-index.json.x.json"):
        (folder / name).write_text("x")
    (first(folder) / "codes-77.npy").write_text("x")
    (first(folder) / "README").write_text("x")
    index.delete(["a"])
    left = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert {"segment-photos/file", "own/file", "deleted-by-me.txt", "codec-notes.npy"} <= left
    assert (first(folder) / "README").exists()
    assert not {"segment-000099", "deleted-000077.npy", ".umekomi-index.json.x.json"} & left
    assert not (first(folder) / "codes-77.npy").exists()


def test_numbers_and_types_that_cannot_be_are_named(index):
    whole = body(index)
    for path, bad in (
        (("segments", 0, "rows"), -1),
        (("segments", 0, "rows"), True),
        (("segments", 0, "dead"), 9),
        (("segments", 0, "files", "ids.npy"), [1]),
        (("segments", 0, "files", "ids.npy"), [1, 2**40]),
        (("segments",), {}),
        (("serial",), 0),
        (("serial",), 10**30),
        (("about", "dimension"), 0),
        (("about", "metric"), "cosin"),
        (("about", "output"), "dens"),
        (("about", "asked", "recall"), float("nan")),
        (("about", "asked"), []),
        (("about", "kind", "reach"), [[1, "x"]]),
        (("about", "kind"), {}),
        (("about", "model"), None),
    ):
        found = json.loads(json.dumps(whole))
        place = found
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = bad
        write(index, found)
        with pytest.raises(DataError, match="umekomi-index.json is damaged"):
            Index(index.store.folder)
    write(index, whole)
    assert len(Index(index.store.folder)) == 3


def test_arrays_of_another_shape_or_range_are_refused_though_their_checksum_is_right(index):
    folder = index.store.folder
    for segment, name, change, said in (
        (0, "vectors", lambda array: array.astype(np.float64), "vectors: expected float32"),
        (0, "vectors", lambda array: array[:1], "vectors: expected float32 .2, 4., found float32"),
        (0, "places", lambda array: array + np.uint32(7), "places: expected rows below 2"),
        (0, "codes", lambda array: array.T.copy(), "codes: expected uint64 .1, 2."),
        (0, "factors", lambda array: array[:1], "factors: expected float32"),
    ):
        whole = body(index)
        entry = whole["segments"][segment]
        file = next(file for file in entry["files"] if file.split(".")[0].split("-")[0] == name)
        path = folder / entry["name"] / file
        kept = path.read_bytes()
        np.save(path, change(np.load(path)))
        found = body(index)
        found["segments"][segment]["files"][file] = [path.stat().st_size, zlib.crc32(path.read_bytes())]
        write(index, found)
        with pytest.raises(DataError, match=said):
            Index(folder)
        path.write_bytes(kept)
        write(index, whole)
    dead = folder / body(index)["segments"][0]["deleted"]
    whole, kept = body(index), dead.read_bytes()
    np.save(dead, np.array([-1]))
    found = body(index)
    found["files"][dead.name] = [dead.stat().st_size, zlib.crc32(dead.read_bytes())]
    write(index, found)
    with pytest.raises(DataError, match="deleted-.* is damaged"):
        Index(folder)
    dead.write_bytes(kept)
    write(index, whole)
    assert len(Index(folder)) == 3


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    pytest.importorskip("usearch")
    folder = tmp_path_factory.mktemp("graph") / "i"
    vectors = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    index = Index.create(folder, metric="cosine", kind="hnsw", connections=4)
    index.add(range(300), vectors)
    return folder


def graph_file(folder):
    return next(first(folder).glob("graph-*.npy"))


def with_graph(folder, data):
    file = graph_file(folder)
    file.write_bytes(data)
    index = SimpleNamespace(store=Store(folder))
    found = body(index)
    found["segments"][0]["files"][file.name] = [len(data), zlib.crc32(data)]
    write(index, found)


def test_a_graph_is_looked_through_before_it_is_handed_over(tmp_path, graph):
    """Each damage with a right checksum: the header of the file, of the graph, levels, keys, edges, vectors, length."""
    folder = tmp_path / "i"
    shutil.copytree(graph, folder)
    data = graph_file(folder).read_bytes()
    start = 128
    matrix = start + 8 + 300 * 32
    nodes = matrix + 64 + 40 + 600
    levels = np.frombuffer(data[matrix + 104 : nodes], "<i2")
    high = int(np.argmax(levels))
    at = nodes + int((14 + 4 * 8 + levels[:high].astype(int) * (4 + 4 * 4)).sum())

    def put(place, number, size):
        return data[:place] + int(number).to_bytes(size, "little") + data[place + size :]

    damages = {
        "rows": put(start, 2**31, 4),
        "bytes a row": put(start + 4, 2**31, 4),
        "magic": put(matrix, 0, 7),
        "version": put(matrix + 7, 9, 2),
        "kind of scalar": put(matrix + 14, 23, 1),
        "vectors there": put(matrix + 17, 2**40, 8),
        "dimensions": put(matrix + 33, 9, 8),
        "nodes": put(matrix + 64, 2**40, 8),
        "connections": put(matrix + 72, 2**30, 8),
        "level": put(matrix + 88, 60, 8),
        "entry": put(matrix + 96, 2**33, 8),
        "a level": put(matrix + 104, 30, 2),
        "a level below zero": put(matrix + 104, 2**16 - 1, 2),
        "a key out of reach": put(nodes, 300, 8),
        "a key twice": put(nodes, int.from_bytes(data[nodes + 46 : nodes + 54], "little"), 8),
        "a node's own level": put(nodes + 8, 3, 2),
        "as many neighbours as there is no room for": put(nodes + 10, 2**31, 4),
        "a neighbour that is not there": put(nodes + 14, 300, 4),
        "a neighbour that is not as high": put(at + 14 + 4 * 8 + 4, int(np.argmin(levels)), 4),
        "a vector": put(start + 8, 12345, 4),
        "shorter": data[:-4],
        "longer": data + data[-4:],
    }
    assert len(damages) == 22
    for name, damaged in damages.items():
        with_graph(folder, damaged)
        with pytest.raises(DataError, match="graph-1.npy is damaged|is damaged .graph"):
            Index(folder, verify=False).search(np.ones((1, 8), np.float32))
            pytest.fail(name)
    with_graph(folder, data)
    assert len(Index(folder).search(np.ones((1, 8), np.float32))[0]) == 10


def test_a_large_graph_is_held_against_its_checksum_too(tmp_path, graph, monkeypatch):
    folder = tmp_path / "i"
    shutil.copytree(graph, folder)
    monkeypatch.setattr("umekomi.indexes.index.SMALL", 1000)
    file = graph_file(folder)
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)
    index = Index(folder)  # too large to be read whole when it is opened
    with pytest.raises(DataError, match="graph-1.npy is damaged .its checksum does not match"):
        index.search(np.ones((1, 8), np.float32))


def test_lists_of_sparse_codes_that_do_not_rise_are_refused(tmp_path):
    from scipy import sparse

    codes = sparse.random(50, 20, 0.3, format="csr", random_state=np.random.default_rng(0), dtype=np.float32)
    index = Index.create(tmp_path / "i", metric="dot", output="sparse")
    index.add(range(50), codes)
    file = next(first(tmp_path / "i").glob("documents-*.npy"))
    array = np.load(file)
    for place, number in ((0, 10_000), (1, -5), (len(array) - 1, 50), (3, array[2])):
        bad = array.copy()
        bad[place] = number
        np.save(file, bad)
        with pytest.raises(DataError, match="documents-1.npy is damaged .list"):
            Index(tmp_path / "i", verify=False).search(codes[:1])


def test_forty_damaged_indexes_end_in_an_error_or_an_answer(tmp_path):
    """A small run of ``python -m tests.fuzz.indexes``."""
    (tmp_path / "whole").mkdir()
    whole = fuzz.templates(tmp_path / "whole")
    ends = [fuzz.case(number, 7, whole, tmp_path / "scratch") for number in range(40)]
    assert len({name for name, _ in ends}) > 6
    assert 20 < sum(refused > 0 for _, refused in ends) < 40
