"""Run one compiled loop over shards of its work, one thread a shard. Kernels release the GIL, so threads are enough."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


def cores(wanted: int = 0) -> int:
    """``wanted`` threads; 0 is every core this process may use."""
    if wanted:
        return wanted
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shards(total: int, threads: int) -> list[tuple[int, int]]:
    """``threads`` ranges of nearly equal length, empty ones left out.

    >>> shards(10, 3)
    [(0, 3), (3, 6), (6, 10)]
    """
    edges = [total * i // threads for i in range(threads + 1)]
    return [(low, high) for low, high in pairwise(edges) if low < high]


def run_all(work: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """``work(*call)`` for every call, each in a thread; one call alone runs in this one. Results in order; all have
    ended when an error of one is raised."""
    if len(calls) == 1:
        return [work(*calls[0])]
    futures = [_pool(os.getpid(), len(calls)).submit(work, *call) for call in calls]
    wait(futures)
    return [future.result() for future in futures]


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Inside, a matrix product runs in the thread that asks for it: share the rows out by :func:`run_all`.
    OpenBLAS's own threads wait for more work by spinning, for tens of milliseconds, on the cores that the loops
    behind a product need."""
    with _libraries(os.getpid(), "numpy").limit(limits=1, user_api="blas"):
        yield


@contextmanager
def single_threaded_openmp() -> Iterator[None]:
    """Inside, what this thread asks of torch is computed by this thread alone: for a loop of operations of some
    microseconds each. OpenMP's threads wait for each other by spinning, and where a core is not free, as long as it is
    not."""
    with _libraries(os.getpid(), "torch").limit(limits=1, user_api="openmp"):
        yield


@cache
def _libraries(process: int, package: str) -> ThreadpoolController:
    """The libraries with threads of their own that are loaded with a package."""
    from importlib import import_module

    from threadpoolctl import ThreadpoolController

    import_module(package)
    return ThreadpoolController()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads that stay: starting one costs as much as a small graph's epoch. A forked process gets its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="umekomi")
