"""Embedders that read word by word: alone as in a batch, whole as in pieces, saved as it was, and what is no model of
this kind in one line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.models import load

torch = pytest.importorskip("torch")

from umekomi.models import sequence
from umekomi.models.sequence import SequenceEmbedder
from umekomi.models.words import WordReader, word_tokenizer
from umekomi.parts.layers import sentence
from umekomi.parts.layers.sentence import ConvolutionEncoder, RecurrentEncoder, WordNetwork
from umekomi.parts.learning.modules import seed_globals

NAMES = ["<unk>", "<s>", "</s>", "the", "cat", "sat", "on", "mat", ".", "dog", "n't", "do"]
TEXTS = ["The cat sat on the mat.", "dog", "zzz", "", "the dog don't sit. " * 4, "Cat CAT cat"]
ENCODERS = {
    **{pooling: {"pooling": pooling} for pooling in ("last", "mean", "max", "naacl", "mila", "yang")},
    "self-attention": {"pooling": "self-attention", "hops": 3, "attention_width": 6},
    "lstm": {"pooling": "last", "directions": "forward"},
    "gru": {"pooling": "last", "directions": "forward", "cell": "gru"},
    "backward gru": {"pooling": "last", "directions": "backward", "cell": "gru"},
    "bigru": {"pooling": "last", "cell": "gru"},
    "projected": {"projected": True},
    "two layers": {"layers": 2},
    "convolution": {},
}


def model(name="max", begin="", end="", **more):
    kind = ConvolutionEncoder if name == "convolution" else RecurrentEncoder
    reader = WordReader(word_tokenizer(NAMES, lowercase=True, begin=begin, end=end))
    with seed_globals(0):
        return SequenceEmbedder(reader, WordNetwork(len(NAMES), 5, kind(5, width=4, **(ENCODERS[name] | more))))


@pytest.mark.parametrize("name", ENCODERS)
def test_a_vector_depends_on_nothing_else_in_its_batch(name):
    embedder = model(name)
    together = embedder.encode(TEXTS)
    assert together.shape == (len(TEXTS), embedder.dimension)
    for batch_size in (1, 2, 5):
        assert embedder.encode(TEXTS, batch_size=batch_size) == pytest.approx(together, rel=1e-5, abs=1e-7)
    turned = embedder.encode(TEXTS[::-1])[::-1]
    assert turned == pytest.approx(together, rel=1e-5, abs=1e-7)
    assert not together[2:4].any()
    assert np.abs(together[[0, 1, 4, 5]]).sum(1).all()


@pytest.mark.parametrize("name", ENCODERS)
def test_long_texts_are_read_in_pieces_to_the_same_vector(name, monkeypatch):
    embedder = model(name)
    rows = np.random.default_rng(0).choice(NAMES[3:], 50)
    whole = embedder.encode([" ".join(rows)])
    monkeypatch.setattr(sequence, "LONG", 10)
    for size in (7, 50, 3):
        monkeypatch.setattr(sentence, "PIECE", size)
        assert embedder.encode([" ".join(rows)]) == pytest.approx(whole, rel=1e-5, abs=1e-6)


def test_a_hundred_thousand_words_take_no_memory_for_their_states(forked, tmp_path):
    """The states alone would be 100,000 · 2 · 128 numbers: 102 MB, the gates of one direction twice that."""
    reader = WordReader(word_tokenizer(NAMES))
    network = WordNetwork(len(NAMES), 5, RecurrentEncoder(5, width=128, pooling="max"))
    SequenceEmbedder(reader, network).save(tmp_path / "m")
    told = forked(
        f"""
