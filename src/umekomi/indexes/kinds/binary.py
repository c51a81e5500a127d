"""One bit a dimension, then the best again (after RaBitQ, Gao & Long 2024, arXiv 2405.12497)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.errors import WrongUse
from umekomi.indexes.kinds.coarse import Coarse, Keys, scan_keys
from umekomi.indexes.packing import Shape
from umekomi.indexes.scans import ROWS, Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats

STEPS = (1.5958, 0.9957, 0.586, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308)
"""Width of a level, in standard deviations, with which 1 to 8 bits lose least of a Gaussian (J. Max 1960); a vector
turned at random looks like one."""


def turn(width: int, seed: int) -> Floats:
    """A rotation at random of vectors padded to whole words, float32 ``[width, 64 words]``."""
    padded = -(-width // 64) * 64
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((padded, padded)))
    return np.ascontiguousarray(rotation[:width], np.float32)


def signs(block: Floats) -> tuple[NDArray[np.uint64], Floats]:
    """Of turned vectors, float32 ``[n, d]``, one bit a dimension, ``[words, n]``, and the factor with which the signs'
    product with a query estimates the vector's without bias: |x|² / Σ|x_i| (Gao & Long 2024, theorem 3.2)."""
    codes = np.packbits(block > 0, axis=1, bitorder="little").view("<u8").T
    return codes, (block**2).sum(1) / np.maximum(np.abs(block).sum(1), 1e-20)


def bit_planes(turned: Floats, bits: int) -> tuple[NDArray[np.uint64], NDArray[np.float32], float]:
    """Queries, turned likewise, cut to ``bits``: their planes ``[n, bits, words]``, the width of a level of each, and
    the ``middle`` of :func:`~umekomi.parts.kernels.scan.bit_keys`."""
    width, half = turned.shape[1], 1 << (bits - 1)
    steps = np.maximum(STEPS[bits - 1] * np.linalg.norm(turned, axis=1) / width**0.5, 1e-20).astype(np.float32)
    levels = np.clip(np.floor(turned / steps[:, None]) + half, 0, 2 * half - 1).astype(np.uint8)
    planes = [np.packbits((levels >> p) & 1, axis=1, bitorder="little").view("<u8") for p in range(bits)]
    return np.stack(planes, axis=1), steps, (2 * half - 1) * width / 2


@dataclass
class Binary(Coarse):
    """One bit a dimension, a query of ``query_bits`` bits, the ``shortlist`` best looked at again (more for more than
    ten hits or under a filter: :mod:`~umekomi.indexes.kinds.coarse`). ``shortlist`` 0 is tuned, from a thousand rows
    on; before, every vector is looked at."""

    name: ClassVar[str] = "binary"
    query_bits: int = 4
    shortlist: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.query_bits <= 8:
            raise WrongUse(f"index kind binary, query_bits: expected 1 to 8, found {self.query_bits}")

    def learn(self, vectors: Floats) -> None:
        mean = np.asarray(vectors, np.float64).mean(0)
        self.codec = {"mean": mean.astype(np.float32), "rotation": turn(vectors.shape[1], self.seed)}

    def derive(self, vectors: Any) -> dict[str, Any]:
        rotation = self.codec["rotation"]
        words = rotation.shape[1] // 64
        codes, factors = np.zeros((words, len(vectors)), np.uint64), np.zeros(len(vectors), np.float32)
        longest = 0.0
        for start in range(0, len(vectors), ROWS):
            block = (np.asarray(vectors[start : start + ROWS], np.float32) - self.codec["mean"]) @ rotation
            codes[:, start : start + ROWS], factors[start : start + ROWS] = signs(block)
            longest = max(longest, float((block**2).sum(1).max()) ** 0.5)
        return {"codes": codes, "factors": factors, "longest": np.array([longest], np.float32)}

    def _asked(self, query: Floats) -> tuple[Any, ...]:
        turned = (query @ self.codec["rotation"]).astype(np.float32)
        planes, steps, middle = bit_planes(turned[None], self.query_bits)
        return planes[0], float(steps[0]), middle, float(np.linalg.norm(turned))

    def learned(self, width: int) -> dict[str, Shape]:
        return {"mean": ("<f4", (width,)), "rotation": ("<f4", (width, -(-width // 64) * 64))}

    def derived(self, rows: int, width: int) -> dict[str, Shape]:
        return {"codes": ("<u8", (-(-width // 64), rows)), "factors": ("<f4", (rows,)), "longest": ("<f4", (1,))}

    def keys(self, part: Part, query: Floats, threads: int, wanted: int) -> Keys:
        from umekomi.parts.kernels.scan import BINS, bit_keys

        planes, step, middle, length = self._asked(query)
        # the longest stored vector times the query's length bounds every estimate but for its error
        scale = BINS / 2 / max(1.2 * length * float(part.arrays["longest"][0]), 1e-36)
        numbers = (planes, np.float32(step * scale), np.float32(middle), np.float32(BINS / 2))
        keys, least = scan_keys(
            bit_keys, (part.arrays["codes"], part.arrays["factors"], *numbers), part, threads, wanted
        )
        return Keys(keys, least, scale, float(query @ self.codec["mean"]))
