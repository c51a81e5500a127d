"""Nested heads against the sum they stand for; the recipe on each shape of data; the cascade over prefixes."""

from __future__ import annotations

import numpy as np
import pytest

from umekomi.errors import DataError, WrongUse
from umekomi.models.cascade import Cascade, _lowest
from umekomi.recipes import get


@pytest.mark.parametrize("tied", [False, True])
def test_nested_heads_are_the_weighted_sum_over_prefixes(tied):
    torch = pytest.importorskip("torch")
    from umekomi.parts.losses.nested import NestedHeads

    heads = NestedHeads(None, 5, [8, 4, 2], [1.0, 0.5, 2.0], tied=tied, seed=3)
    vectors, labels = torch.randn(7, 8), torch.tensor([0, 1, 2, 3, 4, 0, 1])
    slow = 0.0
    for width, weight, number in ((8, 1.0, 0), (4, 0.5, 1), (2, 2.0, 2)):
        matrix = heads.matrices[0][:, :width] if tied else heads.matrices[number]
        for row in range(7):
            scores = [sum(float(matrix[c, j]) * float(vectors[row, j]) for j in range(width)) for c in range(5)]
            slow += weight * (np.log(np.exp(scores).sum()) - scores[int(labels[row])]) / 7
    assert abs(float(heads.loss(vectors, labels)) - slow) < 1e-4
    assert len(list(heads.parameters())) == (2 if tied else 6)
    drawn = NestedHeads(None, 5, [8, 4, 2], [1.0, 1.0, 1.0], drawn=1)
    each = {round(float(drawn.loss(vectors, labels)), 5) for _ in range(40)}
    assert len(each) == 3


def test_the_recipe_learns_from_pairs_scores_and_labels(minilm, tmp_path):
    from umekomi import load

    texts = [f"a sentence about topic {i % 3} and number {i}" for i in range(24)]
    for data, objective in (
        ({"anchor": texts[:12], "positive": texts[12:]}, "mnr"),
        ({"sentence1": texts[:12], "sentence2": texts[12:], "score": [i / 12 for i in range(12)]}, "cosent"),
        ({"text": texts, "label": [f"c{i % 3}" for i in range(24)]}, "heads"),
    ):
        recipe = get("matryoshka")(
            prefixes=(128, 32), weights=(1.0, 2.0), batch_size=8, learning_rate=1e-4, max_length=16, prefixes_per_step=2
        )
        model = recipe.fit(data, start=minilm)
        assert model.card["training"]["objective"] == objective
        assert model.card["matryoshka"] == [384, 128, 32]
        before, after = minilm.encode(texts), model.encode(texts)
        assert np.isfinite(after).all()
        assert np.abs(before - after).max() > 1e-4
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(
        load(tmp_path / "m", engine="torch").encode(texts[:2], dimensions=32), model.encode(texts[:2], dimensions=32)
    )


def test_heads_teach_the_prefix(minilm):
    animals, metals = (
        ("dog", "cat", "horse", "cow", "sheep", "goat"),
        ("iron", "copper", "zinc", "gold", "silver", "tin"),
    )
    texts = [f"{name} {i}" for name in (*animals, *metals) for i in range(8)]
    labels = [int(name in metals) for name in (*animals, *metals) for _ in range(8)]
    recipe = get("matryoshka")(prefixes=(8,), epochs=4, batch_size=16, learning_rate=2e-4, max_length=8)
    model = recipe.fit({"text": texts, "label": labels}, start=minilm)

    def apart(embedder):
        vectors = embedder.encode(texts, dimensions=8)
        scores = vectors @ vectors.T
        same = np.equal.outer(labels, labels)
        return scores[same].mean() - scores[~same].mean()

    assert apart(model) > apart(minilm) + 0.05


def test_bad_input_of_matryoshka():
    pytest.importorskip("sentence_transformers")
    for settings, data, kind, said in (
        (
            {"objective": "mrn"},
            {"anchor": ["a"], "positive": ["b"]},
            WrongUse,
            "expected one of auto, mnr, cosent, heads",
        ),
        ({"objective": "heads"}, {"anchor": ["a"], "positive": ["b"]}, DataError, "needs labelled texts; found pairs"),
        ({"weights": (1.0,)}, {"anchor": ["a"], "positive": ["b"]}, WrongUse, "a weight for each"),
        ({"temperature": 0.0}, {"anchor": ["a"], "positive": ["b"]}, WrongUse, "temperature"),
        ({}, {"text": ["a", "b"], "label": [1, 1]}, DataError, "two classes or more, found 1"),
        ({}, {"child": ["a"], "parent": ["b"]}, DataError, "learns from pairs"),
    ):
        with pytest.raises(kind, match=said):
            get("matryoshka")(**settings).fit(data)


def test_a_cascade_answers_the_easy_ones_early():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 3000)
    easy = generator.random(3000) < 0.7
    vectors = 0.3 * generator.standard_normal((3000, 32))
    vectors[:, :4] += np.where(easy, 0, 3)[:, None]  # the hard ones say nothing in the first four, and say so
    vectors[np.arange(3000), labels] += np.where(easy, 3, 0)
    vectors[np.arange(3000), 8 + labels] += np.where(easy, 0, 3)
    cascade = Cascade([4, 16, 32]).fit(vectors[:2000], labels[:2000])
    answers, used = cascade.predict(vectors[2000:])
    full = cascade.heads_[-1].predict(vectors[2000:, :32] / np.linalg.norm(vectors[2000:, :32], axis=1, keepdims=True))
    assert (answers == labels[2000:]).mean() >= (full == labels[2000:]).mean() - 0.01
    assert used.mean() < 16
    assert set(np.unique(used)) <= {4, 16, 32}
    # chances .9 .8 .7 .6, right 1 1 0 1; the whole is right on 1 1 1 1: the lowest without loss is .8
    assert _lowest(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 1, 0, 1]), np.array([1, 1, 1, 1])) == 0.8
    assert _lowest(np.array([0.9, 0.8]), np.array([0, 0]), np.array([1, 1])) == 1.1
    for widths, said in (
        ([8], "two or more rising widths"),
        ([8, 4], "rising"),
        ([8, 64], "64 dimensions or more, found 32"),
    ):
        with pytest.raises(WrongUse, match=said):
            Cascade(widths).fit(vectors, labels)
    with pytest.raises(DataError, match="two classes"):
        Cascade([4, 8]).fit(vectors, np.zeros(3000))
