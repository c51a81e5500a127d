"""Files and folders that are either whole or not there, and hashes of what they hold."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from umekomi.errors import DataError, WrongUse

try:
    import fcntl
except ImportError:  # Windows, which has no such locks
    fcntl = None  # type: ignore[assignment]

MODEL_FILE = "umekomi.json"
SUMS_FILE = "SHA256SUMS"
_OURS = (MODEL_FILE, "modules.json")
_RETIRED = ".old"
_OWN = getattr(os, "O_CLOEXEC", 0)
_LEFT = re.compile(r"\.(.+)\.[0-9a-f]{16}(?:\..*)?")
"""A temporary neighbour's name, of whatever it is the neighbour of."""
_left: dict[Path, set[str]] = {}
"""What lies in a folder under such names since this process first wrote to it."""
_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"
}
"""Names that Windows keeps for devices, whatever stands behind their first dot."""


def inside(folder: str | Path, name: object, what: str, *, nested: bool = False, links: bool = False) -> Path:
    """``folder / name`` for a name that a file or an archive gave, or the error that it is not a plain one: nothing may
    be read, written or deleted elsewhere because a file says so.

    Plain on every system: not empty, no separator, drive, ``..``, device, control character, nor a dot or a blank at
    its end. With ``nested`` the name may have several such parts with ``/`` between. What is there under that name may
    be no link, device, FIFO or socket, nor may a folder on the way be a link; with ``links`` a link is followed (a
    hub's cache keeps models as links: for what is only read). ``what`` says whose name it is.

    >>> inside("model", "1_Pooling/config.json", "modules.json", nested=True).as_posix()
    'model/1_Pooling/config.json'
    >>> inside("model", "../config.json", "modules.json", nested=True)
    Traceback (most recent call last):
    umekomi.errors.DataError: modules.json: expected a plain name within model, found '../config.json'
    """
    parts = name.split("/") if nested and isinstance(name, str) else [name]
    if not all(isinstance(part, str) and _plain(part) for part in parts):
        shown = repr(name)
        raise DataError(
            f"{what}: expected a plain name within {folder}, found {shown if len(shown) <= 200 else shown[:199] + '…'}"
        )
    path = Path(folder)
    for place, part in enumerate(parts):
        path = path / str(part)
        try:
            mode = (path.stat() if links else path.lstat()).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not (stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and place == len(parts) - 1)):
            raise DataError(f"{path}: expected a file or a folder of its own, found {_sort_of_file(mode)}")
    return path


def regular_file(path: str | Path) -> os.stat_result:
    """What the system says of a file, or the error that it is none: a link, a device or a FIFO is never opened (one may
    lie elsewhere, the other never ends). FileNotFoundError where there is nothing."""
    about = Path(path).lstat()
    if not stat.S_ISREG(about.st_mode):
        raise DataError(f"{path}: expected a file, found {_sort_of_file(about.st_mode)}")
    return about


def _plain(name: str) -> bool:
    """Is this one name that every system takes as a file's, in the folder it is looked for in?"""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return (
        0 < length <= 255
        and not any(character in '/\\:<>"|?*' or character < " " or character == "\x7f" for character in name)
        and name[-1] not in ". "
        and name.split(".")[0].rstrip().lower() not in _DEVICES
    )


