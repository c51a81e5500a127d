"""Transforms of finished vectors, by name."""

from __future__ import annotations

from umekomi.contracts import Transform
from umekomi.errors import unknown_name
from umekomi.transforms.linear import Centre, Normalise, Pca, RandomProjection, Truncate

__all__ = ["TRANSFORMS", "Centre", "Normalise", "Pca", "RandomProjection", "Truncate", "named"]

TRANSFORMS: dict[str, type[Transform]] = {kind.name: kind for kind in (Truncate, Pca, RandomProjection, Centre, Normalise)}


def named(name: str) -> type[Transform]:
    """The transform of this name, or the error with the nearest ones."""
    if name not in TRANSFORMS:
        raise unknown_name("transform", name, TRANSFORMS)
    return TRANSFORMS[name]
