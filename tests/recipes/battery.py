"""One battery for every recipe, as scikit-learn has for its estimators: :func:`check_recipe` holds a recipe, at its
``tiny()`` sizes and on a handful of rows, to what all of them promise."""

from __future__ import annotations

import contextlib
import dataclasses
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import pyarrow as pa
import pytest

from umekomi.data import RetrievalData
from umekomi.errors import UmekomiError, WrongUse
from umekomi.fields import declared, problem
from umekomi.models.base import Predictor, Scorer, sort_of
from umekomi.parts.learning import arrays
from umekomi.progress import Progress
from umekomi.recipes import OPTIONAL, REQUIRED, WORD_VECTORS, get

ANIMALS = ("cat", "dog", "hen", "cow")
TEXTS = [f"the {animal} number {i} sat on mat {i * 7 % 5}" for i in range(6) for animal in ANIMALS]
ASKED = [f"where did {animal} {i} sit" for i in range(6) for animal in ANIMALS]

SAMPLES: dict[str, Any] = {
    "texts": {"text": TEXTS},
    "labelled texts": {"text": TEXTS, "label": [text.split()[1] for text in TEXTS]},
    "pairs": {"anchor": ASKED, "positive": TEXTS},
    "judged pairs": {
        "query": [*ASKED, *ASKED],
        "document": [*TEXTS, *TEXTS[1:], TEXTS[0]],
        "score": [1.0] * len(TEXTS) + [0.0] * len(TEXTS),
    },
    "retrieval": {
        "queries": {"id": [f"q{i}" for i in range(len(ASKED))], "text": ASKED},
        "corpus": {"id": [f"d{i}" for i in range(len(TEXTS))], "text": TEXTS},
        "qrels": {
            "query_id": [f"q{i}" for i in range(len(ASKED))],
            "corpus_id": [f"d{i}" for i in range(len(TEXTS))],
            "score": [1] * len(TEXTS),
        },
    },
    "scored pairs": {
        "sentence1": ASKED,
        "sentence2": TEXTS,
        "score": [float(i % 6) for i in range(len(TEXTS))],
    },
    "labelled pairs": {
        "sentence1": [ASKED[i - i % 3] for i in range(len(TEXTS))],
        "sentence2": TEXTS,
        "label": [("entailment", "neutral", "contradiction")[i % 3] for i in range(len(TEXTS))],
    },
    "trees": {"tree": [f"({i % 5} (2 the) ({i % 3} (1 {text.split()[1]}) (3 sat)))" for i, text in enumerate(TEXTS)]},
    "documents": {"document": [TEXTS[i : i + 4] for i in range(0, len(TEXTS), 4)]},
    "hierarchy": {
        "child": ["cat", "dog", "hen", "mammal", "bird"],
        "parent": ["mammal", "mammal", "bird", *["animal"] * 2],
    },
    "graph": {"source": [0, 1, 2, 3, 4, 5], "target": [1, 2, 0, 4, 5, 3]},
    "triples": {"head": ["a", "b", "c", "d"], "relation": ["r", "r", "s", "s"], "tail": ["b", "c", "d", "a"]},
    "rows": {
        "age": [20 + i * 7 % 50 for i in range(24)],
        "colour": [("red", "blue", None)[i % 3] for i in range(24)],
        "target": [("no", "yes")[i * 7 % 50 > 20] for i in range(24)],
    },
    "captioned images": {"image": [[float(i % 4 == k) for k in range(4)] for i in range(len(TEXTS))], "text": TEXTS},
    "bags": {"left": [["a", "b"], ["c"], ["d"]], "right": [["x"], ["y"], ["x"]]},
}
"""A few rows of every shape."""
DEFINITIONS = {"anchor": TEXTS, "positive": [text.split()[1] for text in TEXTS]}
FIXED = frozenset({"bm25", "tfidf", "static", "linear", "word-average"})
"""Recipes in which nothing is random."""


def sample(name: str, shape: str) -> Any:
    """A few rows for this recipe."""
    data = DEFINITIONS if name == "dictrep" else SAMPLES[shape]
    return RetrievalData(*(pa.table(part) for part in data.values())) if shape == "retrieval" else pa.table(data)


@cache
def network() -> Any:
    """What neural recipes go on from here: a network of one layer."""
    from umekomi.models.scratch import untrained_transformer

    return untrained_transformer(
        "bert", [*TEXTS, *ASKED], layers=1, width=16, heads=2, vocabulary=300, max_length=32
    ).embedder()


def start(name: str) -> Any:
    """The model that a tiny fit of this recipe goes on from, or None."""
    kind = get(name)
    if kind.extra == "neural":
        pytest.importorskip("torch")
    if kind.begins in (None, OPTIONAL, WORD_VECTORS):
        return None
    if kind.begins == REQUIRED:
        from umekomi.models.entity import EntityEmbedder

        vectors = np.random.default_rng(0).normal(size=(len(ANIMALS), 6)).astype(np.float32)
        return EntityEmbedder(list(ANIMALS), vectors, name="animals")
    pytest.importorskip("sentence_transformers")
    return network()


def answers_of(model: Any) -> Any:
    """What the model gives, as a dense array: vectors, scores of pairs or predictions for rows."""
    if isinstance(model, Scorer):
        return model.score(ASKED[:8], TEXTS[:8])
    if isinstance(model, Predictor):
        return model.predict([{"age": 20 + i, "colour": "red"} for i in range(8)])
    items = [*(TEXTS[:8] if "text" in model.modalities else ()), *list(getattr(model, "names", ()))[:8]]
    found = model.encode(items)
    return found.toarray() if hasattr(found, "toarray") else np.asarray(found)


