"""Where figures are measured: hardware and versions."""

from __future__ import annotations

import os
import platform


def package_versions() -> dict[str, str]:
    """The versions of the packages that figures depend on."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in (
        "umekomi",
        "numpy",
        "scipy",
        "scikit-learn",
        "bm25s",
        "torch",
        "sentence-transformers",
        "transformers",
    ):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def hardware() -> str:
    """Cores and accelerator; torch is asked only where it is loaded."""
    import sys

    name = f"{platform.machine()} {os.cpu_count()} cores"
    torch = sys.modules.get("torch")
    return f"{name}, {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else name
