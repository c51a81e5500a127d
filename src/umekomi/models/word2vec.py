"""The word2vec text and binary formats (Mikolov et al. 2013), which gensim, fastText and GloVe tools read, as they are
found: packed or not, with a header or without, with words that hold spaces or bytes that are no UTF-8."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from umekomi.data.lines import LINE, bounded, raw_lines, too_long
from umekomi.errors import DataError, WrongUse, where
from umekomi.files import whole_file
from umekomi.models.entity import EntityEmbedder
from umekomi.models.fasttext import read_fasttext
from umekomi.progress import say

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENDINGS = (".txt", ".vec", ".bin", ".ftz")
PACKED: dict[str, Callable[..., IO[bytes]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}  # type: ignore[dict-item]
DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError)
"""What the packers raise: cut, broken, encrypted, or packed by another method."""
LOOK = 1000
"""Lines of a file without a header by which its width is worked out."""
WIDEST = 1 << 20
LONGEST = 1 << 20
"""Bytes that a word may have."""
BLOCK = 1 << 23
"""Bytes of a text file that are read at once."""
FEW = 2000
"""Lines that are read without the compiled loop."""
FASTTEXT = (793712314).to_bytes(4, "little")
"""How fastText's own binary models begin."""


def is_named(path: str | Path) -> bool:
    """Is this a file's name that says word2vec: ``.txt``, ``.vec`` or ``.bin``, packed (``.gz``, ``.bz2``, ``.xz``,
    ``.zip``) or not?

    >>> is_named("crawl-300d-2M.vec.zip"), is_named("vectors.parquet")
    (True, False)
    """
    return _ending(Path(path)) in ENDINGS