class Cut(BaseException):
    """The interruption, which nothing may catch."""


def check_recipe(name: str, folder: Any, monkeypatch: Any) -> Any:
    """The promises of one recipe on the shape of data that it likes best; the model, saved to ``folder / "model"``."""
    kind, begun = get(name), start(name)
    data = sample(name, kind.learns[0]) if kind.learns else None
    recipe = kind.tiny()
    before = None if begun is None else answers_of(begun)
    model = recipe.fit(data, start=begun, seed=1)
    assert sort_of(model) == kind.makes
    found = answers_of(model)
    assert np.isfinite(found).all()
    assert np.abs(found).sum() > 0
    if name not in FIXED:
        assert not np.array_equal(found, answers_of(recipe.fit(data, start=begun, seed=2))), "another seed, another"
    if begun is not None:
        assert np.array_equal(before, answers_of(begun)), "the model gone on from stays as it was"
    _card(model, recipe, begun)
    _resumed(recipe, data, begun, found, folder / "checkpoints", monkeypatch)
    model.save(folder / "model")
    return model


def check_shape(name: str, shape: str) -> None:
    """It learns from this shape too (beside the one it likes best, where it takes several sets)."""
    begun = start(name)
    kind, data = get(name), sample(name, shape)
    if kind.takes_sets:
        data = {"first": sample(name, kind.learns[0]), "second": data}
    model = kind.tiny().fit(data, start=begun, seed=1)
    assert np.isfinite(answers_of(model)).all()
    _card(model, kind.tiny(), begun)


def _card(model: Any, recipe: Any, begun: Any) -> None:
    card = model.card
    assert card["recipe"] == recipe.settings()
    assert card["paper"] == recipe.paper.cite()
    assert card["seed"] == 1
    assert card["licence"]
    assert isinstance(card["training"], dict)
    assert card.get("start") == (None if begun is None else begun.name)


def _resumed(recipe: Any, data: Any, begun: Any, whole: Any, place: Any, monkeypatch: Any) -> None:
    """Cut at its second look at the clock, a fit goes on to the same bits."""
    interrupted(lambda: recipe.fit(data, start=begun, seed=1, checkpoint=place), monkeypatch)
    again = recipe.fit(data, start=begun, seed=1, checkpoint=place)
    assert np.array_equal(whole, answers_of(again)), "one seed, one model: interrupted and resumed as uninterrupted"


def interrupted(fit: Any, monkeypatch: Any) -> None:
    """``fit()``, cut at its second look at the clock; whatever can be kept of it is."""
    seen = 0
    real = Progress.advance

    def advance(self: Any, count: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            raise Cut
        real(self, count)

    with monkeypatch.context() as patch, contextlib.suppress(Cut):
        patch.setattr(arrays, "SAVE_SECONDS", -1.0)
        _save_every_step(patch)
        patch.setattr(Progress, "advance", advance)
        fit()


def _save_every_step(patch: Any) -> None:
    try:
        from umekomi.parts.learning import sentences
    except ImportError:
        return
    real = sentences._train
    patch.setattr(sentences, "_train", lambda model, stage, run, steps: real(model, stage, run, 1))
    try:
        from umekomi.parts.learning import generating, labelled, modules
    except ImportError:
        return
    plain = modules.learn
    for each in (
        generating,
        labelled,
        modules,
    ):  # the first two have it by name, recipes with a loop of their own ask the last
        patch.setattr(each, "learn", lambda *given, **how: plain(*given, **how | {"save_seconds": 0.0}))


def check_fields_of(name: str) -> int:
    """Every field with a closed choice or a range refuses what is outside, in one line that names it; how many."""
    kind, checked = get(name), 0
    for field, hint in declared(kind).items():
        wrong = _wrong(hint, getattr(kind(), field))
        if wrong is None:
            continue
        checked += 1
        with pytest.raises(WrongUse) as error:
            dataclasses.replace(kind(), **{field: wrong})
        line = str(error.value)
        assert line.startswith(f"{name}, {field}: expected ")
        assert "\n" not in line
    return checked


def _wrong(hint: Any, like: Any) -> Any:
    if get_origin(hint) is Literal:
        return "nonsense"
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    for number in (-1, -1.5, 7, 1e9):
        value = tuple(number for _ in like) if isinstance(like, tuple) else number
        if problem(value, plain) is None and problem(value, hint) is not None:
            return value
    return object() if problem(object(), hint) is not None else None


def check_data_of(name: str) -> None:
    """Other columns, no rows, and a missing value are one line each that names the recipe."""
    kind, begun = get(name), start(name)
    if not kind.learns:
        return
    recipe, shape = kind.tiny(), kind.learns[0]
    for wrong in ({"colour": ["red"]}, *_damaged(sample(name, shape))):
        with pytest.raises(UmekomiError) as error:
            recipe.fit(wrong, start=begun)
        line = str(error.value)
        assert line.startswith(name), line
        assert "\n" not in line
    if kind.begins is None:
        with pytest.raises(WrongUse, match=f"{name} begins from nothing; found start 'minilm'"):
            recipe.fit(sample(name, shape), start="minilm")
    if kind.begins == REQUIRED:
        with pytest.raises(WrongUse, match=f"{name} needs start: "):
            recipe.fit(sample(name, shape))


def _damaged(data: Any) -> list[Any]:
    """No rows; nothing in the first column's second row."""
    if isinstance(data, RetrievalData):
        return []
    first = "target" if "target" in data.column_names else data.column_names[0]
    values = data[first].to_pylist()
    values[1] = None
    return [
        data.slice(0, 0),
        data.set_column(data.column_names.index(first), first, pa.array(values, data[first].type)),
    ]
