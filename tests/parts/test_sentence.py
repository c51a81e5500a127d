"""Encoders of sentences against plain loops over one sentence at a time, and the heads that they are learned under."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn import functional

from umekomi.errors import DataError, WrongUse
from umekomi.parts.layers.heads import DenseHead, Gates, PairClassifier, PrunedHead, classifier, pair_features
from umekomi.parts.layers.sentence import ConvolutionEncoder, RecurrentEncoder, SelfAttention, WordNetwork, redundancy
from umekomi.parts.learning.labelled import LabelledRows, held_out
from umekomi.parts.learning.modules import seed_globals

LENGTHS = (5, 1, 7, 3)


def batch(lengths=LENGTHS, inputs=6):
    vectors = torch.randn(len(lengths), max(lengths), inputs, generator=torch.Generator().manual_seed(0))
    return vectors, torch.tensor(lengths)


def states_of(cell, vectors):
    """One sentence ``[time, inputs]`` by torch's own layer."""
    return cell(vectors)[0]


def attended(encoder, states, padding):
    """Inner attention written out, one word after another; ``padding`` rows of zeros behind the sentence."""
    pool, rows = encoder.pool, [*states, *torch.zeros(padding, states.shape[1])]
    most = torch.stack(rows).amax(0)
    out = []
    for query in pool.queries:
        scores = []
        for row in rows:
            key = pool.keys.weight @ row
            if pool.variant == "yang":
                key = key + pool.keys.bias + pool.of_summary.weight @ most + pool.of_summary.bias
            scores.append(torch.tanh(key) @ query / {"naacl": 4, "mila": 3, "yang": 1}[pool.variant])
        shares = torch.softmax(torch.stack(scores), 0)
        values = [pool.values.weight @ row + (pool.values.bias if pool.variant == "yang" else 0) for row in rows]
        out.append(sum(share * value for share, value in zip(shares, values, strict=True)))
    return torch.cat(out)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "naacl", "mila", "yang", "self-attention"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_each_encoder_is_its_formula(pooling, cell):
    with seed_globals(1):
        encoder = RecurrentEncoder(6, width=4, cell=cell, pooling=pooling, queries=3, hops=3, attention_width=5)
    vectors, lengths = batch()
    with torch.no_grad():
        found = encoder(vectors, lengths)
        for row, length in enumerate(LENGTHS):
            states = states_of(encoder.recurrent.cells[0], vectors[row, :length])
            if pooling == "last":
                want = torch.cat([states[-1, :4], states[0, 4:]])
            elif pooling == "mean":
                want = states.mean(0)
            elif pooling == "max":
                want = states.amax(0)
            elif pooling == "self-attention":
                pool = encoder.pool
                scores = torch.stack([pool.second.weight @ torch.tanh(pool.first.weight @ state) for state in states])
                shares = torch.softmax(scores, 0)
                want = torch.stack(
                    [sum(a * h for a, h in zip(shares[:, hop], states, strict=True)) for hop in range(3)]
                )
                assert torch.allclose(found.attention[row, :, :length], shares.t(), atol=1e-6)
                assert not found.attention[row, :, length:].any()
                want = want.flatten()
            else:
                want = attended(encoder, states, 0)
            assert torch.allclose(found.vectors[row], want, atol=1e-6), row


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "naacl"])
@pytest.mark.parametrize("directions", ["forward", "backward", "both"])
@pytest.mark.parametrize("padding", ["masked", "zero"])
def test_vectors_alone_are_those_beside_the_states(pooling, directions, padding):
    lengths = (3, 0, 6, 6, 1, 4)
    vectors, counts = batch(lengths)
    for more in ({}, {"cell": "gru", "layers": 2}, {"projected": pooling != "last"}):
        with seed_globals(1):
            encoder = RecurrentEncoder(6, width=4, pooling=pooling, directions=directions, padding=padding, **more)
        for given, those in ((vectors, counts), (vectors, counts * 0), (vectors[:0], counts[:0])):
            with torch.inference_mode():
                found, beside = encoder.encode(given, those), encoder(given, those).vectors
            assert found.shape == (len(those), encoder.dimension)
            torch.testing.assert_close(found, beside, rtol=1e-5, atol=1e-7)
        rows, places = torch.randn(3, 6), torch.randint(0, 3, vectors.shape[:2])
        with torch.inference_mode():
            again, beside = encoder.encode(rows, counts, places), encoder(rows[places], counts).vectors
        torch.testing.assert_close(again, beside, rtol=1e-5, atol=1e-7)
        learned = encoder.encode(vectors, counts)
        assert learned.requires_grad, "where a gradient is asked for there is one"


@pytest.mark.parametrize("pooling", ["max", "yang"])
def test_zeros_behind_a_sentence_count_where_asked_for(pooling):
    with seed_globals(1):
        encoder = RecurrentEncoder(6, width=4, pooling=pooling, padding="zero")
    vectors, lengths = batch()
    with torch.no_grad():
        found = encoder(vectors, lengths).vectors
        for row, length in enumerate(LENGTHS):
            states = states_of(encoder.recurrent.cells[0], vectors[row, :length])
            behind = max(LENGTHS) - length
            want = torch.cat([states, torch.zeros(behind, 8)]).amax(0)
            want = attended(encoder, states, behind) if pooling == "yang" else want
            assert torch.allclose(found[row], want, atol=1e-6)


