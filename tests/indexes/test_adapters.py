"""One contract for the index and the databases behind its face."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from umekomi.errors import DataError, WrongUse
from umekomi.indexes import Index
from umekomi.indexes.adapters import create_database, open_database
from umekomi.indexes.filters import parse, sql
from umekomi.models.untrained import HashingEmbedder
from umekomi.parts import similarity as similarities

ROWS = 120


def vectors_of(rows: int = ROWS, width: int = 16):
    return np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)


def payload(rows: int = ROWS):
    return {
        "year": [2000 + i % 25 for i in range(rows)],
        "word": [f"it's {i % 5}" for i in range(rows)],
        "seen": [i % 2 == 0 for i in range(rows)],
    }


def made(kind: str, folder, metric: str, **more):
    if kind == "umekomi":
        return Index.create(folder / "i", metric=metric)
    if kind == "lance":
        pytest.importorskip("lancedb")
        from umekomi.indexes.adapters import LanceIndex

        return LanceIndex(folder / "lance", dimension=16, metric=metric, **more)
    if kind == "postgres":
        from indexes import postgres

        from umekomi.indexes.adapters import PostgresIndex

        return PostgresIndex(postgres.address(), str(folder)[-60:], dimension=16, metric=metric, **more)
    if kind == "edge":
        pytest.importorskip("qdrant_edge")
        from umekomi.indexes.adapters.edge import EdgeClient

        client = EdgeClient(folder / "edge")
    else:
        client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    from umekomi.indexes.adapters import QdrantIndex

    return QdrantIndex(client, dimension=16, metric=metric, **more)


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("kind", ["umekomi", "lance", "qdrant", "edge", "postgres"])
def test_all_find_filter_replace_and_delete_alike(kind, metric, tmp_path):
    vectors = vectors_of()
    index = made(kind, tmp_path, metric)
    names = [f"n{i}" for i in range(ROWS)]
    index.add(names, vectors, payload())
    assert len(index) == ROWS
    whole = similarities.similarity_function(metric)(vectors[:3], vectors)
    for row, hits in enumerate(index.search(vectors[:3], 5)):
        order = np.argsort(-whole[row], kind="stable")[:5]
        assert [hit.id for hit in hits] == [f"n{i}" for i in order]
        np.testing.assert_allclose(
            [hit.score for hit in hits], whole[row, order], atol=2e-3 if metric == "euclidean" else 1e-4
        )
        assert hits[0].payload == {
            "year": 2000 + order[0] % 25,
            "word": f"it's {order[0] % 5}",
            "seen": bool(order[0] % 2 == 0),
        }
    years, words, seen = np.arange(ROWS) % 25, np.arange(ROWS) % 5, np.arange(ROWS) % 2 == 0
    for condition, mask in (
        ("year > 2020", years > 20),
        ("2003 <= year < 2005", (years >= 3) & (years < 5)),
        ('word == "it\'s 3" or year == 2001', (words == 3) | (years == 1)),
        ('not year > 2003 and word in ("it\'s 1", "it\'s 2")', (years <= 3) & np.isin(words, (1, 2))),
        ('word not in ("it\'s 1",)', words != 1),
        ("year != 2000 and seen", (years != 0) & seen),
        ("word is None", np.zeros(ROWS, bool)),
    ):
        scores = np.where(mask, whole[0], -np.inf)
        order = [i for i in np.argsort(-scores, kind="stable")[:6] if mask[i]]
        assert [hit.id for hit in index.search(vectors[:1], 6, filter=condition)[0]] == [f"n{i}" for i in order], (
            condition
        )
    with pytest.raises(DataError, match=r"2 ids are .*there already|2 ids are in .* already"):
        index.add(["n1", "n2", "new"], vectors[:3])
    index.add(["n1"], vectors[50:51], {"year": [1999], "word": ["x"], "seen": [True]}, replace=True)
    assert len(index) == ROWS
    assert {hit.payload["year"] for hit in index.search(vectors[50:51], ROWS)[0] if hit.id == "n1"} == {1999}
    with pytest.raises(DataError, match="nothing was deleted"):
        index.delete(["n5", "other"])
    index.delete(["n5", "n6"])
    assert len(index) == ROWS - 2
    assert not {"n5", "n6"} & {hit.id for hit in index.search(vectors[5:6], ROWS - 2)[0]}
    with pytest.raises(WrongUse, match="16"):
        index.search(vectors[:, :3])
    with pytest.raises(DataError, match="NaN or infinity in row 2"):
        index.search(np.where(np.arange(2)[:, None] == 1, np.nan, vectors[:2]))


@pytest.mark.parametrize("kind", ["umekomi", "lance", "qdrant", "edge", "postgres"])
def test_missing_values_names_and_dates_mean_the_same_everywhere(kind, tmp_path):
    vectors = np.eye(4, 16, dtype=np.float32)
    index = made(kind, tmp_path, "dot")
    columns = {
        "x": [1, 2, None, 3],
        "s": ["a", None, "b", "a"],
        "b": [True, False, None, None],
        "f": [0.5, float("nan"), None, 1.5],
        "small": pa.array([1, 2, None, -3], pa.int8()),
        "pub year": [2019, 2020, 2021, None],
        "ｶﾃｺﾞﾘ": ["x", "y", None, "x"],
        "day": [datetime.date(2024, 1, day) for day in (14, 15, 16)] + [None],
        "at": pa.array([datetime.datetime(2024, 1, day) for day in (14, 15, 16)] + [None], pa.timestamp("us", "UTC")),
        "price": [Decimal("1.10"), Decimal("2.00"), None, Decimal("3.30")],
    }
    index.add(["0", "1", "2", "3"], vectors, columns)
    for condition, found in (
        ("x != 1", "13"),
        ("not x == 1", "13"),
        ("x not in (1, 7)", "13"),
        ("not (x == 1 or s == 'a')", ""),
        ("not (x == 2 and s == 'a')", "023"),
        ("not (x < 2 or s != 'a')", "3"),
        ("x is None or x == 3", "23"),
        ("x == None", "2"),
        ("x != None and not s is None", "03"),
        ("x in (1, None)", "02"),
        ("x not in (1, None)", "13"),
        ("x not in ()", "0123"),
        ("not b", "1"),
        ("not not b", "0"),
        ("f is None", "12"),
        ("not f == 0.5", "3"),
        ("not f > 1", "0"),
        ("x > 1.5", "13"),
        ("small < 1000", "013"),
        ("not small < 1000", ""),
        ("small in (1, 1000)", "0"),
        ("1 <= small", "01"),
        ("`pub year` >= 2020", "12"),
        ("not `ｶﾃｺﾞﾘ` == 'x'", "1"),
        ("ｶﾃｺﾞﾘ == 'x'", "03"),
        ("day > '2024-01-14'", "12"),
        ("not day == '2024-01-15'", "02"),
        ("day in ('2024-01-15', '2024-01-16')", "12"),
        ("'2024-01-14T12:00:00Z' < at <= '2024-01-15T09:00:00+09:00'", "1"),
        ("at is None", "3"),
    ):
        hits = index.search(np.ones((1, 16), np.float32), 4, filter=condition)[0]
        assert sorted(hit.id for hit in hits) == list(found), condition
    if kind not in ("qdrant", "edge"):  # whose payload is JSON: decimals are texts there
        hits = index.search(np.ones((1, 16), np.float32), 4, filter="price >= 1.1 and price != 2")[0]
        assert sorted(hit.id for hit in hits) == ["0", "3"]
        assert {hit.payload["price"] for hit in hits} == {Decimal("1.10"), Decimal("3.30")}
    for condition, said in (("`a`b` == 1", "filter"), ("x > ", "expected a condition"), ("day > 'soon'", "filter")):
        with pytest.raises(WrongUse, match=said):
            index.search(np.ones((1, 16), np.float32), 4, filter=condition)


def test_what_a_database_cannot_compare_is_one_line(tmp_path):
    index = made("lance", tmp_path, "dot")
    index.add(["a"], np.eye(1, 16, dtype=np.float32), {"t": [datetime.time(12)], "s": ["x"], "tags": [["x"]]})
    for condition, said in (
        ("t > '11:00'", "LanceDB compares no time64"),
        ("s", "holds text"),
        ("tags == 'x'", "can only be asked for by is None"),
    ):
        with pytest.raises(WrongUse, match=said):
            index.search(np.ones((1, 16), np.float32), 1, filter=condition)
    with pytest.raises(DataError, match="add: LanceDB does not take it"):
        made("lance", tmp_path / "b", "dot").add(["a"], np.eye(1, 16, dtype=np.float32), {"a.b": [1]})
    with pytest.raises(DataError, match="payload column 'x': expected values of one type"):
        index.add(["b"], np.eye(1, 16, dtype=np.float32), {"x": [1, "b"]})
    index = made("qdrant", tmp_path, "dot")
    index.add(["a"], np.eye(1, 16, dtype=np.float32), {"s": ["x"], "raw": [b"\xff"], 'a"b': [1]})
    assert index.search(np.ones((1, 16), np.float32), 1)[0][0].payload == {"s": "x", "raw": "/w==", 'a"b': 1}
    for condition, said in (
        ("s > 'b'", "Qdrant compares numbers and dates by >"),
        ('`a"b` == 1', "none with a double quote"),
        ("s > '12024-01-01'", "up to the year 9999"),
    ):
        with pytest.raises(WrongUse, match=said):
            index.search(np.ones((1, 16), np.float32), 1, filter=condition)


def test_lance_compacts_itself_and_is_found_again(tmp_path):
    index = made("lance", tmp_path, "cosine", compact_every=5)
    vectors = vectors_of()
    for i in range(12):
        index.add([f"n{i}"], vectors[i : i + 1], {"year": [i]})
    assert len(list((tmp_path / "lance").rglob("*.lance"))) < 10
    again = made("lance", tmp_path, "cosine")
    assert len(again) == 12
    with pytest.raises(WrongUse, match="no field 'yaer'; there are: year"):
        again.search(vectors[:1], 3, filter="yaer > 1")


@pytest.mark.parametrize("kind", ["lance", "qdrant", "edge", "postgres"])
def test_texts_need_an_embedder(kind, tmp_path):
    with pytest.raises(WrongUse, match="texts need an embedder"):
        made(kind, tmp_path / "a", "cosine").search("a text")
    index = made(kind, tmp_path / "b", "cosine", embedder=HashingEmbedder(16), text="text")
    index.add(["a", "b"], ["a red dog", "one blue boat"], {"text": ["a red dog", "one blue boat"]})
    assert index.search("blue boat", 1)[0][0].text == "one blue boat"
    with pytest.raises(WrongUse, match="expected a metric"):
        made(kind, tmp_path / "c", "poincare")


def test_a_condition_in_sql_lets_nothing_out_of_its_quotes():
    assert sql(parse('name == "x\' OR 1 = 1 --"', None)) == "`name` = 'x'' OR 1 = 1 --'"
    assert sql(parse("a in () or not b is None", None)) == "((1 = 0) OR (NOT (`b` IS NULL)))"
    with pytest.raises(WrongUse, match="expected a field's name"):
        parse("1 == 2", None)


@pytest.mark.parametrize("kind", ["umekomi", "lance", "qdrant", "edge", "postgres"])
def test_own_columns_and_ids_are_whole_or_refused(kind, tmp_path):
    index, vectors = made(kind, tmp_path, "cosine"), vectors_of(2)
    own = {"lance": {"__id__", "vector", "_distance"}, "postgres": {"__id__", "__vector__", "ctid"}}.get(
        kind, {"__id__"}
    )
    for name in sorted(own):
        with pytest.raises(WrongUse, match=f"{name}.* rename that column"):
            index.add(["a", "b"], vectors, {name: [1, 2]})
    with pytest.raises(DataError, match="expected every payload column once, found '1' twice"):
        index.add(["a", "b"], vectors, {1: [1, 2], "1": [3, 4]})
    for odd in (None, float("nan"), 1.0, b"a", True, ""):
        with pytest.raises(DataError, match="add: expected an id .text or a whole number., found .* in row 2"):
            index.add(["a", odd], vectors)
    assert len(index) == 0
    free = (
        {"vector", "_distance", "_rowid", "id", "payload", "score", "text", "__row", "distance"}
        - own
        - {*(("_rowid",) if kind == "lance" else ())}
    )
    columns = {name: [f"{name} 1", f"{name} 2"] for name in free}
    index.add(["a", np.int64(2)], vectors, columns)
    hits = index.search(vectors, 1)
    assert [hit.id for (hit,) in hits] == ["a", "2"]
    assert [hit.payload for (hit,) in hits] == [{name: f"{name} {row}" for name in free} for row in (1, 2)]


@pytest.mark.parametrize("kind", ["umekomi", "lance", "qdrant", "edge", "postgres"])
def test_huge_and_tiny_vectors_are_right_or_refused(kind, tmp_path):
    vectors = vectors_of(4).astype(np.float64)
    whole = similarities.similarity_function("cosine")(vectors, vectors)
    index = made(kind, tmp_path, "cosine")
    index.add(["0", "1", "2", "3"], vectors * np.array([[1e30], [1e-30], [1.0], [1e36]]))
    for factor in (1e30, 1e-35, 1.0):
        for row, hits in enumerate(index.search(vectors * factor, 4)):
            assert [hit.id for hit in hits] == [str(each) for each in np.argsort(-whole[row])]
            assert [hit.score for hit in hits] == pytest.approx(np.sort(whole[row])[::-1], abs=1e-5)
    (tmp_path / "dot").mkdir()
    dot = made(kind, tmp_path / "dot", "dot")
    for factor in (1e30, 1e-30):
        with pytest.raises(WrongUse, match="added vectors: expected lengths from 1e-15 to 1e.15"):
            dot.add(["0", "1", "2", "3"], vectors * factor)
    for k in (0, 2.5, True):
        with pytest.raises(WrongUse, match="k: expected a whole number from 1 up"):
            dot.search(vectors, k)


def test_qdrants_payloads_become_columns_in_a_time_that_grows_with_them():
    pytest.importorskip("qdrant_client")
    from umekomi.indexes.adapters.qdrant import columns_of

    looked = 0

    class Counting(dict):
        def get(self, name, default=None):
            nonlocal looked
            looked += 1
            return super().get(name, default)

    found = columns_of([Counting(year=i) if i % 2 else Counting(year=i, word=f"w{i}") for i in range(100)])
    assert found == {"year": list(range(100)), "word": [None if i % 2 else f"w{i}" for i in range(100)]}
    assert looked == 200  # each field of a row once, not once for every field of every other row


@pytest.mark.parametrize("kind", ["lance", "qdrant", "edge", "postgres"])
def test_what_is_another_s_or_of_another_width_is_refused_by_all_alike(kind, tmp_path):
    if kind == "postgres":
        from indexes import postgres

        name = f"{tmp_path.name} other"
        postgres.execute(f'CREATE TABLE "{name}" (x text)')
        address = postgres.with_table(name)
    elif kind == "lance":
        database = pytest.importorskip("lancedb").connect(tmp_path / "l")
        database.create_table("other", pa.table({"x": ["a"]}))
        address, name = f"lance://{tmp_path}/l/other", "other"
    else:
        models = pytest.importorskip("qdrant_client").models
        name, scheme = "other", "qdrant"
        if kind == "edge":
            pytest.importorskip("qdrant_edge")
            from umekomi.indexes.adapters.edge import EdgeClient

            scheme, client = "qdrant+edge", EdgeClient(tmp_path / "q")
        else:
            from qdrant_client import QdrantClient

            client = QdrantClient(path=tmp_path / "q")
        client.create_collection("other", vectors_config=models.VectorParams(size=16, distance=models.Distance.COSINE))
        client.close()
        address = f"{scheme}://{tmp_path}/q/other"
    for use in (lambda: open_database(address), lambda: create_database(address, dimension=16)):
        with pytest.raises(WrongUse, match="there is such a (table|collection), and umekomi index did not make it"):
            use()
    own = address.replace(name.replace(" ", "%20"), f"{tmp_path.name}own")
    with create_database(own, dimension=16) as index:
        index.add(["a"], vectors_of(1))
    with pytest.raises(WrongUse, match="holds 16 dimensions compared by cosine: expected 8 by dot"):
        create_database(own, dimension=8, metric="dot")


@pytest.mark.parametrize("kind", ["qdrant", "edge"])
def test_a_walk_that_misses_is_told_and_walks_further(kind, tmp_path):
    """As a graph does: the best hits are found from an effort of 160 on, and under a filter every row is looked at."""
    with made(kind, tmp_path, "cosine") as index:
        index.add([f"n{i}" for i in range(1200)], vectors_of(1200), {"year": list(range(1200))})
        real, asked = index.client.query_points, []

        def walking(name, *, query, limit, query_filter, search_params):
            asked.append(search_params)
            answer = real(name, query=query, limit=limit, query_filter=query_filter, search_params=search_params)
            if not search_params.exact and search_params.hnsw_ef < 160:
                answer.points = answer.points[limit // 2 :]
            return answer

        index.client.query_points = walking
        assert index.check() < 0.7
        index.compact(recall=0.95)
        assert index.kind.settings()["effort"] == 160 and index.check() == 1.0
        asked.clear()
        query = vectors_of(1200)[7:8]
        assert index.search(query, 3, filter="year < 5")[0][0].id in {f"n{i}" for i in range(5)}
        assert index.search(query, 1)[0][0].id == "n7"
        assert [(each.exact or False, each.hnsw_ef) for each in asked] == [(True, None), (False, 160)]
