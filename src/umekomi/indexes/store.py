"""Where an index lies: a folder of segments and one manifest. Segments are written once and never changed; a write ends
with the renaming of a new manifest, which is the commit. Whatever a killed process left beside it is not in the
manifest, and the next writer removes it. One process writes at a time (a lock on a file); any number read, through
memory maps that stay valid while segments behind them are replaced."""

from __future__ import annotations

import os
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from umekomi.errors import DataError, UmekomiError
from umekomi.files import inside, regular_file, whole_file
from umekomi.indexes.manifest import (
    ARRAY_NAME,
    CODEC_NAME,
    DELETED_NAME,
    MANIFEST,
    PAYLOAD,
    SEGMENT_NAME,
    Manifest,
    Segment,
)

LOCK = "lock"
SMALL = 64 << 20
CHUNK = 1 << 20


class IndexBusy(UmekomiError):
    """Another process is writing this index."""


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

    def left_over(self, path: Path) -> bool:
        """Is this what a killed process leaves that had not yet made its index?"""
        return path.name == LOCK or path.name.startswith(f".{MANIFEST}.")

    def path(self, name: str) -> Path:
        """Where a name of the manifest lies: in this folder, and no link, device or FIFO."""
        return inside(self.folder, name, f"{self.manifest}: the name of a file", nested=True)

    @contextmanager
    def lock(self, wait: float = 10.0) -> Iterator[None]:
        """Be the one writer; what dead writers left is removed, and what this one leaves uncommitted when it fails: a
        full disk is as empty as before. Waits ``wait`` seconds for another."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            regular_file(self.folder / LOCK)
        with (self.folder / LOCK).open("a+b") as stream:
            until = time.monotonic() + wait
            while not _take(stream):
                if time.monotonic() > until:
                    raise IndexBusy(
                        f"{self.folder}: another process is writing this index; try again when it has ended"
                    )
                time.sleep(0.02)
            try:
                self.sweep()
                try:
                    yield
                except BaseException:
                    with suppress(UmekomiError, OSError):
                        self.sweep()
                    raise
            finally:
                _give(stream)

    def sweep(self, manifest: Manifest | None = None) -> None:
        """Remove files of an index that are not in the last commit (``manifest``, where it was read already); only the
        one writer may."""
        for path in self.folder.glob(f".{MANIFEST}.*"):
            _unlink(path)
        if not self.exists():
            return
        manifest = manifest or self.read()
        segments = {segment.name: segment for segment in manifest.segments}
        for path in self.folder.iterdir():
            name, folder = path.name, path.is_dir() and not path.is_symlink()
            if folder and name in segments:
                for file in path.iterdir():
                    if ARRAY_NAME.fullmatch(file.name) and file.name not in segments[name].files:
                        _unlink(file)
            elif folder and SEGMENT_NAME.fullmatch(name):
                shutil.rmtree(path, ignore_errors=True)
            elif (DELETED_NAME.fullmatch(name) or CODEC_NAME.fullmatch(name)) and name not in manifest.files:
                _unlink(path)

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
        files[PAYLOAD] = write_table(folder / PAYLOAD, payload)
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

    def array(self, path: str, size: int) -> np.memmap:
        """A committed ``.npy`` file as a memory map; ``size`` is its length in the manifest."""
        file = self.path(path)
        self._sized(file, size)
        try:
            return np.load(file, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise
        except Exception as error:  # NumPy reads the header as Python: damage there can end in anything
            raise damaged(file, error) from None

    def table(self, path: str, size: int) -> pa.Table:
        """A committed Arrow file, memory-mapped."""
        file = self.path(path)
        self._sized(file, size)
        try:
            rows = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
            rows.validate()
            return rows
        except FileNotFoundError:
            raise
        except Exception as error:  # Arrow says what it cannot read in errors of many kinds
            raise damaged(file, error) from None

    def _sized(self, file: Path, size: int) -> None:
        on_disk = regular_file(file).st_size
        if on_disk != size:
            raise damaged(file, f"expected {size:,} bytes, found {on_disk:,}")

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
            self._sized(self.path(name), size)
            if _checksum(self.folder / name) != expected:
                raise damaged(self.folder / name, "its checksum does not match")
        return total


def damaged(file: Path, why: object) -> DataError:
    """The error for a file of an index that is not as it was written."""
    said = " ".join(str(why).split()) or type(why).__name__
    return DataError(f"{file} is damaged ({said[:200]}): restore it from a copy, or build the index anew")


Blocks = tuple[Sequence[int], np.dtype, Iterable[np.ndarray]]
"""(shape, dtype, blocks along the first axis) of an array that is not whole in memory."""


def write_array(
    path: Path, array: np.ndarray | tuple[Sequence[int], np.dtype, Iterable[np.ndarray]]
) -> tuple[int, int]:
    """Write ``.npy``, flushed to the disk: (bytes, CRC-32). Blocks become one array, one after another along the
    first axis; they may be made as they are asked for: ``(shape, dtype, iterator)``."""
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

    def write(self, data: bytes | memoryview) -> int:
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


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def checksum(data: bytes | memoryview) -> int:
    """The CRC-32 of bytes, taken a piece at a time: a memory map need not fit in memory."""
    view, crc = memoryview(data), 0
    for start in range(0, len(view), CHUNK):
        crc = zlib.crc32(view[start : start + CHUNK], crc)
    return crc


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
