"""Files and folders that are either whole or not there, and hashes of what they hold."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from umekomi.errors import WrongUse

MODEL_FILE = "umekomi.json"
SUMS_FILE = "SHA256SUMS"
_OURS = (MODEL_FILE, "modules.json")


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Write to a temporary neighbour, then rename: readers see the old file or the new one, never half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Fill a temporary neighbour, then put it in place. Replaces a model folder, refuses any other that is not
    empty."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise WrongUse(f"{path} is a file: expected a folder to save to")
    if path.is_dir() and any(path.iterdir()) and not any((path / name).is_file() for name in _OURS):
        raise WrongUse(f"{path} holds files that are no saved model: choose an empty or a new folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    retired = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        mask = _umask()
        for place in (temporary, *temporary.rglob("*")):  # libraries leave weights that only their owner may read
            if not place.is_symlink():
                place.chmod((0o777 if place.is_dir() else 0o666) & ~mask)
        if path.exists():
            path.rename(retired)
        try:
            temporary.rename(path)
        except BaseException:
            if retired.exists():
                retired.rename(path)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cache_folder() -> Path:
    """Where downloads, exported graphs and finished vectors are kept: ``UMEKOMI_CACHE``, or ``~/.cache/umekomi``."""
    return Path(os.environ.get("UMEKOMI_CACHE") or Path.home() / ".cache" / "umekomi")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as JSON, whole or not at all. NaN and infinity are refused: they are no JSON."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    with whole_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a broken one is named."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, no JSON, or an integer without end
        raise WrongUse(f"{path} is not valid JSON: {error}") from None


def content_hash(*parts: Any) -> str:
    """32 hexadecimal digits that name this content: bytes, strings, and whatever JSON can hold.

    >>> content_hash("a", 1) == content_hash("a", 1) != content_hash("a", 2)
    True
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = (
            part
            if isinstance(part, bytes)
            else json.dumps(part, sort_keys=True, ensure_ascii=False, default=str).encode()
        )
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def source_hash(source: Path) -> str:
    """Names the content of a file, or of all files of a folder."""
    if source.is_dir():
        return content_hash(
            *[[str(path.relative_to(source)), file_hash(path)] for path in sorted(source.rglob("*")) if path.is_file()]
        )
    return file_hash(source)


def folder_hash(folder: str | Path) -> str:
    """Names what a folder holds: its files' relative paths and contents, not their times. Its card and its checksums
    say nothing that the other files do not."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ("README.md", SUMS_FILE))
    return content_hash(*[[path.relative_to(folder).as_posix(), file_hash(path)] for path in files])


def folder_bytes(folder: str | Path) -> int:
    """What a folder takes on disk, in bytes."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
