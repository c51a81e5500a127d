"""GGUF's blocks: numbers as small codes, a scale for each block of them, and in some types a least value beside it.

All of them are ``code · scale (+ minimum)`` over blocks of 32 numbers, or 16 in Q6_K. :func:`expand` gives the float32
numbers (by the package gguf, which tests hold against slow loops), :func:`codes` the parts, exact, as quantized matrix
products take them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from umekomi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.models.engines.gguf.header import Tensor

FLOATS = ("F32", "F16", "BF16")
"""Types without blocks."""


def expand(tensor: Tensor, rows: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float32]:
    """The numbers of a tensor, float32 in its shape; with ``rows``, those of a matrix ``[rows, in]`` only."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    data = tensor.data[rows]
    if tensor.type == "F32":
        values = data.view("<f4").astype(np.float32)
    elif tensor.type == "F16":
        values = data.view("<f2").astype(np.float32)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            values = dequantize(np.ascontiguousarray(data), GGMLQuantizationType[tensor.type])
    whole = isinstance(rows, slice) and rows == slice(None)
    values = values.reshape(tensor.shape if whole else (len(data), tensor.shape[-1]))
    return np.ascontiguousarray(values, np.float32)


class Codes(NamedTuple):
    """A matrix ``[out, in]`` in blocks along ``in``: ``codes`` int8 ``[out, in]``, ``scales`` and, where the type has
    them, ``minima`` float32 ``[out, in / block]``. A number is ``code · scale + minimum``. ``bits`` is how many a code
    needs: 4 (−8 … 7) or 8."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    minima: NDArray[np.float32] | None
    bits: int

    @property
    def block(self) -> int:
        """Numbers that share a scale."""
        return self.codes.shape[1] // self.scales.shape[1]


def codes(tensor: Tensor) -> Codes:
    """The parts of a quantized matrix."""
    if tensor.type not in _UNPACK or len(tensor.shape) != 2:
        raise DataError(f"tensor {tensor.name}: expected a quantized matrix, found {tensor.type} {list(tensor.shape)}")
    size, unpack = _UNPACK[tensor.type]
    rows, width = tensor.shape
    blocks = np.ascontiguousarray(tensor.data).reshape(-1, size)
    numbers, scales, minima, bits = unpack(blocks)
    return Codes(
        np.ascontiguousarray(numbers.reshape(rows, width)),
        np.ascontiguousarray(scales.reshape(rows, -1), np.float32),
        None if minima is None else np.ascontiguousarray(minima.reshape(rows, -1), np.float32),
        bits,
    )


_Parts = tuple["NDArray[np.int8]", "NDArray[np.float32]", "NDArray[np.float32] | None", int]


def _half(blocks: NDArray[np.uint8], at: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """The low halves of the bytes, then the high ones."""
    return np.concatenate([packed & 15, packed >> 4], -1).view(np.int8)


def _fifth(blocks: NDArray[np.uint8], at: int) -> NDArray[np.int8]:
    """The fifth bits of 32 numbers, as 16 or 0."""
    bits = np.unpackbits(np.ascontiguousarray(blocks[:, at : at + 4]), axis=-1, bitorder="little")
    return (bits << 4).view(np.int8)


def _q8_0(blocks: NDArray[np.uint8]) -> _Parts:
    return blocks[:, 2:].view(np.int8), _half(blocks, 0), None, 8


def _q4_0(blocks: NDArray[np.uint8]) -> _Parts:
    return _nibbles(blocks[:, 2:]) - np.int8(8), _half(blocks, 0), None, 4


def _q4_1(blocks: NDArray[np.uint8]) -> _Parts:
    scale = _half(blocks, 0)
    return _nibbles(blocks[:, 4:]) - np.int8(8), scale, _half(blocks, 2) + 8 * scale, 4


def _q5_0(blocks: NDArray[np.uint8]) -> _Parts:
    return _nibbles(blocks[:, 6:]) + _fifth(blocks, 2) - np.int8(16), _half(blocks, 0), None, 8


def _q5_1(blocks: NDArray[np.uint8]) -> _Parts:
    return _nibbles(blocks[:, 8:]) + _fifth(blocks, 4), _half(blocks, 0), _half(blocks, 2), 8


def _sixes(blocks: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scales and minima of the eight sub-blocks of Q4_K and Q5_K: six bits each, in twelve bytes, times the block's
    own."""
    packed = blocks[:, 4:16]
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 6) << 4)], -1)
    minima = np.concatenate([second & 63, (third >> 4) | ((second >> 6) << 4)], -1)
    return _half(blocks, 0) * scales.astype(np.float32), -_half(blocks, 2) * minima.astype(np.float32)


def _q4_k(blocks: NDArray[np.uint8]) -> _Parts:
    scales, minima = _sixes(blocks)
    # 32 bytes hold two sub-blocks: one in the low halves, the next in the high ones
    codes = _nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 256)
    return codes - np.int8(8), scales, minima + 8 * scales, 4


def _q5_k(blocks: NDArray[np.uint8]) -> _Parts:
    scales, minima = _sixes(blocks)
    low = _nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    high = blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[None, :, None] & 1
    return (low + (high << 4).view(np.int8)).reshape(-1, 256), scales, minima, 8


def _q6_k(blocks: NDArray[np.uint8]) -> _Parts:
    low = blocks[:, :128].reshape(-1, 2, 1, 64) >> np.array([0, 4], np.uint8)[:, None] & 15
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    codes = low.reshape(-1, 256).view(np.int8) + (high << 4).reshape(-1, 256).view(np.int8) - np.int8(32)
    return codes, _half(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32), None, 8


_UNPACK: dict[str, tuple[int, Callable[[NDArray[np.uint8]], _Parts]]] = {
    "Q8_0": (34, _q8_0),
    "Q4_0": (18, _q4_0),
    "Q4_1": (20, _q4_1),
    "Q5_0": (22, _q5_0),
    "Q5_1": (24, _q5_1),
    "Q4_K": (144, _q4_k),
    "Q5_K": (176, _q5_k),
    "Q6_K": (210, _q6_k),
}
"""Bytes of a block, and how it is taken apart."""