@pytest.mark.parametrize("padding", ["masked", "zero"])
def test_the_hierarchical_convolution_is_its_formula(padding):
    with seed_globals(1):
        encoder = ConvolutionEncoder(6, width=4, padding=padding)
    vectors, lengths = batch()
    with torch.no_grad():
        found = encoder(vectors, lengths).vectors
        for row, length in enumerate(LENGTHS):
            width = max(LENGTHS) if padding == "zero" else length
            data = torch.zeros(width, 6)
            data[:length] = vectors[row, :length]
            maxima = []
            for layer in encoder.layers:
                around = torch.cat([torch.zeros(1, data.shape[1]), data, torch.zeros(1, data.shape[1])])
                rows = [
                    sum(layer.weight[:, :, k] @ around[at + k] for k in range(3)) + layer.bias for at in range(width)
                ]
                data = torch.stack(rows).clamp(min=0)
                maxima.append(data.amax(0))
            assert torch.allclose(found[row], torch.cat(maxima), atol=1e-6)


def test_sentences_without_words_are_zero_and_give_a_gradient_that_is_finite():
    for pooling in ("last", "mean", "max", "naacl", "yang", "self-attention"):
        encoder = RecurrentEncoder(6, width=4, pooling=pooling, hops=2, attention_width=3)
        vectors, _ = batch()
        found = encoder(vectors.requires_grad_(), torch.tensor([5, 0, 7, 0])).vectors
        assert not found[[1, 3]].any()
        found.square().sum().backward()
        assert all(torch.isfinite(weight.grad).all() for weight in encoder.parameters() if weight.grad is not None)


def test_redundancy_is_the_squared_norm_and_its_gradient_is_right():
    attention = torch.rand(2, 3, 5, dtype=torch.float64, requires_grad=True)
    want = [float(((a @ a.T - np.eye(3)) ** 2).sum()) for a in attention.detach().numpy()]
    assert redundancy(attention).tolist() == pytest.approx(want)
    torch.autograd.gradcheck(redundancy, attention)


def test_the_pruned_head_is_the_dense_one_with_weights_left_out():
    """Appendix A: a dense hidden layer whose other weights are zero gives the same."""
    hops, width, by_row, by_column = 3, 4, 2, 5
    head = PrunedHead(hops, width, by_row, by_column, 6, 0.0)
    nn.init.normal_(head.row_bias)
    dense = torch.zeros(hops * by_row + width * by_column, hops, width)
    for hop in range(hops):
        for unit in range(by_row):
            dense[hop * by_row + unit, hop] = head.rows[hop, :, unit]
    for column in range(width):
        for unit in range(by_column):
            dense[hops * by_row + column * by_column + unit, :, column] = head.columns[column, :, unit]
    bias = torch.cat([head.row_bias.flatten(), head.column_bias.flatten()])
    matrix = torch.randn(7, hops, width)
    want = head.out(torch.relu(functional.linear(matrix.flatten(1), dense.flatten(1), bias)))
    assert torch.allclose(head(matrix), want, atol=1e-5)
    weights = sum(weight.numel() for weight in (head.rows, head.columns))
    assert weights == hops * width * (by_row + by_column)
    assert DenseHead(hops, width, 9, 6, 0.0)(matrix).shape == (7, 6)


def test_gates_multiply_each_rows_own_maps():
    gates = Gates(3, 4)
    first, second = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    for hop in range(3):
        want = (first[:, hop] @ gates.first[hop]) * (second[:, hop] @ gates.second[hop])
        assert torch.allclose(gates(first, second)[:, hop], want, atol=1e-6)


def test_the_features_of_a_pair():
    u, v = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(pair_features(u, v), torch.cat([u, v, (u - v).abs(), u * v], 1))
    assert [type(part).__name__ for part in classifier(4, 3, 2)] == ["Linear"] * 3
    assert [type(part).__name__ for part in classifier(4, 3, 2, nonlinear=True, dropout=0.1)] == [
        *["Dropout", "Linear", "Tanh"] * 2, "Dropout", "Linear",
    ]  # fmt: skip
    module = PairClassifier(WordNetwork(9, 6, RecurrentEncoder(6, width=4)), 5, 3)
    side = torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1])
    assert module(side, side)[0].shape == (2, 3)


def test_rows_held_out_are_whole_groups():
    groups = ["a", "a", "b", "c", "c", "c", "d"]
    for seed in range(5):
        train, held = held_out(groups, 0.3, np.random.default_rng(seed))
        assert sorted([*train, *held]) == list(range(7))
        assert not {groups[row] for row in train} & {groups[row] for row in held}
        assert len(train) and len(held)
    with pytest.raises(DataError, match="two different texts"):
        held_out(["a", "a"], 0.5, np.random.default_rng(0))
    with pytest.raises(DataError, match="expected two labels or more, found only 'x'"):
        LabelledRows.of([[np.array([1])]], ["x"], "infersent")
    with pytest.raises(WrongUse, match="where they are projected"):
        RecurrentEncoder(4, width=2, projected=True, pooling="last")
    assert SelfAttention(4, 3, 2).dimension == 8
