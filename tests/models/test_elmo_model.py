"""ELMo's network against the published layout's own outputs, and what is none of it in one line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from umekomi.errors import DataError, WrongUse
from umekomi.models import load

torch = pytest.importorskip("torch")

from umekomi.models.elmo import ElmoEmbedder
from umekomi.models.words import CharacterReader
from umekomi.parts.layers.bilm import BiLanguageModel, ElmoNetwork
from umekomi.parts.layers.characters import CharacterEncoder
from umekomi.parts.learning.modules import seed_globals

FIXTURE = Path(os.environ.get("UMEKOMI_DATA", "")) / "elmo-fixture"
SMALL = {"filters": [(1, 3), (2, 4)], "projection": 3, "width": 5, "characters": 4, "longest": 8}
TEXTS = ["The cat sat.", "a dog", "", "the dog don't sit ünder it " * 3, "日本 語"]


def model(**more):
    with seed_globals(3):
        network = ElmoNetwork(BiLanguageModel(**SMALL), **more)
    return ElmoEmbedder(CharacterReader.of("treebank", 8), network, name="small")


@pytest.fixture
def published(tmp_path):
    if not FIXTURE.is_dir():
        pytest.skip("UMEKOMI_DATA has no elmo-fixture")
    pytest.importorskip("h5py")
    for name in ("options.json", "lm_weights.hdf5"):
        shutil.copy(FIXTURE / name, tmp_path / name)
        (tmp_path / name).chmod(0o644)
    return tmp_path


def test_the_published_layout_gives_the_published_layers(published):
    import h5py

    network = load(published).network
    network.stateful = True
    network.forget()
    reader = CharacterReader.of("spaces")
    streams = json.loads((FIXTURE / "sentences.json").read_text())
    files = [h5py.File(FIXTURE / f"lm_embeddings_{number}.hdf5") for number in range(len(streams))]
    seen = 0
    with torch.inference_mode():
        for batch in range(10):
            rows = [reader.characters(stream[batch].split()) for stream in streams]
            longest = max(map(len, rows))
            ids = np.zeros((len(rows), longest, 50), np.int64)
            for place, row in enumerate(rows):
                ids[place, : len(row)] = row
            layers = network.read(torch.from_numpy(ids), torch.tensor([len(row) for row in rows]))
            for place, (row, file) in enumerate(zip(rows, files, strict=True)):
                ahead, back = file[str(batch)][...]
                np.testing.assert_allclose(layers[2][place, : len(row)], np.concatenate([ahead, back], 1), atol=1e-5)
                seen += len(row)
    assert seen > 500


def test_the_published_words_are_the_published_words(published):
    import h5py

    network = load(published).network.model
    names = (FIXTURE / "vocab_test.txt").read_text().split("\n")[:458]
    wanted = h5py.File(FIXTURE / "elmo_token_embeddings.hdf5")["embedding"][...]
    with torch.inference_mode():
        given = network.words(torch.from_numpy(CharacterReader.of("spaces").characters(names))).numpy()
        marks = network.words(network.marks).numpy()
    for place, mark in (("<S>", 0), ("</S>", 1)):
        given[names.index(place)] = marks[mark]
    np.testing.assert_allclose(given, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (
            lambda file: file.create_dataset("CNN/extra", data=[1.0]),
            "expected the arrays of its options, found 'CNN/ex",
        ),
        (lambda file: file.pop("CNN_proj/b_proj"), r"expected the array 'CNN_proj/b_proj' of shape \[16\], found none"),
        (
            lambda file: (file.pop("char_embed"), file.create_dataset("char_embed", data=np.zeros((261, 5)))),
            r"char_embed: expected shape \[261, 4\], found \[261, 5\]",
        ),
    ],
)
def test_hdf5_of_another_shape_is_one_line(published, damage, line):
    import h5py

    with h5py.File(published / "lm_weights.hdf5", "a") as file:
        damage(file)
    with pytest.raises(DataError, match=line):
        load(published)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda head: head.pop("lstm"), "lstm"),
        (lambda head: head["lstm"].update(dim="64"), "dim: expected"),
        (lambda head: head["char_cnn"].update(filters=[[1, -4]]), "filters: expected pairs"),
        (lambda head: head["char_cnn"].update(n_characters=90), "n_characters: expected 262, found 90"),
    ],
)
def test_options_that_are_none_are_one_line(published, change, line):
    head = json.loads((published / "options.json").read_text())
    change(head)
    (published / "options.json").write_text(json.dumps(head))
    with pytest.raises((DataError, WrongUse), match=line):
        load(published)


def test_a_text_has_one_vector_whatever_is_beside_it():
    embedder = model()
    whole = embedder.encode(TEXTS)
    alone = np.concatenate([embedder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, whole, rtol=1e-5, atol=1e-7)
    assert not whole[2].any()


def test_a_vector_is_the_mean_of_its_words_and_these_the_mix_of_the_layers():
    embedder = model()
    tokens = embedder.encode(TEXTS, output="multi")
    dense = embedder.encode(TEXTS)
    for place, text in enumerate(TEXTS):
        assert len(tokens.item(place)) == len(embedder.reader.words([text])[0])
        if text:
            np.testing.assert_allclose(tokens.item(place).mean(0), dense[place], rtol=1e-5, atol=1e-6)
    each = [model(layer=layer).encode(TEXTS) for layer in range(3)]
    np.testing.assert_allclose(np.mean(each, 0), dense, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        embedder.network.mix.copy_(torch.tensor([0.0, 1.0, -1.0]))
        embedder.network.gamma.fill_(2.0)
    shares = np.exp([0.0, 1.0, -1.0])
    mixed = 2 * sum(share * layer for share, layer in zip(shares / shares.sum(), each, strict=True))
    np.testing.assert_allclose(embedder.encode(TEXTS), mixed, rtol=1e-5, atol=1e-6)


def test_state_goes_on_only_where_that_is_asked_for():
    plain, carried = model(), model(stateful=True)
    with torch.no_grad():
        carried.network.load_state_dict(plain.network.state_dict())
    first, again = carried.encode(TEXTS, batch_size=1), carried.encode(TEXTS, batch_size=1)
    assert np.array_equal(first, again)  # a call begins from nothing, whatever was read before it
    np.testing.assert_allclose(first[0], plain.encode(TEXTS)[0], rtol=1e-5)
    assert np.abs(first[1] - plain.encode(TEXTS)[1]).max() > 1e-4
    carried.network.warmup = 1
    assert np.abs(carried.encode(TEXTS, batch_size=1)[0] - first[0]).max() > 1e-4
    uneven = carried.encode(TEXTS, batch_size=2)  # the last batch has fewer places than the state
    assert np.isfinite(uneven).all()


def test_a_long_text_is_read_in_pieces_as_it_is_whole(monkeypatch):
    from umekomi.models import sequence
    from umekomi.parts.layers import bilm

    embedder, text = model(), "one two three four five six seven " * 5
    whole = embedder.encode([text])
    monkeypatch.setattr(sequence, "LONG", 8)
    monkeypatch.setattr(bilm, "PIECE", 6)
    np.testing.assert_allclose(embedder.encode([text]), whole, rtol=1e-5, atol=1e-7)


def test_it_is_saved_as_it_is(tmp_path):
    embedder = model(layer=1)
    embedder.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.encode(TEXTS), embedder.encode(TEXTS))
    assert again.network.settings() == embedder.network.settings()


def test_characters_against_a_slow_loop():
    with seed_globals(1):
        encoder = CharacterEncoder([(1, 2), (3, 4)], 3, characters=5, highway=1, longest=6)
    ids = torch.from_numpy(CharacterReader.of("spaces", 6).characters(["a", "né", "longer"]))
    weights = {name: value.double().numpy() for name, value in encoder.state_dict().items()}
    for row, given in zip(ids.tolist(), encoder(ids).detach().numpy(), strict=True):
        table = weights["table.weight"][row]
        x = []
        for number, (span, count) in enumerate([(1, 2), (3, 4)]):
            kernel, bias = weights[f"filters.{number}.weight"], weights[f"filters.{number}.bias"]
            for channel in range(count):
                sums = [
                    sum(kernel[channel, :, step] @ table[at + step] for step in range(span)) + bias[channel]
                    for at in range(6 - span + 1)
                ]
                x.append(max(max(sums), 0.0))
        x = np.array(x)
        gate = 1 / (1 + np.exp(-(weights["highways.0.gate.weight"] @ x + weights["highways.0.gate.bias"])))
        new = np.maximum(weights["highways.0.transform.weight"] @ x + weights["highways.0.transform.bias"], 0)
        x = gate * new + (1 - gate) * x
        np.testing.assert_allclose(given, weights["projection.weight"] @ x + weights["projection.bias"], rtol=1e-5)
