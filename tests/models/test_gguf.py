"""GGUF files run: every architecture against its network in transformers, quantized types against exact arithmetic, what
is mended and said, and every verb that takes a model."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import TEXTS

pytest.importorskip("gguf")
pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")

import gguf
from gguf_networks import CONTEXT, DECODERS, SETTINGS, embedder

import umekomi
from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.models.engines.choice import open_for_encoding
from umekomi.models.engines.gguf import model as gguf_model
from umekomi.models.engines.gguf.expanded import read_expanded
from umekomi.models.engines.gguf.header import Gguf
from umekomi.models.engines.gguf.model import GgufEmbedder
from umekomi.models.engines.gguf.shape import entry_of, read_shape, ways
from umekomi.models.engines.gguf.writing import write

LONG = [*TEXTS, "", "a dog 東京 ran! " * 5, "the cat sat on the mat " * 60]


def cosines(a, b):
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("gguf")


@pytest.fixture(scope="module")
def tiny(place):
    """(the network's own embedder, its file in float32), made once for each architecture."""
    made = {}

    def make(architecture):
        if architecture not in made:
            model, path = embedder(architecture), place / f"{architecture}.gguf"
            write(model, path, "F32")
            made[architecture] = model, path
        return made[architecture]

    return make


# --- vectors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", SETTINGS)
def test_vectors_are_the_networks_own(tiny, architecture):
    model, path = tiny(architecture)
    want = model.encode(LONG)
    ran = GgufEmbedder(path)
    assert cosines(want, ran.encode(LONG)).min() > 0.99999
    assert cosines(want, np.concatenate([ran.encode([text]) for text in LONG])).min() > 0.99999
    assert cosines(want, read_expanded(path).encode(LONG)).min() > 0.99999
    assert ran.context == CONTEXT and ran.dimension == model.dimension and ran.rounding == ""
    assert ran.truncated(LONG).tolist() == [*[False] * (len(LONG) - 1), True]


@pytest.mark.parametrize("type", ["F16", "Q8_0", "Q4_0", "Q4_1"])
@pytest.mark.parametrize("architecture", ["bert", "qwen3"])
def test_quantized_weights_are_run_as_they_are(tiny, place, architecture, type):
    path = place / f"{architecture}-{type}.gguf"
    write(tiny(architecture)[0], path, type)
    want = read_expanded(path).encode(LONG)
    assert cosines(want, GgufEmbedder(path, exact=True).encode(LONG)).min() > 0.99999
    rounded = GgufEmbedder(path, runtime="onnx")
    assert cosines(want, rounded.encode(LONG)).min() > 0.995  # activations of eight bits, in a network of 64 numbers
    assert bool(rounded.rounding) == (type != "F16")


def test_k_quants_of_several_types_in_one_product(place):
    """Queries in Q5_0, keys in Q4_K and values in Q6_K, as files that llama.cpp quantized mix them."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    draw = np.random.default_rng(0)
    types = {"attn_q": "Q5_0", "attn_k": "Q4_K", "attn_v": "Q6_K", "attn_output": "Q5_K", "ffn_up": "Q5_1"}
    path = place / "mixed.gguf"
    writer = gguf.GGUFWriter(str(path), "bert")
    for key, value in {"block_count": 1, "embedding_length": 256, "feed_forward_length": 256, "context_length": 32,
                       "attention.head_count": 4, "pooling_type": 1}.items():  # fmt: skip
        writer.add_uint32(f"bert.{key}", value)
    writer.add_float32("bert.attention.layer_norm_epsilon", 1e-12)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"▁{letter}" for letter in "abcdefgh")])
    for key, value in (("unknown", 1), ("cls", 2), ("seperator", 3)):
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", value)
    names = [f"blk.0.{name}" for name in (*types, "ffn_down")]
    for name in names:
        kind = GGMLQuantizationType[types.get(name[6:], "Q8_0")]
        block, size = GGML_QUANT_SIZES[kind]
        data = draw.integers(0, 256, (256 * 256 // block, size)).astype(np.uint8)
        for at in {"Q6_K": [208]}.get(kind.name, [0, 2] if kind.name in ("Q5_1", "Q4_K", "Q5_K") else [0]):
            data[:, at : at + 2] = draw.uniform(1e-4, 1e-3, (len(data), 1)).astype("<f2").view(np.uint8)
        writer.add_tensor(f"{name}.weight", data.reshape(256, -1), raw_dtype=kind)
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(256, np.float32))
    for name, rows in (("token_embd", 12), ("position_embd", 32)):
        writer.add_tensor(f"{name}.weight", draw.normal(size=(rows, 256)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    texts = ["a b c", "h", "d e f g h a b c", "a a a a"]
    want = read_expanded(path).encode(texts)
    assert cosines(want, GgufEmbedder(path, exact=True).encode(texts)).min() > 0.99999
    for engine in ("onnx", *(["openvino"] if find_spec("openvino") else [])):
        assert cosines(want, GgufEmbedder(path, runtime=engine).encode(texts)).min() > 0.999
    assert "1 Q4_K, 1 Q5_0, 1 Q5_1, 1 Q5_K, 1 Q6_K, 1 Q8_0" in GgufEmbedder(path).card["tensors"]


@pytest.mark.parametrize("pooling", ["cls", "mean", "lasttoken"])
def test_each_pooling(place, pooling):
    model, path = embedder("bert", pooling), place / f"{pooling}.gguf"
    write(model, path, "F32")
    assert cosines(model.encode(LONG), umekomi.load(path).encode(LONG)).min() > 0.99999
    named = {"cls": "mean", "mean": "cls", "lasttoken": "mean"}[pooling]
    other = umekomi.load(path, pooling=named)
    assert other.card["pooling"] == named
    assert cosines(embedder("bert", named).encode(LONG), other.encode(LONG)).min() > 0.99999
    assert other.fingerprint() != umekomi.load(path).fingerprint()


def test_minilm_keeps_its_vectors(place, minilm):
    for type, least in (("F16", 0.99999), ("Q8_0", 0.999)):
        path = place / f"minilm-{type}.gguf"
        write(minilm, path, type)
        texts = [text for text in LONG if text]
        assert cosines(minilm.encode(texts), umekomi.load(path).encode(texts)).min() > least
    file = Gguf(path)
    assert (file.metadata["general.license"], file.metadata["bert.pooling_type"]) == ("Apache-2.0", 1)
    assert umekomi.load(path).lengths(LONG).tolist() == minilm.lengths(LONG).tolist()


# --- what is mended and said ------------------------------------------------------------------------------------------


def told(path, tensors=(), **metadata):
    """The same file with other metadata, where a value of None takes one out, and further ``tensors``."""
    file = Gguf(path)
    other = path.with_name(f"{path.stem}-told.gguf")
    writer = gguf.GGUFWriter(str(other), file.architecture)
    for key, value in (file.metadata | {key.replace("__", "."): value for key, value in metadata.items()}).items():
        if key == "general.architecture" or value is None:
            continue
        if isinstance(value, (list, np.ndarray)):
            writer.add_array(key, value.tolist() if isinstance(value, np.ndarray) else value)
        else:
            writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value) if type(value) is not int
                                 else gguf.GGUFValueType.UINT32)  # fmt: skip
    for tensor in file.tensors.values():
        writer.add_tensor(tensor.name, tensor.data.view("<f4").reshape(tensor.shape))
    for name, values in dict(tensors).items():
        writer.add_tensor(name, np.asarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return other


SPEEDS = {"rope_freqs.weight": [1, 1, 1, 1.5, 3, 7, 8, 8]}


@pytest.mark.parametrize("stretch", [1.0, 2.0])
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_speeds_of_the_rotation_are_divided_by_every_engine(tiny, tmp_path, architecture, stretch):
    model, path = tiny(architecture)
    scaling = {f"{architecture}__rope__scaling__type": "linear", f"{architecture}__rope__scaling__factor": stretch}
    path = told(path, SPEEDS, **(scaling if stretch != 1 else {}))
    ran, torch = GgufEmbedder(path), read_expanded(path)
    assert cosines(model.encode(LONG), ran.encode(LONG)).min() < 0.99
    assert cosines(ran.encode(LONG), torch.encode(LONG)).min() > 0.99999
    umekomi.convert(path, tmp_path / "folder")
    assert cosines(ran.encode(LONG), umekomi.load(tmp_path / "folder").encode(LONG)).min() > 0.99999
    with pytest.raises(WrongUse, match=r"expected positions as they are, found them scaled \(longrope\)"):
        umekomi.convert(path, tmp_path / "again.gguf", type="F16")


@pytest.mark.parametrize(
    ("architecture", "values", "line"),
    [
        ("llama", [1.0] * 7, r"tensor rope_freqs.weight: expected 8 numbers above zero, found \[7\]"),
        ("llama", [1.0] * 7 + [0.0], r"expected 8 numbers above zero, found \[8\] with \[0.0\]"),
        ("bert", [1.0] * 8, r"expected the tensors of bert, found rope_freqs.weight"),
        ("gemma3", [1.0] * 8, r"expected the tensors of gemma3, found rope_freqs.weight"),
    ],
)
def test_speeds_that_are_none(tiny, architecture, values, line):
    path = told(tiny(architecture)[1], {"rope_freqs.weight": values})
    for way in (GgufEmbedder, read_expanded):
        with pytest.raises(UmekomiError, match=line):
            way(path)


@pytest.mark.parametrize("architecture", ["nomic-bert", "modern-bert"])
def test_heads_rotated_in_part_have_no_network_in_torch(tiny, architecture):
    path = told(tiny(architecture)[1], **{f"{architecture}__rope__dimension_count": 8})
    assert np.isfinite(GgufEmbedder(path).encode(TEXTS)).all()
    line = f"expected all 16 numbers of a head to be rotated.* found {architecture}.rope.dimension_count 8"
    with pytest.raises(WrongUse, match=line):
        read_expanded(path)


@pytest.mark.parametrize("architecture", ["bert", "llama", "qwen3"])
def test_a_window_is_of_the_networks_that_have_one(tiny, architecture):
    model, path = tiny(architecture)
    path = told(path, **{f"{architecture}__attention__sliding_window": 6})
    for ran in (GgufEmbedder(path), read_expanded(path)):
        assert cosines(model.encode(LONG), ran.encode(LONG)).min() > 0.99999


@pytest.fixture
def qwen(tiny, monkeypatch):
    """A file of Qwen3-Embedding's, as it was converted at first: neither pooling nor end-of-text token is said."""
    from dataclasses import replace

    from umekomi.models.engines.gguf import shape
    from umekomi.models.published.catalogue import CATALOGUE

    entry = replace(CATALOGUE["qwen3-embedding-0.6b"], dimensions=64, ends_in="[SEP]")
    monkeypatch.setattr(shape, "CATALOGUE", {entry.name: entry})
    _, path = tiny("qwen3")
    return told(path, general__name="Qwen3 Embedding 0.6B", qwen3__pooling_type=None,
                tokenizer__ggml__add_eos_token=None, tokenizer__ggml__eos_token_id=1)  # fmt: skip


def test_a_last_token_model_whose_file_lacks_its_end_is_mended(tiny, qwen, capsys):
    model, _ = tiny("qwen3")
    ran = umekomi.load(qwen)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "neither its pooling nor that texts end in [SEP], as qwen3-embedding-0.6b needs" in said
    assert "the last token is taken, and [SEP] added" in said
    assert cosines(model.encode(LONG), ran.encode(LONG)).min() > 0.99999
    assert ran.name == "qwen3-embedding-0.6b" and ran.card["licence"] == "Apache-2.0"
    query = ran.prompt("query")
    assert query.startswith("Instruct: ") and ran.prompt("document") == ""
    assert cosines(ran.encode_query(TEXTS), ran.encode([query + text for text in TEXTS])).min() > 0.99999
    assert cosines(read_expanded(qwen).encode_query(TEXTS), ran.encode_query(TEXTS)).min() > 0.99999


def test_what_was_mended_can_be_written(tiny, qwen, place, capsys):
    mended = umekomi.convert(qwen, place / "Qwen3-Embedding-0.6B.gguf")
    capsys.readouterr()
    ran = umekomi.load(mended)
    assert capsys.readouterr().err == ""
    assert cosines(tiny("qwen3")[0].encode(LONG), ran.encode(LONG)).min() > 0.99999
    file = Gguf(mended)
    assert file.metadata["qwen3.pooling_type"] == 3 and file.metadata["tokenizer.ggml.add_eos_token"] is True


def test_a_file_of_another_model_is_not_mended(tiny, qwen, capsys):
    other = told(qwen, general__name="something else")
    assert entry_of(Gguf(other)) is None
    ran = umekomi.load(other)
    assert f"{other.name} does not say how its vectors are pooled: the last token is taken" in capsys.readouterr().err
    assert ran.tokenizer.encode("a").ids[-1] != 3


def test_an_end_that_is_not_in_the_vocabulary(qwen):
    tokens = Gguf(qwen).metadata["tokenizer.ggml.tokens"]
    tokens = ["[END]" if token == "[SEP]" else token for token in tokens]
    with pytest.raises(DataError, match=r"expected the end-of-text token \[SEP\] in its vocabulary, found none"):
        umekomi.load(told(qwen, tokenizer__ggml__tokens=tokens))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"bert__pooling_type": 4}, "expected a model that embeds texts, found a reranker"),
        ({"bert__pooling_type": 9}, "bert.pooling_type: expected 0 to 4, found 9"),
        ({"bert__block_count": 2}, "expected the tensors of bert, found blk.2.* which umekomi does not know there"),
        ({"bert__block_count": 4}, "expected the tensor blk.3.* found none of this name"),
        ({"bert__block_count": None}, "expected bert.block_count in the metadata, found none"),
        ({"bert__block_count": 10**6}, "bert.block_count: expected 1 to 1024, found 1000000"),
        ({"bert__embedding_length": 32}, r"token_embd.weight: expected \[tokens, 32\]"),
        ({"bert__feed_forward_length": 97}, r"blk.0.ffn_up.weight: expected the shape \[97, 64\], found \[96, 64\]"),
        ({"bert__context_length": 97}, r"position_embd.weight: expected \[97, 64\], found \[96, 64\]"),
        ({"bert__attention__head_count": "four"}, "bert.attention.head_count: expected int, found 'four'"),
        ({"bert__attention__layer_norm_epsilon": float("nan")}, "expected a number above zero, found nan"),
        ({"general__type": "adapter"}, "found an adapter"),
        ({"general__type": "mmproj"}, "found the picture tower of a chat model"),
        ({"tokenizer__ggml__model": "rwkv"}, "expected one of bert, t5, llama, gpt2, gemma4"),
    ],
)
def test_metadata_that_are_no_networks_are_one_line(tiny, change, line):
    with pytest.raises(UmekomiError, match=line) as error:
        umekomi.load(told(tiny("bert")[1], **change))
    assert "\n" not in str(error.value) and "bert-told.gguf" in str(error.value)


