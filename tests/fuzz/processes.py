"""What a worker process answers, and whether it hangs: on a busy machine the time on the wall says nothing."""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class Hangs(Exception):
    """No answer within the limit."""


def spent(pid: int) -> tuple[float, bool]:
    """(seconds of processor time that a process has taken, whether all its threads wait for something)."""
    total, waits = 0.0, True
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            fields = task.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        waits = waits and fields[0] == "S"
    return total, waits


def answer(pipe: Connection, pid: int | None, limit: float) -> Any:
    """What comes from ``pipe`` before its process has taken ``limit`` seconds of the processor, or waited so long."""
    assert pid is not None
    begun = still = time.monotonic()
    used = spent(pid)[0]
    while not pipe.poll(0.5):
        now, waits = spent(pid)
        still = still if waits else time.monotonic()
        if now - used > limit or time.monotonic() - still > limit:
            wall = time.monotonic() - begun
            raise Hangs(f"after {wall:.0f} s, {now - used:.0f} of the processor's")
    return pipe.recv()
