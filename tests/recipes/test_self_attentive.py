"""Self-attention: hops that look at different words, both heads, texts and pairs, and the page that draws them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from umekomi.errors import DataError
from umekomi.inspection.attention import heat_maps, overlap
from umekomi.models import load
from umekomi.models.entity import EntityEmbedder
from umekomi.recipes import get
from umekomi.verbs.inspect import inspect

RNG = np.random.default_rng(0)
FILLING = ["the", "film", "was", "a", "long", "story", "about", "people"]


def texts(count=300):
    """A word somewhere among others says which."""
    rows = {"text": [], "label": []}
    for number in range(count):
        words = list(RNG.choice(FILLING, 12))
        words[RNG.integers(12)] = ("good", "bad", "dull")[number % 3]
        rows["text"].append(" ".join(words))
        rows["label"].append(number % 3)
    return rows


def recipe(**more):
    small = replace(
        get("self-attentive").tiny(),
        word_dimensions=12,
        held_out=0.1,
        width=12,
        attention_width=12,
        hops=4,
        classifier_width=24,
    )
    return replace(small, units_by_row=4, units_by_column=2, epochs=12, learning_rate=0.01, patience=12, **more)


@pytest.mark.parametrize("head", ["dense", "pruned"])
def test_it_learns_from_texts(head):
    model = replace(recipe(head=head), epochs=8, learning_rate=0.02).fit(texts(600), seed=1)
    assert max(model.card["training"]["accuracy"]) > 0.9
    assert model.dimension == 4 * 24
    # the states of a sentence's ends know all its words: which of them a hop looks at is another matter
    ((words, weights),) = model.attention(["the film was zzz bad"])
    assert words == ["the", "film", "was", "bad"] and weights.shape == (4, 4)
    rows = model.encode(["the film was bad"], output="multi")
    assert rows.flat.shape == (4, 24)


@pytest.mark.parametrize("head", ["dense", "pruned"])
def test_pairs_are_learned_through_gates(head):
    rows = texts()
    first, label = rows["text"], rows["label"]
    same = [int(a == b) for a, b in zip(label, [*label[1:], label[0]], strict=True)]
    second = [text if alike else other for text, other, alike in zip(first, [*first[1:], first[0]], same, strict=True)]
    second = second[:150] + first[150:]
    pairs = {"sentence1": first, "sentence2": second, "label": same[:150] + [1] * 150}
    model = replace(recipe(head=head), epochs=6).fit(pairs, seed=1)
    about = model.card["training"]
    assert about["loss"][-1] < about["loss"][0]


def test_words_that_training_does_not_see_keep_their_vectors():
    """Weights decay, and Adam makes whole steps of what decay alone asks for."""
    names = [*FILLING, "good", "bad", "dull", "elsewhere"]
    vectors = np.random.default_rng(0).normal(size=(len(names), 12)).astype(np.float32)
    start = EntityEmbedder(names, vectors, name="given")
    model = replace(recipe(), epochs=2, weight_decay=0.1).fit(texts(60), start=start, seed=0)
    table, number = model.network.words.weight.detach().numpy(), model.reader.tokenizer.token_to_id
    assert len(table) > len(names)
    assert (table[number("elsewhere")] == vectors[-1]).all()
    assert not (table[number("good")] == vectors[names.index("good")]).any()


def test_the_penalty_keeps_hops_apart():
    rows = texts()
    apart, alike = (replace(recipe(penalty=penalty), epochs=8).fit(rows, seed=1) for penalty in (1.0, 0.0))
    with_it, without = (overlap(model, rows["text"][:50]) for model in (apart, alike))
    assert with_it["redundancy of hops"] < without["redundancy of hops"]
    assert set(with_it) == {"cosine of two hops", "redundancy of hops"}


def test_inspect_draws_a_page(tmp_path):
    model = recipe().fit(texts(120), seed=1)
    model.save(tmp_path / "m")
    done = inspect(str(tmp_path / "m"), {"text": texts(40)["text"]}, out=tmp_path / "page.html")
    assert 0 < len(done.attention) <= 12
    first = done.attention[0]
    assert len(first.hops) == 4 and len(first.summed) == len(first.words) == 12
    assert sum(first.summed) == pytest.approx(1, abs=1e-3)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    inside = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert inside["attention"][0]["words"] == first.words
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert heat_maps(load(tmp_path / "m"), ["zzz"]) == ()


def test_one_class_is_one_line():
    with pytest.raises(DataError, match="self-attentive: column 'label': expected two labels or more, found only '1'"):
        get("self-attentive").tiny().fit({"text": ["a b", "c d", "e f"], "label": [1, 1, 1]})
