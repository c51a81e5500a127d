"""Where figures are measured: hardware and versions."""

from __future__ import annotations

import os
import platform
from pathlib import Path


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


VECTORS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "BF16",
    "amx_tile": "AMX",
    "asimd": "NEON",
    "asimddp": "dot products",
    "sve": "SVE",
}
"""What decides which loop wins, by the name that Linux has for it."""


def hardware() -> str:
    """Processor, cores and accelerator; torch is asked only where it is loaded."""
    import sys

    name = f"{processor()}, {os.cpu_count()} cores"
    torch = sys.modules.get("torch")
    return f"{name}, {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else name


def processor(told: str | Path = "/proc/cpuinfo") -> str:
    """The processor and its vector instructions, where Linux tells them; else its kind alone."""
    try:
        lines = Path(told).read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = set((facts.get("flags") or facts.get("Features", "")).split())
    known = ", ".join(short for flag, short in VECTORS.items() if flag in flags)
    name = facts.get("model name") or platform.machine()
    return f"{name} ({known})" if known else name
