"""Linear transforms: keep a prefix, the main directions, random directions; take the mean out; bring to length one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from umekomi.contracts import Transform
from umekomi.errors import WrongUse
from umekomi.parts.similarity import normalise

if TYPE_CHECKING:
    from umekomi.contracts import Floats, Labels, Weights


class _Resize(Transform):
    """A transform to a given width."""

    def __init__(self, width: int) -> None:
        if width < 1:
            raise WrongUse(f"{self.name}: expected at least one dimension, found {width}")
        self.width = width

    def dimensions(self, before: int) -> int:
        if self.width > before:
            raise WrongUse(f"{self.name}: expected at most {before} dimensions, found {self.width}")
        return self.width


class Truncate(_Resize):
    """The first ``width`` dimensions, brought back to length one (Kusupati et al. 2022, Matryoshka)."""

    name: ClassVar[str] = "truncate"

    def transform(self, vectors: Floats) -> Floats:
        self.dimensions(vectors.shape[1])
        return normalise(vectors[:, : self.width])

    def affine(self, before: int) -> tuple[Any, Any, bool]:
        return np.eye(before, self.dimensions(before)), np.zeros(self.width), True

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"width": self.width}, {}


class Pca(_Resize):
    """The ``width`` directions of largest variance (Pearson 1901), mean taken out, brought to length one."""

    name: ClassVar[str] = "pca"

    def fit(self, vectors: Floats, *, weights: Weights | None = None, labels: Labels | None = None) -> Pca:
        vectors = np.asarray(vectors, np.float64)
        self.dimensions(vectors.shape[1])
        if len(vectors) < self.width:
            raise WrongUse(f"pca to {self.width} dimensions needs at least {self.width} vectors, found {len(vectors)}")
        mean = np.average(vectors, axis=0, weights=weights)
        centred = vectors - mean
        scatter = centred.T @ (centred if weights is None else centred * np.asarray(weights, np.float64)[:, None])
        _, directions = np.linalg.eigh(scatter)
        directions = directions[:, ::-1][:, : self.width]
        directions *= np.sign(directions[np.abs(directions).argmax(0), range(self.width)])
        self.mean_, self.directions_ = mean.astype(np.float32), np.ascontiguousarray(directions, np.float32)
        return self

    def transform(self, vectors: Floats) -> Floats:
        directions = self.fitted("directions_")
        return normalise((vectors - self.mean_) @ directions)

    def affine(self, before: int) -> tuple[Any, Any, bool]:
        directions = self.fitted("directions_")
        return directions, -self.mean_ @ directions, True

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"width": self.width}, {"mean_": self.fitted("mean_"), "directions_": self.fitted("directions_")}


class RandomProjection(_Resize):
    """``width`` Gaussian directions drawn from ``seed`` (Johnson & Lindenstrauss 1984): the floor for any
    projection."""

    name: ClassVar[str] = "random-projection"

    def __init__(self, width: int, seed: int = 0) -> None:
        super().__init__(width)
        self.seed = seed

    def fit(self, vectors: Floats, *, weights: Weights | None = None, labels: Labels | None = None) -> RandomProjection:
        self.dimensions(vectors.shape[1])
        directions = np.random.default_rng(self.seed).standard_normal((vectors.shape[1], self.width))
        self.directions_ = directions.astype(np.float32)
        return self

    def transform(self, vectors: Floats) -> Floats:
        return normalise(vectors @ self.fitted("directions_"))

    def affine(self, before: int) -> tuple[Any, Any, bool]:
        return self.fitted("directions_"), np.zeros(self.width), True

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"width": self.width, "seed": self.seed}, {"directions_": self.fitted("directions_")}


class Centre(Transform):
    """The mean taken out (Mu & Viswanath 2018, the first half of all-but-the-top)."""

    name: ClassVar[str] = "centre"

    def fit(self, vectors: Floats, *, weights: Weights | None = None, labels: Labels | None = None) -> Centre:
        self.mean_ = np.average(np.asarray(vectors, np.float64), axis=0, weights=weights).astype(np.float32)
        return self

    def transform(self, vectors: Floats) -> Floats:
        return vectors - self.fitted("mean_")

    def affine(self, before: int) -> tuple[Any, Any, bool]:
        return np.eye(before), -self.fitted("mean_"), False

    def dimensions(self, before: int) -> int:
        return before

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"mean_": self.fitted("mean_")}


class Normalise(Transform):
    """Rows brought to length one."""

    name: ClassVar[str] = "normalise"

    def transform(self, vectors: Floats) -> Floats:
        return normalise(vectors)

    def affine(self, before: int) -> tuple[Any, Any, bool]:
        return np.eye(before), np.zeros(before), True

    def dimensions(self, before: int) -> int:
        return before

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {}
