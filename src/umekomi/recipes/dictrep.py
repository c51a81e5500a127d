"""DictRep: F. Hill, K. Cho, A. Korhonen, Y. Bengio, "Learning to understand phrases by
embedding the dictionary" (TACL 2016, arXiv 1504.00548); a row of Hill, Cho & Korhonen's NAACL 2016 comparison.

A definition's words, summed and sent through one linear map, must come nearer to the (given, fixed) vector of the word
they define than to that of another word, by a margin in cosine. Since all of it is linear, what is learned is a table:
row w is the vector of w sent through the map. With ``embeddings`` the words begin as their given vectors and only the
map is learned. The recurrent form reads the definition by an LSTM, whose last state is what the map takes.
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
from umekomi.recipes import REQUIRED, Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class DictRep(Recipe):
    """A definition's words, summed, must point at the word that is defined: dictionaries teach phrases.

    Learns from ``anchor`` (the definition) and ``positive`` (the word); ``start`` is the table of word vectors to point
    at. ``form`` ``"recurrent"`` (extra ``neural``) has ``width`` cells, ``clip``, and the share ``held_out`` that
    chooses its epoch; ``dimensions`` are of the words that are read, unless ``embeddings`` are.
    """

    name: ClassVar[str] = "dictrep"
    paper: ClassVar[Paper] = Paper(
        "Learning to understand phrases by embedding the dictionary",
        "Hill, Cho, Korhonen & Bengio",
        2016,
        "TACL",
        "1504.00548",
    )
    learns: ClassVar[tuple[str, ...]] = ("pairs",)
    begins: ClassVar[str | None] = REQUIRED
    needs: ClassVar[str] = "a table of word vectors (a word2vec file, a learned table) that definitions are to point at"
    supervised: ClassVar[bool] = True
    presets: ClassVar[tuple[str, ...]] = ("recurrent",)

    form: Literal["bag", "recurrent"] = "bag"
    dimensions: Annotated[int, AtLeast(1)] = 256
    """Of the words before the map; what comes out has the given table's width."""
    embeddings: bool = False
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
    def small(cls) -> DictRep:
        return cls(epochs=5, width=300)

    @classmethod
    def recurrent(cls) -> DictRep:
        """The form that reads a definition word by word."""
        return cls(form="recurrent", learning_rate=1e-3)

    @classmethod
    def tiny(cls) -> DictRep:
        return cls(dimensions=8, width=6, epochs=2, batch_size=4, min_count=1, held_out=0.1)

    def learn(self, data: pa.Table, start: Start, run: Run) -> Any:
        from scipy.sparse import csr_array

        assert start is not None  # required
        if not isinstance(start, EntityEmbedder):
            raise WrongUse(f"{self.name} needs start: {self.needs}; found {start.name}, a model of kind {start.kind}")
        defined = [word.lower() if word.lower() in start.rows else word for word in data["positive"].to_pylist()]
        known = [row for row, word in enumerate(defined) if word in start.rows]
        if len(known) < 2:
            raise DataError(
                f"{self.name}: expected definitions of words of {start.name}, found {len(known)} among {len(defined)}"
            )
        glosses = [data["anchor"][row].as_py() for row in known]
        target = normalise(start.vectors[[start.rows[defined[row]] for row in known]])
        about = {"definitions": len(known), "of words not in the table": len(defined) - len(known)}
        if self.form == "recurrent":
            from umekomi.models.pointing import learn_recurrent

            return learn_recurrent(self, glosses, target, start if self.embeddings else None, run, about)
        tokenizer = resolve_tokenizer(glosses, self.tokenizer)
        coded = count_tokens(
            split_words(glosses, tokenizer), self.min_count, self.name, names=start.names if self.embeddings else None
        )
        bags = csr_array(
            (np.ones(len(coded.ids), np.float32), coded.ids, coded.offsets), shape=(len(known), len(coded.names))
        )
        generator = np.random.default_rng(run.seed & 0xFFFFFFFF)
        words = (
            start.vectors.copy()
            if self.embeddings
            else generator.normal(0, 0.1, (len(coded.names), self.dimensions)).astype(np.float32)
        )
        out, losses = learn_bags(
            bags,
            words,
            target,
            run=run,
            key=content_hash(self.settings(), run.seed, glosses, target.tobytes(), coded.names),
            names=coded.names,
            generator=generator,
            given=self.embeddings,
            margin=self.margin,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            unit="definitions",
        )
        card = {"training": about | {"loss": curve(losses)}}
        return BagEmbedder(coded.names, out, metric="cosine", tokenizer=tokenizer, name=self.name, card=card)
