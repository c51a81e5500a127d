from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zygote
from conftest import ROUNDS

from umekomi.errors import DataError, WrongUse
from umekomi.models.untrained import HashingEmbedder, RandomEmbedder
from umekomi.verbs.encode import encode
from umekomi.verbs.search import search


def texts(path, count, extra=""):
    path.write_text(
        "".join(
            json.dumps({"id": f"n{i}", "text": f"text number {i} says {i * 7 % 13}{extra}"}) + "\n"
            for i in range(count)
        )
    )
    return path


def test_parquet_and_npy_hold_the_same_vectors(tmp_path):
    source = texts(tmp_path / "a.jsonl", 250)
    model = HashingEmbedder(32)
    done = encode(model, source, tmp_path / "v.parquet", shard_rows=64)
    encode(model, source, tmp_path / "v.npy", shard_rows=100)
    table = pq.read_table(tmp_path / "v.parquet")
    assert (done.rows, done.kept, done.truncated, done.dimension) == (250, 0, 0, 32)
    assert table.column_names == ["id", "text", "vector", "truncated"]
    rows = np.stack(table["vector"].to_pylist()).astype(np.float32)
    assert (rows == np.load(tmp_path / "v.npy")).all()
    assert (rows == model.encode(table["text"].to_pylist())).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "v.npy", "v.parquet"], "no shards stay"


def test_truncated_texts_are_told(minilm, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "short"}) + "\n" + json.dumps({"text": "word " * 400}) + "\n")
    done = encode(minilm, tmp_path / "a.jsonl", tmp_path / "v.parquet")
    assert done.truncated == 1
    assert "1 were longer than the model reads" in done.summary()
    assert pq.read_table(tmp_path / "v.parquet")["truncated"].to_pylist() == [False, True]
    with pytest.raises(DataError, match="text 2 is longer than minilm reads"):
        encode(minilm, tmp_path / "a.jsonl", tmp_path / "w.parquet", truncation="error")
    assert not (tmp_path / "w.parquet").exists()
    assert encode(minilm, tmp_path / "a.jsonl", tmp_path / "x.npy", truncation="silent", dimensions=16).dimension == 16


RUN = """
import sys, umekomi
from umekomi.models.untrained import HashingEmbedder
class Slow(HashingEmbedder):
    def _encode(self, items, **o):
        import time; time.sleep(.05)
        return super()._encode(items, **o)
done = umekomi.encode(Slow(64), sys.argv[1], sys.argv[2], shard_rows=50, resume=True)
print(done.rows, done.kept)
"""


@pytest.mark.parametrize("ending", ["parquet", "npy"])
def test_killed_at_random_moments_and_resumed(tmp_path, ending):
    """Three SIGKILLs; every committed shard is encoded once, and the output is an uninterrupted run's."""
    source, out = texts(tmp_path / "a.jsonl", 2000), tmp_path / f"v.{ending}"
    committed = []
    log = tmp_path / f"v.{ending}.shards" / "done.jsonl"
    draw = random.Random(5)
    for _ in range(3):
        process = zygote.Process(source=RUN, words=[source, out])
        before = len(committed)
        for _ in range(300):
            time.sleep(0.05)
            if log.exists() and log.read_text().count("\n") > before + draw.randint(0, 5):
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        committed = [json.loads(line) for line in log.read_text().split("\n")[:-1]]
        assert [entry["shard"] for entry in committed] == list(range(len(committed))), "each shard once, in order"
        assert not out.exists()
    rows, kept = map(int, zygote.Process(source=RUN, words=[source, out]).communicate()[0].split())
    assert rows == 2000
    assert kept == sum(entry["rows"] for entry in committed) > 0
    encode(HashingEmbedder(64), source, tmp_path / f"w.{ending}", shard_rows=50)
    if ending == "npy":
        assert out.read_bytes() == (tmp_path / "w.npy").read_bytes()
    else:
        assert pq.read_table(out).equals(pq.read_table(tmp_path / "w.parquet"))


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from umekomi.verbs.encode import encode
from umekomi.models.untrained import HashingEmbedder
import pyarrow.parquet, numpy, scipy.sparse, sqlite3  # what a child would spend its time on
encode(HashingEmbedder(64), sys.argv[1], sys.argv[2] + ".first.parquet", shard_rows=25)

class Slow(HashingEmbedder):
    costly = True
    def _encode(self, items, **options):
        with open(sys.argv[3], "a") as log:
            log.write("".join(item + chr(10) for item in items))
        time.sleep(.004)
        return super()._encode(items, **options)

