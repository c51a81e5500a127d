"""What all embedders share: roles, similarity by name, saving whole folders, fingerprints. Light."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from umekomi.errors import UmekomiError, WrongUse
from umekomi.files import MODEL_FILE, content_hash, whole_folder, write_json
from umekomi.models.kept import StandIn as StandIn
from umekomi.parts import similarity as similarities

if TYPE_CHECKING:
    from umekomi.contracts import Transform

FORMAT = 1
"""The format of ``umekomi.json`` that is written, and the newest that is read."""
Open = Callable[[Path], Any]
"""Opens a folder."""


class Reported(NamedTuple):
    """Vectors float32 ``[n, d]``, and for every text how many tokens it has (int64 ``[n]``) and whether it was cut
    (bool ``[n]``)."""

    vectors: Any
    tokens: Any
    truncated: Any


class EmbedderBase(ABC):
    """An embedder writes :meth:`_encode`, :meth:`_write` and :meth:`_read`, and says its ``kind`` and ``metric``."""

    kind: ClassVar[str]
    modalities: frozenset[str] = frozenset({"text"})
    outputs: frozenset[str] = frozenset({"dense"})
    metric: str = "cosine"
    name: str = "embedder"
    dimension: int
    stands_for: str = ""
    """The fingerprint of the model that this one gives the vectors of by other means; then it is this one's too."""
    costly: bool = False
    """Does encoding cost so much that finished vectors are worth keeping on disk?"""
    rounding: str = ""
    """What numbers it computes in, where they are coarser than its weights': finished vectors are then kept apart from
    exact ones."""
    parallel: bool = False
    """May several threads encode at once, and is each call then one core's?"""
    card: dict[str, Any]
    """What is known about the model: licence, what it was trained on and how. Saved with it."""

    def __init__(self, name: str, card: dict[str, Any] | None = None) -> None:
        self.name = name
        self.card = dict(card or {})

    @property
    def roles(self) -> frozenset[str]:
        """The roles this model has a prompt entry for, beside ``"query"`` and ``"document"`` which all take."""
        return frozenset()

    # --- encoding ---------------------------------------------------------------------------------------------------

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
    ) -> Any:
        """Vectors of ``items``, in their order: dense float32 ``[n, d]``, sparse CSR ``[n, h]``, or multi
        :class:`~umekomi.contracts.Vectors`. A single string gives one row.

        ``output`` is the embedder's own kind when not said; ``role`` picks the model's prompt (``"query"``,
        ``"document"``, or a task of its card); ``dimensions`` keeps the first so many, brought back to length one where
        the embedder compares by cosine.
        """
        output = output or self.default_output
        if output not in self.outputs:
            raise WrongUse(f"{self.name} gives {' and '.join(sorted(self.outputs))} vectors, not {output!r}")
        if modality is not None and modality not in self.modalities:
            raise WrongUse(f"{self.name} embeds {' and '.join(sorted(self.modalities))}, not {modality!r}")
        if condition is not None:
            raise WrongUse(f"{self.name} takes no condition")
        self._check_dimensions(dimensions, output)
        items = [items] if isinstance(items, (str, dict)) else items if isinstance(items, list) else list(items)
        vectors = self._encode(items, output=output, role=role, batch_size=batch_size, progress=progress)
        self._check_finite(vectors, items)
        if dimensions is not None and dimensions < self.dimension:
            vectors = self.cut(vectors, dimensions)
        return vectors

    def _check_dimensions(self, dimensions: int | None, output: str = "dense") -> None:
        if dimensions is not None and (output == "sparse" or not 1 <= dimensions <= self.dimension):
            raise WrongUse(
                f"{self.name} has {self.dimension} {output} dimensions: expected 1 to {self.dimension}, found "
                f"{dimensions}"
            )

    def _check_finite(self, vectors: Any, items: Sequence[Any]) -> None:
        """The error that names the first item whose vector has a NaN or an infinity in it: what damaged weights, and
        numbers too large for them, give."""
        import numpy as np

        from umekomi.contracts import Vectors

        values = vectors.flat if isinstance(vectors, Vectors) else getattr(vectors, "data", vectors)
        values = values if isinstance(values, np.ndarray) else vectors
        if values.dtype.kind != "f" or np.isfinite(values).all():
            return
        bad = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
        starts = vectors.offsets if isinstance(vectors, Vectors) else getattr(vectors, "indptr", None)
        row = bad if starts is None else int(np.searchsorted(starts, bad, side="right")) - 1
        named = f" for item {row + 1}, {str(items[row])[:60]!r}" if similarities.size(vectors) == len(items) else ""
        raise UmekomiError(f"{self.name}: expected finite vectors, found NaN or infinity{named}")

    @abstractmethod
    def _encode(self, items: list[Any], *, output: str, role: str | None, batch_size: int, progress: bool) -> Any:
        """The vectors, all arguments checked."""

    @property
    def default_output(self) -> str:
        """What :meth:`encode` gives when not told."""
        return next(kind for kind in ("dense", "sparse", "multi") if kind in self.outputs)

    def cut(self, vectors: Any, dimensions: int) -> Any:
        """The first ``dimensions`` of finished vectors, as :meth:`encode` with ``dimensions=`` gives them."""
        from umekomi.contracts import Vectors

        if isinstance(vectors, Vectors):
            return Vectors(self.cut(vectors.flat, dimensions), vectors.offsets)
        short = vectors[:, :dimensions]
        return similarities.normalise(short) if self.metric in ("cosine", "maxsim") else short.copy()

    def encode_query(self, items: Any, **options: Any) -> Any:
        """:meth:`encode` with ``role="query"``."""
        return self.encode(items, role="query", **options)

    def encode_document(self, items: Any, **options: Any) -> Any:
        """:meth:`encode` with ``role="document"``."""
        return self.encode(items, role="document", **options)

    def similarity(self, a: Any, b: Any) -> Any:
        """How alike, float32 ``[n, m]``, higher is nearer, by this embedder's own measure (``metric``)."""
        return similarities.named(self.metric)(a, b)

    def similarity_pairwise(self, a: Any, b: Any) -> Any:
        """:meth:`similarity` of row ``i`` of ``a`` with row ``i`` of ``b`` only, float32 ``[n]``."""
        import numpy as np

        pairs = range(similarities.size(a))
        if self.metric in ("cosine", "dot") and isinstance(a, np.ndarray):
            if self.metric == "cosine":
                a, b = similarities.normalise(a), similarities.normalise(b)
            return np.einsum("nd,nd->n", a, b)
        return np.array(
            [self.similarity(similarities.rows(a, i, i + 1), similarities.rows(b, i, i + 1))[0, 0] for i in pairs],
            np.float32,
        )

    def truncated(self, items: Sequence[str], role: str | None = None) -> Any:
        """Which items are longer than the model reads, the role's prompt before them: bool ``[n]``."""
        import numpy as np

        return np.zeros(len(items), bool)

    def lengths(self, items: Sequence[str], role: str | None = None) -> Any:
        """How many tokens each text has as this model counts them, prompt and special tokens too: int64 ``[n]``; words
        where it has no tokenizer."""
        import re

        import numpy as np

        return np.array([len(re.findall(r"\w+", text)) for text in items], np.int64)

    def windows(self, text: str, role: str | None = None) -> list[str]:
        """Pieces of a text that the model reads whole."""
        if bool(self.truncated([text], role)[0]):
            raise WrongUse(
                f"{self.name} cuts long texts and has no tokenizer here to split them by (truncation 'chunk')"
            )
        return [text]

    def encode_reported(
        self, items: Sequence[str], *, role: str | None = None, dimensions: int | None = None, batch_size: int = 32
    ) -> Reported:
        """Dense vectors, and what was seen of the texts on the way."""
        self._check_dimensions(dimensions)
        items = list(items)
        found = self._reported(items, role, batch_size)
        self._check_finite(found.vectors, items)
        return (
            found
            if dimensions in (None, self.dimension)
            else found._replace(vectors=self.cut(found.vectors, dimensions or 0))
        )

    def _reported(self, items: list[str], role: str | None, batch_size: int) -> Reported:
        """Vectors of the whole width; an embedder that sees lengths and cuts while it encodes says so here instead of
        looking twice."""
        vectors = self.encode(items, output="dense", role=role, batch_size=batch_size)
        return Reported(vectors, self.lengths(items, role), self.truncated(items, role))

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

    # --- saving -----------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the model: safetensors, JSON, a model card. Whole or not at all; an older model there is replaced."""
        from umekomi.models.cards import model_card
        from umekomi.models.folders import write_sums

        with whole_folder(folder) as place:
            settings = self._write(place)
            head = {"format": FORMAT, "kind": self.kind, "name": self.name, "metric": self.metric, "card": self.card}
            write_json(place / MODEL_FILE, head | {"settings": settings})
            (place / "README.md").write_text(model_card(self), encoding="utf-8")
            write_sums(place)

    @abstractmethod
    def _write(self, folder: Path) -> dict[str, Any]:
        """Write the arrays; return the settings that :meth:`_read` needs."""

    @classmethod
    @abstractmethod
    def _read(cls, folder: Path, head: dict[str, Any], open: Open) -> Any:
        """The embedder that ``_write`` wrote; ``head`` is ``umekomi.json``, and ``open`` opens a model within."""

    def fingerprint(self) -> str:
        """Names the model's content: what its folder would hold. Two embedders with one fingerprint are the same."""
        import tempfile

        from umekomi.files import folder_hash

        if self.stands_for:
            return self.stands_for
        with tempfile.TemporaryDirectory() as scratch:
            self.save(Path(scratch) / "model")
            return content_hash(folder_hash(Path(scratch) / "model"))
