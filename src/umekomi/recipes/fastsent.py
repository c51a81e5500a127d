"""FastSent: F. Hill, K. Cho, A. Korhonen, "Learning distributed representations of sentences from unlabelled data"
(NAACL 2016, arXiv 1602.03483), section 3.2.

A sentence is the sum of its words' vectors u, learned so that the sum predicts the words of the sentences before and
after it (and with ``autoencode``, FastSent+AE, its own). As in the released code, words are predicted by a hierarchical
softmax, logits beyond ±6 take no step, and the gradient that goes back to the words is divided by the sentence's
length; the rate falls linearly. Where we differ: the gradient of a whole sentence is applied at once, as the paper's
sum says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from umekomi.data.vocabulary import count_tokens, resolve_tokenizer, split_words
from umekomi.errors import DataError
from umekomi.fields import Above, AtLeast
from umekomi.files import content_hash
from umekomi.models.bags import BagEmbedder
from umekomi.models.entity import begin_with
from umekomi.parts.kernels.threads import cores
from umekomi.parts.learning.arrays import curve, learn, order
from umekomi.recipes import OPTIONAL, Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class FastSent(Recipe):
    """A sentence is the sum of its words, learned to predict the words of the sentences around it.

    Learns from ``document`` (lists of sentences, in order). ``threads`` 0 takes every core (Hogwild: not the same bits
    twice); 1 is reproducible.
    """

    name: ClassVar[str] = "fastsent"
    paper: ClassVar[Paper] = Paper(
        "Learning distributed representations of sentences from unlabelled data",
        "Hill, Cho & Korhonen",
        2016,
        "NAACL",
        "1602.03483",
    )
    learns: ClassVar[tuple[str, ...]] = ("documents",)
    begins: ClassVar[str | None] = OPTIONAL

    dimensions: Annotated[int, AtLeast(1)] = 100
    autoencode: bool = False
    epochs: Annotated[int, AtLeast(1)] = 5
    learning_rate: Annotated[float, Above(0)] = 0.025
    last_learning_rate: Annotated[float, AtLeast(0)] = 0.0001
    min_count: Annotated[int, AtLeast(1)] = 10
    tokenizer: str = "auto"
    threads: Annotated[int, AtLeast(0)] = 0

    @classmethod
    def small(cls) -> FastSent:
        return cls(epochs=3, min_count=5)

    @classmethod
    def tiny(cls) -> FastSent:
        return cls(dimensions=8, epochs=2, min_count=1, threads=1)

    def learn(self, data: pa.Table, start: Start, run: Run) -> BagEmbedder:
        from umekomi.parts.kernels.sentences import fastsent, huffman

        documents = [row if isinstance(row, list) else [row] for row in data["document"].to_pylist()]
        sentences = [sentence for document in documents for sentence in document]
        tokenizer = resolve_tokenizer(sentences, self.tokenizer)
        coded = count_tokens(split_words(sentences, tokenizer), self.min_count, self.name)
        if len(coded.names) < 2:
            raise DataError(
                f"{self.name}: expected two words or more that occur {self.min_count} times, found {len(coded.names)}"
            )
        of = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
        if not self.autoencode and not (of[1:] == of[:-1]).any():
            raise DataError(f"{self.name}: expected a document of two sentences or more, found none")
        generator = np.random.default_rng(run.seed & 0xFFFFFFFF)
        words = ((generator.random((len(coded.names), self.dimensions)) - 0.5) / self.dimensions).astype(np.float32)
        begin_with(words, coded.names, start, self.name)
        nodes = np.zeros((len(coded.names) - 1, self.dimensions), np.float32)
        path_offsets, paths, codes = huffman(coded.counts)
        threads = cores(self.threads)
        hot = min(512, len(nodes)) if threads > 1 else 0
        shuffled = np.zeros(0, np.int64)

        def begin(epoch: int) -> None:
            nonlocal shuffled
            # runs of sentences keep their order: neighbours are then in the cache together
            blocks = order(-(-len(sentences) // 64), run.seed, epoch)
            shuffled = (blocks[:, None] * 64 + np.arange(64)).ravel()
            shuffled = shuffled[shuffled < len(sentences)]

        def work(epoch: int, low: int, high: int, thread: int) -> float:
            done = (epoch + low / len(sentences)) / self.epochs
            rate = np.float32(self.learning_rate + (self.last_learning_rate - self.learning_rate) * done)
            loss, _ = fastsent(
                words,
                nodes,
                shuffled[low:high],
                coded.offsets,
                coded.ids,
                of,
                path_offsets,
                paths,
                codes,
                self.autoencode,
                rate,
                hot,
            )
            return loss

        losses = learn(
            {"words": words, "nodes": nodes},
            self.epochs,
            len(sentences),
            work,
            run=run,
            unit="sentences",
            threads=threads,
            begin=begin,
            rows={"words": coded.names},
            hint=f"a smaller learning_rate (now {self.learning_rate}) usually mends this",
            key=content_hash(
                self.settings(), run.seed, coded.names, coded.ids.tobytes(), coded.offsets.tobytes(), of.tobytes()
            ),
            piece=5_000,
        )
        about = {
            "words": len(coded.ids),
            "vocabulary": len(coded.names),
            "loss": curve(losses),
        }
        card = {"training": about, "threads": threads}
        return BagEmbedder(coded.names, words, metric="cosine", tokenizer=tokenizer, name=self.name, card=card)