@pytest.mark.parametrize(
    ("architecture", "line"),
    [
        ("clip", "picture tower"),
        ("qwen2vl", "a chat model that sees"),
        ("nomic-bert-moe", "a network of experts"),
        ("mamba", "umekomi runs bert, nomic-bert"),
    ],
)
def test_a_model_that_embeds_nothing_says_what_it_is(tmp_path, architecture, line):
    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_tensor("x", np.ones(8, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(WrongUse, match=line):
        umekomi.load(path)
    with pytest.raises(WrongUse, match=line):
        ways(Gguf(path))


def test_a_decoder_that_sees_all_of_a_text(tiny):
    path = told(tiny("qwen3")[1], qwen3__attention__causal=False)
    assert not read_shape(Gguf(path)).causal
    first, second = umekomi.load(path, pooling="cls").encode(["the cat sat", "the cat ran"])
    assert first @ second < 0.9999  # the first token has seen the last
    assert (
        cosines(read_expanded(path, "cls").encode(LONG), umekomi.load(path, pooling="cls").encode(LONG)).min() > 0.99999
    )


# --- verbs ------------------------------------------------------------------------------------------------------------


def test_saved_and_opened_again(tiny, tmp_path):
    _, path = tiny("bert")
    model = umekomi.load(path, pooling="cls")
    model.save(tmp_path / "saved")
    again = umekomi.load(tmp_path / "saved")
    assert again.kind == "gguf" and again.fingerprint() == model.fingerprint()
    assert np.array_equal(again.encode(TEXTS), model.encode(TEXTS))
    assert cosines(open_for_encoding(tmp_path / "saved", "torch").encode(TEXTS), model.encode(TEXTS)).min() > 0.99999


def test_a_saved_pooling_is_kept_by_every_way_and_gives_way_to_a_named_one(tiny, tmp_path):
    _, path = tiny("bert")
    umekomi.load(path, pooling="cls").save(tmp_path / "saved")
    want = {name: embedder("bert", name).encode(LONG) for name in ("cls", "mean")}
    folder = umekomi.convert(tmp_path / "saved", tmp_path / "folder")
    assert cosines(umekomi.load(folder).encode(LONG), want["cls"]).min() > 0.99999
    folder = umekomi.convert(tmp_path / "saved", tmp_path / "other", pooling="mean")
    assert cosines(umekomi.load(folder).encode(LONG), want["mean"]).min() > 0.99999
    for place, engine in ((path, "torch"), (tmp_path / "saved", "onnx"), (tmp_path / "saved", "torch")):
        for pooling in ("mean", "cls"):
            opened = umekomi.load(place, engine, pooling=pooling)
            assert opened.kind == ("text" if engine == "torch" else "gguf")
            assert cosines(opened.encode(LONG), want[pooling]).min() > 0.99999
    with pytest.raises(WrongUse, match="engine: expected auto"):
        umekomi.load(path, "fast", pooling="mean")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(WrongUse, match=r"none.gguf: no such file"):
        umekomi.load(tmp_path / "none.gguf")
    with pytest.raises(WrongUse, match="pooling: expected a GGUF file, whose pooling can be named, found random"):
        umekomi.load("random", pooling="mean")


def test_engines(tiny, place):
    pytest.importorskip("openvino")
    model, _ = tiny("qwen3")
    path = place / "engines.gguf"
    write(model, path, "Q8_0")
    want = open_for_encoding(path, "torch")
    assert want.kind == "text" and open_for_encoding(path).kind == "gguf"
    for engine in ("onnx", "openvino"):
        assert cosines(want.encode(LONG), open_for_encoding(path, engine).encode(LONG)).min() > 0.99


@pytest.mark.parametrize("architecture", SETTINGS)
def test_openvino_runs_the_same_network(tiny, place, architecture):
    pytest.importorskip("openvino")
    model, path = tiny(architecture)
    assert cosines(model.encode(LONG), GgufEmbedder(path, runtime="openvino").encode(LONG)).min() > 0.99999


def test_openvinos_weights_lie_in_a_file_without_a_name(tiny, place, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    model, _ = tiny("bert")
    path, cache = place / "mapped.gguf", tmp_path / "cache"
    write(model, path, "Q8_0")
    monkeypatch.setenv("UMEKOMI_CACHE", str(cache))
    forgotten = []
    monkeypatch.setattr(gguf_model, "forget", lambda weights: forgotten.append((weights.stat().st_size, weights)))
    mapped = GgufEmbedder(path, runtime="openvino")
    ((size, weights),) = forgotten
    assert size > 64 * 512 and not list(cache.iterdir())
    assert not sys.platform.startswith("linux") or f"{weights} (deleted)" in Path("/proc/self/maps").read_text()
    monkeypatch.setenv("UMEKOMI_CACHE", str(path))  # a file: there is nowhere to write
    assert np.array_equal(mapped.encode(LONG), GgufEmbedder(path, runtime="openvino").encode(LONG))
    assert len(forgotten) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says which pages are a file's")
def test_what_is_mapped_is_forgotten_and_comes_back(tmp_path):
    content = np.arange(1 << 18, dtype=np.uint8)
    content.tofile(tmp_path / "array")
    array = np.memmap(tmp_path / "array", np.uint8, "r")

    def resident() -> int:
        _, after = Path("/proc/self/smaps").read_text().split(f"{tmp_path / 'array'}\n")
        return int(re.search(r"Rss:\s+(\d+)", after)[1])

    assert np.array_equal(array, content) and resident() == 256
    gguf_model.forget(tmp_path / "array")
    assert resident() == 0
    assert np.array_equal(array, content)


def test_info_says_what_the_file_is(tiny):
    _, path = tiny("gemma3")
    found = umekomi.info(str(path))
    assert (found["kind"], found["architecture"], found["pooling"], found["dimension"]) == (
        "gguf",
        "gemma3",
        "last",
        64,
    )
    assert found["tensors"].endswith("F32") and found["context"] == CONTEXT


def test_from_gguf_to_a_folder_that_trains(tiny, tmp_path):
    model, path = tiny("qwen2")
    for to in ("safetensors", "sentence-transformers"):
        folder = umekomi.convert(path, tmp_path / to, to)
        again = umekomi.load(folder, engine="torch")
        assert again.kind == "text"
        assert cosines(model.encode(LONG), again.encode(LONG)).min() > 0.99999


@pytest.fixture
def data(tmp_path):
    """(texts, pairs with scores) as files."""
    texts, pairs = tmp_path / "texts.jsonl", tmp_path / "pairs.tsv"
    texts.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in TEXTS))
    rows = [f"{a}\t{b}\t{place % 3}" for place, (a, b) in enumerate(pairwise(TEXTS))]
    pairs.write_text("\n".join(["sentence1\tsentence2\tscore", *rows]))
    return texts, pairs


def test_every_verb_that_takes_a_model(tiny, tmp_path, data):
    _, path = tiny("bert")
    texts, pairs = data
    umekomi.encode(path, texts, tmp_path / "v.npy")
    want = umekomi.load(path).encode(TEXTS)
    assert cosines(np.load(tmp_path / "v.npy"), want).min() > 0.99999
    assert -1 <= umekomi.evaluate(path, "similarity", pairs).main.value <= 1
    umekomi.index(path, texts, tmp_path / "index")
    assert umekomi.search(tmp_path / "index", TEXTS[2], k=1)[0].text == TEXTS[2]  # the index knows the file's place
    table = umekomi.compare([str(path), "random"], pairs)
    assert {row.candidate for row in table.rows} >= {str(path), "random"}, table.skipped
    umekomi.convert(path, tmp_path / "q8.gguf", type="Q8_0")
    assert {tensor.type for tensor in Gguf(tmp_path / "q8.gguf").tensors.values()} == {"Q8_0", "F32"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({"type": "Q9"}, "type: expected one of F32, F16"),
        ({"pooling": "max"}, "pooling: expected mean, cls or last, found 'max'"),
        ({"to": "word2vec"}, "expected a table of entities"),
        ({"to": "onnx", "type": "F16"}, "type: expected to 'gguf', found 'onnx'"),
    ],
)
def test_wrong_words_are_one_line(tiny, tmp_path, words, line):
    with pytest.raises(WrongUse, match=line):
        umekomi.convert(tiny("bert")[1], tmp_path / "out.gguf", **words)
    assert not list(tmp_path.iterdir())


