"""What a GGUF file says of itself: metadata and where its tensors lie, all of it looked at before anything is used.

The layout is ggml's (docs/gguf.md there): magic, version, counts, key and value pairs, tensor descriptions, padding,
data. Types and block sizes are the package gguf's. Its reader is not used: it keeps an array a token (SmolLM2's 49,152
take it 30 times as long as this), follows sizes out of the file, and stops with whatever NumPy raises there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from umekomi.errors import DataError, MissingExtra, WrongUse
from umekomi.files import regular_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"GGUF"
VERSIONS = (2, 3)
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")
"""The tensor types that are read."""
ALIGNMENT = 32
LONGEST_KEY = 65535
LONGEST_NAME = 255
MOST_AXES = 4
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Value types and how :mod:`struct` names them; 8 is a string, 9 an array."""
STRING, ARRAY = 8, 9
PART = re.compile(r"^(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
"""How the parts of a split file are named."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies: its name, type (:data:`TYPES`), shape with the longest stride first as NumPy has it
    (a matrix is ``[out, in]``), and its bytes ``[rows, bytes of a row]``, mapped from the file."""

    name: str
    type: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]


class Gguf:
    """A GGUF file: ``metadata`` by key, ``tensors`` by name. Of a split file, any part's path opens all of them.

    Raises:
        DataError: for a file that is not whole or not as the format says: one line with what and where.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        first = _Part(self.path)
        count = first.metadata.get("split.count", 1)
        parts = [first]
        if isinstance(count, int) and count > 1:
            parts = self._parts(first, count)
        self.metadata: dict[str, Any] = parts[0].metadata
        self.tensors: dict[str, Tensor] = {}
        for part in parts:
            for name, tensor in part.tensors.items():
                if name in self.tensors:
                    raise DataError(f"{part.path}: expected each tensor once, found {name} in an earlier part, too")
                self.tensors[name] = tensor
        total = self.metadata.get("split.tensors.count", len(self.tensors)) if len(parts) > 1 else len(self.tensors)
        if total != len(self.tensors):
            raise DataError(
                f"{self.path}: expected {total} tensors in its {len(parts)} parts, found {len(self.tensors)}"
            )
        self.files = [part.path for part in parts]

    @staticmethod
    def _parts(first: _Part, count: int) -> list[_Part]:
        name = PART.match(first.path.name)
        if name is None or int(name["count"]) != count:
            raise DataError(
                f"{first.path}: expected a part's name such as model-00001-of-{count:05d}.gguf, as its metadata say it "
                f"is one of {count}, found {first.path.name}"
            )
        parts = []
        for number in range(1, count + 1):
            path = first.path.with_name(f"{name['name']}-{number:05d}-of-{count:05d}.gguf")
            if not path.is_file():
                raise DataError(
                    f"{path}: expected part {number} of {count} beside {first.path.name}, found no such file"
                )
            part = first if path == first.path else _Part(path)
            if part.metadata.get("split.no") != number - 1:
                raise DataError(f"{path}: expected split.no {number - 1}, found {part.metadata.get('split.no')!r:.40}")
            parts.append(part)
        return parts

    def get(self, key: str, kind: type[Value] | tuple[type, ...], default: Any = None) -> Any:
        """A metadata value of this type; ``default`` where there is none, or the error where that is :data:`NEEDED`."""
        value = self.metadata.get(key)
        if value is None:
            if default is NEEDED:
                raise DataError(f"{self.path}: expected {key} in the metadata, found none")
            return default
        right = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not right:
            named = kind.__name__ if isinstance(kind, type) else " or ".join(each.__name__ for each in kind)
            raise DataError(f"{self.path}, {key}: expected {named}, found {value!r:.60}")
        return value

    def number(self, key: str, default: Any = None, *, least: int = 1, most: int = 1 << 31) -> Any:
        """A whole number within bounds."""
        value = self.get(key, int, default)
        if value is not None and value is not default and not least <= value <= most:
            raise DataError(f"{self.path}, {key}: expected {least} to {most}, found {value}")
        return value

    def tensor(self, name: str) -> Tensor:
        """A tensor that must be there."""
        if name not in self.tensors:
            raise DataError(f"{self.path}: expected the tensor {name}, found none of this name")
        return self.tensors[name]

    @property
    def architecture(self) -> str:
        """What ``general.architecture`` says."""
        return str(self.get("general.architecture", str, NEEDED))


NEEDED = object()
"""The default of a metadata value that must be there."""


def is_named(path: str | Path) -> bool:
    """Does a name end as GGUF files' do?"""
    return Path(path).suffix.lower() == ".gguf"


