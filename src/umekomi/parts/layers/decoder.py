"""A decoder: a recurrent layer that foretells a text word by word from a vector, which it begins from, and at each step
looks at where it is made so; and the search for the text that it finds likeliest, greedily or by a beam.

One layer for all methods that learn sentences by generating: SDAE and skip-thought (Hill+ 2016, Kiros+ 2015),
translation without attention (Cho+ 2014), the document autoencoders (Li+ 2015).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from umekomi.errors import WrongUse
from umekomi.parts.layers.recurrent import Recurrent, State, threads_of_steps
from umekomi.parts.layers.sentence import mask_of
from umekomi.parts.layers.softmax import WordSoftmax

Ids = NDArray[np.int64]
S = TypeVar("S")
WRITTEN_PRODUCTS = 1 << 29
"""A step with at most so many products is one thread's. It is half a dozen operations, at the end of each of which
threads wait: with a core taken by another process two took 15 to 20 times as long as one at 16 and 64 million products,
3.5 times at 512 million (two cores; where both are free, they can at best halve the time)."""


class Going(NamedTuple):
    """Where a decoder stands in some texts: its ``state``, and what the vectors that it began from say to every step
    (None: nothing)."""

    state: State
    said: Tensor | None


class Decoder(nn.Module):
    """Words of a text from what stands before them and from a vector. The first word is foretold from a zero input, as
    in the released programs of SDAE and skip-thought.

    Args:
        words: the table of its own words, whose rows are what it foretells.
        width: of the recurrent layers.
        source: numbers of the vector it begins from.
        cell: ``"gru"`` or ``"lstm"``.
        layers: one on another; the vector is where the first one begins.
        begin: ``"map"``: from tanh(W v + b); ``"same"``: from the vector itself, which is then as wide as the layers.
        every_step: whether the vector has a say in the gates at every step too.
        readout: a layer of so many numbers, tanh(W h + b), between states and softmax; None: none.
        tied: whether the softmax takes the weights of ``words``.
        sampled: words that stand for all in the softmax while it learns; None: all.
        dropout: before the softmax.
        softmax: another decoder's, which is shared; ``tied`` and ``sampled`` are then as there.
    """

    def __init__(
        self,
        words: nn.Embedding,
        width: int,
        source: int,
        *,
        cell: Literal["gru", "lstm"] = "gru",
        layers: int = 1,
        begin: Literal["map", "same"] = "map",
        every_step: bool = True,
        readout: int | None = None,
        tied: bool = False,
        sampled: int | None = None,
        dropout: float = 0.0,
        softmax: WordSoftmax | None = None,
    ) -> None:
        super().__init__()
        if begin == "same" and width != source:
            raise WrongUse(f"decoder, begin same: expected a vector as wide as the layers ({width}), found {source}")
        wide = readout or width
        if tied and words.embedding_dim != wide:
            raise WrongUse(
                f"decoder, tied: expected words as wide as what the softmax reads ({wide}), found {words.embedding_dim}"
            )
        self.words = words
        self.recurrent = Recurrent(
            words.embedding_dim, width, cell=cell, layers=layers, condition=source if every_step else None
        )
        self.begin_map = nn.Linear(source, width) if begin == "map" else None
        self.readout = nn.Linear(width, readout) if readout else None
        self.dropout = nn.Dropout(dropout)
        self.softmax = softmax or WordSoftmax(wide, words.num_embeddings, sampled, words if tied else None)

    def begin(self, source: Tensor) -> Going:
        """Where texts begin from ``source`` ``[batch, source]``."""
        first = source if self.begin_map is None else torch.tanh(self.begin_map(source))
        state = self.recurrent.zero_state(source, len(source))
        state = (torch.cat([first.unsqueeze(0), state[0][1:]]), *state[1:])
        return Going(state, self.recurrent.said_by(source if self.recurrent.condition is not None else None))

    def states(self, source: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """``[words, readout]``: what the softmax reads before each word of the texts ``ids`` int64 ``[batch, time]`` of
        ``lengths`` words, text behind text."""
        going = self.begin(source)
        given = self.words(ids)
        given = torch.cat([given.new_zeros(len(ids), 1, given.shape[2]), given], 1)[:, : ids.shape[1]]
        read = self.recurrent(given, lengths, going.state, said=going.said).outputs
        return self.told(read[mask_of(lengths, ids.shape[1])])

    def told(self, read: Tensor) -> Tensor:
        """What the softmax reads of the layers' outputs."""
        return self.dropout(read if self.readout is None else torch.tanh(self.readout(read)))  # type: ignore[no-any-return]

    def forward(self, source: Tensor, ids: Tensor, lengths: Tensor, drawn: Tensor) -> Tensor:
        """Mean negative log likelihood of each word of the texts, by the words before it and ``source``; ``drawn`` from
        the softmax's :meth:`~umekomi.parts.layers.softmax.WordSoftmax.draw`."""
        return self.softmax.loss(self.states(source, ids, lengths), ids[mask_of(lengths, ids.shape[1])], drawn)

    def step(self, last: Tensor | None, going: Going) -> tuple[Tensor, Going]:
        """(logarithms of each next word's chance ``[batch, words]``, where it then stands) behind the words ``last``
        int64 ``[batch]``; None: at the begin."""
        batch = going.state[0].shape[1]
        given = self.words(last) if last is not None else self.words.weight.new_zeros(batch, self.words.embedding_dim)
        read, state = self.recurrent.step(given, going.state, going.said)
        return torch.log_softmax(self.softmax(self.told(read)), 1), going._replace(state=state)

    def write(
        self, source: Tensor, *, end: int, beam: int = 1, longest: int | Ids = 100, normalise: float = 0.0
    ) -> list[Ids]:
        """The likeliest text of each vector ``[batch, source]``, as :func:`search` finds it."""
        with torch.inference_mode():
            going = self.begin(source)
            settings: dict[str, Any] = {"end": end, "beam": beam, "longest": longest, "normalise": normalise}
            with writing_threads(len(source) * beam, self.recurrent, self.softmax):
                return search(self.step, going, choose_going, len(source), **settings)


