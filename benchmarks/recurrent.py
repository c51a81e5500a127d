"""Recurrent layers beside torch's own (packed) and beside plain loops over time: tokens a second of reading and of
training (forward and backward), on sentences of SNLI in batches of like length. Arms take turns, each with the same
weights and batches; what each gives is compared first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.run import rate, taking_turns
from umekomi.data import load
from umekomi.parts.layers.recurrent import Recurrent
from umekomi.parts.learning.samplers import Buckets
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-recurrent"
BATCH = 64
SHAPES: tuple[tuple[str, int, int, int, dict[str, Any]], ...] = (
    ("BiLSTM 2 × 128", 300, 128, 16, {"directions": "both"}),
    ("BiLSTM 2 × 512", 300, 512, 8, {"directions": "both"}),
    ("BiLSTM 2 × 2,048 (InferSent's)", 300, 2048, 2, {"directions": "both"}),
    ("BiGRU 2 × 512", 300, 512, 8, {"directions": "both", "cell": "gru"}),
    ("LSTM 4,096 → 512 (ELMo's), no clip", 512, 4096, 2, {"projection": 512}),
    ("LSTM 4,096 → 512, clip 3 (ELMo's)", 512, 4096, 2, {"projection": 512, "cell_clip": 3, "projection_clip": 3}),
)  # fmt: skip
"""(name, inputs, width, batches, settings)."""


def batches(inputs: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """``count`` batches of random vectors, as long as SNLI's sentences."""
    words = np.array([len(text.split()) for text in load("snli")["dev"]["sentence1"].to_pylist()[: BATCH * count]])
    generator = np.random.default_rng(0)
    plan = Buckets(words, lambda rows, _: torch.from_numpy(words[rows]), BATCH)(0, generator)
    return [(torch.randn(len(lengths), int(lengths.max()), inputs), lengths) for lengths in plan]


def by_torch(layer: Recurrent) -> Callable[[Tensor, Tensor], Tensor]:
    """The layer's weights in torch's own, packed."""

    def read(vectors: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(layer.cells[0](packed)[0], batch_first=True)[0]

    return read


def by_steps(layer: Recurrent) -> Callable[[Tensor, Tensor], Tensor]:
    """A plain loop over the steps of the padded batch, masked, as the old implementations have it."""
    cell, width = layer.cells[0], layer.width

    def direction(vectors: Tensor, lengths: Tensor, suffix: str) -> Tensor:
        of_input, of_h = getattr(cell, f"weight_ih_l0{suffix}"), getattr(cell, f"weight_hh_l0{suffix}")
        b1, b2 = getattr(cell, f"bias_ih_l0{suffix}"), getattr(cell, f"bias_hh_l0{suffix}")
        mapped = getattr(cell, f"weight_hr_l0{suffix}", None)
        h, c = vectors.new_zeros(len(vectors), of_h.shape[1]), vectors.new_zeros(len(vectors), width)
        outputs: dict[int, Tensor] = {}
        steps = range(vectors.shape[1])
        for step in reversed(steps) if suffix else steps:
            now = (step < lengths).unsqueeze(1)
            read, kept = nn.functional.linear(vectors[:, step], of_input, b1), nn.functional.linear(h, of_h, b2)
            if layer.cell == "gru":
                r, z = torch.sigmoid(read[:, : 2 * width] + kept[:, : 2 * width]).chunk(2, 1)
                n = torch.tanh(read[:, 2 * width :] + r * kept[:, 2 * width :])
                new = (1 - z) * n + z * h
            else:
                i, f, g, o = (read + kept).chunk(4, 1)
                cell_now = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                if layer.cell_clip:
                    cell_now = cell_now.clamp(-layer.cell_clip, layer.cell_clip)
                new = torch.sigmoid(o) * torch.tanh(cell_now)
                if mapped is not None:
                    new = nn.functional.linear(new, mapped)
                if layer.projection_clip:
                    new = new.clamp(-layer.projection_clip, layer.projection_clip)
                c = torch.where(now, cell_now, c)
            h = torch.where(now, new, h)
            outputs[step] = torch.where(now, new, torch.zeros_like(new))
        return torch.stack([outputs[step] for step in steps], 1)

    def read(vectors: Tensor, lengths: Tensor) -> Tensor:
        sides = [
            direction(vectors, lengths, side) for side in (("", "_reverse") if layer.directions == "both" else ("",))
        ]
        return torch.cat(sides, 2)

    return read


def work(read: Callable[[Tensor, Tensor], Tensor], given: list[tuple[Tensor, Tensor]], *, training: bool) -> None:
    """Read the batches, and where it is training send a gradient back."""
    with torch.set_grad_enabled(training):
        for vectors, lengths in given:
            outputs = read(vectors, lengths)
            if training:
                outputs.square().sum().backward()


def measure() -> Iterator[Measurement]:
    for name, inputs, width, count, settings in SHAPES:
        torch.manual_seed(0)
        layer = Recurrent(inputs, width, **settings)
        given = batches(inputs, count)
        tokens = sum(int(lengths.sum()) for _, lengths in given)
        arms: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "umekomi": lambda vectors, lengths, layer=layer: layer(vectors, lengths).outputs,  # type: ignore[misc]
            "a plain loop": by_steps(layer),
        }
        if layer.cell_clip is None:
            arms["torch, packed"] = by_torch(layer)
        with torch.no_grad():
            first = [read(*given[0]) for read in arms.values()]
        assert all(torch.allclose(first[0], other, rtol=1e-4, atol=1e-5) for other in first), name

        for what, training in (("read", False), ("trained", True)):
            jobs = {arm: partial(work, read, given, training=training) for arm, read in arms.items()}
            for arm, took in taking_turns(jobs).items():
                yield rate(CLAIM, f"{arm}, {name}", "snli", BATCH * count, f"tokens/s, {what}", tokens, took)
