"""Work for a request in a thread of its own. Whatever a library throws there reaches the one who waits as a plain
exception: a panic of a library in Rust is no ``Exception``, and SystemExit or a cancellation from within a library
would end the task that waits, or the loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any, TypeVar, cast

from umekomi.errors import UmekomiError

T = TypeVar("T")
SHOWN = 200
"""Characters of a library's own words that an error repeats."""


class Panic(UmekomiError):
    """A library gave up in a way that is no ordinary exception."""


async def in_thread(job: Callable[[], T], threads: concurrent.futures.Executor | None = None) -> T:
    """What ``job`` gives, run in one of ``threads`` (None: the loop's own). :class:`Panic` for all that it may raise
    which a task cannot carry."""
    value, error = await asyncio.get_running_loop().run_in_executor(threads, _tried, job)
    if error is not None:
        raise error
    return cast("T", value)


async def alone(lock: asyncio.Lock, job: Callable[[], T]) -> T:
    """What ``job`` gives, run in a thread under ``lock``. A request that is given up (its time is over, its client
    gone) leaves the thread at work: the lock stays held until that has ended."""

    def ended(work: asyncio.Task[T]) -> None:
        lock.release()
        if not work.cancelled():
            work.exception()  # looked at: nobody may wait for it any more

    await lock.acquire()
    running = asyncio.create_task(in_thread(job))
    running.add_done_callback(ended)
    return await asyncio.shield(running)


def _tried(job: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return job(), None
    except (StopIteration, concurrent.futures.CancelledError) as error:  # a future refuses the one, and is cancelled
        return None, panic(error)
    except Exception as error:
        return None, error
    except BaseException as error:
        return None, panic(error)


def panic(error: BaseException) -> Panic:
    """``error`` as one line that a task can carry."""
    words = " ".join(str(error).split())[:SHOWN]
    return Panic(f"a library gave up with {type(error).__name__}{': ' + words if words else ''}")