def writing_threads(rows: int, *modules: nn.Module) -> AbstractContextManager[None]:
    """Around a search whose steps take ``rows`` texts through these modules: one thread unless they are large."""
    weights = [weight for module in modules for weight in module.parameters()]
    return threads_of_steps(rows * sum(weight.numel() for weight in weights) <= WRITTEN_PRODUCTS, weights[0])


def choose_going(going: Going, rows: Tensor) -> Going:
    """Where a decoder stands in the texts of these rows, which may repeat."""
    said = going.said
    return Going(
        tuple(part.index_select(1, rows) for part in going.state),
        None if said is None else said.index_select(0, rows),
    )


def search(
    step: Callable[[Any, S], tuple[Tensor, S]],
    state: S,
    choose: Callable[[S, Tensor], S],
    batch: int,
    *,
    end: int,
    beam: int = 1,
    longest: int | Ids = 100,
    normalise: float = 0.0,
) -> list[Ids]:
    """The likeliest text of each of ``batch`` beginnings, without its ``end``: int64 ``[words]`` each. All are searched
    together; those that have ended take no further steps.

    A beam keeps the ``beam`` best texts, ended ones among them, by the sum of their words' logarithms over
    length^``normalise`` (Wu+ 2016 without their constants; 0: the sum itself), their ends counted; it is over where all
    have ended, or at ``longest`` words, where what has not ended stands as it is.

    Args:
        step: ``step(last, state)`` gives the logarithms of the next words' chances ``[n, words]`` and the state behind
            the words ``last`` int64 ``[n]``, None at the begin.
        state: of all beginnings.
        choose: ``choose(state, rows)``: the states of these rows.
        batch: how many beginnings.
        end: the word that ends a text.
        beam: how many texts are kept; 1: the best next word is taken each time.
        longest: words of a text at most, its end among them; one number, or one for each beginning.
        normalise: of the length.
    """
    if not batch:
        return []
    limits: Ids = np.broadcast_to(np.asarray(longest, np.int64), (batch,))
    for name, value in (("beam", beam), ("longest", int(limits.min()))):
        if value < 1:
            raise WrongUse(f"decoding, {name}: expected 1 or more, found {value}")
    if beam == 1:
        return _greedy(step, state, choose, batch, end, limits)
    return _beam(step, state, choose, batch, end, beam, limits, normalise)


