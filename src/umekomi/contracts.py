"""The words of the house as types: what an embedder, a scorer, a recipe and a transform promise.

Everything here is light: scipy is imported by type checkers only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from umekomi.errors import WrongUse

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

    Floats: TypeAlias = NDArray[np.float32]
    Sparse: TypeAlias = sparse.csr_matrix | sparse.csr_array
    Dense: TypeAlias = Floats | Sparse
    """Rows of numbers, all of them or those that are not zero."""
    Output: TypeAlias = "Floats | Sparse | Vectors"
    """What ``encode`` gives, one of its three outputs."""
    Weights: TypeAlias = Sequence[float] | NDArray[np.floating]
    """One number a vector."""
    Labels: TypeAlias = Sequence[Hashable] | np.ndarray
    """What each vector is of."""


class Vectors(NamedTuple):
    """Multi-vector output: all tokens' vectors in one array, and where each item's begin.

    ``flat`` is float32 ``[sum of tokens, dim]``; item ``i`` owns ``flat[offsets[i]:offsets[i + 1]]``;
    ``offsets`` is int64 ``[items + 1]``.
    """

    flat: Floats
    offsets: NDArray[np.int64]

    @property
    def items(self) -> int:
        """How many items these vectors belong to."""
        return len(self.offsets) - 1

    def item(self, index: int) -> Floats:
        """The vectors of one item, float32 ``[tokens, dim]``."""
        return self.flat[self.offsets[index] : self.offsets[index + 1]]

    @staticmethod
    def of(arrays: Sequence[Any]) -> Vectors:
        """Join one ``[tokens, dim]`` array an item."""
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([len(array) for array in arrays], out=offsets[1:])
        flat = (
            np.concatenate([np.asarray(array, np.float32) for array in arrays])
            if arrays
            else np.zeros((0, 0), np.float32)
        )
        return Vectors(flat, offsets)


@runtime_checkable
class Embedder(Protocol):
    """Turns items into vectors, and knows how its vectors compare."""

    name: str
    dimension: int
    modalities: frozenset[str]
    outputs: frozenset[str]

    def encode(
        self,
        items: Sequence[Any],
        *,
        output: str = "dense",
        role: str | None = None,
        condition: Sequence[str] | None = None,
        modality: str | None = None,
        dimensions: int | None = None,
        batch_size: int = 32,
        progress: bool = False,
    ) -> Output:
        """Vectors of ``items``, in their order.

        dense: float32 ``[n, d]`` · sparse: scipy CSR ``[n, h]`` · multi: :class:`Vectors`.

        Args:
            items: what the embedder embeds, by its modalities.
            output: one of the embedder's ``outputs``.
            role: whose prompt is put before: ``"query"``, ``"document"``, or a task of the model's card.
            condition: what each item is seen under, where the embedder takes one.
            modality: what the items are, where they could be several things.
            dimensions: keeps the first so many.
            batch_size: items that are encoded at once.
            progress: shows a bar.
        """

    def similarity(self, a: Output, b: Output) -> Floats:
        """How alike: float32 ``[n, m]``, higher is nearer, in the geometry this embedder was learned in."""

    def save(self, folder: str | Path) -> None:
        """Write a folder that :func:`umekomi.load` gives back bit for bit."""


@runtime_checkable
class Scorer(Protocol):
    """Judges pairs directly: cross-encoder, reranker, essay scorer, click predictor."""

    name: str

    def score(self, a: Sequence[Any], b: Sequence[Any], *, condition: Sequence[str] | None = None) -> Floats:
        """One score a pair, float32 ``[n]``; higher is better."""

    def save(self, folder: str | Path) -> None:
        """Write a folder that :func:`umekomi.load` gives back."""


@runtime_checkable
class Backbone(Protocol):
    """A pre-trained network that is not yet an embedder; recipes take it as ``start=``."""

    name: str
    config: dict[str, Any]

    def save(self, folder: str | Path) -> None:
        """Write a folder that :func:`umekomi.load` gives back."""


Pooling = Literal[
    "own", "mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens",
    "tailmean", "layermix", "latent", "latent-paper", "latent-control",
]  # fmt: skip
"""How a network's token vectors become one (:mod:`umekomi.models.backbone`); ``own``: as the model that is gone on from
does it."""


@dataclass(frozen=True)
class Paper:
    """Where a recipe comes from."""

    title: str
    authors: str
    year: int
    venue: str = ""
    arxiv: str = ""
    url: str = ""

    def cite(self) -> str:
        """One line for tables and pages."""
        place = ", ".join(part for part in (self.venue, f"arXiv {self.arxiv}" if self.arxiv else "") if part)
        return f"{self.authors} ({self.year}). {self.title}." + (f" {place}." if place else "")


class Transform(ABC):
    """Changes finished vectors. What it learns ends in ``_``; an unfitted one says so."""

    name: ClassVar[str]
    stands: ClassVar[str] = "after"
    """``"after"``: on finished vectors; ``"before"``: on a token table, before pooling."""
    output: ClassVar[str] = "dense"
    """What comes out: ``"dense"`` float32 ``[n, e]``, or ``"sparse"`` scipy CSR."""
    stored_only: ClassVar[bool] = False
    """Does it change how documents are stored, and leave queries as they are?"""

    def fit(self, vectors: Floats, *, weights: Weights | None = None, labels: Labels | None = None) -> Transform:
        """Learn from vectors float32 ``[n, d]``; returns itself."""
        return self

    @abstractmethod
    def transform(self, vectors: Floats) -> Floats:
        """float32 ``[n, d]`` in, float32 ``[n, e]`` out."""

    @abstractmethod
    def dimensions(self, before: int) -> int:
        """The width of what comes out when ``before`` goes in."""

    def item_bytes(self, before: float, dimension: int) -> float:
        """Bytes a stored item of ``dimension`` dimensions takes behind this transform; ``before`` is what it took
        before it."""
        return 4 * dimension

    def affine(self, before: int) -> tuple[Any, Any, bool] | None:
        """(matrix ``[before, after]``, bias ``[after]``, brought to length one behind it) where this is all it does;
        else None."""
        return None

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(constructor arguments, learned arrays): what a saved model keeps."""

    def fitted(self, what: str) -> np.ndarray:
        """The learned array of this name; the error where nothing was learned."""
        if not hasattr(self, what):
            raise WrongUse(f"{self.name} has learned nothing yet: call fit(vectors) first")
        return getattr(self, what)

    def restore(self, arrays: dict[str, Any]) -> Transform:
        """Take back the arrays that :meth:`state` gave."""
        for key, value in arrays.items():
            setattr(self, key, value)
        return self
