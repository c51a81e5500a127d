"""Networks of sentences that also name a label: an encoder over words or parsed trees, and a linear map from its vector
to the labels. In :class:`~umekomi.models.sequence.SequenceEmbedder` they are its network; :func:`predict_labels` asks
the map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umekomi.data.trees import Tree, parse_tree
from umekomi.errors import DataError, MissingExtra, WrongUse

try:
    import torch
    from torch import nn
except ImportError as error:
    raise MissingExtra(error.name or "torch", "neural", "a network that names labels") from None

from umekomi.models.sequence import SequenceEmbedder, word_network
from umekomi.models.words import UNKNOWN, WordReader
from umekomi.parts.layers.sentence import Encoder, WordNetwork
from umekomi.parts.layers.trees import TreeNetwork


class LabelledWords(WordNetwork):
    """Words, an encoder, and ``head``: the encoder's vector to a number for each of ``labels``."""

    kind = "labelled words"

    def __init__(self, rows: int, inputs: int, encoder: Encoder, labels: Sequence[str]) -> None:
        super().__init__(rows, inputs, encoder)
        self.labels = list(labels)
        self.head = nn.Linear(encoder.dimension, len(self.labels))

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"labels": self.labels}


class LabelledTrees(TreeNetwork):
    """A recursive network and ``head``: the vector of a node to a number for each of ``labels``."""

    kind = "labelled trees"

    def __init__(self, rows: int, inputs: int, labels: Sequence[str], **settings: Any) -> None:
        super().__init__(rows, inputs, **settings)
        self.labels = list(labels)
        self.head = nn.Linear(self.dimension, len(self.labels))

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"labels": self.labels}


def labelled_words(
    by: str, *, rows: int, inputs: int, encoder: str, settings: dict[str, Any], labels: list[Any]
) -> LabelledWords:
    """A network of the settings that :meth:`LabelledWords.settings` gave."""
    names = _names(by, labels)
    network = word_network(by, rows=rows, inputs=inputs, encoder=encoder, settings=settings)
    return LabelledWords(rows, inputs, network.encoder, names)


def labelled_trees(
    by: str, *, rows: int, inputs: int, cell: str, width: int, layers: int, dropout: float, labels: list[Any]
) -> LabelledTrees:
    """A network of the settings that :meth:`LabelledTrees.settings` gave.

    Args:
        by: the file, for errors.
        rows: words of the table.
        inputs: numbers of a word's vector.
        cell: the recursion: ``rnn``, ``rntn``, ``tree-lstm`` or ``deep-rnn``.
        width: numbers of a node's vector.
        layers: of the deep network, one on the other.
        dropout: between them.
        labels: their names.
    """
    names = _names(by, labels)
    if cell not in ("rnn", "rntn", "tree-lstm", "deep-rnn"):
        raise DataError(f"{by}, cell: expected rnn, rntn, tree-lstm or deep-rnn, found {cell!r:.60}")
    if min(rows, inputs, width, layers) < 1 or layers > 64 or not 0 <= dropout < 1:
        raise DataError(
            f"{by}: expected sizes above zero, 64 layers at most and a dropout of 0 to 1, found {rows}, {inputs}, "
            f"{width}, {layers} and {dropout}"
        )
    try:
        return LabelledTrees(rows, inputs, names, cell=cell, width=width, layers=layers, dropout=dropout)
    except RuntimeError as error:  # torch's: more numbers than can be counted
        raise DataError(f"{by}: {error}") from None


def _names(by: str, labels: list[Any]) -> list[str]:
    if not labels or not all(isinstance(label, str) for label in labels):
        raise DataError(f"{by}, labels: expected names of labels, found {labels!r:.60}")
    return labels


class TreeReader(WordReader):
    """Trees in brackets as int64 ``[nodes, 3]``: the number of its word (-1 for a node above two others), its left and
    its right child, children before their parent. Words without a row are ``<unk>``: a leaf cannot be left out."""

    def __init__(self, tokenizer: Any, *, skips_unknown: bool = False, before: str = "") -> None:
        if skips_unknown or before:
            raise WrongUse("trees: expected every word of a tree to be read as it stands, found otherwise")
        super().__init__(tokenizer, skips_unknown=False)
        self._rows = tokenizer.get_vocab()
        self._lower = tokenizer.normalizer is not None

    def read(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """The nodes of each tree; one that does not parse is an error with its place."""
        return [self.nodes(parse_tree(text, "trees", number)) for number, text in enumerate(texts, 1)]

    def nodes(self, tree: Tree) -> NDArray[np.int64]:
        """Of a tree that is parsed already."""
        unknown = self._rows[UNKNOWN]
        words = [word.lower() if self._lower else word for word in tree.words]
        rows = np.array([*(self._rows.get(word, unknown) for word in words), -1], np.int64)
        return np.column_stack([rows[tree.word], tree.children])

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        return [parse_tree(text, "trees", number).words for number, text in enumerate(texts, 1)]


class TreeEmbedder(SequenceEmbedder):
    """A recursive network over parsed trees, each a text in brackets; it has no graph to export, since a tree's own
    shape says what is computed."""

    kind = "trees"


def label_scores(model: Any, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float32]]:
    """(the labels, a number for each ``[texts, labels]``, the highest of which is predicted)."""
    if hasattr(model, "label_scores"):
        labels, scores = model.label_scores(texts)
        return labels, scores
    network = getattr(model, "network", None)
    if not isinstance(model, SequenceEmbedder) or not isinstance(network, (LabelledWords, LabelledTrees)):
        raise WrongUse(f"{getattr(model, 'name', model)!s}: expected a model that was learned with labels")
    vectors = model.encode(list(texts))
    with torch.inference_mode():
        scores = network.head(torch.from_numpy(vectors).to(network.head.weight.device)).cpu().numpy()
    return network.labels, scores


def predict_labels(model: Any, texts: Sequence[str]) -> list[str]:
    """The label of each text, by the model's own map."""
    labels, scores = label_scores(model, texts)
    return [labels[place] for place in scores.argmax(1)]
