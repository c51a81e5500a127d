"""Leading eigenvectors of a graph."""

import numpy as np
import pytest
import scipy.linalg

from umekomi.data.graphs import relations
from umekomi.parts.spectral import FARTHEST, spectral


def path(count, name=""):
    return [(f"{name}{i}", f"{name}{i + 1}") for i in range(count - 1)]


def test_it_is_the_generalised_eigenproblem_of_the_laplacian():
    found = relations([*path(30), ("3", "9"), ("4", "4")])
    adjacency = np.zeros((30, 30))
    for a, b in zip(found.heads, found.tails, strict=True):
        adjacency[a, b] = adjacency[b, a] = float(a != b)
    degree = np.diag(adjacency.sum(1))
    _, expected = scipy.linalg.eigh(degree - adjacency, degree)  # L x = λ D x (Belkin & Niyogi 2003)
    got = spectral(found, 3)
    for i in range(3):
        assert abs(np.corrcoef(got[:, i], expected[:, i + 1])[0, 1]) == pytest.approx(1, abs=1e-6)
    assert (got**2).mean(0) == pytest.approx(np.ones(3))


def test_every_part_has_its_own_and_a_small_one_none():
    got = spectral(relations([*path(20, "a"), *path(30, "b"), *path(3, "c")]), 2)
    names = relations([*path(20, "a"), *path(30, "b"), *path(3, "c")]).names
    rows = {part: [i for i, name in enumerate(names) if name[0] == part] for part in "abc"}
    assert not got[rows["c"]].any()
    for part in "ab":
        assert (got[rows[part]] ** 2).mean(0) == pytest.approx(np.ones(2))
        along = got[rows[part], 0]
        assert (np.diff(along) > 0).all() or (np.diff(along) < 0).all(), "the first runs along the path"


def test_a_far_node_does_not_put_all_others_in_one_place():
    whole = [(f"{i}", f"{j}") for i in range(60) for j in range(i)]
    got = spectral(relations([*whole, *[(f"tail{i}", f"tail{i + 1}") for i in range(3)], ("0", "tail0")]), 2)
    assert np.abs(got).max() <= FARTHEST
