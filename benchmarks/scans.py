"""How near the scans come to reading memory: bytes a second of a plain read, of the exact scan, of the bit and the byte
scan, over arrays ten times the last-level cache and more, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import njit

from benchmarks.run import rate
from umekomi.indexes.kinds import Exact
from umekomi.indexes.scans import Part
from umekomi.parts.kernels.scan import BINS, LOOSE, bit_keys, byte_keys
from umekomi.parts.kernels.threads import cores, run_all, shards
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-scans"
TURNS = 15


@njit(nogil=True, fastmath=LOOSE)
def total(array, low, high):
    part = array[low:high]
    out = np.uint64(0)
    for i in range(part.shape[0]):
        out ^= part[i]
    return out


def measure() -> Iterator[Measurement]:
    none = np.zeros(0, np.uint8)
    flat = np.random.default_rng(0).random(1 << 28, np.float32)
    words, count = flat.view(np.uint64), cores()
    rows = flat.reshape(-1, 256)
    part = Part(rows, {}, none, len(rows))
    codes = words[: 3 << 24].reshape(4, -1)
    factors, keys = np.ones(codes.shape[1], np.float32), np.zeros(codes.shape[1], np.uint16)
    planes = np.random.default_rng(0).integers(0, 1 << 63, (4, 4)).astype(np.uint64)
    small = flat[: 3 << 25].view(np.int8).reshape(-1, 128)
    short, small_keys = (
        np.random.default_rng(0).integers(-8000, 8000, 128).astype(np.int16),
        np.zeros(len(small), np.uint16),
    )
    numbers = np.float32(4), np.float32(256 * 15 / 2), np.float32(4096), 100

    def read() -> Any:
        return run_all(total, [(words, low, high) for low, high in shards(len(words), count)])

    def exact() -> Any:
        return Exact().search(part, rows[:1], 10, None)

    def bits() -> Any:
        counts = np.zeros((count, BINS), np.int32)
        return run_all(
            bit_keys,
            [
                (codes, factors, planes, *numbers, none, low, high, keys, counts[i])
                for i, (low, high) in enumerate(shards(len(keys), count))
            ],
        )

    def bytes_() -> Any:
        counts, scale = np.zeros((count, BINS), np.int32), np.float32(1e-4)
        rows_of = shards(len(small), count)
        return run_all(
            byte_keys,
            [
                (small, short, scale, np.float32(4096), 100, none, low, high, small_keys, counts[i])
                for i, (low, high) in enumerate(rows_of)
            ],
        )

    arms: dict[str, tuple[Callable[[], Any], str, int, int]] = {
        "read stream": (read, "1 GiB of float32", len(flat), flat.nbytes),
        "exact scan, one query": (exact, "1 GiB of float32, 256 dimensions", len(rows), flat.nbytes),
        "bit scan, one query of 4 bits": (
            bits,
            "256 bits a row, 384 MiB of codes",
            len(keys),
            codes.nbytes + factors.nbytes + keys.nbytes,
        ),
        "byte scan, one query": (
            bytes_,
            "128 bytes a row, 384 MiB of codes",
            len(small),
            small.nbytes + small_keys.nbytes,
        ),
    }
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    for job, *_ in arms.values():
        job()
    for _ in range(TURNS):
        for arm, (job, *_) in arms.items():
            begun = time.perf_counter()
            job()
            seconds[arm].append(time.perf_counter() - begun)
    for arm, (_, data, items, size) in arms.items():
        each = seconds[arm]
        yield rate(CLAIM, arm, data, items, "bytes/s", size, (float(np.median(each)), min(each), max(each)))
        if arm != "read stream":
            ratios = [a / flat.nbytes / (b / size) for a, b in zip(seconds["read stream"], each, strict=True)]
            yield Measurement(
                CLAIM,
                f"{arm} / read stream",
                data,
                items,
                "ratio of bytes/s",
                float(np.median(ratios)),
                min(ratios),
                max(ratios),
                seeds=1,
            )
