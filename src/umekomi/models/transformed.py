"""An embedder with transforms behind it. Its folder has no ``modules.json``: no other library can open it and leave the
transforms out without saying so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.contracts import Transform
from umekomi.errors import DataError, WrongUse
from umekomi.files import MODEL_FILE
from umekomi.models.base import EmbedderBase, Encoded, Open, TextFace
from umekomi.models.borders import border
from umekomi.models.folders import fields, read_arrays, settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Dense, Output

_LEARNED = re.compile(r"[a-z][a-z_]*_")


class TransformedEmbedder(TextFace):
    """``base``, then each transform in order."""

    kind = "transformed"

    def __init__(self, base: EmbedderBase, transforms: Sequence[Transform]) -> None:
        if "dense" not in base.outputs:
            raise WrongUse(f"transforms change dense vectors; {base.name} gives {' and '.join(sorted(base.outputs))}")
        earlier: tuple[Transform, ...] = ()
        if isinstance(base, TransformedEmbedder):
            base, earlier = base.inner
            transforms = (*earlier, *transforms)
        super().__init__("+".join([base.name, *(transform.name for transform in transforms)]), base.card)
        self.base: EmbedderBase = base
        self.transforms: tuple[Transform, ...] = tuple(transforms)
        self.modalities, self.metric, self.costly = base.modalities, base.metric, base.costly
        self.rounding, self.parallel = base.rounding, base.parallel
        self.dimension = base.dimension
        self.item_bytes: float = 4 * base.dimension
        for number, transform in enumerate(self.transforms):
            if number and self.transforms[number - 1].output == "sparse":
                raise WrongUse(
                    f"{transform.name} changes dense vectors; {self.transforms[number - 1].name} before it gives "
                    "sparse ones"
                )
            self.dimension = transform.dimensions(self.dimension)
            self.item_bytes = transform.item_bytes(self.item_bytes, self.dimension)
        self.outputs = frozenset({self.transforms[-1].output})

    @property
    def inner(self) -> tuple[EmbedderBase, tuple[Transform, ...]]:
        """(the embedder, the transforms behind it)."""
        return self.base, self.transforms

    @property
    def roles(self) -> frozenset[str]:
        return self.base.roles

    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Output:
        return self.apply(
            self.base.encode(items, output="dense", role=role, batch_size=batch_size, progress=progress), role=role
        )

    def apply(self, vectors: Dense, role: str | None = None) -> Dense:
        """The transforms alone, on vectors that ``base`` gave. How documents are stored does not concern a query."""
        for transform in self.transforms:
            if not (transform.stored_only and role == "query"):
                vectors = transform.transform(vectors)
        return vectors

    def truncated(self, items: Sequence[str], role: str | None = None) -> NDArray[np.bool_]:
        return self.base.truncated(items, role) if isinstance(self.base, TextFace) else super().truncated(items, role)

    def lengths(self, items: Sequence[str], role: str | None = None) -> NDArray[np.int64]:
        return self.base.lengths(items, role) if isinstance(self.base, TextFace) else super().lengths(items, role)

    def windows(self, text: str, role: str | None = None) -> list[str]:
        return self.base.windows(text, role) if isinstance(self.base, TextFace) else super().windows(text, role)

    def _encode_with_counts(self, items: list[str], role: str | None, batch_size: int) -> Encoded:
        if not isinstance(self.base, TextFace):
            return super()._encode_with_counts(items, role, batch_size)
        encoded = self.base._encode_with_counts(items, role, batch_size)
        return encoded._replace(vectors=self.apply(encoded.vectors, role))

    def _write(self, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        self.base.save(folder / "base")
        steps = []
        for index, transform in enumerate(self.transforms):
            settings, arrays = transform.state()
            if arrays:
                save_file(arrays, folder / f"transform_{index}.safetensors")
            steps.append({"name": transform.name, "settings": settings, "learned": bool(arrays)})
        return {"transforms": steps}

    @classmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> TransformedEmbedder:
        from umekomi.transforms import transform_class

        transforms = []
        where = f"{folder / MODEL_FILE}, settings"
        for index, step in enumerate(settings(folder, head, transforms=list)["transforms"]):
            if not isinstance(step, dict):
                raise DataError(f"{where}: expected a list of transforms, found {step!r:.60} in it")
            fields(step, where, name=str, settings=dict, learned=bool)
            with border(where, DataError):
                transform = transform_class(step["name"])(**step["settings"])
            if step["learned"]:
                file = folder / f"transform_{index}.safetensors"
                arrays = read_arrays(file)
                strange = next((key for key in arrays if not _LEARNED.fullmatch(key)), None)
                if strange is not None:
                    raise DataError(f"{file}: expected arrays that a transform has learned, found {strange!r}")
                transform = transform.restore(arrays)
            transforms.append(transform)
        model = cls(open(folder / "base"), transforms)
        with border(where, DataError):
            model._try()
        return model

    def _try(self) -> None:
        """The error for transforms that do not fit the base or one another, found with one vector."""
        width = self.base.dimension
        applied = self.apply(np.full((1, width), 1 / np.sqrt(width), np.float32))
        if applied.shape != (1, self.dimension):
            raise DataError(
                f"expected {self.dimension} dimensions behind {self.name}, found shape {list(applied.shape)}"
            )
