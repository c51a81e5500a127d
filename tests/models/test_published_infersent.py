"""InferSent's published files: by the names and shapes of their arrays, over the user's word vectors, and nothing that is
run from a pickle."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from umekomi.errors import DataError, WrongUse
from umekomi.models import load, word2vec
from umekomi.models.entity import EntityEmbedder
from umekomi.verbs.convert import convert

WORDS = ["<s>", "</s>", "<p>", "</p>", "the", "cat", "sat", "n't"]
TABLE = EntityEmbedder(WORDS, np.random.default_rng(0).normal(size=(len(WORDS), 6)).astype(np.float32), name="six")
W = 4


@pytest.fixture
def vectors(tmp_path):
    word2vec.write(TABLE, tmp_path / "six.vec")
    return tmp_path / "six.vec"


def modules(**more):
    return nn.ModuleDict({"enc_lstm": nn.LSTM(6, W, bidirectional=True), **more})


def linear(bias=False):
    return nn.Linear(2 * W, 2 * W, bias=bias)


STATES = {
    "bilstm": lambda: modules(),
    "projected": lambda: modules(proj_enc=linear()),
    "lstm": lambda: nn.ModuleDict({"enc_lstm": nn.LSTM(6, W)}),
    "gru": lambda: nn.ModuleDict({"enc_lstm": nn.GRU(6, W, bidirectional=True)}),
    "naacl": lambda: modules(proj_key=linear(), proj_lstm=linear(), query_embedding=nn.Embedding(1, 2 * W)),
    "mila": lambda: modules(proj_key=linear(), proj_lstm=linear(), query_embedding=nn.Embedding(2, 2 * W)),
    "yang": lambda: modules(
        proj_lstm=linear(True), proj_query=linear(True), proj_enc=linear(True), query_embedding=nn.Embedding(1, 2 * W)
    ),
    "convnet": lambda: nn.ModuleDict(
        {f"convnet{i}": nn.Sequential(nn.Conv1d(6 if i == 1 else 8, 8, 3, padding=1)) for i in range(1, 5)}
    ),
}
DIMENSIONS = {"lstm": W, "mila": 8 * W, "convnet": 32}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("whole", [False, True])
def test_every_published_encoder_is_known_by_its_arrays(name, whole, tmp_path, vectors):
    state = STATES[name]().state_dict()
    if whole:  # a classifier's
        state = {f"encoder.{key}": value for key, value in state.items()} | {"classifier.0.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "m.pkl")
    convert(tmp_path / "m.pkl", tmp_path / "m", vectors=vectors)
    model = load(tmp_path / "m")
    assert model.dimension == DIMENSIONS.get(name, 2 * W)
    assert np.isfinite(model.encode(["the cat", "zzz", ""])).all()


@pytest.mark.parametrize("version", [1, 2])
def test_the_two_published_versions(version, tmp_path, vectors):
    """What torch's own layer gives for a sentence between the version's words, and the maximum as it has it."""
    network = STATES["bilstm"]()
    torch.save(network.state_dict(), tmp_path / f"infersent{version}.pkl")
    convert(tmp_path / f"infersent{version}.pkl", tmp_path / "m", vectors=vectors)
    model = load(tmp_path / "m")
    begin, end = (("<s>", "</s>"), ("<p>", "</p>"))[version - 1]
    want = []
    with torch.no_grad():
        for text in (["the", "cat", "sat"], ["cat"]):
            rows = torch.from_numpy(np.stack([TABLE[word] for word in (begin, *text, end)]))
            want.append(network["enc_lstm"](rows)[0].amax(0).numpy())
    found = model.encode(["the cat zzz sat", "cat"], batch_size=64)
    assert found[0] == pytest.approx(want[0], abs=1e-6)
    assert found[1] == pytest.approx(np.maximum(want[1], 0) if version == 1 else want[1], abs=1e-6)
    assert model.card["start"] == f"InferSent version {version}"


def test_nothing_but_arrays_is_read(tmp_path, vectors):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harmed"),)

    (tmp_path / "infersent1.pkl").write_bytes(pickle.dumps(Harm()))
    torch.save({"enc_lstm.weight_hh_l0": Harm()}, tmp_path / "infersent2.pkl")
    (tmp_path / "cut.pkl").write_bytes(b"PK\x03\x04 no archive")
    torch.save([1, 2], tmp_path / "list.pkl")
    for name in ("infersent1.pkl", "infersent2.pkl", "cut.pkl", "list.pkl"):
        with pytest.raises(DataError, match="expected a state dictionary of torch") as error:
            convert(tmp_path / name, tmp_path / "m", vectors=vectors)
        assert "\n" not in str(error.value) and name in str(error.value)
    assert not (tmp_path / "harmed").exists() and not (tmp_path / "m").exists()


def test_what_does_not_fit_is_one_line(tmp_path, vectors):
    def told(state, match, **more):
        torch.save(state, tmp_path / "m.pkl")
        with pytest.raises((DataError, WrongUse), match=match):
            convert(tmp_path / "m.pkl", tmp_path / "m", **({"vectors": vectors} | more))

    state = STATES["bilstm"]().state_dict()
    told({"words": torch.zeros(2)}, "expected the arrays of an InferSent encoder, found words")
    told(state | {"more": torch.zeros(2)}, "found the array 'more'")
    told(
        {name: value for name, value in state.items() if "bias_hh_l0" not in name}, "expected an array for .*found none"
    )
    told(state | {"enc_lstm.bias_ih_l0": torch.zeros(3)}, r"of shape \[16\], found shape \[3\]")
    told(state, "expected the word vectors that it was learned on", vectors=None)
    told(
        state, "expected word vectors of 6 numbers, found 2", vectors=EntityEmbedder(["a"], np.ones((1, 2), np.float32))
    )
    few = EntityEmbedder(["a"], np.ones((1, 6), np.float32))
    told(state, "expected a vector of '<s>', which stands around each text", vectors=few)
    with pytest.raises(WrongUse, match="vectors: expected a source ending in"):
        convert(vectors, tmp_path / "m", vectors=vectors)
