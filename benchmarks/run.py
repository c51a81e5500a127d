"""Speed against peers, side by side in one run: ``python benchmarks/run.py [NAME ...]``. Rows replace those of the same
benchmark in results/benchmarks.csv. Peers that are not installed are named and left out; none is a dependency.

Every rate is the median of ``REPEATS`` runs with the fastest and the slowest as bounds, the first call (compilation,
imports) left out. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from umekomi.progress import say
from umekomi.verbs.reproduce import Measurement, record, rows_of

REPEATS = 3
NAMES = (
    "poincare",
    "starspace",
    "edrep",
    "fastsent",
    "static",
    "bounds",
    "search",
    "opening",
    "recall",
    "late",
    "hybrid",
    "databases",
    "millions",
    "scans",
    "codes",
    "encode",
    "serve",
    "recurrent",
    "trees",
    "probes",
    "infersent",
    "elmo",
    "words",
    "gguf",
    "generating",
)


def timed(job: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float, float]:
    """(median, least, most) seconds of a job."""
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - begun)
    return spread(seconds)


def taking_turns(arms: dict[str, Callable[[], object]]) -> dict[str, tuple[float, float, float]]:
    """(median, least, most) seconds of each arm's job; they take turns, and the first turn is left out."""
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    for turn in range(REPEATS + 1):
        for arm, job in arms.items():
            begun = time.perf_counter()
            job()
            if turn:
                seconds[arm].append(time.perf_counter() - begun)
    return {arm: spread(took) for arm, took in seconds.items()}


def spread(seconds: list[float]) -> tuple[float, float, float]:
    """(median, least, most)."""
    return statistics.median(seconds), min(seconds), max(seconds)


def rate(
    claim: str, arm: str, data: str, rows: int, unit: str, items: float, seconds: tuple[float, float, float]
) -> Measurement:
    """Items a second, from :func:`timed`."""
    median, least, most = seconds
    return Measurement(claim, arm, data, rows, unit, items / median, items / most, items / least, seeds=1)


def figure(claim: str, arm: str, data: str, rows: int, metric: str, values: list[float]) -> Measurement:
    """A quality beside the speed: mean, least and most over seeds."""
    return Measurement(
        claim, arm, data, rows, metric, statistics.fmean(values), min(values), max(values), seeds=len(values)
    )


def main(names: list[str]) -> int:
    place = Path(__file__).resolve().parents[1]
    # not this folder: benchmarks are named as packages that they measure, such as gguf
    sys.path[:] = [str(place), *(path for path in sys.path if Path(path).resolve() != place / "benchmarks")]
    for name in names or NAMES:
        if name not in NAMES:
            print(f"no benchmark named {name!r}; there are: {', '.join(NAMES)}", file=sys.stderr)
            return 2
        begun = time.perf_counter()
        measured = []
        benchmark = importlib.import_module(f"benchmarks.{name}")
        for row in benchmark.measure():
            say(f"{row.claim}: {row.arm}, {row.data}: {row.value:,.4g} {row.metric} [{row.low:,.4g}, {row.high:,.4g}]")
            measured.append(row)
        record(
            place / "results" / "benchmarks.csv",
            getattr(benchmark, "CLAIM", f"speed-{name}"),
            rows_of(name, measured, time.perf_counter() - begun, place),
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
