"""Everything that has a reference is as far from it as :data:`parity.TABLE` allows, or less."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from parity import FOLDER, TABLE, table


@pytest.mark.parametrize("parity", TABLE, ids=[each.name for each in TABLE])
def test_ours_is_the_reference(parity):
    for package in parity.needs:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    difference = parity.difference()
    assert difference <= parity.tolerance


def test_each_reference_has_a_row_and_each_row_a_reference():
    assert {file.stem for file in FOLDER.glob("*.npz")} == {each.name for each in TABLE}
    assert len(table().splitlines()) == len(TABLE) + 2


def test_a_difference_is_seen():
    """Another answer is told by its size, and names by themselves."""
    import dataclasses

    maxsim = next(each for each in TABLE if each.name == "maxsim")
    off = dataclasses.replace(maxsim, ours=lambda given: {"scores": maxsim.ours(given)["scores"] + 0.5})
    assert off.difference() == pytest.approx(0.5, abs=1e-4)
    words = next(each for each in TABLE if each.name == "word2vec")
    swapped = dataclasses.replace(words, ours=lambda given: words.ours(given) | {"nearest": ["a", "b", "c"]})
    with pytest.raises(AssertionError, match="nearest: expected"):
        swapped.difference()
