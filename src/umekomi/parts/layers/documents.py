"""Autoencoders of documents: J. Li, M.-T. Luong, D. Jurafsky, "A hierarchical neural autoencoder for paragraphs and
documents" (ACL 2015). One LSTM over all words (``standard``), or one over the words of each sentence and one over the
sentences (``hierarchical``), in both directions of the work; with attention of each sentence that is written to those
that were read (``attention``)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from umekomi.fields import AtLeast, Within
from umekomi.parts.layers.decoder import search, writing_threads
from umekomi.parts.layers.recurrent import Recurrent, State
from umekomi.parts.layers.sentence import EncodedBatch, Padding, Size, mask_of
from umekomi.parts.layers.softmax import WordSoftmax

Ids = NDArray[np.int64]
Form = Literal["standard", "hierarchical", "attention"]
SENTENCE_END = 1
"""The row of the mark behind a sentence."""
SPREAD = 0.08
"""First weights lie between ± this (the released programs'), or ± 1/√inputs where a layer has so few that this is
more."""


class Sentences(NamedTuple):
    """Sentences of some documents as a batch of their own. ``ids`` int64 ``[sentences, time]`` of ``lengths`` words;
    ``counts`` int64 ``[documents]``; ``places`` int64 ``[documents, most]``: which sentence stands there, 0 behind a
    document's end."""

    ids: Tensor
    lengths: Tensor
    counts: Tensor
    places: Tensor


def split_documents(ids: Tensor, lengths: Tensor) -> Sentences:
    """The sentences of documents ``[documents, time]``, each with its mark; what stands behind a last mark is
    a sentence too."""
    rows, sizes = ids.cpu().numpy(), lengths.cpu().numpy()
    cut: list[Ids] = []
    counts = []
    for row, size in zip(rows, sizes, strict=True):
        ends = np.flatnonzero(row[:size] == SENTENCE_END) + 1
        if size and (not len(ends) or ends[-1] < size):
            ends = np.append(ends, size)
        counts.append(len(ends))
        cut += [row[low:high] for low, high in pairwise([0, *ends])]
    longest, most = max(map(len, cut), default=0), max(counts, default=0)
    words = np.zeros((len(cut), longest), np.int64)
    for number, sentence in enumerate(cut):
        words[number, : len(sentence)] = sentence
    places = np.zeros((len(counts), most), np.int64)
    begin = 0
    for number, count in enumerate(counts):
        places[number, :count] = np.arange(begin, begin + count)
        begin += count
    found = (words, np.array([len(sentence) for sentence in cut], np.int64), np.array(counts, np.int64), places)
    return Sentences(*(torch.from_numpy(part).to(ids.device) for part in found))


class Encoded(NamedTuple):
    """A document read: ``state`` that the decoder begins from, and what the sentences' LSTM gave at each
    (``[documents, sentences, width]``, ``counts``), where there are sentences."""

    state: State
    sentences: Tensor | None
    counts: Tensor | None


class Writing(NamedTuple):
    """Where the decoder stands: in its words, in its sentences, and what it may attend to."""

    words: State
    sentence: State
    read: Tensor | None
    there: Tensor | None


class DocumentAutoencoder(nn.Module):
    """Documents as words with the mark :data:`SENTENCE_END` behind each sentence; the last row of the table of words
    marks a document's end. A document's vector is the last state of what reads it.

    As in the released programs: a sentence's first word is foretold from the state of the sentences' LSTM itself; the
    words' LSTM begins from that state, all layers of it; what it comes to behind the sentence's mark is what the
    sentences' LSTM reads next.

    Args:
        rows: of the table of words, which both sides read by; the last is the document's end.
        inputs: numbers of a word's vector.
        form: ``"standard"``, ``"hierarchical"`` or ``"attention"`` (hierarchical with it).
        width: of each LSTM.
        layers: of each LSTM.
        reverse: whether a document is read from its end: sentence by sentence, or of the standard form word by word.
        sampled: words that stand for all in the softmax while it learns; None: all.
        dropout: before the softmax.
    """

    kind: ClassVar[str] = "documents"
    token_width = 0
    padding: Padding = "masked"

    def __init__(
        self,
        rows: int,
        inputs: int,
        *,
        form: Form,
        width: Size,
        layers: Annotated[int, Within(1, 64, "[]")] = 1,
        reverse: bool = True,
        sampled: Annotated[int, AtLeast(1)] | None = None,
        dropout: Annotated[float, Within(0, 1)] = 0.0,
    ) -> None:
        super().__init__()
        self._settings = {
            "form": form,
            "width": width,
            "layers": layers,
            "reverse": reverse,
            "sampled": sampled,
            "dropout": dropout,
        }
        self.form, self.reverse, self.dimension = form, reverse, width
        self.words = nn.Embedding(rows, inputs)
        self.read_words = Recurrent(inputs, width, layers=layers)
        self.write_words = Recurrent(inputs, width, layers=layers)
        if form != "standard":
            self.read_sentences = Recurrent(width, width, layers=layers)
            self.write_sentences = Recurrent(2 * width if form == "attention" else width, width, layers=layers)
        if form == "attention":
            self.of_written = nn.Linear(width, width, bias=False)
            self.of_read = nn.Linear(width, width, bias=False)
            self.scores = nn.Linear(width, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.softmax = WordSoftmax(width, rows, sampled)
        for name, weight in self.named_parameters():
            spread = max(SPREAD, weight.shape[-1] ** -0.5)
            nn.init.zeros_(weight) if "bias" in name else nn.init.uniform_(weight, -spread, spread)
            if "bias_ih" in name:  # the forget gate is open at first
                nn.init.ones_(weight[width : 2 * width])

    @property
    def end(self) -> int:
        """The row of the mark behind a document."""
        return self.words.num_embeddings - 1

    def settings(self) -> dict[str, Any]:
        """What makes another one like it."""
        own = {"rows": self.words.num_embeddings, "inputs": self.words.embedding_dim}
        return own | {"settings": self._settings}

    # --- reading ------------------------------------------------------------------------------------------------------

    def forward(self, ids: Tensor, lengths: Tensor) -> EncodedBatch:
        """``ids`` int64 ``[documents, time]`` with a mark behind each sentence, ``lengths`` ``[documents]``."""
        return EncodedBatch(self.read(ids, lengths).state[0][-1])

    def encode(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The vectors alone."""
        return self(ids, lengths).vectors  # type: ignore[no-any-return]

    def encode_long(self, ids: Tensor) -> Tensor:
        """``[dimension]`` of one document of many words ``[time]``."""
        return self(ids.unsqueeze(0), torch.tensor([len(ids)], device=ids.device)).vectors[0]  # type: ignore[no-any-return]

    def read(self, ids: Tensor, lengths: Tensor) -> Encoded:
        """The documents, read."""
        if self.form == "standard":
            given = turned(ids, lengths) if self.reverse else ids
            return Encoded(self.read_words(self.words(given), lengths).state, None, None)
        parts = split_documents(ids, lengths)
        own = self.read_words(self.words(parts.ids), parts.lengths).last
        if not len(own):
            own = own.new_zeros(1, self.dimension)
        places = turned(parts.places, parts.counts) if self.reverse else parts.places
        whole = self.read_sentences(own[places], parts.counts)
        return Encoded(whole.state, whole.outputs, parts.counts)

    # --- writing ------------------------------------------------------------------------------------------------------

    def loss(self, ids: Tensor, lengths: Tensor, drawn: Tensor) -> Tensor:
        """Mean negative log likelihood of every word and mark of the documents, each by what stands before it and by
        the document read; ``drawn`` from the softmax."""
        target = ids.scatter(1, (lengths - 1).unsqueeze(1), self.end)
        encoded = self.read(ids, lengths)
        if self.form == "standard":
            states = [self._before(encoded.state, target, lengths)[0]]
            wanted = [target[mask_of(lengths, target.shape[1])]]
        else:
            states, wanted = self._write_by_sentences(encoded, split_documents(target, lengths))
        return self.softmax.loss(self.dropout(torch.cat(states)), torch.cat(wanted), drawn)

    def _before(self, state: State, ids: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
        """(what the softmax reads before each word, text behind text; the state behind the texts)."""
        read = self.write_words(self.words(ids), lengths, state)
        states = torch.cat([state[0][-1].unsqueeze(1), read.outputs], 1)[:, : ids.shape[1]]
        return states[mask_of(lengths, ids.shape[1])], read.state

    def _write_by_sentences(self, encoded: Encoded, parts: Sentences) -> tuple[list[Tensor], list[Tensor]]:
        """Sentence by sentence of all documents side by side, those of many sentences first."""
        order = torch.argsort(parts.counts, descending=True, stable=True)
        counts, places = parts.counts[order].tolist(), parts.places[order]
        state = tuple(part.index_select(1, order) for part in encoded.state)
        read, there = self._attended(encoded)
        if read is not None and there is not None:
            read, there = read[order], there[order]
        states, wanted = [], []
        for number in range(max(counts, default=0)):
            now = places[: sum(count > number for count in counts), number]
            lengths = parts.lengths[now]
            ids = parts.ids[now][:, : int(lengths.max())]
            own, after = self._before(tuple(part[:, : len(now)].contiguous() for part in state), ids, lengths)
            states.append(own)
            wanted.append(ids[mask_of(lengths, ids.shape[1])])
            left = sum(count > number + 1 for count in counts)
            if left:
                some = tuple(part[:, :left] for part in state)
                sides = (None, None) if read is None or there is None else (read[:left], there[:left])
                state = self._next_sentence(after[0][-1][:left], some, *sides)
        return states, wanted

    def _attended(self, encoded: Encoded) -> tuple[Tensor | None, Tensor | None]:
        if self.form != "attention":
            return None, None
        assert encoded.sentences is not None and encoded.counts is not None
        return encoded.sentences, mask_of(encoded.counts, encoded.sentences.shape[1])

    def _next_sentence(self, written: Tensor, state: State, read: Tensor | None, there: Tensor | None) -> State:
        """The sentences' LSTM behind a sentence that was ``written``; with attention from its state before."""
        if read is not None and there is not None:
            scores = self.scores(torch.tanh(self.of_read(read) + self.of_written(state[0][-1]).unsqueeze(1)))
            weights = torch.softmax(scores.squeeze(2).masked_fill(~there, torch.finfo(scores.dtype).min), 1)
            written = torch.cat([written, (weights.unsqueeze(1) @ read).squeeze(1)], 1)
        return self.write_sentences.step(written, state)[1]

    def write(
        self, ids: Tensor, lengths: Tensor, *, beam: int = 1, longest: int | Ids, normalise: float = 0.0
    ) -> list[Ids]:
        """The documents written again, as :func:`umekomi.parts.layers.decoder.search` finds them: words and marks of
        sentences' ends, without the document's. No document begins with a mark."""
        with torch.inference_mode():
            encoded = self.read(ids, lengths)
            begin = Writing(encoded.state, encoded.state, *self._attended(encoded))
            settings: dict[str, Any] = {"beam": beam, "longest": longest, "normalise": normalise}
            writes = [self.write_words, self.softmax] + ([] if self.form == "standard" else [self.write_sentences])
            with writing_threads(len(ids) * beam, *writes):
                return search(self._step, begin, _choose, len(ids), end=self.end, **settings)

    def _step(self, last: Tensor | None, at: Writing) -> tuple[Tensor, Writing]:
        if last is None:
            logits = self.softmax(at.sentence[0][-1])
            logits[:, [SENTENCE_END, self.end]] = -torch.inf
            return torch.log_softmax(logits, 1), at
        out, words = self.write_words.step(self.words(last), at.words)
        sentence = at.sentence
        over = torch.nonzero(last == SENTENCE_END).squeeze(1)
        if self.form != "standard" and len(over):
            some = tuple(part.index_select(1, over) for part in sentence)
            sides = (None, None) if at.read is None or at.there is None else (at.read[over], at.there[over])
            after = self._next_sentence(out[over], some, *sides)
            sentence = tuple(part.index_copy(1, over, new) for part, new in zip(sentence, after, strict=True))
            words = tuple(part.index_copy(1, over, new) for part, new in zip(words, after, strict=True))
            out = out.index_copy(0, over, after[0][-1])
        return torch.log_softmax(self.softmax(out), 1), Writing(words, sentence, at.read, at.there)


def _choose(at: Writing, rows: Tensor) -> Writing:
    return Writing(
        tuple(part.index_select(1, rows) for part in at.words),
        tuple(part.index_select(1, rows) for part in at.sentence),
        None if at.read is None else at.read.index_select(0, rows),
        None if at.there is None else at.there.index_select(0, rows),
    )


def turned(rows: Tensor, lengths: Tensor) -> Tensor:
    """Each row ``[batch, time]`` turned round within its own length.

    >>> turned(torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([3, 2])).tolist()
    [[3, 2, 1], [5, 4, 0]]
    """
    time = torch.arange(rows.shape[1], device=rows.device)
    places = torch.where(time < lengths.unsqueeze(1), lengths.unsqueeze(1) - 1 - time, time)
    return rows.gather(1, places)
