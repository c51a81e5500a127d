"""Structured self-attention: Z. Lin, M. Feng, C. dos Santos, M. Yu, B. Xiang, B. Zhou, Y. Bengio, "A structured
self-attentive sentence embedding" (ICLR 2017, arXiv 1703.03130).

A sentence is a matrix M = A H: H the states of a BiLSTM, A = softmax(W2 tanh(W1 Hᵀ)) over words, one row for each of r
hops (eq. 6 and 7). ‖A Aᵀ − I‖²_F is added to the loss (eq. 8), so that hops look at different words. Texts are
classified by one hidden layer over M, or by the pruned one of appendix A; pairs by gates between the two matrices
(appendix B) under the same. Words are learned on from their start.

There is no official code. The penalty is the squared norm, as printed (a public re-implementation has its root), and
its mean over the batch. Values of the text sets (Age, Yelp) are the defaults; ``snli()`` has those of SNLI. The sizes
of the pruned layer are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from umekomi.fields import Above, AtLeast, Within
from umekomi.files import content_hash
from umekomi.recipes import WORD_VECTORS, Paper, Recipe
from umekomi.run import Run


@dataclass(frozen=True)
class SelfAttentive(Recipe):
    """Several attentions over a BiLSTM's states, kept apart by a penalty, give a sentence's matrix of vectors.

    Learns from labelled texts or labelled pairs; ``start`` is a table of word vectors, which are tuned. The dense
    vector is the matrix row behind row, ``hops`` · 2 · ``width`` numbers; ``output="multi"`` gives its rows.
    ``umekomi inspect`` draws what each hop looks at.
    """

    name: ClassVar[str] = "self-attentive"
    paper: ClassVar[Paper] = Paper(
        "A structured self-attentive sentence embedding",
        "Lin, Feng, dos Santos, Yu, Xiang, Zhou & Bengio",
        2017,
        "ICLR",
        "1703.03130",
    )
    learns: ClassVar[tuple[str, ...]] = ("labelled texts", "labelled pairs")
    begins: ClassVar[str | None] = WORD_VECTORS
    supervised: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"
    presets: ClassVar[tuple[str, ...]] = ("snli",)

    width: Annotated[int, AtLeast(1)] = 300
    attention_width: Annotated[int, AtLeast(1)] = 350
    hops: Annotated[int, AtLeast(1)] = 30
    penalty: Annotated[float, AtLeast(0)] = 1.0
    head: Literal["dense", "pruned"] = "dense"
    classifier_width: Annotated[int, AtLeast(1)] = 2000
    units_by_row: Annotated[int, AtLeast(1)] = 150
    units_by_column: Annotated[int, AtLeast(1)] = 10
    dropout: Annotated[float, Within(0, 1)] = 0.5
    optimiser: Literal["sgd", "adagrad", "adam"] = "sgd"
    learning_rate: Annotated[float, Above(0)] = 0.06
    weight_decay: Annotated[float, AtLeast(0)] = 1e-4
    clip: Annotated[float, Above(0)] = 0.5
    epochs: Annotated[int, AtLeast(0)] = 20
    patience: Annotated[int, AtLeast(1)] = 3
    batch_size: Annotated[int, AtLeast(1)] = 16
    held_out: Annotated[float, Within(0, 1, "()")] = 0.05
    tune_words: bool = True
    word_dimensions: Annotated[int, AtLeast(1)] = 100
    min_count: Annotated[int, AtLeast(1)] = 1
    tokenizer: Literal["treebank", "spaces", "plain", "surfaces", "bigrams"] = "treebank"

    @classmethod
    def snli(cls) -> SelfAttentive:
        """The paper's values for pairs."""
        return cls(penalty=0.3, classifier_width=4000, optimiser="adagrad", learning_rate=0.01, batch_size=50)

    @classmethod
    def small(cls) -> SelfAttentive:
        small = cls(width=64, attention_width=64, hops=8, classifier_width=128, units_by_row=16, units_by_column=2)
        return replace(small, optimiser="adam", learning_rate=1e-3, epochs=6, batch_size=32, dropout=0.3)

    @classmethod
    def tiny(cls) -> SelfAttentive:
        tiny = replace(cls.small(), width=4, attention_width=3, hops=2, classifier_width=6, word_dimensions=5)
        return replace(tiny, epochs=2, batch_size=8)

    def learn(self, data: Any, start: Any, run: Run) -> Any:
        import torch

        from umekomi.models.sequence import SequenceEmbedder
        from umekomi.models.word_tables import begin_words, seen_words, with_all_words
        from umekomi.parts.layers.heads import SelfAttentiveClassifier
        from umekomi.parts.layers.sentence import RecurrentEncoder, WordNetwork, load_words
        from umekomi.parts.learning.labelled import LabelledRows, cross_entropy, learn_labelled
        from umekomi.parts.learning.modules import seed_globals

        columns = ("text",) if "text" in data.column_names else ("sentence1", "sentence2")
        sides = [data[column].to_pylist() for column in columns]
        words = begin_words(
            [text for side in sides for text in side],
            start,
            self.name,
            dimensions=self.word_dimensions,
            split=self.tokenizer,
            min_count=self.min_count,
            begin="",
            end="",
            generator=run.generator(),
        )
        read = [words.reader.read(side) for side in sides]
        ids, seen = seen_words([row for side in read for row in side], len(words.table))
        count = len(sides[0])
        rows = LabelledRows.of([ids[:count], ids[count:]][: len(sides)], data["label"].to_pylist(), self.name)
        inputs = words.table.shape[1]
        with seed_globals(run.seed):
            encoder = RecurrentEncoder(
                inputs,
                width=self.width,
                pooling="self-attention",
                hops=self.hops,
                attention_width=self.attention_width,
            )
            network = WordNetwork(len(seen), inputs, encoder)
            load_words(network.words, words.table[seen], learned=self.tune_words or not words.given)
            module = SelfAttentiveClassifier(
                network,
                (self.hops, 2 * self.width),
                len(rows.names),
                pairs=len(sides) == 2,
                hidden=self.classifier_width if self.head == "dense" else (self.units_by_row, self.units_by_column),
                dropout=self.dropout,
                penalty=self.penalty,
            )
        kinds = {"sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad, "adam": torch.optim.Adam}
        _, about = learn_labelled(
            module,
            rows,
            sides[0],
            cross_entropy,
            run=run,
            key=content_hash(self.settings()),
            share=self.held_out,
            batch_size=self.batch_size,
            epochs=self.epochs,
            optimiser=partial(kinds[self.optimiser], lr=self.learning_rate, weight_decay=self.weight_decay),
            clip=self.clip,
            patience=self.patience,
            hint=f"a smaller learning_rate (now {self.learning_rate}) usually mends this",
        )
        with_all_words(network, words.table, seen)
        return SequenceEmbedder(words.reader, network, name=self.name, card={"training": words.about | about})
