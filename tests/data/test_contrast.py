import pyarrow as pa
import pytest

from umekomi.data.columns import RetrievalData
from umekomi.data.contrast import (
    concatenate,
    contrastive_rows,
    entailment_triples,
    named_sets,
    paraphrase_pairs,
    same_class_pairs,
    stages,
)
from umekomi.errors import DataError

PAIRS = {"anchor": ["a", "b"], "positive": ["x", "y"]}
CLASSES = {"text": ["one", "two", "three", "four", "five"], "label": ["u", "u", "v", "v", "w"]}


def test_pairs_take_candidates_from_other_rows():
    table = contrastive_rows(PAIRS, "x", instruction="find: ")
    assert table.column_names == ["anchor", "positive", "instruction", "document_instruction", "label"]
    assert table["label"].to_pylist() == [[1, -1, 0]] * 2 and table["instruction"].to_pylist() == ["find: "] * 2


def test_negatives_are_counted_and_pushed_to_the_front():
    table = contrastive_rows({**PAIRS, "negative_2": ["p", ""], "negative_10": ["", "r"], "negative_1": ["", "q"]}, "x")
    assert [name for name in table.column_names if name.startswith("negative")] == [
        "negative_1",
        "negative_2",
        "negative_10",
    ]
    assert table["label"].to_pylist() == [[1, -1, 1], [1, -1, 2]]
    assert [table[name].to_pylist() for name in ("negative_1", "negative_2", "negative_10")] == [
        ["p", "q"],
        ["", "r"],
        ["", ""],
    ]


def test_a_rows_own_instruction_goes_before():
    table = contrastive_rows(pa.table({**PAIRS, "instruction": ["mine: ", None]}), "x", instruction="all: ")
    assert table["instruction"].to_pylist() == ["mine: ", "all: "]


def test_retrieval_and_judged_pairs():
    retrieval = RetrievalData(
        pa.table({"id": ["q"], "text": ["question"]}),
        pa.table({"id": ["d", "e"], "text": ["right", "wrong"]}),
        pa.table({"query_id": ["q"], "corpus_id": ["d"], "score": [1.0]}),
    )
    assert contrastive_rows(retrieval, "x")["positive"].to_pylist() == ["right"]
    assert contrastive_rows({"query": ["q", "q"], "document": ["d", "e"], "score": [2.0, 0.0]}, "x")[
        "positive"
    ].to_pylist() == ["d"]


def test_examples_come_from_the_class_and_negatives_from_others():
    table, groups = same_class_pairs(CLASSES, "x", negatives=2, seed=3)
    label_of = dict(zip(CLASSES["text"], CLASSES["label"], strict=True))
    assert table.num_rows == 4 and groups == [0, 0, 1, 1]  # the class of one text has no example
    for row in table.to_pylist():
        assert label_of[row["anchor"]] == label_of[row["positive"]] and row["anchor"] != row["positive"]
        assert all(label_of[row[name]] != label_of[row["anchor"]] for name in ("negative_1", "negative_2"))
    assert same_class_pairs(CLASSES, "x", negatives=2, seed=3)[0].equals(table)


def test_label_names_as_positives():
    table, groups = same_class_pairs(CLASSES, "x", labels="label", negatives=5)
    assert table["positive"].to_pylist() == CLASSES["label"] and groups == [0, 0, 1, 1, 2]
    for row in table.to_pylist():
        assert {row["negative_1"], row["negative_2"]} == {"u", "v", "w"} - {row["positive"]} and row["negative_3"] == ""


def test_labelled_texts_have_no_in_batch_negatives_and_a_group():
    table = contrastive_rows(CLASSES, "x", negatives=1)
    assert table["label"].to_pylist() == [[0, 0, 1], [0, 0, 1], [0, 1, 1], [0, 1, 1]]
    assert contrastive_rows(CLASSES, "x", in_batch=True)["label"].to_pylist()[0] == [1, 0, 1]


@pytest.mark.parametrize(
    "names", [("entailment", "neutral", "contradiction"), (0, 1, 2), ("Entailment", "NEUTRAL", "Contradiction")]
)
def test_entailment_with_contradictions(names):
    yes, maybe, no = names
    data = {
        "sentence1": ["p", "p", "p", "q", "q"],
        "sentence2": ["e1", "n", "c", "e2", "n"],
        "label": [yes, maybe, no, yes, maybe],
    }
    assert entailment_triples(data, "x").to_pylist() == [
        {"anchor": "p", "positive": "e1", "negative_1": "c"},
        {"anchor": "q", "positive": "e2", "negative_1": ""},
    ]
    assert contrastive_rows(data, "x")["label"].to_pylist() == [[1, -1, 1], [1, -1, 0]]


def test_well_scored_pairs_both_ways():
    data = {"sentence1": ["a", "b", "c"], "sentence2": ["x", "y", "z"], "score": [5.0, 4.0, 3.9]}
    assert paraphrase_pairs(data, "x").to_pylist() == [
        {"anchor": p, "positive": q} for p, q in (("a", "x"), ("b", "y"), ("x", "a"), ("y", "b"))
    ]
    assert paraphrase_pairs({**data, "score": [1.0, 0.8, 0.78]}, "x").num_rows == 4


def test_blended_tables_have_one_shape():
    one, two = contrastive_rows({**PAIRS, "negative_7": ["n", "m"]}, "x"), contrastive_rows(CLASSES, "x", negatives=2)
    both = concatenate([one, two])
    assert (
        both.num_rows == 6
        and both["negative_1"].to_pylist()[:2] == ["n", "m"]
        and both["negative_2"].to_pylist()[:2] == ["", ""]
    )
    assert both["label"].to_pylist()[0] == [1, -1, 1] and both["label"].to_pylist()[2] == [0, 0, 2]


def test_sets_and_stages_by_name():
    weak, strong = stages({"weak web": PAIRS, "mine": pa.table(PAIRS)}, "x")
    assert list(weak) == ["weak web"] and list(strong) == ["mine"]
    assert list(named_sets(PAIRS, "mine")) == ["mine"] and list(named_sets(pa.table(PAIRS), "mine")) == ["mine"]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"anchor": ["a", " "], "positive": ["x", "y"]}, "row 2, column 'anchor': expected text, found empty text"),
        ({"anchor": ["a"], "positive": [""]}, "column 'positive': expected text, found empty text"),
        ({**PAIRS, "negative": ["n", "y"]}, r"row 2, column 'negative': expected a text other than the positive"),
        ({"text": ["a", "b"], "label": ["u", "u"]}, "two classes or more"),
        ({"text": ["a", "b"], "label": ["u", "v"]}, "no class has two different texts"),
        ({"sentence1": ["a"], "sentence2": ["b"], "label": ["neutral"]}, "expected pairs labelled entailment"),
        ({"sentence1": ["a"], "sentence2": ["b"], "score": [2.0]}, "no pair is scored"),
    ],
)
def test_bad_rows_are_one_line(data, match):
    with pytest.raises(DataError, match=match) as error:
        contrastive_rows(data, "x")
    assert "\n" not in str(error.value)