draw, kills = random.Random(int(sys.argv[4])), 0
while True:
    child = os.fork()
    if child == 0:
        encode(Slow(64), sys.argv[1], sys.argv[2], shard_rows=25, resume=True, cache=sys.argv[5])
        os._exit(0)
    if kills < int(sys.argv[6]):
        time.sleep(draw.uniform(0, .12))
        os.kill(child, signal.SIGKILL)
        kills += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    else:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        break
    if kills < int(sys.argv[6]) and Path(sys.argv[2]).exists():
        Path(sys.argv[2]).unlink()
        for file in Path(sys.argv[5]).iterdir():
            file.unlink()
print(kills)
"""


def test_kills_lose_nothing(tmp_path):
    """At any moment, also while the cache is written and while shards are joined: what comes out is an uninterrupted
    run's, and never half there."""
    source, out, log, cache = (
        texts(tmp_path / "a.jsonl", 1500),
        tmp_path / "v.parquet",
        tmp_path / "seen",
        tmp_path / "cache",
    )
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(source), str(out), str(log), "3", str(cache), str(ROUNDS)],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == str(ROUNDS)
    assert pq.read_table(out).equals(pq.read_table(str(out) + ".first.parquet"))
    assert [path.name for path in tmp_path.iterdir() if ".shards" in path.name] == []


class Counting(HashingEmbedder):
    """Counts the texts that reach it."""

    costly = True
    seen = 0

    def _encode(self, items, **options):
        type(self).seen += len(items)
        return super()._encode(items, **options)


def test_no_text_is_encoded_twice(tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_text("".join(json.dumps({"text": f"text {i % 30}"}) + "\n" for i in range(100)))
    Counting.seen = 0
    done = encode(Counting(32), source, tmp_path / "v.npy", cache=tmp_path / "cache", shard_rows=20)
    assert (Counting.seen, done.reused) == (30, 70)
    assert "70 of them encoded before" in done.summary()
    assert (np.load(tmp_path / "v.npy") == HashingEmbedder(32).encode([f"text {i % 30}" for i in range(100)])).all()
    texts(tmp_path / "b.jsonl", 5)
    (tmp_path / "b.jsonl").write_text(
        (tmp_path / "b.jsonl").read_text() + json.dumps({"id": "x", "text": "text 3"}) + "\n"
    )
    assert (
        encode(Counting(32), tmp_path / "b.jsonl", tmp_path / "w.npy", cache=tmp_path / "cache", dimensions=8).reused
        == 1
    )
    assert Counting.seen == 35
    assert np.load(tmp_path / "w.npy").shape == (6, 8)
    assert encode(Counting(32), source, tmp_path / "v.npy", cache=tmp_path / "cache", role="query").reused == 70, (
        "another role is another vector"
    )
    assert encode(Counting(32), source, tmp_path / "v.npy", cache=False).reused == 0
    assert encode(HashingEmbedder(32), source, tmp_path / "v.npy", cache=tmp_path / "other").reused == 0, (
        "not kept where encoding costs nothing"
    )
    assert not (tmp_path / "other").exists()


def test_cuts_are_told_of_vectors_from_the_cache_too(minilm, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "short"}) + "\n" + json.dumps({"text": "word " * 400}) + "\n")
    for reused in (0, 2):
        done = encode(minilm, tmp_path / "a.jsonl", tmp_path / "v.parquet", cache=tmp_path / "cache")
        assert (done.truncated, done.reused) == (1, reused)
    with pytest.raises(DataError, match="text 2 is longer than minilm reads"):
        encode(minilm, tmp_path / "a.jsonl", tmp_path / "w.parquet", cache=tmp_path / "cache", truncation="error")
    chunked = encode(minilm, tmp_path / "a.jsonl", tmp_path / "c.npy", cache=tmp_path / "cache", truncation="chunk")
    assert (chunked.truncated, chunked.reused) == (0, 0), "a chunked vector is another one"


def test_a_cache_that_cannot_be_written_is_said_once_and_costs_no_vector(tmp_path, capsys):
    (tmp_path / "file").write_text("a file")
    source = texts(tmp_path / "a.jsonl", 60)
    encode(Counting(32), source, tmp_path / "without.npy", cache=False)
    for cache in (tmp_path / "file", tmp_path / "file" / "below"):
        assert encode(Counting(32), source, tmp_path / "v.npy", cache=cache, shard_rows=20).rows == 60
        assert np.array_equal(np.load(tmp_path / "v.npy"), np.load(tmp_path / "without.npy"))
        assert capsys.readouterr().err.count("note: no vectors are taken from") == 1


@pytest.mark.parametrize("content", [b"no database, but long enough to look like one" * 99, b""])
def test_a_damaged_cache_is_said_once_and_costs_no_vector(tmp_path, capsys, content):
    cache, model = tmp_path / "cache", Counting(32)
    cache.mkdir()
    (cache / f"{model.fingerprint()}.sqlite").write_bytes(content)
    done = encode(model, texts(tmp_path / "a.jsonl", 5), tmp_path / "v.npy", cache=cache)
    assert done.rows == 5
    assert capsys.readouterr().err.count("remove it to have a new one") == bool(content)
    assert np.isfinite(np.load(tmp_path / "v.npy")).all()


