import numpy as np
import pytest
from scipy.sparse import csr_array

from umekomi.contracts import Vectors
from umekomi.errors import WrongUse
from umekomi.parts import similarity as s

rng = np.random.default_rng(0)
A, B = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(7, 4)).astype(np.float32)


def loop(function):
    return np.array([[function(a.astype(np.float64), b.astype(np.float64)) for b in B] for a in A])


def test_against_slow_loops():
    assert s.dot(A, B) == pytest.approx(loop(np.dot), abs=1e-5)
    assert s.cosine(A, B) == pytest.approx(loop(lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)), abs=1e-5)
    assert s.euclidean(A, B) == pytest.approx(loop(lambda a, b: -np.linalg.norm(a - b)), abs=1e-5)


def test_poincare_against_a_loop_and_lorentz_against_poincare():
    a, b = A / 10, B / 10

    def distance(u, v):
        u, v = u.astype(np.float64), v.astype(np.float64)
        return -np.arccosh(1 + 2 * ((u - v) ** 2).sum() / ((1 - (u**2).sum()) * (1 - (v**2).sum())))

    want = np.array([[distance(u, v) for v in b] for u in a])
    assert s.poincare(a, b) == pytest.approx(want, abs=1e-5)

    def lift(x):
        squared = (x.astype(np.float64) ** 2).sum(1, keepdims=True)
        return np.hstack([(1 + squared) / (1 - squared), 2 * x / (1 - squared)])

    assert s.lorentz(lift(a), lift(b)) == pytest.approx(want, abs=1e-4)


def test_outside_the_ball_is_an_error():
    with pytest.raises(ValueError, match="shorter than 1"):
        s.poincare(np.ones((1, 3)), A[:, :3] / 10)


def test_sparse_equals_dense():
    sparse_a, sparse_b = csr_array(np.where(A > 0, A, 0)), csr_array(np.where(B > 0, B, 0))
    assert s.cosine(sparse_a, sparse_b) == pytest.approx(s.cosine(sparse_a.toarray(), sparse_b.toarray()), abs=1e-5)
    assert s.dot(sparse_a, sparse_b) == pytest.approx(s.dot(sparse_a.toarray(), sparse_b.toarray()), abs=1e-5)


@pytest.mark.parametrize("looped", [1 << 30, 0])
def test_maxsim_against_a_loop_with_an_empty_item(monkeypatch, looped):
    monkeypatch.setattr(s, "LOOPED", looped)
    a = Vectors.of([A[:2], A[2:]])
    b = Vectors.of([B[:3], B[:0], B[3:]])
    want = [
        [sum(max(u @ v for v in b.item(j)) for u in a.item(i)) if len(b.item(j)) else 0 for j in range(3)]
        for i in range(2)
    ]
    assert s.maxsim(a, b) == pytest.approx(np.array(want), abs=1e-5)


def test_zero_rows_stay_zero_and_are_like_nothing():
    zero = np.zeros((1, 4), np.float32)
    assert (s.normalise(zero) == 0).all()
    assert (s.cosine(zero, B) == 0).all()


def test_slices_of_any_kind():
    v = Vectors.of([A[:2], A[2:3], A[3:]])
    part = s.rows(v, 1, 3)
    assert part.items == 2
    assert (part.item(0) == A[2:3]).all()
    assert (s.take(v, [2, 0]).item(0) == A[3:]).all()
    assert s.item_bytes(A) == 16


def test_unknown_similarity_names_the_nearest():
    with pytest.raises(WrongUse, match="cosine"):
        s.similarity_function("cosin")
