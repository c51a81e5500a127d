"""Vectors of each kind of output as the arrays that lie in an index's files, and back, over memory maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umekomi.contracts import Vectors

BLOCK = 8192
"""Rows that are copied at a time."""
ARRAYS = {"dense": ("vectors",), "sparse": ("pointers", "latents", "amounts", "shape"), "multi": ("flat", "starts")}
"""The arrays that hold the vectors themselves, by kind of output."""


def packed(vectors: Any) -> dict[str, Any]:
    """Vectors as the arrays that are written."""
    import numpy as np

    if isinstance(vectors, Vectors):
        return {"flat": vectors.flat.astype(np.float32, copy=False), "starts": vectors.offsets.astype(np.int64)}
    if hasattr(vectors, "indptr"):
        return {
            "pointers": vectors.indptr.astype(np.int64),
            "latents": vectors.indices.astype(np.int32),
            "amounts": vectors.data.astype(np.float32),
            "shape": np.array(vectors.shape, np.int64),
        }
    return {"vectors": vectors}


def unpacked(arrays: Mapping[str, Any], output: str) -> Any:
    """The vectors over the arrays that were written."""
    if output == "multi":
        return Vectors(plain(arrays["flat"]), plain(arrays["starts"]))
    if output == "sparse":
        from scipy import sparse

        return sparse.csr_matrix(
            (plain(arrays["amounts"]), plain(arrays["latents"]), plain(arrays["pointers"])),
            shape=tuple(arrays["shape"]),
            copy=False,
        )
    return plain(arrays["vectors"])


def joined(parts: list[Any], kept: list[Any], output: str) -> dict[str, Any]:
    """The kept rows of several segments as arrays to write; dense ones block by block, so that they need not fit in
    memory."""
    import numpy as np

    if output == "multi":
        return packed(Vectors.of([part.item(i) for part, rows in zip(parts, kept, strict=True) for i in rows]))
    if output == "sparse":
        from scipy import sparse

        return packed(sparse.vstack([part[rows] for part, rows in zip(parts, kept, strict=True)]).tocsr())
    shape = (sum(map(len, kept)), parts[0].shape[1])
    blocks = (
        part[rows[start : start + BLOCK]]
        for part, rows in zip(parts, kept, strict=True)
        for start in range(0, len(rows), BLOCK)
    )
    return {"vectors": (shape, np.dtype(np.float32), blocks)}


def plain(array: Any) -> Any:
    """A memory map as a plain array over the same pages: kernels are compiled once for both."""
    import numpy as np

    return np.asarray(array).view(np.ndarray)


def advise(array: Any, how: str) -> None:
    """Tell the system how a memory map will be read, where it takes such advice."""
    import mmap

    held = getattr(array, "_mmap", None)
    if held is not None and hasattr(mmap, how):
        held.madvise(getattr(mmap, how))
