"""One model from several of the same shape: soups (Wortsman et al. 2203.05482) and spherical interpolation (Shoemake
1985, as Qwen3-Embedding merges its checkpoints), over weights by name. Integers and other buffers are the first
model's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from umekomi.errors import WrongUse

State = Mapping[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)


def soup(states: Sequence[State], weights: Sequence[float] | None = None) -> dict[str, Tensor]:
    """The weighted mean of every tensor (the plain mean where no weights are given), summed in float32 at least."""
    shares = [1 / len(states)] * len(states) if weights is None else [weight / sum(weights) for weight in weights]
    if weights is not None and (len(weights) != len(states) or min(weights) < 0 or not sum(weights) > 0):
        raise WrongUse(f"soup: expected {len(states)} weights of zero or more, not all zero, found {list(weights)}")

    def mean(parts: list[Tensor]) -> Tensor:
        total = sum(
            share * part.to(torch.promote_types(part.dtype, torch.float32))
            for share, part in zip(shares, parts, strict=True)
        )
        return total.to(parts[0].dtype)  # type: ignore[union-attr]

    return _merged(states, mean)


def slerp(first: State, second: State, t: float = 0.5) -> dict[str, Tensor]:
    """(sin((1 - t) θ) a + sin(t θ) b) / sin θ for every tensor, θ the angle between them; a straight line where they
    are all but parallel, or one is zero."""
    if not 0 <= t <= 1:
        raise WrongUse(f"slerp, t: expected 0 to 1, found {t}")

    def between(parts: list[Tensor]) -> Tensor:
        a, b = (part.double() for part in parts)
        lengths = a.norm() * b.norm()
        angle = torch.arccos((a.flatten() @ b.flatten() / lengths).clamp(-1, 1)) if lengths > 0 else torch.tensor(0.0)
        if angle.sin() < 1e-6:
            out = (1 - t) * a + t * b
        else:
            out = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
        return out.to(parts[0].dtype)

    return _merged([first, second], between)


def slerp_all(states: Sequence[State]) -> dict[str, Tensor]:
    """Several by :func:`slerp`, one after the other, each with its share: the i-th with t = 1/i."""
    out = dict(states[0])
    for number, state in enumerate(states[1:], 2):
        out = slerp(out, state, 1 / number)
    return out


def greedy(states: Sequence[State], judge: Callable[[dict[str, Tensor]], float]) -> tuple[dict[str, Tensor], list[int]]:
    """(the soup, which went into it): best first, each is kept where ``judge`` (higher is better) finds the soup with
    it no worse."""
    scores = [judge(dict(state)) for state in states]
    order = sorted(range(len(states)), key=lambda i: -scores[i])
    chosen, best = [order[0]], scores[order[0]]
    for candidate in order[1:]:
        found = judge(soup([states[i] for i in (*chosen, candidate)]))
        if found >= best:
            chosen, best = [*chosen, candidate], found
    return soup([states[i] for i in chosen]), chosen


def load_into(model: Module, state: State) -> Module:
    """A copy of the torch module with these weights."""
    out = copy.deepcopy(model)
    out.load_state_dict(dict(state))
    return out


def _merged(states: Sequence[State], join: Callable[[list[Tensor]], Tensor]) -> dict[str, Tensor]:
    if len(states) < 1:
        raise WrongUse("merging: expected one model or more, found none")
    first = states[0]
    for number, state in enumerate(states[1:], 2):
        if set(state) != set(first) or any(state[name].shape != first[name].shape for name in first):
            odd = next(
                name
                for name in sorted({*first, *state})
                if name not in first or name not in state or state[name].shape != first[name].shape
            )
            raise WrongUse(f"merging: expected models of one shape; model {number} differs from the first in {odd}")
    return {
        name: join([state[name] for state in states]) if value.is_floating_point() else value.clone()
        for name, value in first.items()
    }
