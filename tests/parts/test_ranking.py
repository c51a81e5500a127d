from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umekomi.errors import DataError
from umekomi.parts.ranking import RRF_K, exact_search, fuse_ranks


class Dot:
    name = "dot"

    def similarity(self, a, b):
        return (a @ b.T).astype(np.float32)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**31), st.integers(0, 4))
def test_exact_search_is_a_sort_with_ties_in_the_documents_order(k, total, seed, count):
    rng = np.random.default_rng(seed)
    queries, documents = rng.integers(0, 3, (count, 2)), rng.integers(0, 3, (total, 2))
    numbers, scores = exact_search(Dot(), queries, documents, k)
    assert numbers.shape == scores.shape == (count, min(k, total))
    for row in range(count):
        every = documents @ queries[row]
        want = sorted(range(total), key=lambda i: (-every[i], i))[:k]
        assert numbers[row].tolist() == want
        assert scores[row].tolist() == [every[i] for i in want]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("k", [1, 3])
def test_a_similarity_that_orders_nothing_is_an_error(bad, k):
    documents = np.array([[1.0], [bad], [2.0]])
    with pytest.raises(DataError, match=f"dot gives query 1 and document 2 the similarity {bad}"):
        exact_search(Dot(), np.ones((1, 1)), documents, k)
    documents[1] = -np.inf
    assert exact_search(Dot(), np.ones((1, 1)), documents, 3)[0].tolist() == [[2, 0, 1]], "the worst of all is no error"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.permutations(range(6)).map(lambda order: order[:4]), max_size=4))
def test_reciprocal_rank_fusion_against_a_loop(rankings):
    want = [sum(1 / (60 + ranking.index(item) + 1) for ranking in rankings if item in ranking) for item in range(6)]
    assert RRF_K == 60
    assert fuse_ranks(rankings, 6) == pytest.approx(want)
