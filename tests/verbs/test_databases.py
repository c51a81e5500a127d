"""``umekomi index``, ``search`` and ``serve`` by address: PostgreSQL, Qdrant's folder and LanceDB alike."""

from __future__ import annotations

import csv
from itertools import pairwise

import numpy as np
import pytest
from indexes import postgres

from umekomi.cli.main import main
from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.indexes import Index
from umekomi.indexes.adapters import PostgresIndex, addresses, open_database
from umekomi.indexes.opening import open_index
from umekomi.verbs import index as module
from umekomi.verbs.index import index as build
from umekomi.verbs.search import search

TEXTS = [
    f"note {i} about {('tea', 'boats', 'stones', 'rain', 'trains')[i % 5]} and {i % 7} other things" for i in range(50)
]


def written(path, texts=TEXTS, first: int = 0):
    with path.open("w", newline="", encoding="utf-8") as stream:
        out = csv.writer(stream)
        out.writerow(["id", "text", "year"])
        out.writerows([f"d{i}", text, 2000 + i % 25] for i, text in enumerate(texts, first))
    return path


def address(kind: str, folder, name: str = "notes") -> str:
    if kind == "postgres":
        pytest.importorskip("psycopg")
        postgres.execute(f'DROP TABLE IF EXISTS "{folder.name} {name}"')
        return postgres.with_table(f"{folder.name} {name}")
    pytest.importorskip({"lance": "lancedb", "qdrant": "qdrant_client", "edge": "qdrant_edge"}[kind])
    return f"{'qdrant+edge' if kind == 'edge' else kind}://{folder}/{kind}/{name}"


def free(opened) -> None:
    """A folder of Qdrant's is one client's at a time."""
    if not isinstance(opened, Index):
        opened.close()


@pytest.mark.parametrize("kind", ["postgres", "lance", "qdrant", "edge"])
def test_an_interrupted_run_goes_on_and_answers_as_an_index_does(kind, tmp_path, monkeypatch):
    source, place = written(tmp_path / "t.csv"), address(kind, tmp_path)
    own = build("hashing", source, tmp_path / "own")
    monkeypatch.setattr(module, "ROWS", 20)

    class Stop(Exception):
        pass

    class Bar(module.Progress):
        def advance(self, rows):
            super().advance(rows)
            raise Stop

    monkeypatch.setattr(module, "Progress", Bar)
    for _ in range(2):  # stopped behind each batch
        with pytest.raises(Stop):
            build("hashing", source, place)
    monkeypatch.undo()
    monkeypatch.setattr(module, "ROWS", 20)
    opened = open_database(place)
    assert len(opened) == 40 and not opened.about["job"]["finished"]
    free(opened)
    opened = build("hashing", source, place)
    assert len(opened) == 50 and opened.about["job"]["finished"]
    free(opened)
    for query, condition in (("boats and rain", None), ("3 other things", "year > 2010 and text != 'x'")):
        expected = search(own, query, k=6, filter=condition)
        found = search(place, query, k=6, filter=condition)
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-5)
        assert {hit.id for hit in found[:3]} <= {hit.id for hit in search(own, query, k=20, filter=condition)}
        assert all(hit.text and set(hit.payload) == {"year"} for hit in found)
    with pytest.raises(WrongUse, match="holds an index already"):
        build("hashing", source, place)
    added = build("hashing", written(tmp_path / "more.csv", ["one more about tea"], 50), place, add=True)
    assert len(added) == 51
    added.delete(["d50", "d0"])
    free(added)
    for use, said in (
        (lambda: build("random", source, place, add=True), "holds vectors of another model"),
        (lambda: build("bm25+hashing", source, place), "a database holds vectors alone: leave out bm25"),
        (lambda: build("lsa", source, place, add=True), "a database keeps no model: train lsa first"),
        (lambda: build("bm25", source, place, add=True), "a database keeps no model"),
        (lambda: build("hashing", source, place, kind="binary"), "index kind binary: "),
        (lambda: search(place, "tea", leg="bm25"), "leg: expected vectors"),
        (lambda: search(place, "tea", source), "is an index: it is searched itself"),
    ):
        with pytest.raises(UmekomiError, match=said):
            use()
    nowhere = place.replace("notes", "nothing")
    with pytest.raises(WrongUse, match="there is no such"):
        search(nowhere, "tea")


def test_rows_go_from_any_to_any(tmp_path):
    """Own, PostgreSQL, LanceDB, Qdrant and back: the same rows with the same payload and the same answers."""
    own = build("hashing", written(tmp_path / "t.csv"), tmp_path / "own")
    own.delete(["d7"])
    places = [str(tmp_path / "own"), *(address(kind, tmp_path) for kind in ("postgres", "lance", "qdrant", "edge"))]
    places.append(str(tmp_path / "back"))
    for before, after in pairwise(places):
        target = build(None, before, after)
        assert len(target) == 49 and target.about["model"] == own.about["model"]
        free(target)
    back = Index(tmp_path / "back")
    queries = own.embedder.encode_query(["boats and rain", "4 other things"])
    for one, two in zip(
        own.search(queries, 8, filter="year >= 2003"), back.search(queries, 8, filter="year >= 2003"), strict=True
    ):
        assert [hit.score for hit in one] == pytest.approx([hit.score for hit in two], abs=1e-6)
        ids = {hit.id: hit for hit in two}
        for hit in one[:3]:
            assert hit.id not in ids or (ids[hit.id].text, ids[hit.id].payload) == (hit.text, hit.payload)
    hybrid = build("bm25+hashing", written(tmp_path / "t.csv"), tmp_path / "hybrid")
    copied = build(None, tmp_path / "hybrid", tmp_path / "hybrid2")
    assert copied.legs == hybrid.legs
    assert [hit.id for hit in copied.search("boats tea", 5)[0]] == [hit.id for hit in hybrid.search("boats tea", 5)[0]]
    for use, said in (
        (lambda: build("hashing", tmp_path / "own", tmp_path / "x"), "taken as they are: leave out the model"),
        (lambda: build(None, tmp_path / "own", tmp_path / "back"), "holds an index already"),
        (lambda: build(None, places[2].replace("notes", "no"), tmp_path / "x"), "there is no such table"),
    ):
        with pytest.raises(UmekomiError, match=said):
            use()


