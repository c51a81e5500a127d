from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from conftest import TEXTS

from umekomi import tasks
from umekomi.data import RetrievalData, load
from umekomi.errors import DataError, WrongUse
from umekomi.models.entity import EntityEmbedder
from umekomi.models.scorers import EmbedderScorer
from umekomi.models.untrained import HashingEmbedder, RandomEmbedder
from umekomi.recipes import get
from umekomi.tasks.entities import HypernymyRanking, LinkPrediction, Reconstruction
from umekomi.tasks.labels import Classification, Clustering
from umekomi.tasks.pairs import PairClassification, Similarity
from umekomi.tasks.retrieval import Reranking, RetrievalTask
from umekomi.verbs.evaluate import evaluate

RNG = np.random.default_rng(0)


class Fixed:
    """Vectors given by hand, for figures that can be worked out by hand."""

    name, kind, metric, card, outputs = "fixed", "entity", "dot", {}, frozenset({"dense"})

    def __init__(self, table):
        self.table = table

    def encode(self, items, **options):
        return np.array([self.table[item] for item in items], np.float32)

    def similarity(self, a, b):
        return (a @ b.T).astype(np.float32)

    def similarity_pairwise(self, a, b):
        return (a * b).sum(1)


def collection(judged):
    documents = sorted({document for _, document, _ in judged} | {"extra"})
    queries = list(dict.fromkeys(query for query, _, _ in judged))
    return RetrievalData(
        pa.table({"id": queries, "text": queries}),
        pa.table({"id": documents, "text": documents}),
        pa.table(
            {
                "query_id": [q for q, _, _ in judged],
                "corpus_id": [d for _, d, _ in judged],
                "score": [float(s) for _, _, s in judged],
            }
        ),
    )


def test_ndcg_by_hand():
    data = collection([("q", "a", 2), ("q", "b", 1), ("q", "c", 0)])
    model = Fixed({"q": [1.0], "a": [0.5], "b": [0.9], "c": [0.7], "extra": [0.1]})
    result = RetrievalTask(data).evaluate(model)
    # order b, c, a, extra; trec_eval's gain is the grade itself
    want = (1 / math.log2(2) + 2 / math.log2(4)) / (2 / math.log2(2) + 1 / math.log2(3))
    assert result.metric == "ndcg@10"
    assert result.value == pytest.approx(want, abs=1e-6)
    assert result.scores["mrr@10"].value == 1
    assert result.scores["map"].value == pytest.approx((1 / 1 + 2 / 3) / 2, abs=1e-6)
    assert [document for document, _ in result.hits["q"]] == ["b", "c", "a", "extra"]


def test_mrr_is_cut_at_ten_and_a_query_without_hits_counts_as_zero():
    data = collection([("q", "a", 1), *[("r", f"d{i}", 1 if i == 15 else 0) for i in range(20)]])
    table = {"q": [0.0], "r": [1.0], "a": [0.0], "extra": [0.0]} | {f"d{i}": [20.0 - i] for i in range(20)}
    result = RetrievalTask(data).evaluate(Fixed(table))
    assert result.scores["mrr@10"].values[1] == 0
    assert result.scores["map"].values[1] == pytest.approx(1 / 16)
    sparse = get("bm25")().fit(["alpha beta", "gamma delta"])
    found = RetrievalTask(collection([("alpha", "alpha beta", 1), ("unknown", "alpha beta", 1)])).evaluate(sparse)
    assert found.main.values.tolist() == [1.0, 0.0]


def test_reranking_by_embedder_and_scorer_agree():
    data = collection([("The cat sat on the mat.", TEXTS[i], int(i == 4)) for i in range(1, 7)])
    model = HashingEmbedder(512)
    a, b = Reranking(data).evaluate(model), Reranking(data).evaluate(EmbedderScorer(model))
    assert a.value == pytest.approx(b.value)
    with pytest.raises(DataError, match="two judged documents or more"):
        Reranking(collection([("q", "a", 1)])).evaluate(model)


