"""fastText's own binary models (Bojanowski+ 2017; Joulin+ 2016, FastText.zip), ``.bin`` and quantized ``.ftz``, as a
table of the words in their dictionary: each the mean of its row and of the rows of its character n-grams, as the
released program prints it. Rows of quantized models are put together from their codes. N-grams of words that are not
in the dictionary, labels and the output layer are not read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from umekomi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = 793712314
VERSIONS = (11, 12)
CODES = 256
"""Centroids of each part of a quantized row."""
LONGEST = 1 << 16
MOST = 1 << 31
EOS = b"</s>"


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many; none at the end."""


class Settings(NamedTuple):
    """What is needed of the head: width, n-grams of ``shortest`` to ``longest`` characters, hashed into so many
    buckets."""

    dimension: int
    buckets: int
    shortest: int
    longest: int


class _Stream:
    """Numbers one behind the other; the error for a file that ends within."""

    def __init__(self, path: Path, stream: Readable) -> None:
        self.path, self.stream, self._ahead, self._at = path, stream, b"", 0

    def take(self, size: int) -> bytes:
        if size < 0 or size > MOST * 8:
            raise DataError(f"{self.path}: expected a model of fastText, found one that asks for {size:,} bytes")
        out = self._ahead[self._at : self._at + size]
        self._at += len(out)
        if len(out) < size:
            parts, missing = [out], size - len(out)
            while missing:
                more = self.stream.read(min(missing, 1 << 26))
                if not more:
                    raise DataError(f"{self.path}: expected a model of fastText, found that the file ends within")
                parts.append(more)
                missing -= len(more)
            out, self._ahead, self._at = b"".join(parts), b"", 0
        return out

    def numbers(self, kind: str, count: int) -> NDArray[np.generic]:
        dtype = np.dtype(kind)
        return np.frombuffer(self.take(dtype.itemsize * count), dtype)

    def number(self, kind: str) -> int:
        return int(self.numbers(kind, 1)[0])

    def word(self) -> bytes:
        """Up to the next zero byte."""
        parts = []
        while True:
            end = self._ahead.find(b"\0", self._at)
            if end >= 0:
                parts.append(self._ahead[self._at : end])
                self._at = end + 1
                return b"".join(parts)
            parts.append(self._ahead[self._at :])
            self._ahead, self._at = self.stream.read(1 << 16), 0
            if not self._ahead or sum(map(len, parts)) > LONGEST:
                raise DataError(f"{self.path}: expected a model of fastText, found that the file ends within a word")


def read_fasttext(
    path: Path, stream: Readable, only: Collection[bytes] | None = None, most: int | None = None
) -> tuple[list[bytes], NDArray[np.float32]]:
    """(the words, float32 ``[words, dim]``); ``only`` words among these, the first ``most`` of them."""
    data = _Stream(path, stream)
    magic, version = data.number("<i4"), data.number("<i4")
    if magic != MAGIC or version not in VERSIONS:
        raise DataError(f"{path}: expected a model of fastText, version 11 or 12, found {magic}, {version}")
    head = [int(value) for value in data.numbers("<i4", 12)]
    data.take(8)
    supervised = head[7] == 3
    settings = Settings(head[0], head[8], head[9], 0 if supervised and version == 11 else head[10])
    words, count, kept = _dictionary(data)
    quantized = data.number("u1")
    rows = _quantized(data) if quantized else _plain(data)
    buckets = settings.buckets if kept is None else len(kept)
    wanted = count + (buckets if settings.longest else 0)
    if rows.shape[1] != settings.dimension or not count <= len(rows) or (settings.longest and len(rows) < wanted):
        raise DataError(f"{path}: expected {wanted:,} rows of {settings.dimension} numbers, found {list(rows.shape)}")
    names: list[bytes] = []
    out: list[NDArray[np.float32]] = []
    for number, name in words:
        if only is not None and name not in only:
            continue
        if most is not None and len(names) == most:
            break
        own = [number, *(count + place for place in ngrams(name, settings, kept))]
        names.append(name)
        out.append(rows[own].mean(0))
    return names, np.stack(out).astype(np.float32) if out else np.zeros((0, settings.dimension), np.float32)


