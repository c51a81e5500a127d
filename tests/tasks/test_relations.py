"""Labelled pairs of any labels: judged by a probe on the pair's features, in compare beside recipes that learn them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from umekomi.data import Dataset
from umekomi.errors import DataError
from umekomi.models.entity import EntityEmbedder
from umekomi.recipes import get
from umekomi.tasks import build, default_kind, make

RNG = np.random.default_rng(0)


def rows(count=120, names=("entailment", "neutral", "contradiction")):
    colours, things = ["red", "blue", "green"], ["ball", "box", "car"]
    made = {"sentence1": [], "sentence2": [], "label": []}
    for number in range(count):
        colour, other = RNG.permutation(colours)[:2]
        thing = things[RNG.integers(3)]
        said = (f"{thing} {colour}", f"{thing} {other}", f"{thing} not {colour}")[number % 3]
        for column, value in zip(made, (f"{thing} {colour} {number}", said, names[number % 3]), strict=True):
            made[column].append(value)
    return pa.table(made)


def test_the_probe_reads_the_features_of_both_texts():
    """What is told by the product of two vectors alone, an exclusive or, is learned from them."""

    class Embedder(EntityEmbedder):
        modalities = frozenset({"text", "entity"})

    names = [f"t{i}" for i in range(40)]
    signs = np.where(RNG.random(40) < 0.5, -1.0, 1.0)
    model = Embedder(names, np.stack([signs, np.ones(40)], 1).astype(np.float32))
    pairs = RNG.integers(0, 40, (300, 2))
    label = [("same", "other")[int(signs[a] != signs[b])] for a, b in pairs]
    table = pa.table(
        {"sentence1": [names[a] for a, _ in pairs], "sentence2": [names[b] for _, b in pairs], "label": label}
    )
    found = make(
        "relation", {"sentence1": table["sentence1"], "sentence2": table["sentence2"], "label": table["label"]}
    )
    result = found.evaluate(model)
    assert result.main.value == 1.0
    assert result.notes == ("5-fold cross-validation by first text",)


def test_labels_choose_the_task():
    assert default_kind(rows()) == "relation"
    assert default_kind(rows(names=("1", "0", "0"))) == "pair-classification"


def test_the_training_split_teaches_the_probe():
    data = Dataset("colours", {"train": rows(240), "test": rows(60)})
    task = build("relation", data, "test", "colours")
    assert task.size() == {"pairs": 60, "training pairs": 240}
    model = get("tfidf")().fit(
        {"text": data["train"]["sentence1"].to_pylist() + data["train"]["sentence2"].to_pylist()}
    )
    result = task.evaluate(model)
    assert result.main.value > 0.6
    assert set(result.scores) == {"accuracy", "macro f1"}


def test_labels_that_cannot_be_judged_are_one_line():
    for splits, line in (
        ({"test": rows(names=("a", "a", "a"))}, "expected two labels or more, found only 'a' in 120 rows"),
        ({"train": rows(names=("x", "y", "z")), "test": rows()}, "expected labels of the training split such as 'x'"),
    ):
        with pytest.raises(DataError, match=line):
            build("relation", Dataset("colours", splits), "test", "colours")


def at_tiny_sizes(kind, monkeypatch):
    tiny = kind.tiny()
    monkeypatch.setattr(kind, "small", lambda: tiny)


def test_compare_trains_on_the_training_split_and_judges_on_the_rest(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from umekomi.models import word2vec
    from umekomi.recipes.infersent import InferSent
    from umekomi.recipes.self_attentive import SelfAttentive
    from umekomi.verbs.compare import compare

    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    for kind in (InferSent, SelfAttentive):
        at_tiny_sizes(kind, monkeypatch)
    words = ["red", "blue", "green", "ball", "box", "car", "not"]
    word2vec.write(EntityEmbedder(words, RNG.normal(size=(7, 5)).astype(np.float32)), tmp_path / "w.vec")
    done = compare(
        ["infersent", "self-attentive", "tfidf", "random"],
        Dataset("colours", {"train": rows(240), "test": rows(60)}),
        out=tmp_path / "c",
        start=str(tmp_path / "w.vec"),
    )
    assert not done.skipped
    by_name = {row.candidate: row for row in done.rows}
    assert set(by_name) == {"infersent", "self-attentive", "tfidf", "random"}
    assert by_name["infersent"].start == str(tmp_path / "w.vec")
    assert done.rows[0].metric == "accuracy"


def test_compare_of_labelled_texts_too(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from umekomi.recipes.self_attentive import SelfAttentive
    from umekomi.verbs.compare import compare

    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    at_tiny_sizes(SelfAttentive, monkeypatch)
    table = rows(150)
    texts = pa.table({"text": table["sentence2"], "label": table["label"]})
    done = compare(["self-attentive", "tfidf", "infersent"], texts, out=tmp_path / "c")
    assert {row.candidate for row in done.rows} == {"self-attentive", "tfidf"}
    assert "infersent learns from labelled pairs" in done.skipped["infersent"]
