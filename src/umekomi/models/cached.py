"""Embedders with the face of another one: a proxy, and one that encodes nothing twice, in memory or on disk."""

from __future__ import annotations

import time
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from umekomi.contracts import Vectors
from umekomi.errors import WrongUse
from umekomi.files import content_hash, whole_file
from umekomi.models.base import EmbedderBase, as_items
from umekomi.parts import similarity as similarities
from umekomi.progress import say

if TYPE_CHECKING:
    from umekomi.contracts import Output, Transform
    from umekomi.models.transformed import TransformedEmbedder


class EmbedderProxy(ABC):
    """The face of ``embedder`` with vectors from elsewhere: what it does not say itself, ``embedder`` says."""

    embedder: Any

    def __getattr__(self, name: str) -> Any:
        if name == "embedder":
            raise AttributeError(name)
        return getattr(self.embedder, name)

    @abstractmethod
    def encode(self, items: Any, *, role: str | None = None, **options: Any) -> Output:
        """The vectors."""

    def encode_query(self, items: Any, **options: Any) -> Output:
        """:meth:`encode` with ``role="query"``."""
        return self.encode(items, role="query", **options)

    def encode_document(self, items: Any, **options: Any) -> Output:
        """:meth:`encode` with ``role="document"``."""
        return self.encode(items, role="document", **options)


EmbedderBase.register(EmbedderProxy)  # type: ignore[type-abstract]  # what asks for an embedder takes one with its face


def unwrap(model: Any) -> Any:
    """The model that a stand-in stands for; any other as it is."""
    while isinstance(model, EmbedderProxy):
        model = model.embedder
    return model


class Store(Protocol):
    """Where vectors are kept, each with the seconds that it took to make them."""

    def get(self, key: str) -> tuple[Any, float] | None:
        """What is kept under this key, or None."""

    def put(self, key: str, vectors: Output, seconds: float) -> None:
        """Keep these."""


class InMemory:
    """Kept as long as the object lives."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Any, float]] = {}

    def get(self, key: str) -> tuple[Any, float] | None:
        return self.kept.get(key)

    def put(self, key: str, vectors: Output, seconds: float) -> None:
        self.kept[key] = vectors, seconds


class OnDisk:
    """One ``.npz`` file a key in ``folder``, whole or not there: dense, CSR or multi-vectors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> tuple[Any, float] | None:
        file = self.folder / f"{key}.npz"
        if not file.is_file():
            return None
        try:
            return _load(file)
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            say(f"note: {file} cannot be read ({type(error).__name__}): its vectors are made again")
            return None

    def put(self, key: str, vectors: Output, seconds: float) -> None:
        _save(self.folder / f"{key}.npz", vectors, seconds)


class CachedEmbedder(EmbedderProxy):
    """An embedder that encodes nothing twice: items, role and every option make the key."""

    warm: ClassVar[bool] = False
    """Is what loads and compiles at the first call kept out of the seconds?"""

    def __init__(self, embedder: EmbedderBase, store: Store | None = None) -> None:
        self.embedder = embedder
        self.store: Store = InMemory() if store is None else store

    def encode(
        self, items: Any, *, role: str | None = None, batch_size: int = 32, progress: bool = False, **options: Any
    ) -> Output:
        """Vectors, made when first asked for; ``options`` are the embedder's own (output, condition, modality,
        dimensions)."""
        return self.timed(items, role, batch_size, progress, options)[0]

    def timed(
        self, items: Any, role: str | None, batch_size: int, progress: bool, options: dict[str, Any]
    ) -> tuple[Output, float]:
        """(the vectors, the seconds that it took to make them)."""
        items = as_items(items)
        options = {name: value for name, value in options.items() if value is not None}
        if "output" in options and options["output"] == getattr(self.embedder, "default_output", None):
            del options["output"]  # what it gives when not told
        key = self.key(items, role, options)
        entry = self.store.get(key)
        if entry is not None and similarities.size(entry[0]) == len(items):
            return entry
        if self.warm:
            first = {name: value[:2] if name == "condition" else value for name, value in options.items()}
            self.embedder.encode(items[:2], role=role, **first)
        begun = time.perf_counter()
        vectors = self.embedder.encode(items, role=role, batch_size=batch_size, progress=progress, **options)
        seconds = time.perf_counter() - begun
        self.store.put(key, vectors, seconds)
        self.made(key, len(items))
        return vectors, seconds

    def made(self, key: str, count: int) -> None:
        """Vectors of so many items were made and kept: nothing more is done with it here."""

    def key(self, items: list[Any], role: str | None, options: dict[str, Any]) -> str:
        """What the vectors are kept under: with no option, what earlier versions kept them under."""
        said = [{name: _named(value) for name, value in sorted(options.items())}] if options else []
        return content_hash(role, [_named(item) for item in items], *said)

    def with_transform(self, *transforms: Transform) -> TransformedEmbedder:
        """Transforms behind what is kept."""
        from umekomi.models.transformed import TransformedEmbedder

        return TransformedEmbedder(self, transforms)  # type: ignore[arg-type]


def refuse_options(options: dict[str, Any], who: str) -> None:
    """The error for options of :meth:`encode` that a stand-in cannot follow: none is left out without a word."""
    for name, value in options.items():
        if value is not None and (name, value) != ("output", "dense"):
            raise WrongUse(f"{who} takes no {name}, found {value!r}")


def _named(value: object) -> object:
    """A value as JSON can hold it, so that two that differ never look alike; text that JSON holds stays as it is."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_named(part) for part in value]
    if isinstance(value, dict):
        return {str(name): _named(part) for name, part in value.items()}
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, (np.ndarray, np.generic)):  # NumPy's: as text a long array is mostly dots
        return {"array": [str(value.dtype), list(value.shape), content_hash(value.tobytes())]}
    raise WrongUse(f"expected items of text, numbers, arrays or paths, found {type(value).__name__}")


def _save(file: Path, vectors: Output, seconds: float) -> None:
    if isinstance(vectors, Vectors):
        arrays: dict[str, Any] = {"flat": vectors.flat, "offsets": vectors.offsets}
    elif isinstance(vectors, np.ndarray):
        arrays = {"dense": vectors}
    else:
        arrays = {name: getattr(vectors, name) for name in ("data", "indices", "indptr")}
        arrays["shape"] = np.array(vectors.shape)
    with whole_file(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays, seconds=np.array(seconds))


def _load(file: Path) -> tuple[Any, float]:
    with np.load(file, allow_pickle=False) as stored:
        seconds = float(stored["seconds"])
        if "dense" in stored:
            return stored["dense"], seconds
        if "flat" in stored:
            return Vectors(stored["flat"], stored["offsets"]), seconds
        from scipy.sparse import csr_array

        return csr_array((stored["data"], stored["indices"], stored["indptr"]), shape=tuple(stored["shape"])), seconds
