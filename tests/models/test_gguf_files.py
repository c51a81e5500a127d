"""GGUF files read: the header against the package gguf's reader, every sort of damage as one line, blocks against slow
loops, and tokenizers against llama.cpp's own expected tokens."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from umekomi.errors import DataError, UmekomiError, WrongUse

pytest.importorskip("gguf")

import gguf
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from benchmarks.packages import Unavailable, vocabularies
from umekomi.models.engines.gguf.blocks import codes, expand
from umekomi.models.engines.gguf.header import TYPES, Gguf, Tensor
from umekomi.models.engines.gguf.words import CUTS, tokenizer
from umekomi.models.engines.gguf.writing import quantized

BLOCKS = TYPES[3:]


def written(path, *, metadata=(), tensors=None, architecture="bert"):
    """A small file."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_uint32("bert.block_count", 2)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "埋め込み"])
    writer.add_array("tokenizer.ggml.scores", [0.5, -1.0, 2.0])
    for key, value in metadata:
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    for name, array in (tensors or {"one": np.arange(64, dtype=np.float32).reshape(2, 32)}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def file(tmp_path):
    return written(tmp_path / "small.gguf", tensors={
        "one": np.arange(64, dtype=np.float32).reshape(2, 32),
        "two": np.arange(5, dtype=np.float16),
    })  # fmt: skip


# --- the header -------------------------------------------------------------------------------------------------------


def test_reads_what_the_packages_reader_reads(file):
    ours, theirs = Gguf(file), gguf.GGUFReader(str(file))
    for key, field in theirs.fields.items():
        if not key.startswith("GGUF."):
            value = ours.metadata[key]
            assert (value.tolist() if isinstance(value, np.ndarray) else value) == field.contents()
    for tensor in theirs.tensors:
        assert np.array_equal(expand(ours.tensors[tensor.name]), tensor.data.astype(np.float32))
        assert ours.tensors[tensor.name].shape == tuple(int(size) for size in tensor.shape[::-1])


def damaged(file, at, layout, value):
    data = bytearray(file.read_bytes())
    struct.pack_into(layout, data, at, value)
    file.write_bytes(data)
    return file


@pytest.mark.parametrize(
    ("at", "layout", "value", "line"),
    [
        (0, "<I", 0x46554747, "expected a GGUF file, which begins with b'GGUF', found b'GGUF'"[:40]),
        (4, "<I", 1, "expected GGUF version 2 or 3, found version 1"),
        (4, "<I", 0x03000000, "found version 3 with its bytes the other way round"),
        (8, "<Q", 1 << 60, "expected no more tensors than the file has room for"),
        (16, "<Q", 1 << 60, "expected no more metadata than the file has room for"),
        (24, "<Q", 1 << 50, "expected key 1 of"),
        (24, "<Q", (1 << 64) - 1, "ends outside the file"),
    ],
)  # fmt: skip
def test_a_damaged_head_is_one_line(file, at, layout, value, line):
    if at == 0:
        file.write_bytes(b"GGML" + file.read_bytes()[4:])
        line = "expected a GGUF file, which begins with b'GGUF', found b'GGML'"
    else:
        damaged(file, at, layout, value)
    with pytest.raises(DataError, match=line) as error:
        Gguf(file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def place_of(file, text):
    return file.read_bytes().index(text.encode()) + len(text)


@pytest.mark.parametrize(
    ("behind", "shift", "layout", "value", "line"),
    [
        ("bert.block_count", 0, "<I", 13, "expected a value type from 0 to 12, found 13"),
        ("tokenizer.ggml.tokens", 4, "<I", 9, "expected an array of numbers or texts, found value type 9"),
        ("tokenizer.ggml.tokens", 8, "<Q", 1 << 62, "expected an array within the file"),
        ("tokenizer.ggml.scores", 8, "<Q", 1 << 61, "expected an array within the file"),
        ("tokenizer.ggml.tokens", 16, "<Q", 1 << 40, "ends outside the file"),
        ("one", 0, "<I", 9, "expected 1 to 4 axes, found 9"),
        ("one", 4, "<Q", 1 << 63, "expected a shape that the file has room for"),
        ("one", 4, "<Q", 0, "expected a shape that the file has room for"),
        ("one", 20, "<I", 99, "expected a tensor type that is known, found number 99"),
        ("one", 20, "<I", 16, "expected one of the types F32, .* found IQ2_XXS"),
        ("one", 20, "<I", 12, "expected rows of whole blocks of 256 numbers, found rows of 32"),
        ("one", 24, "<Q", 1 << 40, "within the file, found that they end at byte"),
        ("one", 24, "<Q", 16, "expected an offset in steps of 32"),
        ("two", 16, "<Q", 64, "expected bytes of its own, found that they begin within one's"),
    ],
)
def test_damage_further_on_is_one_line(file, behind, shift, layout, value, line):
    damaged(file, place_of(file, behind) + shift, layout, value)
    with pytest.raises(DataError, match=line) as error:
        Gguf(file)
    assert str(file) in str(error.value)


def test_a_file_cut_short_says_where(file):
    whole = file.read_bytes()
    for length in (0, 3, 23, 40, 100, 200, len(whole) - 40, len(whole) - 65):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match="expected|cut short") as error:
            Gguf(file)
        assert "\n" not in str(error.value)


def test_no_file_and_what_is_none(tmp_path):
    with pytest.raises(WrongUse, match="no such file"):
        Gguf(tmp_path / "none.gguf")
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(DataError, match="expected a file, found a folder"):
        Gguf(tmp_path / "folder.gguf")


def test_names_twice_and_texts_that_are_none(tmp_path):
    file = written(tmp_path / "a.gguf", tensors={"aa": np.ones(8, np.float32), "ab": np.ones(8, np.float32)})
    data = file.read_bytes()
    file.write_bytes(data.replace(b"\2\0\0\0\0\0\0\0ab", b"\2\0\0\0\0\0\0\0aa"))
    with pytest.raises(DataError, match="expected each tensor once"):
        Gguf(file)
    file.write_bytes(data.replace("埋".encode(), b"\xff\xff\xff"))
    with pytest.raises(DataError, match="in UTF-8"):
        Gguf(file)


def split(tmp_path, count=3, numbers=None):
    paths = []
    for number in range(count):
        path = tmp_path / f"model-{number + 1:05d}-of-{count:05d}.gguf"
        writer = gguf.GGUFWriter(str(path), "bert")
        writer.add_uint16("split.no", (numbers or range(count))[number])
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", count)
        writer.add_tensor(f"part.{number}", np.full((2, 32), number, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        paths.append(path)
    return paths


def test_a_split_file_is_read_whole_from_any_part(tmp_path):
    for path in split(tmp_path):
        file = Gguf(path)
        assert [float(expand(file.tensors[f"part.{number}"])[1, 5]) for number in range(3)] == [0, 1, 2]


def test_a_part_that_is_missing_or_another_one(tmp_path):
    first, second, _ = split(tmp_path)
    second.unlink()
    with pytest.raises(DataError, match=r"expected part 2 of 3 beside model-00001-of-00003.gguf, found no such file"):
        Gguf(first)
    first, *_ = split(tmp_path, numbers=[0, 2, 2])
    with pytest.raises(DataError, match=r"expected split.no 1, found 2"):
        Gguf(first)
    alone = first.rename(tmp_path / "renamed.gguf")
    with pytest.raises(DataError, match=r"expected a part's name such as model-00001-of-00003.gguf"):
        Gguf(alone)


# --- blocks -----------------------------------------------------------------------------------------------------------


def half(data, at):
    return float(np.frombuffer(bytes(data[at : at + 2]), "<f2")[0])


def six_bits(packed):
    """ggml's rule for the scales and minima of Q4_K and Q5_K, number by number."""
    out = []
    for j in range(8):
        if j < 4:
            out.append((packed[j] & 63, packed[j + 4] & 63))
        else:
            out.append((packed[j + 4] & 15 | (packed[j - 4] >> 6) << 4, packed[j + 4] >> 4 | (packed[j] >> 6) << 4))
    return out


def slow(kind, data):
    """One block, number by number, as ggml's documents describe it."""
    data = [int(byte) for byte in data]
    out = [0.0] * GGML_QUANT_SIZES[GGMLQuantizationType[kind]][0]
    if kind == "Q8_0":
        for j in range(32):
            out[j] = half(data, 0) * (data[2 + j] - 256 * (data[2 + j] > 127))
    elif kind in ("Q4_0", "Q4_1"):
        begin, low = (2, -8 * half(data, 0)) if kind == "Q4_0" else (4, half(data, 2))
        for j in range(16):
            out[j] = half(data, 0) * (data[begin + j] & 15) + low
            out[j + 16] = half(data, 0) * (data[begin + j] >> 4) + low
    elif kind in ("Q5_0", "Q5_1"):
        at = 2 if kind == "Q5_0" else 4
        low = -16 * half(data, 0) if kind == "Q5_0" else half(data, 2)
        high = int.from_bytes(bytes(data[at : at + 4]), "little")
        for j in range(16):
            out[j] = half(data, 0) * (data[at + 4 + j] & 15 | (high >> j & 1) << 4) + low
            out[j + 16] = half(data, 0) * (data[at + 4 + j] >> 4 | (high >> (j + 16) & 1) << 4) + low
    elif kind in ("Q4_K", "Q5_K"):
        parts, begin = six_bits(data[4:16]), 16 if kind == "Q4_K" else 48
        for j in range(256):
            sub = j // 32
            byte = data[begin + 32 * (sub // 2) + j % 32]
            code = byte >> 4 if sub % 2 else byte & 15
            if kind == "Q5_K":
                code |= (data[16 + j % 32] >> sub & 1) << 4
            out[j] = half(data, 0) * parts[sub][0] * code - half(data, 2) * parts[sub][1]
    elif kind == "Q6_K":
        for j in range(256):
            part, place = divmod(j, 128)
            quarter, at = divmod(place, 32)
            low = data[64 * part + 32 * (quarter % 2) + at]
            code = (low >> 4 if quarter > 1 else low & 15) | (data[128 + 32 * part + at] >> 2 * quarter & 3) << 4
            scale = data[192 + j // 16]
            out[j] = half(data, 208) * (scale - 256 * (scale > 127)) * (code - 32)
    return out


def tensor(kind, rows=3, width=512, seed=0):
    """Random bytes as a matrix of this type, its scales finite."""
    draw = np.random.default_rng(seed)
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    data = draw.integers(0, 256, (rows * width // block, size)).astype(np.uint8)
    for at in {"Q6_K": [208]}.get(kind, [0, 2] if kind in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else [0]):
        data[:, at : at + 2] = draw.normal(size=(len(data), 1)).astype("<f2").view(np.uint8)
    return Tensor("x", kind, (rows, width), data.reshape(rows, -1))


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_are_what_a_slow_loop_makes_of_them(kind):
    some = tensor(kind)
    size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]][1]
    want = np.array([slow(kind, block) for block in some.data.reshape(-1, size)]).reshape(some.shape)
    assert expand(some) == pytest.approx(want, rel=1e-5, abs=1e-6)
    assert np.array_equal(expand(some, np.array([2, 0])), expand(some)[[2, 0]])


@pytest.mark.parametrize("kind", BLOCKS)
def test_codes_scales_and_minima_are_the_same_numbers(kind):
    some = tensor(kind, seed=1)
    parts = codes(some)
    assert parts.block == (16 if kind == "Q6_K" else 32)
    assert parts.bits == (4 if kind.startswith("Q4") else 8)
    if parts.bits == 4:
        assert parts.codes.min() >= -8 and parts.codes.max() <= 7
    values = parts.codes.reshape(3, -1, parts.block) * parts.scales[..., None]
    if parts.minima is not None:
        values = values + parts.minima[..., None]
    assert values.reshape(3, -1) == pytest.approx(expand(some), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("kind", "bits"), [("F16", 11), ("BF16", 8)])
def test_halves_are_read_as_they_are(kind, bits):
    values = np.random.default_rng(0).normal(size=(2, 32)).astype(np.float32)
    data = gguf.quants.quantize(values, GGMLQuantizationType[kind])
    raw = np.ascontiguousarray(data).view(np.uint8).reshape(2, -1)
    assert expand(Tensor("x", kind, (2, 32), raw)) == pytest.approx(values, rel=2.0**-bits)


@pytest.mark.parametrize(("kind", "loss"), [("Q8_0", 1e-4), ("Q4_0", 0.012), ("Q4_1", 0.008), ("Q4_K", 0.007)])
def test_rounding_to_blocks_costs_what_its_bits_say(kind, loss):
    values = np.random.default_rng(0).normal(size=(32, 512)).astype(np.float32)
    data = quantized(values, kind)
    again = expand(Tensor("x", kind, values.shape, data))
    assert ((again - values) ** 2).mean() < loss


def test_q4_k_keeps_what_four_bits_can_say():
    values = np.tile(np.arange(16, dtype=np.float32), (2, 16)) * 63 - 63 * 4
    zeros = np.zeros((1, 256), np.float32)
    for array in (values, zeros):
        assert expand(Tensor("x", "Q4_K", array.shape, quantized(array, "Q4_K"))) == pytest.approx(array, rel=2e-3)


# --- tokenizers -------------------------------------------------------------------------------------------------------

GOLDEN = (
    *(
        "bert-bge",
        "command-r",
        "deepseek-coder",
        "deepseek-llm",
        "falcon",
        "gemma-4",
        "gpt-2",
        "llama-bpe",
        "llama-spm",
    ),
    *("mpt", "phi-3", "qwen2", "qwen35", "refact", "starcoder"),
)
WITHOUT = ("aquila", "baichuan", "gpt-neox", "nomic-bert-moe")


@pytest.fixture(scope="module")
def models():
    try:
        return vocabularies()
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", GOLDEN)
def test_tokens_are_llama_cpps(models, name):
    file = models / f"ggml-vocab-{name}.gguf"
    words = tokenizer(Gguf(file))
    texts = (models / f"{file.name}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = (models / f"{file.name}.out").read_text().split("\n")
    assert len(texts) > 40
    for text, line in zip(texts, lines, strict=False):
        assert words.encode(text, add_special_tokens=False).ids == [int(number) for number in line.split()], text


@pytest.mark.parametrize("name", WITHOUT)
def test_vocabularies_without_expected_tokens_come_back_as_the_text(models, name):
    words = tokenizer(Gguf(models / f"ggml-vocab-{name}.gguf"))
    text = "The cat, 12 of them."
    ids = words.encode(text).ids
    assert len(ids) < len(text) and words.decode(ids).strip() == text


def test_every_way_to_cut_is_a_pattern_that_compiles():
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    text = "It's 12345 naïve café\n\n  x = {'a': [1]} 東京。 don't STOP"
    for cut in CUTS.values():
        for pattern in cut.patterns:
            pieces = Split(Regex(pattern), "isolated").pre_tokenize_str(text)
            assert "".join(piece for piece, _ in pieces) == text


def vocabulary(tmp_path, *, model="bert", tokens=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "b"), **more):
    writer = gguf.GGUFWriter(str(tmp_path / "vocabulary.gguf"), "bert")
    writer.add_tokenizer_model(model)
    writer.add_token_list(list(tokens))
    for key, value in more.items():
        writer.add_key_value(f"tokenizer.ggml.{key}", value, gguf.GGUFValueType.get_type(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Gguf(tmp_path / "vocabulary.gguf")


IDS = {"unknown_token_id": 1, "cls_token_id": 2, "seperator_token_id": 3}


def test_wordpieces_with_and_without_case(tmp_path):
    words = tokenizer(vocabulary(tmp_path, **IDS))
    assert words.encode("AB a z").ids == [2, 4, 5, 4, 1, 3]
    words = tokenizer(vocabulary(tmp_path, **IDS, **{"normalizer.lowercase": False}))
    assert words.encode("AB ab").ids == [2, 1, 4, 5, 3]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model": "rwkv"}, "tokenizer.ggml.model: expected one of bert, t5, llama, gpt2, gemma4, found 'rwkv'"),
        ({"seperator_token_id": 77}, "expected one of 6 tokens, found 77"),
        ({"token_type": [1, 1]}, "expected 6 numbers, one a token, found 2"),
        ({"model": "gpt2", "pre": "kimi-k2", "merges": ["a b"]}, "expected a name that is known .* found 'kimi-k2'"),
        ({"model": "gpt2", "pre": "gpt-2"}, "expected tokenizer.ggml.merges in the metadata, found none"),
        ({"model": "llama"}, "expected a vocabulary with scores, found none"),
        ({"model": "t5", "scores": [float("nan")] * 6}, "expected finite numbers, found NaN"),
        ({"model": "llama", "scores": [0.0] * 6, "add_bos_token": True, "bos_token_id": 99}, "found 99"),
    ],
)
def test_a_vocabulary_that_makes_no_tokenizer_is_one_line(tmp_path, change, line):
    with pytest.raises(UmekomiError, match=line):
        tokenizer(vocabulary(tmp_path, **(IDS | change)))


def test_a_text_must_end_in_a_token_that_is_there(tmp_path):
    with pytest.raises(
        DataError, match=r"expected the end-of-text token <\|endoftext\|> in its vocabulary, found none"
    ):
        tokenizer(vocabulary(tmp_path, **IDS), "<|endoftext|>")
    lacking = vocabulary(tmp_path, unknown_token_id=1, cls_token_id=2)
    with pytest.raises(DataError, match="the token that every text is to end with, found none"):
        tokenizer(lacking)
