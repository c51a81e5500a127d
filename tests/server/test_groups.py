"""Rows in a few groups by a column, as the map colours them."""

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("fastapi")
from umekomi.server.groups import Group, group_values


def test_numbers_of_many_values_are_ranges_of_as_many_rows():
    values = np.random.default_rng(0).permutation(800)
    found, ordered, points = group_values(pa.array(values))
    assert ordered
    assert [group.count for group in found] == [100] * 8
    assert (found[0].label, found[-1].label) == ("0 – 99", "700 – 799")
    assert points == [value // 100 for value in values]


def test_a_value_that_most_rows_have_is_one_range():
    found, _, points = group_values(pa.array([0.0] * 90 + [float(i) for i in range(1, 11)]))
    assert found[0] == Group("0", "value", 90)
    assert sum(group.count for group in found) == 100
    assert points[:90] == [0] * 90
    assert sorted(points) == points


def test_times_that_python_cannot_hold_have_a_label():
    far = pa.array([1 << 61, None], pa.int64()).cast(pa.timestamp("us"))
    assert group_values(far)[0] == [Group("75039-04-04T19:00:13.693952000", "value", 1), Group(None, "missing", 1)]
    assert (
        group_values(pa.array([[1 << 62]], pa.list_(pa.timestamp("s"))))[0][0].label
        == "['146138514283-06-19T07:45:04']"
    )
    assert group_values(pa.array([[b"\xff"]]))[0][0].label == "['/w==']"


def test_words_by_their_number_and_the_rest():
    words = [word for number, word in enumerate("abcdefghijk") for _ in range(20 - number)]
    found, ordered, points = group_values(pa.chunked_array([words[:50], [*words[50:], None]]))
    assert not ordered
    assert [group.label for group in found] == [*"abcdefgh", None, None]
    assert found[-2:] == [Group(None, "rest", 12 + 11 + 10), Group(None, "missing", 1)]
    assert [points[words.index(word)] for word in "ahijk"] == [0, 7, 8, 8, 8]
    assert points[-1] == 9


@pytest.mark.parametrize(
    ("values", "labels", "points"),
    [
        (pa.array([3, 1, 3, None]), ["1", "3", None], [1, 0, 1, 2]),
        (pa.array([float("nan"), 2.5]), ["2.5", None], [1, 0]),
        (pa.array([True, False, True]), ["True", "False"], [0, 1, 0]),
        (pa.array([["x", "y"], ["x"], ["x"]]), ["['x']", "['x', 'y']"], [1, 0, 0]),
        (pa.array([None, None]), [None], [0, 0]),
        (pa.array([], pa.int64()), [], []),
    ],
)
def test_other_columns(values, labels, points):
    found, _, got = group_values(values)
    assert [group.label for group in found] == labels
    assert got == points
