"""The verb ``index``: what a kill leaves goes on, nonsense is one line before any work."""

from __future__ import annotations

import json
import os
import signal

import pytest

from umekomi.errors import DataError, WrongUse
from umekomi.indexes import Index
from umekomi.verbs.index import index
from umekomi.verbs.search import search


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"text number {100 + i} of a few", "n": i}) + "\n" for i in range(20)))
    return path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "where",
    ["umekomi.models.base.EmbedderBase.save", "umekomi.indexes.index.Index.add", "umekomi.indexes.index.Index.compact"],
)
def test_a_run_that_is_killed_at_any_step_goes_on(tmp_path, texts, where, monkeypatch):
    child = os.fork()
    if not child:
        try:
            monkeypatch.setattr(where, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            index("tfidf", texts, tmp_path / "i")
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert index("tfidf", texts, tmp_path / "i").about["job"]["finished"]
    assert search(tmp_path / "i", "number 107", k=1)[0].id == "8"
    with pytest.raises(WrongUse, match="holds an index already"):
        index("tfidf", texts, tmp_path / "i")


def test_nonsense_is_refused_before_any_work(tmp_path, texts, monkeypatch):
    monkeypatch.setattr("umekomi.verbs.index.open_for_encoding", lambda *_: pytest.fail("a model was opened"))
    for settings, said in (
        ({"batch_size": 0}, "batch_size: expected a whole number from 1 to 2,147,483,647, found 0"),
        ({"dimensions": 0}, "dimensions: expected a whole number from 1 to 2,147,483,647, found 0"),
        ({"dimensions": -3}, "dimensions: expected a whole number from 1 to 2,147,483,647, found -3"),
        ({"kind": "hsnw"}, "the nearest: hnsw"),
        ({"kind": "binary", "shortlist": -1}, "shortlist: expected whole numbers from 0 up"),
        ({"kind": "hnsw", "connections": 10**9}, "connections: expected 1,024 or less"),
        ({"shortlist": 5}, "need a kind by name"),
        ({"recall": 0}, "recall: expected a number, more than 0 and at most 1, found 0"),
        ({"recall": float("nan")}, "recall: expected a number, more than 0 and at most 1, found nan"),
    ):
        with pytest.raises(WrongUse, match=said):
            index("hashing", texts, tmp_path / "i", **settings)
    assert not (tmp_path / "i").exists()


def test_a_search_with_nonsense_is_one_line(tmp_path, texts):
    index("hashing", texts, tmp_path / "i")
    for query, settings, said in (
        (" ", {}, "expected a query, found empty text"),
        ("half \ud83d a pair", {}, "expected a query of whole characters"),
        ("text", {"k": 0}, "k: expected a whole number from 1 to 2,147,483,647, found 0"),
        ("text", {"k": -1}, "k: expected a whole number from 1 to 2,147,483,647, found -1"),
    ):
        with pytest.raises(WrongUse, match=said):
            search(tmp_path / "i", query, **settings)
    assert len(search(tmp_path / "i", "text", k=1000)) == 20


def test_a_foreign_job_is_named(tmp_path, texts):
    opened = index("hashing", texts, tmp_path / "i")
    opened.note(job=[1])
    with pytest.raises(DataError, match="umekomi-index.json: job: expected the key, rows and end of a run"):
        index("hashing", texts, tmp_path / "i", add=True)
    assert len(Index(tmp_path / "i")) == 20
