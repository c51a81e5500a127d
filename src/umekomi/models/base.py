"""What all models share: saving whole folders and fingerprints; what embedders do, whatever they embed; what embedders
of texts know beside; and the other three, scorers, predictors and backbones. Light."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, TypeAlias, overload

import numpy as np

from umekomi.errors import UmekomiError, WrongUse
from umekomi.files import MODEL_FILE, content_hash, folder_hash, whole_folder, write_json
from umekomi.parts import similarity as similarities

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from umekomi.contracts import Dense, Floats, Output, Transform, Vectors

FORMAT = 1
"""The format of ``umekomi.json`` that is written, and the newest that is read."""
Open = Callable[[Path], Any]
"""Opens a folder."""
Named: TypeAlias = "str | Path | Saved"
"""A model's name, its folder, or the model."""


# --- what is saved --------------------------------------------------------------------------------------------------


class Saved(ABC):
    """A model that saves itself: it says its ``kind``, and writes :meth:`_write` and :meth:`_read`."""

    kind: ClassVar[str]
    standard: ClassVar[bool] = False
    """Is its folder also one of sentence-transformers', which opens there as it is?"""
    name: str
    card: dict[str, Any]
    """What is known about the model: licence, what it was trained on and how. Saved with it."""
    stands_for: str = ""
    """The fingerprint of the model that this one gives the figures of by other means; then it is this one's too."""
    original: Callable[[], Saved] | None = None
    """Opens the model that this one runs faster: it is what trains, and what is saved."""

    def __init__(self, name: str, card: dict[str, Any] | None = None) -> None:
        self.name = name
        self.card = dict(card or {})

    def save(self, folder: str | Path) -> None:
        """Write the model: safetensors, JSON, a model card. Whole or not at all; an older model there is replaced."""
        from umekomi.models.folders import write_sums

        if self.original is not None:
            self.original().save(folder)
            return
        with whole_folder(folder) as place:
            self._fill(place)
            write_sums(place)

    def _fill(self, folder: Path) -> None:
        from umekomi.models.cards import model_card

        settings = self._write(folder)
        head = {"format": FORMAT, "kind": self.kind, "name": self.name, **self._head(), "card": self.card}
        write_json(folder / MODEL_FILE, head | {"settings": settings})
        if not (folder / "README.md").exists():
            (folder / "README.md").write_text(model_card(self), encoding="utf-8")

    def _head(self) -> dict[str, Any]:
        """What ``umekomi.json`` says of every model of this sort."""
        return {}

    @abstractmethod
    def _write(self, folder: Path) -> dict[str, Any]:
        """Write the arrays; return the settings that :meth:`_read` needs."""

    @classmethod
    @abstractmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> Self:
        """The model that ``_write`` wrote; ``head`` is ``umekomi.json``, and ``open`` opens a model within."""

    def fingerprint(self) -> str:
        """Names the model's content: what its folder would hold. Two models with one fingerprint are the same."""
        import tempfile

        if self.stands_for:
            return self.stands_for
        with tempfile.TemporaryDirectory() as scratch:
            self._fill(Path(scratch))
            return content_hash(folder_hash(scratch))


# --- items ----------------------------------------------------------------------------------------------------------

TEXT = frozenset({"text", "entity"})
_SOUNDS = (".wav", ".mp3", ".flac", ".ogg", ".m4a")
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def modalities_of(item: object) -> frozenset[str]:
    """What an item may be: a string is a text or an entity's name; a list of features, a bag of entities; a mapping, a
    row or a weighted bag; an array, a sound (one axis) or an image (two or three); a path, what its ending says. None
    of them: empty.

    >>> sorted(modalities_of("king")), sorted(modalities_of({"age": 3}))
    (['entity', 'text'], ['entity', 'row'])
    """
    if isinstance(item, str):
        return TEXT
    if isinstance(item, Mapping):
        return frozenset({"audio"}) if {"array", "sampling_rate"} <= set(item) else frozenset({"row", "entity"})
    if isinstance(item, Path):
        ending = item.suffix.lower()
        return frozenset({"audio"} if ending in _SOUNDS else {"image"} if ending in _IMAGES else ())
    if isinstance(item, (int, float, list, tuple, set, frozenset)):
        return frozenset({"entity"})
    if type(item).__module__.partition(".")[0] == "PIL":
        return frozenset({"image"})
    axes = getattr(item, "ndim", None)
    return frozenset({1: {"audio"}, 2: {"image"}, 3: {"image"}}.get(axes, ()) if isinstance(axes, int) else ())


