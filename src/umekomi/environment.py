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
    flags = instructions(told)
    known = ", ".join(short for flag, short in VECTORS.items() if flag in flags)
    name = _told(told).get("model name") or platform.processor() or platform.machine()
    return f"{name} ({known})" if known else name


def instructions(told: str | Path = "/proc/cpuinfo") -> frozenset[str]:
    """What the processor can, by the names that Linux has for it; none elsewhere."""
    facts = _told(told)
    return frozenset((facts.get("flags") or facts.get("Features", "")).split())


def _told(file: str | Path) -> dict[str, str]:
    """What Linux says of the first processor."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
