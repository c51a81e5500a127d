"""A hybrid index from file to answer: what a comparison judged is what the index gives; legs, filters, the last
stage."""

from __future__ import annotations

import csv
import json
import random

import numpy as np
import pytest

from umekomi.cli.main import main
from umekomi.comparison.leaderboard import next_command
from umekomi.data import load
from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.indexes import Index, lexical
from umekomi.models.untrained import HashingEmbedder
from umekomi.tasks.retrieval import RetrievalTask
from umekomi.verbs.compare import compare
from umekomi.verbs.index import index as build
from umekomi.verbs.search import search

WORDS = [
    f"{first}{last}" for first in ("ba", "ri", "mo", "tu", "ke") for last in ("nk", "ver", "ney", "lip", "ttle", "rd")
]


def pairs(rows: int = 150):
    generator = random.Random(5)
    out = []
    for i in range(rows):
        topic = generator.sample(WORDS, 7)
        out.append(
            {
                "anchor": " ".join([*topic[:3], f"q{i % 9}"]),
                "positive": " ".join(topic[1:] + generator.choices(WORDS, k=9)),
            }
        )
    return out


def written(path, texts, first: int = 0):
    with path.open("w", newline="", encoding="utf-8") as stream:
        out = csv.writer(stream)
        out.writerow(["id", "text", "year"])
        out.writerows([f"d{i}", text, 2000 + i % 25] for i, text in enumerate(texts, first))
    return path


def test_the_index_gives_what_the_comparison_judged(tmp_path):
    """nDCG@10 through the index is the comparison's row, query by query; so are both legs alone."""
    model = "lsa"
    found = compare(["bm25", model], pairs(), out=tmp_path / "c", hybrid=True)
    rows = {row.candidate: row for row in found.rows}
    assert f"bm25+{model}" in rows
    from umekomi.comparison.plan import plan

    task = plan(load(pairs()), None, None, learns=False, seed=0, max_queries=None).task
    assert isinstance(task, RetrievalTask)
    ids = task.data.corpus["id"].to_pylist()
    texts = task.data.corpus["text"].to_pylist()
    index = build(f"bm25+{model}", written(tmp_path / "t.csv", texts), tmp_path / "i")
    queries = task.data.queries["text"].to_pylist()
    for leg, candidate in ((None, f"bm25+{model}"), ("bm25", "bm25"), ("vectors", model)):
        numbers = np.zeros((len(queries), min(100, len(ids))), np.int64)
        scores = np.full(numbers.shape, -np.inf)
        for query, hits in enumerate(index.search(queries, numbers.shape[1], leg=leg)):
            for place, hit in enumerate(hits):
                numbers[query, place], scores[query, place] = int(hit.id[1:]), hit.score
        result = task.result(numbers, scores)
        row = rows[candidate]
        assert result.metric == row.metric == "ndcg@10"
        np.testing.assert_allclose(result.main.values, row.values, atol=1e-9, err_msg=candidate)
    if found.winner == f"bm25+{model}":
        assert found.next_command.startswith(f"umekomi index bm25+{rows[found.winner].model} YOUR_TEXTS")


