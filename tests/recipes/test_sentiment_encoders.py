from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from umekomi.errors import UmekomiError, WrongUse
from umekomi.models import load
from umekomi.models.entity import EntityEmbedder
from umekomi.models.labelled import predict_labels
from umekomi.parts.layers.kim import KimEncoder, limit_rows
from umekomi.recipes import get

GOOD, BAD = ["fine", "grand", "lovely", "warm"], ["poor", "dull", "awful", "cold"]
OTHER = ["film", "the", "a", "of", "plot"]


def reviews(count, seed=0):
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for number in range(count):
        label = number % 2
        words = [*rng.choice(OTHER, int(rng.integers(1, 6))), str(rng.choice(GOOD if label else BAD))]
        texts.append(" ".join(rng.permutation(words)))
        labels.append(["neg", "pos"][label])
    return pa.table({"text": texts, "label": labels})


def trees(count, seed=0):
    """Right-branching; a node's label is that of the last word of sentiment in it."""
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(count):
        good = number % 2
        word = str(rng.choice(GOOD if good else BAD))
        label = 4 if good else 0
        line = f"({label} {word})"
        for other in rng.choice(OTHER, int(rng.integers(1, 5))):
            line = f"({label} (2 {other}) {line})"
        lines.append(line)
    return pa.table({"tree": [*lines, "(2 (2 the) (2 film))"]})


def vectors():
    words = [*GOOD, *BAD, *OTHER]
    table = np.random.default_rng(0).normal(size=(len(words), 5)).astype(np.float32)
    return EntityEmbedder(words, table, name="words")


def tiny(**fields):
    return dataclasses.replace(get("sentiment-encoders").tiny(), **fields)


QUICK = {"epochs": 12, "optimiser": "adam", "learning_rate": 0.02, "dropout": 0.1}


# --- the convolution ----------------------------------------------------------------------------------------------------


def slow_kim(encoder, words):
    """Filter by filter, window by window."""
    out = []
    for width, layer in zip(encoder.widths, encoder.filters, strict=True):
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        zeros = np.zeros((width - 1, words.shape[1]))
        padded = np.concatenate([zeros, words, zeros])
        windows = [padded[at : at + width] for at in range(len(words) + width - 1)]
        out += [
            max(max(0.0, float((weight[number].T * window).sum() + bias[number])) for window in windows)
            for number in range(encoder.maps)
        ]
    return np.array(out)


def test_kims_convolution_by_a_slow_loop_in_any_batch():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    encoder = KimEncoder(5, widths=[1, 3, 4], maps=6).eval()
    lengths = [7, 1, 0, 12, 2]
    given = torch.from_numpy(rng.normal(size=(5, 12, 5)).astype(np.float32))  # what is behind an end is no word
    found = encoder(given, torch.tensor(lengths)).vectors.detach().numpy()
    for row, length in enumerate(lengths):
        wanted = slow_kim(encoder, given[row, :length].numpy()) if length else np.zeros(18)
        assert found[row] == pytest.approx(wanted, abs=1e-5)


def test_a_long_text_in_pieces_is_the_whole(monkeypatch):
    torch.manual_seed(0)
    encoder = KimEncoder(3, widths=[1, 3, 5], maps=4).eval()
    words = torch.randn(40_000, 3)
    with torch.no_grad():
        whole = encoder(words[None], torch.tensor([len(words)])).vectors[0]
        assert torch.allclose(encoder.encode_long(words), whole, atol=1e-6)


def test_rows_are_cut_to_the_limit_and_no_further():
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    limit_rows(weight, 3.0)
    assert weight.tolist() == [pytest.approx([1.8, 2.4]), pytest.approx([0.3, 0.4]), [0, 0]]


@pytest.mark.parametrize("variant", ["rand", "static", "nonstatic", "multichannel"])
def test_the_four_variants(variant, tmp_path):
    start = vectors()
    recipe = tiny(variant=variant, **QUICK)
    model = recipe.fit(reviews(120), start=start, seed=1)
    assert (
        np.mean(
            np.array(predict_labels(model, reviews(60, 1)["text"].to_pylist())) == np.array(reviews(60, 1)["label"])
        )
        > 0.8
    )
    table = model.network.words.weight.detach().numpy()
    rows = [model.reader.tokenizer.token_to_id(word) for word in start.names]
    if variant == "static":
        assert (table[rows] == start.vectors).all()
    elif variant != "rand":
        assert not np.allclose(table[rows], start.vectors, atol=1e-4)
    if variant == "multichannel":  # two channels, both begun with the same vectors
        assert np.abs(table[rows] - 2 * start.vectors).mean() < np.abs(table[rows] - start.vectors).mean()
    assert model.network.head.weight.norm(dim=1).max() <= recipe.row_norm * (1 + 1e-5)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    texts = reviews(8)["text"].to_pylist()
    assert np.array_equal(again.encode(texts), model.encode(texts))
    assert predict_labels(again, texts) == predict_labels(model, texts)