def _greedy(step: Any, state: Any, choose: Any, batch: int, end: int, limits: Ids) -> list[Ids]:
    longest = int(limits.max())
    out: Ids = np.full((batch, longest), end, np.int64)
    going: Ids = np.arange(batch)
    last = None
    for time in range(longest):
        chances, state = step(last, state)
        last = chances.argmax(1)
        words = last.cpu().numpy()
        out[going, time] = words
        alive = np.flatnonzero((words != end) & (limits[going] > time + 1))
        if not len(alive):
            break
        if len(alive) < len(going):
            rows = torch.from_numpy(alive).to(last.device)
            going, last, state = going[alive], last[rows], choose(state, rows)
    return [_until(row, end) for row in out]


def _until(row: Ids, end: int) -> Ids:
    ends = np.flatnonzero(row == end)
    return row[: ends[0]].copy() if len(ends) else row.copy()


def _beam(
    step: Any, state: Any, choose: Any, batch: int, end: int, beam: int, limits: Ids, normalise: float
) -> list[Ids]:
    chances, state = step(None, state)
    device, words, longest = chances.device, chances.shape[1], int(limits.max())
    limit = torch.from_numpy(limits.copy()).to(device).unsqueeze(1)
    best, last = chances.double().topk(min(beam, words), 1)
    short = beam - best.shape[1]
    if short > 0:  # fewer words than places
        best = torch.cat([best, best.new_full((batch, short), -torch.inf)], 1)
        last = torch.cat([last, last.new_full((batch, short), end)], 1)
    texts = torch.full((batch, beam, longest), end, dtype=torch.int64, device=device)
    texts[:, :, 0] = last
    sums, lengths = best, torch.ones(batch, beam, device=device)
    ended = (last == end) | torch.isneginf(sums) | (limit == 1)
    home = torch.arange(batch, device=device).unsqueeze(1).expand(batch, beam)
    state = choose(state, home[~ended])
    for time in range(1, longest):
        if bool(ended.all()):
            break
        chances, state = step(texts[:, :, time - 1][~ended], state)
        few = min(beam, words)
        more, next_words = chances.double().topk(few, 1)
        # each place gives its best continuations, an ended one itself alone
        candidates = torch.full((batch, beam, few), -torch.inf, dtype=torch.float64, device=device)
        written = torch.full((batch, beam, few), end, dtype=torch.int64, device=device)
        candidates[~ended] = sums[~ended].unsqueeze(1) + more
        written[~ended] = next_words
        candidates[:, :, 0] = torch.where(ended, sums, candidates[:, :, 0])
        whole = lengths + (~ended).to(lengths.dtype)
        scores = candidates / whole.double().unsqueeze(2) ** normalise
        _, places = scores.flatten(1).topk(beam, 1)
        origin = places // few
        sums = candidates.flatten(1).gather(1, places)
        last = written.flatten(1).gather(1, places)
        texts = texts.gather(1, origin.unsqueeze(2).expand(-1, -1, longest)).clone()
        texts[:, :, time] = last
        lengths = whole.gather(1, origin)
        before = ended.gather(1, origin)
        row_of = torch.full((batch, beam), -1, dtype=torch.int64, device=device)
        row_of[~ended] = torch.arange(int((~ended).sum()), device=device)
        rows = row_of.gather(1, origin)
        ended = before | (last == end) | torch.isneginf(sums) | (limit == time + 1)
        state = choose(state, rows[~ended])
    chosen = texts[torch.arange(batch, device=device), (sums / lengths.double() ** normalise).argmax(1)]
    return [_until(row, end) for row in chosen.cpu().numpy()]
