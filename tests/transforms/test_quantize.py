"""Fewer bits: what is stored, what it stands for, what it costs."""

from __future__ import annotations

import numpy as np
import pytest

from umekomi import load
from umekomi.errors import DataError, WrongUse
from umekomi.models.untrained import HashingEmbedder, RandomEmbedder
from umekomi.transforms import Binary, Centre, Int2, Int4, Int8, Pca, SparseCode, Truncate

TEXTS = [f"text number {i} about {i % 7} things and {i % 11} others" for i in range(300)]


def test_a_byte_a_dimension_is_within_half_a_step():
    vectors = np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32) * np.arange(1, 17)
    fitted = Int8().fit(vectors)
    codes = fitted.codes(vectors)
    assert codes.dtype == np.int8
    assert codes.min() == -128 and codes.max() == 127
    assert (np.abs(fitted.transform(vectors) - vectors) <= fitted.step_ * 0.501).all()
    assert fitted.outside_[0] == 0
    held = Int8(0.01, 0.99).fit(vectors)
    assert 0.015 < held.outside_[0] < 0.025
    assert (np.abs(held.transform(vectors)) <= np.abs(np.quantile(vectors, [0.01, 0.99], axis=0)).max(0) * 1.001).all()
    with pytest.raises(DataError, match="finite"):
        Int8().fit(vectors * np.inf)
    with pytest.raises(WrongUse, match="quantiles"):
        Int8(0.9, 0.1)
    with pytest.raises(WrongUse, match="learned nothing"):
        Int8().transform(vectors)


@pytest.mark.parametrize(("kind", "published"), [(Int4, 0.009497), (Int2, 0.1175)])
def test_levels_lose_what_max_worked_out_for_a_gaussian(kind, published, tmp_path):
    """J. Max 1960, table I: the mean squared error of 16 and of 4 levels for numbers of deviation one."""
    scale, shift = np.arange(1, 12, dtype=np.float32), np.arange(11, dtype=np.float32)
    vectors = np.random.default_rng(0).standard_normal((30_000, 11)).astype(np.float32) * scale + shift
    fitted = kind().fit(vectors)
    lost = ((fitted.transform(vectors) - vectors) / scale) ** 2
    assert lost.mean() == pytest.approx(published, rel=0.02)
    codes = fitted.codes(vectors)
    assert codes.dtype == np.uint8 and codes.shape == (30_000, -(-11 * fitted.bits // 8))
    # beside the slow way: each number to its nearest level, packed lowest bits first
    for row in (0, 7):
        numbers = [
            int(np.abs(fitted.levels_ - (vectors[row, d] - fitted.mean_[d]) / fitted.spread_[d]).argmin())
            for d in range(11)
        ]
        word = sum(number << (fitted.bits * d) for d, number in enumerate(numbers))
        assert codes[row].tobytes() == word.to_bytes(codes.shape[1], "little")
    assert (fitted.transform(fitted.transform(vectors)) == fitted.transform(vectors)).all()
    with pytest.raises(DataError, match=f"{kind.name}: expected vectors of finite numbers"):
        kind().fit(vectors * np.nan)
    with pytest.raises(WrongUse, match="learned nothing"):
        kind().transform(vectors)
    embedder = RandomEmbedder(16).with_transform(kind().fit(RandomEmbedder(16).encode(TEXTS)))
    embedder.save(tmp_path / "m")
    assert embedder.item_bytes == 16 * fitted.bits // 8
    np.testing.assert_array_equal(load(tmp_path / "m").encode_document(TEXTS), embedder.encode_document(TEXTS))


def test_each_bit_keeps_more():
    vectors = np.random.default_rng(0).standard_normal((2000, 32)).astype(np.float32) ** 3
    lost = [np.square(kind().fit(vectors).transform(vectors) - vectors).mean() for kind in (Int8, Int4, Int2)]
    assert 0 < lost[0] < lost[1] < lost[2] < vectors.var()
    same = np.full((5, 3), 2.5, np.float32)
    np.testing.assert_allclose(Int4().fit(same).transform(same), same)


def test_a_bit_a_dimension_is_the_sign_about_the_mean():
    vectors = np.random.default_rng(0).standard_normal((100, 20)).astype(np.float32) + 3
    fitted = Binary().fit(vectors)
    codes = fitted.codes(vectors)
    assert codes.shape == (100, 3)
    out = fitted.transform(vectors)
    assert (np.sign(out) == np.where(vectors > vectors.mean(0), 1, -1)).all()
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, rtol=1e-6)


def test_chains_save_count_their_bytes_and_leave_queries_as_they_are(tmp_path):
    base = RandomEmbedder(64)
    vectors = base.encode(TEXTS)
    short = Pca(32).fit(vectors)
    chain = [short, Truncate(16), Int8().fit(Truncate(16).transform(short.transform(vectors)))]
    embedder = base.with_transform(*chain)
    assert (embedder.dimension, embedder.item_bytes, embedder.outputs) == (16, 16, {"dense"})
    embedder.save(tmp_path / "m")
    again = load(tmp_path / "m")
    np.testing.assert_array_equal(again.encode_document(TEXTS), embedder.encode_document(TEXTS))
    np.testing.assert_array_equal(
        again.encode_query(TEXTS), Truncate(16).transform(short.transform(base.encode_query(TEXTS)))
    )
    assert not (again.encode_query(TEXTS) == again.encode_document(TEXTS)).all()
    assert base.with_transform(Binary().fit(vectors)).item_bytes == 8


def test_sparse_codes_behind_an_embedder(tmp_path):
    base = HashingEmbedder(64)
    vectors = base.encode(TEXTS)
    whitened = Centre().fit(vectors)
    code = SparseCode(4, 128, epochs=20, batch_size=64, learning_rate=1e-3).fit(whitened.transform(vectors))
    embedder = base.with_transform(whitened, code)
    assert (embedder.outputs, embedder.default_output, embedder.dimension, embedder.item_bytes) == (
        {"sparse"},
        "sparse",
        128,
        32,
    )
    found = embedder.encode(TEXTS)
    assert np.diff(found.indptr).max() <= 4
    embedder.save(tmp_path / "m")
    assert (load(tmp_path / "m").encode(TEXTS) != found).nnz == 0
    np.testing.assert_allclose(embedder.similarity(found[:3], found[:3]).diagonal(), 1, rtol=1e-5)
    with pytest.raises(WrongUse, match="sparse-code before it gives sparse ones"):
        base.with_transform(whitened, code, Truncate(3))
