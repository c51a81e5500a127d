"""The softmax over words that language models and decoders end in: over all words, or over some that are drawn (Jean+
2015), its weights its own or those of the table that reads the words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from umekomi.errors import WrongUse
from umekomi.parts.layers.products import Product

Ids = NDArray[np.int64]
CHUNK = 1 << 22
"""Logits that are computed at once while learning: 16 MB, of which a cache holds more than of all of a batch's."""
FULL = 50_000
"""Words up to which a softmax over all of them is the better choice on a CPU."""


class WordSoftmax(nn.Linear):
    """``rows`` words told from states of ``inputs`` numbers. With ``sampled`` so many of them, drawn by the
    log-uniform law of ranks (frequent words first), stand for all; the logits are corrected by the logarithm of the
    number of times that a word is expected among them, as TensorFlow's sampled_softmax_loss does. ``tied``: the weights
    are those of this table of words.
    """

    def __init__(self, inputs: int, rows: int, sampled: int | None = None, tied: nn.Embedding | None = None) -> None:
        super().__init__(inputs, rows)
        self.sampled = sampled if sampled is not None and sampled < rows else None
        if tied is not None:
            if tied.weight.shape != (rows, inputs):
                raise WrongUse(
                    f"softmax: expected a table of {rows} words and {inputs} numbers to tie to, found "
                    f"{tuple(tied.weight.shape)}"
                )
            self.weight = tied.weight
        else:
            nn.init.normal_(self.weight, std=inputs**-0.5)
        nn.init.zeros_(self.bias)

    def chance(self, words: Tensor) -> Tensor:
        """How likely each word is drawn, float64: log((rank + 2) / (rank + 1)) / log(rows + 1)."""
        ranks = words.double()
        return torch.log((ranks + 2) / (ranks + 1)) / np.log(self.out_features + 1)

    def draw(self, generator: np.random.Generator) -> Ids:
        """Distinct words, and behind them the number of draws that it took; nothing where all are computed."""
        if self.sampled is None:
            return np.zeros(0, np.int64)
        drawn: Ids = np.zeros(0, np.int64)
        tries = 0
        while len(drawn) < self.sampled:
            more = np.exp(generator.random(self.sampled) * np.log(self.out_features + 1)).astype(np.int64) - 1
            both, first = np.unique(np.concatenate([drawn, more]), return_index=True)
            if len(both) >= self.sampled:
                last = int(np.sort(first)[self.sampled - 1])
                tries += max(last + 1 - len(drawn), 0)
                whole = np.concatenate([drawn, more])
                return np.append(whole[np.sort(first)[: self.sampled]], tries)
            tries += self.sampled
            drawn = np.concatenate([drawn, more])[np.sort(first)]
        return np.append(drawn, tries)

    def loss(self, states: Tensor, targets: Tensor, drawn: Tensor) -> Tensor:
        """Mean negative log likelihood of ``targets`` int64 ``[n]`` by ``states`` ``[n, inputs]``; ``drawn`` is what
        :meth:`draw` gave. In evaluation over all words."""
        if not self.training or self.sampled is None:
            if torch.is_grad_enabled():
                losses: Tensor = _CrossEntropy.apply(states, self.weight, self.bias, targets)  # type: ignore[no-untyped-call]
                return losses
            return functional.cross_entropy(self(states), targets)
        tries, drawn = drawn[-1].double(), drawn[:-1]

        def expected(words: Tensor) -> Tensor:
            return torch.log(-torch.expm1(tries * torch.log1p(-self.chance(words)))).to(states.dtype)

        right = (states * self.weight[targets]).sum(1) + self.bias[targets] - expected(targets)
        others = functional.linear(states, self.weight[drawn], self.bias[drawn] - expected(drawn))
        others = others.masked_fill(drawn == targets.unsqueeze(1), torch.finfo(others.dtype).min)
        return (torch.logsumexp(torch.cat([right.unsqueeze(1), others], 1), 1) - right).mean()


def sampled_of(how: str, rows: int, sampled: int) -> int | None:
    """How many words stand for all ``rows``: none of a ``"full"`` softmax, ``sampled`` of a ``"sampled"`` one; of
    ``"auto"`` none up to :data:`FULL` rows.

    >>> sampled_of("auto", 20_000, 8192), sampled_of("auto", 793_471, 8192), sampled_of("sampled", 9_000, 8192)
    (None, 8192, 8192)
    """
    return sampled if how == "sampled" or (how == "auto" and rows > FULL) else None


class _CrossEntropy(torch.autograd.Function):
    """The mean cross entropy over all words and its gradients in one go, some rows at a time: their logits, which are
    the largest array of a decoder, are never there as a whole, and are read while they are in the cache."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(states.device.type, enabled=False):
            given = states.to(weight.dtype)
            rows, share = max(1, CHUNK // len(weight)), 1 / max(len(targets), 1)
            of_states = torch.empty_like(given)
            of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
            total = given.new_zeros((), dtype=torch.float64)
            product = Product(weight, len(given))
            for low in range(0, len(given), rows):
                part, wanted = given[low : low + rows], targets[low : low + rows].unsqueeze(1)
                logits = product.of(part, bias)
                highest = logits.amax(1, keepdim=True)
                right = logits.gather(1, wanted)
                logits.sub_(highest).exp_()
                sums = logits.sum(1, keepdim=True)
                total += (torch.log(sums) + highest - right).double().sum()
                logits.mul_(share / sums)
                logits.scatter_add_(1, wanted, logits.new_full((), -share).expand(wanted.shape))
                torch.mm(logits, weight, out=of_states[low : low + rows])
                of_weight.addmm_(logits.t(), part)
                of_bias.add_(logits.sum(0))
        ctx.save_for_backward(of_states.to(states.dtype), of_weight, of_bias)
        return (total * share).to(weight.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: Tensor) -> tuple[Tensor | None, ...]:
        of_states, of_weight, of_bias = ctx.saved_tensors
        return of_states * of_loss, of_weight.mul_(of_loss), of_bias.mul_(of_loss), None
