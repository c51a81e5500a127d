"""The verb ``reproduce``: a paper's claims, measured. Each file in ``reproductions/`` lists its claims; what is
measured lands in ``results/*.csv``, wins and losses alike, and the tables of README and docs are made from there."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from umekomi import __version__
from umekomi.environment import hardware, package_versions
from umekomi.errors import WrongUse, unknown_name
from umekomi.files import content_hash, whole_file
from umekomi.progress import say


@dataclass(frozen=True)
class Measurement:
    """One arm of a claim. ``low`` and ``high`` bound its interval; ``paper`` is the paper's figure, ``paper_data`` on
    what."""

    claim: str
    arm: str
    data: str
    rows: int
    metric: str
    value: float
    low: float
    high: float
    seeds: int
    paper: str = ""
    paper_data: str = ""


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper made measurable. ``sign`` is what the paper leads to expect of the arm named first among
    the differences: ``"+"``, ``"-"`` or ``"0"``; ``measure(progress)`` yields the arms."""

    name: str
    recipe: str
    sentence: str
    source: str
    sign: str
    measure: Callable[[bool], Iterable[Measurement]]


COLUMNS = (
    "recipe",
    *[field.name for field in fields(Measurement)],
    "seconds",
    "hardware",
    "versions",
    "commit",
    "date",
)


def root() -> Path:
    """The checkout that holds ``reproductions/``; the installed package alone cannot measure."""
    for place in (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[3]):
        if (place / "reproductions").is_dir() and (place / "src" / "umekomi").is_dir():
            return place
    raise WrongUse("reproduce runs in a checkout of umekomi (a folder with reproductions/): found none here")


def claims(place: Path | None = None, *, quick: bool = False) -> dict[str, Claim]:
    """All claims by name, from every file in ``reproductions/``; with ``quick`` the constants of each, and of what they
    share, have the values of its ``QUICK``."""
    by_name: dict[str, Claim] = {}
    place = place or root()
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))  # they may use what stands in benchmarks/
    _forget_reproductions()
    for file in sorted((place / "reproductions").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"reproductions.{file.stem}", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # what one file takes from another is the same module
        spec.loader.exec_module(module)
        for claim in getattr(module, "CLAIMS", ()):
            if claim.name in by_name:
                raise WrongUse(f"{file}: the claim {claim.name!r} is there twice")
            by_name[claim.name] = claim
    for module in _reproductions() if quick else ():
        for constant, value in getattr(module, "QUICK", {}).items():
            if not hasattr(module, constant):
                raise WrongUse(f"{module.__file__}: QUICK names {constant!r}, which is not there")
            setattr(module, constant, value)
    return by_name


def _reproductions() -> list[ModuleType]:
    """The modules of ``reproductions/`` that this process has read."""
    return [module for name, module in sys.modules.items() if name.startswith("reproductions.")]


def _forget_reproductions() -> None:
    """Those with constants are read anew: an earlier call may have made them small."""
    for module in _reproductions():
        if hasattr(module, "QUICK"):
            del sys.modules[module.__name__]
            above = sys.modules.get(module.__name__.rpartition(".")[0])
            if above is not None:
                vars(above).pop(module.__name__.rpartition(".")[2], None)


def cached_folder() -> Path:
    """Where :func:`cached` keeps."""
    return root() / "results" / ".kept"


def cached(key: object, compute: Callable[[], Sequence[Any]]) -> list[Any]:
    """The arrays that ``compute`` gives, from ``results/.kept`` where an earlier run left them under the same key: an
    interrupted measurement loses no finished arm. The key names data, settings and seed; the version is added here, and
    ``reproduce(..., fresh=True)`` starts anew."""
    file = cached_folder() / f"{content_hash(__version__, key)}.npz"
    if not file.is_file():
        arrays = compute()
        with whole_file(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, *arrays)
    with np.load(file, allow_pickle=False) as kept:
        return [kept[name] for name in kept.files]


def reproduce(
    name: str, *, quick: bool = False, fresh: bool = False, progress: bool = False, place: Path | None = None
) -> list[dict[str, Any]]:
    """Measure a claim, or all claims of a recipe; the rows replace those of the same claim in ``results/RECIPE.csv``.
    Arms that an interrupted run finished are not measured again, unless ``fresh``.

    ``quick`` measures in seconds on some rows with a network that knows nothing: whether all of it still runs, not what
    is true; nothing is written."""
    place = place or root()
    if quick and fresh:
        raise WrongUse("reproduce: quick keeps nothing that fresh could leave out: expected one of them")
    if fresh:
        shutil.rmtree(place / "results" / ".kept", ignore_errors=True)
    out = []
    with _small_world(place) if quick else nullcontext():
        known = claims(place, quick=quick)
        chosen = [claim for claim in known.values() if name in (claim.name, claim.recipe)]
        if not chosen:
            raise unknown_name("claim", name, {*known, *(claim.recipe for claim in known.values())})
        for claim in chosen:
            say(f"{claim.name}: {claim.sentence} ({claim.source}; expected {claim.sign})")
            begun = time.perf_counter()
            measured = list(claim.measure(progress))
            rows = rows_of(claim.recipe, measured, time.perf_counter() - begun, place)
            if not quick:
                record(place / "results" / f"{claim.recipe}.csv", claim.name, rows)
            out += rows
    return out


def _small_world(place: Path) -> AbstractContextManager[None]:
    """What ``reproductions/shared/quick.py`` makes of the data and the models."""
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))
    world: AbstractContextManager[None] = importlib.import_module("reproductions.shared.quick").small_world()
    return world


def rows_of(recipe: str, measured: Iterable[Measurement], seconds: float, place: Path) -> list[dict[str, Any]]:
    """Rows of a results file: what was measured, on what, with what, when."""
    about = {
        "seconds": f"{seconds:.0f}",
        "hardware": hardware(),
        "versions": " ".join(f"{package}={number}" for package, number in package_versions().items()),
        "commit": commit(place),
        "date": date.today().isoformat(),
    }
    return [{"recipe": recipe, **_rounded(asdict(row)), **about} for row in measured]


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: f"{value:.5g}" if isinstance(value, float) else value for key, value in row.items()}


def record(file: Path, claim: str, rows: list[dict[str, Any]]) -> None:
    """Put the rows in place of the same claim's older ones."""
    kept: list[dict[str, Any]] = []
    if file.is_file():
        with file.open(newline="", encoding="utf-8") as stream:
            kept = [row for row in csv.DictReader(stream) if row["claim"] != claim]
    with whole_file(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *rows])


def commit(place: Path) -> str:
    """The commit measured at; a ``+`` says that the tree had changes."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(place), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = [line for line in git("status", "--porcelain").splitlines() if not line.endswith(".csv")]
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