def needs_package(what: str) -> None:
    """The error where the package gguf is not installed."""
    from importlib.util import find_spec

    if not find_spec("gguf"):
        raise MissingExtra("gguf", "gguf", what)


class _Part:
    """One file."""

    def __init__(self, path: Path) -> None:
        needs_package(f"reading {path}")
        self.path = path
        try:
            size = regular_file(path.resolve()).st_size
        except FileNotFoundError:
            raise WrongUse(f"{path}: no such file") from None
        if size < 24:
            raise DataError(f"{path}: expected a GGUF file, found {size} bytes, less than its header takes")
        try:
            self.bytes: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
        self.view = memoryview(self.bytes)
        self.at = 0
        self.end = len(self.bytes)
        self._begin()
        tensors, pairs = self._take("<Q", "the number of tensors"), self._take("<Q", "the number of metadata")
        for count, least, what in ((tensors, 32, "tensors"), (pairs, 13, "metadata")):
            if count * least > self.end:
                raise DataError(f"{path}: expected no more {what} than the file has room for, found {count:,}")
        self.metadata = self._pairs(pairs)
        self.tensors = self._tensors(tensors)

    def _begin(self) -> None:
        magic = bytes(self.view[:4])
        if magic != MAGIC:
            raise DataError(f"{self.path}: expected a GGUF file, which begins with {MAGIC!r}, found {magic!r}")
        self.at = 4
        version = self._take("<I", "the version")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "big"), "little")
            found = (
                f"{swapped} with its bytes the other way round (big-endian)" if swapped in VERSIONS else str(version)
            )
            raise DataError(
                f"{self.path}: expected GGUF version {' or '.join(map(str, VERSIONS))}, found version {found}"
            )

    def _take(self, layout: str, what: str) -> Any:
        """One number."""
        try:
            (value,) = struct.unpack_from(layout, self.view, self.at)
        except struct.error:
            raise DataError(f"{self.path}: expected {what} at byte {self.at:,}, found the file's end") from None
        self.at += struct.calcsize(layout)
        return value

    def _string(self, what: str | Callable[[], str], longest: int | None = None) -> str:
        (length,) = struct.unpack_from("<Q", self.view, self.at) if self.at + 8 <= self.end else (self.end,)
        stop = self.at + 8 + length
        if stop > self.end or (longest is not None and length > longest):
            what = what if isinstance(what, str) else what()
            if stop > self.end:
                raise DataError(
                    f"{self.path}: expected {what} at byte {self.at:,}, found that it ends outside the file"
                )
            raise DataError(f"{self.path}: expected {what} of at most {longest} bytes, found {length:,}")
        data = self.view[self.at + 8 : stop]
        self.at = stop
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError:
            what = what if isinstance(what, str) else what()
            raise DataError(f"{self.path}: expected {what} in UTF-8, found {bytes(data)[:40]!r}") from None

    # --- metadata ---------------------------------------------------------------------------------------------------

    def _pairs(self, count: int) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        for number in range(count):
            key = self._string(f"key {number + 1} of {count}", LONGEST_KEY)
            if key in pairs:
                raise DataError(f"{self.path}: expected each key once, found {key!r:.80} twice")
            pairs[key] = self._value(key, self._take("<I", f"the type of {key!r:.80}"))
        return pairs

    def _value(self, key: str, kind: int) -> Any:
        if kind == STRING:
            return self._string(lambda: f"the text of {key!r:.80}")
        if kind == ARRAY:
            return self._array(key)
        if kind not in SCALARS:
            raise DataError(f"{self.path}, {key!r:.80}: expected a value type from 0 to 12, found {kind}")
        return self._take("<" + SCALARS[kind], f"the value of {key!r:.80}")

    def _array(self, key: str) -> Any:
        """A list of strings, or an array of numbers."""
        kind = self._take("<I", f"the type of {key!r:.80}'s values")
        count = self._take("<Q", f"the length of {key!r:.80}")
        if kind != STRING and kind not in SCALARS:
            raise DataError(f"{self.path}, {key!r:.80}: expected an array of numbers or texts, found value type {kind}")
        width = 8 if kind == STRING else struct.calcsize("<" + SCALARS[kind])
        if count * width > self.end - self.at:
            raise DataError(f"{self.path}, {key!r:.80}: expected an array within the file, found {count:,} values")
        if kind == STRING:
            return self._strings(key, count)
        values = np.frombuffer(self.view, np.dtype("<" + SCALARS[kind]), count, self.at).copy()
        self.at += count * width
        return values

    def _strings(self, key: str, count: int) -> list[str]:
        return [self._string(lambda: f"a text of {key!r:.80}") for _ in range(count)]

    # --- tensors ----------------------------------------------------------------------------------------------------

    def _tensors(self, count: int) -> dict[str, Tensor]:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        described: dict[str, tuple[str, tuple[int, ...], int, int, int]] = {}
        for number in range(count):
            name = self._string(f"the name of tensor {number + 1} of {count}", LONGEST_NAME)
            place = f"{self.path}, tensor {name!r:.80}"
            if name in described:
                raise DataError(f"{place}: expected each tensor once, found it twice")
            axes = self._take("<I", f"the axes of {name!r:.80}")
            if not 1 <= axes <= MOST_AXES:
                raise DataError(f"{place}: expected 1 to {MOST_AXES} axes, found {axes}")
            shape = tuple(self._take("<Q", f"the shape of {name!r:.80}") for _ in range(axes))[::-1]
            kind = self._take("<I", f"the type of {name!r:.80}")
            offset = self._take("<Q", f"the offset of {name!r:.80}")
            try:
                named = GGMLQuantizationType(kind)
            except ValueError:
                raise DataError(f"{place}: expected a tensor type that is known, found number {kind}") from None
            if named.name not in TYPES:
                raise DataError(f"{place}: expected one of the types {', '.join(TYPES)}, found {named.name}")
            block, size = GGML_QUANT_SIZES[named]
            if not all(shape) or prod(shape) > self.end * block:
                raise DataError(f"{place}: expected a shape that the file has room for, found {list(shape)}")
            if shape[-1] % block:
                raise DataError(f"{place}: expected rows of whole blocks of {block} numbers, found rows of {shape[-1]}")
            described[name] = named.name, shape, offset, shape[-1] // block * size, prod(shape[:-1])
        return self._placed(described)

    def _placed(self, described: Mapping[str, tuple[str, tuple[int, ...], int, int, int]]) -> dict[str, Tensor]:
        """The tensors' bytes, each within the file and none over another."""
        alignment = self.metadata.get("general.alignment", ALIGNMENT)
        if type(alignment) is not int or not 8 <= alignment <= 1 << 20 or alignment & (alignment - 1):
            raise DataError(
                f"{self.path}, general.alignment: expected a power of two from 8 on, found {alignment!r:.40}"
            )
        begin = -(-self.at // alignment) * alignment
        tensors: dict[str, Tensor] = {}
        before, last = begin, "the header"
        for name, (kind, shape, offset, width, rows) in sorted(described.items(), key=lambda item: item[1][2]):
            start, stop = begin + offset, begin + offset + width * rows
            place = f"{self.path}, tensor {name!r:.80}"
            if stop > self.end:
                raise DataError(
                    f"{place}: expected its {width * rows:,} bytes within the file, found that they end at byte "
                    f"{stop:,} of {self.end:,}: the file is cut short or damaged"
                )
            if offset % alignment:
                raise DataError(f"{place}: expected an offset in steps of {alignment}, found {offset}")
            if start < before:
                raise DataError(f"{place}: expected bytes of its own, found that they begin within {last}'s")
            tensors[name] = Tensor(name, kind, shape, self.bytes[start:stop].reshape(rows, width))
            before, last = stop, name
        return {name: tensors[name] for name in described}
