"""The hierarchical autoencoder: J. Li, M.-T. Luong, D. Jurafsky, "A hierarchical neural autoencoder for paragraphs and
documents" (ACL 2015, arXiv 1506.01057).

A document is read into one vector and written again from it. ``standard``: one LSTM reads all its words, from the last
to the first, another writes them. ``hierarchical``: an LSTM reads the words of each sentence, and one the sentences'
last states, from the last sentence to the first; on the other side an LSTM over sentences hands its state to one over
words, which writes a sentence and hands back where it came to. ``attention``: the LSTM over sentences also looks, with
weights softmax(Uᵀ tanh(W1 h + W2 e_i)), at what the sentences that were read gave.

Where paper and released code (jiweil/Hierarchical-Neural-Autoencoder) differ we follow the code: the gradient's norm is
bounded at 1; the mark of the document's end stands in the place of its last sentence's. Both sides share one table of
words; the softmax has its own. Where we differ: the bound is there from the first step, where the code sets it at the
first number that is not finite; LSTM have biases; the mark of a sentence's end is read, too, as the paper says; and the
standard form has the marks of sentences in its text, so that all three know the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from umekomi.data.shapes import documents
from umekomi.errors import DataError
from umekomi.fields import Above, AtLeast, Within
from umekomi.files import content_hash
from umekomi.recipes import WORD_VECTORS, Paper, Recipe
from umekomi.run import Run


@dataclass(frozen=True)
class HierarchicalAutoencoder(Recipe):
    """A document is one vector that it can be written again from, sentence by sentence and word by word.

    Learns from documents (lists of sentences), or texts, which are split into sentences. The model gives documents'
    vectors, and ``reconstruct(texts)`` writes them again. ``start`` is a table of word vectors to begin from.
    Documents of more than ``longest`` words are left out, and counted. ``softmax`` is over all words (``"full"``), over
    ``sampled`` drawn ones, or as their number asks for.
    """

    name: ClassVar[str] = "hierarchical-autoencoder"
    paper: ClassVar[Paper] = Paper(
        "A hierarchical neural autoencoder for paragraphs and documents",
        "Li, Luong & Jurafsky",
        2015,
        "ACL",
        "1506.01057",
    )
    learns: ClassVar[tuple[str, ...]] = ("documents", "texts")
    repeats: ClassVar[bool] = True
    begins: ClassVar[str | None] = WORD_VECTORS
    extra: ClassVar[str] = "neural"

    form: Literal["standard", "hierarchical", "attention"] = "attention"
    width: Annotated[int, AtLeast(1)] = 1000
    layers: Annotated[int, Within(1, 64, "[]")] = 4
    word_dimensions: Annotated[int, AtLeast(1)] = 1000
    vocabulary: Annotated[int, AtLeast(1)] = 25_000
    reverse: bool = True
    softmax: Literal["auto", "full", "sampled"] = "auto"
    sampled: Annotated[int, AtLeast(1)] = 8192
    dropout: Annotated[float, Within(0, 1)] = 0.0
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: Annotated[float, Above(0)] = 0.1
    clip: Annotated[float, Above(0)] = 1.0
    batch_size: Annotated[int, AtLeast(1)] = 16
    epochs: Annotated[int, AtLeast(0)] = 7
    patience: Annotated[int, AtLeast(1)] | None = None
    held_out: Annotated[float, Within(0, 1, "()")] = 0.02
    longest: Annotated[int, AtLeast(1)] = 250
    min_count: Annotated[int, AtLeast(1)] = 1
    tokenizer: Literal["treebank", "spaces", "plain", "surfaces", "bigrams"] = "treebank"

    @classmethod
    def small(cls) -> HierarchicalAutoencoder:
        own = cls(width=256, layers=1, word_dimensions=128, vocabulary=5000, optimiser="adam", learning_rate=2e-3)
        return replace(own, clip=5.0, batch_size=32, epochs=10)

    @classmethod
    def tiny(cls) -> HierarchicalAutoencoder:
        return replace(cls.small(), width=6, word_dimensions=5, epochs=2, batch_size=2, held_out=0.1)

    def learn(self, data: Any, start: Any, run: Run) -> Any:
        from umekomi.models.autoencoder import AutoencoderEmbedder, DocumentReader
        from umekomi.models.word_tables import begin_words
        from umekomi.parts.layers.documents import SENTENCE_END, DocumentAutoencoder
        from umekomi.parts.layers.sentence import load_words
        from umekomi.parts.layers.softmax import sampled_of
        from umekomi.parts.learning.generating import Ragged, adam, learn_documents
        from umekomi.parts.learning.modules import seed_globals

        whole = documents(data, self.name)
        words = begin_words(
            [sentence for document in whole for sentence in document],
            start,
            self.name,
            dimensions=self.word_dimensions,
            split=self.tokenizer,
            min_count=self.min_count,
            vocabulary=self.vocabulary,
            begin="",
            skips_unknown=False,
            generator=run.generator(),
        )
        reader = DocumentReader(words.reader.tokenizer, skips_unknown=False, before=words.reader.before)
        rows = Ragged.of(reader.read_documents(whole))
        marks = rows.count(SENTENCE_END)
        kept = np.flatnonzero((rows.lengths > marks) & (rows.lengths - marks <= self.longest))
        if len(kept) < 2:
            raise DataError(
                f"{self.name}: expected two documents or more of 1 to {self.longest} words, found {len(kept)} among "
                f"{len(whole)}"
            )
        inputs = words.table.shape[1]
        with seed_globals(run.seed):
            network = DocumentAutoencoder(
                len(words.table) + 1,
                inputs,
                form=self.form,
                width=self.width,
                layers=self.layers,
                reverse=self.reverse,
                sampled=sampled_of(self.softmax, len(words.table) + 1, self.sampled),
                dropout=self.dropout,
            )
            if words.given:
                end = network.words.weight.detach()[-1:].numpy()
                load_words(network.words, np.concatenate([words.table, end]))
        _, about = learn_documents(
            network,
            rows.take(kept),
            run=run,
            key=content_hash(self.settings()),
            held_out=self.held_out,
            batch_size=self.batch_size,
            epochs=self.epochs,
            optimiser=adam(self.learning_rate, self.optimiser),
            clip=self.clip,
            patience=self.patience,
            hint=f"a smaller learning_rate (now {self.learning_rate}) usually mends this",
        )
        about |= {"left out": len(whole) - len(kept), "parameters": sum(p.numel() for p in network.parameters())}
        return AutoencoderEmbedder(reader, network, name=self.name, card={"training": words.about | about})