def as_items(items: Any) -> list[Any]:
    """Items as a list; one alone is a list of one."""
    alone = isinstance(items, (str, Mapping, Path)) or type(items).__module__.partition(".")[0] == "PIL"
    return [items] if alone else items if isinstance(items, list) else list(items)


# --- embedders ------------------------------------------------------------------------------------------------------


class EmbedderBase(Saved):
    """An embedder, whatever its items: it writes :meth:`_encode`, and says its ``modalities`` and ``metric``."""

    modalities: frozenset[str]
    """Of ``"text"``, ``"entity"``, ``"row"``, ``"audio"`` and ``"image"``."""
    outputs: frozenset[str] = frozenset({"dense"})
    metric: str = "cosine"
    dimension: int
    costly: bool = False
    """Does encoding cost so much that finished vectors are worth keeping on disk?"""
    rounding: str = ""
    """What numbers it computes in, where they are coarser than its weights': finished vectors are then kept apart from
    exact ones."""
    parallel: bool = False
    """May several threads encode at once, and is each call then one core's?"""

    @property
    def roles(self) -> frozenset[str]:
        """The roles this model has a prompt entry for, beside ``"query"`` and ``"document"`` which all take."""
        return frozenset()

    def _head(self) -> dict[str, Any]:
        return {"metric": self.metric}

    @overload
    def encode(
        self,
        items: Any,
        *,
        output: Literal["dense"],
        role: str | None = None,
        condition: Sequence[str] | None = None,
        modality: str | None = None,
        dimensions: int | None = None,
        batch_size: int = 32,
        progress: bool = False,
    ) -> Floats: ...

    @overload
    def encode(
        self,
        items: Any,
        *,
        output: str | None = None,
        role: str | None = None,
        condition: Sequence[str] | None = None,
        modality: str | None = None,
        dimensions: int | None = None,
        batch_size: int = 32,
        progress: bool = False,
    ) -> Output: ...

    def encode(
        self,
        items: Any,
        *,
        output: str | None = None,
        role: str | None = None,
        condition: Sequence[str] | None = None,
        modality: str | None = None,
        dimensions: int | None = None,
        batch_size: int = 32,
        progress: bool = False,
    ) -> Output:
        """Vectors of ``items``, in their order: dense float32 ``[n, d]``, sparse CSR ``[n, h]``, or multi
        :class:`~umekomi.contracts.Vectors`. A single string, mapping, path or picture gives one row; an item that is
        nothing this model embeds is an error that names it.

        Args:
            items: one or several of what the model embeds.
            output: ``"dense"``, ``"sparse"`` or ``"multi"``; None: the embedder's own kind.
            role: picks the model's prompt: ``"query"``, ``"document"``, or a task of its card.
            condition: what each item is seen under, where the model takes one.
            modality: what the items are, where they could be several things (:func:`modalities_of`).
            dimensions: keeps the first so many, brought back to length one where the embedder compares by cosine.
            batch_size: items that are encoded at once.
            progress: shows a bar.
        """
        output = output or self.default_output
        if output not in self.outputs:
            raise WrongUse(f"{self.name} gives {' and '.join(sorted(self.outputs))} vectors, not {output!r}")
        if modality is not None and modality not in self.modalities:
            raise WrongUse(f"{self.name} embeds {self._embeds}, not {modality!r}")
        if condition is not None:
            raise WrongUse(f"{self.name} takes no condition")
        self._check_dimensions(dimensions, output)
        items = as_items(items)
        self._check_items(items, modality)
        vectors = self._encode(items, output=output, role=role, batch_size=batch_size, progress=progress)
        self._check_finite(vectors, items)
        if dimensions is not None and dimensions < self.dimension:
            vectors = self.cut(vectors, dimensions)
        return vectors

    @property
    def _embeds(self) -> str:
        return " and ".join(sorted(self.modalities))

    def _check_items(self, items: list[Any], modality: str | None) -> None:
        wanted = self.modalities if modality is None else frozenset({modality})
        if wanted & TEXT and all(type(item) is str for item in items):
            return
        for place, item in enumerate(items):
            if not modalities_of(item) & wanted:
                kinds = " or ".join(sorted(modalities_of(item))) or "none of these"
                raise WrongUse(
                    f"{self.name} embeds {self._embeds if modality is None else modality}: item {place + 1} is {kinds} "
                    f"({type(item).__name__})"
                )

    def _check_dimensions(self, dimensions: int | None, output: str = "dense") -> None:
        if dimensions is not None and (output == "sparse" or not 1 <= dimensions <= self.dimension):
            raise WrongUse(
                f"{self.name} has {self.dimension} {output} dimensions: expected 1 to {self.dimension}, found "
                f"{dimensions}"
            )

    def _check_finite(self, vectors: Output, items: Sequence[Any]) -> None:
        """The error that names the first item whose vector has a NaN or an infinity in it: what damaged weights, and
        numbers too large for them, give."""
        from umekomi.contracts import Vectors

        if isinstance(vectors, Vectors):
            values = vectors.flat
        else:
            values = vectors if isinstance(vectors, np.ndarray) else vectors.data
        if values.dtype.kind != "f" or np.isfinite(values).all():
            return
        bad = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
        starts = vectors.offsets if isinstance(vectors, Vectors) else getattr(vectors, "indptr", None)
        row = bad if starts is None else int(np.searchsorted(starts, bad, side="right")) - 1
        named = f" for item {row + 1}, {str(items[row])[:60]!r}" if similarities.size(vectors) == len(items) else ""
        raise UmekomiError(f"{self.name}: expected finite vectors, found NaN or infinity{named}")

    @abstractmethod
    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Output:
        """The vectors, all arguments checked."""

    @property
    def default_output(self) -> str:
        """What :meth:`encode` gives when not told."""
        return next(kind for kind in ("dense", "sparse", "multi") if kind in self.outputs)

    @overload
    def cut(self, vectors: Vectors, dimensions: int) -> Vectors: ...

    @overload
    def cut(self, vectors: Dense, dimensions: int) -> Dense: ...

    def cut(self, vectors: Output, dimensions: int) -> Output:
        """The first ``dimensions`` of finished vectors, as :meth:`encode` with ``dimensions=`` gives them."""
        from umekomi.contracts import Vectors

        if isinstance(vectors, Vectors):
            return Vectors(self.cut(vectors.flat, dimensions), vectors.offsets)
        short: Any = vectors[:, :dimensions]
        return similarities.normalise(short) if self.metric in ("cosine", "maxsim") else short.copy()

    def encode_query(self, items: Any, **options: Any) -> Output:
        """:meth:`encode` with ``role="query"``."""
        return self.encode(items, role="query", **options)

    def encode_document(self, items: Any, **options: Any) -> Output:
        """:meth:`encode` with ``role="document"``."""
        return self.encode(items, role="document", **options)

    def similarity(self, a: Output, b: Output) -> Floats:
        """How alike, float32 ``[n, m]``, higher is nearer, by this embedder's own measure (``metric``)."""
        return similarities.similarity_function(self.metric)(a, b)

    def similarity_pairwise(self, a: Output, b: Output) -> Floats:
        """:meth:`similarity` of row ``i`` of ``a`` with row ``i`` of ``b`` only, float32 ``[n]``."""
        pairs = range(similarities.size(a))
        if self.metric in ("cosine", "dot") and isinstance(a, np.ndarray):
            if self.metric == "cosine":
                a, b = similarities.normalise(a), similarities.normalise(b)
            return np.einsum("nd,nd->n", a, b)
        return np.array(
            [self.similarity(similarities.rows(a, i, i + 1), similarities.rows(b, i, i + 1))[0, 0] for i in pairs],
            np.float32,
        )

    def with_transform(self, *transforms: Transform) -> EmbedderBase:
        """This embedder with fitted transforms: again an embedder. One that stands before pooling changes the token
        table and is folded into it; the others stand behind."""
        from umekomi.models.transformed import TransformedEmbedder

        first = [transform for transform in transforms if transform.stands == "before"]
        if first:
            if list(transforms[: len(first)]) != first:
                raise WrongUse(f"{first[-1].name} stands before pooling: it cannot follow {transforms[0].name}")
            folded = self.with_table(first)
            return folded.with_transform(*transforms[len(first) :]) if len(first) < len(transforms) else folded
        return TransformedEmbedder(self, transforms)

    def with_table(self, transforms: Sequence[Transform]) -> EmbedderBase:
        """This embedder with its table changed by each transform in order; only embedders that have one can do it."""
        raise WrongUse(f"{transforms[0].name} changes a table of words or tokens; {self.name} ({self.kind}) has none")