def test_a_cache_damaged_while_it_is_open(tmp_path, capsys):
    from umekomi.caching import VectorCache

    cache = VectorCache("f", 4, folder=tmp_path)
    cache._base.execute("drop table vectors")
    keys = [cache.key("a")]
    assert cache.get(keys) == cache.get(keys) == {}
    cache.put(keys, np.ones((1, 4), np.float32), [1], [False])
    cache.close()
    assert len(cache) == 0
    assert capsys.readouterr().err.count("note:") == 1


def test_a_full_cache_is_read_and_no_longer_added_to(tmp_path, capsys):
    from umekomi.caching import VectorCache

    cache = VectorCache("f", 4, folder=tmp_path, largest=1)
    cache.put([cache.key("a")], np.ones((1, 4), np.float32), [1], [False])
    assert len(cache) == 0
    assert "no longer added to" in capsys.readouterr().err
    roomy = VectorCache("f", 4, folder=tmp_path)
    roomy.put([roomy.key("a")], np.ones((1, 4), np.float32), [7], [True])
    vector, tokens, cut = cache.get([cache.key("a")])[cache.key("a")]
    assert (vector.tolist(), tokens, cut) == ([1, 1, 1, 1], 7, True)
    assert VectorCache("f", 4, "other setting", tmp_path).get([cache.key("b")]) == {}


def test_resume_refuses_another_job(tmp_path):
    source = texts(tmp_path / "a.jsonl", 60)

    class Breaks(RandomEmbedder):
        def _encode(self, items, **options):
            if "number 40" in items[-1] or any("number 40 " in item for item in items):
                raise MemoryError("no more")
            return super()._encode(items, **options)

    with pytest.raises(MemoryError):
        encode(Breaks(8), source, tmp_path / "v.npy", shard_rows=20)
    assert not (tmp_path / "v.npy").exists()
    with pytest.raises(WrongUse, match="begun with another model"):
        encode(RandomEmbedder(9), source, tmp_path / "v.npy", shard_rows=20, resume=True)
    texts(source, 61)
    with pytest.raises(WrongUse, match="begun with another source"):
        encode(RandomEmbedder(8), source, tmp_path / "v.npy", shard_rows=20, resume=True)
    assert encode(RandomEmbedder(8), source, tmp_path / "v.npy", shard_rows=20).kept == 0, "without resume, anew"


def test_errors_before_anything_is_written(tmp_path, minilm):
    source = texts(tmp_path / "a.jsonl", 3)
    for call, message in (
        (lambda: encode(minilm, source, tmp_path / "v.csv"), "ending in .parquet or .npy"),
        (lambda: encode(minilm, tmp_path / "no.jsonl", tmp_path / "v.npy"), "no such file"),
        (
            lambda: encode(minilm, source, tmp_path / "v.npy", column="body"),
            "expected the column 'body', found id, text",
        ),
        (
            lambda: encode(minilm, source, tmp_path / "v.npy", truncation="maybe"),
            "expected warn, error, silent or chunk",
        ),
    ):
        with pytest.raises((WrongUse, DataError), match=message):
            call()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl"]


def test_search_in_texts_and_in_saved_vectors_agree(minilm, tmp_path):
    rows = ["Kittens are young cats. They drink milk.", "The market closed lower. Bond yields rose.", "A dog barked."]
    pq.write_table(pa.table({"id": ["a", "b", "c"], "text": rows, "year": [1, 2, 3]}), tmp_path / "t.parquet")
    direct = search(minilm, "interest on bonds", tmp_path / "t.parquet", k=2)
    encode("minilm", tmp_path / "t.parquet", tmp_path / "v.parquet")
    saved = search(None, "interest on bonds", tmp_path / "v.parquet", k=2)
    assert [hit.id for hit in direct] == [hit.id for hit in saved]
    assert direct[0].id == "b"
    assert rows[1][slice(*direct[0].best)] == "Bond yields rose."
    assert direct[0].payload == {"year": 2}
    assert direct[0].score == pytest.approx(saved[0].score, abs=1e-5)
    with pytest.raises(WrongUse, match="was encoded by another model"):
        search(RandomEmbedder(384), "x", tmp_path / "v.parquet")
    with pytest.raises(WrongUse, match="not written by encode: name the model"):
        search(None, "x", tmp_path / "t.parquet")
    with pytest.raises(WrongUse, match="expected a query"):
        search(minilm, " ", tmp_path / "t.parquet")


def test_search_by_a_recipe_learns_from_the_texts(tmp_path):
    source = texts(tmp_path / "a.jsonl", 30)
    hits = search("bm25", "number 17", source, k=3)
    assert hits[0].id == "n17"
    assert search("bm25", "zebra", source) == [], "a match of nothing is no hit"
