import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from umekomi.errors import DataError
from umekomi.parts import logistic, relatedness

PENALTIES = [0.25, 2.0, 32.0]


def rows(classes, n=400, d=12, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d)) * rng.uniform(0.1, 3, d) + rng.normal(size=d)
    scores = features @ rng.normal(size=(d, classes)) + rng.normal(size=(n, classes)) * 2
    return features, scores.argmax(1)


def same_as_scikit_learn(features, labels, subsets, solved):
    for number, subset in enumerate(subsets):
        for place, penalty in enumerate(PENALTIES):
            peer = LogisticRegression(C=penalty, tol=1e-10, max_iter=10_000).fit(features[subset], labels[subset])
            assert (peer.predict(features) == solved.classes[number, place]).all(), (number, penalty)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("kind", ["dense", "sparse", "wider than long"])
def test_each_problem_is_scikit_learns(classes, kind):
    features, labels = rows(classes, *((120, 300) if kind.startswith("wider") else (400, 12)))
    if kind == "sparse":
        features = sparse.csr_array(np.where(np.abs(features) > 1, features, 0))
    subsets = np.random.default_rng(1).random((5, len(labels))) < 0.8
    solved = logistic.predict(features, labels, subsets, PENALTIES, tolerance=1e-8)
    assert solved.unfinished == 0
    same_as_scikit_learn(features, labels, subsets, solved)


def test_problems_in_turns_are_those_at_once(monkeypatch):
    features, labels = rows(3)
    subsets = np.random.default_rng(1).random((7, len(labels))) < 0.7
    at_once = logistic.predict(features, labels, subsets, PENALTIES)
    monkeypatch.setattr(logistic, "NUMBERS", 1)
    assert (logistic.predict(features, labels, subsets, PENALTIES).classes == at_once.classes).all()


def test_a_class_that_a_subset_lacks_is_never_predicted():
    features, labels = rows(3)
    subsets = np.stack([labels != 2, labels != 0])
    solved = logistic.predict(features, labels, subsets, PENALTIES)
    assert not (solved.classes[0] == 2).any()
    assert not (solved.classes[1] == 0).any()


def test_constant_features_and_one_class():
    labels = np.array([0, 1] * 20)
    subsets = np.ones((1, 40), bool)
    constant = logistic.predict(np.ones((40, 3)), labels, subsets, [1.0])
    assert constant.unfinished == 0
    with pytest.raises(DataError, match="two classes or more to learn from, found one in subset 1"):
        logistic.predict(np.ones((40, 3)), labels, (labels == 1)[None], [1.0])
    with pytest.raises(DataError, match="penalties C above zero"):
        logistic.predict(np.ones((40, 3)), labels, subsets, [0.0])


def test_softened_targets_by_a_loop():
    scores = np.concatenate([np.linspace(0, 5, 21), [4.999]])
    wanted = np.zeros((len(scores), 5))
    for row, score in enumerate(scores):
        for grade in range(1, 6):
            if grade == np.floor(score) + 1:
                wanted[row, grade - 1] = score - np.floor(score)
            if grade == np.floor(score):
                wanted[row, grade - 1] = np.floor(score) - score + 1
    assert relatedness.softened(scores) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_grades_are_learned_and_one_seed_gives_one_model(kind, monkeypatch):
    monkeypatch.setattr(relatedness, "MOST_EPOCHS", 100)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(600, 8)).astype(np.float32)
    scores = np.clip(3 + features[:, 0] + 0.5 * features[:, 1], 1, 5)
    given = sparse.csr_array(features) if kind == "sparse" else features
    fitted = relatedness.fit(given[:400], scores[:400], given[400:500], scores[400:500])
    assert np.corrcoef(fitted.scores(given[500:]), scores[500:])[0, 1] > 0.95
    again = relatedness.fit(given[:400], scores[:400], given[400:500], scores[400:500])
    assert (again.weights == fitted.weights).all()


def test_the_gradient_is_that_of_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(64, 6)).astype(np.float32), relatedness.softened(rng.uniform(1, 5, 64))
    weights = torch.tensor(rng.normal(size=(6, 5)), dtype=torch.float32, requires_grad=True)
    share = torch.softmax(torch.tensor(features) @ weights, 1)
    torch.nn.functional.mse_loss(share, torch.tensor(targets)).backward()
    ours = share.detach().numpy()
    error = (2 / ours.size) * (ours - targets)
    assert features.T @ (ours * (error - (ours * error).sum(1, keepdims=True))) == pytest.approx(
        weights.grad.numpy(), abs=1e-7
    )
