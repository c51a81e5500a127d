"""``encode`` over a Ray cluster: Ray Data hands shards to workers that hold the model; what is committed, resumed and
joined is as on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from umekomi.data.readers import Source
from umekomi.errors import DataError
from umekomi.limits import checked
from umekomi.models.engines.choice import open_for_encoding
from umekomi.progress import Progress
from umekomi.scale.cluster import ShardWorker, connected, entries, name_of, need_ray, plan
from umekomi.verbs.encode import SHARD, EncodedFile, Work, begin, check_job, commit, finish


class Worker(ShardWorker):
    """Encodes shards into files of their own."""

    def __init__(self, model: str, job: dict[str, Any]) -> None:
        self.source, self.folder = Path(job["source"]), Path(job["shards"])
        read = Source(self.source, encoding=job["encoding"], column=job["column"], titles=True)
        super().__init__(model, read, job)
        self.work = Work(
            self.embedder,
            job["column"],
            job["role"],
            job["dimensions"],
            job["truncation"],
            job["batch_size"],
            job["suffix"],
            None,
        )

    def shard(self, number: int) -> dict[str, int]:
        first = number * self.shards.rows
        return self.work.shard(self.shards.table(number), self.source, self.folder, number, first)


@checked
def encode(
    model: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    workers: int | None = None,
    cpus: float = 1,
    gpus: float = 0,
    address: str | None = None,
    column: str = "text",
    role: str | None = "document",
    dimensions: int | None = None,
    truncation: str = "warn",
    resume: bool = False,
    shard_rows: int = SHARD,
    batch_size: int = 32,
    engine: str = "auto",
    encoding: str | None = None,
    progress: bool = False,
) -> EncodedFile:
    """:func:`umekomi.encode` by the processes of a Ray cluster. A plan that would leave no core is refused: Ray Data's
    own readers would wait for one for ever.

    The model, the input and the folder of ``out`` must lie where every machine sees them under one path. A worker that
    dies is started again and its shards are encoded anew; what had been committed stays, and ``resume`` goes on from it
    after the whole job died.

    Args:
        model: a name or a folder.
        source: the file of texts.
        out: ends in ``.parquet`` or ``.npy``.
        workers: processes; None: as many as fit with one core left over.
        cpus: cores of each.
        gpus: GPUs of each.
        address: the cluster's (``"auto"``: the one this machine belongs to; None: the one that is connected, or a new
            one on this machine).
        column: holds the texts.
        role: whose prompt is put before them.
        dimensions: keeps the first so many.
        truncation: as of :func:`umekomi.encode`.
        resume: goes on behind the last finished shard.
        shard_rows: texts of a shard.
        batch_size: items that are encoded at once.
        engine: what runs a transformer (:func:`umekomi.models.engines.choice.open_for_encoding`).
        encoding: of a file that is not UTF-8.
        progress: shows a bar.
    """
    need_ray()
    out, source = Path(out).absolute(), Path(source).absolute()
    read = check_job(source, out, column, truncation, shard_rows, batch_size, encoding)
    name = name_of(model)
    with connected(address) as resources:
        workers = plan(resources, workers, cpus, gpus)
        embedder = open_for_encoding(name, engine)
        shards, done, width, about = begin(
            embedder, name, source, out, column, role, dimensions, truncation, shard_rows, resume, encoding
        )
        del embedder
        kept = sum(entry["rows"] for entry in done)
        counts = [min(shard_rows, read.rows - first) for first in range(0, read.rows, shard_rows)]
        for entry in done:
            if entry["shard"] >= len(counts) or entry["rows"] != counts[entry["shard"]]:
                raise DataError(f"{shards}: shard {entry['shard']} is not the input's: start anew without resume")
        missing = sorted(set(range(len(counts))) - {entry["shard"] for entry in done})
        job = {
            "source": str(source),
            "shards": str(shards),
            "rows": shard_rows,
            "engine": engine,
            "encoding": encoding,
            "fingerprint": about["fingerprint"],
            "column": column,
            "role": role,
            "dimensions": dimensions,
            "truncation": truncation,
            "batch_size": batch_size,
            "suffix": out.suffix,
        }
        with Progress("encoding", sum(counts), "texts", progress, done=kept) as bar:
            for entry in entries(Worker, (name, job), missing, workers, cpus, gpus):
                commit(shards, entry)
                done.append(entry)
                bar.advance(entry["rows"])
        done.sort(key=lambda entry: entry["shard"])
        return finish(shards, done, out, width, kept, about)