class Encoded(NamedTuple):
    """Vectors float32 ``[n, d]``, and for every text how many tokens it has (int64 ``[n]``) and whether it was cut
    (bool ``[n]``)."""

    vectors: Floats
    tokens: NDArray[np.int64]
    truncated: NDArray[np.bool_]


class TextFace(EmbedderBase):
    """An embedder of texts: it counts their tokens, and says which are longer than it reads; by default none is."""

    modalities = frozenset({"text"})

    def truncated(self, items: Sequence[str], role: str | None = None) -> NDArray[np.bool_]:
        """Which items are longer than the model reads, the role's prompt before them: bool ``[n]``."""
        return np.zeros(len(items), bool)

    def lengths(self, items: Sequence[str], role: str | None = None) -> NDArray[np.int64]:
        """How many tokens each text has as this model counts them, prompt and special tokens too: int64 ``[n]``; words
        where it has no tokenizer."""
        import re

        return np.array([len(re.findall(r"\w+", text)) for text in items], np.int64)

    def windows(self, text: str, role: str | None = None) -> list[str]:
        """Pieces of a text that the model reads whole."""
        if bool(self.truncated([text], role)[0]):
            raise WrongUse(
                f"{self.name} cuts long texts and has no tokenizer here to split them by (truncation 'chunk')"
            )
        return [text]

    def encode_with_counts(
        self, items: Sequence[str], *, role: str | None = None, dimensions: int | None = None, batch_size: int = 32
    ) -> Encoded:
        """Dense vectors, and what was seen of the texts on the way."""
        self._check_dimensions(dimensions)
        items = list(items)
        encoded = self._encode_with_counts(items, role, batch_size)
        self._check_finite(encoded.vectors, items)
        return (
            encoded
            if dimensions in (None, self.dimension)
            else encoded._replace(vectors=self.cut(encoded.vectors, dimensions or 0))
        )

    def _encode_with_counts(self, items: list[str], role: str | None, batch_size: int) -> Encoded:
        """Vectors of the whole width; an embedder that sees lengths and cuts while it encodes says so here instead of
        looking twice."""
        vectors = self.encode(items, output="dense", role=role, batch_size=batch_size)
        return Encoded(vectors, self.lengths(items, role), self.truncated(items, role))


