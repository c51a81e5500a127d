"""The decoder: teacher forcing, the softmax in one go, greedy and beam search, beside slow loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from umekomi.errors import UmekomiError
from umekomi.parts.layers import decoder, softmax
from umekomi.parts.layers.decoder import Decoder, search
from umekomi.parts.layers.softmax import WordSoftmax
from umekomi.parts.learning.modules import seed_globals

END, ROWS, SOURCE = 1, 12, 5


def made(**settings):
    with seed_globals(3):
        own = {"width": 6, "source": SOURCE} | settings
        decoder = Decoder(nn.Embedding(ROWS, 4), own.pop("width"), own.pop("source"), **own)
        for weight in decoder.parameters():  # far from even chances, so that a beam finds what greed does not
            weight.data.mul_(2.5)
    return decoder.eval()


CASES = [
    {},
    {"cell": "lstm", "every_step": False},
    {"begin": "same", "width": 5},
    {"readout": 4, "tied": True, "layers": 2},
]


def chances_by_hand(decoder, source, before):
    """log p(next | before, source), stepping from the begin."""
    going, last = decoder.begin(source.unsqueeze(0)), None
    for word in [*before, None]:
        chances, going = decoder.step(last, going)
        last = None if word is None else torch.tensor([word])
    return chances[0]


@pytest.mark.parametrize("settings", CASES)
def test_teacher_forcing_is_the_product_of_steps(settings):
    decoder = made(**settings)
    source = torch.randn(3, SOURCE, generator=torch.Generator().manual_seed(0))
    texts = [[4, 7, 2, END], [END], [9, 9, END]]
    ids = torch.tensor([row + [0] * (4 - len(row)) for row in texts])
    lengths = torch.tensor([len(row) for row in texts])
    with torch.no_grad():
        found = decoder(source, ids, lengths, torch.zeros(0))
        total = [
            chances_by_hand(decoder, source[number], row[:place])[word]
            for number, row in enumerate(texts)
            for place, word in enumerate(row)
        ]
    assert float(found) == pytest.approx(-float(torch.stack(total).mean()), rel=1e-5)
    if settings.get("tied"):
        assert decoder.softmax.weight is decoder.words.weight


def test_what_the_vectors_say_to_every_step_is_computed_once():
    decoder, calls = made(), []
    decoder.recurrent.condition.register_forward_hook(lambda *_: calls.append(1))
    source = torch.zeros(2, SOURCE)
    decoder.states(source, torch.tensor([[4, END], [3, END]]), torch.tensor([2, 2]))
    assert len(calls) == 1
    decoder.write(source, end=END, longest=4)
    assert len(calls) == 2


@pytest.mark.parametrize("chunk", [1 << 22, 25])
def test_the_softmax_in_one_go_has_torchs_loss_and_gradients(chunk, monkeypatch):
    monkeypatch.setattr(softmax, "CHUNK", chunk)
    layer = WordSoftmax(3, 11).double()
    states = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 3, 10, 3, 5, 7, 1])
    given = [states, layer.weight, layer.bias]
    own = layer.loss(states, targets, torch.zeros(0))
    other = nn.functional.cross_entropy(layer(states), targets)
    torch.testing.assert_close(own, other)
    for one, two in zip(torch.autograd.grad(own * 3, given), torch.autograd.grad(other * 3, given), strict=True):
        torch.testing.assert_close(one, two)
    assert torch.isfinite(layer.loss(states * 1e4, targets, torch.zeros(0)))


def slow_greedy(decoder, source, longest):
    words = []
    while len(words) < longest:
        word = int(chances_by_hand(decoder, source, words).argmax())
        if word == END:
            break
        words.append(word)
    return words


def slow_beam(decoder, source, beam, longest, normalise):
    kept = [(0.0, [])]
    for _ in range(longest):
        candidates = []
        for total, words in kept:
            if words and words[-1] == END:
                candidates.append((total, words))
            else:
                chances = chances_by_hand(decoder, source, words).double().tolist()
                candidates += [(total + chance, [*words, word]) for word, chance in enumerate(chances)]
        kept = sorted(candidates, key=lambda one: -one[0] / len(one[1]) ** normalise)[:beam]
    best = max(kept, key=lambda one: one[0] / len(one[1]) ** normalise)[1]
    return best[: best.index(END)] if END in best else best


@pytest.mark.parametrize("settings", CASES)
def test_search_against_slow_loops(settings):
    decoder = made(**settings)
    source = 2 * torch.randn(6, SOURCE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        greedy = decoder.write(source, end=END, longest=6)
        assert [row.tolist() for row in greedy] == [slow_greedy(decoder, one, 6) for one in source]
        for beam, normalise in ((2, 0.0), (3, 1.0), (20, 0.5)):
            found = decoder.write(source, end=END, beam=beam, longest=5, normalise=normalise)
            assert [row.tolist() for row in found] == [slow_beam(decoder, one, beam, 5, normalise) for one in source]
    assert any(len(row) for row in greedy)


def test_a_beam_as_wide_as_all_texts_finds_the_likeliest():
    decoder = made()
    source = torch.randn(2, SOURCE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = decoder.write(source, end=END, beam=ROWS**2, longest=2)
        for one, row in zip(source, found, strict=True):
            scores = {}
            for text in itertools.chain([(END,)], ((a, b) for a in range(ROWS) for b in range(ROWS) if a != END)):
                chances = [chances_by_hand(decoder, one, text[:at])[word] for at, word in enumerate(text)]
                scores[text] = float(sum(chances))
            best = max(scores, key=scores.get)
            assert tuple(row) == tuple(word for word in best if word != END)


def test_a_text_does_not_depend_on_its_batch():
    decoder = made(every_step=True)
    source = torch.randn(9, SOURCE, generator=torch.Generator().manual_seed(3))
    for beam in (1, 4):
        together = decoder.write(source, end=END, beam=beam, longest=8)
        alone = [decoder.write(source[i : i + 1], end=END, beam=beam, longest=8)[0] for i in range(9)]
        assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
        limits = np.arange(9) % 4 + 1
        cut = decoder.write(source, end=END, beam=beam, longest=limits)
        alone = [decoder.write(source[i : i + 1], end=END, beam=beam, longest=int(limits[i]))[0] for i in range(9)]
        assert all(np.array_equal(a, b) for a, b in zip(cut, alone, strict=True))
    assert decoder.write(source[:0], end=END) == []


def test_the_vector_is_learned_from():
    """A decoder learns to say what the vector holds, and nothing else tells it."""
    decoder = made(width=16).train()
    vectors = torch.eye(SOURCE)
    ids = torch.tensor([[2 + i, 7 + i % 3, END] for i in range(SOURCE)])
    optimiser = torch.optim.Adam(decoder.parameters(), lr=0.02)
    for _ in range(120):
        optimiser.zero_grad()
        decoder(vectors, ids, torch.full((SOURCE,), 3), torch.zeros(0)).backward()
        optimiser.step()
    assert [row.tolist() for row in decoder.eval().write(vectors, end=END, longest=5)] == ids[:, :2].tolist()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: made(begin="same"), "begin same: expected a vector as wide as the layers (6), found 5"),
        (lambda: made(tied=True), "tied: expected words as wide as what the softmax reads (6), found 4"),
        (lambda: WordSoftmax(3, 4, tied=nn.Embedding(4, 5)), "expected a table of 4 words and 3 numbers to tie to"),
        (lambda: made().write(torch.zeros(1, SOURCE), end=END, beam=0), "beam: expected 1 or more, found 0"),
        (lambda: search(None, None, None, 1, end=0, longest=0), "longest: expected 1 or more, found 0"),
    ],
)
def test_wrong_use_is_one_line(make, says):
    with pytest.raises(UmekomiError) as error:
        make()
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("beam", [1, 3])
def test_writing_is_one_threads_unless_its_steps_are_large(beam, monkeypatch):
    """With two threads, writing fifty documents took up to eighteen times the processor's time where another process
    computed."""
    from umekomi.parts.layers.documents import DocumentAutoencoder

    seen = []
    true = WordSoftmax.forward

    def forward(self, states):
        seen.append(torch.get_num_threads())
        return true(self, states)

    monkeypatch.setattr(WordSoftmax, "forward", forward)
    made = Decoder(nn.Embedding(30, 5), 6, 4).eval()
    numbers = sum(weight.numel() for weight in (*made.recurrent.parameters(), *made.softmax.parameters()))
    documents = DocumentAutoencoder(30, 5, form="hierarchical", width=6).eval()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for most, threads in ((4 * beam * numbers, 1), (4 * beam * numbers - 1, 2)):
            monkeypatch.setattr(decoder, "WRITTEN_PRODUCTS", most)
            seen.clear()
            made.write(torch.randn(4, 4), end=1, beam=beam, longest=5)
            assert set(seen) == {threads} and torch.get_num_threads() == 2
        for most, threads in ((1 << 29, 1), (0, 2)):
            monkeypatch.setattr(decoder, "WRITTEN_PRODUCTS", most)
            seen.clear()
            documents.write(torch.full((2, 3), 4), torch.tensor([3, 2]), beam=beam, longest=5)
            assert set(seen) == {threads} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
