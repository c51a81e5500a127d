"""InferSent: A. Conneau, D. Kiela, H. Schwenk, L. Barrault, A. Bordes, "Supervised learning of universal sentence
representations from natural language inference data" (EMNLP 2017, arXiv 1705.02364).

A sentence encoder learned by telling entailment, neutral and contradiction apart: both sentences are encoded with the
same weights, and a classifier reads [u; v; |u − v|; u · v] (figure 1). Seven encoders (section 3.2); words of given
vectors, which stay as they are, and others left out. SGD at .1, multiplied by .99 each epoch and divided by 5 where the
held-out accuracy does not rise, down to 1e-5 (section 3.3).

Where paper and released code differ, we follow the code: the classifier has no nonlinearity between its layers; the
convolution's vector has 4 · 2 · width numbers; inner attention has three variants. Its maximum runs over the zeros
behind sentences shorter than the longest of the batch (``pooling_padding="zero"``), which its second version mends
(``"masked"``); a vector is then its sentence's alone, and that is our default. Where we differ: the "mila" variant asks
four queries, the code asks its second one three times; the loss is the mean over a batch, which the code means too
(newer versions of torch make it the mean's 64th).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from umekomi.errors import WrongUse
from umekomi.fields import Above, AtLeast, Within
from umekomi.files import content_hash
from umekomi.recipes import WORD_VECTORS, Paper, Recipe
from umekomi.run import Run

ENCODERS: dict[str, dict[str, Any]] = {
    "lstm": {"directions": "forward", "pooling": "last"},
    "gru": {"cell": "gru", "directions": "forward", "pooling": "last"},
    "bigru-last": {"cell": "gru", "pooling": "last"},
    "bilstm-mean": {"pooling": "mean"},
    "bilstm-max": {"pooling": "max"},
    "inner-attention": {},
    "convnet": {},
}
"""What each is of :class:`~umekomi.parts.layers.sentence.RecurrentEncoder`."""


@dataclass(frozen=True)
class InferSent(Recipe):
    """A BiLSTM with max pooling, trained on natural language inference, gives sentence vectors that transfer.

    Learns from labelled pairs (``sentence1``, ``sentence2``, ``label``; any labels), ``start`` is a table of word
    vectors; without one, vectors of words are learned with the rest. ``width`` is the hidden size of each direction;
    ``attention`` the variant of inner attention; ``epochs`` 0 leaves the encoder untrained. ``held_out`` is the part of
    the pairs, by first sentence, that the rate and the best epoch go by.
    """

    name: ClassVar[str] = "infersent"
    paper: ClassVar[Paper] = Paper(
        "Supervised learning of universal sentence representations from natural language inference data",
        "Conneau, Kiela, Schwenk, Barrault & Bordes",
        2017,
        "EMNLP",
        "1705.02364",
    )
    learns: ClassVar[tuple[str, ...]] = ("labelled pairs",)
    begins: ClassVar[str | None] = WORD_VECTORS
    supervised: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"

    encoder: Literal["lstm", "gru", "bigru-last", "bilstm-mean", "bilstm-max", "inner-attention", "convnet"] = (
        "bilstm-max"
    )
    attention: Literal["naacl", "mila", "yang"] = "naacl"
    width: Annotated[int, AtLeast(1)] = 2048
    projected: bool = False
    pooling_padding: Literal["masked", "zero"] = "masked"
    classifier_width: Annotated[int, AtLeast(1)] = 512
    nonlinear: bool = False
    dropout: Annotated[float, Within(0, 1)] = 0.0
    epochs: Annotated[int, AtLeast(0)] = 20
    batch_size: Annotated[int, AtLeast(1)] = 64
    learning_rate: Annotated[float, Above(0)] = 0.1
    decay: Annotated[float, Within(0, 1, "(]")] = 0.99
    divide: Annotated[float, Above(1)] = 5.0
    least_rate: Annotated[float, AtLeast(0)] = 1e-5
    clip: Annotated[float, Above(0)] = 5.0
    held_out: Annotated[float, Within(0, 1, "()")] = 0.02
    tune_words: bool = False
    word_dimensions: Annotated[int, AtLeast(1)] = 300
    min_count: Annotated[int, AtLeast(1)] = 1
    tokenizer: Literal["treebank", "spaces", "plain", "surfaces", "bigrams"] = "treebank"

    @classmethod
    def small(cls) -> InferSent:
        return cls(width=128, classifier_width=256, epochs=8, held_out=0.05, word_dimensions=100)

    @classmethod
    def tiny(cls) -> InferSent:
        return replace(cls.small(), width=4, classifier_width=6, word_dimensions=5, epochs=2, batch_size=8)

    def learn(self, data: Any, start: Any, run: Run) -> Any:
        import torch

        from umekomi.models.sequence import SequenceEmbedder
        from umekomi.models.word_tables import begin_words
        from umekomi.parts.layers.heads import PairClassifier
        from umekomi.parts.layers.sentence import WordNetwork, load_words
        from umekomi.parts.learning.labelled import LabelledRows, cross_entropy, learn_labelled
        from umekomi.parts.learning.modules import seed_globals
        from umekomi.parts.learning.rates import Plateau

        first, second = (data[side].to_pylist() for side in ("sentence1", "sentence2"))
        words = begin_words(
            [*first, *second],
            start,
            self.name,
            dimensions=self.word_dimensions,
            split=self.tokenizer,
            min_count=self.min_count,
            generator=run.generator(),
        )
        rows = LabelledRows.of(
            [words.reader.read(side) for side in (first, second)], data["label"].to_pylist(), self.name
        )
        with seed_globals(run.seed):
            network = WordNetwork(len(words.table), words.table.shape[1], self.build(words.table.shape[1]))
            load_words(network.words, words.table, learned=self.tune_words or not words.given)
            module = PairClassifier(
                network, self.classifier_width, len(rows.names), nonlinear=self.nonlinear, dropout=self.dropout
            )
        _, about = learn_labelled(
            module,
            rows,
            first,
            cross_entropy,
            run=run,
            key=content_hash(self.settings()),
            share=self.held_out,
            batch_size=self.batch_size,
            by_length=self.pooling_padding == "masked",  # random batches have the zeros that the paper's had
            epochs=self.epochs,
            optimiser=partial(torch.optim.SGD, lr=self.learning_rate),
            schedule=Plateau(self.divide, self.decay, self.least_rate),
            clip=self.clip,
            hint=f"a smaller learning_rate (now {self.learning_rate}) usually mends this",
        )
        return SequenceEmbedder(words.reader, network, name=self.name, card={"training": words.about | about})

    def build(self, inputs: int) -> Any:
        """The encoder over word vectors of so many numbers, its weights drawn."""
        from umekomi.parts.layers.sentence import ConvolutionEncoder, RecurrentEncoder

        if self.encoder == "convnet":
            return ConvolutionEncoder(inputs, width=2 * self.width, padding=self.pooling_padding)
        own = {"pooling": self.attention} if self.encoder == "inner-attention" else ENCODERS[self.encoder]
        return RecurrentEncoder(inputs, width=self.width, projected=self.projected, padding=self.pooling_padding, **own)

    def check(self) -> None:
        if self.projected and self.encoder not in ("bilstm-mean", "bilstm-max"):
            raise WrongUse(f"{self.name}, projected: expected bilstm-mean or bilstm-max, found {self.encoder}")
