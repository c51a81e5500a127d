"""A bidirectional language model learned from running text: forwards each next word, backwards each one before, over
one vocabulary, with state carried from batch to batch (Peters+ 2018, 3.1); and its layers mixed for labels (eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from umekomi.errors import DataError
from umekomi.files import content_hash
from umekomi.parts.layers.bilm import BiLanguageModel, ElmoNetwork
from umekomi.parts.layers.softmax import WordSoftmax
from umekomi.parts.learning.modules import History, learn
from umekomi.parts.learning.samplers import Streams, hold_out, shuffled
from umekomi.run import Run

Ids = NDArray[np.int64]
BEGIN, END, UNKNOWN = 0, 1, 2
"""Rows of the vocabulary before the words: the marks around a text, and every word that has no row."""


@dataclass(frozen=True)
class Corpus:
    """Running text. ``tokens`` int32: each text's words between two marks, text i at ``offsets[i]:offsets[i + 1]``, as
    rows of ``characters`` uint16 ``[distinct words + 2, longest]``, the marks first, then words, frequent ones before;
    ``targets`` is how many rows are foretold, beyond which a word is :data:`UNKNOWN`."""

    tokens: NDArray[np.int32]
    offsets: Ids
    characters: NDArray[np.uint16]
    targets: int

    def target(self, tokens: Ids) -> Ids:
        """Rows of the softmax: words stand one behind their rows, :data:`UNKNOWN` between marks and words."""
        rows = np.where(tokens < UNKNOWN, tokens, tokens + 1)
        return np.where(rows < self.targets, rows, UNKNOWN)

    def reversed(self) -> NDArray[np.int32]:
        """``tokens`` with each text turned round where it stands."""
        places = np.arange(len(self.tokens))
        of = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        return self.tokens[self.offsets[of] + self.offsets[of + 1] - 1 - places]


class Window(NamedTuple):
    """Words of both readings ``[batch, length]`` as rows of ``characters`` ``[words, longest]`` (each word once), what
    is foretold of each, and words drawn to be told from them (empty: all) with the logarithm of how often each is
    expected to be drawn; likewise of every word."""

    characters: Tensor
    ahead: Tensor
    back: Tensor
    ahead_targets: Tensor
    back_targets: Tensor
    drawn: Tensor


class LanguageHead(nn.Module):
    """The softmax over ``rows`` words that both directions share, in training over ``sampled`` of them (None: all)."""

    def __init__(self, model: BiLanguageModel, rows: int, sampled: int | None, dropout: float, length: int) -> None:
        super().__init__()
        self.model, self.rows, self.length = model, rows, length
        self.dropout = nn.Dropout(dropout)
        self.softmax = WordSoftmax(model.projection, rows, sampled)

    def read(self, window: Window, state: Any) -> tuple[Tensor, Tensor, Any]:
        """(states forwards, states backwards, ``[batch, length, projection]``; what goes on from there)."""
        words = self.model.words(window.characters.long())
        lengths = torch.full((len(window.ahead),), window.ahead.shape[1], device=window.ahead.device)
        ahead, back = (self.dropout(words[rows]) for rows in (window.ahead, window.back.flip(1)))
        first, second = state if state is not None else (None, None)
        one = self.model.forwards(ahead, lengths, first)
        two = self.model.backwards(back, lengths, second)  # its reading is turned twice: it reads from the right
        return self.dropout(one.outputs), self.dropout(two.outputs.flip(1)), (one.state, two.state)

    def loss(self, states: Tensor, targets: Tensor, drawn: Tensor) -> Tensor:
        """Mean negative log likelihood of ``targets``; in evaluation over all words."""
        return self.softmax.loss(states.flatten(0, 1), targets.flatten(), drawn)

    def forward(self, window: Window, state: Any) -> tuple[Tensor, Any]:
        """The mean of both directions' losses, ``length`` times, as the released program's gradient is."""
        ahead, back, state = self.read(window, state)
        total = self.loss(ahead, window.ahead_targets, window.drawn) + self.loss(
            back, window.back_targets, window.drawn
        )
        return total * 0.5 * self.length, state


def pretrain(
    head: LanguageHead,
    corpus: Corpus,
    *,
    run: Run,
    key: str,
    epochs: int,
    batch_size: int,
    length: int,
    optimiser: Any,
    clip: float,
    held_out: float,
    patience: int | None,
    hint: str,
) -> tuple[History, dict[str, Any]]:
    """Train ``head`` and its network; gives the history and what a card says: perplexity of the mean of both
    directions on the texts held out, after each epoch, beside that of the words' own frequencies there.

    Args:
        head: the network and the softmax over it.
        corpus: the texts.
        run: who, seed, checkpoint, progress.
        key: names the settings and the data.
        epochs: times through the texts.
        batch_size: streams that are read side by side.
        length: words until the gradient is cut.
        optimiser: makes the optimiser of parameters.
        clip: bound of the gradient's norm.
        held_out: share of the texts that perplexity is measured on.
        patience: epochs without a lower perplexity that end the training; None: none do.
        hint: for the error when a number is not finite.
    """
    texts = len(corpus.offsets) - 1
    if texts < 2:
        raise DataError(f"{run.who}: expected two texts or more, found {texts}")
    train, held = hold_out(texts, held_out, run.generator(1 << 21))
    turned = corpus.reversed()

    def window(places: Ids, generator: np.random.Generator | None) -> Window:
        ahead, back = corpus.tokens[places].astype(np.int64), turned[places].astype(np.int64)
        rows, where = np.unique(np.stack([ahead[:, :-1], back[:, :-1]]), return_inverse=True)
        where = where.reshape(2, *ahead[:, :-1].shape)
        drawn = head.softmax.draw(generator) if generator is not None else np.zeros(0, np.int64)
        return Window(
            torch.from_numpy(corpus.characters[rows].astype(np.int32)),
            torch.from_numpy(where[0]),
            torch.from_numpy(where[1]),
            torch.from_numpy(corpus.target(ahead[:, 1:])),
            torch.from_numpy(corpus.target(back[:, 1:])),
            torch.from_numpy(drawn),
        )

    learned = np.ones(texts, bool)
    learned[held] = False
    sizes = np.diff(corpus.offsets)
    places, out = (np.flatnonzero(np.repeat(side, sizes)) for side in (learned, ~learned))
    lengths = np.append(0, np.cumsum(sizes[train]))
    batches = Streams(lengths, lambda at, generator: window(places[at], generator), batch_size, length)
    lanes = min(batch_size, max(1, len(out) // (2 * length)))
    columns = len(out) // lanes
    grid = out[: lanes * columns].reshape(lanes, columns)

    def perplexity(module: nn.Module) -> float:
        assert isinstance(module, LanguageHead)
        device, total, seen, state = next(module.parameters()).device, 0.0, 0, None
        for start in range(0, columns - 1, length):
            own = Window(*[part.to(device) for part in window(grid[:, start : start + length + 1], None)])
            value, state = module(own, state)
            many = own.ahead.numel()
            total, seen = total + float(value) / module.length * many, seen + many
        return float(np.exp(total / max(seen, 1)))

    if columns < 2:
        raise DataError(f"{run.who}: expected words to measure perplexity on, found {len(out)} in texts held out")
    history = learn(
        head,
        batches,
        lambda module, batch, state: module(batch, state),
        run=run,
        key=content_hash(
            key, corpus.tokens.tobytes(), corpus.offsets.tobytes(), corpus.characters.tobytes(), train.tobytes()
        ),
        epochs=epochs,
        optimiser=optimiser,
        clip=clip,
        carry=True,
        validate=perplexity,
        better="lower",
        patience=patience,
        size=lambda batch: int(batch.ahead.numel()),
        unit="words",
        hint=hint,
    )
    about = {
        "texts": len(train),
        "held out": len(held),
        "words": len(corpus.tokens),
        "vocabulary": corpus.targets,
        "perplexity": [round(value, 3) for value in history.values],
        "perplexity of frequencies": round(_unigram(corpus, places, out), 3),
        "loss": [round(value / head.length, 4) for value in history.losses],
        "ended": history.ended,
    }
    return history, about


def _unigram(corpus: Corpus, train: Ids, held: Ids) -> float:
    """Perplexity of what is held out under the words' frequencies elsewhere, one added to each."""
    counts = np.bincount(corpus.target(corpus.tokens[train].astype(np.int64)), minlength=corpus.targets) + 1.0
    wanted = corpus.target(corpus.tokens[held].astype(np.int64))
    return float(np.exp(-np.log(counts[wanted] / counts.sum()).mean()))