@pytest.mark.parametrize("encoder", ["cnn", "tree-lstm"])
def test_words_that_training_never_saw_keep_their_vectors(encoder, tmp_path):
    base = vectors()
    more = EntityEmbedder([*base.names, "unseen"], np.concatenate([base.vectors, np.full((1, 5), 0.7, np.float32)]))
    data = trees(20) if encoder == "tree-lstm" else reviews(20)
    model = tiny(encoder=encoder, variant="nonstatic").fit(data, start=more, seed=1)
    row = model.reader.tokenizer.token_to_id("unseen")
    assert model.network.words.weight[row].tolist() == pytest.approx([0.7] * 5)
    model.save(tmp_path / "model")
    item = "(2 (2 unseen) (2 film))" if encoder == "tree-lstm" else "unseen film"
    assert np.array_equal(load(tmp_path / "model").encode([item]), model.encode([item]))


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_lstm(readout):
    model = tiny(encoder="lstm", readout=readout, row_norm=0.0, **QUICK).fit(reviews(120), seed=1)
    judged = reviews(60, 1)
    assert np.mean(np.array(predict_labels(model, judged["text"].to_pylist())) == np.array(judged["label"])) > 0.8


# --- trees --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["rnn", "rntn", "tree-lstm", "deep-rnn"])
def test_recursive_networks(encoder, tmp_path):
    layers = 2 if encoder == "deep-rnn" else 1
    recipe = tiny(encoder=encoder, layers=layers, width=6, binary=True, **QUICK)
    model = recipe.fit(trees(120), seed=1)
    judged = trees(40, 1)["tree"].to_pylist()[:-1]
    wanted = [str(number % 2) for number in range(40)]
    assert model.network.labels == ["0", "1"]
    assert np.mean(np.array(predict_labels(model, judged)) == np.array(wanted)) > 0.85
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.encode(judged), model.encode(judged))
    assert predict_labels(again, judged) == predict_labels(model, judged)
    with pytest.raises(
        UmekomiError, match="trees, line 2, column 1: expected a tree that begins with '\\(', found 'no'"
    ):
        model.encode([judged[0], "no tree"])


def test_trees_resumed_as_uninterrupted(tmp_path, monkeypatch):
    from battery import Cut

    from umekomi.parts.learning import modules
    from umekomi.progress import Progress

    recipe, data = tiny(encoder="tree-lstm", **QUICK), trees(40)
    whole = recipe.fit(data, seed=3)
    real, seen = Progress.advance, 0

    def advance(self, count):
        nonlocal seen
        seen += 1
        if seen == 7:
            raise Cut
        real(self, count)

    monkeypatch.setattr(modules, "SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", advance)
        with pytest.raises(Cut):
            recipe.fit(data, seed=3, checkpoint=tmp_path)
    again = recipe.fit(data, seed=3, checkpoint=tmp_path)
    texts = data["tree"].to_pylist()
    assert np.array_equal(whole.encode(texts), again.encode(texts))


def test_words_may_be_learned_from_the_phrases_of_trees():
    recipe = tiny(phrases=True, binary=True)
    texts, labels = recipe._labelled({"x": pa.table({"tree": ["(4 (2 the) (3 (1 bad) (3 film)))"]})})
    assert dict(zip(texts, labels, strict=True)) == {"the bad film": "1", "bad film": "1", "bad": "0", "film": "1"}


# --- paragraph vectors --------------------------------------------------------------------------------------------------

PARAGRAPHS = {
    "encoder": "paragraphs",
    "tokenizer": "plain",
    "dimensions": 8,
    "sample": 0.0,
    "infer_epochs": 5,
    "epochs": 30,
}


@pytest.mark.parametrize("ways", ["dm", "dbow", "both"])
@pytest.mark.parametrize("classifier", ["logistic", "mlp"])
def test_paragraph_vectors(ways, classifier, tmp_path):
    pytest.importorskip("gensim")
    recipe = tiny(**PARAGRAPHS, paragraphs=ways, classifier=classifier)
    model = recipe.fit(reviews(200), seed=1)
    texts = reviews(12, 1)["text"].to_pylist()
    found = model.encode(texts)
    assert found.shape == (12, 16 if ways == "both" else 8)
    assert np.array_equal(found[3], model.encode(texts[3])[0]), "a text has one vector, whatever was asked before"
    assert (model.encode("unheard") == 0).all()
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.encode(texts), found)
    assert predict_labels(again, texts) == predict_labels(model, texts)
    assert np.array_equal(recipe.fit(reviews(200), seed=1).encode(texts), found), "one seed, one model"
    assert model.card["training"]["transductive"] is False