def test_the_index_gives_what_the_comparison_tuned(tmp_path):
    """nDCG@10 through an index made with the fusion that a comparison chose is its tuned row, query by query."""
    rows = pairs(120)
    HashingEmbedder.default().save(tmp_path / "model")
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    for name, column in (("corpus", "positive"), ("queries", "anchor")):
        lines = [json.dumps({"_id": f"{column[0]}{n}", "text": row[column]}) for n, row in enumerate(rows)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    for name, part in (("train", range(60)), ("test", range(60, 120))):
        judged = "".join(f"a{n}\tp{n}\t1\n" for n in part)
        (folder / "qrels" / f"{name}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    model = str(tmp_path / "model")
    found = compare(["bm25", model], str(folder), out=tmp_path / "c", hybrid=True)
    judged = {row.candidate: row for row in found.rows}
    tuned = judged[f"bm25+{model}:tuned"]
    assert "chosen on 60 training queries" in " ".join(tuned.notes)
    assert tuned.fusion is not None and judged[f"bm25+{model}"].fusion is None
    command = next_command(tuned, "retrieval")
    assert command.endswith(f"--out library --fusion {tuned.fusion}")
    task = RetrievalTask(load(str(folder), "test"), "beir")
    texts = written(tmp_path / "t.csv", task.data.corpus["text"].to_pylist())
    queries = task.data.queries["text"].to_pylist()
    for fusion, candidate in (
        (tuned.fusion, f"bm25+{model}:tuned"),
        (None, f"bm25+{model}"),
        ("convex:1", "bm25"),
    ):
        index = build(f"bm25+{model}", texts, tmp_path / f"i {fusion}", fusion=fusion)
        copied = build(None, tmp_path / f"i {fusion}", tmp_path / f"j {fusion}")
        for each in (index, copied):
            numbers = np.zeros((len(queries), 100), np.int64)
            scores = np.full(numbers.shape, -np.inf)
            for query, hits in enumerate(each.search(queries, 100)):
                for place, hit in enumerate(hits):
                    numbers[query, place], scores[query, place] = int(hit.id[1:]), hit.score + 1e-9
            np.testing.assert_allclose(
                task.result(numbers, scores).main.values, judged[candidate].values, atol=1e-9, err_msg=str(fusion)
            )
    assert judged[f"bm25+{model}"].values != tuned.values


def test_a_fusion_is_written_with_the_index_and_read_with_suspicion(tmp_path, capsys):
    texts = written(tmp_path / "t.csv", [row["positive"] for row in pairs(30)])
    words = ["index", "bm25+hashing", str(texts), "--out", str(tmp_path / "i"), "--fusion", "reciprocal-rank:0.30"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fusion"] == "reciprocal-rank:0.3"
    opened = Index(tmp_path / "i")
    query = pairs(30)[7]["anchor"]
    places: dict[str, float] = {}
    for leg, share in (("bm25", 0.3), ("vectors", 0.7)):
        for rank, hit in enumerate(opened.search(query, 30, leg=leg)[0], 1):
            places[hit.id] = places.get(hit.id, 0) + share / (60 + rank)
    hits = opened.search(query, 5)[0]
    assert [hit.score for hit in hits] == pytest.approx(sorted(places.values(), reverse=True)[:5])
    assert all(hit.score == pytest.approx(places[hit.id]) for hit in hits)
    opened.delete(["d3"])
    opened.compact()
    assert Index(tmp_path / "i").about["lexical"]["fusion"] == "reciprocal-rank:0.3"
    assert main(["index", "--out", str(tmp_path / "i"), "--compact"]) == 0
    assert "fused by reciprocal-rank:0.3" in capsys.readouterr().out
    for use, said in (
        (lambda: build("bm25+hashing", texts, tmp_path / "j", fusion="convex"), "fusion: expected convex or recip"),
        (lambda: build("bm25+hashing", texts, tmp_path / "j", fusion="convex:1.5"), "weight from 0 to 1"),
        (lambda: build("bm25+hashing", texts, tmp_path / "j", fusion="convex:nan"), "weight from 0 to 1"),
        (lambda: build("bm25+hashing", texts, tmp_path / "j", fusion="sum:0.5"), "found 'sum:0.5'"),
        (lambda: build("hashing", texts, tmp_path / "j", fusion="convex:0.5"), "fusion is of a new index of both legs"),
        (lambda: build("bm25+hashing", texts, tmp_path / "i", fusion="convex:0.5", add=True), "fusion is of a new"),
        (lambda: build(None, tmp_path / "i", tmp_path / "j", fusion="convex:0.5"), "fusion is of a new index"),
        (lambda: lexical.settings("words", fusion="convex"), "lexical: no tokenizer|fusion: expected"),
        (lambda: lexical.check(opened.about["lexical"] | {"fusion": 0.3}), "lexical: fusion: expected str, found 0.3"),
        (lambda: lexical.check(opened.about["lexical"] | {"fusion": "convex:2"}), "fusion: expected convex"),
        (lambda: lexical.check(opened.about["lexical"] | {"more": 1}), "lexical: expected words"),
    ):
        with pytest.raises((UmekomiError, ValueError), match=said):
            use()
    assert not (tmp_path / "j").exists()


def test_add_search_and_the_last_stage(tmp_path):
    texts = [row["positive"] for row in pairs(60)]
    index = build("bm25+hashing", written(tmp_path / "t.csv", texts[:40]), tmp_path / "i", rerank="hashing", depth=20)
    assert index.about["rerank"] == {"model": "hashing", "depth": 20}
    index = build("bm25+hashing", written(tmp_path / "more.csv", texts[40:], 40), tmp_path / "i", add=True)
    assert len(index) == 60 and index.legs == ("bm25", "vectors")
    query = texts[45]
    first = search(tmp_path / "i", query, k=5, rerank="none")
    assert first[0].id == "d45" and 0 < first[0].score < 0.04  # reciprocal ranks
    ordered = search(tmp_path / "i", query, k=5)
    assert len(ordered) == 5 and ordered[0].score > 0.04  # the reranker's own scores
    own = index.embedder.similarity(index.embedder.encode([query]), index.embedder.encode(texts))[0]
    assert all(hit.score == pytest.approx(own[int(hit.id[1:])], abs=1e-5) for hit in ordered)
    within = {hit.id for hit in search(tmp_path / "i", query, k=20, rerank="none", mark=False)}
    assert {hit.id for hit in ordered} <= within
    alone = search(tmp_path / "i", query, k=3, leg="bm25", rerank="none", filter="year >= 2010")
    assert all(int(hit.payload["year"]) >= 2010 for hit in alone)
    in_file = search("hashing", query, tmp_path / "t.csv", k=3, rerank="hashing", depth=10)
    assert len(in_file) == 3
    for use, said in (
        (lambda: build("hashing+bm25", tmp_path / "t.csv", tmp_path / "j"), r"expected a model, or bm25\+MODEL"),
        (lambda: build("bm25+", tmp_path / "t.csv", tmp_path / "j"), r"expected a model, or bm25\+MODEL"),
        (lambda: build("bm25+nosuch", tmp_path / "t.csv", tmp_path / "j"), "nosuch"),
        (lambda: build("bm25+hashing", tmp_path / "t.csv", tmp_path / "j", rerank="nosuch"), "nosuch"),
        (
            lambda: build("bm25+hashing", tmp_path / "t.csv", tmp_path / "j", rerank="hashing", depth=0),
            "depth: expected a whole",
        ),
        (lambda: search(tmp_path / "i", query, depth=0), "depth: expected a whole"),
        (lambda: search(tmp_path / "i", query, leg="bm52"), "leg: expected bm25 or vectors"),
        (lambda: search("hashing", query, tmp_path / "t.csv", leg="bm25"), "a leg needs an index"),
        (lambda: search(tmp_path / "i", query, rerank="nosuch"), "nosuch"),
    ):
        with pytest.raises(UmekomiError, match=said):
            use()
    assert not (tmp_path / "j").exists()
    build("hashing", tmp_path / "t.csv", tmp_path / "plain")
    with pytest.raises(WrongUse, match=r"has no lexical leg: leave out bm25\+"):
        build("bm25+hashing", tmp_path / "more.csv", tmp_path / "plain", add=True)
    index.note(rerank=3)
    with pytest.raises(DataError, match="rerank: expected a model and a depth, found 3"):
        search(tmp_path / "i", query)


def test_the_server_answers_by_both_legs(tmp_path):
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    from starlette.testclient import TestClient

    from umekomi.server.app import Settings
    from umekomi.server.routes import application

    texts = [row["positive"] for row in pairs(60)]
    index = build("bm25+hashing", written(tmp_path / "t.csv", texts), tmp_path / "notes", rerank="random", depth=30)
    app = application([], [tmp_path / "notes"], Settings(hosts=frozenset({"testserver"})))
    query = " ".join(texts[7].split()[:3])
    with TestClient(app, raise_server_exceptions=False) as client:

        def ask(**more):
            answer = client.post("/v1/search", json={"query": query, "k": 5, **more})
            return answer.status_code, answer.json()

        (listed,) = client.get("/v1/indexes").json()["data"]
        assert (listed["legs"], listed["rerank"]) == (["bm25", "vectors"], "random")
        for leg in (None, "bm25", "vectors"):
            status, found = ask(rerank="none", **({"leg": leg} if leg else {}))
            hits = index.search(query, 5, leg=leg)[0]
            assert status == 200
            assert [hit["id"] for hit in found["results"]] == [hit.id for hit in hits]
            np.testing.assert_allclose(
                [hit["score"] for hit in found["results"]], [hit.score for hit in hits], rtol=1e-6
            )
        status, found = ask()
        assert status == 200 and found["model"] == "random" and len(found["results"]) == 5
        within = {hit.id for hit in index.search(query, 30)[0]}
        assert {hit["id"] for hit in found["results"]} <= within
        assert [hit["id"] for hit in found["results"]] != [hit.id for hit in index.search(query, 5)[0]]
        status, found = ask(leg="bm52", rerank="none")
        assert status == 400 and "leg: expected bm25 or vectors" in json.dumps(found)
        vector = index.embedder.encode_query([query])[0].tolist()
        status, found = ask(query=vector)
        assert status == 200
        assert [hit["id"] for hit in found["results"]] == [hit.id for hit in index.search(query, 5, leg="vectors")[0]]
        status, found = ask(query=vector, leg="bm25")
        assert status == 400 and "texts" in json.dumps(found)
