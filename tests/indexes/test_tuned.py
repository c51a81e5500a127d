"""What a sample of queries makes sure of: lists and efforts that reach the recall asked for on queries that were not in
it, too."""

from __future__ import annotations

import numpy as np
import pytest
from indexes.test_index import clustered

from umekomi.indexes.kinds import make_kind
from umekomi.indexes.kinds.coarse import shortlist_for
from umekomi.indexes.scans import Part, assured, found_of, overlap, scan, spread
from umekomi.parts.kernels.threads import cores


def reached(ranks, shortlist: int) -> float:
    """Recall of a list of this length."""
    every = np.concatenate(list(ranks))
    return float((every <= shortlist).mean())


@pytest.mark.parametrize(("hard", "each"), [(0.5, 0.5), (1.5, 1.0), (0.3, 2.0)])
@pytest.mark.parametrize("recall", [0.9, 0.95])
def test_a_list_holds_what_was_asked_of_other_queries_too(hard, each, recall):
    """Some queries are harder than others, so that their misses come together."""
    generator = np.random.default_rng(0)
    shape = (100_000, 10)
    drawn = np.exp(hard * generator.standard_normal((shape[0], 1)) + each * generator.standard_normal(shape))
    ranks = np.ceil(30 * drawn).astype(np.int64)
    ordered = np.sort(ranks.ravel())

    def held(lists):
        return np.searchsorted(ordered, lists, side="right") / len(ordered) >= recall

    samples = [list(ranks[generator.integers(0, len(ranks), 256)]) for _ in range(200)]
    found = np.array([shortlist_for(sample, recall, 1) for sample in samples])
    just = np.array([np.quantile(np.concatenate(sample), recall, method="higher") for sample in samples])
    assert held(found).mean() >= 0.9
    assert held(just).mean() < 0.7, "a list as long as the sample's own would do"
    assert np.median(found) < 1.5 * np.quantile(ordered, recall)


def test_a_list_of_nothing_and_of_everything():
    assert shortlist_for([], 0.95, 10) == shortlist_for([np.zeros(0, np.int64)], 0.95, 10) == 20
    ranks = [np.array([1, 2, 900]), np.array([3, 4, 5])]
    assert shortlist_for(ranks, 1.0, 1) == 900
    assert shortlist_for([np.arange(1, 11)] * 50, 0.89, 1) == 9  # all alike: none is harder than another


@pytest.mark.parametrize("name", ["binary", "funnel", "turbo"])
def test_kinds_reach_it_on_the_rows_that_were_not_asked(name):
    if name == "turbo":
        pytest.importorskip("turbovec")
    vectors = clustered(3000, 64)
    kind = make_kind(name, {"bits": 2} if name == "turbo" else {"width": 12} if name == "funnel" else {})
    kind.learn(vectors)
    part = Part.fresh(vectors, kind.derive(vectors))
    every = kind._ranks(part, 1.0, 10, 1500, 99) if name == "turbo" else kind.ranks(part, 10, 1500, 99, cores())
    lists = [kind.tuned([part], 0.95, sample=48, seed=seed)["shortlist"] for seed in range(12)]
    assert len(set(lists)) > 1
    assert np.mean([reached(every, shortlist) >= 0.95 for shortlist in lists]) >= 0.8, lists


def test_what_a_sample_makes_sure_of_is_below_what_it_shows():
    generator = np.random.default_rng(0)
    hits = generator.binomial(10, generator.beta(8, 1, 400))
    counts = np.stack([hits, np.full(400, 10)], 1)
    means = [generator.choice(hits, 400).mean() / 10 for _ in range(4000)]
    assert spread(counts) == pytest.approx(np.std(means), rel=0.05)
    assert assured(counts) == pytest.approx(np.quantile(means, 0.05), abs=0.002)
    uneven = np.array([[1, 2], [8, 10], [3, 3]])
    share, wanted = 12 / 15, uneven[:, 1]
    assert spread(uneven) == pytest.approx(np.sqrt(3 / 2 * ((uneven[:, 0] - share * wanted) ** 2).sum()) / 15)
    assert assured(np.array([[10, 10]] * 30)) == 1.0 == assured(np.zeros((0, 2), np.int64))
    assert spread(np.array([[7, 10]])) == 0.0


def test_neighbours_are_counted_query_by_query():
    true = (
        np.array([[0, 1, 2], [1, 4, -1], [2, -1, -1]]),
        np.array([[9.0, 8, 7], [9, 4, -np.inf], [9, -np.inf, -np.inf]]),
    )
    found = (
        np.array([[0, 2, 1], [1, -1, -1], [2, -1, -1]]),
        np.array([[9.0, 7, 6], [9, -np.inf, -np.inf], [9, -np.inf, -np.inf]]),
    )
    # the first misses one of two, the second its only one, the third has none
    assert found_of(true, found, [0, 1, 2], 2).tolist() == [[1, 2], [0, 1]]


def test_a_graph_walks_further_than_does_for_the_sample():
    pytest.importorskip("usearch")
    vectors = clustered(3000, 32)
    kind = make_kind("hnsw", {"connections": 4, "build_effort": 16})
    part = Part.fresh(vectors, kind.derive(vectors))
    trial, queries, every = kind._without(part, 64, 0)
    kind.effort = 16
    share = overlap(scan(every, queries, 10), kind.search(trial, queries, 10, None), [-1] * 64, 10)
    assert share is not None and 0.3 < share < 0.99
    kind.effort = 0
    assert kind.tuned([part], share, sample=64)["effort"] > 16
