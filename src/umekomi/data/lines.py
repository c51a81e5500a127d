"""Files of text as lines: plain or gzipped, UTF-8 or the encoding that the user names. What cannot be read is one line:
file, line, what was expected and what was found."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any
from unicodedata import category

from umekomi.errors import DataError, WrongUse, where

BLOCK = 1 << 16
LINE = 1 << 26
"""Bytes that a line may have, or a CSV record of several lines: 64 MB."""
UNPACKED = 1 << 30
RATIO = 200
"""What a packed file may become: 1 GB, or so many times its size where that is more. Text packs to a third or a tenth,
word vectors to a half; a file that is a thousand times smaller than what is in it was made to fill a memory or a
disk."""
HINT = "name the file's encoding with --encoding (encoding= in Python): cp932, euc-jp, utf-16, latin-1"
UTF_16 = "read it with --encoding utf-16 (encoding= in Python)"
UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading a file may raise, gzipped or not."""
_SORTS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_path(path: Path) -> None:
    """The error for a path that is neither a file nor a folder; a named pipe is never opened, which might wait for
    ever."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise WrongUse(f"{path}: no such file or folder") from None
    except OSError as error:
        raise WrongUse(f"{path}: expected a file or a folder, found: {error.strerror}") from None
    for is_so, name in _SORTS:
        if is_so(mode):
            raise WrongUse(f"{path}: expected a file or a folder, found {name}")


def check_encoding(encoding: str | None) -> str | None:
    """An encoding under Python's name for it, None for UTF-8; a name that is none is an error."""
    if encoding is None:
        return None
    try:
        codec = codecs.lookup(encoding)
    except (LookupError, ValueError):
        codec = None
    # a codec such as hex or rot13 makes bytes of bytes or text of text, and an escape is no way to keep a file
    if (
        codec is None
        or not codec._is_text_encoding
        or codec.incrementaldecoder is None
        or "escape" in codec.name
        or codec.name in ("undefined", "idna")
    ):
        raise WrongUse(f"encoding: expected a name such as utf-8, cp932, euc-jp or utf-16, found {encoding!r}")
    return None if codec.name in ("utf-8", "utf-8-sig") else codec.name


def unreadable_error(place: str, error: Exception) -> DataError:
    """The error for a file whose bytes cannot be had."""
    if isinstance(error, EOFError):
        return DataError(f"{place}: expected a whole gzip file, found that it ends mid-line")
    if isinstance(error, (gzip.BadGzipFile, zlib.error)):
        return DataError(f"{place}: expected a gzip file, found: {error}")
    return DataError(f"{place}: expected a file that can be read, found: {getattr(error, 'strerror', None) or error}")


