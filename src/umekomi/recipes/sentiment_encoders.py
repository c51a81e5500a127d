"""Sentiment encoders: J. Hong, M. Fang, "Sentiment analysis with deeply learned distributed representations of variable
length texts" (Stanford CS224d report, 2015), which compares paragraph vectors, recurrent and recursive networks; with
the convolution of Y. Kim, "Convolutional neural networks for sentence classification" (EMNLP 2014, arXiv 1408.5882).

What a sentence becomes: ``paragraphs``, gensim's paragraph vectors (Le & Mikolov 2014) under logistic regression or a
two-layer network; ``lstm``, the last state or the mean of states; ``cnn``, Kim's four variants; ``rnn`` (Socher+ 2011),
``rntn`` (Socher+ 2013), ``tree-lstm`` (Tai+ 2015) and ``deep-rnn`` (Irsoy & Cardie 2014) over parsed trees.

Where paper and code differ, and we: Kim's text pads every sentence to one length, so that windows beyond its end count;
here a vector depends on its own words. His two channels share their filters, so that the second one is a table added to
the first: what is saved is their sum. The report's settings of paragraph vectors cannot be recovered (its readers come
to about 90 % on IMDB where it says 94.5 %); those here are Le & Mikolov's. Many readings trained paragraph vectors on
the test texts, too; here that takes ``transductive``, and the card says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from umekomi.data.trees import Tree, parse_tree
from umekomi.data.vocabulary import split_words
from umekomi.errors import DataError, WrongUse
from umekomi.fields import Above, AtLeast, Within
from umekomi.files import content_hash
from umekomi.progress import say
from umekomi.recipes import WORD_VECTORS, Paper, Recipe
from umekomi.run import Run

if TYPE_CHECKING:
    from umekomi.models.paragraphs import ParagraphEmbedder, ParagraphTable

RECURSIVE = ("rnn", "rntn", "tree-lstm", "deep-rnn")
PIECE = 2000
"""Texts that gensim goes over between two looks at the clock and the keyboard."""
MIDDLE = "2"
"""Of the treebank's five labels, the one that is neither."""


