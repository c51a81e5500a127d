"""ELMo: M. E. Peters, M. Neumann, M. Iyyer, M. Gardner, C. Clark, K. Lee, L. Zettlemoyer, "Deep contextualized word
representations" (NAACL 2018, arXiv 1802.05365).

A word's vector depends on the sentence around it: two language models, one reading forwards and one backwards over
words that are read by their characters, are learned from running text; a word is γ · Σ softmax(w)_j · h_j over their
layers (equation 1), h_0 its own vector twice. Learned: the mean of −log p(next word) forwards and −log p(word before)
backwards (3.1), with one character encoder and one softmax for both.

Where paper and released code (bilm-tf) differ, we follow the code: 2,048 filters of one to seven characters over
bytes, two highway layers, the maximum taken before the ReLU; the residual is added from the second layer on; Adagrad at
.2 from accumulators of 1, a gradient 20 times the mean's (the length that it is cut after), clipped at a norm of 10;
the backward model reads each sentence turned round, in the same order. Where we differ: encoding begins every text from
a state of zero, so that one text has one vector (``stateful=True`` carries it on, as released); there is no layer
normalisation before the mix, which there is over a whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from umekomi.data.shapes import texts
from umekomi.data.vocabulary import count_tokens
from umekomi.errors import DataError, WrongUse
from umekomi.fields import Above, AtLeast, Within
from umekomi.files import content_hash
from umekomi.recipes import OPTIONAL, Paper, Recipe
from umekomi.run import Run

FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))


@dataclass(frozen=True)
class Elmo(Recipe):
    """Word vectors from the layers of a bidirectional language model: lower ones hold syntax, upper ones sense.

    Learns from texts, one sentence each as the paper's; ``start`` is an ELMo model to go on from (its language model on
    these texts, with a softmax of their own words). ``mix`` is what stands for a word: the mean of all layers, or the
    weights that serve a linear classifier of the texts' labels best (``"learned"``, with the ``penalty`` on them; a
    model given as ``start`` is then left as it is but for the mix); ``layer`` is one layer instead, 0 the words' own.
    ``filters`` are (characters, how many) of the convolutions, ``sampled`` the words that stand for all in the softmax
    (None: all), ``vocabulary`` the words that are foretold, ``length`` the words until the gradient is cut.
    """

    name: ClassVar[str] = "elmo"
    paper: ClassVar[Paper] = Paper(
        "Deep contextualized word representations",
        "Peters, Neumann, Iyyer, Gardner, Clark, Lee & Zettlemoyer",
        2018,
        "NAACL",
        "1802.05365",
    )
    learns: ClassVar[tuple[str, ...]] = ("labelled texts", "texts")
    repeats: ClassVar[bool] = True
    begins: ClassVar[str | None] = OPTIONAL
    extra: ClassVar[str] = "neural"

    filters: tuple[tuple[int, int], ...] = FILTERS
    characters: Annotated[int, AtLeast(1)] = 16
    longest: Annotated[int, AtLeast(3)] = 50
    highway: Annotated[int, AtLeast(0)] = 2
    width: Annotated[int, AtLeast(2)] = 4096
    projection: Annotated[int, AtLeast(1)] = 512
    layers: Annotated[int, AtLeast(1)] = 2
    cell_clip: Annotated[float, Above(0)] | None = 3.0
    projection_clip: Annotated[float, Above(0)] | None = 3.0
    dropout: Annotated[float, Within(0, 1)] = 0.1
    vocabulary: Annotated[int, AtLeast(1)] = 793_471
    sampled: Annotated[int, AtLeast(1)] | None = 8192
    length: Annotated[int, AtLeast(1)] = 20
    batch_size: Annotated[int, AtLeast(1)] = 128
    epochs: Annotated[int, AtLeast(1)] = 10
    learning_rate: Annotated[float, Above(0)] = 0.2
    accumulator: Annotated[float, AtLeast(0)] = 1.0
    clip: Annotated[float, Above(0)] = 10.0
    held_out: Annotated[float, Within(0, 1, "()")] = 0.01
    patience: Annotated[int, AtLeast(1)] | None = None
    mix: Literal["mean", "learned"] = "mean"
    penalty: Annotated[float, AtLeast(0)] = 0.001
    layer: Annotated[int, AtLeast(0)] | None = None
    stateful: bool = False
    warmup: Annotated[int, AtLeast(0)] = 0
    tokenizer: Literal["treebank", "spaces", "plain", "surfaces", "bigrams"] = "treebank"

    @classmethod
    def small(cls) -> Elmo:
        filters = ((1, 16), (2, 16), (3, 32), (4, 64))
        own = replace(cls(), filters=filters, highway=1, width=256, projection=64, vocabulary=10_000, sampled=None)
        return replace(own, length=35, batch_size=32, epochs=3, held_out=0.02)

    @classmethod
    def tiny(cls) -> Elmo:
        own = replace(cls.small(), filters=((1, 4), (2, 4)), characters=4, longest=10, width=8, projection=4, epochs=2)
        return replace(own, batch_size=2, length=5, held_out=0.2, vocabulary=50)

    def check(self) -> None:
        if self.projection >= self.width:
            raise WrongUse(
                f"{self.name}, projection: expected less than the width {self.width}, found {self.projection}"
            )
        if self.layer is not None and (self.mix == "learned" or self.layer > self.layers):
            found = "a learned mix beside it" if self.mix == "learned" else self.layer
            raise WrongUse(f"{self.name}, layer: expected 0 to {self.layers} and mix mean, found {found}")
        if self.warmup and not self.stateful:
            raise WrongUse(f"{self.name}, warmup: expected stateful beside it, found {self.warmup} without")

    def learn(self, data: Any, start: Any, run: Run) -> Any:
        from umekomi.models.elmo import ElmoEmbedder
        from umekomi.models.words import CharacterReader
        from umekomi.parts.layers.bilm import BiLanguageModel, ElmoNetwork
        from umekomi.parts.learning.bilm import learn_mix
        from umekomi.parts.learning.modules import seed_globals

        if self.mix == "learned" and "label" not in data.column_names:
            raise DataError(f"{self.name}, mix learned: expected labels to learn it by, found column 'text' alone")
        if start is not None and getattr(getattr(start, "network", None), "kind", "") != "elmo":
            raise WrongUse(f"{self.name} goes on from an ELMo model, found {start.name}, a model of kind {start.kind}")
        with seed_globals(run.seed):
            sizes = start.network.model.sizes if start is not None else self.sizes()
            model = BiLanguageModel(**{**sizes, "dropout": self.dropout})
            if start is not None:
                model.load_state_dict(start.network.model.state_dict())
            reader = start.reader if start is not None else CharacterReader.of(self.tokenizer, self.longest)
            network = ElmoNetwork(model, layer=self.layer, stateful=self.stateful, warmup=self.warmup)
            about = {} if start is not None and self.mix == "learned" else self._language(model, reader, data, run)
        embedder = ElmoEmbedder(reader, network, name=self.name, card={"training": about})
        if self.mix == "learned":
            column = data["text"].to_pylist()
            about |= learn_mix(
                network,
                embedder.layer_means(column, run),
                data["label"].to_pylist(),
                run=run.stage("mix"),
                key=content_hash(self.settings()),
                penalty=self.penalty,
                epochs=50,
                learning_rate=0.01,
            )
        return embedder

    def sizes(self) -> dict[str, Any]:
        """The network's, as :class:`~umekomi.parts.layers.bilm.BiLanguageModel` takes them, without the dropout."""
        names = ("characters", "highway", "longest", "width", "projection", "layers", "cell_clip", "projection_clip")
        return {"filters": self.filters, **{name: getattr(self, name) for name in names}}

    def _language(self, model: Any, reader: Any, data: Any, run: Run) -> dict[str, Any]:
        """Train the language models on the texts of ``data``."""
        import torch

        from umekomi.parts.learning.bilm import LanguageHead, pretrain

        corpus = self._corpus(reader, texts(data, self.name))
        head = LanguageHead(model, corpus.targets, self.sampled, self.dropout, self.length)
        _, about = pretrain(
            head,
            corpus,
            run=run.stage("language"),
            key=content_hash(self.settings()),
            epochs=self.epochs,
            batch_size=self.batch_size,
            length=self.length,
            optimiser=partial(torch.optim.Adagrad, lr=self.learning_rate, initial_accumulator_value=self.accumulator),
            clip=self.clip,
            held_out=self.held_out,
            patience=self.patience,
            hint=f"a smaller learning_rate (now {self.learning_rate}) usually mends this",
        )
        return about

    def _corpus(self, reader: Any, lines: list[str]) -> Any:
        import pyarrow as pa

        from umekomi.parts.characters import BEGIN, END, marker_characters
        from umekomi.parts.learning.bilm import Corpus

        words = [row for row in reader.words(lines) if row]
        if not words:
            raise DataError(f"{self.name}: expected texts with words, found none in {len(lines):,}")
        counted = count_tokens(pa.array(words, pa.large_list(pa.large_string())), 1, self.name)
        lengths = np.diff(counted.offsets) + 2
        offsets = np.append(0, np.cumsum(lengths))
        tokens = np.empty(offsets[-1], np.int32)
        inner = np.ones(len(tokens), bool)
        inner[offsets[:-1]] = inner[offsets[1:] - 1] = False
        tokens[inner], tokens[offsets[:-1]], tokens[offsets[1:] - 1] = counted.ids + 2, 0, 1
        marks = [marker_characters(mark, reader.longest) for mark in (BEGIN, END)]
        characters = np.concatenate([np.stack(marks), reader.characters(counted.names)]).astype(np.uint16)
        return Corpus(tokens, offsets, characters, min(self.vocabulary, len(counted.names)) + 3)