Sort = Literal["embedder", "scorer", "predictor", "backbone"]


def sort_of(model: Any) -> Sort | None:
    """Which of the four a model is, by its class, or by its face where the class is somebody's own
    (:mod:`umekomi.contracts`); None for an object that is none of them."""
    kinds: dict[Sort, type] = {
        "embedder": EmbedderBase, "scorer": Scorer, "predictor": Predictor, "backbone": Backbone
    }  # fmt: skip
    named = next((name for name, kind in kinds.items() if isinstance(model, kind)), None)
    if named is None and callable(getattr(model, "encode", None)) and callable(getattr(model, "similarity", None)):
        return "embedder"
    return named


def describe(model: object) -> str:
    """``tiny is a backbone``: what a model is, for an error about one that will not do."""
    name, kind = getattr(model, "name", None), getattr(model, "kind", None)
    return f"{name} is a {kind}" if name and kind else f"found an object of type {type(model).__name__}"


# --- the other three ------------------------------------------------------------------------------------------------


class Scorer(Saved):
    """Judges pairs directly: a cross-encoder, a reranker, a scorer of essays. It writes :meth:`_score`."""

    conditions: ClassVar[bool] = False
    """Does it score under a condition?"""
    by_query: bool = False
    """Is it asked, and paid, for all documents of a query together?"""

    def score(
        self, a: Sequence[Any], b: Sequence[Any], *, condition: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """One score a pair ``a[i]``, ``b[i]``, float32 ``[n]``, higher is better; ``condition[i]`` is what it is judged
        under, where the scorer takes one."""
        a, b = list(a), list(b)
        if len(a) != len(b) or (condition is not None and len(condition) != len(a)):
            raise WrongUse(f"{self.name}: expected pairs, found {len(a)} and {len(b)} items")
        if condition is not None and not self.conditions:
            raise WrongUse(f"{self.name} takes no condition")
        if not a:
            return np.zeros(0, np.float32)
        scores = np.asarray(self._score(a, b, condition), np.float32)
        if scores.shape != (len(a),):
            raise UmekomiError(f"{self.name}: expected one score a pair, found an array of shape {list(scores.shape)}")
        if not np.isfinite(scores).all():
            bad = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise UmekomiError(
                f"{self.name}: expected finite scores, found NaN or infinity for pair {bad + 1}, {str(a[bad])[:60]!r}"
            )
        return scores

    @abstractmethod
    def _score(self, a: list[Any], b: list[Any], condition: Sequence[str] | None) -> ArrayLike:
        """The scores, all arguments checked."""


class Predictor(Saved):
    """Says what rows of a table come to: a click, a class, a grade. It writes :meth:`_predict`."""

    classes: tuple[str, ...] = ()
    """What the columns of its predictions stand for; none: one number a row."""

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        """float32 ``[n]``, or ``[n, classes]``, for rows that are mappings of columns."""
        rows = as_items(rows)
        strange = next((place for place, row in enumerate(rows) if not isinstance(row, Mapping)), None)
        if strange is not None:
            raise WrongUse(f"{self.name}: expected rows, item {strange + 1} is {type(rows[strange]).__name__}")
        shape = (len(rows), *((len(self.classes),) if self.classes else ()))
        if not rows:
            return np.zeros(shape, np.float32)
        predictions = np.asarray(self._predict(rows), np.float32)
        if predictions.shape != shape:
            raise UmekomiError(
                f"{self.name}: expected predictions of shape {list(shape)}, found {list(predictions.shape)}"
            )
        if not np.isfinite(predictions).all():
            bad = int(np.flatnonzero(~np.isfinite(predictions.reshape(len(predictions), -1)).all(1))[0])
            raise UmekomiError(f"{self.name}: expected finite predictions, found NaN or infinity for row {bad + 1}")
        return predictions

    @abstractmethod
    def _predict(self, rows: list[Any]) -> ArrayLike:
        """The predictions, all arguments checked."""


class Backbone(Saved):
    """A pre-trained network that is not yet an embedder; recipes take it as ``start=``."""

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The network's shape."""

    @abstractmethod
    def embedder(self) -> EmbedderBase:
        """An embedder on top of it."""
