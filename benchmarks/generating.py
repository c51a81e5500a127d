"""Sentences learned by generating, beside peers: SDAE's training at its published width (2,400), in words a second,
beside a plain torch sequence-to-sequence loop of the same network and beside sentence-transformers'
DenoisingAutoEncoderLoss over a BERT of as many weights; and skip-thought's encoding (combined, 4,800 numbers), in
sentences a second, beside the released program's way re-stated in torch. Arms take turns; the plain loop's loss and the
re-stated way's vectors are compared with ours first.

The plain loop is what tutorials have: batches in random order, filled to their longest sentence, torch's packed GRU to
read, a GRU cell a step to write, the vector beside each word that it reads, a softmax over every place, Adam."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks.run import rate, taking_turns
from umekomi.data import load
from umekomi.models.sequence import SequenceEmbedder
from umekomi.models.words import WordReader, word_tokenizer
from umekomi.parts.kernels.threads import cores
from umekomi.parts.layers.decoder import Decoder
from umekomi.parts.layers.sentence import CombinedNetwork, RecurrentEncoder, WordNetwork
from umekomi.parts.learning.generating import Batch, EncoderDecoder, Ragged, TextRows, adam, per_text
from umekomi.parts.learning.samplers import Buckets, shuffled
from umekomi.parts.words import treebank
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-generating"
WIDTH, WORDS, BATCH, SENTENCES, CLIP = 2400, 100, 16, 192, 2.0
ENCODED, SKIP_WORDS, SKIP_BATCH, LENGTHS = 1024, 620, 128, (6, 13)
"""Encoded are sentences of few lengths, so that the released way's batches are full, as they are of a large corpus."""


def texts(count: int, least: int = 1, most: int = 100) -> list[str]:
    """Sentences of novels, of so many words."""
    found = (line for row in load("english-novels")["train"]["document"].to_pylist()[5000:] for line in row)
    out: list[str] = []
    while len(out) < count:
        line = next(found)
        if least <= len(treebank(line)) <= most:
            out.append(line.lower())
    return out


def reader(lines: list[str], rows: int) -> WordReader:
    """The words of these sentences, and others up to ``rows`` that never occur: a softmax of the published size."""
    names = ["<unk>", "</s>", *sorted({word for line in lines for word in treebank(line)})]
    names += [f"word-{number}" for number in range(rows - len(names))]
    return WordReader(word_tokenizer(names[:rows], end="</s>"), skips_unknown=False)


# --- SDAE -------------------------------------------------------------------------------------------------------------


def network(rows: int) -> EncoderDecoder:
    """SDAE's, at its published sizes."""
    torch.manual_seed(0)
    encoder = RecurrentEncoder(WORDS, width=WIDTH, cell="gru", directions="forward", pooling="last")
    words = WordNetwork(rows, WORDS, encoder)
    return EncoderDecoder(words, [Decoder(words.words, WIDTH, WIDTH)])


class Plain(nn.Module):
    """The same network as a tutorial has it, with the same weights."""

    def __init__(self, ours: EncoderDecoder) -> None:
        super().__init__()
        decoder: Any = ours.decoders[0]
        rows = decoder.softmax.out_features
        self.words = nn.Embedding(rows, WORDS)
        self.encoder = nn.GRU(WORDS, WIDTH, batch_first=True)
        self.begin, self.cell = nn.Linear(WIDTH, WIDTH), nn.GRUCell(WORDS + WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, rows)
        own, theirs = decoder.recurrent, dict(decoder.recurrent.cells[0].named_parameters())
        with torch.no_grad():
            self.words.weight.copy_(decoder.words.weight)
            self.encoder.load_state_dict(ours.network.encoder.recurrent.cells[0].state_dict())  # type: ignore[union-attr]
            self.begin.load_state_dict(decoder.begin_map.state_dict())
            self.cell.weight_ih.copy_(torch.cat([theirs["weight_ih_l0"], own.condition.weight], 1))
            self.cell.weight_hh.copy_(theirs["weight_hh_l0"])
            self.cell.bias_ih.copy_(theirs["bias_ih_l0"])
            self.cell.bias_hh.copy_(theirs["bias_hh_l0"])
            self.out.weight.copy_(decoder.softmax.weight)
            self.out.bias.copy_(decoder.softmax.bias)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The sum over a text's words, the mean over texts."""
        packed = pack_padded_sequence(self.words(ids), lengths, batch_first=True, enforce_sorted=False)
        vector = self.encoder(packed)[1][0]
        state, given = torch.tanh(self.begin(vector)), torch.zeros(len(ids), WORDS)
        states = []
        for step in range(ids.shape[1]):
            state = self.cell(torch.cat([given, vector], 1), state)
            states.append(state)
            given = self.words(ids[:, step])
        logits = self.out(torch.stack(states, 1))
        there = torch.arange(ids.shape[1]) < lengths[:, None]
        found = functional.cross_entropy(logits.flatten(0, 1), ids.masked_fill(~there, -100).flatten(), reduction="sum")
        return found / len(ids)


