"""Fewer bits a dimension: whole numbers of 8 bits, 16 or 4 levels, or signs. Documents are stored so; queries stay as
they are, and are compared with what the stored numbers stand for (asymmetric comparison: the query's precision costs no
storage)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.contracts import Transform
from umekomi.errors import DataError, WrongUse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats, Labels, Weights


LEARNED, ROUNDS = 1 << 20, 200
"""As many numbers settle where levels lie, in at most so many rounds."""


class Int8(Transform):
    """One byte a dimension: 256 levels between each dimension's ``low`` and ``high`` quantile in the vectors it learned
    from. What lies outside is held to the ends, and counted in ``outside_`` (a share)."""

    name: ClassVar[str] = "int8"
    stored_only: ClassVar[bool] = True

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        if not 0 <= low < high <= 1:
            raise WrongUse(f"int8: expected quantiles 0 <= low < high <= 1, found {low} and {high}")
        self.low, self.high = low, high

    def fit(self, vectors: Floats, *, weights: Weights | None = None, labels: Labels | None = None) -> Int8:
        vectors = np.asarray(vectors, np.float32)
        if not len(vectors) or not np.isfinite(vectors).all():
            raise DataError(f"int8: expected vectors of finite numbers to calibrate on, found {len(vectors)}")
        low, high = np.quantile(vectors, [self.low, self.high], axis=0)
        self.start_ = low.astype(np.float32)
        self.step_ = np.maximum((high - low) / 255, 1e-12).astype(np.float32)
        self.outside_ = np.array([((vectors < low - 1e-6) | (vectors > high + 1e-6)).mean()], np.float32)
        return self

    def codes(self, vectors: Floats) -> NDArray[np.int8]:
        """What is stored: int8 ``[n, d]``."""
        levels = np.round((np.asarray(vectors, np.float32) - self.fitted("start_")) / self.step_)
        return (np.clip(levels, 0, 255) - 128).astype(np.int8)

    def decode(self, codes: NDArray[np.int8]) -> Floats:
        """What stored codes stand for: float32 ``[n, d]``."""
        return (codes.astype(np.float32) + 128) * self.fitted("step_") + self.start_  # type: ignore[no-any-return]

    def transform(self, vectors: Floats) -> Floats:
        return self.decode(self.codes(vectors))

    def dimensions(self, before: int) -> int:
        return before

    def item_bytes(self, before: float, dimension: int) -> float:
        return dimension

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"low": self.low, "high": self.high}, {
            name: self.fitted(name) for name in ("start_", "step_", "outside_")
        }


class Levels(Transform):
    """``2^bits`` levels a dimension. Each dimension is brought to mean zero and deviation one; the levels, the same for
    all, are where they lose least of such numbers squared (Lloyd's algorithm from the quantiles of a Gaussian; Lloyd
    1982, Max 1960), so that they lie densely where numbers do. What a level stands for is the mean of what it was given
    for."""

    stored_only: ClassVar[bool] = True
    bits: ClassVar[int]

    def fit(self, vectors: Floats, *, weights: Weights | None = None, labels: Labels | None = None) -> Levels:
        from scipy.stats import norm

        vectors = np.asarray(vectors, np.float32)
        if not len(vectors) or not np.isfinite(vectors).all():
            raise DataError(f"{self.name}: expected vectors of finite numbers to calibrate on, found {len(vectors)}")
        self.mean_ = vectors.mean(0, dtype=np.float64).astype(np.float32)
        self.spread_ = np.maximum(vectors.std(0, dtype=np.float64), 1e-12).astype(np.float32)
        numbers = ((vectors - self.mean_) / self.spread_).astype(np.float64).ravel()
        numbers = np.sort(numbers[:: -(-len(numbers) // LEARNED)])
        sums = np.concatenate([[0.0], np.cumsum(numbers)])
        levels = norm.ppf((np.arange(1 << self.bits) + 0.5) / (1 << self.bits))
        for _ in range(ROUNDS):
            edges = np.searchsorted(numbers, (levels[1:] + levels[:-1]) / 2)
            edges = np.concatenate([[0], edges, [len(numbers)]])
            counts = np.diff(edges)
            moved = np.where(counts > 0, np.diff(sums[edges]) / np.maximum(counts, 1), levels)
            done = np.abs(moved - levels).max() < 1e-6
            levels = moved
            if done:
                break
        self.levels_ = np.sort(levels).astype(np.float32)
        return self

    def codes(self, vectors: Floats) -> NDArray[np.uint8]:
        """What is stored: uint8 ``[n, ceil(d bits / 8)]``, the first dimension in the lowest bits."""
        numbers = (np.asarray(vectors, np.float32) - self.fitted("mean_")) / self.spread_
        numbers = np.searchsorted((self.levels_[1:] + self.levels_[:-1]) / 2, numbers).astype(np.uint8)
        each = 8 // self.bits
        numbers = np.pad(numbers, ((0, 0), (0, -numbers.shape[1] % each)))
        packed = np.zeros((len(numbers), numbers.shape[1] // each), np.uint8)
        for place in range(each):
            packed |= numbers[:, place::each] << (self.bits * place)
        return packed

    def decode(self, codes: NDArray[np.uint8]) -> Floats:
        """What stored codes stand for: float32 ``[n, d]``."""
        each, width = 8 // self.bits, len(self.fitted("mean_"))
        numbers = np.empty((len(codes), codes.shape[1] * each), np.uint8)
        for place in range(each):
            numbers[:, place::each] = (codes >> (self.bits * place)) & ((1 << self.bits) - 1)
        return self.levels_[numbers[:, :width]] * self.spread_ + self.mean_  # type: ignore[no-any-return]

    def transform(self, vectors: Floats) -> Floats:
        return self.decode(self.codes(vectors))

    def dimensions(self, before: int) -> int:
        return before

    def item_bytes(self, before: float, dimension: int) -> float:
        return -(-dimension * self.bits // 8)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {name: self.fitted(name) for name in ("mean_", "spread_", "levels_")}


class Int4(Levels):
    """Four bits a dimension: 16 levels (:class:`Levels`)."""

    name: ClassVar[str] = "int4"
    bits: ClassVar[int] = 4


class Int2(Levels):
    """Two bits a dimension: 4 levels (:class:`Levels`)."""

    name: ClassVar[str] = "int2"
    bits: ClassVar[int] = 2


class Binary(Transform):
    """One bit a dimension: above or below the mean of the vectors it learned from, as +1 and -1 brought to length
    one."""

    name: ClassVar[str] = "binary"
    stored_only: ClassVar[bool] = True

    def fit(self, vectors: Floats, *, weights: Weights | None = None, labels: Labels | None = None) -> Binary:
        vectors = np.asarray(vectors, np.float32)
        if not len(vectors) or not np.isfinite(vectors).all():
            raise DataError(f"binary: expected vectors of finite numbers to calibrate on, found {len(vectors)}")
        self.mean_ = vectors.mean(0)
        return self

    def codes(self, vectors: Floats) -> NDArray[np.uint8]:
        """What is stored: uint8 ``[n, ceil(d / 8)]``, the first dimension in the lowest bit."""
        return np.packbits(np.asarray(vectors) > self.fitted("mean_"), axis=1, bitorder="little")

    def decode(self, codes: NDArray[np.uint8]) -> Floats:
        """What stored codes stand for: float32 ``[n, d]`` of length one."""
        width = len(self.fitted("mean_"))
        signs = np.unpackbits(codes, axis=1, bitorder="little")[:, :width].astype(np.float32)
        return (2 * signs - 1) / np.float32(np.sqrt(width))  # type: ignore[no-any-return]

    def transform(self, vectors: Floats) -> Floats:
        return self.decode(self.codes(vectors))

    def dimensions(self, before: int) -> int:
        return before

    def item_bytes(self, before: float, dimension: int) -> float:
        return -(-dimension // 8)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"mean_": self.fitted("mean_")}
