"""Encoders of sentences over vectors of their words: recurrent layers under a pooling (last state, mean, max, inner
attention, structured self-attention), and the hierarchical convolution. InferSent's seven, the self-attentive one, and
what else reads a sentence word by word.

A vector never depends on the batch that it was computed in, but where ``padding`` is ``"zero"``: as InferSent was
published, its poolings then see zeros behind a sentence that is shorter than the longest of its batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from umekomi.errors import WrongUse
from umekomi.fields import AtLeast, Within
from umekomi.parts.layers.recurrent import ReadPacked, Recurrent

PIECE = 4096
"""Words of a long text that are read at once."""
Padding = Literal["masked", "zero"]
Pieces = Callable[[], Iterator[Tensor]]
"""The states of one long sequence from its begin, again and again: ``[words, width]`` each."""


class EncodedBatch(NamedTuple):
    """What an encoder makes of a batch: ``vectors`` ``[batch, dimension]``, zero for a sequence without a word; where
    it has them, ``tokens`` ``[batch, n, width]`` of which row i has ``counts[i]`` (int64 ``[batch]``), and
    ``attention`` ``[batch, hops, words]``, zero behind a sequence's end."""

    vectors: Tensor
    tokens: Tensor | None = None
    counts: Tensor | None = None
    attention: Tensor | None = None


def mask_of(lengths: Tensor, time: Tensor | int) -> Tensor:
    """bool ``[batch, time]``: is there a word?"""
    return torch.arange(time, device=lengths.device) < lengths.unsqueeze(1)  # type: ignore[arg-type]


