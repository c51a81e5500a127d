"""``encode`` over a Ray cluster: Ray Data hands shards to workers that hold the model; what is committed, resumed and
joined is as on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from umekomi.data.readers import Source
from umekomi.errors import DataError, MissingExtra, UmekomiError, WrongUse
from umekomi.limits import checked
from umekomi.models.engines.choice import open_for_encoding
from umekomi.models.opening import folder_of
from umekomi.progress import Progress
from umekomi.verbs.encode import SHARD, EncodedFile, Work, begin, check_job, commit, finish


class Worker:
    """One copy of the model, and its place in the input. Ray makes one of these a process."""

    def __init__(self, model: str, job: dict[str, Any]) -> None:
        self.source, self.shards, self.rows = Path(job["source"]), Path(job["shards"]), job["rows"]
        self.read = Source(self.source, encoding=job["encoding"], column=job["column"], titles=True)
        embedder = open_for_encoding(model, job["engine"])
        if embedder.fingerprint() != job["fingerprint"]:
            raise UmekomiError(
                f"a worker finds another model at {model} than the one that began the job: the folder must be the "
                "same on every machine"
            )
        self.work = Work(
            embedder,
            job["column"],
            job["role"],
            job["dimensions"],
            job["truncation"],
            job["batch_size"],
            job["suffix"],
            None,
        )
        self._at = -1
        self._tables: Iterator[Any] = iter(())

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Encode the shards with these numbers."""
        entries = [self._shard(int(number)) for number in batch["id"]]
        return {key: np.array([entry[key] for entry in entries]) for key in entries[0]}

    def _shard(self, number: int) -> dict[str, Any]:
        # shards come nearly in order: the file is read on from where the last one ended, and only anew to go back
        if number <= self._at:
            self._at, self._tables = -1, iter(())
        if self._at < 0:
            self._tables = self.read.tables(self.rows)
        table = next(islice(self._tables, number - self._at - 1, None), None)
        if table is None:
            raise DataError(
                f"{self.source} ends before shard {number}: it is another file on this machine than where the job began"
            )
        self._at = number
        return self.work.shard(table, self.source, self.shards, number, number * self.rows)


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
    try:
        import ray
    except ImportError:
        raise MissingExtra("ray", "scale", "encoding over a cluster") from None
    out, source = Path(out).absolute(), Path(source).absolute()
    read = check_job(source, out, column, truncation, shard_rows, batch_size, encoding)
    if not isinstance(model, (str, Path)):
        raise WrongUse(
            "encoding over a cluster: expected a model's name or folder, which every machine can open, found an object"
        )
    folder = folder_of(model)
    name = str(model) if folder is None else str(folder.absolute())
    begun = not ray.is_initialized()
    if begun:
        ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    try:
        workers = plan(ray.cluster_resources(), workers, cpus, gpus)
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
            for entry in _entries(missing, name, job, min(workers, max(len(missing), 1)), cpus, gpus):
                commit(shards, entry)
                done.append(entry)
                bar.advance(entry["rows"])
        done.sort(key=lambda entry: entry["shard"])
        return finish(shards, done, out, width, kept, about)
    finally:
        if begun:
            ray.shutdown()


def plan(resources: dict[str, float], workers: int | None, cpus: float, gpus: float) -> int:
    """How many workers the cluster carries with one core left for Ray Data's readers; the error for a plan that leaves
    none.

    >>> plan({"CPU": 8.0}, None, 1, 0)
    7
    """
    cores, cards = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    most = int((cores - 1) // cpus)
    if gpus:
        most = min(most, int(cards // gpus))
    if workers is None:
        workers = most
    if workers < 1 or workers > most:
        found = f"{cores:g} cores" + (f" and {cards:g} GPUs" if gpus else "")
        asked = f"{max(workers, 1)} worker{'s' if workers != 1 else ''} of {cpus:g} core{'s' if cpus != 1 else ''}" + (
            f" and {gpus:g} GPUs" if gpus else ""
        )
        raise WrongUse(
            f"the cluster has {found}: expected a plan that leaves one core for reading, found {asked}; at most "
            f"{max(most, 0)} such workers fit"
        )
    return workers


def _entries(
    missing: list[int], name: str, job: dict[str, Any], workers: int, cpus: float, gpus: float
) -> Iterator[dict[str, Any]]:
    """What each missing shard came to, as they finish."""
    import ray

    if not missing:
        return
    ray.data.DataContext.get_current().enable_progress_bars = False
    todo = ray.data.from_items([{"id": number} for number in missing], override_num_blocks=len(missing))
    results = todo.map_batches(
        Worker,
        fn_constructor_args=(name, job),
        batch_size=1,
        num_cpus=cpus,
        num_gpus=gpus or None,
        compute=ray.data.ActorPoolStrategy(size=workers),
        max_restarts=-1,
        max_task_retries=-1,
    )
    try:
        for row in results.iter_rows():
            yield {key: int(value) for key, value in row.items()}
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UmekomiError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if isinstance(cause, UmekomiError):
            raise type(cause)(str(cause).split("\n")[0]) from None
        raise UmekomiError(
            f"the cluster gave the job up: {' '.join(str(error).split())[:300]}; what was finished is kept for resume"
        ) from None
