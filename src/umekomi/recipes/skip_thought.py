"""Skip-thought vectors: R. Kiros, Y. Zhu, R. Salakhutdinov, R. S. Zemel, A. Torralba, R. Urtasun, S. Fidler,
"Skip-thought vectors" (NIPS 2015, arXiv 1506.06726).

A GRU reads a sentence; from its last state one decoder writes the sentence before, another the one behind it (equations
5 to 10); both share the table of words and the softmax. ``uni`` reads forwards, ``bi`` both ways at half the width
each, ``combined`` is both models' vectors side by side, each of length one. Words that were never read get vectors by
the linear map that takes given word vectors (``start``) to the learned ones (2.2).

Where paper and released training code (ryankiros/skip-thoughts) differ: the paper's decoders look at the sentence's
vector at every step, the code's begin from it and never look again; here they begin from it and look (``every_step``).
Sizes, batches, the longest sentence and the bound of the gradient's norm (5, where the paper has 10) are the code's.
Where we differ: the first and the last sentence of a document have one neighbour, and learn from it; a sentence's end
is read when it is encoded, as it was while learning, where the released encoder leaves it out unless asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from umekomi.data.shapes import documents
from umekomi.errors import DataError, WrongUse
from umekomi.fields import Above, AtLeast, Within
from umekomi.files import content_hash
from umekomi.progress import say
from umekomi.recipes import WORD_VECTORS, Paper, Recipe
from umekomi.run import Run


@dataclass(frozen=True)
class SkipThought(Recipe):
    """A sentence is what the sentences around it can be written from.

    Learns from documents, lists of sentences in their order (a text in their place is split). ``start`` is a
    table of word vectors that the vocabulary is expanded by. ``dimensions`` are of each model, of which ``combined``
    has two. ``softmax`` is over all words (``"full"``), over ``sampled`` drawn ones, or as their number asks for;
    ``readout`` puts a layer of so many numbers before it, ``tied`` gives it the table of words. Sentences of more than
    ``longest`` words are neither read nor written, documents of one sentence have no neighbours: both are counted.
    """

    name: ClassVar[str] = "skip-thought"
    paper: ClassVar[Paper] = Paper(
        "Skip-thought vectors",
        "Kiros, Zhu, Salakhutdinov, Zemel, Torralba, Urtasun & Fidler",
        2015,
        "NIPS",
        "1506.06726",
    )
    learns: ClassVar[tuple[str, ...]] = ("documents",)
    begins: ClassVar[str | None] = WORD_VECTORS
    extra: ClassVar[str] = "neural"

    model: Literal["uni", "bi", "combined"] = "combined"
    dimensions: Annotated[int, AtLeast(2)] = 2400
    word_dimensions: Annotated[int, AtLeast(1)] = 620
    vocabulary: Annotated[int, AtLeast(1)] = 20_000
    every_step: bool = True
    readout: Annotated[int, AtLeast(1)] | None = None
    tied: bool = False
    softmax: Literal["auto", "full", "sampled"] = "auto"
    sampled: Annotated[int, AtLeast(1)] = 8192
    learning_rate: Annotated[float, Above(0)] = 1e-3
    clip: Annotated[float, Above(0)] = 5.0
    batch_size: Annotated[int, AtLeast(1)] = 64
    epochs: Annotated[int, AtLeast(0)] = 5
    patience: Annotated[int, AtLeast(1)] | None = None
    held_out: Annotated[float, Within(0, 1, "()")] = 0.01
    longest: Annotated[int, AtLeast(1)] = 30
    min_count: Annotated[int, AtLeast(1)] = 1
    tokenizer: Literal["treebank", "spaces", "plain", "surfaces", "bigrams"] = "treebank"

    @classmethod
    def small(cls) -> SkipThought:
        own = cls(model="uni", dimensions=300, word_dimensions=100, vocabulary=10_000, readout=100, tied=True)
        return replace(own, learning_rate=2e-3, epochs=1)

    @classmethod
    def tiny(cls) -> SkipThought:
        own = replace(cls.small(), model="combined", dimensions=6, word_dimensions=5, readout=5, epochs=2)
        return replace(own, batch_size=4, held_out=0.1)

    def check(self) -> None:
        if self.model != "uni" and self.dimensions % 2:
            raise WrongUse(
                f"{self.name}, dimensions: expected an even number, half of it for each way, found {self.dimensions}"
            )
        if self.tied and (self.readout or self.dimensions) != self.word_dimensions:
            raise WrongUse(
                f"{self.name}, tied: expected readout as wide as word_dimensions ({self.word_dimensions}), found "
                f"{self.readout or self.dimensions}"
            )

    def learn(self, data: Any, start: Any, run: Run) -> Any:
        from umekomi.models.entity import EntityEmbedder
        from umekomi.models.sequence import SequenceEmbedder
        from umekomi.models.word_tables import begin_words, expand_words, shared_words
        from umekomi.models.words import BEFORE, WordReader, word_tokenizer
        from umekomi.parts.layers.sentence import CombinedNetwork
        from umekomi.parts.learning.generating import Ragged

        if start is not None and not isinstance(start, EntityEmbedder):
            raise WrongUse(
                f"{self.name}: start must be a table of word vectors, found {start.name} of kind {start.kind}"
            )
        whole = documents(data, self.name)
        sentences = [sentence for document in whole for sentence in document]
        words = begin_words(
            sentences,
            None,
            self.name,
            dimensions=self.word_dimensions,
            split=self.tokenizer,
            min_count=self.min_count,
            vocabulary=self.vocabulary,
            begin="",
            skips_unknown=False,
            generator=run.generator(),
        )
        rows = Ragged.of(words.reader.read(sentences))
        triples, counted = self._triples(whole, rows.lengths)
        names = words.reader.names(np.arange(len(words.table)))
        if start is not None:
            shared_words(names, start, self.name)  # an error now, not behind the training
        networks, about = [], words.about | counted | {"words foretold": len(names)}
        for kind in ("uni", "bi") if self.model == "combined" else (self.model,):
            network, told = self._learn_one(kind, words.table, rows, triples, run.stage(kind))
            networks.append(network)
            about[kind] = told
        reader = words.reader
        if start is not None:
            import torch

            for network in networks:
                table = network.words.weight.detach().cpu().numpy()
                more, expanded, shared = expand_words(names, table, start, self.name)
                network.words = torch.nn.Embedding(len(more), expanded.shape[1], _weight=torch.from_numpy(expanded))
            about |= {"words added": len(more) - len(names), "words shared": shared, "expanded by": start.name}
            larger = word_tokenizer(more, self.tokenizer, lowercase=True, end="</s>")
            before = self.tokenizer if self.tokenizer in BEFORE else ""
            reader = WordReader(larger, skips_unknown=False, before=before)
        whole_network = CombinedNetwork(networks) if len(networks) > 1 else networks[0]
        return SequenceEmbedder(reader, whole_network, name=self.name, card={"training": about})

    def _triples(self, whole: list[list[str]], lengths: Any) -> tuple[Any, dict[str, int]]:
        """(sentence, the one before, the one behind, -1 where there is none; what was left out)."""
        of = np.repeat(np.arange(len(whole)), [len(document) for document in whole])
        places = np.arange(len(of))
        fits = (lengths > 1) & (lengths <= self.longest + 1)
        before = np.where(np.append(False, (of[1:] == of[:-1]) & fits[:-1]), places - 1, -1)
        behind = np.where(np.append((of[1:] == of[:-1]) & fits[1:], False), places + 1, -1)
        triples = np.stack([places, before, behind], 1)[fits & ((before >= 0) | (behind >= 0))]
        alone = sum(len(document) == 1 for document in whole)
        if alone:
            say(f"note: {self.name}: {alone:,} of {len(whole):,} documents have one sentence, which has no neighbour")
        if len(triples) < 2:
            raise DataError(
                f"{self.name}: expected documents with sentences side by side of 1 to {self.longest} words, found "
                f"{len(triples)} such sentences in {len(whole)} documents"
            )
        return triples, {"documents of one sentence": alone, "left out": len(of) - len(triples)}

    def _learn_one(self, kind: str, table: Any, rows: Any, triples: Any, run: Run) -> tuple[Any, dict[str, Any]]:
        from umekomi.parts.layers.decoder import Decoder
        from umekomi.parts.layers.sentence import RecurrentEncoder, WordNetwork, load_words
        from umekomi.parts.layers.softmax import sampled_of
        from umekomi.parts.learning.generating import EncoderDecoder, TextRows, adam, learn_generating
        from umekomi.parts.learning.modules import seed_globals

        with seed_globals(run.seed, kind == "bi"):
            encoder = RecurrentEncoder(
                self.word_dimensions,
                width=self.dimensions // (2 if kind == "bi" else 1),
                cell="gru",
                directions="both" if kind == "bi" else "forward",
                pooling="last",
            )
            network = WordNetwork(len(table), self.word_dimensions, encoder)
            load_words(network.words, table.copy())
            decoders: list[Decoder] = []
            for _ in range(2):
                decoders.append(
                    Decoder(
                        network.words,
                        self.dimensions,
                        self.dimensions,
                        begin="same",
                        every_step=self.every_step,
                        readout=self.readout,
                        tied=self.tied,
                        sampled=sampled_of(self.softmax, len(table), self.sampled),
                        softmax=decoders[0].softmax if decoders else None,
                    )
                )
            module = EncoderDecoder(network, decoders)
        _, about = learn_generating(
            module,
            TextRows(rows, rows, triples),
            run=run,
            key=content_hash(self.settings()),
            held_out=self.held_out,
            batch_size=self.batch_size,
            epochs=self.epochs,
            optimiser=adam(self.learning_rate),
            clip=self.clip,
            patience=self.patience,
            hint=f"a smaller learning_rate (now {self.learning_rate}) usually mends this",
        )
        return network, about
