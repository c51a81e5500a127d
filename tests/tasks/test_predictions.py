"""Rows with a target: how they are read, split, learned from and judged."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_absolute_error, r2_score, roc_auc_score

from umekomi.data import Dataset, load, shape_name
from umekomi.data.rows import targets
from umekomi.data.views import split_held_out
from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.models import load as load_model
from umekomi.models.base import Predictor
from umekomi.models.tabular import RowEncoder
from umekomi.recipes import get
from umekomi.statistics import STATISTICS
from umekomi.tasks import default_kind, make
from umekomi.verbs.compare import compare
from umekomi.verbs.evaluate import evaluate
from umekomi.verbs.info import info
from umekomi.verbs.train import train

RANDOM = np.random.default_rng(0)
AGE = RANDOM.integers(18, 90, 120).tolist()
COLOUR = RANDOM.choice(["red", "green", "blue"], 120).tolist()
CLICK = [int(age > 50) ^ int(RANDOM.random() < 0.1) for age in AGE]
ROWS = {"age": AGE, "colour": COLOUR, "target": CLICK}


def numbers(classes, values):
    return {"x": list(range(len(values))), "target": values}


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["no", "yes", "no"], ("no", "yes")),
        ([True, False, True], ("false", "true")),
        ([0, 1, 1], ("0", "1")),
        ([0.0, 1.0, 1.0], ("0", "1")),
        ([1, 2, 3], ()),
        ([0.5, 1.5, 2.25], ()),
    ],
)
def test_what_is_a_class_and_what_a_number(values, classes):
    found, codes = targets(pa.table({"target": values}), "rows")
    assert found == classes
    words = [str(value).lower() if isinstance(value, bool) else value for value in values]
    if classes and isinstance(words[0], str):
        assert [classes[code] for code in codes] == words
    if not classes:
        assert codes.tolist() == values


def test_statistics_are_scikit_learns():
    gold, score = RANDOM.integers(0, 2, 60), RANDOM.integers(0, 9, 60).astype(float)
    assert STATISTICS["auc"](np.column_stack([gold, score])) == pytest.approx(roc_auc_score(gold, score))
    values = RANDOM.normal(size=(50, 2))
    assert STATISTICS["r2"](values) == pytest.approx(r2_score(values[:, 0], values[:, 1]))
    assert np.isnan(STATISTICS["auc"](np.ones((4, 2))))


def test_rows_of_a_file_are_numbers_and_texts(tmp_path, capsys):
    (tmp_path / "r.csv").write_text(
        "age,price,code,when,target\n31,1.50,007,x,4.0\n42,,010,y,5.5\n,2,011,3,6.25\n7,3,099,z,1\n"
    )
    table = load(tmp_path / "r.csv")["all"]
    assert shape_name(table) == "rows" and default_kind(table) == "prediction"
    assert [str(kind) for kind in table.schema.types] == ["int64", "double", "string", "string", "double"]
    assert table["age"].to_pylist() == [31, 42, None, 7]
    (tmp_path / "n.csv").write_text("age,target\n31,1\n?,0\n")
    assert str(load(tmp_path / "n.csv")["all"]["age"].type) == "string"
    assert "the column 'age' stays text, since '?' (line 3) is no number" in capsys.readouterr().err
    (tmp_path / "g.csv").write_text("source,target\n1,2\n2,3\n")
    assert shape_name(load(tmp_path / "g.csv")["all"]) == "graph"
    assert shape_name(pa.table({"text": ["a"], "target": [1]})) == "rows", "a target is never passed over"


def test_a_held_out_part_of_rows_keeps_equal_rows_together_and_the_classes_shares():
    twice = {name: values * 2 for name, values in ROWS.items()}
    split = split_held_out(Dataset("rows", {"all": pa.table(twice)}))
    keys = [
        {(age, colour) for age, colour in zip(t["age"].to_pylist(), t["colour"].to_pylist(), strict=True)}
        for t in split.values()
    ]
    assert not keys[0] & keys[1]
    shares = [np.mean(t["target"].to_pylist()) for t in split.values()]
    assert abs(shares[0] - shares[1]) < 0.12


def test_the_linear_model_is_scikit_learns_and_its_gradient_is_zero(tmp_path):
    model = get("linear")(penalty=2.0).fit(ROWS)
    x = RowEncoder.fit(pa.table(ROWS), "x").encode(pa.table(ROWS).to_pylist(), "x").toarray()
    other = LogisticRegression(C=0.5, max_iter=1000).fit(x, CLICK)
    rows = [{"age": age, "colour": colour} for age, colour in zip(AGE, COLOUR, strict=True)]
    found = model.predict(rows)
    assert found == pytest.approx(other.predict_proba(x), abs=1e-5)
    w = model.weights[:, 0].astype(float)
    assert np.abs(x.T @ (found[:, 1] - CLICK) + 2.0 * w).max() < 0.02, "the least of the written objective"
    model.save(tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert isinstance(again, Predictor) and np.array_equal(again.predict(rows), found) and again.classes == ("0", "1")
    heights = {
        "age": AGE,
        "colour": COLOUR,
        "target": [0.5 * age + len(colour) for age, colour in zip(AGE, COLOUR, strict=True)],
    }
    line = get("linear")().fit(heights)
    assert line.classes == ()
    assert line.predict(rows) == pytest.approx(Ridge(1.0).fit(x, heights["target"]).predict(x), abs=1e-3)
    three = get("linear")().fit({"age": AGE, "target": COLOUR})
    assert three.predict(rows).sum(1) == pytest.approx(1) and three.classes == ("blue", "green", "red")


def test_missing_and_unknown_values_are_told_apart():
    model = get("linear")(min_count=1).fit(
        {
            "x": [1.0, None, 3.0, None],
            "c": ["a", None, "b", "a"],
            "flag": [True, False, True, True],
            "target": [0, 1, 0, 1],
        }
    )
    found = model.predict(
        [
            {"x": 2.0, "c": "a", "flag": True},
            {"x": None, "c": "a", "flag": True},
            {"x": 2.0, "c": "unseen", "flag": True},
        ]
    )
    assert found[1, 1] > found[0, 1], "that x is missing speaks for the second class"
    assert found[2, 1] != found[0, 1]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"age": 3}, "linear, row 2: expected the column 'colour', found age"),
        ({"age": "old", "colour": "red"}, "linear, row 2, column 'age': expected a number, found 'old'"),
        ({"age": 3, "colour": 7}, "linear, row 2, column 'colour': expected a text, found 7"),
        ({"age": float("inf"), "colour": "red"}, "linear, row 2, column 'age': expected a number, found inf"),
        ("old", "linear: expected rows, item 2 is str"),
    ],
)
def test_a_bad_row_is_one_line(row, said):
    model = get("linear")().fit(ROWS)
    with pytest.raises(WrongUse) as error:
        model.predict([{"age": 3, "colour": "red"}, row])
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"target": [0, 1]}, "linear: expected columns to predict 'target' from, found none beside it"),
        ({"x": [1, 2], "target": [3, 3]}, "linear: column 'target': expected values that differ, found only '3'"),
        (
            {"x": [[1], [2]], "target": [0, 1]},
            "linear: column 'x': expected numbers, texts or truth values, found list<item: int64>",
        ),
        (
            {"x": [1, 2], "target": [0, None]},
            "linear: the data, row 2, column 'target': expected a value, found nothing",
        ),
        (
            {"x": [1, 2, 3], "target": [0, 1.5, float("inf")]},
            "linear: row 3, column 'target': expected a finite number, found inf",
        ),
    ],
)
def test_bad_rows_to_learn_from_are_one_line(data, said):
    with pytest.raises(UmekomiError) as error:
        get("linear")().fit(data)
    assert str(error.value) == said


def test_two_classes_more_classes_and_numbers_are_judged_by_their_own_figures():
    half = {name: pa.table(ROWS).slice(place, 60) for name, place in (("train", 0), ("test", 60))}
    model = get("linear")().fit(half["train"])
    result = evaluate(model, make("prediction", Dataset("rows", half)))
    chance = model.predict(half["test"].drop(["target"]).to_pylist())[:, 1]
    gold = half["test"]["target"].to_pylist()
    assert list(result.scores) == ["auc", "log loss", "accuracy"]
    assert result.value == pytest.approx(roc_auc_score(gold, chance))
    assert result.scores["log loss"].value == pytest.approx(log_loss(gold, chance), abs=1e-6)
    low, high = result.rows()[0][2:]
    assert low < result.value < high

    colours = {"age": AGE, "hue": COLOUR, "target": COLOUR}
    result = evaluate(get("linear")().fit(colours), "prediction", colours)
    assert list(result.scores) == ["accuracy", "log loss"] and result.value == 1.0
    strange = {**colours, "target": ["grey", *COLOUR[1:]]}
    result = evaluate(get("linear")().fit(colours), "prediction", strange)
    assert result.notes == ("1 row of a class that the model does not know",) and result.value < 1

    line = {"x": AGE, "target": [age * 2.0 + 1 for age in AGE]}
    result = evaluate(get("linear")().fit(line), "prediction", line)
    assert list(result.scores) == ["r2", "mae"] and result.value > 0.999
    model = get("linear")().fit(line)
    assert result.scores["mae"].value == pytest.approx(
        mean_absolute_error(line["target"], model.predict(pa.table(line).to_pylist()))
    )


def test_what_does_not_fit_is_one_line():
    line, classes = {"x": AGE, "target": [age * 2.0 for age in AGE]}, {"x": AGE, "target": COLOUR}
    with pytest.raises(WrongUse, match="column 'target' is a number; linear predicts the classes blue, green, red"):
        evaluate(get("linear")().fit(classes), "prediction", line)
    with pytest.raises(WrongUse, match="expected one of 3 classes, linear predicts a number"):
        evaluate(get("linear")().fit(line), "prediction", classes)
    other = {"x": AGE, "target": [{"red": "r", "blue": "b", "green": "g"}[each] for each in COLOUR]}
    with pytest.raises(DataError, match="expected classes of linear such as 'blue', found 'b'"):
        evaluate(get("linear")().fit(classes), "prediction", other)
    with pytest.raises(
        WrongUse, match="prediction judges predictors; found an object|prediction judges predictors; hashing"
    ):
        evaluate("hashing", "prediction", line)


def test_rows_all_the_way(tmp_path):
    """A file, train, info, evaluate, compare."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pa.table(ROWS).to_pylist()))
    train("linear", tmp_path / "rows.jsonl", tmp_path / "m")
    known = info(str(tmp_path / "m"))
    assert (known["kind"], known["predicts"], known["from"]) == (
        "linear-predictor",
        "the class, of 0, 1",
        "age, colour",
    )
    assert evaluate(tmp_path / "m", "prediction", tmp_path / "rows.jsonl").value > 0.8
    named = evaluate(tmp_path / "m", str(tmp_path / "rows.jsonl"))
    assert named.metric == "auc", "what train says to type next: a file by its main task"
    found = compare(["linear", str(tmp_path / "m"), "tfidf"], tmp_path / "rows.jsonl", out=tmp_path / "c")
    assert found.task == "prediction" and found.metric == "auc" and found.baseline == "linear"
    assert found.skipped == {"tfidf": "prediction judges predictors; tfidf makes an embedder"}
    row = found.rows[0]
    assert row.unit == "rows" and row.items_per_second > 0 and row.bytes_per_item is None
    assert str(tmp_path / "m") in found.differences
    assert found.next_command == f"umekomi serve {next(r for r in found.rows if r.candidate == found.winner).model}"
    assert any(note == "target: the class, of 0, 1" for note in found.notes)
    page = (tmp_path / "c" / "report.html").read_text()
    samples = json.loads(page.split('id="data">')[1].split("</script>")[0].replace("<\\/", "</"))["samples"]
    assert "age: " in samples[0]["query"] and samples[0]["gold"] in ("0", "1")


def test_named_sets_of_rows():
    for name, classes in (("breast-cancer", 2), ("wine", 3), ("diabetes", 0)):
        (table,) = load(name).values()
        assert shape_name(table) == "rows"
        assert len(targets(table, name)[0]) == classes
