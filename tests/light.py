"""The light install's promises, measured: its size on disk without pip, and the two import times. Run by ``make light``."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from importlib.util import find_spec
from pathlib import Path

LIMIT_MB = 700


def size() -> float:
    """Megabytes of what the light install brought, compiled bytecode included: site-packages without the tools that a new
    environment has or that test it."""
    left_out = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "pytest", "_pytest", "pluggy", "iniconfig")
    root = Path(sysconfig.get_paths()["purelib"])
    files = (path for path in root.rglob("*") if path.is_file() and not path.relative_to(root).parts[0].lower().startswith(left_out))
    return sum(path.stat().st_size for path in files) / 1e6


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
    found = size()
    print(f"light install: {found:.0f} MB (at most {LIMIT_MB})")
    print(f"import umekomi: {seconds('-c', 'import umekomi'):.2f} s (aim .5); umekomi --help: {seconds('-m', 'umekomi', '--help'):.2f} s (aim 1)")
    heavy = [name for name in ("torch", "transformers", "datasets", "pandas") if find_spec(name)]
    if heavy:
        print(f"the light install holds {', '.join(heavy)}")
    return int(found > LIMIT_MB or bool(heavy))


if __name__ == "__main__":
    raise SystemExit(main())