class _Bounded(io.RawIOBase):
    """What is unpacked from ``stream``, of a file of ``size`` bytes: the error where it goes on beyond all measure."""

    def __init__(self, stream: Any, path: Path, size: int) -> None:
        self._stream, self._path, self._size = stream, path, size
        self._taken, self._most = 0, max(UNPACKED, RATIO * size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._taken += len(data)
        if self._taken > self._most:
            raise DataError(
                f"{self._path}: expected at most {self._most:,} bytes in a packed file of {self._size:,} "
                f"({UNPACKED >> 30} GB, or {RATIO} times its size), found more: unpack it first if it is right"
            )
        return len(data)


def bounded(stream: Any, path: Path, size: int) -> IO[bytes]:
    """The bytes of ``stream``, which unpacks ``size`` bytes of the file at ``path``: at most :data:`UNPACKED`, or
    :data:`RATIO` times the size where that is more."""
    return io.BufferedReader(_Bounded(stream, path, size), BLOCK)


@contextmanager
def opened(path: Path, packed: bool) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where it is gzipped."""
    if not packed:
        with path.open("rb") as stream:
            yield stream
    else:
        with gzip.open(path, "rb") as unpacking:
            yield bounded(unpacking, path, path.stat().st_size)


def too_long(place: str, what: str = "a line") -> DataError:
    """The error for a line that does not end."""
    return DataError(f"{place}: expected {what} of at most {LINE:,} bytes, found a longer one")


def raw_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """The lines of a stream; of one that is longer than :data:`LINE` its beginning, which is longer still."""
    return iter(partial(stream.readline, LINE + 1), b"")


def read_bytes(path: Path, packed: bool) -> bytes:
    """The whole of a file, unpacked where it is gzipped."""
    try:
        with opened(path, packed) as stream:
            return stream.read()
    except UNREADABLE as error:
        raise unreadable_error(str(path), error) from None


def read_lines(path: Path, packed: bool, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """(line number, line with its end): only ``\\n`` ends a line. A byte order mark at the beginning is left out."""
    number = 0
    try:
        with opened(path, packed) as stream:
            read = _utf8(path, stream) if encoding is None else _named(path, stream, encoding)
            for number, line in enumerate(read, 1):
                if "\0" in line:
                    raise DataError(f"{where(str(path), number)}: expected text, found a byte of zero; {HINT}")
                yield number, line.removeprefix("\ufeff") if number == 1 else line
    except UNREADABLE as error:
        raise unreadable_error(where(str(path), number + 1), error) from None


def _utf8(path: Path, stream: IO[bytes]) -> Iterator[str]:
    for number, raw in enumerate(raw_lines(stream), 1):
        if len(raw) > LINE:
            raise too_long(where(str(path), number))
        try:
            yield raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8_error(where(str(path), number), raw, error, number == 1) from None


def not_utf8_error(place: str, raw: bytes, error: UnicodeDecodeError, first: bool) -> DataError:
    """The error for bytes that are no UTF-8; ``first``: they begin the file, and may tell what it is."""
    if first:
        for mark, found, advice in (
            (codecs.BOM_UTF32_LE, "UTF-32 (by its byte order mark)", UTF_16.replace("16", "32")),
            (codecs.BOM_UTF32_BE, "UTF-32 (by its byte order mark)", UTF_16.replace("16", "32")),
            (codecs.BOM_UTF16_LE, "UTF-16 (by its byte order mark)", UTF_16),
            (codecs.BOM_UTF16_BE, "UTF-16 (by its byte order mark)", UTF_16),
            (b"\x1f\x8b", "a gzip file", "let its name end in .gz"),
        ):
            if raw.startswith(mark):
                return DataError(f"{place}: expected UTF-8, found {found}: {advice}")
    return DataError(
        f"{place}: expected UTF-8, found byte 0x{raw[error.start]:02x} at position {error.start + 1}; {HINT}"
    )


def _named(path: Path, stream: IO[bytes], encoding: str) -> Iterator[str]:
    """Lines of any other encoding, of which a line's end is not always the byte 0x0a."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
    number, parts, length = 1, [""], 0
    while True:
        block, (_, state) = stream.read(BLOCK), decoder.getstate()
        try:
            text = decoder.decode(block, final=not block)
            text.encode("utf-8")  # some codecs give half surrogate pairs
        except UnicodeError as error:
            good = _decodable(encoding, state, getattr(error, "object", b"")[: getattr(error, "start", 0)])
            raise DataError(
                f"{where(str(path), number + good.count(chr(10)))}: expected {encoding}, found: "
                f"{getattr(error, 'reason', error)}"
            ) from None
        *ended, rest = text.split("\n")
        if ended:
            yield "".join(parts) + ended[0] + "\n"
            yield from (piece + "\n" for piece in ended[1:])
            number, parts, length = number + len(ended), [], 0
        parts.append(rest)
        length += len(rest)
        if length > LINE:
            raise too_long(where(str(path), number))
        if not block:
            break
    if last := "".join(parts):
        yield last


def _decodable(encoding: str, state: int, before: str | bytes) -> str:
    """What a block holds before the place that no character of the encoding stands at."""
    if isinstance(before, str):
        return before
    lenient = codecs.getincrementaldecoder(encoding)(errors="ignore")
    lenient.setstate((b"", state))
    try:
        return lenient.decode(before)
    except UnicodeError:
        return ""


def read_text(path: Path, encoding: str | None = None) -> str:
    """A whole document; its line ends become ``\\n``."""
    return "".join(line for _, line in read_lines(path, False, encoding)).replace("\r\n", "\n").replace("\r", "\n")


def shorten(value: object, most: int = 60) -> str:
    """A value as an error shows it: on one line, and not the whole of a long one."""
    import reprlib

    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = most
    short.maxlevel, short.maxlist, short.maxdict = 3, 4, 4
    return short.repr(value)


def list_names(names: Iterable[object], most: int = 20) -> str:
    """Column names as an error lists them: on one line, and not hundreds of them."""
    listed = [_printable(str(name)) for name in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _printable(name: str) -> str:
    if len(name) > 60:
        name = name[:59] + "…"
    return re.sub(r"\s", " ", "".join("�" if category(character) in ("Cc", "Cs") else character for character in name))


def file_stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file does."""
    state = os.stat(path)
    return state.st_size, state.st_mtime_ns, state.st_ino
