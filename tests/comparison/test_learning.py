"""What a comparison hands to the recipes it learns."""

from types import SimpleNamespace

import pyarrow as pa
import pytest

from umekomi.comparison.judging import Judging
from umekomi.data.shapes import shape_name
from umekomi.errors import DataError, WrongUse
from umekomi.recipes import get

PAIRS = pa.table({"anchor": ["a", "b"], "positive": ["c", "d"]})
TEXTS = pa.table({"text": ["One sentence stands here. Another one of several words comes behind it."] * 2})


def judging(tmp_path, train, own=TEXTS, start="minilm"):
    plan = SimpleNamespace(train=train, own_texts=own, dataset=SimpleNamespace(name="d"))
    return Judging(tmp_path, "base", plan, start, 0, 8, False)


@pytest.mark.parametrize("name", ["csr", "simcse", "near2"])
def test_pairs_are_learned_from_where_there_are_some(name, tmp_path):
    assert judging(tmp_path, PAIRS)._rows(get(name)()) is PAIRS


def test_recipes_that_need_no_pairs_learn_from_the_texts_searched(tmp_path):
    assert judging(tmp_path, None)._rows(get("csr")()) is TEXTS
    assert judging(tmp_path, TEXTS, PAIRS)._rows(get("simcse")()) is PAIRS, "which are seen as texts"
    assert judging(tmp_path, PAIRS)._rows(get("bm25")()) is TEXTS
    assert judging(tmp_path, PAIRS)._rows(get("untrained")()) is None


def test_a_recipe_of_pairs_needs_a_training_split(tmp_path):
    with pytest.raises(DataError, match="near2 learns from pairs or judged pairs or retrieval, and there is no"):
        judging(tmp_path, None)._rows(get("near2")())
    assert shape_name(judging(tmp_path, TEXTS)._rows(get("near2")())) == "retrieval", "made of sentences of the texts"


def test_the_model_to_begin_from_is_used(tmp_path, monkeypatch):
    seen = {}

    def fit(self, rows, *, start, **options):
        seen[self.name] = start
        return SimpleNamespace(card={})

    from umekomi.recipes import Recipe

    monkeypatch.setattr(Recipe, "fit", fit)
    run = judging(tmp_path, PAIRS, start="hashing")
    for name in ("csr", "near2", "dictrep", "bm25", "poincare"):
        start = "hashing" if name not in ("bm25", "poincare") else None
        run._learn(get(name)(), start, tmp_path / name)
        assert seen[name] == start
    candidate = SimpleNamespace(recipe=get("csr")(), name="csr")
    assert run._identity(candidate) != judging(tmp_path, PAIRS)._identity(candidate), "another start, another model"


def test_verbs_that_take_a_model_say_what_a_recipe_needs_first(tmp_path):
    from umekomi import evaluate, search

    (tmp_path / "t.txt").write_text("one text\nanother text\n")
    with pytest.raises(WrongUse, match="poincare is a recipe that learns from hierarchy or graph, not a model: train"):
        evaluate("poincare", "reconstruction", {"child": ["a"], "parent": ["b"]})
    with pytest.raises(WrongUse, match="simcse is a recipe that learns from .*, not a model: train it first"):
        search("simcse", "a query", source=tmp_path / "t.txt")
