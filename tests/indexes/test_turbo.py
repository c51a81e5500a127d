"""turbovec's codes as a kind: what is read from a file is looked at before it is used, and what it may not do."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from indexes.test_index import clustered, filled

from umekomi.errors import DataError, WrongUse
from umekomi.indexes import Index
from umekomi.indexes.kinds import make_kind
from umekomi.indexes.scans import Part

turbovec = pytest.importorskip("turbovec")


def test_its_codes_are_those_of_turbovec_and_deletes_hold(tmp_path):
    """Estimates are turbovec's own to the bit, a width that is no multiple of eight among them."""
    vectors = clustered(3000, 52)
    index = filled(tmp_path / "i", vectors, "turbo", bits=2)
    index.compact()
    opened = index.snapshot().segments[0]
    kind = index.kind
    listed, estimates = kind._listed(opened.part(), vectors[:3], 20)
    own = turbovec.TurboQuantIndex.from_bytes(bytes(kind.codec["turbo"]))
    own.add(np.pad(opened.vectors, ((0, 0), (0, 4))))
    scores, rows = own.search(np.pad(vectors[:3], ((0, 0), (0, 4))), 20)
    assert (listed == rows).all() and (estimates == scores).all()
    near = [hit.id for hit in index.search(vectors[:1], 20)[0]]
    index.delete(near[:15])
    left = [hit.id for hit in index.search(vectors[:1], 5)[0]]
    assert left == near[15:]
    assert len(index.search(vectors[:1], 2985)[0]) == 2985


@pytest.mark.parametrize("how", ["another format", "cut", "another width", "other rows"])
def test_codes_that_do_not_fit_are_damage(how):
    vectors = clustered(1500, 32)
    kind = make_kind("turbo", {"shortlist": 20})
    kind.learn(vectors)
    data = kind.derive(vectors)["turbo"].copy()
    if how == "another format":
        data[:3] = 0
    elif how == "cut":
        data = data[:-5]
    elif how == "other rows":
        data = kind.derive(vectors[:-1])["turbo"]
    else:
        other = make_kind("turbo", {})
        other.learn(vectors[:, :24])
        data = other.derive(vectors[:, :24])["turbo"]
    with pytest.raises(
        DataError, match=r"turbovec 1\.\S+ does not read|expected codes of 32 dimensions, 4 bits and 1,500"
    ):
        kind.search(Part.fresh(vectors, {"turbo": data}), vectors[:1], 10, None)


def test_a_damaged_file_is_named(tmp_path):
    index = filled(tmp_path / "i", clustered(1200, 32), "turbo", shortlist=20)
    index.compact()
    (file,) = (tmp_path / "i").glob("segment-*/turbo-*.npy")
    whole = file.read_bytes()
    at = whole.index(b"TV")
    file.write_bytes(whole[:at] + b"XX" + whole[at + 2 :])
    damaged = Index(tmp_path / "i", verify=False)
    with pytest.raises(DataError, match=f"{file.parent.name}/{file.name} is damaged .*turbovec"):
        damaged.search(clustered(1, 32), 3)
    with pytest.raises(DataError, match="checksum"):
        Index(tmp_path / "i")


def test_rows_all_alike_and_wrong_settings(tmp_path):
    same = np.ones((1100, 16), np.float32)
    index = Index.create(tmp_path / "i", metric="dot", kind="turbo")
    index.add(range(1100), same)
    assert [hit.score for hit in index.search(same[:1], 3)[0]] == [16.0] * 3
    with pytest.raises(WrongUse, match="bits: expected 2 or 4, found 3"):
        Index.create(tmp_path / "j", kind="turbo", bits=3)
    with pytest.raises(WrongUse, match="turbo: expected up to 16,384 dimensions, found 20,000"):
        Index.create(tmp_path / "j", kind="turbo", dimension=20_000)
    with pytest.raises(WrongUse, match="turbo: expected dense vectors compared by cosine or dot"):
        Index.create(tmp_path / "j", kind="turbo", metric="euclidean")


def test_threads_open_it_once_and_find_the_same(tmp_path):
    vectors = clustered(2000, 32)
    index = filled(tmp_path / "i", vectors, "turbo", shortlist=50)
    index.compact()
    now = Index(tmp_path / "i").snapshot()
    found: list = [None] * 8

    def ask(place: int) -> None:
        found[place] = now.nearest(vectors[:20], 10)[0]

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((rows == found[0]).all() for rows in found)


def test_a_first_query_loads_no_compiled_loops(tmp_path, fresh):
    index = filled(tmp_path / "i", clustered(1500, 32), "turbo", shortlist=20)
    index.compact()
    said = fresh(
        "import sys, numpy as np\n"
        "from umekomi.indexes import Index\n"
        f"rows, _ = Index({str(tmp_path / 'i')!r}).nearest(np.ones((1, 32), 'f4'), 10)\n"
        "print((rows >= 0).all(), 'numba' in sys.modules)"
    )
    assert said.split() == ["True", "False"]