def test_a_copy_that_was_stopped_goes_on(tmp_path, monkeypatch):
    own = build("hashing", written(tmp_path / "t.csv"), tmp_path / "own")
    place = address("postgres", tmp_path)
    whole = module.batches_of

    def stopping(source, after=None, rows=20):
        for number, batch in enumerate(whole(source, after, 20)):
            if number == 2:
                raise DataError("stopped")
            yield batch

    monkeypatch.setattr(module, "batches_of", stopping)
    with pytest.raises(DataError, match="stopped"):
        build(None, own.where, place)
    assert len(open_database(place)) == 40
    monkeypatch.setattr(module, "batches_of", lambda source, after: whole(source, after, 20))
    assert len(build(None, own.where, place, kind="hnsw", connections=4)) == 50
    opened = open_index(place)
    assert opened.about["job"]["finished"] and opened.kind.name == "hnsw"
    assert sorted(name for batch in opened.batches(rows=7) for name in batch.ids) == sorted(f"d{i}" for i in range(50))


@pytest.mark.parametrize("kind", ["postgres", "qdrant", "edge"])
def test_every_verb_closes_what_it_opened(kind, tmp_path, monkeypatch, capsys):
    """Connections and locks of folders end with the job, whether it succeeds or fails, not when they are collected."""
    source, place = written(tmp_path / "t.csv"), address(kind, tmp_path)
    opened = []

    def noted(made):
        def open_(*given):
            opened.append(made(*given))
            return opened[-1]

        return open_

    def is_closed(each):
        return each.closed if kind == "postgres" else not each._shards if kind == "edge" else each._client.closed

    if kind == "postgres":
        monkeypatch.setattr(PostgresIndex, "_connect", noted(PostgresIndex._connect))
    else:
        monkeypatch.setattr(addresses, "_client", noted(addresses._client))
    nowhere, own = place.replace("notes", "nothing"), str(tmp_path / "own")
    for words, status in (
        (["search", place, "tea"], 2),  # nothing is there yet
        (["index", "hashing", str(source), "--out", place, "--add"], 2),
        (["index", "hashing", str(source), "--out", place], 0),
        (["index", "hashing", str(source), "--out", place], 2),
        (["index", "random", str(source), "--out", place, "--add"], 2),
        (["index", "hashing", str(source), "--out", place, "--add"], 1),  # ids that are there
        (["search", place, "tea"], 0),
        (["search", place, "tea", "--filter", "year >"], 2),
        (["index", "--out", place, "--compact", "--check"], 0),
        (["index", "--out", place, "--verify"], 2),
        (["index", "--out", place, "--delete", "none"], 1),
        (["index", place, "--out", own], 0),
        (["index", place, "--out", own], 2),
        (["index", nowhere, "--out", own, "--add"], 2),
        (["index", own, "--out", place.replace("notes", "copy")], 0),
        (["index", own, "--out", place.replace("notes", "copy")], 2),
    ):
        before = len(opened)
        assert main(words) == status, (words, capsys.readouterr().err)
        assert len(opened) > before, words
        assert [is_closed(each) for each in opened[before:]] == [True] * (len(opened) - before), words


def test_the_server_answers_from_a_database(tmp_path, monkeypatch):
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    from starlette.testclient import TestClient

    from umekomi.server.app import Settings
    from umekomi.server.routes import application

    place = address("postgres", tmp_path)
    opened = build("hashing", written(tmp_path / "t.csv"), place)
    app = application([], [place], Settings(hosts=frozenset({"testserver"})))
    (held, _) = app.state.umekomi.indexes[f"{tmp_path.name} notes"]
    with TestClient(app, raise_server_exceptions=False) as client:
        (listed,) = client.get("/v1/indexes").json()["data"]
        assert (listed["rows"], listed["map"], listed["legs"]) == (50, 0, ["vectors"])
        answer = client.post("/v1/search", json={"query": "boats", "k": 4, "filter": "year > 2005", "mark": True})
        assert answer.status_code == 200
        expected = opened.search("boats", 4, filter="year > 2005")[0]
        np.testing.assert_allclose(
            [hit["score"] for hit in answer.json()["results"]], [hit.score for hit in expected], atol=1e-5
        )
        refused = client.get(f"/v1/indexes/{listed['id']}/map")
        assert refused.status_code == 400 and "lies in a database" in refused.text
        answer = client.post("/v1/search", json={"query": "boats", "filter": "yaer > 2005"})
        assert answer.status_code == 400 and "yaer" in answer.text
        assert not held._connection.closed
    assert held._connection.closed
    connect, connected = PostgresIndex._connect, []
    monkeypatch.setattr(PostgresIndex, "_connect", lambda self: connected.append(connect(self)) or connected[-1])
    with pytest.raises(WrongUse, match="two indexes are called"):
        application([], [place, place], Settings())
    assert [each.closed for each in connected] == [True]
