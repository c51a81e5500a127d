"""InferSent: seven encoders that learn, on given words or on their own, and what is no data for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.models import load
from umekomi.models.entity import EntityEmbedder
from umekomi.recipes import get
from umekomi.recipes.infersent import ENCODERS

RNG = np.random.default_rng(0)
WORDS = ["red", "blue", "green", "ball", "box", "car", "the", "a", "is", "not"]
GIVEN = EntityEmbedder(WORDS, RNG.normal(size=(len(WORDS), 6)).astype(np.float32), name="ten")


def pairs(count=240):
    """Same colour, another colour, or the colour denied."""
    rows = {"sentence1": [], "sentence2": [], "label": []}
    for number in range(count):
        colour, other = RNG.permutation(WORDS[:3])[:2]
        thing = WORDS[3 + RNG.integers(3)]
        kind = number % 3
        said = (f"{thing} is {colour}", f"{thing} is {other}", f"{thing} is not {colour}")[kind]
        rows["sentence1"].append(f"the {thing} is {colour}")
        rows["sentence2"].append(f"the {said}")
        rows["label"].append(("entailment", "neutral", "contradiction")[kind])
    return rows


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("padding", ["masked", "zero"])
def test_every_encoder_learns(encoder, padding):
    recipe = replace(get("infersent").tiny(), encoder=encoder, width=16, classifier_width=32, epochs=6, held_out=0.1)
    model = replace(recipe, pooling_padding=padding, learning_rate=0.5).fit(pairs(), start=GIVEN, seed=1)
    about = model.card["training"]
    assert about["loss"][-1] < about["loss"][0]
    assert about["words"] == 10 and about["vectors"] == "ten"
    widths = {"lstm": 16, "gru": 16, "convnet": 128}
    assert model.dimension == widths.get(encoder, 32)
    assert model.encode(["the red ball", "", "zzz"]).any(1).all()  # what stands around each text is read


def test_it_learns_what_the_words_alone_cannot_say():
    recipe = replace(get("infersent").tiny(), width=16, classifier_width=32, epochs=20, held_out=0.1, learning_rate=0.5)
    model = recipe.fit(pairs(600), start=GIVEN)
    assert max(model.card["training"]["accuracy"]) > 0.9


def test_given_words_stay_as_they_are_unless_tuned():
    recipe = replace(get("infersent").tiny(), learning_rate=0.5)
    frozen = recipe.fit(pairs(60), start=GIVEN).network.words.weight.numpy(force=True)
    assert np.array_equal(frozen[3:], GIVEN.vectors)
    tuned = replace(recipe, tune_words=True).fit(pairs(60), start=GIVEN).network.words.weight.numpy(force=True)
    assert not np.array_equal(tuned[3:], GIVEN.vectors)
    assert recipe.fit(pairs(60)).network.words.weight.shape[1] == recipe.word_dimensions


def test_a_file_of_word_vectors_is_a_start(tmp_path):
    from umekomi.models import word2vec

    word2vec.write(GIVEN, tmp_path / "ten.vec")
    model = get("infersent").tiny().fit(pairs(60), start=str(tmp_path / "ten.vec"))
    assert model.card["start"] == "ten"
    model.save(tmp_path / "m")
    assert np.array_equal(load(tmp_path / "m").encode(["a red box"]), model.encode(["a red box"]))


def test_data_that_it_cannot_learn_from_is_one_line():
    recipe = get("infersent").tiny()
    rows = pairs(60)
    for change, line in (
        ({"label": ["same"] * 60}, "infersent: column 'label': expected two labels or more, found only 'same'"),
        ({"sentence1": ["one text"] * 60}, "infersent: expected two different texts or more, found 1"),
        ({"sentence1": ["zzz"] * 60, "sentence2": ["yyy"] * 60}, "infersent: expected texts with words of ten, found"),
    ):
        with pytest.raises(DataError) as error:
            recipe.fit(rows | change, start=GIVEN)
        assert str(error.value).startswith(line)
    with pytest.raises(WrongUse, match="infersent: start must be a table of word vectors, found minilm"):
        recipe.fit(rows, start="minilm")
    with pytest.raises(WrongUse, match="projected: expected bilstm-mean or bilstm-max, found gru"):
        get("infersent")(encoder="gru", projected=True)
    with pytest.raises(UmekomiError, match=r"epoch 1, batch \d+.*a smaller learning_rate \(now 1e\+30\)"):
        replace(recipe, learning_rate=1e30, clip=1e30).fit(rows, start=GIVEN)
