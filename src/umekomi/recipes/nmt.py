"""NMT without attention as a sentence encoder: F. Hill, K. Cho, A. Korhonen, "Learning distributed representations of
sentences from unlabelled data" (NAACL 2016, arXiv 1602.03483), table 2's NMT En-Fr and En-De; the network of K. Cho+,
"Learning phrase representations using RNN encoder-decoder for statistical machine translation" (EMNLP 2014,
arXiv 1406.1078).

A recurrent encoder reads a sentence; a decoder, which begins from tanh(V c) of its last state c and looks at c at every
step, writes the translation. What the encoder then gives for a sentence is its vector. Where we differ: the decoder's
last layer is a softmax over its state (through ``readout`` where asked for), without Cho+'s maxout of state, vector and
last word; the optimiser, which Hill+ do not name, is Adam.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from umekomi.errors import WrongUse
from umekomi.fields import Above, AtLeast, Within
from umekomi.recipes import WORD_VECTORS, Paper, Recipe
from umekomi.run import Run


@dataclass(frozen=True)
class Nmt(Recipe):
    """A sentence is what its translation can be written from.

    Learns from pairs: ``anchor`` is read, ``positive`` is its translation, and the model embeds texts of the first
    language. Two files of lines side by side (``train.en``, ``train.de``) in a folder whose name ends in ``en-de`` are
    such pairs. ``start`` is a table of word vectors to read by, through a map that is learned. Fields are as of
    ``sdae``.
    """

    name: ClassVar[str] = "nmt"
    paper: ClassVar[Paper] = Paper(
        "Learning distributed representations of sentences from unlabelled data",
        "Hill, Cho & Korhonen",
        2016,
        "NAACL",
        "1602.03483",
    )
    learns: ClassVar[tuple[str, ...]] = ("pairs",)
    begins: ClassVar[str | None] = WORD_VECTORS
    supervised: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"

    dimensions: Annotated[int, AtLeast(1)] = 2400
    word_dimensions: Annotated[int, AtLeast(1)] = 512
    vocabulary: Annotated[int, AtLeast(1)] = 30_000
    cell: Literal["gru", "lstm"] = "gru"
    every_step: bool = True
    readout: Annotated[int, AtLeast(1)] | None = None
    tied: bool = False
    softmax: Literal["auto", "full", "sampled"] = "auto"
    sampled: Annotated[int, AtLeast(1)] = 8192
    learning_rate: Annotated[float, Above(0)] = 1e-3
    clip: Annotated[float, Above(0)] = 2.0
    batch_size: Annotated[int, AtLeast(1)] = 64
    epochs: Annotated[int, AtLeast(0)] = 10
    patience: Annotated[int, AtLeast(1)] | None = 2
    held_out: Annotated[float, Within(0, 1, "()")] = 0.02
    longest: Annotated[int, AtLeast(1)] = 100
    min_count: Annotated[int, AtLeast(1)] = 1
    tokenizer: Literal["treebank", "spaces", "plain", "surfaces", "bigrams"] = "treebank"

    @classmethod
    def small(cls) -> Nmt:
        own = cls(dimensions=300, word_dimensions=100, vocabulary=10_000, readout=100, tied=True, learning_rate=2e-3)
        return replace(own, epochs=5)

    @classmethod
    def tiny(cls) -> Nmt:
        own = replace(cls.small(), dimensions=6, word_dimensions=5, readout=5, epochs=2, batch_size=4)
        return replace(own, held_out=0.1)

    def check(self) -> None:
        wide = self.readout or self.dimensions
        if self.tied and wide != self.word_dimensions:
            raise WrongUse(
                f"{self.name}, tied: expected readout as wide as word_dimensions ({self.word_dimensions}), found {wide}"
            )

    def learn(self, data: Any, start: Any, run: Run) -> Any:
        from umekomi.models.writing import learn_to_write

        read, written = (data[column].to_pylist() for column in ("anchor", "positive"))
        return learn_to_write(self, read, written, start, run, side="pairs")
