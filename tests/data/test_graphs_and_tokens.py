import numpy as np
import pyarrow as pa
import pytest

from umekomi.data.graphs import closure, graph, relations
from umekomi.data.vocabulary import count_tokens, resolve_tokenizer, split_words
from umekomi.errors import DataError


def test_relations_are_numbered_in_their_order():
    found = relations([("b", "a"), ("c", "a"), ("b", "c")])
    assert found.names == ["b", "a", "c"]
    offsets, neighbours = found.neighbours()
    assert [sorted(neighbours[offsets[i] : offsets[i + 1]].tolist()) for i in range(3)] == [[1, 2], [], [1]]
    both = found.both_ways()
    assert sorted(zip(both.heads.tolist(), both.tails.tolist(), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 2),
        (2, 0),
        (2, 1),
    ]


def test_a_graphs_double_edges_and_loops():
    found, loops = graph(
        {"source": ["a", "a", "b", "b"], "target": ["b", "b", "b", "a"], "weight": [1.0, 2.0, 1.0, 5.0]}, "this"
    )
    assert loops == 1
    assert sorted(found.weights) == [3, 5]
    assert sorted(found.both_ways().weights) == [5, 5]
    assert graph({"source": [1, 2], "target": [2, 3]}, "this")[0].names == ["1", "2", "3"]


def test_a_closures_order_is_the_datas():
    assert closure([("z", "m"), ("m", "a"), ("z", "b")]) == [("z", "m"), ("z", "b"), ("z", "a"), ("m", "a")]


def test_words_of_texts():
    assert split_words(["Hello, world's END", "", "  a  b "], "plain").to_pylist() == [
        ["hello", "world", "s", "end"],
        [""],
        ["a", "b"],
    ]
    assert split_words([" a\tb  C,"], "spaces").to_pylist() == [["a", "b", "C,"]]
    found = count_tokens(split_words(["b a b", "", "b c"], "plain"), 1)
    assert found.names == ["b", "a", "c"]
    assert found.counts.tolist() == [3, 1, 1]
    assert [found.text(i) for i in range(3)] == [["b", "a", "b"], [], ["b", "c"]]
    assert count_tokens(split_words(["b a b", "b c"], "plain"), 2).names == ["b"]
    given = count_tokens(split_words(["b a b", "b c"], "plain"), names=["c", "b"])
    assert given.ids.tolist() == [1, 1, 1, 0]
    kept = count_tokens(pa.array([["x", "__label__y"], ["x"]]), 2, keep="__label__")
    assert kept.names == ["x", "__label__y"]
    with pytest.raises(DataError, match="occur 5 times or more, found none among 2"):
        count_tokens(split_words(["a b"], "plain"), 5)
    assert count_tokens(pa.chunked_array([pa.array([["a"]]), pa.array([["b"], None])])).offsets.tolist() == [0, 1, 2, 2]


def test_japanese_is_cut_into_words():
    pytest.importorskip("fugashi")
    assert resolve_tokenizer(["猫が好きです。"], "auto") == "surfaces"
    assert split_words(["猫が好きです。"], "surfaces").to_pylist() == [["猫", "が", "好き", "です"]]
    assert resolve_tokenizer(["the cat"], "auto") == "plain"
    assert np.all(count_tokens(split_words(["猫が猫"], "auto")).counts == [2, 1])
