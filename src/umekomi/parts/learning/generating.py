"""Sentences learned by generating: an encoder makes a vector of a text, decoders write texts from it (the same one, the
sentences around it, its translation), and what they should have written teaches both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from umekomi.errors import DataError
from umekomi.files import content_hash
from umekomi.parts.layers.decoder import Decoder
from umekomi.parts.layers.documents import DocumentAutoencoder
from umekomi.parts.layers.sentence import mask_of
from umekomi.parts.layers.softmax import WordSoftmax
from umekomi.parts.learning.checkpoint import move_tree
from umekomi.parts.learning.modules import History, learn
from umekomi.parts.learning.samplers import Buckets, Epoch, hold_out
from umekomi.run import Run

Ids = NDArray[np.int64]
Noise = Callable[["Ragged", np.random.Generator], "Ragged"]
"""Damage to some texts."""


@dataclass(frozen=True)
class Ragged:
    """Texts as word numbers: text i is ``ids[offsets[i]:offsets[i + 1]]``."""

    ids: NDArray[np.int32]
    offsets: Ids

    @classmethod
    def of(cls, rows: Sequence[Ids]) -> Ragged:
        """Of one array a text."""
        offsets = np.append(0, np.cumsum([len(row) for row in rows])).astype(np.int64)
        return cls(np.concatenate(rows).astype(np.int32) if len(rows) else np.zeros(0, np.int32), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ids:
        """Words of each text."""
        return np.diff(self.offsets)

    def count(self, number: int) -> Ids:
        """How often each text has this number."""
        there = np.append(0, np.cumsum(self.ids == number))
        return there[self.offsets[1:]] - there[self.offsets[:-1]]

    def take(self, rows: Ids) -> Ragged:
        """These texts; row -1 is a text without a word."""
        there = rows >= 0
        begins = np.where(there, self.offsets[rows], 0)
        lengths = np.where(there, self.offsets[rows + 1], 0) - begins
        offsets = np.append(0, np.cumsum(lengths))
        places = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], lengths)
        return Ragged(self.ids[places], offsets)

    def padded(self) -> tuple[Tensor, Tensor]:
        """(int64 ``[texts, time]`` with zeros behind, lengths ``[texts]``)."""
        lengths = self.lengths
        out = np.zeros((len(lengths), int(lengths.max(initial=0))), np.int64)
        of = np.repeat(np.arange(len(lengths)), lengths)
        out[of, np.arange(len(self.ids)) - self.offsets[of]] = self.ids
        return torch.from_numpy(out), torch.from_numpy(lengths)

    def content(self) -> str:
        """Names all of it."""
        return content_hash(self.ids.tobytes(), self.offsets.tobytes())


def damage(texts: Ragged, generator: np.random.Generator, *, deletion: float, swap: float) -> Ragged:
    """The noise of Hill+ 2016, NAACL: each word is deleted with chance ``deletion``, then each pair of words that stand
    side by side, the first and second, the third and fourth and so on, change places with chance ``swap``. A text's
    last number, the mark of its end, stays where it is."""
    lengths = texts.lengths
    last = np.zeros(len(texts.ids), bool)
    last[texts.offsets[1:][lengths > 0] - 1] = True
    kept = last | (generator.random(len(texts.ids)) >= deletion)
    of = np.repeat(np.arange(len(lengths)), lengths)
    ids, of = texts.ids[kept], of[kept]
    counts = np.bincount(of, minlength=len(lengths))
    offsets = np.append(0, np.cumsum(counts))
    place = np.arange(len(ids)) - offsets[of]
    first = (place % 2 == 0) & (place + 2 < counts[of])  # neither of the two is the end
    first &= generator.random(len(ids)) < swap
    at = np.flatnonzero(first)
    out = ids.copy()
    out[at], out[at + 1] = ids[at + 1], ids[at]
    return Ragged(out, offsets)


class Batch(NamedTuple):
    """``source`` is what is read, ``targets`` what each decoder should write: (ids ``[texts, time]``, lengths); a text
    of no word is none. ``drawn`` is for the softmax."""

    source: tuple[Tensor, Tensor]
    targets: tuple[tuple[Tensor, Tensor], ...]
    drawn: Tensor


class EncoderDecoder(nn.Module):
    """``network(ids, lengths).vectors`` under ``decoders``, which share one softmax."""

    def __init__(self, network: nn.Module, decoders: Sequence[Decoder]) -> None:
        super().__init__()
        self.network, self.decoders = network, nn.ModuleList(decoders)

    def forward(self, batch: Batch) -> Tensor:
        """Mean negative log likelihood of all words that the decoders should write."""
        vectors = self.network(*batch.source).vectors
        states, words = [], []
        for decoder, (ids, lengths) in zip(self.decoders, batch.targets, strict=True):
            assert isinstance(decoder, Decoder)
            states.append(decoder.states(vectors, ids, lengths))
            words.append(ids[mask_of(lengths, ids.shape[1])])
        return self.softmax.loss(torch.cat(states), torch.cat(words), batch.drawn)

    @property
    def softmax(self) -> WordSoftmax:
        """The one that all decoders end in."""
        first = self.decoders[0]
        assert isinstance(first, Decoder)
        return first.softmax


def per_text(module: nn.Module, batch: Batch) -> Tensor:
    """The sum over the words of a text, the mean over texts, as the released programs have it."""
    words = sum(int(lengths.sum()) for _, lengths in batch.targets)
    return module(batch) * (words / len(batch.source[1]))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class TextRows:
    """What is learned from: row i reads text ``rows[i, 0]`` of ``source``, and decoder k should write text
    ``rows[i, 1 + k]`` of ``target`` (-1: none)."""

    source: Ragged
    target: Ragged
    rows: Ids

    def batch(self, chosen: Ids, drawn: Ids, noise: Noise | None, generator: np.random.Generator | None) -> Batch:
        """Of these rows."""
        rows = self.rows[chosen]
        source = self.source.take(rows[:, 0])
        if noise is not None and generator is not None:
            source = noise(source, generator)
        targets = tuple(self.target.take(column).padded() for column in rows[:, 1:].T)
        return Batch(source.padded(), targets, torch.from_numpy(drawn))

    @property
    def lengths(self) -> Ids:
        """Words that a row reads and writes."""
        return self.source.lengths[self.rows[:, 0]] + self.written

    @property
    def written(self) -> Ids:
        """Words that a row writes."""
        lengths = np.append(self.target.lengths, 0)
        return lengths[self.rows[:, 1:]].sum(1)  # type: ignore[no-any-return]


def learn_generating(
    module: EncoderDecoder,
    data: TextRows,
    *,
    run: Run,
    key: str,
    held_out: float,
    batch_size: int,
    epochs: int,
    noise: Noise | None = None,
    **how: Any,
) -> tuple[History, dict[str, Any]]:
    """Train ``module`` by :func:`~umekomi.parts.learning.modules.learn`, in batches of rows of like length. The
    perplexity on the rows held out, undamaged, chooses the epoch. Gives the history, and what a card says of it.

    Args:
        module: the network and its decoders.
        data: the rows.
        run: who, seed, checkpoint, progress.
        key: names the settings; the data's content is added.
        held_out: share of the rows that is held out.
        batch_size: rows a batch.
        epochs: how often all rows are read at most; 0: the module stays as it is.
        noise: what damages the texts that are read, anew each time.
        how: for ``learn``: optimiser, clip, patience ...
    """
    if len(data.rows) < 2:
        raise DataError(f"{run.who}: expected two texts or more to learn from, found {len(data.rows)}")
    train, held = hold_out(len(data.rows), held_out, run.generator(1 << 20))
    if not epochs:
        module.eval()
        return History(ended="epochs"), {"rows": 0, "epochs": 0}
    softmax = module.softmax

    def make(rows: Ids, generator: np.random.Generator) -> Batch:
        return data.batch(train[rows], softmax.draw(generator), noise, generator)

    def batches(epoch: int, generator: np.random.Generator) -> Epoch[Batch]:
        return Buckets(data.lengths[train], make, batch_size)(epoch, generator)

    order = held[np.argsort(data.lengths[held], kind="stable")]
    words = int(data.written[held].sum())

    def perplexity(judged: nn.Module) -> float:
        where, total = next(judged.parameters()).device, 0.0
        for at in range(0, len(order), batch_size):
            batch = data.batch(order[at : at + batch_size], np.zeros(0, np.int64), None, None)
            batch = move_tree(batch, where)
            total += float(judged(batch)) * sum(int(lengths.sum()) for _, lengths in batch.targets)
        return float(np.exp(min(total / max(words, 1), 700)))

    history = learn(
        module,
        batches,
        per_text,
        run=run,
        key=content_hash(key, data.source.content(), data.target.content(), data.rows.tobytes(), train.tobytes()),
        epochs=epochs,
        validate=perplexity,
        better="lower",
        size=lambda batch: len(batch.source[1]),
        unit="sentences",
        **how,
    )
    about = {
        "rows": len(train),
        "held out": len(held),
        "words written": int(data.written[train].sum()),
        **history.described("perplexity"),
    }
    return history, about


def adam(learning_rate: float, kind: Literal["adam", "sgd"] = "adam") -> Callable[[list[nn.Parameter]], Any]:
    """Adam (or SGD) in torch's fused form, one pass over each weight: tables and softmaxes of many million numbers take
    a third of the time of the plain one."""

    def make(weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        if kind == "sgd":
            return torch.optim.SGD(weights, lr=learning_rate, fused=True)
        return torch.optim.Adam(weights, lr=learning_rate, fused=True)

    return make


def learn_documents(
    network: DocumentAutoencoder,
    documents: Ragged,
    *,
    run: Run,
    key: str,
    held_out: float,
    batch_size: int,
    epochs: int,
    **how: Any,
) -> tuple[History, dict[str, Any]]:
    """Train an autoencoder of documents; the perplexity on those held out chooses the epoch. Gives the history, and
    what a card says of it.

    Args:
        network: reads and writes.
        documents: the words of each, with a mark behind each sentence.
        run: who, seed, checkpoint, progress.
        key: names the settings; the data's content is added.
        held_out: share of the documents that is held out.
        batch_size: documents a batch.
        epochs: how often all are read at most; 0: the network stays as it is.
        how: for ``learn``: optimiser, clip, patience ...
    """
    train, held = hold_out(len(documents), held_out, run.generator(1 << 20))
    if not epochs:
        network.eval()
        return History(ended="epochs"), {"rows": 0, "epochs": 0}

    def make(rows: Ids, generator: np.random.Generator) -> Batch:
        return Batch(documents.take(train[rows]).padded(), (), torch.from_numpy(network.softmax.draw(generator)))

    def loss(module: DocumentAutoencoder, batch: Batch) -> Tensor:
        """The sum over a document's words, the mean over documents."""
        words = int(batch.source[1].sum())
        return module.loss(*batch.source, batch.drawn) * (words / len(batch.source[1]))

    order = held[np.argsort(documents.lengths[held], kind="stable")]

    def perplexity(judged: nn.Module) -> float:
        assert isinstance(judged, DocumentAutoencoder)
        where, total = next(judged.parameters()).device, 0.0
        for at in range(0, len(order), batch_size):
            ids, lengths = move_tree(documents.take(order[at : at + batch_size]).padded(), where)
            total += float(judged.loss(ids, lengths, lengths[:0])) * int(lengths.sum())
        return float(np.exp(min(total / int(documents.lengths[held].sum()), 700)))

    history = learn(
        network,
        Buckets(documents.lengths[train], make, batch_size),
        loss,
        run=run,
        key=content_hash(key, documents.content(), train.tobytes()),
        epochs=epochs,
        validate=perplexity,
        better="lower",
        size=lambda batch: len(batch.source[1]),
        unit="documents",
        **how,
    )
    words = int(documents.lengths[train].sum())
    return history, {"rows": len(train), "held out": len(held), "words": words, **history.described("perplexity")}
