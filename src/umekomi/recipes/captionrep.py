"""CaptionRep: F. Hill, K. Cho, A. Korhonen, "Learning distributed representations of sentences from unlabelled data"
(NAACL 2016, arXiv 1602.03483), section 2: what DictRep does with definitions and words, done with captions and the
vectors of their pictures.

A caption's words, summed and sent through one linear map (``bag``), or read by an LSTM whose last state is sent through
it (``recurrent``), must come nearer to the (given, fixed) vector of its picture than to that of another, by a margin in
cosine. The bag being linear, what is learned is a table: row w is the vector of w sent through the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from umekomi.data.vocabulary import count_tokens, resolve_tokenizer, split_words
from umekomi.errors import DataError, WrongUse
from umekomi.fields import Above, AtLeast, Within
from umekomi.files import content_hash
from umekomi.models.bags import BagEmbedder
from umekomi.models.entity import EntityEmbedder
from umekomi.parts.learning.arrays import curve
from umekomi.parts.learning.pointing import learn_bags
from umekomi.parts.similarity import normalise
from umekomi.recipes import WORD_VECTORS, Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class CaptionRep(Recipe):
    """A caption's words must point at its picture: what can be seen teaches sentences.

    Learns from ``text`` (the caption) and ``image``, the picture's vector as a list of numbers, all of one length, made
    by whatever model of pictures; a picture may stand in several rows. ``start`` is a table of word vectors to read by,
    which stay. ``dimensions`` are of the words before the map; what comes out has the pictures' width. ``form``
    ``"recurrent"`` (extra ``neural``) has ``width`` cells, ``clip`` and the share ``held_out`` that chooses its epoch.
    """

    name: ClassVar[str] = "captionrep"
    paper: ClassVar[Paper] = Paper(
        "Learning distributed representations of sentences from unlabelled data",
        "Hill, Cho & Korhonen",
        2016,
        "NAACL",
        "1602.03483",
    )
    learns: ClassVar[tuple[str, ...]] = ("captioned images",)
    begins: ClassVar[str | None] = WORD_VECTORS
    supervised: ClassVar[bool] = True
    presets: ClassVar[tuple[str, ...]] = ("recurrent",)

    form: Literal["bag", "recurrent"] = "bag"
    dimensions: Annotated[int, AtLeast(1)] = 256
    width: Annotated[int, AtLeast(1)] = 512
    margin: Annotated[float, AtLeast(0)] = 0.1
    epochs: Annotated[int, AtLeast(1)] = 10
    learning_rate: Annotated[float, Above(0)] = 0.05
    batch_size: Annotated[int, AtLeast(1)] = 128
    min_count: Annotated[int, AtLeast(1)] = 2
    clip: Annotated[float, Above(0)] = 5.0
    held_out: Annotated[float, Within(0, 1, "()")] = 0.02
    tokenizer: str = "auto"

    @classmethod
    def recurrent(cls) -> CaptionRep:
        """The form that reads a caption word by word."""
        return cls(form="recurrent", learning_rate=1e-3)

    @classmethod
    def small(cls) -> CaptionRep:
        return cls(epochs=5, width=300)

    @classmethod
    def tiny(cls) -> CaptionRep:
        return cls(dimensions=8, width=6, epochs=2, batch_size=4, min_count=1, held_out=0.1)

    def learn(self, data: pa.Table, start: Start, run: Run) -> Any:
        from scipy.sparse import csr_array

        if start is not None and not isinstance(start, EntityEmbedder):
            raise WrongUse(
                f"{self.name}: start must be a table of word vectors, found {start.name} of kind {start.kind}"
            )
        captions = data["text"].to_pylist()
        source = (data.schema.metadata or {}).get(b"source", b"").decode()
        pictures = self._pictures(data["image"].to_pylist(), f"{self.name}: {source}, " if source else f"{self.name}: ")
        target = normalise(pictures)
        about = {"captions": len(captions), "pictures": len(np.unique(pictures, axis=0))}
        if about["pictures"] < 2:
            raise DataError(f"{self.name}: expected the vectors of two pictures or more, found one")
        if self.form == "recurrent":
            from umekomi.models.pointing import learn_recurrent

            return learn_recurrent(self, captions, target, start, run, about)
        tokenizer = resolve_tokenizer(captions, self.tokenizer)
        names = None if start is None else [str(name) for name in start.names]
        coded = count_tokens(split_words(captions, tokenizer), self.min_count, self.name, names=names)
        counted = np.ones(len(coded.ids), np.float32), coded.ids, coded.offsets
        bags = csr_array(counted, shape=(len(captions), len(coded.names)))
        generator = np.random.default_rng(run.seed & 0xFFFFFFFF)
        words = (
            generator.normal(0, 0.1, (len(coded.names), self.dimensions)).astype(np.float32)
            if start is None
            else start.vectors.copy()
        )
        out, losses = learn_bags(
            bags,
            words,
            target,
            run=run,
            key=content_hash(self.settings(), run.seed, captions, target.tobytes(), coded.names),
            names=coded.names,
            generator=generator,
            given=start is not None,
            margin=self.margin,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            unit="captions",
        )
        card = {"training": about | {"loss": curve(losses)}}
        return BagEmbedder(coded.names, out, metric="cosine", tokenizer=tokenizer, name=self.name, card=card)

    def _pictures(self, rows: list[Any], who: str) -> Any:
        """float32 ``[captions, dim]``; the error for the first row that has no vector, or one of another width."""
        wide = None
        for number, row in enumerate(rows, 1):
            place = f"{who}row {number}, column 'image'"
            if not isinstance(row, list) or not row or not all(isinstance(value, (int, float)) for value in row):
                raise DataError(f"{place}: expected the picture's vector, a list of numbers, found {row!r:.60}")
            if wide is None:
                wide = len(row)
            if len(row) != wide:
                raise DataError(f"{place}: expected {wide} numbers as in the rows before, found {len(row)}")
        vectors = np.array(rows, np.float32)
        bad = np.flatnonzero(~np.isfinite(vectors).all(1) | ~vectors.any(1))
        if len(bad):
            found = "NaN or infinity" if not np.isfinite(vectors[bad[0]]).all() else "zeros alone"
            raise DataError(f"{who}row {bad[0] + 1}, column 'image': expected finite numbers, found {found}")
        return vectors