def _dictionary(data: _Stream) -> tuple[list[tuple[int, bytes]], int, dict[int, int] | None]:
    """((row, word) of all words, how many words there are, which n-grams were kept: None for all)."""
    size, count, _ = (int(value) for value in data.numbers("<i4", 3))
    data.take(8)
    pruned = data.number("<i8")
    if not 0 <= count <= size:
        raise DataError(f"{data.path}: expected words and labels, found {count} of {size}")
    words = []
    for number in range(size):
        name = data.word()
        data.take(8)
        if data.number("i1") == 0:
            words.append((number, name))
    if pruned < 0:
        return words, count, None
    pairs = data.numbers("<i4", 2 * pruned).reshape(-1, 2)
    return words, count, {int(first): int(second) for first, second in pairs}


def _plain(data: _Stream) -> NDArray[np.float32]:
    height, width = (int(value) for value in data.numbers("<i8", 2))
    return data.numbers("<f4", height * width).reshape(height, width).astype(np.float32, copy=False)


def _quantized(data: _Stream) -> NDArray[np.float32]:
    """Rows from product codes; their lengths are codes of their own where the model says so."""
    normed = data.number("u1")
    height, width = (int(value) for value in data.numbers("<i8", 2))
    size = data.number("<i4")
    codes = data.numbers("u1", size)
    parts, centroids = _centroids(data)
    if size != height * len(parts) or sum(parts) != width:
        raise DataError(f"{data.path}: expected codes of {height:,} rows in {len(parts)} parts, found {size:,}")
    codes = codes.reshape(height, len(parts))
    rows = np.concatenate([table[codes[:, place]] for place, table in enumerate(centroids)], 1)
    if normed:
        lengths = data.numbers("u1", height)
        rows = rows * _centroids(data)[1][0][lengths]
    return rows.astype(np.float32, copy=False)


def _centroids(data: _Stream) -> tuple[list[int], list[NDArray[np.float32]]]:
    """(the width of each part, its 256 centroids)."""
    width, count, each, last = (int(value) for value in data.numbers("<i4", 4))
    parts = [each] * (count - 1) + [last] if 0 < count <= width else []
    if sum(parts) != width or min(parts, default=0) < 1:
        raise DataError(f"{data.path}: expected {width} numbers in {count} parts, found parts of {each} and {last}")
    flat = data.numbers("<f4", CODES * width).astype(np.float32)
    tables, at = [], 0
    for part in parts:
        tables.append(flat[at : at + CODES * part].reshape(CODES, part))
        at += CODES * part
    return parts, tables


def ngrams(word: bytes, settings: Settings, kept: dict[int, int] | None) -> list[int]:
    """The buckets of a word's character n-grams, ``<`` and ``>`` at its ends; of a pruned model those that were kept.
    The hash is FNV-1a over bytes that are taken as signed.

    >>> len(ngrams(b"cat", Settings(4, 1000, 3, 4), None))
    5
    """
    if not settings.longest or word == EOS:
        return []
    text = b"<" + word + b">"
    begins = [at for at, byte in enumerate(text) if byte & 0xC0 != 0x80] + [len(text)]
    out = []
    for first in range(len(begins) - 1):
        for size in range(max(settings.shortest, 1), settings.longest + 1):
            if first + size >= len(begins):
                break
            if size == 1 and (first == 0 or first + 1 == len(begins) - 1):
                continue
            place = _hash(text[begins[first] : begins[first + size]]) % settings.buckets
            if kept is None:
                out.append(place)
            elif place in kept:
                out.append(kept[place])
    return out


def _hash(text: bytes) -> int:
    value = 2166136261
    for byte in text:
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return value