def _ending(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix in (*PACKED, ".zip") else path.suffix


def _name(path: Path) -> str:
    return Path(path.stem).stem if path.suffix in (*PACKED, ".zip") else path.stem


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked; what cannot be unpacked is one line."""
    if not path.is_file():
        raise WrongUse(f"{path}: {'expected a file' if path.exists() else 'no such file'}")
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                if len(members) != 1:
                    listed = ", ".join(member.filename for member in members[:5]) or "none"
                    raise WrongUse(f"{path}: expected one file in the archive, found {listed}: unpack it and name one")
                with archive.open(members[0]) as stream:
                    yield bounded(stream, path, members[0].compress_size)
        elif path.suffix in PACKED:
            with PACKED[path.suffix](path, "rb") as stream:
                yield bounded(stream, path, path.stat().st_size)
        else:
            with path.open("rb") as stream:
                yield stream
    except DAMAGED as error:
        raise DataError(f"{path}: cannot be read to its end: {error or type(error).__name__}") from error


def read(
    path: str | Path, *, binary: bool | None = None, only: Collection[str] | None = None, most: int | None = None
) -> EntityEmbedder:
    """A table from a file of word vectors: word2vec's text and binary format, GloVe's, which has no header, fastText's
    ``.vec``, ``.bin`` and quantized ``.ftz`` (:mod:`umekomi.models.fasttext`). ``binary`` is worked out from the ending
    ``.bin`` or ``.ftz`` when not said. ``only`` reads the words among these and no others, ``most`` the first so many.

    On a line the last numbers are the vector, and what stands before them is the word, spaces and all. Bytes of a word
    that are no UTF-8 are written ``\\\\xe9``; of a word that stands there twice the first line is read. Both are
    said.
    """
    path = Path(path)
    if binary is None:
        binary = _ending(path) in (".bin", ".ftz")
    if most is not None and most < 1:
        raise WrongUse(f"most: expected 1 or more, found {most}")
    wanted = None if only is None else frozenset(name.encode() for name in only)
    with _opened(path) as stream:
        names, vectors = (_binary if binary else _text)(path, stream, wanted, most)
    words, odd = [], 0
    for name in names:
        try:
            words.append(name.decode("utf-8"))
        except UnicodeDecodeError:
            odd += 1
            words.append(name.decode("utf-8", "backslashreplace"))
    if odd:
        first = next(word for word, name in zip(words, names, strict=True) if word.encode() != name)
        say(f"note: {odd:,} words of {path} are no UTF-8; the bytes that are not are written as in {first!r}")
    if len(set(words)) < len(words):
        rows = {word: row for row, word in zip(reversed(range(len(words))), reversed(words), strict=True)}
        again = next(word for row, word in enumerate(words) if rows[word] != row)
        said = f"{len(words) - len(rows):,} of {len(words):,} lines of {path} left out: their words stand there before"
        say(f"note: {said}, {again[:40]!r} for one")
        kept = sorted(rows.values())
        words, vectors = [words[row] for row in kept], vectors[kept]
    try:
        return EntityEmbedder(words, vectors, name=_name(path))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _header(line: bytes) -> tuple[int, int] | None:
    """(how many vectors, how wide) where a first line says so."""
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() and len(part) < 19 for part in parts):
        return None
    return int(parts[0]), int(parts[1])


def _binary(
    path: Path, stream: IO[bytes], wanted: frozenset[bytes] | None, most: int | None
) -> tuple[list[bytes], NDArray[np.float32]]:
    begin = stream.read(4)
    if begin == FASTTEXT:
        return read_fasttext(path, _Again(begin, stream), wanted, most)
    line = begin if begin.endswith(b"\n") else begin + stream.readline(LONGEST)
    header = _header(line)
    if header is None or not 1 <= header[1] <= WIDEST:
        raise DataError(f"{where(str(path), 1)}: expected 'count dimensions', found {line[:60]!r}")
    count, dimension = header
    width = 4 * dimension
    # the array grows with what is there, so that a header cannot ask for more memory than the file fills
    vectors = np.empty((min(count, max((1 << 26) // width, 1)), dimension), np.float32)
    names: list[bytes] = []
    data, position = b"", 0
    for number in range(count):
        if most is not None and len(names) == most:
            break
        while True:
            space = data.find(b" ", position)
            if space >= 0 and len(data) >= space + 1 + width:
                break
            more = stream.read(1 << 22)
            if not more or (space < 0 and len(data) - position > LONGEST):
                raise DataError(f"{path}: expected {count} vectors, found that the file ends in vector {number + 1}")
            data, position = data[position:] + more, 0
        name = data[position:space].lstrip(b"\n")
        position = space + 1 + width
        if wanted is not None and name not in wanted:
            continue
        if len(names) == len(vectors):
            more_rows = min(max(len(names), 1), count - len(names))
            vectors = np.concatenate([vectors, np.empty((more_rows, dimension), np.float32)])
        vectors[len(names)] = np.frombuffer(data, "<f4", dimension, space + 1)
        names.append(name)
    return names, vectors[: len(names)]


class _Again:
    """A stream from which some bytes were read, from its begin."""

    def __init__(self, begin: bytes, stream: IO[bytes]) -> None:
        self._begin, self._stream = begin, stream

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes."""
        if self._begin:
            begin, self._begin = self._begin[:size], self._begin[size:]
            return begin
        return self._stream.read(size)


def _text(
    path: Path, stream: IO[bytes], wanted: frozenset[bytes] | None, most: int | None
) -> tuple[list[bytes], NDArray[np.float32]]:
    head = []
    for number, line in enumerate(islice(raw_lines(stream), LOOK), 1):
        if len(line) > LINE:
            raise too_long(where(str(path), number))
        head.append(line)
    header = _header(head[0]) if head else None
    first = 1
    if header is not None:
        count, dimension = header
        first, head = 2, head[1:]
    else:
        widths = Counter(_numbers(line) for line in head if line.strip())
        # words that end in numbers are few, and so are cut lines; where they are as many, an error tells
        count, dimension = 0, max(widths, key=lambda width: (widths[width], width), default=0)
    if not 1 <= dimension <= WIDEST:
        found = (head[0] if head else b"")[:60].decode("utf-8", "backslashreplace")
        raise DataError(f"{where(str(path), 1)}: expected a name and its numbers, found {found!r}")
    lines = _Lines(path, dimension, first, wanted)
    for block in _blocks(path, b"".join(head), stream):
        lines.take(block)
        if most is not None and len(lines.names) >= most:
            return lines.names[:most], np.concatenate(lines.blocks)[:most]
    if count and count != lines.seen:
        raise DataError(f"{path}: expected {count} vectors, found {lines.seen}")
    return lines.names, np.concatenate(lines.blocks) if lines.blocks else np.zeros((0, dimension), np.float32)


def _blocks(path: Path, head: bytes, stream: IO[bytes]) -> Iterator[bytes]:
    """Whole lines, some millions of bytes together."""
    rest = head
    while more := stream.read(BLOCK):
        rest += more
        end = rest.rfind(b"\n") + 1
        if end:
            yield rest[:end]
            rest = rest[end:]
        elif len(rest) > LINE:
            raise too_long(f"{path}, behind line {LOOK:,}")
    if rest:
        yield rest


class _Lines:
    """The names and vectors of lines, block after block; ``seen`` counts all lines that are not empty."""

    def __init__(self, path: Path, dimension: int, first: int, wanted: frozenset[bytes] | None) -> None:
        self.path, self.dimension, self.number, self.wanted = path, dimension, first, wanted
        self.first_words = None if wanted is None else {name.partition(b" ")[0] for name in wanted}
        self.names: list[bytes] = []
        self.blocks: list[NDArray[np.float32]] = []
        self.seen = 0

    def take(self, block: bytes) -> None:
        """The lines of one block."""
        data = np.frombuffer(block, np.uint8)
        stops = np.flatnonzero(data == 10)
        if not len(stops) or stops[-1] != len(data) - 1:
            stops = np.append(stops, len(data))
        starts = np.append(0, stops[:-1] + 1)
        numbers = np.arange(self.number, self.number + len(starts))
        self.number += len(starts)
        there = stops - starts > 1  # an empty line is at most a carriage return
        there |= (stops - starts == 1) & (data[np.minimum(starts, len(data) - 1)] > 32)
        starts, stops, numbers = starts[there], stops[there], numbers[there]
        self.seen += len(starts)
        if self.first_words is not None:
            chosen = [block[a : block.find(b" ", a, b)] in self.first_words for a, b in zip(starts, stops, strict=True)]
            starts, stops, numbers = starts[chosen], stops[chosen], numbers[chosen]
        vectors, ends = np.empty((len(starts), self.dimension), np.float32), np.full(len(starts), -1, np.int64)
        if self.seen > FEW:  # compiled, for files that are worth it
            from umekomi.parts.kernels.numbers import POWERS, parse_lines

            parse_lines(data, starts, stops, vectors, ends, POWERS)
        kept = np.ones(len(starts), bool)
        for row, (start, stop, end) in enumerate(zip(starts.tolist(), stops.tolist(), ends.tolist(), strict=True)):
            if end >= 0:
                name = block[start:end]
            else:
                line = block[start:stop].rstrip(b"\r\n")
                if not line.strip():
                    self.seen, kept[row] = self.seen - 1, False
                    continue
                name, vectors[row] = _row(self.path, int(numbers[row]), line, self.dimension)
            if self.wanted is not None and name not in self.wanted:
                kept[row] = False
            else:
                self.names.append(name)
        self.blocks.append(vectors if kept.all() else vectors[kept])


def _numbers(line: bytes) -> int:
    """How many numbers a line ends in, a word before them."""
    parts = line.split()
    for count, part in enumerate(reversed(parts[1:])):
        try:
            float(part)
        except ValueError:
            return count
    return max(len(parts) - 1, 0)


def _row(path: Path, number: int, line: bytes, dimension: int) -> tuple[bytes, NDArray[np.float32]]:
    """(the word, its numbers): the last ``dimension`` parts of the line are numbers, and one space stands before
    them."""
    name, *values = line.rstrip(b" \t").rsplit(b" ", dimension)
    if len(values) == dimension and not all(values):
        values = []
    if len(values) != dimension:  # by tabs, or several spaces
        name, *values = line.rsplit(None, dimension)
    if len(values) != dimension:
        raise DataError(
            f"{where(str(path), number)}: expected a name and {dimension} numbers, found {max(len(values), 0)} numbers"
        )
    try:
        return name, np.array(values, np.float32)
    except ValueError:
        shown = b" ".join(values)[:60].decode("utf-8", "backslashreplace")
        raise DataError(f"{where(str(path), number)}: expected {dimension} numbers, found {shown!r}") from None


def write(table: EntityEmbedder, path: str | Path, *, binary: bool | None = None) -> None:
    """The table as a word2vec file, packed where it ends in ``.gz``. A name with white space cannot stand in this
    format: an error, not a changed name."""
    path = Path(path)
    if binary is None:
        binary = _ending(path) == ".bin"
    if path.suffix in (*PACKED, ".zip") and path.suffix != ".gz":
        raise WrongUse(f"{path}: expected a file ending in {', '.join(ENDINGS)}, or one of these and .gz")
    for name in table.names:
        if not name or any(character.isspace() for character in name):
            raise DataError(f"the word2vec format separates by spaces: the name {name!r} cannot be written")
    with whole_file(path) as temporary, temporary.open("wb") as file:
        packed = gzip.GzipFile("", "wb", fileobj=file, mtime=0) if path.suffix == ".gz" else None
        stream: Any = packed or file
        stream.write(f"{len(table.names)} {table.dimension}\n".encode())
        for name, vector in zip(table.names, table.vectors, strict=True):
            if binary:
                stream.write(name.encode() + b" " + vector.tobytes() + b"\n")
            else:
                # repr of float32 is the shortest text that reads back to the same number
                stream.write((name + " " + " ".join(str(value) for value in vector) + "\n").encode())
        if packed is not None:
            packed.close()