def denoiser(lines: list[str], numbers: int) -> Callable[[], None]:
    """One pass of sentence-transformers' denoising autoencoder over the sentences, of about so many weights."""
    import tempfile

    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    from umekomi.models.scratch import untrained_transformer

    def built(layers: int) -> Any:
        base = untrained_transformer(
            "bert", lines, layers=layers, width=768, heads=12, hidden=3072, vocabulary=4000, max_length=128
        ).embedder("cls")
        return base.model

    one, two = (sum(p.numel() for p in built(layers).parameters()) for layers in (1, 2))
    layers = max(1, round((numbers - one) / (two - one)) + 1)
    with tempfile.TemporaryDirectory() as folder:
        made = built(layers)
        made.transformers_model.save_pretrained(folder)
        made.tokenizer.save_pretrained(folder)
        model = SentenceTransformer(modules=[Transformer(folder), Pooling(768, "cls")], device="cpu")
        loss = DenoisingAutoEncoderLoss(model, decoder_name_or_path=folder, tie_encoder_decoder=True)
    loss.train()
    weights = [weight for weight in loss.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=3e-5)

    def damaged(line: str) -> str:
        words = line.split()
        kept = [word for word in words if torch.rand(()) > 0.6]
        return " ".join(kept or words[:1])

    def work() -> None:
        for low in range(0, len(lines), BATCH):
            part = lines[low : low + BATCH]
            features = [model.tokenize([damaged(line) for line in part]), model.tokenize(part)]
            optimiser.zero_grad()
            loss(features, torch.zeros(len(part))).backward()
            optimiser.step()

    return work


def training() -> Iterator[Measurement]:
    lines = texts(SENTENCES)
    own = reader(lines, 30_000)
    rows = Ragged.of(own.read(lines))
    data = TextRows(rows, rows, np.stack([np.arange(len(rows))] * 2, 1))
    words = int(rows.lengths.sum())
    ours = network(30_000)
    plain = Plain(ours)
    first = data.batch(np.arange(BATCH), np.zeros(0, np.int64), None, None)
    with torch.no_grad():
        assert abs(float(per_text(ours, first)) - float(plain(*first.source))) < 1e-2
    numbers = sum(weight.numel() for weight in ours.parameters())

    def step(module: nn.Module, loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), CLIP)
        optimiser.step()

    fused, usual = adam(1e-3)(list(ours.parameters())), torch.optim.Adam(plain.parameters(), lr=1e-3)

    def make(chosen: Any, generator: np.random.Generator) -> Batch:
        return data.batch(chosen, np.zeros(0, np.int64), None, generator)

    def train_ours() -> None:
        for batch in Buckets(rows.lengths, make, BATCH)(0, np.random.default_rng(0)):
            step(ours, per_text(ours, batch), fused)

    def train_plain() -> None:
        for batch in shuffled(len(rows), make, BATCH)(0, np.random.default_rng(0)):
            step(plain, plain(*batch.source), usual)

    arms: dict[str, Callable[[], None]] = {
        "umekomi, SDAE": train_ours,
        "a plain torch loop, SDAE": train_plain,
        "sentence-transformers, DenoisingAutoEncoderLoss": denoiser(lines, numbers),
    }
    for arm, took in taking_turns(arms).items():
        yield rate(
            CLAIM, f"{arm}, {numbers / 1e6:.0f} million weights", "english-novels", len(lines), "words/s, trained",
            words, took,
        )  # fmt: skip


# --- skip-thought -----------------------------------------------------------------------------------------------------


def released(embedder: SequenceEmbedder) -> Callable[[list[str]], Any]:
    """The released program's way: sentences of one length together, at most 128, filled word by word."""
    names = embedder.reader.tokenizer.get_vocab()
    sides = []
    for part in embedder.network.parts:
        table = part.words.weight.numpy(force=True)
        own = part.encoder.recurrent
        gru = nn.GRU(SKIP_WORDS, own.width, bidirectional=own.directions == "both")
        gru.load_state_dict(own.cells[0].state_dict())
        sides.append((table, gru))

    def encode(lines: list[str]) -> Any:
        split = [[*treebank(line), "</s>"] for line in lines]
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, words in enumerate(split):
            by_length[len(words)].append(number)
        out = np.zeros((len(lines), embedder.dimension), np.float32)
        for length, numbers in by_length.items():
            for low in range(0, len(numbers), SKIP_BATCH):
                chosen = numbers[low : low + SKIP_BATCH]
                at = 0
                for table, gru in sides:
                    given = np.zeros((length, len(chosen), SKIP_WORDS), np.float32)
                    for column, number in enumerate(chosen):
                        for row, word in enumerate(split[number]):
                            given[row, column] = table[names.get(word, 0)]
                    with torch.no_grad():
                        last = gru(torch.from_numpy(given))[1].transpose(0, 1).flatten(1).numpy()
                    last /= np.linalg.norm(last, axis=1, keepdims=True)
                    out[chosen, at : at + last.shape[1]] = last
                    at += last.shape[1]
        return out

    return encode


def encoding() -> Iterator[Measurement]:
    lines = texts(ENCODED, *LENGTHS)
    torch.manual_seed(0)
    own = reader(lines, 20_000)
    parts = [
        WordNetwork(
            20_000, SKIP_WORDS, RecurrentEncoder(SKIP_WORDS, width=width, cell="gru", directions=way, pooling="last")
        )  # type: ignore[arg-type]
        for width, way in ((WIDTH, "forward"), (WIDTH // 2, "both"))
    ]
    embedder = SequenceEmbedder(own, CombinedNetwork(parts), name="skip-thought")
    plain = released(embedder)
    assert np.abs(embedder.encode(lines[:64]) - plain(lines[:64])).max() < 1e-4
    arms = {
        "umekomi, skip-thought combined": lambda: embedder.encode(lines),
        "the released way, re-stated, skip-thought combined": lambda: plain(lines),
    }
    for arm, took in taking_turns(arms).items():
        row = rate(CLAIM, arm, "english-novels", len(lines), "sentences/s, encoded", len(lines), took)
        yield row


def measure() -> Iterator[Measurement]:
    torch.set_num_threads(cores())
    yield from training()
    yield from encoding()
