"""fastText's binary models: against gensim's reader, and quantized ones against a slow loop."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from umekomi.errors import DataError
from umekomi.models import load, word2vec
from umekomi.models.fasttext import MAGIC, Settings, ngrams

RNG = np.random.default_rng(0)
WORDS = ["cat", "dog", "埋め込み", "</s>"]
DIM, BUCKETS = 6, 50


def head(maxn=4, loss=1, model=2):
    return struct.pack("<2i12id", MAGIC, 12, DIM, 5, 5, 1, 5, 1, loss, model, BUCKETS, 3, maxn, 100, 0.0)


def dictionary(pruned=None, labels=()):
    entries = [(word.encode(), 0) for word in WORDS] + [(label.encode(), 1) for label in labels]
    out = struct.pack("<3iqq", len(entries), len(WORDS), len(labels), 10, -1 if pruned is None else len(pruned))
    for word, kind in entries:
        out += word + b"\0" + struct.pack("<qb", 3, kind)
    for first, second in (pruned or {}).items():
        out += struct.pack("<2i", first, second)
    return out


def quantized(rows, normed):
    """Random codes for so many rows: two parts of four and two numbers; (the bytes, the rows that they stand for)."""
    codes = RNG.integers(0, 256, (rows, 2), np.uint8)
    tables = [RNG.normal(size=(256, part)).astype(np.float32) for part in (4, 2)]
    out = struct.pack("<BqqI", normed, rows, DIM, codes.size) + codes.tobytes()
    out += struct.pack("<4i", DIM, 2, 4, 2) + b"".join(table.tobytes() for table in tables)
    want = np.stack([np.concatenate([tables[0][a], tables[1][b]]) for a, b in codes])
    if normed:
        lengths, norms = RNG.integers(0, 256, rows, np.uint8), RNG.random(256).astype(np.float32)
        out += lengths.tobytes() + struct.pack("<4i", 1, 1, 1, 1) + norms.tobytes()
        want = np.stack([norms[length] * row for length, row in zip(lengths, want, strict=True)])
    return out, want


def slow(word, rows, row, kept=None):
    """The mean of the word's row and its n-grams', by characters."""

    def hashed(text):
        value = np.uint32(2166136261)
        for byte in text.encode():
            value = np.uint32((int(value) ^ (int(np.int8(np.uint8(byte))) & 0xFFFFFFFF)) * 16777619 & 0xFFFFFFFF)
        return int(value) % BUCKETS

    text, own = f"<{word}>", [rows[row]]
    for first in range(len(text) if word != "</s>" else 0):
        for size in (3, 4):
            if first + size <= len(text):
                place = hashed(text[first : first + size])
                if kept is None or place in kept:
                    own.append(rows[len(WORDS) + (place if kept is None else kept[place])])
    return np.mean(own, axis=0)


@pytest.mark.parametrize("normed", [0, 1])
@pytest.mark.parametrize("pruned", [None, {3: 1, 7: 0, 20: 2, 33: 3, 41: 4}])
def test_quantized_models(normed, pruned, tmp_path):
    matrix, rows = quantized(len(WORDS) + (BUCKETS if pruned is None else len(pruned)), normed)
    (tmp_path / "m.ftz").write_bytes(
        head(model=3) + dictionary(pruned, ["__label__x"]) + b"\x01" + matrix + b"\x01tail"
    )
    table = word2vec.read(tmp_path / "m.ftz")
    assert table.names == WORDS
    for row, word in enumerate(WORDS):
        assert table[word] == pytest.approx(slow(word, rows, row, pruned), abs=1e-5)
    assert load(tmp_path / "m.ftz").names == WORDS
    assert word2vec.read(tmp_path / "m.ftz", only=["dog"]).names == ["dog"]
    assert word2vec.read(tmp_path / "m.ftz", most=2).names == WORDS[:2]


def test_gensim_reads_the_same(tmp_path):
    gensim = pytest.importorskip("gensim")
    from gensim.models.fasttext import load_facebook_vectors, save_facebook_model

    sentences = [["the", "cat", "sat", "on", "mats"], ["the", "dog", "ran", "埋め込み"]] * 20
    model = gensim.models.FastText(sentences, vector_size=8, min_count=1, bucket=200, epochs=2, workers=1, seed=1)
    save_facebook_model(model, str(tmp_path / "m.bin"))
    want = load_facebook_vectors(str(tmp_path / "m.bin"))
    table = word2vec.read(tmp_path / "m.bin")
    assert sorted(table.names) == sorted(want.index_to_key)
    for word in table.names:
        assert table[word] == pytest.approx(want[word], abs=1e-6)


def test_damaged_models_are_one_line(tmp_path):
    matrix, _ = quantized(len(WORDS) + BUCKETS, 1)
    whole = head() + dictionary() + b"\x01" + matrix
    for size in (4, 30, 60, 90, 150, 400, len(whole) - 1):
        (tmp_path / "m.ftz").write_bytes(whole[:size])
        with pytest.raises(DataError) as error:
            word2vec.read(tmp_path / "m.ftz")
        assert str(error.value).startswith(f"{tmp_path / 'm.ftz'}: ") and "\n" not in str(error.value)
    huge = head() + dictionary() + b"\x01" + struct.pack("<BqqI", 0, 1 << 60, DIM, 1 << 31)
    (tmp_path / "m.ftz").write_bytes(huge)
    with pytest.raises(DataError, match="m.ftz: "):
        word2vec.read(tmp_path / "m.ftz")
    other, _ = quantized(3, 0)
    (tmp_path / "m.ftz").write_bytes(head() + dictionary() + b"\x01" + other)
    with pytest.raises(DataError, match="expected 54 rows of 6 numbers, found"):
        word2vec.read(tmp_path / "m.ftz")


def test_ngrams_of_characters_not_of_bytes():
    assert len(ngrams("埋め込み".encode(), Settings(4, 1000, 3, 4), None)) == 7
    assert ngrams(b"cat", Settings(4, 1000, 0, 0), None) == []
