"""DictRep in its bag-of-words form: F. Hill, K. Cho, A. Korhonen, Y. Bengio, "Learning to understand phrases by
embedding the dictionary" (TACL 2016, arXiv 1504.00548); a row of Hill, Cho & Korhonen's NAACL 2016 comparison.

A definition's words, summed and sent through one linear map, must come nearer to the (given, fixed) vector of the word
they define than to that of another word, by a margin in cosine. Since all of it is linear, what is learned is a table:
row w is the vector of w sent through the map. With ``embeddings`` the words begin as their given vectors and only the
map is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from umekomi.data.vocabulary import count_tokens, resolve_tokenizer, split_words
from umekomi.errors import DataError, WrongUse
from umekomi.fields import Above, AtLeast
from umekomi.files import content_hash
from umekomi.models.bags import BagEmbedder
from umekomi.models.entity import EntityEmbedder
from umekomi.parts.learning.arrays import curve, learn, order
from umekomi.parts.similarity import normalise
from umekomi.recipes import REQUIRED, Paper, Recipe, Start
from umekomi.run import Run

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class DictRep(Recipe):
    """A definition's words, summed, must point at the word that is defined: dictionaries teach phrases.

    Learns from ``anchor`` (the definition) and ``positive`` (the word); ``start`` is the table of word vectors to point
    at.
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

    dimensions: Annotated[int, AtLeast(1)] = 256
    """Of the words before the map; what comes out has the given table's width."""
    embeddings: bool = False
    margin: Annotated[float, AtLeast(0)] = 0.1
    epochs: Annotated[int, AtLeast(1)] = 10
    learning_rate: Annotated[float, Above(0)] = 0.05
    batch_size: Annotated[int, AtLeast(1)] = 128
    min_count: Annotated[int, AtLeast(1)] = 2
    tokenizer: str = "auto"

    @classmethod
    def small(cls) -> DictRep:
        return cls(epochs=5)

    @classmethod
    def tiny(cls) -> DictRep:
        return cls(dimensions=8, epochs=2, batch_size=4, min_count=1)

    def learn(self, data: pa.Table, start: Start, run: Run) -> BagEmbedder:
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
        tokenizer = resolve_tokenizer(glosses, self.tokenizer)
        coded = count_tokens(
            split_words(glosses, tokenizer), self.min_count, self.name, names=start.names if self.embeddings else None
        )
        bags = csr_array(
            (np.ones(len(coded.ids), np.float32), coded.ids, coded.offsets), shape=(len(known), len(coded.names))
        )
        generator = np.random.default_rng(run.seed & 0xFFFFFFFF)
        width = start.dimension if self.embeddings else self.dimensions
        words = (
            start.vectors.copy()
            if self.embeddings
            else generator.normal(0, 0.1, (len(coded.names), width)).astype(np.float32)
        )
        step = np.eye(width, target.shape[1], dtype=np.float32) + generator.normal(
            0, 0.01, (width, target.shape[1])
        ).astype(np.float32)
        past_words, past_step = np.zeros(len(words), np.float32), np.zeros_like(step)
        shuffled = np.zeros(0, np.int64)

        def begin(epoch: int) -> None:
            nonlocal shuffled
            shuffled = order(len(known), run.seed, epoch)

        def work(epoch: int, low: int, high: int, thread: int) -> float:
            total = 0.0
            others = np.random.default_rng([run.seed & 0xFFFFFFFF, epoch, low])
            for begun in range(low, high, self.batch_size):
                rows = shuffled[begun : min(begun + self.batch_size, high)]
                part = bags[rows]
                summed = part @ words
                out = summed @ step
                length = np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)
                unit = out / length
                right, wrong = target[rows], target[others.integers(0, len(known), len(rows))]
                missed = self.margin - np.einsum("nd,nd->n", unit, right - wrong)
                total += float(np.maximum(missed, 0).sum())
                pull = np.where(missed[:, None] > 0, wrong - right, np.float32(0)) / np.float32(len(rows))
                pull = (pull - np.einsum("nd,nd->n", pull, unit)[:, None] * unit) / length
                by_step = summed.T @ pull
                if not self.embeddings:
                    by_words = (part.T @ (pull @ step.T)).astype(np.float32)
                    touched = np.unique(part.indices)
                    past_words[touched] += (by_words[touched] ** 2).mean(1)
                    words[touched] -= (
                        self.learning_rate * by_words[touched] / np.sqrt(past_words[touched] + 1e-8)[:, None]
                    )
                np.add(past_step, by_step**2, out=past_step)
                np.subtract(step, self.learning_rate * by_step / np.sqrt(past_step + 1e-8), out=step)
            return total

        losses = learn(
            {"words": words, "map": step, "past_words": past_words, "past_map": past_step},
            self.epochs,
            len(known),
            work,
            run=run,
            unit="definitions",
            threads=1,
            begin=begin,
            rows={"words": coded.names},
            key=content_hash(self.settings(), run.seed, glosses, start.names),
            piece=10_000,
        )
        about = {
            "definitions": len(known),
            "of words not in the table": len(defined) - len(known),
            "loss": curve(losses),
        }
        out = words @ step
        card = {"training": about}
        return BagEmbedder(coded.names, out, metric="cosine", tokenizer=tokenizer, name=self.name, card=card)
