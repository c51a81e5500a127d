"""What the verbs over many machines share: the cluster and its plan, shards handed to workers that are started again
when they die, and a worker's place in the input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.data.readers import Source
from umekomi.errors import DataError, MissingExtra, UmekomiError, WrongUse
from umekomi.models.engines.choice import open_for_encoding
from umekomi.models.opening import folder_of

if TYPE_CHECKING:
    import pyarrow as pa


class Shards:
    """A worker's place in the input, which it reads ``rows`` at a time."""

    def __init__(self, read: Source, rows: int) -> None:
        self.read, self.rows, self._at = read, rows, -1
        self._tables: Iterator[pa.Table] = iter(())

    def table(self, number: int) -> pa.Table:
        """The rows of one shard. They come nearly in order: the file is read on from where the last one ended, and only
        anew to go back."""
        if number <= self._at:
            self._at, self._tables = -1, iter(())
        if self._at < 0:
            self._tables = self.read.tables(self.rows)
        table = next(islice(self._tables, number - self._at - 1, None), None)
        if table is None:
            raise DataError(
                f"{self.read.path} ends before shard {number}: it is another file on this machine than where the job "
                "began"
            )
        self._at = number
        return table


class ShardWorker(ABC):
    """One process of a job: the model, which must be the one that the job began with, and its place in the input."""

    def __init__(self, model: str, read: Source, job: dict[str, Any]) -> None:
        self.shards = Shards(read, job["rows"])
        self.embedder = open_for_encoding(model, job["engine"])
        if self.embedder.fingerprint() != job["fingerprint"]:
            raise UmekomiError(
                f"a worker finds another model at {model} than the one that began the job: the folder must be the "
                "same on every machine"
            )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the shards with these numbers."""
        entries = [self.shard(int(number)) for number in batch["id"]]
        return {key: np.array([entry[key] for entry in entries]) for key in entries[0]}

    @abstractmethod
    def shard(self, number: int) -> dict[str, int]:
        """Do one shard; what is written down of it."""


def name_of(model: str | Path) -> str:
    """How every machine finds this model: its name, or its folder's whole path; the error for an object in memory."""
    if not isinstance(model, (str, Path)):
        raise WrongUse(
            "encoding over a cluster: expected a model's name or folder, which every machine can open, found an object"
        )
    folder = folder_of(model)
    return str(model) if folder is None else str(folder.absolute())


def need_ray() -> None:
    """The error where Ray is not installed."""
    try:
        import ray  # noqa: F401
    except ImportError:
        raise MissingExtra("ray", "scale", "encoding over a cluster") from None


@contextmanager
def connected(address: str | None) -> Iterator[dict[str, float]]:
    """The resources of the cluster that is connected, or of the one at ``address``, which is left behind the block."""
    import ray

    begun = not ray.is_initialized()
    if begun:
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
        except (ConnectionError, ValueError) as error:
            raise WrongUse(f"no Ray cluster is found at {address}: {' '.join(str(error).split())[:200]}") from None
    try:
        yield ray.cluster_resources()
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


def entries(
    worker: type[ShardWorker], given: tuple[Any, ...], missing: list[int], workers: int, cpus: float, gpus: float
) -> Iterator[dict[str, int]]:
    """What each missing shard came to, as they finish; ``worker(*given)`` is made in every process."""
    import ray

    if not missing:
        return
    ray.data.DataContext.get_current().enable_progress_bars = False
    todo = ray.data.from_items([{"id": number} for number in missing], override_num_blocks=len(missing))
    results = todo.map_batches(
        worker,
        fn_constructor_args=given,
        batch_size=1,
        num_cpus=cpus,
        num_gpus=gpus or None,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(missing))),
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
            f"the cluster gave the job up: {' '.join(str(error).split())[:300]}; what was finished is kept, and the "
            "same job goes on behind it"
        ) from None
