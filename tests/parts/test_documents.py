"""The document autoencoder beside slow loops: what it reads, what it foretells, what it writes."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from umekomi.parts.layers.documents import SENTENCE_END, DocumentAutoencoder, split_documents, turned
from umekomi.parts.learning.modules import seed_globals

ROWS, WIDTH, INPUTS = 9, 5, 4
END = ROWS - 1
FORMS = ("standard", "hierarchical", "attention")
DOCUMENTS = [[[2, 3], [4]], [[5, 6, 7]], [[3], [2, 2, 5], [7, 4]]]
"""Words of sentences, without marks."""


def made(form, **settings):
    with seed_globals(1):
        network = DocumentAutoencoder(ROWS, INPUTS, form=form, width=WIDTH, **settings).double()
        for weight in network.parameters():  # far from even chances
            torch.nn.init.uniform_(weight, -1, 1)
    return network.eval()


def batch(documents):
    rows = [[word for sentence in document for word in (*sentence, SENTENCE_END)] for document in documents]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return ids, torch.tensor([len(row) for row in rows])


def array(tensor):
    return tensor.detach().numpy()


def slow_step(layer, x, state):
    """One LSTM step of all layers: (h, c) of each."""
    out = []
    for cell, (h, c) in zip(layer.cells, state, strict=True):
        gates = (
            array(cell.weight_ih_l0) @ x
            + array(cell.bias_ih_l0)
            + array(cell.weight_hh_l0) @ h
            + array(cell.bias_hh_l0)
        )
        i, f, g, o = np.split(gates, 4)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        out.append((h, c))
        x = h
    return out


def slow_read(network, document):
    """(the state at the end, what the sentences' LSTM gave at each, in the order read)."""
    layers = len(network.read_words.cells)
    zero = [(np.zeros(WIDTH), np.zeros(WIDTH))] * layers
    words = array(network.words.weight)
    if network.form == "standard":
        flat = [word for sentence in document for word in (*sentence, SENTENCE_END)]
        state = zero
        for word in reversed(flat) if network.reverse else flat:
            state = slow_step(network.read_words, words[word], state)
        return state, []
    sides, state = [], zero
    for sentence in reversed(document) if network.reverse else document:
        own = zero
        for word in (*sentence, SENTENCE_END):
            own = slow_step(network.read_words, words[word], own)
        state = slow_step(network.read_sentences, own[-1][0], state)
        sides.append(state[-1][0])
    return state, sides


def slow_chances(network, document, written):
    """log p of every next word behind ``written`` words and marks."""
    state, sides = slow_read(network, document)
    words, sentence, top = state, state, state[-1][0]
    for word in written:
        words = slow_step(network.write_words, array(network.words.weight)[word], words)
        top = words[-1][0]
        if word == SENTENCE_END and network.form != "standard":
            x = top
            if network.form == "attention":
                before = array(network.of_written.weight) @ sentence[-1][0]
                scores = np.array(
                    [
                        (array(network.scores.weight) @ np.tanh(array(network.of_read.weight) @ e + before))[0]
                        for e in sides
                    ]
                )
                shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
                x = np.concatenate([x, sum(share * e for share, e in zip(shares, sides, strict=True))])
            sentence = slow_step(network.write_sentences, x, sentence)
            words, top = sentence, sentence[-1][0]
    logits = array(network.softmax.weight) @ top + array(network.softmax.bias)
    if not written:
        logits = logits.copy()
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("settings", [{}, {"layers": 2, "reverse": False}])
def test_reading_and_loss_against_slow_loops(form, settings):
    network = made(form, **settings)
    ids, lengths = batch(DOCUMENTS)
    with torch.no_grad():
        vectors = network(ids, lengths).vectors.numpy()
        loss = float(network.loss(ids, lengths, lengths[:0]))
    total = []
    for document, vector in zip(DOCUMENTS, vectors, strict=True):
        assert vector == pytest.approx(slow_read(network, document)[0][-1][0])
        target = [word for sentence in document for word in (*sentence, SENTENCE_END)]
        target[-1] = END
        total += [slow_chances(network, document, target[:at])[word] for at, word in enumerate(target)]
    assert loss == pytest.approx(-np.mean(total))


@pytest.mark.parametrize("form", FORMS)
def test_gradients_reach_every_weight(form):
    network = made(form).train()
    ids, lengths = batch(DOCUMENTS)
    network.loss(ids, lengths, lengths[:0]).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def slow_greedy(network, document, longest):
    out = []
    while len(out) < longest:
        chances = slow_chances(network, document, out)
        if not out:
            chances[[SENTENCE_END, END]] = -np.inf
        word = int(chances.argmax())
        if word == END:
            break
        out.append(word)
    return out


@pytest.mark.parametrize("form", FORMS)
def test_writing_against_a_slow_loop_and_alone(form):
    network = made(form)
    ids, lengths = batch(DOCUMENTS)
    found = network.write(ids, lengths, longest=12)
    assert [row.tolist() for row in found] == [slow_greedy(network, document, 12) for document in DOCUMENTS]
    limits = np.array([4, 2, 9])
    for beam in (1, 3):
        together = network.write(ids, lengths, beam=beam, longest=limits)
        alone = [
            network.write(ids[i : i + 1, : lengths[i]], lengths[i : i + 1], beam=beam, longest=int(limits[i]))[0]
            for i in range(3)
        ]
        assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
        assert all(len(row) <= limit for row, limit in zip(together, limits, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_a_vector_is_its_documents_alone(form):
    network = made(form)
    ids, lengths = batch(DOCUMENTS)
    with torch.no_grad():
        together = network(ids, lengths).vectors
        for number, vector in enumerate(together):
            alone = network(ids[number : number + 1, : lengths[number]], lengths[number : number + 1]).vectors[0]
            torch.testing.assert_close(vector, alone)
        none = network(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)).vectors
        mixed = network(torch.cat([ids, torch.zeros_like(ids[:1])]), torch.cat([lengths, lengths[:1] * 0])).vectors
    assert none.shape == (2, WIDTH) and not none.any() and not mixed[-1].any()
    torch.testing.assert_close(mixed[:-1], together)


def test_documents_are_split_at_marks():
    parts = split_documents(torch.tensor([[4, 1, 5, 5, 1], [6, 1, 7, 0, 0], [0, 0, 0, 0, 0]]), torch.tensor([5, 3, 0]))
    assert parts.ids.tolist() == [[4, 1, 0], [5, 5, 1], [6, 1, 0], [7, 0, 0]]
    assert parts.lengths.tolist() == [2, 3, 2, 1] and parts.counts.tolist() == [2, 2, 0]
    assert parts.places.tolist() == [[0, 1], [2, 3], [0, 0]]
    assert turned(torch.tensor([[1, 2, 3]]), torch.tensor([2])).tolist() == [[2, 1, 3]]