@pytest.mark.parametrize("classified", ["learned", "inferred"])
def test_the_classifier_of_paragraphs_learns_from_what_it_is_said_to(classified, monkeypatch):
    pytest.importorskip("gensim")
    recipe, seen = tiny(**PARAGRAPHS, classified=classified), []
    taught = type(recipe)._classifier
    monkeypatch.setattr(type(recipe), "_classifier", lambda own, *given: seen.append(given[0]) or taught(own, *given))
    rows = reviews(60)
    model = recipe.fit(rows, seed=1)
    assert np.array_equal(seen[0], model.encode(rows["text"].to_pylist())) == (classified == "inferred")


@pytest.mark.parametrize("cut", [3, 30 + 3])
def test_paragraph_vectors_cut_off_are_gone_on_with(cut, tmp_path, monkeypatch):
    doc2vec = pytest.importorskip("gensim.models.doc2vec").Doc2Vec
    from umekomi.parts.learning import arrays
    from umekomi.recipes import sentiment_encoders

    monkeypatch.setattr(arrays, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(sentiment_encoders, "PIECE", 50)
    recipe, texts = tiny(**PARAGRAPHS), reviews(120)
    whole = recipe.fit(texts, seed=1)
    train, calls, ends = doc2vec.train, [], [3 * cut + 2]

    def counted(self, *given, **named):
        calls.append((self.dm, named["start_alpha"], named["end_alpha"]))
        if len(calls) in ends:
            raise KeyboardInterrupt
        return train(self, *given, **named)

    monkeypatch.setattr(doc2vec, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        recipe.fit(texts, seed=1, checkpoint=tmp_path)
    before, calls[:], ends[:] = list(calls), [], []
    again = recipe.fit(texts, seed=1, checkpoint=tmp_path)
    for one, other in zip(whole.tables, again.tables, strict=True):
        assert one.names == other.names
        assert np.array_equal(one.words, other.words) and np.array_equal(one.output, other.output)
    assert np.array_equal(again.encode(texts["text"].to_pylist()), whole.encode(texts["text"].to_pylist()))
    assert len(before) - 2 + len(calls) == 2 * 30 * 3, "no epoch that was whole is run again"
    rates = [rate for way in (True, False) for dm, *both in before[:-2] + calls if dm == way for rate in both]
    for own in (rates[: len(rates) // 2], rates[len(rates) // 2 :]):
        assert own == sorted(own, reverse=True) and own[0] == 0.025 and own[-1] == pytest.approx(1e-4)


def test_test_texts_are_learned_from_only_where_that_is_said(capsys):
    pytest.importorskip("gensim")
    data = {"train": reviews(40), "test": pa.table({"text": ["zebra stripes"] * 3})}
    with pytest.raises(WrongUse, match="expected no set named 'test' to learn from, found one; transductive=True"):
        tiny(**PARAGRAPHS).fit(data)
    model = tiny(**PARAGRAPHS, transductive=True).fit(data, seed=1)
    assert model.card["training"]["transductive"] is True
    assert "transductive" in capsys.readouterr().err
    assert "zebra" in model.tables[0].names
    more = tiny(**PARAGRAPHS).fit({"train": reviews(40), "more": pa.table({"text": ["zebra stripes"] * 3})})
    assert more.card["training"]["texts without label"] == 3


# --- bad input ----------------------------------------------------------------------------------------------------------


def test_bad_input_is_one_line():
    with pytest.raises(
        UmekomiError, match="tree-lstm: expected parsed trees \\(column 'tree'\\), found columns text, label"
    ):
        tiny(encoder="tree-lstm").fit(reviews(8))
    with pytest.raises(WrongUse, match="variant static: needs start: a table of word vectors"):
        tiny(variant="static").fit(reviews(8))
    with pytest.raises(UmekomiError, match="expected two labels or more, found only 'pos'"):
        tiny().fit({"text": ["a b", "b c", "c d"], "label": ["pos"] * 3})
    with pytest.raises(UmekomiError, match="binary: expected labels 0 to 4, found 'NP'"):
        tiny(encoder="rnn", binary=True).fit({"tree": ["(NP (2 a) (2 b))"] * 3})
    with pytest.raises(UmekomiError, match="line 2, column 14: expected '\\)' to close the '\\(' of column 10"):
        tiny(encoder="rnn").fit({"tree": ["(1 (2 a) (2 b))", "(1 (2 a) (2 b"]})
    with pytest.raises(WrongUse, match="layers: expected deep-rnn or lstm"):
        tiny(encoder="rnn", layers=2)
    with pytest.raises(WrongUse, match="variant: expected cnn where it is multichannel, found lstm"):
        tiny(encoder="lstm", variant="multichannel")
    with pytest.raises(UmekomiError, match="found none"):
        tiny(variant="static").fit(
            {"text": ["zzz yyy", "yyy xxx", "xxx", "zzz"], "label": ["a", "b", "a", "b"]}, start=vectors()
        )


def test_nan_in_training_names_epoch_and_batch():
    with pytest.raises(UmekomiError, match="epoch 1, batch .*smaller learning_rate"):
        tiny(encoder="rntn", optimiser="adagrad", learning_rate=1e38, epochs=3).fit(trees(40))
