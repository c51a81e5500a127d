"""InferSent's published size (BiLSTM 2 × 2,048 over 300 numbers, maximum) on sentences of SNLI: umekomi in torch and by
ONNX Runtime, beside the released way of encoding re-stated: sentences sorted by length, batches of 64 filled word by
word, torch's own packed LSTM, the maximum over its padded outputs. Random weights, the same in all arms; arms take
turns, and what each gives is compared first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.run import rate, taking_turns
from umekomi.data import load
from umekomi.models.engines.choice import export
from umekomi.models.sequence import SequenceEmbedder
from umekomi.models.words import WordReader, word_tokenizer
from umekomi.parts.kernels.threads import cores
from umekomi.parts.layers.sentence import RecurrentEncoder, WordNetwork
from umekomi.parts.words import treebank
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-infersent"
BATCH, SENTENCES, WIDTH, INPUTS = 64, 512, 2048, 300


def restated(embedder: SequenceEmbedder, names: list[str]) -> Callable[[list[str]], Any]:
    """The plain loop, on torch's own layer with the embedder's weights."""
    table = embedder.network.words.weight.numpy(force=True)
    known = {name: table[row] for row, name in enumerate(names)}
    own = embedder.network.encoder.recurrent.cells[0]
    lstm = torch.nn.LSTM(INPUTS, WIDTH, bidirectional=True)
    lstm.load_state_dict(own.state_dict())

    def encode(texts: list[str]) -> Any:
        rows = [["<s>", *(word for word in treebank(text) if word in known), "</s>"] for text in texts]
        lengths = np.array([len(row) for row in rows])
        order = np.argsort(-lengths, kind="stable")
        out = np.empty((len(texts), 2 * WIDTH), np.float32)
        for at in range(0, len(order), BATCH):
            places = order[at : at + BATCH]
            vectors = np.zeros((lengths[places[0]], len(places), INPUTS))
            for column, place in enumerate(places):
                for step, word in enumerate(rows[place]):
                    vectors[step, column] = known[word]
            with torch.no_grad():
                packed = pack_padded_sequence(torch.FloatTensor(vectors), torch.from_numpy(lengths[places]))
                outputs, _ = pad_packed_sequence(lstm(packed)[0])
                out[places] = outputs.max(0)[0].numpy()
        return out

    return encode


def measure() -> Iterator[Measurement]:
    torch.set_num_threads(cores())
    torch.manual_seed(0)
    texts = load("snli")["dev"]["sentence1"].to_pylist()[:SENTENCES]
    names = ["<unk>", "<s>", "</s>", *sorted({word for text in texts for word in treebank(text)})]
    reader = WordReader(word_tokenizer(names, begin="<s>", end="</s>"))
    encoder = RecurrentEncoder(INPUTS, width=WIDTH, pooling="max", padding="zero")
    embedder = SequenceEmbedder(reader, WordNetwork(len(names), INPUTS, encoder))
    masked = SequenceEmbedder(reader, WordNetwork(len(names), INPUTS, RecurrentEncoder(INPUTS, width=WIDTH)))
    masked.network.load_state_dict(embedder.network.state_dict())
    plain, graph = restated(embedder, names), export(masked)
    assert np.abs(embedder.encode(texts[:BATCH], batch_size=BATCH) - plain(texts[:BATCH])).max() < 1e-5
    assert np.abs(masked.encode(texts[:BATCH]) - graph.encode(texts[:BATCH])).max() < 1e-4
    arms: dict[str, Callable[[], Any]] = {
        "umekomi, torch": lambda: masked.encode(texts, batch_size=BATCH),
        "umekomi, ONNX Runtime": lambda: graph.encode(texts, batch_size=BATCH),
        "the released way, re-stated": lambda: plain(texts),
    }
    for arm, took in taking_turns(arms).items():
        yield rate(CLAIM, f"{arm}, BiLSTM-max 2 × 2,048", "snli", len(texts), "sentences/s", len(texts), took)
