import numpy as np
import pyarrow as pa
import pytest

from umekomi.data.columns import COLUMNS
from umekomi.data.shapes import RETRIEVAL, SHAPES, shape_name, shape_of, unused_columns, view_as, view_name
from umekomi.errors import DataError
from umekomi.recipes import get, names
from umekomi.tasks import KINDS


def table(*columns):
    return pa.table({name: [f"{name} {i}" for i in range(3)] for name in columns})


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_known_by_its_columns(name):
    about = SHAPES[name]
    assert shape_name(table(*about.columns)) == name
    assert set(about.columns) | set(about.more) <= set(COLUMNS), "every column is a standard one"
    assert set(about.texts) | set(about.together) | ({about.classes} - {""}) <= set(about.columns)
    assert not about.task or about.task in KINDS


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (("sentence1", "sentence2", "condition", "score"), "conditioned pairs"),
        (("image", "text"), "captioned images"),
        (("audio", "text"), "described sounds"),
        (("image", "label"), "labelled images"),
        (("essay", "prompt", "score"), "essays"),
        (("age", "city", "target"), "rows"),
        (("text", "label", "id"), "labelled texts"),
        (("anchor", "positive", "text"), "pairs"),
        (("sentence1", "sentence2", "score", "anchor", "positive"), "scored pairs"),
    ],
)
def test_the_shape_with_most_columns_wins(columns, name):
    assert shape_name(table(*columns)) == name


def test_a_condition_a_picture_or_a_sound_never_vanishes():
    assert SHAPES["captioned images"].media == {"image": "image"}
    assert SHAPES["described sounds"].media == {"audio": "audio"}
    assert unused_columns(table("text", "condition", "colour", "id")) == ["condition"]
    assert unused_columns(table("anchor", "positive", "negative_1", "instruction")) == []
    assert unused_columns(table("sentence1", "sentence2", "score", "condition")) == []


def test_a_recipe_says_which_columns_it_does_not_use(capsys):
    get("tfidf")().fit(table("text", "condition", "image"))
    assert "note: tfidf does not use the column condition" in capsys.readouterr().err


def test_data_are_seen_as_what_is_wanted():
    pairs = table("anchor", "positive")
    assert view_as(pairs, ("texts", "pairs"), "x") is pairs, "as it is where it is one of them"
    assert view_as(pairs, ("texts",), "x")["text"].to_pylist()[0] == "positive 0"
    judged = pa.table({"query": ["a", "b"], "document": ["c", "d"], "score": [1, 0]})
    assert view_as(judged, ("pairs", "texts"), "x").to_pydict() == {"anchor": ["a"], "positive": ["c"]}
    assert view_name(RETRIEVAL, ("hierarchy",)) is None
    with pytest.raises(
        DataError, match=r"^x learns from hierarchy \(child, parent\); found pairs \(anchor, positive\)$"
    ):
        view_as(pairs, ("hierarchy",), "x")
    with pytest.raises(DataError, match=r"^x learns from texts \(text\); found colour$"):
        view_as(table("colour"), ("texts",), "x")


def test_a_text_is_learned_from_once_unless_how_often_it_stands_matters():
    """Texts of pairs were taken once each and those of a table of texts as often as they stood: LSA took four times as
    long and gave other vectors."""
    texts = pa.table({"text": ["b", "a", "b", "c", "a"], "id": ["1", "2", "3", "4", "5"]})
    assert view_as(texts, ("texts",), "x").to_pydict() == {"text": ["b", "a", "c"], "id": ["1", "2", "4"]}
    assert view_as(texts, ("texts",), "x", repeats=True) is texts
    labelled = texts.append_column("label", pa.array([0, 1, 0, 1, 1]))
    assert view_as(labelled, ("labelled texts", "texts"), "x") is labelled, "a label may differ"
    words = ["a b c", "b c d", "c d e", "d e f"] * 2
    often, once = (get("lsa")(dimensions=2).fit({"text": rows}) for rows in (words * 9, words))
    assert np.array_equal(often.encode(words), once.encode(words))


def test_what_recipes_name_are_shapes():
    for name in names():
        assert set(get(name).learns) <= {*SHAPES, "retrieval"}


def test_no_shape_is_asked_for_in_vain():
    with pytest.raises(DataError, match="columns colour make no shape of data known here; expected one of: anchor"):
        shape_of(table("colour"))