def test_pair_classification_and_bad_labels(minilm):
    table = pa.table({"sentence1": ["a cat", "a cat"], "sentence2": ["a kitten", "bond yields"], "label": [1, 0]})
    assert PairClassification(table).evaluate(minilm).value == 1
    with pytest.raises(DataError, match="row 2, column 'label': expected 0 or 1, found 'maybe'"):
        PairClassification(
            pa.table({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": ["1", "maybe"]})
        ).evaluate(minilm)


def topics(n):
    animals, money = ["cat", "dog", "horse", "kitten"], ["bond", "stock", "market", "bank"]
    words = [animals if i % 2 else money for i in range(n)]
    return pa.table(
        {
            "text": [f"{w[i % 4]} {w[(i + 1) % 4]} number {i}" for i, w in enumerate(words)],
            "label": ["animals" if i % 2 else "money" for i in range(n)],
        }
    )


@pytest.mark.parametrize("probe", ["linear", "knn"])
def test_classification_learns_topics_and_random_vectors_do_not(probe):
    train, test = topics(200), topics(60)
    good = Classification(test, train, probe=probe).evaluate(HashingEmbedder(256))
    assert good.value > 0.95
    assert good.scores["macro f1"].value > 0.95
    # other random vectors for the test texts than any seen in training
    floor = Classification(
        pa.table({"text": [f"{t}!" for t in test["text"].to_pylist()], "label": test["label"]}), train, probe=probe
    ).evaluate(RandomEmbedder(64))
    assert 0.25 < floor.value < 0.75


def test_cross_validation_without_a_training_split():
    result = Classification(topics(100)).evaluate(HashingEmbedder(256))
    assert result.value > 0.95
    assert result.notes == ("10-fold cross-validation",)
    with pytest.raises(DataError, match="two labels or more, found only 'a'"):
        Classification(pa.table({"text": ["x", "y"], "label": ["a", "a"]})).evaluate(HashingEmbedder(16))


def test_sparse_vectors_can_be_classified_and_clustered():
    model = get("tfidf")().fit(topics(100)["text"].to_pylist())
    assert Classification(topics(40), topics(100)).evaluate(model).value > 0.95
    assert Classification(topics(40), topics(100), probe="knn").evaluate(model).value > 0.95
    assert Clustering(topics(100)).evaluate(model).value >= 0


def chain():
    """A line of five nodes on the real line: 0 → 1 → 2 → 3 → 4."""
    names = [str(i) for i in range(5)]
    table = EntityEmbedder(names, np.arange(5, dtype=np.float32)[:, None], metric="euclidean")
    return table, pa.table({"source": names[:-1], "target": names[1:]})


def test_ranks_by_hand_an_equal_score_counts_half():
    table, edges = chain()
    result = Reconstruction(edges).evaluate(table)
    # node 0: nearest is 1 (rank 1); nodes 1 to 3: previous and next are equally far (rank 1.5)
    assert result.scores["mean rank"].values.tolist() == [1, 1.5, 1.5, 1.5]
    assert result.scores["hits@1"].value == 0.25
    assert result.value == pytest.approx(np.mean([1, 2 / 3, 2 / 3, 2 / 3]))


def test_average_precision_is_scikit_learns():
    from sklearn.metrics import average_precision_score

    names = [str(i) for i in range(30)]
    table = EntityEmbedder(names, RNG.normal(size=(30, 4)), metric="euclidean")
    edges = [(a, b) for a in range(30) for b in range(30) if a != b and (a + 2 * b) % 5 == 0]
    result = Reconstruction(
        pa.table({"source": [str(a) for a, _ in edges], "target": [str(b) for _, b in edges]})
    ).evaluate(table)
    scores = table.similarity(table.vectors, table.vectors)
    want = []
    for a in sorted({a for a, _ in edges}):
        others = [b for b in range(30) if b != a]
        want.append(average_precision_score([(a, b) in set(edges) for b in others], scores[a, others]))
    assert result.main.values == pytest.approx(np.array(want), abs=1e-6)


def test_link_prediction_leaves_known_links_out():
    table, edges = chain()
    held = pa.table({"source": ["0"], "target": ["2"]})
    known = LinkPrediction(held, edges).evaluate(table)
    assert known.scores["mean rank"].value == 1, "1 is nearer to 0 but known"
    assert (
        LinkPrediction(held, pa.table({"source": ["3"], "target": ["4"]})).evaluate(table).scores["mean rank"].value
        == 2
    )
    with pytest.raises(DataError, match="expected an entity of entities, found '9'"):
        Reconstruction(pa.table({"source": ["9"], "target": ["1"]})).evaluate(table)
    with pytest.raises(WrongUse, match="judges a table of entities"):
        Reconstruction(edges).evaluate(RandomEmbedder(4))


def test_hypernymy_ranking_knows_which_way_is_up():
    table = EntityEmbedder(["root", "animal", "cat"], np.array([[0, 0.01], [0.3, 0], [0.8, 0]]), metric="poincare")
    pairs = pa.table(
        {
            "child": ["cat", "animal", "cat", "root", "cat"],
            "parent": ["animal", "root", "root", "cat", "unicorn"],
            "score": [9.0, 8.0, 7.0, 0.0, 5.0],
        }
    )
    result = HypernymyRanking(pairs).evaluate(table)
    assert result.value > 0
    assert "1 of 5 pairs" in result.notes[0]


def test_names_of_tasks(pydocs):
    assert tasks.make("pydocs").kind == "retrieval"
    assert tasks.make("retrieval", pydocs).size()["queries"] == min(1500, pydocs["test"].queries.num_rows)
    assert tasks.make("clustering", topics(20)).kind == "clustering"
    assert tasks.fitting_kinds(topics(20)) == ["classification", "clustering"]
    with pytest.raises(WrongUse, match="needs data to judge on"):
        tasks.make("retrieval")
    with pytest.raises(WrongUse, match="takes scored pairs; pydocs holds retrieval, which fits: retrieval"):
        tasks.make("similarity", pydocs)
    with pytest.raises(WrongUse, match="the nearest: clustering"):
        tasks.make("clusterin", topics(20))


def test_trained_on_what_it_is_judged_on_is_said(capsys):
    model = RandomEmbedder(8)
    model.card["trained_on"] = "sts12"
    evaluate(
        model,
        Similarity(
            load(
                [
                    {"sentence1": "a", "sentence2": "b", "score": 1.0},
                    {"sentence1": "a", "sentence2": "c", "score": 2.0},
                ],
                "all",
            ),
            "stsb",
        ),
    )
    assert "stsb was drawn from sts12 to sts16" in capsys.readouterr().err


def test_a_table_that_keeps_its_vectors_is_ranked_like_the_table():
    """What stands for a table has neither its names nor its rows: tasks of entities look behind it."""
    from umekomi.models.cached import CachedEmbedder

    names = ["animal", "dog", "cat", "oak"]
    table = EntityEmbedder(names, RNG.normal(size=(4, 3)).astype(np.float32))
    graded = pa.table({"child": ["dog", "cat", "oak"], "parent": ["animal"] * 3, "score": [9.0, 8.0, 1.0]})
    task = HypernymyRanking(graded)
    assert task.evaluate(CachedEmbedder(table)).value == task.evaluate(table).value


def test_a_task_of_embedders_refuses_a_scorer():
    scorer = EmbedderScorer(HashingEmbedder())
    with pytest.raises(WrongUse, match="classification judges embedders"):
        Classification(pa.table({"text": TEXTS[:4], "label": ["a", "b", "a", "b"]})).evaluate(scorer)