def test_what_no_gguf_file_can_say(tiny, tmp_path, minilm):
    out = tmp_path / "out.gguf"
    with pytest.raises(WrongUse, match="expected a transformer text embedder, found kind hashing"):
        umekomi.convert("hashing", out)
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense

    from umekomi.models.text import TextEmbedder

    layered = TextEmbedder(SentenceTransformer(modules=[*minilm.model, Dense(384, 8)], device="cpu"))
    with pytest.raises(WrongUse, match="expected a transformer, a pooling and a normalisation, found Transformer"):
        write(layered, out)
    with pytest.raises(WrongUse, match=r"expected a file ending in .gguf"):
        umekomi.convert("minilm", tmp_path / "folder", "gguf")
    assert not list(tmp_path.iterdir())


def test_a_normaliser_that_the_format_cannot_say(tmp_path):
    """It was dropped without a word, and widths no longer folded."""
    from tokenizers import Regex, normalizers

    model, out = embedder("xlm-roberta"), tmp_path / "out.gguf"
    words = model.model.tokenizer._tokenizer
    words.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    with pytest.raises(WrongUse, match="tokenizer normalises by NFKC; the format says only a charsmap"):
        write(model, out, "F32")
    assert not list(tmp_path.iterdir())
    words.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")])
    write(model, out, "F32")
    texts = ["  the  cat ", "sat"]
    np.testing.assert_allclose(umekomi.load(out).encode(texts), model.encode(texts), atol=1e-5)


def test_decoders_are_the_four(tiny):
    assert {name for name in SETTINGS if read_shape(Gguf(tiny(name)[1])).causal} == set(DECODERS)
