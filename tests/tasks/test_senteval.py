import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import pearsonr, spearmanr

from umekomi.data import Dataset
from umekomi.errors import UmekomiError, WrongUse
from umekomi.models.untrained import RandomEmbedder
from umekomi.recipes import get
from umekomi.statistics import STATISTICS
from umekomi.tasks import make, senteval
from umekomi.verbs.evaluate import evaluate

WORDS = ["fine", "grand", "lovely", "poor", "dull", "awful"]


def sentences(count, seed=0):
    """Texts whose first word tells their label, half of the time."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for number in range(count):
        label = number % 2
        word = WORDS[3 * label + rng.integers(3)] if rng.random() < 0.7 else WORDS[rng.integers(6)]
        texts.append(f"{word} thing {number} " + "more " * int(rng.integers(1, 5)))
        labels.append(str(label))
    return pa.table({"text": texts, "label": labels})


def pairs(count, seed=0, label=False):
    rng = np.random.default_rng(seed)
    same = rng.random(count)
    one = [f"{WORDS[n % 6]} thing {n}" for n in range(count)]
    two = [
        a if share > 0.5 else f"{WORDS[(n + 3) % 6]} other" for n, (a, share) in enumerate(zip(one, same, strict=True))
    ]
    table = {"sentence1": one, "sentence2": two}
    more = {"label": [("neutral", "entailment")[int(share > 0.5)] for share in same]} if label else {}
    more = more or {"score": np.round(1 + 4 * same, 2), "subset": [("news", "forum")[n % 3 > 0] for n in range(count)]}
    return pa.table(table | more)


def world(name):
    way = senteval.WAYS[name]
    if way == "nested":
        return Dataset(name, {"all": sentences(120)})
    if name == "trec":
        return Dataset(name, {"train": sentences(120), "test": sentences(40, 1)})
    if name == "mrpc":
        two = {split: pairs(80, seed, True) for seed, split in enumerate(("train", "dev"))}
        return Dataset(
            name,
            {
                k: t.set_column(2, "label", pa.array([str(int(x == "entailment")) for x in t["label"].to_pylist()]))
                for k, t in two.items()
            },
        )
    if way == "cosine":
        return Dataset(name, {"test": pairs(60)})
    make_part = sentences if name.startswith("sst") else (lambda n, s: pairs(n, s, name == "sick-e"))
    return Dataset(name, {split: make_part(80, seed) for seed, split in enumerate(("train", "dev", "test"))})


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(senteval, "load", world)


def test_all_tasks_at_once_are_each_alone(small):
    model = get("tfidf")().fit({"text": make("senteval").data["text"].to_pylist()})
    together = evaluate(model, "senteval")
    assert {name.split()[0] for name in together.scores} == set(senteval.WAYS)
    for name in senteval.WAYS:
        alone = evaluate(model, f"senteval:{name}")
        for metric, score in alone.scores.items():
            assert np.allclose(score.values, together.scores[f"{name} {metric}"].values, atol=1e-6), (name, metric)
    assert together.scores["mr accuracy"].value > 0.7


def test_sts_prints_its_three_figures_always(small):
    result = evaluate(RandomEmbedder(), "senteval:sts14")
    assert list(result.scores) == [f"{a} {b}" for a in ("pearson", "spearman") for b in ("mean", "wmean", "all")]
    gold, scores, group = result.scores["pearson mean"].values.T
    for name, measure in (("pearson", pearsonr), ("spearman", spearmanr)):
        each = [measure(gold[group == g], scores[group == g])[0] for g in (0, 1)]
        sizes = [(group == g).sum() for g in (0, 1)]
        assert result.scores[f"{name} mean"].value == pytest.approx(np.mean(each))
        assert result.scores[f"{name} wmean"].value == pytest.approx(np.average(each, weights=sizes))
        assert result.scores[f"{name} all"].value == pytest.approx(measure(gold, scores)[0])
    assert result.notes == ("2 subsets: forum, news",)


def test_nested_folds_by_scikit_learns_loops():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 5))
    y = (x[:, 0] + rng.normal(size=160) > 0).astype(np.int64)
    order = rng.permutation(160)
    wanted, cs = np.empty(160, int), []
    outer = StratifiedKFold(10, shuffle=True, random_state=1111)
    for fit, held in outer.split(x[order], y[order]):
        fit, held = order[fit], order[held]
        means = []
        for c in senteval.GRID:
            right = [
                LogisticRegression(C=c, tol=1e-9, max_iter=1000).fit(x[fit[a]], y[fit[a]]).score(x[fit[b]], y[fit[b]])
                for a, b in outer.split(x[fit], y[fit])
            ]
            means.append(round(100 * np.mean(right), 2))
        cs.append(senteval.GRID[int(np.argmax(means))])
        wanted[held] = LogisticRegression(C=cs[-1], tol=1e-9, max_iter=1000).fit(x[fit], y[fit]).predict(x[held])
    predicted, chosen = senteval.nested(x, y, order)
    assert chosen == cs
    assert (predicted == wanted).all()


def test_the_order_is_by_words_then_label():
    table = pa.table({"text": ["a b c", "a", "b", "a b"], "label": ["0", "1", "0", "1"]})
    assert senteval._by_length([table], np.array([0, 1, 0, 1])).tolist() == [2, 1, 3, 0]


def test_pair_features_dense_and_sparse():
    from scipy import sparse

    class Model:
        name = "m"

    table = pa.table({"sentence1": ["a"], "sentence2": ["b"]})
    vectors = np.array([[1, 2, 0], [3, -1, 0]], np.float32)
    for given in (vectors, sparse.csr_array(vectors)):
        features = senteval._Seen(Model(), "mrpc", given, {"a": 0, "b": 1}).features(table)
        dense = features.toarray() if hasattr(features, "toarray") else features
        assert dense.tolist() == [[2, 3, 0, 3, -2, 0]]


def test_what_is_absent_is_one_line(small, monkeypatch):
    def absent(name):
        if name == "trec":
            raise WrongUse("trec: its home https://example.org offers no copy")
        return world(name)

    monkeypatch.setattr(senteval, "load", absent)
    model = RandomEmbedder(8)
    result = evaluate(model, "senteval")
    assert "left out: trec: its home https://example.org offers no copy" in result.notes
    with pytest.raises(WrongUse, match="offers no copy"):
        evaluate(model, "senteval:trec")
    assert any("mrpc: judged on GLUE's dev split" in note for note in result.notes)


def test_wrong_names_and_wrong_models(small):
    with pytest.raises(WrongUse, match="no task of SentEval named 'trek'; the nearest: trec"):
        make("senteval:trek")
    with pytest.raises(WrongUse, match="expected none named"):
        make("senteval:trec", {"text": ["a"], "label": ["b"]})
    one_table = pa.table({"sentence1": ["a", "b"], "sentence2": ["b", "c"], "score": [1.0, 2.0]})
    with pytest.raises(UmekomiError, match="sts14: expected a column 'subset'"):
        senteval._correlations("sts14", one_table, np.array([0.1, 0.2]))


def test_statistics_by_hand():
    values = np.array([[1, 1], [0, 1], [1, 0], [1, 1]], float)
    assert STATISTICS["f1"](values) == pytest.approx(2 * 2 / 6)
