"""Whitening of word vectors by how often words occur, and what it is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.contracts import Transform
from umekomi.errors import DataError, WrongUse
from umekomi.transforms.linear import Centre

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats, Labels, Weights


def probabilities(weights: Weights | None, count: int, who: str) -> NDArray[np.float64]:
    """``weights`` ``[count]`` as probabilities; one that is negative or not finite, or a sum of zero, is an error."""
    shares = np.asarray(weights, np.float64)
    if shares.shape != (count,):
        raise DataError(
            f"{who}: expected {count} word probabilities, one a row, found an array of shape {shares.shape}"
        )
    if not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
        raise DataError(f"{who}: expected word probabilities of zero or more that do not all vanish")
    return shares / shares.sum()


class Whitening(Transform):
    """Mean out, then every principal direction to unit variance, the largest first; every word counts alike.

    Directions whose eigenvalue is below ``floor`` times the largest are dropped (``dropped_`` says how many): divided
    by next to nothing they would be noise, or NaN. ``width`` keeps only so many of the others.
    """

    name: ClassVar[str] = "whitening"
    stands: ClassVar[str] = "before"

    def __init__(self, width: int | None = None, floor: float = 1e-6) -> None:
        if width is not None and width < 1:
            raise WrongUse(f"{self.name}: expected at least one dimension, found {width}")
        self.width, self.floor = width, floor

    def fit(self, vectors: Floats, *, weights: Weights | None = None, labels: Labels | None = None) -> Whitening:
        vectors = np.asarray(vectors, np.float64)
        p = self._weights(weights, len(vectors))
        mean = p @ vectors
        centred = vectors - mean
        values, directions = np.linalg.eigh((centred * p[:, None]).T @ centred)
        values, directions = values[::-1], directions[:, ::-1]
        usable = int((values > self.floor * max(values[0], 1e-300)).sum())
        if usable == 0:
            raise DataError(f"{self.name}: expected vectors that differ, found no direction with a variance")
        kept = min(usable, self.width or usable)
        directions = directions[:, :kept]
        directions = directions * np.sign(directions[np.abs(directions).argmax(0), range(kept)])
        self.dropped_ = np.array(len(values) - usable)
        self.mean_ = mean.astype(np.float32)
        self.matrix_ = np.ascontiguousarray(directions / np.sqrt(values[:kept]), np.float32)
        return self

    def _weights(self, weights: Weights | None, count: int) -> NDArray[np.float64]:
        return np.full(count, 1 / count)

    def transform(self, vectors: Floats) -> Floats:
        return (vectors - self.fitted("mean_")) @ self.matrix_

    def affine(self, before: int) -> tuple[Any, Any, bool]:
        mean = self.fitted("mean_")
        return self.matrix_, -mean @ self.matrix_, False

    def dimensions(self, before: int) -> int:
        return self.matrix_.shape[1] if hasattr(self, "matrix_") else min(before, self.width or before)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        learned = {name: self.fitted(name) for name in ("mean_", "matrix_", "dropped_")}
        return {"width": self.width, "floor": self.floor}, learned


class ZipfianWhitening(Whitening):
    """Whitening under the words' own probabilities (Yokoi, Bao, Kurita & Shimodaira, "Zipfian whitening", NeurIPS 2024,
    arXiv 2411.00680): mean and covariance as a running text has them, not as a word list has. ``weights`` are the
    probabilities (any scale)."""

    name: ClassVar[str] = "zipfian-whitening"

    def _weights(self, weights: Weights | None, count: int) -> NDArray[np.float64]:
        if weights is None:
            raise WrongUse(
                f"{self.name} needs weights=, the words' probabilities (umekomi.data.frequencies gives them)"
            )
        return probabilities(weights, count, self.name)


class ZipfianCentring(Centre):
    """The mean under the words' probabilities taken out: the first half of Zipfian whitening."""

    name: ClassVar[str] = "zipfian-centring"
    stands: ClassVar[str] = "before"

    def fit(self, vectors: Floats, *, weights: Weights | None = None, labels: Labels | None = None) -> ZipfianCentring:
        if weights is None:
            raise WrongUse(f"{self.name} needs weights=, the words' probabilities")
        super().fit(vectors, weights=probabilities(weights, len(vectors), self.name))
        return self


class Sif(Transform):
    """Smooth inverse frequency (Arora, Liang & Ma 2017): row w times a / (a + p(w)). The other half of the method, the
    first common component of the sentences taken out, is :class:`AllButTheTop` with ``centre=False`` behind it."""

    name: ClassVar[str] = "sif"
    stands: ClassVar[str] = "before"

    def __init__(self, a: float = 1e-3) -> None:
        if not a > 0:
            raise WrongUse(f"sif, a: expected a number above zero, found {a}")
        self.a = a

    def fit(self, vectors: Floats, *, weights: Weights | None = None, labels: Labels | None = None) -> Sif:
        if weights is None:
            raise WrongUse("sif needs weights=, the words' probabilities")
        self.factors_ = (self.a / (self.a + probabilities(weights, len(vectors), self.name))).astype(np.float32)
        return self

    def transform(self, vectors: Floats) -> Floats:
        factors = self.fitted("factors_")
        if len(vectors) != len(factors):
            raise WrongUse(
                f"sif was fitted on a table of {len(factors)} words and changes that table alone, found "
                f"{len(vectors)} rows"
            )
        return vectors * factors[:, None]

    def dimensions(self, before: int) -> int:
        return before

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"a": self.a}, {"factors_": self.fitted("factors_")}


class AllButTheTop(Transform):
    """The mean and the ``components`` directions of largest variance taken out (Mu & Viswanath 2018); ``centre=False``
    leaves the mean in and takes the first singular directions out, as SIF does with sentences."""

    name: ClassVar[str] = "all-but-the-top"

    def __init__(self, components: int = 3, centre: bool = True) -> None:
        if components < 1:
            raise WrongUse(f"{self.name}: expected at least one component, found {components}")
        self.components, self.centre = components, centre

    def fit(self, vectors: Floats, *, weights: Weights | None = None, labels: Labels | None = None) -> AllButTheTop:
        vectors = np.asarray(vectors, np.float64)
        if vectors.shape[1] <= self.components:
            raise WrongUse(
                f"{self.name}: expected fewer components than the {vectors.shape[1]} dimensions, found "
                f"{self.components}"
            )
        mean = vectors.mean(0) if self.centre else np.zeros(vectors.shape[1])
        centred = vectors - mean
        _, directions = np.linalg.eigh(centred.T @ centred)
        self.mean_, self.directions_ = (
            mean.astype(np.float32),
            np.ascontiguousarray(directions[:, -self.components :], np.float32),
        )
        return self

    def transform(self, vectors: Floats) -> Floats:
        centred = vectors - self.fitted("mean_")
        return centred - (centred @ self.directions_) @ self.directions_.T

    def affine(self, before: int) -> tuple[Any, Any, bool]:
        matrix = np.eye(before) - self.fitted("directions_") @ self.directions_.T
        return matrix, -self.mean_ @ matrix, False

    def dimensions(self, before: int) -> int:
        return before

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"components": self.components, "centre": self.centre}, {
            name: self.fitted(name) for name in ("mean_", "directions_")
        }