def _sort_of_file(mode: int) -> str:
    for test, name in (
        (stat.S_ISLNK, "a link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISREG, "a file"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return name
    return "a device"


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Write to a temporary neighbour, then rename: readers see the old file or the new one, never half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_up(path)
    temporary, lock = _neighbour(path, path.suffix), -1
    try:  # named before it is there: Ctrl-C at any moment leaves nothing
        lock = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _OWN, 0o600)
        _hold(lock)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        if lock >= 0:
            os.close(lock)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Fill a temporary neighbour, then put it in place. Replaces a model folder, refuses any other that is not
    empty."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise WrongUse(f"{path} is a file: expected a folder to save to")
    if path.is_dir() and any(path.iterdir()) and not any((path / name).is_file() for name in _OURS):
        raise WrongUse(f"{path} holds files that are no saved model: choose an empty or a new folder")
    with scratch_folder(path) as temporary:
        retired = temporary.with_name(temporary.name + _RETIRED)
        try:
            yield temporary
            mask = _umask()
            for place in (temporary, *temporary.rglob("*")):  # libraries leave weights that only their owner may read
                if not place.is_symlink():
                    place.chmod((0o777 if place.is_dir() else 0o666) & ~mask)
            try:
                if not path.is_dir() or path.is_symlink() or not _exchange(temporary, path):
                    if path.exists():
                        path.rename(retired)
                    temporary.rename(path)
            except BaseException:
                if retired.exists() and not path.exists():
                    retired.rename(path)
                raise
        finally:
            if path.exists():  # else it is all that is left of what was there
                shutil.rmtree(retired, ignore_errors=True)


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A hidden folder beside a path, removed at the end with what is in it; those of killed processes go, too."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    _clear_up(beside)
    temporary, lock = _neighbour(beside), -1
    try:
        temporary.mkdir(mode=0o700)
        lock = os.open(temporary, os.O_RDONLY | _OWN) if fcntl else -1
        _hold(lock)
        yield temporary
    finally:
        try:
            shutil.rmtree(temporary, ignore_errors=True)
        finally:
            if lock >= 0:
                os.close(lock)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change their names in one step, so that a kill leaves either the one or the other in place; where
    the system or the file system cannot, nothing is done."""
    import ctypes

    name, here = {"linux": ("renameat2", -100), "darwin": ("renameatx_np", -2)}.get(sys.platform, ("", 0))
    rename = getattr(ctypes.CDLL(None), name, None) if name else None
    swap = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS; ``here`` is AT_FDCWD
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), swap) == 0


def _hold(lock: int) -> None:
    """Show others that the file or folder behind this descriptor is being written: the lock ends with the process."""
    if fcntl and lock >= 0:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_held(path: Path) -> bool:
    """Is there such a file or folder, and is a process at work on it, for all that can be known?"""
    if fcntl is None:
        return True
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | _OWN)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _clear_up(path: Path) -> None:
    """Remove the temporary neighbours that killed processes left beside ``path``; a folder that one had moved aside
    comes back where nothing is in its place. A process lists a folder once, however much it writes there: its own
    leave nothing."""
    path = path.absolute()
    if path.parent not in _left:
        _left[path.parent] = {name for name in os.listdir(path.parent) if _LEFT.fullmatch(name)}
    names = re.compile(
        rf"(\.{re.escape(path.name)}\.[0-9a-f]{{16}})(?:{re.escape(path.suffix)}|({re.escape(_RETIRED)}))?"
    )
    for name in sorted(_left[path.parent]):
        place, match = path.with_name(name), names.fullmatch(name)
        if not match or _is_held(place) or (match[2] and _is_held(place.with_name(match[1]))):
            continue
        _left[path.parent].discard(name)
        with suppress(OSError):
            if match[2] and not path.exists():
                place.rename(path)
            elif place.is_dir():
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.unlink()


def _neighbour(path: Path, suffix: str = "") -> Path:
    """A hidden name beside ``path`` that nothing has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{suffix}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cache_folder() -> Path:
    """Where downloads, exported graphs and finished vectors are kept: ``UMEKOMI_CACHE``, or ``~/.cache/umekomi``."""
    return Path(os.environ.get("UMEKOMI_CACHE") or Path.home() / ".cache" / "umekomi")


def plain(value: object) -> Any:
    """``value`` as strict JSON can hold it: what is no finite number becomes null, NumPy's numbers and arrays Python's,
    sets sorted lists, a named tuple a list, and everything else that JSON does not know its text.

    >>> plain({"a": float("nan"), 1: (2, Path("x"))})
    {'a': None, '1': [2, 'x']}
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(part) for part in value), key=str)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def write_json(path: str | Path, value: object) -> None:
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


def content_hash(*parts: object) -> str:
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