def learn_mix(
    network: ElmoNetwork,
    layers: NDArray[np.float32],
    labels: Sequence[Any],
    *,
    run: Run,
    key: str,
    penalty: float,
    epochs: int,
    learning_rate: float,
) -> dict[str, Any]:
    """The weights of the layers and γ that serve a linear classifier of these labels best, written into ``network``.

    Args:
        network: whose mix is learned.
        layers: each text's mean at each layer, ``[texts, layers, dimension]``.
        labels: of the texts.
        run: who, seed, checkpoint, progress.
        key: names the settings.
        penalty: times |w|² of the raw weights is added (the paper's λ: 1 holds the mix near the mean, .001 lets it
            move).
        epochs: times through the texts.
        learning_rate: Adam's.
    """
    names, classes = np.unique(np.array([str(label) for label in labels]), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"{run.who}: column 'label': expected two labels or more, found only {str(names[0])!r}")
    data, wanted = torch.from_numpy(layers), torch.from_numpy(classes.astype(np.int64))

    class Probe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.gamma = nn.Parameter(torch.zeros(layers.shape[1])), nn.Parameter(torch.ones(1))
            self.classify = nn.Linear(layers.shape[2], len(names))
            nn.init.zeros_(self.classify.weight)

        def forward(self, given: Tensor) -> Tensor:
            mixed = self.gamma * torch.einsum("l,bld->bd", torch.softmax(self.mix, 0), given)
            return self.classify(mixed)  # type: ignore[no-any-return]

    probe = Probe()

    def loss(module: Probe, batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(module(batch[0]), batch[1]) + penalty * module.mix.square().sum()

    history = learn(
        probe,
        shuffled(len(data), lambda rows, generator: (data[rows], wanted[rows]), min(256, len(data))),
        loss,
        run=run,
        key=content_hash(key, layers.tobytes(), classes.tobytes()),
        epochs=epochs,
        optimiser=partial(torch.optim.Adam, lr=learning_rate),
        size=lambda batch: len(batch[1]),
        unit="rows",
    )
    with torch.no_grad():
        network.mix.copy_(probe.mix)
        network.gamma.copy_(probe.gamma)
    shares = torch.softmax(probe.mix, 0).tolist()
    return {
        "mix": [round(share, 4) for share in shares],
        "gamma": round(probe.gamma.item(), 4),
        "probe's loss": [round(value, 4) for value in history.losses][-3:],
    }
