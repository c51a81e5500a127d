"""encode over a local Ray cluster of processes, a worker killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from umekomi.errors import WrongUse
from umekomi.models.untrained import HashingEmbedder
from umekomi.verbs.encode import encode

ray = pytest.importorskip("ray")

from umekomi import scale
from umekomi.scale.encoding import plan


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
