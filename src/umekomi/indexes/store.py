"""Where an index lies: a folder of segments and one manifest. Segments are written once and never changed; a write ends
with the renaming of a new manifest, which is the commit. Whatever a killed process left beside it is not in the
manifest, and the next writer removes it. One process writes at a time (a lock on a file); any number read, through
memory maps that stay valid while segments behind them are replaced."""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.files import whole_file

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "umekomi-index.json"
FORMAT = 1
SMALL = 64 << 20
CHUNK = 1 << 20


class IndexBusy(UmekomiError):
    """Another process is writing this index."""


@dataclass
class Segment:
    """Rows that were written together: their folder, how many, every file's (bytes, CRC-32), and the file of deleted
    rows."""

    name: str
    rows: int
    files: dict[str, tuple[int, int]]
    deleted: str | None = None
    dead: int = 0


@dataclass
class Manifest:
    """What a commit says: ``about`` (model, metric, kind and its settings), the segments, files of the whole index."""

    about: dict[str, Any]
    segments: list[Segment] = field(default_factory=list)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    generation: int = 0
    serial: int = 0

    @property
    def rows(self) -> int:
        """Rows that live."""
        return sum(segment.rows - segment.dead for segment in self.segments)

    def text(self) -> str:
        """The file's content: the body and its checksum."""
        body = json.dumps(asdict(self) | {"format": FORMAT}, ensure_ascii=False)
        return json.dumps({"crc32": zlib.crc32(body.encode()), "manifest": body}, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The manifest, or the error that says what is wrong with it."""
        try:
            outer = json.loads(path.read_text(encoding="utf-8"))
            body = outer["manifest"]
            if zlib.crc32(body.encode()) != outer["crc32"]:
                raise ValueError("its checksum does not match")
            found = json.loads(body)
        except FileNotFoundError:
            raise WrongUse(f"{path.parent} holds no index (no {MANIFEST}): make one with umekomi index") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}): restore it from a copy, or build the index anew") from None
        if found.pop("format") != FORMAT:
            raise WrongUse(f"{path} was written in another format than this version's ({FORMAT}): build the index anew")
        segments = [Segment(**segment) for segment in found.pop("segments")]
        return cls(segments=segments, **found)


class Store:
    """A folder of segments: read, commit, lock, check."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def manifest(self) -> Path:
        """The file whose renaming commits."""
        return self.folder / MANIFEST

    def exists(self) -> bool:
        """Is there an index here?"""
        return self.manifest.is_file()

    def stamp(self) -> tuple[int, int, int]:
        """Changes with every commit."""
        about = self.manifest.stat()
        return about.st_mtime_ns, about.st_ino, about.st_size

    def read(self) -> Manifest:
        """The last commit."""
        return Manifest.read(self.manifest)

    @contextmanager
    def lock(self, wait: float = 10.0) -> Iterator[None]:
        """Be the one writer; what dead writers left is removed. Waits ``wait`` seconds for another."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a+b") as stream:
            until = time.monotonic() + wait
            while not _take(stream):
                if time.monotonic() > until:
                    raise IndexBusy(
                        f"{self.folder}: another process is writing this index; try again when it has ended"
                    )
                time.sleep(0.02)
            try:
                if self.exists():
                    self._sweep(self.read())
                yield
            finally:
                _give(stream)

    def _sweep(self, manifest: Manifest) -> None:
        known = (
            {segment.name for segment in manifest.segments}
            | {segment.deleted for segment in manifest.segments}
            | set(manifest.files)
        )
        for segment in manifest.segments:
            for path in (self.folder / segment.name).iterdir():
                if path.name not in segment.files:
                    with suppress(OSError):
                        path.unlink()
        for path in self.folder.iterdir():
            if path.name in (MANIFEST, "lock") or path.name in known:
                continue
            if path.is_dir() and path.name.startswith("segment-"):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith((f".{MANIFEST}.", "deleted-", "codec-")):
                with suppress(OSError):
                    path.unlink()

    def commit(self, manifest: Manifest) -> None:
        """Make ``manifest`` the state of the index. Its files have been written and flushed."""
        manifest.generation += 1
        _flush_folder(self.folder)
        with whole_file(self.manifest) as temporary:
            temporary.write_text(manifest.text(), encoding="utf-8")
        _flush_folder(self.folder)

    def segment(self, name: str, arrays: Mapping[str, Any], payload: pa.Table) -> Segment:
        """Write a segment's files, not yet committed. An array may be a list of blocks, written one after another."""
        folder = self.folder / name
        folder.mkdir()
        files = {f"{key}.npy": write_array(folder / f"{key}.npy", array) for key, array in arrays.items()}
        files["payload.arrow"] = write_table(folder / "payload.arrow", payload)
        _flush_folder(folder)
        return Segment(name, payload.num_rows, files)

    def add_files(self, segment: Segment, arrays: Mapping[str, Any], serial: int) -> None:
        """Write further arrays of a segment, not yet committed; ``serial`` makes their files' names new."""
        folder = self.folder / segment.name
        for key, array in arrays.items():
            name = f"{key}-{serial}.npy"
            segment.files[name] = write_array(folder / name, array)
        if arrays:
            _flush_folder(folder)

    def remove(self, segment: Segment) -> None:
        """Delete the files of a segment that is in no commit any more. Who has them mapped keeps them."""
        shutil.rmtree(self.folder / segment.name, ignore_errors=True)
        if segment.deleted:
            (self.folder / segment.deleted).unlink(missing_ok=True)

    def array(self, path: str, size: int) -> Any:
        """A committed ``.npy`` file as a memory map; ``size`` is its length in the manifest."""
        import numpy as np

        file = self.folder / path
        self._sized(file, size)
        try:
            return np.load(file, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise
        except Exception as error:  # NumPy reads the header as Python: damage there can end in anything
            raise DataError(f"{file} is damaged ({error}): restore it from a copy, or build the index anew") from None

    def table(self, path: str, size: int) -> pa.Table:
        """A committed Arrow file, memory-mapped."""
        import pyarrow as pa

        file = self.folder / path
        self._sized(file, size)
        try:
            return pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        except pa.ArrowInvalid as error:
            raise DataError(f"{file} is damaged ({error}): restore it from a copy, or build the index anew") from None

    def _sized(self, file: Path, size: int) -> None:
        found = file.stat().st_size
        if found != size:
            raise DataError(
                f"{file} is damaged: expected {size:,} bytes, found {found:,}: restore it from a copy, or build the "
                "index anew"
            )

    def files(self, manifest: Manifest) -> dict[str, tuple[int, int]]:
        """Every committed file, by its path in the folder: (bytes, CRC-32)."""
        out = dict(manifest.files)
        for segment in manifest.segments:
            out |= {f"{segment.name}/{name}": about for name, about in segment.files.items()}
        return out

    def verify(self, manifest: Manifest, *, most: int | None = None) -> int:
        """Read every file and compare its checksum; how many bytes. With ``most``, only if all together are no
        larger."""
        files = self.files(manifest)
        total = sum(size for size, _ in files.values())
        if most is not None and total > most:
            return 0
        for name, (size, expected) in files.items():
            self._sized(self.folder / name, size)
            if _checksum(self.folder / name) != expected:
                raise DataError(
                    f"{self.folder / name} is damaged: its checksum does not match: restore it from a copy, or build "
                    "the index anew"
                )
        return total


def write_array(path: Path, array: Any) -> tuple[int, int]:
    """Write ``.npy``, flushed to the disk: (bytes, CRC-32). A list of blocks becomes one array, block after block along
    the first axis; blocks may be made as they are asked for: ``(shape, dtype, iterator)``."""
    import numpy as np

    shape, dtype, blocks = array if isinstance(array, tuple) else (array.shape, array.dtype, [array])
    with path.open("xb") as stream:
        out = _Summed(stream)
        np.lib.format.write_array_header_1_0(
            out,
            {
                "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
                "fortran_order": False,
                "shape": tuple(int(n) for n in shape),
            },
        )
        for block in blocks:
            block = np.ascontiguousarray(block, dtype)
            flat = block.reshape(-1).view(np.uint8)
            for start in range(0, len(flat), CHUNK):
                out.write(flat[start : start + CHUNK].data)
        return out.done()


def write_table(path: Path, table: pa.Table) -> tuple[int, int]:
    """Write an Arrow file, flushed to the disk: (bytes, CRC-32)."""
    import pyarrow as pa

    with path.open("xb") as stream:
        out = _Summed(stream)
        with pa.ipc.new_file(pa.PythonFile(out, "w"), table.schema) as writer:
            writer.write_table(table, max_chunksize=65536)
        return out.done()


class _Summed:
    """A stream that counts and sums what goes through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.size, self.crc = stream, 0, 0
        self.closed = False

    def write(self, data: Any) -> int:
        self.crc = zlib.crc32(data, self.crc)
        self.size += len(data)
        self.stream.write(data)
        return len(data)

    def flush(self) -> None:
        self.stream.flush()

    def close(self) -> None:
        pass

    def done(self) -> tuple[int, int]:
        self.stream.flush()
        os.fsync(self.stream.fileno())
        return self.size, self.crc


def _checksum(path: Path) -> int:
    crc = 0
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            crc = zlib.crc32(block, crc)
    return crc


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


try:
    import fcntl

    def _take(stream: IO[bytes]) -> bool:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _give(stream: IO[bytes]) -> None:
        fcntl.flock(stream, fcntl.LOCK_UN)

except ImportError:  # Windows
    import msvcrt

    def _take(stream: IO[bytes]) -> bool:
        stream.seek(0)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True

    def _give(stream: IO[bytes]) -> None:
        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]
