import math

import numpy as np
import pytest

from umekomi.errors import WrongUse
from umekomi.parts import geometry as g


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(12, 7))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def entropy(shares):
    return -sum(p * math.log(p) for p in shares if p > 0)


def test_alignment_uniformity_anisotropy_by_loops(rows):
    other = rows + 0.3 * np.random.default_rng(1).normal(size=rows.shape)
    a, b = unit(rows), unit(other)
    assert g.alignment(rows, other) == pytest.approx(
        np.mean([np.sum((x - y) ** 2) for x, y in zip(a, b, strict=True)]), rel=1e-5
    )
    pairs = [(i, j) for i in range(12) for j in range(12) if i != j]
    assert g.uniformity(rows) == pytest.approx(
        math.log(np.mean([math.exp(-2 * np.sum((a[i] - a[j]) ** 2)) for i, j in pairs])), rel=1e-5
    )
    assert g.anisotropy(rows) == pytest.approx(np.mean([a[i] @ a[j] for i, j in pairs]), rel=1e-5)
    assert g.alignment(rows, rows) == 0 and g.anisotropy(np.ones((4, 3))) == pytest.approx(1)
    with pytest.raises(WrongUse, match="two vectors"):
        g.uniformity(rows[:1])


def test_entropies_at_their_ends_and_between():
    assert g.matrix_entropy(np.eye(6)) == pytest.approx(math.log(6))
    assert g.matrix_entropy(np.outer(np.arange(1, 5), [1.0, 2.0, 3.0])) == pytest.approx(0, abs=1e-6)
    for seed in range(50):
        generator = np.random.default_rng(seed)
        z = generator.normal(size=(generator.integers(2, 20), generator.integers(2, 20))) * generator.exponential(
            size=(1, 1)
        )
        one, two = math.exp(g.matrix_entropy(z)), math.exp(g.matrix_entropy(z, 2.0))
        assert two <= one + 1e-9 and one <= min(z.shape) + 1e-9
        assert g.effective_rank(z) >= one - 1e-9  # the paper's theorem 1 has this the other way round


def test_matrix_entropy_is_that_of_the_gram_matrix(rows):
    values = np.linalg.eigvalsh(rows @ rows.T)
    assert g.matrix_entropy(rows) == pytest.approx(entropy(values / values.sum()), rel=1e-9)
    sigma = np.linalg.svd(rows, compute_uv=False)
    assert g.effective_rank(rows) == pytest.approx(math.exp(entropy(sigma / sigma.sum())), rel=1e-9)


def test_curvature():
    line = np.outer(np.arange(6), [1.0, 2.0, -1.0]) + 5
    assert g.curvature(line) == pytest.approx(0, abs=1e-6)
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], float)
    assert g.curvature(square) == pytest.approx(math.pi / 2)
    assert math.isnan(g.curvature(line[:2]))
    z = np.random.default_rng(0).normal(size=(5, 4))
    centred = unit(z - z.mean(0))
    by_hand = np.mean([math.acos(centred[i] @ centred[i + 1]) for i in range(4)])
    assert g.curvature(z, repository=True) == pytest.approx(by_hand, rel=1e-6)
    assert g.curvature(z) != pytest.approx(by_hand, rel=1e-3)


def test_prompt_entropy_of_the_repository_is_another_number():
    z = np.random.default_rng(0).normal(size=(9, 5)) + 3
    centred = unit(z - z.mean(0))
    gram = np.clip(centred @ centred.T, 0, None)
    values = np.linalg.eigvalsh(gram)
    values = values[values > 1e-12]
    assert g.prompt_entropy(z, repository=True) == pytest.approx(entropy(values / values.sum()), rel=1e-6)
    assert g.prompt_entropy(z) == g.matrix_entropy(z)


def test_info_nce_by_a_loop_and_its_order(rows):
    a, b = rows, rows + 0.1 * np.random.default_rng(1).normal(size=rows.shape)
    both = unit(np.concatenate([a, b]))
    total = 0.0
    for i in range(24):
        z = sum(math.exp(both[i] @ both[j] / 0.1) for j in range(24) if j != i)
        total -= math.log(math.exp(both[i] @ both[(i + 12) % 24] / 0.1) / z)
    assert g.info_nce_of(a, b) == pytest.approx(total / 24, rel=1e-4)
    assert g.info_nce_of(a, a) < g.info_nce_of(a, b) < g.info_nce_of(a, b[::-1])
    assert g.info_nce_of(100 * a, 100 * b) == pytest.approx(g.info_nce_of(a, b), rel=1e-4)
    assert g.info_nce_of(100 * a, 100 * b, repository=True) != pytest.approx(
        g.info_nce_of(a, b, repository=True), rel=1e-2
    )


def test_lidar_by_matrix_roots():
    views = np.random.default_rng(0).normal(size=(8, 3, 4)) * [3, 1, 1, 0.2]
    views += np.random.default_rng(1).normal(size=(8, 1, 4)) * 4
    means = views.mean(1)
    between = (means - means.mean(0)).T @ (means - means.mean(0)) / 8
    inner = (views - means[:, None]).reshape(-1, 4)
    values, vectors = np.linalg.eigh(inner.T @ inner / 24 + 1e-4 * np.eye(4))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    found = np.linalg.eigvalsh(root @ between @ root)
    assert g.lidar(views) == pytest.approx(entropy(found / found.sum()), rel=1e-6)


def test_dime_sees_what_is_paired(rows):
    """Unit rows, so that no shuffle changes the diagonal: paired copies share more than shuffled ones."""
    z = unit(rows)
    assert g.dime(z, z) > 0.05
    assert abs(g.dime(z, unit(np.random.default_rng(5).normal(size=(12, 7))), permutations=200)) < 0.05
    wide = unit(np.random.default_rng(0).normal(size=(6, 9)))
    assert g.dime(wide, wide, repository=True) == g.dime(wide, wide)
    assert g.dime(z, z, repository=True) != g.dime(z, z)
