"""SDAE, the sequential denoising autoencoder: F. Hill, K. Cho, A. Korhonen, "Learning distributed representations of
sentences from unlabelled data" (NAACL 2016, arXiv 1602.03483), section 3.1.

A sentence is damaged (each word is deleted with chance p_o, then each pair of words side by side, pairs that do not
overlap, changes places with chance p_x), read by a recurrent encoder, and written again undamaged by a decoder that
begins from the encoder's last state, which is the sentence's vector. Without noise it is the sequential autoencoder
(SAE). With ``start`` (the paper's ``+embs``) the encoder reads given word vectors, which stay, through a linear map
that is learned; the map is folded into the table at the end, so that every given word can be read.

Where paper and released code differ (fh295/SentenceRepresentation): the paper has an LSTM, the code a GRU for both
sides, whose decoder begins from tanh(W v + b) and looks at v at every step; we follow the code (``cell`` is the
other), with its sizes, Adam at .01 and its clipping of the gradient's norm at 2. The code puts the unknown word in a
deleted word's place, a tenth of the sentence's words each time, and lets swapped pairs overlap; there we follow the
paper. The table of words is shared by encoder and decoder, as in the code, unless word vectors are given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from umekomi.data.shapes import documents, texts
from umekomi.errors import WrongUse
from umekomi.fields import Above, AtLeast, Within
from umekomi.recipes import WORD_VECTORS, Paper, Recipe
from umekomi.run import Run


@dataclass(frozen=True)
class Sdae(Recipe):
    """A sentence is what a damaged copy of it must hold so that the sentence can be written again.

    Learns from texts, each a sentence, or from documents, whose sentences they are; order does not matter. ``start`` is
    a table of word vectors to read by. ``noise`` is the chance of both damages, ``deletion`` and ``swap`` are of one of
    them where they differ; 0: a plain autoencoder. ``readout`` puts a layer of so many numbers before the softmax,
    ``tied`` gives it the decoder's word vectors; ``softmax`` is over all words (``"full"``), over ``sampled`` drawn
    ones, or as their number asks for. Sentences of more than ``longest`` words are left out, and counted.
    """

    name: ClassVar[str] = "sdae"
    paper: ClassVar[Paper] = Paper(
        "Learning distributed representations of sentences from unlabelled data",
        "Hill, Cho & Korhonen",
        2016,
        "NAACL",
        "1602.03483",
    )
    learns: ClassVar[tuple[str, ...]] = ("documents", "texts")
    repeats: ClassVar[bool] = True
    begins: ClassVar[str | None] = WORD_VECTORS
    extra: ClassVar[str] = "neural"
    presets: ClassVar[tuple[str, ...]] = ("sae",)

    dimensions: Annotated[int, AtLeast(1)] = 2400
    word_dimensions: Annotated[int, AtLeast(1)] = 100
    vocabulary: Annotated[int, AtLeast(1)] = 30_000
    noise: Annotated[float, Within(0, 1, "[]")] = 0.1
    deletion: Annotated[float, Within(0, 1, "[]")] | None = None
    swap: Annotated[float, Within(0, 1, "[]")] | None = None
    cell: Literal["gru", "lstm"] = "gru"
    every_step: bool = True
    readout: Annotated[int, AtLeast(1)] | None = None
    tied: bool = False
    softmax: Literal["auto", "full", "sampled"] = "auto"
    sampled: Annotated[int, AtLeast(1)] = 8192
    learning_rate: Annotated[float, Above(0)] = 0.01
    clip: Annotated[float, Above(0)] = 2.0
    batch_size: Annotated[int, AtLeast(1)] = 16
    epochs: Annotated[int, AtLeast(0)] = 5
    patience: Annotated[int, AtLeast(1)] | None = None
    held_out: Annotated[float, Within(0, 1, "()")] = 0.01
    longest: Annotated[int, AtLeast(1)] = 100
    min_count: Annotated[int, AtLeast(1)] = 1
    tokenizer: Literal["treebank", "spaces", "plain", "surfaces", "bigrams"] = "treebank"

    @classmethod
    def sae(cls) -> Sdae:
        """The autoencoder without noise."""
        return cls(noise=0.0)

    @classmethod
    def small(cls) -> Sdae:
        own = cls(dimensions=300, vocabulary=10_000, readout=100, tied=True, learning_rate=2e-3, batch_size=64)
        return replace(own, epochs=2)

    @classmethod
    def tiny(cls) -> Sdae:
        own = replace(cls.small(), dimensions=6, word_dimensions=5, readout=5, epochs=2, batch_size=4)
        return replace(own, noise=0.3, held_out=0.1)

    def check(self) -> None:
        wide = self.readout or self.dimensions
        if self.tied and wide != self.word_dimensions:
            raise WrongUse(
                f"{self.name}, tied: expected readout as wide as word_dimensions ({self.word_dimensions}), found {wide}"
            )

    def learn(self, data: Any, start: Any, run: Run) -> Any:
        from umekomi.models.writing import learn_to_write
        from umekomi.parts.learning.generating import damage

        if "document" in data.column_names:
            sentences = [sentence for document in documents(data, self.name) for sentence in document]
        else:
            sentences = texts(data, self.name)
        deletion, swap = (self.noise if one is None else one for one in (self.deletion, self.swap))
        noise = partial(damage, deletion=deletion, swap=swap) if deletion or swap else None
        return learn_to_write(self, sentences, None, start, run, noise=noise)