import resource, umekomi
model = umekomi.load({str(tmp_path / "m")!r})
model.encode(["the cat sat " * 1000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = model.encode(["the cat sat " * 33_334])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, bool((found != 0).any()))
"""
    )
    more, moved = told.split()[-2:]
    assert moved == "True"
    assert int(more) < 250_000  # KiB; 420,000 where all states are there at once


@pytest.mark.parametrize("name", ENCODERS)
def test_saved_and_opened_it_is_the_same(name, tmp_path):
    embedder = model(name, begin="<s>", end="</s>")
    embedder.save(tmp_path / "m")
    there = load(tmp_path / "m")
    assert (there.encode(TEXTS) == embedder.encode(TEXTS)).all()
    assert there.fingerprint() == embedder.fingerprint()
    assert there.outputs == embedder.outputs


def test_opened_by_its_verb_it_gives_word_vectors_too(tmp_path):
    import umekomi

    model("max").save(tmp_path / "m")
    assert umekomi.load(tmp_path / "m").outputs == {"dense", "multi"}


def test_token_vectors_are_states_and_rows_of_the_matrix():
    embedder = model("max")
    tokens, dense = embedder.encode(TEXTS, output="multi"), embedder.encode(TEXTS)
    assert np.diff(tokens.offsets).tolist() == [7, 1, 0, 0, 20, 3]  # "sit" has no row
    assert tokens.flat[:7].max(0) == pytest.approx(dense[0], rel=1e-5)
    matrix = model("self-attention").encode(TEXTS, output="multi")
    assert np.diff(matrix.offsets).tolist() == [3, 3, 0, 0, 3, 3]
    assert matrix.flat[:3].ravel() == pytest.approx(model("self-attention").encode(TEXTS[:1])[0], rel=1e-5)
    assert embedder.similarity(tokens, tokens).shape == (6, 6)
    with pytest.raises(WrongUse, match="gives dense vectors, not 'multi'"):
        model("convolution").encode(TEXTS, output="multi")


def test_what_stands_around_every_text_is_read_where_no_word_is_known(capsys):
    around = model("max", begin="<s>", end="</s>")
    found = around.encode(["zzz", "", "cat"])
    assert np.array_equal(found[0], found[1]) and found[0].any() and not np.array_equal(found[0], found[2])
    assert not capsys.readouterr().err
    model("max").encode(["zzz", "", "cat"])
    assert "note: 2 of 3 texts have no word that sequence knows" in capsys.readouterr().err


def test_unknown_words_have_a_row_where_they_are_not_left_out():
    embedder = model("mean")
    embedder.reader.skips_unknown = False
    assert embedder.encode(["zzz"]).any()
    assert embedder.lengths(["zzz yyy", ""]).tolist() == [2, 0]


def test_with_zeros_behind_it_a_vector_depends_on_its_batch_as_published():
    """The maximum over zeros too: floored at zero, but for the longest of a batch."""
    zero, masked = model("max", padding="zero"), model("max")
    want = masked.encode(TEXTS)
    assert zero.encode(TEXTS, batch_size=1) == pytest.approx(want, abs=1e-7)
    found = zero.encode(TEXTS, batch_size=64)
    assert found[4] == pytest.approx(want[4], abs=1e-7)
    assert found[[0, 1, 5]] == pytest.approx(np.maximum(want[[0, 1, 5]], 0), abs=1e-7)


@pytest.mark.parametrize("name", ["naacl", "mila", "yang", "self-attention"])
def test_attention_is_a_softmax_over_the_words(name):
    ((words, weights),) = model(name).attention(["the zzz cat sat"])
    assert words == ["the", "cat", "sat"]
    assert weights.sum(1) == pytest.approx(1, abs=1e-6)
    with pytest.raises(WrongUse, match="expected a network with attention over words"):
        model("max").attention(["the cat"])


def test_folders_that_are_none_are_one_line(tmp_path):
    from safetensors.numpy import load_file, save_file

    model("naacl").save(tmp_path / "m")
    head = json.loads((tmp_path / "m" / "umekomi.json").read_text())
    (tmp_path / "m" / "SHA256SUMS").unlink()

    def told(change):
        found = json.loads(json.dumps(head))
        change(found["settings"])
        (tmp_path / "m" / "umekomi.json").write_text(json.dumps(found))
        with pytest.raises(UmekomiError) as error:
            load(tmp_path / "m")
        assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
        return str(error.value)

    assert (
        "network: expected one of words, combined words, labelled words, labelled trees, elmo, documents, found 'os:system'"
        in told(lambda own: own.update(network="os:system"))
    )
    assert "encoder: expected one of" in told(lambda own: own["sizes"].update(encoder="x"))
    assert "width: expected" in told(lambda own: own["sizes"]["settings"].update(width=-1))
    assert "colour: expected" in told(lambda own: own["sizes"]["settings"].update(colour=1))
    huge = told(lambda own: own["sizes"]["settings"].update(width=1 << 20))
    assert re.search(r"model.safetensors, \S+: expected float32 of shape", huge)
    assert "layers: expected" in told(lambda own: own["sizes"]["settings"].update(layers=10**9))
    assert "rows" in told(lambda own: own["sizes"].update(rows="many"))
    assert "reader" in told(lambda own: own["reader"].update(kind="x"))
    (tmp_path / "m" / "umekomi.json").write_text(json.dumps(head))
    weights = load_file(tmp_path / "m" / "model.safetensors")
    save_file(weights | {"more": np.zeros(1, np.float32)}, tmp_path / "m" / "model.safetensors")
    with pytest.raises(DataError, match="found 'more' too"):
        load(tmp_path / "m")


def test_words_as_the_treebank_has_them():
    reader = WordReader(word_tokenizer(NAMES, lowercase=True))
    assert reader.words(["Don't, cat."]) == [["do", "n't", "cat", "."]]
    spaces = WordReader(word_tokenizer(NAMES, "spaces"))
    assert spaces.words(["Don't the cat."]) == [["the"]]
    plain = WordReader(word_tokenizer(NAMES, "plain"))
    assert plain.words(["Dog, THE cat."]) == [["dog", "the", "cat"]]
    with pytest.raises(WrongUse, match="expected '<unk>' among the names"):
        word_tokenizer(["a"])
    with pytest.raises(WrongUse, match="no way to split"):
        word_tokenizer(NAMES, "moses")


def test_japanese_is_split_before(tmp_path):
    pytest.importorskip("fugashi")
    reader = WordReader(word_tokenizer(["<unk>", "猫", "が", "鳴く"], "surfaces"), before="surfaces")
    assert reader.words(["猫が鳴く。"]) == [["猫", "が", "鳴く"]]


@pytest.mark.parametrize("name", ENCODERS)
def test_exported_it_gives_the_same_vectors(name):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from umekomi.models.engines.choice import export

    for around in ({}, {"begin": "<s>", "end": "</s>"}):
        embedder = model(name, **around)
        graph = export(embedder)
        for batch_size in (1, 32):
            found = graph.encode(TEXTS, batch_size=batch_size)
            assert found == pytest.approx(embedder.encode(TEXTS), rel=1e-4, abs=1e-6)
        assert graph.lengths(TEXTS).tolist() == embedder.lengths(TEXTS).tolist()
        many = [" ".join(np.random.default_rng(i).choice(NAMES[3:], i % 40)) for i in range(200)]
        assert graph.encode(many) == pytest.approx(embedder.encode(many), rel=1e-4, abs=1e-6)


def test_it_encodes_without_torch(fresh, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    from umekomi.models.engines.choice import open_for_encoding
    from umekomi.verbs.convert import convert

    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    embedder = model("max")
    embedder.save(tmp_path / "m")
    opened = open_for_encoding(str(tmp_path / "m"))
    assert opened.kind == "onnx" and opened.fingerprint() == embedder.fingerprint()
    convert(tmp_path / "m", tmp_path / "onnx", "onnx")
    told = fresh(
        f"""
import sys, umekomi
print(umekomi.load({str(tmp_path / "onnx")!r}).encode({TEXTS!r}).sum().item(), "torch" in sys.modules)
"""
    )
    total, torch_there = told.split()
    assert float(total) == pytest.approx(float(embedder.encode(TEXTS).sum()), abs=1e-4)
    assert torch_there == "False"


def test_what_cannot_be_exported_says_why():
    pytest.importorskip("onnx")
    from umekomi.models.engines.choice import export

    with pytest.raises(WrongUse, match="depends on its batch"):
        export(model("max", padding="zero"))
    with pytest.raises(WrongUse, match="nor a backward direction alone"):
        export(model("backward gru", layers=2))


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("name", ["last", "mean", "max", "bigru", "backward gru"])
def test_the_pooled_graph_reads_texts_in_any_order(name, runtime):
    pytest.importorskip("onnxruntime" if runtime == "onnx" else runtime)
    pytest.importorskip("onnx")
    from umekomi.models.engines.choice import export

    embedder = model(name)
    graph = export(embedder, runtime)
    lengths = torch.tensor([2, 6, 0, 1, 6, 3])
    ids = torch.randint(1, len(NAMES), (6, 6), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(6) < lengths[:, None]).long()
    found = graph.runtime.run({"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    with torch.inference_mode():
        want = embedder.network(ids, lengths).vectors.numpy()
    assert found == pytest.approx(want, rel=1e-4, abs=1e-6)
    assert not found[2].any()
