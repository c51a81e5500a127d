"""Products of many rows with one matrix, some rows at a time: steps of a recurrent layer, logits of a decoder."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

PACKED_ROWS, PACKED_NUMBERS = 512, 1 << 17
"""From so many rows on, of so large a matrix, oneDNN's layout pays: 8,192 × 2,048 numbers take 30 ms to lay out, and a
step of 64 rows then 11 ms instead of 22 by MKL, one of 16 rows 4 instead of 11 (AMD Zen 4, two cores)."""
PACKED_FOR = 256
"""Rows that the layout is made for; it serves any number."""


class Product:
    """x Wᵀ added to what is there, again and again for the same ``weight`` W ``[out, in]``, ``rows`` rows of x in all.
    A BLAS brings W into a layout of its own in every product; where that pays, oneDNN does it once."""

    def __init__(self, weight: Tensor, rows: int) -> None:
        self._turned, self._packed = weight.t(), None
        large = rows >= PACKED_ROWS and weight.numel() >= PACKED_NUMBERS
        if large and weight.device.type == "cpu" and weight.dtype == torch.float32 and _has_onednn():
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), PACKED_FOR)

    def _linear(self, x: Tensor, bias: Tensor | None) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, bias, "none", [], "")
        return found

    def of(self, x: Tensor, bias: Tensor) -> Tensor:
        """The product and ``bias`` ``[out]``."""
        return torch.addmm(bias, x, self._turned) if self._packed is None else self._linear(x, bias)

    def add(self, x: Tensor, to: Tensor) -> None:
        """``x`` ``[n, in]``, ``to`` ``[n, out]``."""
        if self._packed is None:
            to.addmm_(x, self._turned)
        else:
            to.add_(self._linear(x, None))

    def put(self, x: Tensor, to: Tensor, bias: Tensor | None = None) -> None:
        """The product instead of what is there, and ``bias`` ``[out]``."""
        if self._packed is not None:
            to.copy_(self._linear(x, bias))
        elif bias is None:
            torch.mm(x, self._turned, out=to)
        else:
            torch.addmm(bias, x, self._turned, out=to)


@cache
def _has_onednn() -> bool:
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return bool(there) and all(hasattr(torch.ops.mkldnn, name) for name in names)
