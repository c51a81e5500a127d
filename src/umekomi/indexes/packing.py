"""Vectors of each kind of output as the arrays that lie in an index's files, and back, over memory maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.contracts import Vectors

if TYPE_CHECKING:
    from umekomi.contracts import Output

BLOCK = 8192
"""Rows that are copied at a time."""
ARRAYS = {"dense": ("vectors",), "sparse": ("pointers", "latents", "amounts", "shape"), "multi": ("flat", "starts")}
"""The arrays that hold the vectors themselves, by kind of output."""
LONG = 1e15
"""The largest number, and the longest vector, that an index holds: float32 still holds a product of two."""
Shape = tuple[str, tuple[int | None, ...]]
"""An array's type as NumPy writes it, and how long each axis is; None is any length."""


def pack(vectors: Output) -> dict[str, Any]:
    """Vectors as the arrays that are written."""
    if isinstance(vectors, Vectors):
        return {"flat": vectors.flat.astype(np.float32, copy=False), "starts": vectors.offsets.astype(np.int64)}
    if not isinstance(vectors, np.ndarray):
        return {
            "pointers": vectors.indptr.astype(np.int64),
            "latents": vectors.indices.astype(np.int32),
            "amounts": vectors.data.astype(np.float32),
            "shape": np.array(vectors.shape, np.int64),
        }
    return {"vectors": vectors}


def expected_shapes(output: str, rows: int, width: int) -> dict[str, Shape]:
    """The shapes of a segment's own arrays: its vectors, its ids' hashes in rising order and their rows."""
    vectors: dict[str, Shape]
    if output == "multi":
        vectors = {"flat": ("<f4", (None, width)), "starts": ("<i8", (rows + 1,))}
    elif output == "sparse":
        numbers: tuple[int | None, ...] = (None,)
        vectors = {"pointers": ("<i8", (rows + 1,)), "latents": ("<i4", numbers), "amounts": ("<f4", numbers)}
        vectors["shape"] = ("<i8", (2,))
    else:
        vectors = {"vectors": ("<f4", (rows, width))}
    return vectors | {"ids": ("<u8", (rows,)), "places": ("<u4", (rows,))}


def check_arrays(arrays: Mapping[str, Any], output: str, rows: int, width: int) -> None:
    """ValueError where a number in a segment's own arrays would lead out of another: compiled code follows them
    unasked. (Which latents a sparse row has is looked at when they are joined: :func:`concatenate`.)"""
    if rows and int(arrays["places"].max()) >= rows:
        raise ValueError(f"places: expected rows below {rows}")
    if output == "multi":
        check_offsets("starts", arrays["starts"], len(arrays["flat"]))
    if output == "sparse":
        if arrays["shape"].tolist() != [rows, width]:
            raise ValueError(f"shape: expected {rows} rows of {width} dimensions")
        check_offsets("pointers", arrays["pointers"], len(arrays["latents"]))
        if len(arrays["latents"]) != len(arrays["amounts"]):
            raise ValueError("amounts: expected as many as latents")


def check_offsets(name: str, offsets: np.ndarray, last: int) -> None:
    """ValueError unless ``offsets`` go from 0 up to ``last``."""
    if offsets[0] != 0 or offsets[-1] != last or (np.diff(offsets) < 0).any():
        raise ValueError(f"{name}: expected numbers that rise from 0 to {last}")


def check_shapes(found: Mapping[str, Any], shapes: Mapping[str, Shape]) -> None:
    """ValueError unless every array is there, of its type, shape and order in memory."""
    for name, (kind, shape) in shapes.items():
        array = found.get(name)
        if array is None:
            raise ValueError(f"{name}: expected an array, found none")
        fits = len(array.shape) == len(shape) and all(
            most is None or size == most for size, most in zip(array.shape, shape, strict=True)
        )
        if array.dtype != np.dtype(kind) or not fits or not array.flags.c_contiguous:
            sizes = ", ".join("any" if n is None else str(n) for n in shape)
            raise ValueError(f"{name}: expected {np.dtype(kind)} [{sizes}], found {array.dtype} {list(array.shape)}")


def unpack(arrays: Mapping[str, Any], output: str) -> Output:
    """The vectors over the arrays that were written."""
    if output == "multi":
        return Vectors(to_plain(arrays["flat"]), to_plain(arrays["starts"]))
    if output == "sparse":
        from scipy import sparse

        return sparse.csr_matrix(
            (to_plain(arrays["amounts"]), to_plain(arrays["latents"]), to_plain(arrays["pointers"])),
            shape=tuple(arrays["shape"]),
            copy=False,
        )
    return to_plain(arrays["vectors"])


def concatenate(parts: list[Any], kept: list[Any], output: str) -> dict[str, Any]:
    """The kept rows of several segments as arrays to write; dense ones block by block, so that they need not fit in
    memory. ValueError, then or while they are written, where they are damaged."""
    if output == "multi":
        tokens = Vectors.of([part.item(i) for part, rows in zip(parts, kept, strict=True) for i in rows])
        return pack(Vectors(_held(tokens.flat), tokens.offsets))
    if output == "sparse":
        from scipy import sparse

        for part in parts:
            _held(part.data)
            if len(part.indices) and not 0 <= part.indices.min() <= part.indices.max() < part.shape[1]:
                raise ValueError(f"latents: expected numbers below {part.shape[1]}")
        return pack(sparse.vstack([part[rows] for part, rows in zip(parts, kept, strict=True)]).tocsr())
    shape = (sum(map(len, kept)), parts[0].shape[1])
    blocks = (
        _held(part[rows[start : start + BLOCK]])
        for part, rows in zip(parts, kept, strict=True)
        for start in range(0, len(rows), BLOCK)
    )
    return {"vectors": (shape, np.dtype(np.float32), blocks)}


def _held(numbers: np.ndarray) -> Any:
    """ValueError for numbers that no index takes: damage is not carried on."""
    if not (np.abs(numbers) <= LONG).all():
        raise ValueError(f"vectors: expected numbers up to {LONG:g}, found NaN, infinity or larger ones")
    return numbers


def to_plain(array: np.ndarray) -> np.ndarray:
    """A memory map as a plain array over the same pages: kernels are compiled once for both."""
    return np.asarray(array).view(np.ndarray)


def advise(array: np.ndarray, how: str) -> None:
    """Tell the system how a memory map will be read, where it takes such advice."""
    import mmap

    held = getattr(array, "_mmap", None)
    if held is not None and hasattr(mmap, how):
        held.madvise(getattr(mmap, how))