@dataclass(frozen=True)
class SentimentEncoders(Recipe):
    """What a sentence says of its subject, read by a convolution, an LSTM, a recursive network or paragraph vectors.

    ``variant`` is Kim's: ``"rand"`` draws the word vectors, the others need ``start``, a table of word vectors, which
    stays (``"static"``), is learned on (``"nonstatic"``), or both, one beside the other (``"multichannel"``). It is how
    the other networks treat ``start`` too. ``binary``: of trees labelled 0 to 4 those below and above the middle, the
    middle left out. ``phrases``: a network of words learns from every phrase of a tree.

    Several sets by name: those with labels are learned from; of the others, texts, paragraph vectors learn their words
    too. One named ``test`` is an error unless ``transductive``. ``classified``: their classifier learns from vectors
    ``inferred`` of the labelled texts, as those of a new text will be, or, as Le & Mikolov's, from those ``learned``
    with the words, whose lengths are others.
    """

    name: ClassVar[str] = "sentiment-encoders"
    paper: ClassVar[Paper] = Paper(
        "Sentiment analysis with deeply learned distributed representations of variable length texts",
        "Hong & Fang",
        2015,
        "Stanford CS224d report",
    )
    learns: ClassVar[tuple[str, ...]] = ("labelled texts", "trees", "texts")
    repeats: ClassVar[bool] = True
    begins: ClassVar[str | None] = WORD_VECTORS
    supervised: ClassVar[bool] = True
    takes_sets: ClassVar[bool] = True
    extra: ClassVar[str] = "neural"
    presets: ClassVar[tuple[str, ...]] = ("lstm", "tree_lstm", "rntn", "paragraph_vectors")

    encoder: Literal["cnn", "lstm", "paragraphs", "rnn", "rntn", "tree-lstm", "deep-rnn"] = "cnn"
    variant: Literal["rand", "static", "nonstatic", "multichannel"] = "rand"
    widths: tuple[int, ...] = (3, 4, 5)
    maps: Annotated[int, AtLeast(1)] = 100
    readout: Literal["last", "mean"] = "mean"
    width: Annotated[int, AtLeast(1)] = 150
    layers: Annotated[int, Within(1, 64, "[]")] = 1
    dropout: Annotated[float, Within(0, 1)] = 0.5
    row_norm: Annotated[float, AtLeast(0)] = 3.0
    optimiser: Literal["adadelta", "adagrad", "adam"] = "adadelta"
    learning_rate: Annotated[float, Above(0)] = 1.0
    weight_decay: Annotated[float, AtLeast(0)] = 0.0
    batch_size: Annotated[int, AtLeast(1)] = 50
    epochs: Annotated[int, AtLeast(1)] = 25
    patience: Annotated[int, AtLeast(0)] = 0
    held_out: Annotated[float, Within(0, 1, "()")] = 0.1
    word_dimensions: Annotated[int, AtLeast(1)] = 300
    min_count: Annotated[int, AtLeast(1)] = 1
    tokenizer: Literal["treebank", "spaces", "plain", "surfaces", "bigrams"] = "treebank"
    binary: bool = False
    phrases: bool = False
    paragraphs: Literal["dm", "dbow", "both"] = "both"
    dimensions: Annotated[int, AtLeast(1)] = 400
    window: Annotated[int, AtLeast(1)] = 10
    negative: Annotated[int, AtLeast(1)] = 5
    sample: Annotated[float, AtLeast(0)] = 1e-4
    infer_epochs: Annotated[int, AtLeast(1)] = 20
    classifier: Literal["logistic", "mlp"] = "logistic"
    classified: Literal["inferred", "learned"] = "inferred"
    hidden: Annotated[int, AtLeast(1)] = 100
    transductive: bool = False

    @classmethod
    def lstm(cls) -> SentimentEncoders:
        """An LSTM whose mean of states is read, by Adagrad."""
        return cls(encoder="lstm", optimiser="adagrad", learning_rate=0.05, batch_size=25, row_norm=0.0)

    @classmethod
    def tree_lstm(cls) -> SentimentEncoders:
        """The constituency Tree-LSTM with Tai, Socher & Manning's settings (2015, section 6.3)."""
        return replace(cls.lstm(), encoder="tree-lstm", weight_decay=1e-4, min_count=1)

    @classmethod
    def rntn(cls) -> SentimentEncoders:
        """The tensor network with the settings of its authors' program: Adagrad's first steps are as long as the rate,
        and at twice theirs the tensor's sums are so large that tanh no longer moves."""
        return replace(cls.tree_lstm(), encoder="rntn", width=25, batch_size=27, learning_rate=0.01)

    @classmethod
    def paragraph_vectors(cls) -> SentimentEncoders:
        """Both paragraph vectors of 400 numbers under a network of two layers."""
        return cls(encoder="paragraphs", classifier="mlp", epochs=20, tokenizer="plain", min_count=2)

    @classmethod
    def small(cls) -> SentimentEncoders:
        return cls(maps=50, epochs=8, word_dimensions=50, patience=3)

    @classmethod
    def tiny(cls) -> SentimentEncoders:
        return cls(maps=4, width=4, word_dimensions=5, epochs=2, batch_size=8, widths=(1, 2), held_out=0.2)

    def check(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise WrongUse(f"{self.name}, widths: expected windows of 1 word or more, found {self.widths}")
        if self.layers > 1 and self.encoder not in ("deep-rnn", "lstm"):
            raise WrongUse(
                f"{self.name}, layers: expected deep-rnn or lstm where there are several, found {self.encoder}"
            )
        if self.variant == "multichannel" and self.encoder != "cnn":
            raise WrongUse(f"{self.name}, variant: expected cnn where it is multichannel, found {self.encoder}")

    def learn(self, data: Mapping[str, Any], start: Any, run: Run) -> Any:
        if "test" in data and not self.transductive:
            raise WrongUse(
                f"{self.name}: expected no set named 'test' to learn from, found one; transductive=True allows it, and "
                "the card then says so"
            )
        if self.encoder != "paragraphs" and self.variant != "rand" and start is None:
            raise WrongUse(f"{self.name}, variant {self.variant}: needs start: a table of word vectors")
        if self.encoder in RECURSIVE:
            return self._learn_trees(data, start, run)
        texts, labels = self._labelled(data)
        if self.encoder == "paragraphs":
            if start is not None:
                raise WrongUse(f"{self.name}: paragraph vectors begin from nothing, found start {start.name}")
            return self._learn_paragraphs(texts, labels, self._unlabelled(data), run)
        return self._learn_words(texts, labels, start, run)

    # --- what there is to learn from ----------------------------------------------------------------------------------

    def _labelled(self, data: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Texts and labels of all sets that have any, but ``test``'s."""
        texts: list[str] = []
        labels: list[str] = []
        for name, table in data.items():
            if name == "test":
                continue
            if "label" in table.column_names:
                texts += table["text"].to_pylist()
                labels += [str(label) for label in table["label"].to_pylist()]
            elif "tree" in table.column_names:
                for tree in self._trees(name, table):
                    for text, label in _phrases(tree) if self.phrases else [(tree.text, tree.labels[-1])]:
                        if (learned := self._label(label)) is not None:
                            texts.append(text)
                            labels.append(learned)
        if not texts:
            raise DataError(f"{self.name}: expected texts with labels, or trees; found none in {', '.join(data)}")
        if self.phrases:  # each once, with the label of its first place
            first = dict(reversed(list(zip(texts, labels, strict=True))))
            texts, labels = list(first), list(first.values())
        return texts, labels

    def _unlabelled(self, data: Mapping[str, Any]) -> list[str]:
        out: list[str] = []
        for name, table in data.items():
            if "tree" in table.column_names:
                out += [tree.text for tree in self._trees(name, table)] if name == "test" else []
            elif "label" not in table.column_names or name == "test":
                out += table["text"].to_pylist()
        return out

    def _trees(self, name: str, table: Any) -> list[Tree]:
        return [parse_tree(line, name, number) for number, line in enumerate(table["tree"].to_pylist(), 1)]

    def _label(self, label: str) -> str | None:
        """The label as it is learned; None: left out."""
        if not self.binary:
            return label
        if not (len(label) == 1 and label in "01234"):
            raise DataError(f"{self.name}, binary: expected labels 0 to 4, found {label!r}")
        return None if label == MIDDLE else str(int(label > MIDDLE))

    # --- networks -----------------------------------------------------------------------------------------------------

    def _optimiser(self) -> Any:
        import torch

        if self.optimiser == "adadelta":
            make: Any = partial(torch.optim.Adadelta, rho=0.95, eps=1e-6)
        else:
            make = torch.optim.Adagrad if self.optimiser == "adagrad" else torch.optim.Adam
        return partial(make, lr=self.learning_rate, weight_decay=self.weight_decay)

    def _begin(self, texts: Sequence[str], start: Any, run: Run, tokenizer: str) -> Any:
        from umekomi.models.word_tables import begin_words

        return begin_words(
            texts,
            None if self.variant == "rand" else start,
            self.name,
            dimensions=self.word_dimensions,
            split=tokenizer,
            min_count=self.min_count,
            begin="",
            end="",
            skips_unknown=self.encoder not in RECURSIVE,
            generator=run.generator(),
        )

    def _learn_words(self, texts: list[str], labels: list[str], start: Any, run: Run) -> Any:
        import torch

        from umekomi.models.labelled import LabelledWords
        from umekomi.models.sequence import SequenceEmbedder
        from umekomi.models.word_tables import seen_words, with_all_words
        from umekomi.parts.layers.kim import KimEncoder, SentenceClassifier, limit_rows
        from umekomi.parts.layers.sentence import RecurrentEncoder, load_words
        from umekomi.parts.learning.labelled import LabelledRows, cross_entropy, learn_labelled
        from umekomi.parts.learning.modules import seed_globals

        words = self._begin(texts, start, run, self.tokenizer)
        ids, seen = seen_words(words.reader.read(texts), len(words.table))
        rows = LabelledRows.of([ids], labels, self.name)
        table = words.table[seen]
        with seed_globals(run.seed):
            inputs = table.shape[1]
            encoder = (
                KimEncoder(inputs, widths=list(self.widths), maps=self.maps)
                if self.encoder == "cnn"
                else RecurrentEncoder(
                    inputs, width=self.width, layers=self.layers, directions="forward", pooling=self.readout
                )
            )
            network = LabelledWords(len(table), inputs, encoder, rows.names)
            load_words(network.words, table.copy(), learned=self.variant != "static")
            fixed = torch.from_numpy(table) if self.variant == "multichannel" else None
            module = SentenceClassifier(network, network.head, self.dropout, fixed)
        limit = partial(_limit, limit_rows, self.row_norm) if self.row_norm else None
        _, about = learn_labelled(
            module,
            rows,
            texts,
            cross_entropy,
            run=run,
            key=content_hash(self.settings()),
            share=self.held_out,
            batch_size=self.batch_size,
            epochs=self.epochs,
            optimiser=self._optimiser(),
            patience=self.patience or None,
            after_step=limit,
            hint=f"a smaller learning_rate (now {self.learning_rate}) usually mends this",
        )
        if fixed is not None:
            network.words.weight.data += fixed
        with_all_words(network, words.table * (1 if fixed is None else 2), seen)
        return SequenceEmbedder(words.reader, network, name=self.name, card={"training": words.about | about})

    def _learn_trees(self, data: Mapping[str, Any], start: Any, run: Run) -> Any:
        from umekomi.models.labelled import LabelledTrees, TreeEmbedder, TreeReader
        from umekomi.models.word_tables import seen_words, with_all_words
        from umekomi.parts.layers.sentence import load_words
        from umekomi.parts.learning.modules import learn, seed_globals
        from umekomi.parts.learning.trees import TreeRows

        given = {name: table for name, table in data.items() if "tree" in table.column_names and name != "test"}
        if len(given) < len([name for name in data if name != "test"]):
            other = next(name for name in data if name not in given)
            raise DataError(
                f"{self.name}, {self.encoder}: expected parsed trees (column 'tree'), found columns "
                f"{', '.join(data[other].column_names)}"
            )
        trees = [tree for name, table in given.items() for tree in self._trees(name, table)]
        wanted = [[self._label(label) for label in tree.labels] for tree in trees]
        words = self._begin([tree.text for tree in trees], start, run, "spaces")
        reader = TreeReader(words.reader.tokenizer)
        nodes, seen = seen_words([reader.nodes(tree) for tree in trees], len(words.table))
        rows = TreeRows.of(nodes, wanted, self.name)
        with seed_globals(run.seed):
            network = LabelledTrees(
                len(seen),
                words.table.shape[1],
                rows.names,
                cell=self.encoder,
                width=self.width,
                layers=self.layers,
                dropout=0.0,
            )
            load_words(network.words, words.table[seen], learned=self.variant != "static")
        train, dev = rows.held_out(self.held_out, run.generator(1 << 20), self.name)
        history = learn(
            network,
            partial(rows.batches, train, self.batch_size),
            partial(rows.loss, self.dropout),
            run=run,
            key=content_hash(self.settings(), rows.content(), train.tobytes()),
            epochs=self.epochs,
            optimiser=self._optimiser(),
            patience=self.patience or None,
            validate=partial(rows.accuracy, dev, self.batch_size),
            size=len,
            unit="trees",
            hint=f"a smaller learning_rate (now {self.learning_rate}) usually mends this",
        )
        about = words.about | {
            "trees": len(train),
            "held out": len(dev),
            "labels": list(rows.names),
            **history.described("accuracy"),
        }
        with_all_words(network, words.table, seen)
        return TreeEmbedder(reader, network, name=self.name, card={"training": about})

    # --- paragraph vectors --------------------------------------------------------------------------------------------

    def _learn_paragraphs(self, texts: list[str], labels: list[str], others: list[str], run: Run) -> ParagraphEmbedder:
        from umekomi.models.paragraphs import ParagraphEmbedder

        if len(set(labels)) < 2:
            raise DataError(f"{self.name}: column 'label': expected two labels or more, found only {labels[0]!r}")
        if self.tokenizer == "treebank":
            raise WrongUse(f"{self.name}, tokenizer: expected plain, spaces, surfaces or bigrams, found treebank")
        cut = split_words([*texts, *others], self.tokenizer).to_pylist()
        ways = {"dm": [True], "dbow": [False], "both": [True, False]}[self.paragraphs]
        learned = [self._table(cut, dm, run.stage("dm" if dm else "dbow")) for dm in ways]
        tables = [table for table, _ in learned]
        if self.classified == "learned":
            vectors = np.concatenate([vectors[: len(texts)] for _, vectors in learned], 1)
        else:
            untaught = ParagraphEmbedder(tables, tokenizer=self.tokenizer, name=self.name)
            vectors = untaught.encode(texts, output="dense", progress=run.progress)
        names, layers, accuracy = self._classifier(vectors, labels, run)
        about = {
            "texts": len(texts),
            "texts without label": len(others),
            "transductive": self.transductive,
            "words": [len(table.names) for table, _ in learned],
            "labels": names,
            "accuracy on what was learned from": round(accuracy, 4),
        }
        if self.transductive:
            say(f"note: {self.name} is transductive: the texts that it is judged on may be among those learned from")
        return ParagraphEmbedder(
            tables,
            tokenizer=self.tokenizer,
            layers=layers,
            labels=names,
            name=self.name,
            card={"training": about},
        )

    def _table(self, words: list[list[str]], dm: bool, run: Run) -> tuple[ParagraphTable, Any]:
        """(what gensim learned, the vector of every text). It goes over the texts piece by piece, at rates that fall as
        within one call of it. Its random numbers are seeded anew for each epoch: what that makes of the arrays then
        depends on nothing else, and an interrupted run is gone on with to the same bits."""
        from umekomi.models.paragraphs import LEAST_RATE, ParagraphTable, Settings, gensim_model
        from umekomi.parts.learning.arrays import learn

        how = Settings(
            dm=dm,
            dimensions=self.dimensions,
            window=self.window,
            negative=self.negative,
            sample=self.sample,
            learning_rate=0.025,
            infer_epochs=self.infer_epochs,
        )
        model = gensim_model(how, seed=run.seed & 0x7FFFFFFF, epochs=self.epochs, min_count=self.min_count)
        from gensim.models.doc2vec import TaggedDocument

        tagged = [TaggedDocument(text, [number]) for number, text in enumerate(words)]
        model.build_vocab(tagged)
        if not model.wv.key_to_index:
            raise DataError(f"{self.name}: expected words that occur {self.min_count} times or more, found none")

        def begin(epoch: int) -> None:
            model.random = np.random.RandomState(run.generator(epoch).integers(1 << 32))

        def rate(epoch: int, place: int) -> float:
            done = (epoch + place / len(tagged)) / self.epochs
            return how.learning_rate * (1 - (1 - LEAST_RATE) * done)

        def work(epoch: int, low: int, high: int, thread: int) -> float:
            rates = {"start_alpha": rate(epoch, low), "end_alpha": rate(epoch, high)}
            model.train(tagged[low:high], total_examples=high - low, epochs=1, **rates)
            return 0.0  # gensim has no loss of paragraphs

        learn(
            {"words": model.wv.vectors, "output": model.syn1neg, "paragraphs": model.dv.vectors},
            self.epochs,
            len(tagged),
            work,
            run=run,
            unit="texts",
            threads=1,
            begin=begin,
            rows={"words": model.wv.index_to_key},
            hint="texts of one kind, or more of them, usually mend this",
            key="" if run.checkpoint is None else content_hash(self.settings(), run.seed, words),
            piece=PIECE,
            keep_end=True,
        )
        names = list(model.wv.index_to_key)
        counts = np.array([model.wv.get_vecattr(name, "count") for name in names], np.int64)
        return ParagraphTable(how, names, counts, model.wv.vectors.copy(), model.syn1neg.copy()), model.dv.vectors

    def _classifier(self, vectors: Any, labels: list[str], run: Run) -> tuple[list[str], list[Any], float]:
        """(labels, layers, accuracy on these rows): logistic regression, or one hidden layer by early stopping."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.neural_network import MLPClassifier

        seed = run.seed & 0x7FFFFFFF
        if self.classifier == "mlp":
            model = MLPClassifier(
                (self.hidden,),
                early_stopping=len(labels) >= 100,
                validation_fraction=self.held_out,
                random_state=seed,
                max_iter=100,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a hundred epochs at most, converged or not
                model.fit(vectors, labels)
            layers = list(zip(model.coefs_, model.intercepts_, strict=True))
        else:
            model = LogisticRegression(max_iter=1000, random_state=seed).fit(vectors, labels)
            layers = [(model.coef_.T, model.intercept_)]
        names = [str(label) for label in model.classes_]
        if len(names) == 2:  # one number decides: above zero the second
            matrix, bias = layers[-1]
            layers[-1] = (np.concatenate([np.zeros_like(matrix), matrix], 1), np.concatenate([[0.0], bias]))
        return names, layers, float((model.predict(vectors) == np.array(labels)).mean())


def _limit(limit_rows: Any, longest: float, module: Any) -> None:
    limit_rows(module.head.weight, longest)


def _phrases(tree: Tree) -> list[tuple[str, str]]:
    """(text, label) of every node."""
    spans: list[tuple[int, int]] = []
    for word, (left, right) in zip(tree.word.tolist(), tree.children.tolist(), strict=True):
        spans.append((word, word + 1) if word >= 0 else (spans[left][0], spans[right][1]))
    return [(" ".join(tree.words[a:b]), label) for (a, b), label in zip(spans, tree.labels, strict=True)]
