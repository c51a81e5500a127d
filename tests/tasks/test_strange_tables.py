"""Tables as strangers bring them: a task gives a figure, or one line that names the column and what was found; never a
verdict on nothing."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from umekomi import tasks
from umekomi.data import Dataset, RetrievalData
from umekomi.errors import DataError, UmekomiError
from umekomi.models.base import EmbedderBase
from umekomi.models.entity import EntityEmbedder
from umekomi.models.untrained import HashingEmbedder, RandomEmbedder
from umekomi.recipes import get
from umekomi.tasks.entities import HypernymyRanking, LinkPrediction, Reconstruction, TripleRanking
from umekomi.tasks.labels import Classification, Clustering, without_rare_labels
from umekomi.tasks.pairs import PairClassification, Similarity
from umekomi.tasks.retrieval import Reranking, RetrievalTask, trec, whole_grades

MODEL = HashingEmbedder(16)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
TEXTS = st.one_of(st.none(), st.sampled_from(["a cat", "a dog", "", "  ", "埋め込み", "a\x00b", "cat sat"]), st.text())
GRADES = st.one_of(
    st.none(), st.integers(-3, 10**12), st.floats(), st.sampled_from([0, 1, 0.5, 0.7, math.nan, math.inf, 1e-300])
)
LABELS = st.one_of(
    st.none(), st.integers(0, 3), st.booleans(), st.floats(), st.sampled_from(["a", "b", "", " ", "0", "1", "None"])
)


class Given(EmbedderBase):
    """Vectors given by hand."""

    name, kind, metric, card, modalities = "given", "entity", "dot", {}, frozenset({"text", "entity"})
    _encode = _write = _read = None

    def __init__(self, vector):
        self.vector = vector

    def encode(self, items, **options):
        return np.array([self.vector(item) for item in items], np.float32).reshape(len(items), -1)

    def similarity(self, a, b):
        return (a @ b.T).astype(np.float32)

    def similarity_pairwise(self, a, b):
        return (a * b).sum(1)


def rows_of(**columns):
    """Rows of these columns, each of one type or of several."""
    names = list(columns)
    return st.lists(st.tuples(*columns.values()), max_size=12).map(
        lambda rows: {name: [row[i] for row in rows] for i, name in enumerate(names)}
    )


def judged(make, model=MODEL):
    """A finite figure, or one line."""
    said = ""
    try:
        found = make().evaluate(model)
    except UmekomiError as error:
        said = str(error)
    if said:
        assert "\n" not in said
        assert len(said) > 20
        return None
    assert math.isfinite(found.value)
    values = found.main.values
    assert np.isfinite(values).all()
    return found


def table(columns):
    """As Arrow holds it; a mixture that Arrow refuses is not ours to judge."""
    try:
        return pa.table(columns)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return None


@QUICK
@given(rows_of(text=TEXTS, label=LABELS), rows_of(text=TEXTS, label=LABELS))
def test_labelled_texts(data, train):
    data, train = table(data), table(train)
    if data is None:
        return
    for make in (lambda: Classification(data), lambda: Clustering(data), lambda: Classification(data, train)):
        found = judged(make)
        if found is not None:
            labels = {str(label) for label in data["label"].to_pylist()}
            assert len(labels) > 1
            assert not labels & {"None", "nan", "", " "} or data["label"].type == pa.string()


@QUICK
@given(rows_of(sentence1=TEXTS, sentence2=TEXTS, score=GRADES, label=LABELS))
def test_pairs(data):
    data = table(data)
    if data is None:
        return
    found = judged(lambda: Similarity(data))
    assert found is None or len(set(data["score"].to_pylist())) > 1
    found = judged(lambda: PairClassification(data))
    assert found is None or set(found.main.values[:, 0]) == {0, 1}


@QUICK
@given(rows_of(query=TEXTS, document=TEXTS, score=GRADES), st.sampled_from(["retrieval", "reranking"]))
def test_judged_pairs(data, kind):
    data = table(data)
    if data is None:
        return
    found = judged(lambda: tasks.make(kind, data))
    if found is not None:
        assert max(data["score"].to_pylist()) > 0
        assert 0 <= found.value <= 1


IDS = st.one_of(st.none(), st.sampled_from(["1", "2", "3"]), st.integers(1, 3))


@QUICK
@given(rows_of(id=IDS, text=TEXTS), rows_of(id=IDS, text=TEXTS), rows_of(query_id=IDS, corpus_id=IDS, score=GRADES))
def test_three_tables_that_may_not_fit_each_other(queries, corpus, qrels):
    parts = [table(part) for part in (queries, corpus, qrels)]
    if not any(part is None for part in parts):
        for task in (RetrievalTask, Reranking):
            judged(lambda task=task: task(RetrievalData(*parts)))


NAMES = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "zebra", "", " "]))
ENTITIES = EntityEmbedder(["a", "b", "c"], np.array([[0.1, 0], [0.3, 0.1], [0.6, 0.2]], np.float32), metric="poincare")


@QUICK
@given(rows_of(child=NAMES, parent=NAMES, score=GRADES), rows_of(child=NAMES, parent=NAMES))
def test_links(data, train):
    data, train = table(data), table(train)
    if data is None or train is None:
        return
    judged(lambda: Reconstruction(data), ENTITIES)
    judged(lambda: LinkPrediction(data, train), ENTITIES)
    found = judged(lambda: HypernymyRanking(data), ENTITIES)
    assert found is None or len(set(data["score"].to_pylist())) > 1


BAGS = get("starspace")(epochs=1, dimensions=4).fit(
    {"head": ["a", "b", "c"], "relation": ["r", "r", "s"], "tail": ["b", "c", "a"]}
)


@QUICK
@given(rows_of(head=NAMES, relation=st.sampled_from(["r", "s", "t", None]), tail=NAMES))
def test_triples(data):
    data = table(data)
    if data is not None:
        judged(lambda: TripleRanking(data), BAGS)


def collection(rows):
    """A retrieval set of (query, document, grade)."""
    queries, documents = (sorted({row[side] for row in rows}) for side in (0, 1))
    columns = [list(column) for column in zip(*rows, strict=True)]
    return RetrievalData(
        pa.table({"id": queries, "text": queries}),
        pa.table({"id": documents, "text": documents}),
        pa.table(dict(zip(("query_id", "corpus_id", "score"), columns, strict=True))),
    )


@pytest.mark.parametrize("factor", [0.1, 0.25, 1 / 3, 0.01, 0.123456, 7, 1e9, 1e-9])
def test_ndcg_is_the_same_whatever_the_grades_are_multiplied_by(factor):
    """Also with fractions that no small factor makes whole, to one part in ten thousand."""
    rng = np.random.default_rng(3)
    grades = {f"q{i}": {f"d{j}": int(rng.integers(0, 4)) for j in range(6)} for i in range(8)}
    run = {query: {document: float(rng.random()) for document in found} for query, found in grades.items()}
    want, notes = trec(grades, run)
    assert notes == []
    scaled = {query: {document: grade * factor for document, grade in found.items()} for query, found in grades.items()}
    found, notes = trec(scaled, run)
    for metric, score in want.items():
        assert found[metric].values == pytest.approx(score.values, abs=2e-4), metric
    assert bool(notes) == (factor != 7)


def test_no_grade_above_zero_becomes_zero():
    whole, note = whole_grades({"q": {"a": 1e-7, "b": 1.0, "c": 0.0, "d": -2.5}})
    assert whole == {"q": {"a": 1, "b": 10_000, "c": 0, "d": 0}}
    assert "grades are no small whole numbers" in note
    assert whole_grades({"q": {"a": 3, "b": -1}}) == ({"q": {"a": 3, "b": 0}}, "")
    assert whole_grades({"q": {"a": 0.5, "b": 1.0}})[0] == {"q": {"a": 1, "b": 2}}
    assert whole_grades({"q": {"a": 10**9, "b": 1}})[0] == {"q": {"a": 10_000, "b": 1}}


def test_fractional_grades_by_hand():
    table = {"q": [1.0], "a": [0.5], "b": [0.9], "c": [0.7], "extra": [0.1]}
    rows = [("q", "a", 0.5), ("q", "b", 0.25), ("q", "c", 0.0), ("q", "extra", 0.0)]
    result = RetrievalTask(collection(rows)).evaluate(Given(table.get))
    want = (0.25 / math.log2(2) + 0.5 / math.log2(4)) / (0.5 / math.log2(2) + 0.25 / math.log2(3))
    assert result.value == pytest.approx(want, abs=1e-6)
    assert "as they are" in result.notes[0]


def test_one_pair_judged_twice_counts_its_higher_grade():
    assert collection([("q", "a", 2.0), ("q", "a", 0.5), ("q", "b", 0.0)]).judgements() == {"q": {"a": 2, "b": 0}}


REFUSED = [
    (lambda: Similarity(pa.table({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [3.0, 3.0]})),
     "column 'score': expected two scores or more that differ, found 3.0 in all 2 rows"),
    (lambda: Similarity(pa.table({"sentence1": ["a"], "sentence2": ["c"], "score": [3.0]})), "found 3.0 in 1 row"),
    (lambda: Similarity(pa.table({"sentence1": ["a", "b"], "sentence2": ["c", None], "score": [3.0, 1.0]})),
     "row 2, column 'sentence2': expected text, found nothing"),
    (lambda: Similarity(pa.table({"sentence1": ["a"], "sentence2": ["c"], "score": [math.nan]})),
     "row 1, column 'score': expected a finite number, found nan"),
    (lambda: PairClassification(pa.table({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [1, 1]})),
     "column 'label': expected pairs of both labels, 0 and 1; found only 1"),
    (lambda: Classification(pa.table({"text": ["a", "b"], "label": ["x", "x"]})),
     "column 'label': expected two labels or more, found only 'x' in 2 rows"),
    (lambda: Classification(pa.table({"text": ["a", "b", "c"], "label": ["x", "", "y"]})),
     "row 2, column 'label': expected a label, found empty text"),
    (lambda: Classification(pa.table({"text": ["a", "b", "c"], "label": ["x", "  ", "y"]})), "row 2, column 'label'"),
    (lambda: Classification(pa.table({"text": ["a", "b"], "label": pa.array(["", "y"]).dictionary_encode()})),
     "row 1, column 'label': expected a label, found empty text"),
    (lambda: Classification(pa.table({"text": ["a", "b", "c"], "label": [1.0, math.nan, 2.0]})),
     "row 2, column 'label': expected a value, found no number"),
    (lambda: Classification(pa.table({"text": ["a", "b", "c"], "label": ["x", "x", "rare"]})),
     "cross-validation needs two texts of every label or more, found one of 'rare'"),
    (lambda: Classification(pa.table({"text": ["a", "b"], "label": ["x", "y"]}),
                            pa.table({"text": ["c", "d"], "label": ["v", "w"]})),
     "expected labels of the training split such as 'v', found none of them: 'x', 'y'"),
    (lambda: Classification(pa.table({"text": ["a", "b"], "label": ["x", "x"]}),
                            pa.table({"text": ["c", "d"], "label": ["x", "rare"]})),
     "found only 'x' in 2 rows; the training split has 'rare' too"),
    (lambda: Classification(pa.table({"text": ["a", "b"], "label": ["x", "y"]}),
                            pa.table({"text": ["c", "d"], "label": ["x", "x"]})),
     "training split: column 'label': expected two labels or more"),
    (lambda: Clustering(pa.table({"text": ["a", "b"], "label": ["x", "y"]})), "found another one in each of the 2 rows"),
    (lambda: RetrievalTask(collection([("q", "a", 0.0), ("q", "b", 0.0)])),
     "column 'score': expected a document judged above zero, found none in 2 rows"),
    (lambda: RetrievalTask(collection([("q", "a", 1.0)])), "corpus: expected two documents or more, found one"),
    (lambda: Reranking(collection([("q", "a", 1.0), ("q", "b", 1.0)])), "two judged documents or more of different grades"),
    (lambda: Reconstruction(pa.table({"source": ["a"], "target": ["a"]})), "found each linked to itself alone"),
    (lambda: Reconstruction(pa.table({"source": ["a", "a"], "target": ["b", "c"]})), "there is nothing to rank"),
    (lambda: LinkPrediction(*[pa.table({"source": ["a"], "target": ["b"]})] * 2), "that the training split does not hold"),
    (lambda: HypernymyRanking(pa.table({"child": ["a", "b"], "parent": ["b", "c"], "score": [1.0, 1.0]})),
     "column 'score': expected two scores or more that differ"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_cannot_be_judged_is_refused_by_name(make, message):
    with pytest.raises(DataError) as error:
        make().evaluate(ENTITIES if make().kind in ("reconstruction", "link-prediction") else MODEL)
    assert message in str(error.value)


PAIRS = pa.table({"sentence1": ["a", "b", "c"], "sentence2": ["d", "e", "f"], "score": [1.0, 2.0, 3.0]})
SAME = pa.table({"sentence1": ["a", "b"], "sentence2": ["d", "e"], "label": [0, 1]})
TOPICS = pa.table({"text": [f"text {i}" for i in range(8)], "label": ["x", "y"] * 4})
SEARCH = collection([("q", "a", 1.0), ("q", "b", 0.0), ("r", "b", 1.0), ("r", "a", 0.0)])


@pytest.mark.parametrize(
    "task",
    [
        Similarity(PAIRS),
        PairClassification(SAME),
        Classification(TOPICS),
        Classification(TOPICS, TOPICS, probe="knn"),
        Clustering(TOPICS),
        RetrievalTask(SEARCH),
        Reranking(SEARCH),
    ],
    ids=lambda task: task.kind,
)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_model_is_named_and_not_judged_as_a_bad_one(task, bad):
    broken = Given(lambda item: [1.0, bad if item in ("e", "b", "text 5") else 2.0])
    with pytest.raises(DataError, match="given gives a vector with NaN or infinity for '(e|b|text 5)'"):
        task.evaluate(broken)
    huge = Given(lambda item: [3e38, 3e38])
    with np.errstate(over="ignore"):
        judged(lambda: task, huge)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Similarity(PAIRS), "gives all 3 pairs the same score, 2"),
        (RetrievalTask(SEARCH), "gives every document the same score: it ranks nothing"),
        (Reranking(SEARCH), "gives all documents of a query the same score: it orders nothing"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_model_that_tells_nothing_apart_gets_no_figure(task, message):
    with pytest.raises(DataError, match=message):
        task.evaluate(Given(lambda item: [1.0, 1.0]))


def test_a_rare_label_is_left_out_and_said_and_stops_nothing():
    rows = {"text": [f"text {i % 2} {i}" for i in range(21)], "label": ["x", "y"] * 10 + ["rare"]}
    task = tasks.make("classification", rows)
    assert task.size()["texts"] == 20
    found = task.evaluate(MODEL)
    assert found.notes[0] == "1 row left out, the only one of its label each: 'rare'"
    every = pa.table({"text": ["a", "b"], "label": ["x", "y"]})
    assert without_rare_labels(every) == (every, ()), "nothing would be left: the error names them"


def test_two_rows_of_a_label_are_one_to_learn_from_and_one_to_judge_on():
    from umekomi.data.views import split_held_out

    rows = pa.table({"text": [f"text {i}" for i in range(42)], "label": ["x"] * 40 + ["rare"] * 2})
    for seed in range(5):
        split = split_held_out(Dataset("d", {"all": rows}), seed=seed)
        assert [part["label"].to_pylist().count("rare") for part in split.splits.values()] == [1, 1]


def test_what_a_figure_hides_is_said():
    train = pa.table({"text": ["a cat", "a dog", "seen"], "label": ["x", "y", "x"]})
    test = pa.table({"text": ["cats", "dogs", "seen", "else"], "label": ["x", "y", "x", "new"]})
    notes = Classification(test, train).evaluate(MODEL).notes
    assert notes == (
        "1 text with a label that the training split lacks: 'new'",
        "1 text of 4 stand in the training split too",
    )
    rows = [("q", "a", 1.0), ("q", "b", 0.0), ("lost", "a", 0.0)]
    found = RetrievalTask(collection(rows)).evaluate(RandomEmbedder(8))
    assert found.notes == ("1 query without a document judged above zero: each counts as zero, whatever a model finds",)
    assert found.main.values.tolist()[1] == 0
