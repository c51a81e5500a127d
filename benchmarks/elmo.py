"""ELMo's published size (2,048 filters, two LSTM of 4,096 cells and 512 numbers each way, clips of 3; random
weights) on sentences of SNLI: tokens a second of reading, all layers mixed, beside plain loops as the old programs
have them, which read the characters of every word where it stands and go through a batch step by step. The same
weights in both arms; arms take turns, and what each gives is compared first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.recurrent import by_steps
from benchmarks.run import rate, taking_turns
from umekomi.data import load
from umekomi.models.elmo import ElmoEmbedder
from umekomi.models.words import CharacterReader
from umekomi.parts.kernels.threads import cores
from umekomi.parts.layers.bilm import BiLanguageModel, ElmoNetwork
from umekomi.parts.layers.recurrent import Recurrent
from umekomi.recipes.elmo import Elmo
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-elmo"
BATCH, SENTENCES = 64, 256


class OneLayer:
    """One layer of a stack as :func:`by_steps` wants it."""

    def __init__(self, stack: Recurrent, number: int) -> None:
        self.cells, self.width, self.cell = [stack.cells[number]], stack.width, stack.cell
        self.cell_clip, self.projection_clip, self.directions = stack.cell_clip, stack.projection_clip, "forward"


def restated(embedder: ElmoEmbedder) -> Callable[[list[str]], Any]:
    """Sentences sorted by length, batches of 64, plain loops over the steps of each layer and direction."""
    network: Any = embedder.network
    model: BiLanguageModel = network.model
    ahead = [by_steps(OneLayer(model.forwards, number)) for number in range(len(model.forwards.cells))]  # type: ignore[arg-type]
    back = [by_steps(OneLayer(model.backwards, number)) for number in range(len(model.backwards.cells))]  # type: ignore[arg-type]

    def turned(rows: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(rows.shape[1])
        places = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
        return rows.gather(1, places.unsqueeze(2).expand_as(rows))

    def encode(texts: list[str]) -> Any:
        rows = embedder.reader.read(texts)
        counts = np.array([len(row) for row in rows])
        order = np.argsort(-counts, kind="stable")
        out = np.empty((len(texts), network.dimension), np.float32)
        for at in range(0, len(order), BATCH):
            places = order[at : at + BATCH]
            lengths = torch.from_numpy(counts[places])
            padded = torch.zeros(len(places), int(counts[places[0]]), model.words.longest, dtype=torch.int64)
            for line, place in enumerate(places):
                padded[line, : counts[place]] = torch.from_numpy(rows[place])
            with torch.no_grad():
                given, whole = model.marked(padded, lengths)
                flat = given.flatten(0, 1)
                words = torch.cat([model.words(piece) for piece in flat.split(2048)]).unflatten(0, given.shape[:2])
                layers = [torch.cat([words, words], 2)]
                one, two = words, turned(words, whole)
                for number, (first, second) in enumerate(zip(ahead, back, strict=True)):
                    new, other = first(one, whole), second(two, whole)
                    one, two = (new + one, other + two) if number else (new, other)
                    layers.append(torch.cat([one, turned(two, whole)], 2))
                mixed = sum(share * layer for share, layer in zip(network.shares(), layers, strict=True))
                assert isinstance(mixed, Tensor)
                there = (torch.arange(padded.shape[1]) < lengths[:, None]).unsqueeze(2)
                out[places] = ((mixed[:, 1:-1] * there).sum(1) / lengths.unsqueeze(1)).numpy()
        return out

    return encode


def measure() -> Iterator[Measurement]:
    torch.set_num_threads(cores())
    torch.manual_seed(0)
    recipe = Elmo()
    texts = load("snli")["dev"]["sentence1"].to_pylist()[:SENTENCES]
    model = BiLanguageModel(**recipe.sizes())
    embedder = ElmoEmbedder(CharacterReader.of("treebank", recipe.longest), ElmoNetwork(model))
    tokens = sum(len(row) for row in embedder.reader.words(texts))
    plain = restated(embedder)
    assert np.abs(embedder.encode(texts[:BATCH], batch_size=BATCH) - plain(texts[:BATCH])).max() < 1e-4
    arms: dict[str, Callable[[], Any]] = {
        "umekomi, torch": lambda: embedder.encode(texts, batch_size=BATCH),
        "plain loops": lambda: plain(texts),
    }
    for arm, took in taking_turns(arms).items():
        yield rate(CLAIM, f"{arm}, ELMo of the published size", "snli", len(texts), "tokens/s", tokens, took)
