import pyarrow as pa
import pytest

from umekomi.data import DataError, Dataset
from umekomi.data.shapes import pairs, texts
from umekomi.data.views import as_retrieval, inverse_cloze, split_held_out


def made(**columns):
    return Dataset("made", {"all": pa.table(columns)})


def test_carving_keeps_shared_items_on_one_side():
    anchors = [f"q{i // 2}" for i in range(200)]
    positives = [f"d{i if i % 10 else 0}" for i in range(200)]
    split = split_held_out(made(anchor=anchors, positive=positives))
    assert split["train"].num_rows + split["test"].num_rows == 200
    for column in ("anchor", "positive"):
        assert not set(split["train"][column].to_pylist()) & set(split["test"][column].to_pylist())
    assert 20 < split["test"].num_rows < 100
    assert split_held_out(made(anchor=anchors, positive=positives))["test"].equals(split["test"])


def test_carving_labelled_texts_keeps_shares_and_duplicates_together():
    rows = [f"text {i % 80}" for i in range(100)]
    labels = ["a" if i % 4 else "b" for i in range(100)]
    split = split_held_out(made(text=rows, label=labels))
    assert not set(split["train"]["text"].to_pylist()) & set(split["test"]["text"].to_pylist())
    assert set(split["test"]["label"].to_pylist()) == {"a", "b"}


def test_nothing_can_be_carved_of_one_component():
    with pytest.raises(DataError, match="hang together"):
        split_held_out(made(anchor=["q"] * 5, positive=list("abcde")))


def test_retrieval_of_pairs_and_of_judged_pairs():
    found = as_retrieval(pa.table({"anchor": ["q", "q", "r"], "positive": ["a", "b", "a"]}))
    assert found.judgements() == {"q0": {"d0": 1, "d1": 1}, "q1": {"d0": 1}}
    found = as_retrieval(pa.table({"query": ["q", "q"], "document": ["a", "b"], "score": [2.0, 0.0]}))
    assert found.judgements() == {"q0": {"d0": 2, "d1": 0}}
    assert pairs(found).num_rows == 1


def test_cloze_of_english_and_japanese():
    found = inverse_cloze(
        [
            "The cat is here. It sat on the mat for a very long time indeed.",
            "too short",
            "梅雨は日本などで見られる雨季である。東アジアの広い範囲で雨や曇りの日が多くなる時期をいう。",
        ]
    )
    assert [query for query, _ in found] == ["The cat is here.", "梅雨は日本などで見られる雨季である。"]
    assert all(query not in rest for query, rest in found)


def test_texts_of_every_shape():
    assert texts(pa.table({"text": ["a", "a", "b"]})) == ["a", "b"]
    assert texts(pa.table({"anchor": ["q"], "positive": ["p"]})) == ["p", "q"]
    assert texts(pa.table({"document": [["One.", "Two."]]})) == ["One. Two."]
    with pytest.raises(DataError, match="learns from texts; found hierarchy"):
        texts(pa.table({"child": ["a"], "parent": ["b"]}), "bm25")
