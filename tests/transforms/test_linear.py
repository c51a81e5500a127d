import numpy as np
import pytest
from sklearn.decomposition import PCA

from umekomi.errors import WrongUse
from umekomi.transforms import Centre, Normalise, Pca, RandomProjection, Truncate, transform_class

RNG = np.random.default_rng(0)
VECTORS = (RNG.normal(size=(200, 12)) * np.linspace(3, 0.1, 12) + 1).astype(np.float32)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_pca_is_scikit_learns_up_to_signs():
    ours = Pca(4).fit(VECTORS).transform(VECTORS)
    theirs = unit(PCA(4).fit_transform(VECTORS))
    assert np.abs(ours) == pytest.approx(np.abs(theirs), abs=1e-3)


def test_pca_weights_are_repeated_rows():
    weights = RNG.integers(1, 4, 200)
    assert Pca(3).fit(VECTORS, weights=weights).directions_ == pytest.approx(
        Pca(3).fit(np.repeat(VECTORS, weights, 0)).directions_, abs=1e-3
    )


def test_truncate_and_normalise():
    assert Truncate(5).transform(VECTORS) == pytest.approx(unit(VECTORS[:, :5]), abs=1e-6)
    assert Normalise().transform(VECTORS) == pytest.approx(unit(VECTORS), abs=1e-6)
    assert Centre().fit(VECTORS).transform(VECTORS).mean(0) == pytest.approx(0, abs=1e-4)


def test_random_projection_keeps_angles_roughly_and_repeats():
    wide = unit(RNG.normal(size=(100, 400))).astype(np.float32)
    a, b = RandomProjection(200, 3).fit(wide).transform(wide), RandomProjection(200, 3).fit(wide).transform(wide)
    assert (a == b).all()
    assert np.abs(a @ a.T - wide @ wide.T).mean() < 0.08


@pytest.mark.parametrize("transform", [Pca(3), RandomProjection(3), Centre()])
def test_what_is_learned_comes_back_and_ends_in_an_underscore(transform):
    transform.fit(VECTORS)
    settings, arrays = transform.state()
    assert all(name.endswith("_") for name in arrays)
    again = transform_class(transform.name)(**settings).restore(arrays)
    assert (again.transform(VECTORS) == transform.transform(VECTORS)).all()


def test_errors():
    with pytest.raises(WrongUse, match="call fit"):
        Pca(3).transform(VECTORS)
    with pytest.raises(WrongUse, match="at most 12 dimensions, found 13"):
        Pca(13).fit(VECTORS)
    with pytest.raises(WrongUse, match="at least one dimension"):
        Truncate(0)
    with pytest.raises(WrongUse, match="at least 5 vectors, found 3"):
        Pca(5).fit(VECTORS[:3])
    with pytest.raises(WrongUse, match="the nearest: truncate"):
        transform_class("truncat")


def test_chains_count_their_width(minilm):
    from conftest import TEXTS

    chained = minilm.with_transform(Truncate(64)).with_transform(Truncate(16))
    assert chained.dimension == 16
    assert len(chained.transforms) == 2
    assert chained.encode(TEXTS) == pytest.approx(minilm.encode(TEXTS, dimensions=16), abs=1e-6)
