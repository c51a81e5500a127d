"""The benchmarks are measured by hand; here only that each is there, and that a rate is what it says."""

import importlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

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


def test_a_wrong_name():
    found = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "run.py"), "poincar"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert "no benchmark named 'poincar'; there are: poincare, starspace" in found.stderr
