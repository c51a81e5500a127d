"""Fewer bits a dimension: whole numbers of 8 bits, or signs. Documents are stored so; queries stay as they are, and are
compared with what the stored numbers stand for (asymmetric comparison: the query's precision costs no storage)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.contracts import Transform
from umekomi.errors import DataError, WrongUse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats, Labels, Weights


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