def padded(rows: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """(int64 ``[batch, time, ...]`` with zeros behind, lengths ``[batch]``) of rows ``[time, ...]``.

    >>> padded([np.array([3, 1]), np.array([2])])
    (tensor([[3, 1],
            [2, 0]]), tensor([2, 1]))
    """
    lengths = [len(row) for row in rows]
    ids = np.zeros((len(rows), max(lengths, default=0), *(rows[0].shape[1:] if rows else ())), np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
    return torch.from_numpy(ids), torch.tensor(lengths)


def load_words(words: nn.Embedding, table: NDArray[np.float32], *, learned: bool = True) -> None:
    """The table of a network becomes ``table`` ``[words, dim]``, and is ``learned`` with the rest or stays."""
    words.weight.data = torch.from_numpy(table)
    words.weight.requires_grad_(learned)


class MappedWords(nn.Module):
    """Word vectors that are given and stay, sent through a linear map that is learned (Hill+ 2016's ``+embs``): ids in,
    ``[..., width]`` out. The given ones are no weights of it."""

    table: Tensor

    def __init__(self, table: NDArray[np.float32], width: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.from_numpy(table), persistent=False)
        self.map = nn.Linear(table.shape[1], width)

    def forward(self, ids: Tensor) -> Tensor:
        """``ids`` int64 of any shape."""
        return self.map(nn.functional.embedding(ids, self.table))  # type: ignore[no-any-return]

    def folded(self) -> nn.Embedding:
        """The same as one table: every given word, mapped."""
        with torch.no_grad():
            whole = self.map(self.table)
            return nn.Embedding(whole.shape[0], whole.shape[1], _weight=whole)


class Encoder(nn.Module):
    """Vectors of words in, one vector a sentence out. A subclass says its ``dimension``, the width of its token
    vectors (0: it has none), and its ``settings``: what its ``__init__`` takes behind ``inputs``, as JSON has it."""

    kind: ClassVar[str]
    dimension: int
    token_width: int = 0
    padding: Padding = "masked"

    @abstractmethod
    def forward(self, vectors: Tensor, lengths: Tensor) -> EncodedBatch:
        """``vectors`` ``[batch, time, inputs]`` of sequences of ``lengths`` int64 ``[batch]`` words from the left."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What makes another one like it."""

    def encode(self, vectors: Tensor, lengths: Tensor, places: Tensor | None = None) -> Tensor:
        """The vectors of :meth:`forward` alone, which an encoder may know to make faster. With ``places`` int64
        ``[batch, time]``, ``vectors`` are rows ``[n, inputs]``, of which these stand there."""
        return self(vectors if places is None else vectors[places], lengths).vectors  # type: ignore[no-any-return]

    def encode_long(self, vectors: Tensor) -> Tensor:
        """``[dimension]`` of one sequence ``[time, inputs]``, in memory that does not grow with its states where the
        encoder knows how."""
        lengths = torch.tensor([len(vectors)], device=vectors.device)
        return self(vectors.unsqueeze(0), lengths).vectors[0]


# --- poolings ---------------------------------------------------------------------------------------------------------


class Pool(nn.Module):
    """States in, one vector a sequence out."""

    dimension: int

    @abstractmethod
    def forward(self, states: Tensor, lengths: Tensor, last: Tensor) -> tuple[Tensor, Tensor | None]:
        """``states`` ``[batch, time, width]``, zero behind a sequence's end; ``last`` ``[batch, width]``. Gives the
        vectors, and where it has one its attention ``[batch, hops, time]``."""

    packs: ClassVar[bool] = False
    """Has it :meth:`pool_packed`?"""

    def pool_packed(self, read: ReadPacked, lengths: Tensor) -> Tensor:
        """The vectors, of states that are packed: nothing is padded, and nothing read but them."""
        raise NotImplementedError

    @abstractmethod
    def pool_long(self, pieces: Pieces, last: Callable[[], Tensor]) -> Tensor:
        """The same of one long sequence."""


def _fold(read: ReadPacked, lengths: Tensor, into: Callable[..., Tensor]) -> Tensor:
    """``[batch, width]``: what ``into(so far, next state, out=so far)`` makes of each sequence's states; zero where
    there is none."""
    sizes, starts = read.packing.sizes, read.packing.starts
    out = read.outputs.new_zeros(len(lengths), read.outputs.shape[1])
    if not sizes:
        return out
    whole = read.outputs[: sizes[0]].clone()
    for size, start in zip(sizes[1:], starts[1:], strict=False):
        into(whole[:size], read.outputs[start : start + size], out=whole[:size])
    return out.index_copy(0, read.packing.order, whole)


class LastState(Pool):
    """The output at the last word that each direction reads."""

    packs = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dimension = width

    def forward(self, states: Tensor, lengths: Tensor, last: Tensor) -> tuple[Tensor, Tensor | None]:
        return last, None

    def pool_packed(self, read: ReadPacked, lengths: Tensor) -> Tensor:
        return read.last

    def pool_long(self, pieces: Pieces, last: Callable[[], Tensor]) -> Tensor:
        return last()


class MeanOfStates(Pool):
    """The mean over a sentence's own words."""

    packs = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dimension = width

    def forward(self, states: Tensor, lengths: Tensor, last: Tensor) -> tuple[Tensor, Tensor | None]:
        return states.sum(1) / lengths.clamp(min=1).unsqueeze(1).to(states.dtype), None

    def pool_packed(self, read: ReadPacked, lengths: Tensor) -> Tensor:
        return _fold(read, lengths, torch.add) / lengths.clamp(min=1).unsqueeze(1).to(read.outputs.dtype)

    def pool_long(self, pieces: Pieces, last: Callable[[], Tensor]) -> Tensor:
        sums = [(piece.double().sum(0), len(piece)) for piece in pieces()]
        return (torch.stack([total for total, _ in sums]).sum(0) / sum(count for _, count in sums)).float()


class MaxOfStates(Pool):
    """The maximum over a sentence's words; with ``padding`` zero also over the zeros behind it."""

    packs = True

    def __init__(self, width: int, padding: Padding) -> None:
        super().__init__()
        self.dimension, self.padding = width, padding

    def forward(self, states: Tensor, lengths: Tensor, last: Tensor) -> tuple[Tensor, Tensor | None]:
        return max_of(states, lengths, self.padding), None

    def pool_packed(self, read: ReadPacked, lengths: Tensor) -> Tensor:
        maxima = _fold(read, lengths, torch.maximum)
        if self.padding == "zero" and len(lengths):
            shorter = (lengths < lengths.max()).unsqueeze(1)
            maxima = torch.where(shorter, maxima.clamp(min=0), maxima)
        return maxima

    def pool_long(self, pieces: Pieces, last: Callable[[], Tensor]) -> Tensor:
        return torch.stack([piece.amax(0) for piece in pieces()]).amax(0)


def max_of(states: Tensor, lengths: Tensor, padding: Padding) -> Tensor:
    """``[batch, width]``, zero where there is no word."""
    if not torch.onnx.is_in_onnx_export() and not states.shape[1]:
        return states.sum(1)
    if padding == "zero":
        return states.amax(1)
    there = mask_of(lengths, states.shape[1]).unsqueeze(2)
    maxima = states.masked_fill(~there, torch.finfo(states.dtype).min).amax(1)
    return maxima.masked_fill((lengths == 0).unsqueeze(1), 0.0)


class Attention(Pool):
    """A weighted sum of values, once for each hop; a subclass writes :meth:`score` and, where values are not the
    states themselves, :meth:`value`. ``padded``: is what stands behind a sentence's end attended to?"""

    hops: int
    padded = False

    @abstractmethod
    def score(self, states: Tensor, summary: Tensor | None) -> Tensor:
        """``[batch, time, hops]``, before the softmax over words."""

    def value(self, states: Tensor) -> Tensor:
        """``[batch, time, width]``: what is summed."""
        return states

    def summary(self, states: Tensor, lengths: Tensor) -> Tensor | None:
        """What the scores look at of the whole sentence."""
        return None

    def forward(self, states: Tensor, lengths: Tensor, last: Tensor) -> tuple[Tensor, Tensor | None]:
        scores = self.score(states, self.summary(states, lengths))
        there = mask_of(lengths, states.shape[1]).unsqueeze(2)
        if self.padded:
            weights = torch.softmax(scores, 1)
        else:
            weights = torch.softmax(scores.masked_fill(~there, torch.finfo(states.dtype).min), 1) * there
        weights = weights.transpose(1, 2)
        found = torch.matmul(weights, self.value(states)).flatten(1)
        return found * (lengths > 0).unsqueeze(1), weights * there.transpose(1, 2)

    def pool_long(self, pieces: Pieces, last: Callable[[], Tensor]) -> Tensor:
        """Piece by piece; sums are brought to the highest score so far."""
        whole = None
        if type(self).summary is not Attention.summary:  # of the maxima of all pieces
            maxima = torch.stack([piece.amax(0) for piece in pieces()]).unsqueeze(0)
            whole = self.summary(maxima, torch.tensor([maxima.shape[1]]))
        highest = sums = shares = torch.zeros(0)
        for piece in pieces():
            scores = self.score(piece.unsqueeze(0), whole)[0].t()  # [hops, words]
            now = scores.amax(1, keepdim=True)
            now = torch.maximum(highest, now) if len(highest) else now
            weights = torch.exp(scores - now)
            more, share = weights @ self.value(piece.unsqueeze(0))[0], weights.sum(1, keepdim=True)
            if len(highest):
                kept = torch.exp(highest - now)
                more, share = more + sums * kept, share + shares * kept
            highest, sums, shares = now, more, share
        return (sums / shares).flatten()


class InnerAttention(Attention):
    """InferSent's inner attention over bidirectional states, in the three variants of its released code.

    ``"naacl"``: one learned query over keys tanh(W_k h), its scores divided by 2 and by 2 again. ``"mila"``: several
    queries, scores divided by 3, their sums side by side. ``"yang"``: tanh(W_e h + b + W_q m + c) against one query, m
    the maximum over the sentence's states. Values are linear maps of the states. With ``padding`` zero the last one
    attends to the padding too, as released.
    """

    def __init__(self, width: int, variant: Literal["naacl", "mila", "yang"], queries: int, padding: Padding) -> None:
        super().__init__()
        yang = variant == "yang"
        self.variant, self.padding, self.hops = variant, padding, queries if variant == "mila" else 1
        self.dimension = self.hops * width
        self.padded = yang and padding == "zero"
        self.keys = nn.Linear(width, width, bias=yang)
        self.values = nn.Linear(width, width, bias=yang)
        if yang:
            self.of_summary = nn.Linear(width, width)
        self.queries = nn.Parameter(torch.empty(self.hops, width))
        nn.init.normal_(self.queries)

    def summary(self, states: Tensor, lengths: Tensor) -> Tensor | None:
        if self.variant != "yang":
            return None
        return self.of_summary(max_of(states, lengths.to(states.device), self.padding)).unsqueeze(1)  # type: ignore[no-any-return]

    def value(self, states: Tensor) -> Tensor:
        return self.values(states)  # type: ignore[no-any-return]

    def score(self, states: Tensor, summary: Tensor | None) -> Tensor:
        keys = self.keys(states)
        keys = torch.tanh(keys if summary is None else keys + summary)
        return torch.matmul(keys, self.queries.t()) / {"naacl": 4.0, "mila": 3.0, "yang": 1.0}[self.variant]


class SelfAttention(Attention):
    """Structured self-attention (Lin+ 2017, eq. 6): A = softmax(W2 tanh(W1 Hᵀ)) over words, M = A H; no biases. The
    vector is M, row behind row; ``hops`` is r, ``attention_width`` d_a."""

    def __init__(self, width: int, attention_width: int, hops: int) -> None:
        super().__init__()
        self.hops, self.dimension = hops, hops * width
        self.first = nn.Linear(width, attention_width, bias=False)
        self.second = nn.Linear(attention_width, hops, bias=False)

    def score(self, states: Tensor, summary: Tensor | None) -> Tensor:
        return self.second(torch.tanh(self.first(states)))  # type: ignore[no-any-return]


def redundancy(attention: Tensor) -> Tensor:
    """‖A Aᵀ − I‖²_F of each item (Lin+ 2017, eq. 8): ``attention`` ``[batch, hops, words]`` in, ``[batch]`` out."""
    overlap = attention @ attention.transpose(1, 2)
    return (overlap - torch.eye(overlap.shape[1], device=overlap.device)).square().sum((1, 2))


# --- encoders ---------------------------------------------------------------------------------------------------------

Pooling = Literal["last", "mean", "max", "naacl", "mila", "yang", "self-attention"]
Size = Annotated[int, AtLeast(1)]


class RecurrentEncoder(Encoder):
    """Recurrent layers and a pooling over what the last one gives. Token vectors are the states; of self-attention, the
    rows of M.

    Args:
        inputs: numbers of each word's vector.
        width: of the layers.
        cell: ``"lstm"`` or ``"gru"``.
        directions: as of :class:`umekomi.parts.layers.recurrent.Recurrent`.
        layers: one on another.
        projected: puts a linear map without bias between states and pooling (InferSent's BLSTMproj).
        pooling: ``"naacl"``, ``"mila"`` and ``"yang"`` are :class:`InnerAttention`, ``"self-attention"`` is
            :class:`SelfAttention`; the others speak for themselves.
        padding: ``"masked"``, or ``"zero"``: what stands behind a text counts as zeros, as InferSent was released.
        queries: of ``"mila"``.
        hops: of self-attention.
        attention_width: of self-attention.
        dropout: between the layers.
    """

    kind = "recurrent"

    def __init__(
        self,
        inputs: int,
        *,
        width: Size,
        cell: Literal["lstm", "gru"] = "lstm",
        directions: Literal["forward", "backward", "both"] = "both",
        layers: Annotated[int, Within(1, 64, "[]")] = 1,
        projected: bool = False,
        pooling: Pooling = "max",
        padding: Padding = "masked",
        queries: Size = 4,
        hops: Size = 30,
        attention_width: Size = 350,
        dropout: Annotated[float, Within(0, 1)] = 0.0,
    ) -> None:
        super().__init__()
        self.padding = padding
        outer = ("self", "inputs", "__class__")
        self._settings = {name: value for name, value in locals().items() if name not in (*outer, "outer")}
        self.recurrent = Recurrent(inputs, width, cell=cell, layers=layers, directions=directions, dropout=dropout)
        states = self.recurrent.dimension
        self.projection = nn.Linear(states, states, bias=False) if projected else None
        if projected and pooling == "last":
            raise WrongUse("recurrent encoder: expected a pooling over all states where they are projected, found last")
        if pooling in ("naacl", "mila", "yang"):
            self.pool: Pool = InnerAttention(states, pooling, queries, padding)  # type: ignore[arg-type]
        elif pooling == "self-attention":
            self.pool = SelfAttention(states, attention_width, hops)
        elif pooling == "max":
            self.pool = MaxOfStates(states, padding)
        else:
            self.pool = LastState(states) if pooling == "last" else MeanOfStates(states)
        self.dimension, self.token_width = self.pool.dimension, states

    def settings(self) -> dict[str, Any]:
        return self._settings

    def forward(self, vectors: Tensor, lengths: Tensor) -> EncodedBatch:
        read = self.recurrent(vectors, lengths)
        states = read.outputs if self.projection is None else self.projection(read.outputs)
        found, attention = self.pool(states, lengths, read.last)
        if isinstance(self.pool, SelfAttention):
            return EncodedBatch(
                found, found.unflatten(1, (self.pool.hops, -1)), self.pool.hops * (lengths > 0), attention
            )
        return EncodedBatch(found, states, lengths, attention)

    def encode(self, vectors: Tensor, lengths: Tensor, places: Tensor | None = None) -> Tensor:
        if not self.pool.packs or torch.is_grad_enabled():
            return super().encode(vectors, lengths, places)
        read = self.recurrent.packed(vectors, lengths, places)
        if self.projection is not None:
            read = read._replace(outputs=self.projection(read.outputs))
        return self.pool.pool_packed(read, lengths)

    def encode_long(self, vectors: Tensor) -> Tensor:
        if len(self.recurrent.cells) > 1 or torch.is_grad_enabled():
            return super().encode_long(vectors)

        def pieces() -> Iterator[Tensor]:
            for piece in self.recurrent.pieces(vectors, PIECE):
                yield piece if self.projection is None else self.projection(piece)

        return self.pool.pool_long(pieces, lambda: self.recurrent.last_of_pieces(vectors, PIECE))


class MappedEncoder(Encoder):
    """A recurrent layer whose last state is sent through a linear map to ``outputs`` numbers (the recurrent DictRep and
    CaptionRep of Hill+ 2016)."""

    kind = "mapped"

    def __init__(self, inputs: int, *, width: Size, outputs: Size, cell: Literal["lstm", "gru"] = "lstm") -> None:
        super().__init__()
        self._settings = {"width": width, "outputs": outputs, "cell": cell}
        self.inner = RecurrentEncoder(inputs, width=width, cell=cell, directions="forward", pooling="last")
        self.map = nn.Linear(width, outputs)
        self.dimension = outputs

    def settings(self) -> dict[str, Any]:
        return self._settings

    def forward(self, vectors: Tensor, lengths: Tensor) -> EncodedBatch:
        found = self.inner(vectors, lengths).vectors
        return EncodedBatch(self.map(found) * (lengths > 0).unsqueeze(1))

    def encode(self, vectors: Tensor, lengths: Tensor, places: Tensor | None = None) -> Tensor:
        return self.map(self.inner.encode(vectors, lengths, places)) * (lengths > 0).unsqueeze(1)  # type: ignore[no-any-return]

    def encode_long(self, vectors: Tensor) -> Tensor:
        return self.map(self.inner.encode_long(vectors))  # type: ignore[no-any-return]


class ConvolutionEncoder(Encoder):
    """The hierarchical convolution (InferSent's ConvNetEncoder, after Zhao+ 2015): four convolutions over three words
    with ReLU, one on the other, and the maxima over words of all four side by side. ``width`` channels a layer. With
    ``padding`` zero what the layers make of the zeros behind a sentence counts too, as released."""

    kind = "convolution"
    LAYERS = 4

    def __init__(self, inputs: int, *, width: Size, padding: Padding = "masked") -> None:
        super().__init__()
        self.padding = padding
        self._settings = {"width": width, "padding": padding}
        self.layers = nn.ModuleList(
            nn.Conv1d(width if number else inputs, width, 3, padding=1) for number in range(self.LAYERS)
        )
        self.dimension = self.LAYERS * width

    def settings(self) -> dict[str, Any]:
        return self._settings

    def forward(self, vectors: Tensor, lengths: Tensor) -> EncodedBatch:
        if not torch.onnx.is_in_onnx_export() and not vectors.shape[1]:
            return EncodedBatch(vectors.new_zeros(len(vectors), self.dimension))
        there = mask_of(lengths, vectors.shape[1]).unsqueeze(1)
        found, maxima = vectors.transpose(1, 2) * there, []
        for layer in self.layers:
            found = torch.relu(layer(found))
            if self.padding == "masked":  # no number is below zero: what is masked is no maximum
                found = found * there
            maxima.append(found.amax(2))
        return EncodedBatch(torch.cat(maxima, 1) * (lengths > 0).unsqueeze(1))

    def encode_long(self, vectors: Tensor) -> Tensor:
        around, found = self.LAYERS, torch.zeros(self.dimension, device=vectors.device)
        width = self.dimension // self.LAYERS
        for start in range(0, len(vectors), PIECE):
            first, stop = max(start - around, 0), min(start + PIECE, len(vectors))
            data = vectors[first : stop + around].t().unsqueeze(0)
            for number, layer in enumerate(self.layers):
                data = torch.relu(layer(data))
                inner = data[0, :, start - first : stop - first].amax(1)
                mine = slice(number * width, (number + 1) * width)
                found[mine] = torch.maximum(found[mine], inner)
        return found


class WordNetwork(nn.Module):
    """A table of word vectors under an encoder: ids of words in. ``rows`` words of ``inputs`` numbers."""

    kind: ClassVar[str] = "words"

    def __init__(self, rows: int, inputs: int, encoder: Encoder) -> None:
        super().__init__()
        self.words = nn.Embedding(rows, inputs)
        self.encoder = encoder

    @property
    def dimension(self) -> int:
        """Width of its vectors."""
        return self.encoder.dimension

    @property
    def token_width(self) -> int:
        """Width of its token vectors; 0: it has none."""
        return self.encoder.token_width

    @property
    def padding(self) -> Padding:
        """Does a vector depend on its batch (``"zero"``)?"""
        return self.encoder.padding

    def forward(self, ids: Tensor, lengths: Tensor) -> EncodedBatch:
        """``ids`` int64 ``[batch, time]``, anything behind a sequence's end."""
        return self.encoder(self.words(ids), lengths)  # type: ignore[no-any-return]

    def encode(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The vectors alone."""
        distinct, places = torch.unique(ids, return_inverse=True)
        return self.encoder.encode(self.words(distinct), lengths, places)  # type: ignore[no-any-return]

    def encode_long(self, ids: Tensor) -> Tensor:
        """``[dimension]`` of one text of many words ``[time]``."""
        return self.encoder.encode_long(self.words(ids))

    def read_through(self, table: NDArray[np.float32], width: int) -> None:
        """Read given word vectors ``[words, dim]`` through a map to ``width`` numbers, until :meth:`fold`."""
        self.words = MappedWords(table, width)  # type: ignore[assignment]

    def fold(self) -> None:
        """One table of the given vectors and the map, where there are such."""
        if isinstance(self.words, MappedWords):
            self.words = self.words.folded()

    def settings(self) -> dict[str, Any]:
        """What :func:`word_network` makes another one of."""
        own = {"rows": self.words.num_embeddings, "inputs": self.words.embedding_dim}
        return own | {"encoder": self.encoder.kind, "settings": self.encoder.settings()}


class CombinedNetwork(nn.Module):
    """The vectors of several networks over the same words side by side, each brought to length one (Kiros+ 2015's
    combine-skip, as its released encoder has it)."""

    kind: ClassVar[str] = "combined words"
    token_width = 0
    padding: Padding = "masked"

    def __init__(self, parts: Sequence[WordNetwork]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.dimension = sum(part.dimension for part in parts)

    def forward(self, ids: Tensor, lengths: Tensor) -> EncodedBatch:
        """``ids`` int64 ``[batch, time]``, anything behind a sequence's end."""
        return EncodedBatch(torch.cat([nn.functional.normalize(part(ids, lengths).vectors) for part in self.parts], 1))

    def encode(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The vectors alone."""
        return torch.cat([nn.functional.normalize(part.encode(ids, lengths)) for part in self.parts], 1)  # type: ignore[operator]

    def encode_long(self, ids: Tensor) -> Tensor:
        """``[dimension]`` of one text of many words ``[time]``."""
        return torch.cat([nn.functional.normalize(part.encode_long(ids), dim=0) for part in self.parts])  # type: ignore[operator]

    def settings(self) -> dict[str, Any]:
        """What makes another one like it."""
        parts = [part.settings() for part in self.parts]  # type: ignore[operator]
        return {"rows": parts[0]["rows"], "parts": parts}
