"""Transforms of finished vectors, by name."""

from __future__ import annotations

from umekomi.contracts import Transform
from umekomi.errors import unknown_name
from umekomi.transforms.codes import SparseCode
from umekomi.transforms.linear import Centre, Normalise, Pca, RandomProjection, Truncate
from umekomi.transforms.quantize import Binary, Int2, Int4, Int8
from umekomi.transforms.whitening import AllButTheTop, Sif, Whitening, ZipfianCentring, ZipfianWhitening

__all__ = [
    "TRANSFORMS",
    "AllButTheTop",
    "Binary",
    "Centre",
    "Int2",
    "Int4",
    "Int8",
    "Normalise",
    "Pca",
    "RandomProjection",
    "Sif",
    "SparseCode",
    "Truncate",
    "Whitening",
    "ZipfianCentring",
    "ZipfianWhitening",
    "transform_class",
]

_ALL = (
    Truncate,
    Pca,
    RandomProjection,
    Centre,
    Normalise,
    Whitening,
    ZipfianWhitening,
    ZipfianCentring,
    Sif,
    AllButTheTop,
    SparseCode,
    Int8,
    Int4,
    Int2,
    Binary,
)
TRANSFORMS: dict[str, type[Transform]] = {kind.name: kind for kind in _ALL}


def transform_class(name: str) -> type[Transform]:
    """The transform of this name, or the error with the nearest ones."""
    if name not in TRANSFORMS:
        raise unknown_name("transform", name, TRANSFORMS)
    return TRANSFORMS[name]
