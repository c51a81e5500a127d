"""The light install's promises, measured: its size on disk without pip, and the two import times. Run by ``make
light``."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from importlib.util import find_spec
from pathlib import Path

LIMIT_MB = 700
"""Of what the packages bring; Python's bytecode, which pip compiles beside it, comes on top and is printed."""


def size() -> tuple[float, float]:
    """Megabytes of what the light install brought, and of the bytecode compiled for it: site-packages without the tools
    that a new environment has or that test it."""
    left_out = (
        "pip",
        "setuptools",
        "pkg_resources",
        "_distutils_hack",
        "pytest",
        "_pytest",
        "pluggy",
        "iniconfig",
        "xdist",
        "execnet",
    )
    root = Path(sysconfig.get_paths()["purelib"])
    files = (
        path
        for path in root.rglob("*")
        if path.is_file() and not path.relative_to(root).parts[0].lower().startswith(left_out)
    )
    found = {True: 0, False: 0}
    for path in files:
        found[path.suffix in (".pyc", ".nbc", ".nbi")] += path.stat().st_size
    return found[False] / 1e6, found[True] / 1e6


def seconds(*words: str) -> float:
    """The best of five."""
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - begun)
    return min(took)


def main() -> int:
    """Print the figures; the exit status says whether the size holds."""
    found, bytecode = size()
    print(f"light install: {found:.0f} MB (at most {LIMIT_MB}), and {bytecode:.0f} MB of bytecode")
    print(
        f"import umekomi: {seconds('-c', 'import umekomi'):.2f} s (aim .5); umekomi --help: "
        f"{seconds('-m', 'umekomi', '--help'):.2f} s (aim 1)"
    )
    heavy = [name for name in ("torch", "transformers", "datasets", "pandas") if find_spec(name)]
    if heavy:
        print(f"the light install holds {', '.join(heavy)}")
    return int(found > LIMIT_MB or bool(heavy))


if __name__ == "__main__":
    raise SystemExit(main())
