from itertools import pairwise

import numpy as np
import pytest

from umekomi.errors import UmekomiError
from umekomi.parts.learning.samplers import Buckets, Streams, shuffled


def rows_of(rows, generator):
    return rows


def lengths(count, seed=0):
    return np.random.default_rng(seed).integers(1, 60, count)


def slow_plan(sizes, order, key, batch_size, tokens):
    """The cuts by a slow loop: items by key, a batch closed where the next one would not fit."""
    ranked = sorted(range(len(order)), key=lambda place: key[place])
    batches, batch = [], []
    for place in ranked:
        item = order[place]
        grown = [*batch, item]
        fits = (batch_size is None or len(grown) <= batch_size) and (
            tokens is None or len(grown) * max(sizes[i] for i in grown) <= tokens
        )
        if batch and not fits:
            batches.append(batch)
            batch = [item]
        else:
            batch = grown
    return [*batches, batch]


@pytest.mark.parametrize(("batch_size", "tokens"), [(8, None), (None, 200), (8, 200), (3, 70), (1, None), (None, 1)])
@pytest.mark.parametrize("count", [1, 2, 97, 400])
def test_each_item_once_an_epoch_as_a_slow_loop_has_it(count, batch_size, tokens):
    sizes = lengths(count)
    made = Buckets(sizes, rows_of, batch_size, tokens)
    for epoch in range(3):
        plan = list(made(epoch, np.random.default_rng([5, epoch])))
        assert sorted(np.concatenate(plan).tolist()) == list(range(count))
        for rows in plan:
            assert batch_size is None or len(rows) <= batch_size
            assert tokens is None or len(rows) == 1 or len(rows) * sizes[rows].max() <= tokens
        generator = np.random.default_rng([5, epoch])
        order = generator.permutation(count)
        key = sizes[order] * generator.uniform(1, 1.1, count)
        slow = slow_plan(sizes, order.tolist(), key.tolist(), batch_size, tokens)
        assert sorted(rows.tolist() for rows in plan) == sorted(slow)


@pytest.mark.parametrize("slack", [0.0, 0.1, 0.5])
def test_padding_is_bounded(slack):
    sizes = lengths(3000, 1)
    made = Buckets(sizes, rows_of, batch_size=32, slack=slack)
    for epoch in range(3):
        plan = list(made(epoch, np.random.default_rng(epoch)))
        places = sum(len(rows) * int(sizes[rows].max()) for rows in plan)
        most = max(len(rows) for rows in plan)
        assert places <= (1 + slack) * (sizes.sum() + most * sizes.max())
        assert 1 - sizes.sum() / places < 0.02 + slack / 2
        unsorted = np.random.default_rng(epoch).permutation(3000).reshape(-1, 30)
        assert places < 0.75 * sum(30 * int(sizes[rows].max()) for rows in unsorted)


def test_an_epoch_is_the_same_for_the_same_generator_and_entered_anywhere():
    def noisy(rows, generator):
        return rows, generator.random()

    made = Buckets(lengths(100), noisy, batch_size=7)
    whole = list(made(0, np.random.default_rng(3)))
    again = made(0, np.random.default_rng(3))
    assert len(again) == len(whole) == 15 and made.items == 100
    for at in (14, 3, 0, -1):
        np.testing.assert_array_equal(again[at][0], whole[at][0])
        assert again[at][1] == whole[at][1]
    assert [noise for _, noise in again[2:5]] == [noise for _, noise in whole[2:5]]
    assert len({noise for _, noise in whole}) == 15
    other = made(1, np.random.default_rng(4))
    assert [rows.tolist() for rows, _ in other] != [rows.tolist() for rows, _ in whole]


def test_an_item_longer_than_the_bound_stands_alone():
    made = Buckets([5, 100_000, 5, 6], rows_of, tokens=20)
    assert sorted(rows.tolist() for rows in made(0, np.random.default_rng(0))) in ([[0, 2], [1], [3]], [[0, 2, 3], [1]])


def test_batches_and_their_order_change_with_the_epoch():
    made = Buckets(lengths(400), rows_of, batch_size=8)
    first, second = ({frozenset(rows.tolist()) for rows in made(0, np.random.default_rng(s))} for s in (1, 2))
    assert len(first & second) < len(first) / 4
    sizes = [lengths(400)[rows].max() for rows in made(0, np.random.default_rng(1))]
    assert sizes != sorted(sizes)


def test_shuffled_rows():
    made = shuffled(10, rows_of, 4)
    plan = list(made(0, np.random.default_rng(0)))
    assert sorted(map(len, plan)) == [2, 4, 4] and sorted(np.concatenate(plan).tolist()) == list(range(10))


@pytest.mark.parametrize("lanes", [1, 2])
def test_streams_go_on_from_batch_to_batch(lanes):
    offsets = np.concatenate([[0], np.cumsum([5, 0, 17, 1, 30, 12, 9])])
    made = Streams(offsets, rows_of, batch_size=3, length=4, lanes=lanes)
    plan = list(made(0, np.random.default_rng(1)))
    columns = 74 // (3 * lanes)
    order = np.random.default_rng(1).permutation(7)
    flat = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in order])
    for lane in range(lanes):
        mine = plan[lane::lanes]
        joined = np.concatenate([mine[0][:, :1], *[batch[:, 1:] for batch in mine]], 1)
        begin = lane * 3 * columns
        np.testing.assert_array_equal(joined, flat[begin : begin + 3 * columns].reshape(3, columns))
        assert all((a[:, -1] == b[:, 0]).all() for a, b in pairwise(mine))
        assert all(batch.shape[1] == 5 for batch in mine[:-1]) and 2 <= mine[-1].shape[1] <= 5
    assert made.items == sum(batch[:, 1:].size for batch in plan)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Buckets([], rows_of, 2),
        lambda: Buckets([[1]], rows_of, 2),
        lambda: Buckets([1, -1], rows_of, 2),
        lambda: Buckets([1], rows_of),
        lambda: Buckets([1], rows_of, 0),
        lambda: Buckets([1], rows_of, tokens=-5),
        lambda: Buckets([1], rows_of, 2, slack=-0.1),
        lambda: Streams([0, 5], rows_of, 3, 4),
        lambda: Streams([0, 50], rows_of, 3, 0),
    ],
)
def test_wrong_use_is_one_line(make):
    with pytest.raises(UmekomiError) as error:
        make()
    assert "expected" in str(error.value) and "\n" not in str(error.value)
