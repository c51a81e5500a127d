"""Search kernels against slow loops."""

from __future__ import annotations

import numpy as np
import pytest

from umekomi.parts.kernels import scan

NONE = np.zeros(0, np.uint8)


@pytest.mark.parametrize("bits", [1, 3, 4])
@pytest.mark.parametrize("words", [1, 3, 4, 6, 9])
def test_bits_estimate_as_the_formula_says(bits, words):
    """Gao & Long 2024: the estimate is factor * sum of sign * query part, the query cut to 2^bits levels, here the odd
    numbers around zero."""
    generator = np.random.default_rng(0)
    rows, width = 3000, 64 * words
    signs = generator.choice([-1, 1], (rows, width))
    codes = np.ascontiguousarray(np.packbits(signs > 0, axis=1, bitorder="little").view("<u8").T)
    factors = generator.random(rows).astype(np.float32)
    levels = generator.integers(0, 1 << bits, width)
    planes = np.stack([np.packbits((levels >> p) & 1, bitorder="little").view("<u8") for p in range(bits)])
    asked = 2 * levels - (2**bits - 1)
    numbers = [np.float32(value) for value in (2.5, (2**bits - 1) * width / 2, 4096)]
    slow = np.clip(1.25 * factors * (signs @ asked) + 4096, 1, scan.BINS - 1)
    allowed = (np.arange(rows) % 3 > 0).astype(np.uint8)
    for wanted in (10, rows):
        keys, counts = np.zeros(rows, np.uint16), np.zeros(scan.BINS, np.int32)
        floors = [
            scan.bit_keys(codes, factors, planes, *numbers, wanted, allowed, low, high, keys, counts)
            for low, high in ((0, 1234), (1234, rows))
        ]
        assert (np.abs(keys - slow)[allowed > 0] <= 1.01).all()
        assert (keys[allowed == 0] == 0).all()
        assert max(floors) == 1 if wanted == rows else max(floors) > 1
        assert (counts[max(floors) :] == np.bincount(keys, minlength=scan.BINS)[max(floors) :]).all()


@pytest.mark.parametrize("wanted", [1, 50, 700])
def test_what_a_scan_leaves_out_is_never_among_the_wanted(wanted):
    """Rows come from the worst to the best, so every floor set on the way is passed by all that follow; then the other
    way round."""
    for order in (1, -1):
        rows = np.arange(5000)[::order]
        codes = np.ascontiguousarray(np.stack([rows // 100, rows % 100], 1).astype(np.int8))
        query = np.array([100, 1], np.int16)
        keys, counts = np.zeros(5000, np.uint16), np.zeros(scan.BINS, np.int32)
        floor = scan.byte_keys(codes, query, np.float32(1), np.float32(1), wanted, NONE, 0, 5000, keys, counts)
        assert floor > 1
        least = scan.threshold(counts, wanted)
        assert least >= floor
        assert (keys >= least).sum() == wanted


def test_bytes_are_inner_products():
    generator = np.random.default_rng(0)
    codes, query = (
        generator.integers(-127, 128, (300, 40)).astype(np.int8),
        generator.integers(-32767, 32768, 40).astype(np.int16),
    )
    keys, counts = np.zeros(300, np.uint16), np.zeros(scan.BINS, np.int32)
    scan.byte_keys(codes, query, np.float32(1e-4), np.float32(4096), 300, NONE, 0, 300, keys, counts)
    slow = [
        int(min(max(1e-4 * sum(int(a) * int(b) for a, b in zip(row, query, strict=True)) + 4096.0, 1), scan.BINS - 1))
        for row in codes
    ]
    assert keys.tolist() == slow
    assert counts.sum() == 300


def test_the_threshold_lets_through_at_least_what_was_wanted():
    keys = np.random.default_rng(0).integers(1, 100, 1000).astype(np.uint16)
    counts = np.bincount(keys, minlength=scan.BINS).astype(np.int32)
    for wanted in (1, 10, 999, 1000, 5000):
        least = scan.threshold(counts, wanted)
        assert (keys >= least).sum() >= min(wanted, 1000)
        assert (keys > least).sum() < wanted
        numbers = np.zeros(1000, np.int64)
        met = scan.reaching(keys, max(least, 1), 0, 1000, numbers)
        assert numbers[:met].tolist() == np.flatnonzero(keys >= least).tolist()


def test_equals_stay_in_the_order_of_their_rows():
    vectors = np.ones((50, 4), np.float32)
    vectors[[7, 30]] = 2
    scores, rows = np.full(5, -np.inf, np.float32), np.full(5, -1, np.int64)
    scan.exact(vectors, np.ones(4, np.float32), NONE, 0, 50, scores, rows)
    assert rows.tolist() == [7, 30, 0, 1, 2]


@pytest.mark.parametrize("block", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_lists_add_up_to_the_sparse_product(signed, block, monkeypatch):
    """``block``: by plain Python, with so few documents at a time that there are many times."""
    from scipy import sparse

    generator = np.random.default_rng(0)
    documents = sparse.random(400, 64, 0.1, format="csr", random_state=generator, dtype=np.float32)
    queries = sparse.random(30, 64, 0.1, format="csr", random_state=generator, dtype=np.float32)
    if signed:  # sums that cross zero on the way
        documents.data = generator.choice([-1, 1], documents.nnz).astype(np.float32)
        queries.data = generator.choice([-1, 1], queries.nnz).astype(np.float32)
    lists = documents.tocsc()
    whole = (queries @ documents.T).toarray()
    monkeypatch.setattr(scan, "DOCUMENTS", 64)
    search = scan.sparse_search.py_func if block else scan.sparse_search
    scores, rows = np.full((30, 8), -np.inf, np.float32), np.full((30, 8), -1, np.int64)
    inputs = (
        lists.indptr.astype(np.int64),
        lists.indices,
        lists.data,
        queries.indptr.astype(np.int64),
        queries.indices,
        queries.data,
        NONE,
    )
    for low, high in ((0, 150), (150, 400)):
        search(*inputs, low, high, scores, rows)
    for q in range(30):
        expected = [i for i in np.argsort(-whole[q], kind="stable") if whole[q, i] != 0][:8]
        assert [i for i in rows[q] if i >= 0] == expected
        np.testing.assert_allclose(scores[q, : len(expected)], whole[q, expected], atol=1e-5)
