from __future__ import annotations

import dataclasses
import signal
import time

import numpy as np
import pyarrow as pa
import pytest
import zygote
from conftest import TEXTS

from umekomi.errors import DataError, WrongUse
from umekomi.models import load
from umekomi.recipes import Recipe, get, names
from umekomi.verbs.info import info
from umekomi.verbs.train import recipe_of, train

PAIRS = pa.table(
    {
        "anchor": [f"what is thing {i} of kind {i % 5}" for i in range(64)],
        "positive": [f"thing {i} is described here, kind {i % 5}" for i in range(64)],
    }
)


@pytest.mark.parametrize("name", names())
def test_every_recipe_keeps_the_contract(name):
    kind = get(name)
    assert issubclass(kind, Recipe)
    assert kind.name == name
    assert dataclasses.is_dataclass(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind().anything = 1
    assert kind.paper.title
    assert kind.paper.year > 1900
    assert kind.claim()
    assert isinstance(kind.small(), kind)
    assert kind().settings()["recipe"] == name


def test_wrong_names_and_settings():
    with pytest.raises(WrongUse, match="the nearest: near2"):
        get("near3")
    with pytest.raises(WrongUse, match="no field of bm25 named 'kk1'"):
        recipe_of("bm25", {"kk1": 2})
    with pytest.raises(WrongUse, match=r"bm25, k1: expected a number, 0 or more, found 'high'"):
        recipe_of("bm25", {"k1": "high"})
    assert recipe_of("bm25", {"k1": 1}).k1 == 1
    assert recipe_of("gemini-embedding", {"merge": None}).merge == "none"  # --set merge=none
    with pytest.raises(WrongUse, match="no preset of bm25 named 'large'; there are: small"):
        recipe_of("bm25", preset="large")
    with pytest.raises(WrongUse, match="expected small or a preset, found both"):
        train("poincare", {"child": ["a"], "parent": ["b"]}, small=True, preset="nouns")


@pytest.mark.parametrize("name", names())
def test_presets_give_the_recipe(name):
    for preset in ("small", *get(name).presets):
        made = recipe_of(name, preset=preset)
        assert isinstance(made, get(name))
        assert (preset == "small") or made not in (get(name)(), get(name).small()), "a preset is other values"
        assert f"preset {preset}" in info(name) or preset == "small"


def test_data_of_another_shape_are_one_line():
    with pytest.raises(DataError, match="near2 learns from pairs .* or retrieval .*; found texts"):
        train("near2", {"text": ["a", "b"]})


def test_lsa_brings_words_together_that_share_texts():
    texts = [f"{a} {b}" for a in ("cat", "kitten") for b in ("purrs softly", "drinks milk", "likes fish")]
    texts += [f"{a} {b}" for a in ("bond", "stock") for b in ("yields rose", "prices fell", "market closed")]
    model = get("lsa")(dimensions=4, vocabulary=120).fit({"text": texts})
    v = model.encode(["cat", "kitten", "stock"])
    scores = model.similarity(v, v)
    assert scores[0, 1] > 0.5 > scores[0, 2]
    with pytest.raises(DataError, match="two texts or more"):
        get("lsa")().fit({"text": ["only one"]})


def test_lsa_of_japanese_needs_no_other_tokenizer():
    texts = [
        "猫は魚を食べる動物です。",
        "子猫は牛乳を飲む動物です。",
        "株価は市場で下落した。",
        "債券市場で金利が上昇した。",
    ] * 3
    model = get("lsa")(dimensions=3, vocabulary=150).fit(list(dict.fromkeys(texts)))
    v = model.encode(["猫は動物", "子猫", "市場の金利"])
    scores = model.similarity(v, v)
    assert scores[0, 1] > scores[0, 2]


def test_untrained_is_the_same_network_without_what_it_learned(minilm):
    a, b, c = (get("untrained")().fit(start=minilm, seed=seed).encode(TEXTS) for seed in (0, 0, 1))
    assert (a == b).all()
    assert not np.allclose(a, c)
    assert not np.allclose(a, minilm.encode(TEXTS))
    assert a.shape == (len(TEXTS), 384)


def small_near2(**settings):
    return dataclasses.replace(get("near2").small(), batch_size=16, max_length=32, **settings)


def test_near2_learns_and_leaves_its_start_alone(minilm):
    before = minilm.encode(TEXTS)
    recipe = small_near2(epochs=1, learning_rate=1e-4)
    model = recipe.fit(PAIRS, start=minilm, seed=3)
    assert (minilm.encode(TEXTS) == before).all()
    a, b = PAIRS["anchor"].to_pylist(), PAIRS["positive"].to_pylist()

    def likelihood(embedder, width):
        scores = 20 * embedder.similarity(
            embedder.encode(a, dimensions=width), embedder.encode(b, dimensions=width)
        ).astype(np.float64)
        return (np.diag(scores) - np.log(np.exp(scores).sum(1))).mean()

    for width in (32, 384):
        assert likelihood(model, width) > likelihood(minilm, width) + 0.1
    assert model.card["matryoshka"] == [384, 256, 128, 64, 32]
    assert model.model.max_seq_length == minilm.model.max_seq_length
    again = recipe.fit(PAIRS, start=minilm, seed=3)
    assert (again.encode(TEXTS) == model.encode(TEXTS)).all(), "one seed, one model"


def test_near2_on_graded_pairs(minilm):
    graded = pa.table(
        {
            "query": ["q one", "q one", "q two", "q two"] * 4,
            "document": [f"d {i}" for i in range(16)],
            "score": [2.0, 0.0, 1.0, 0.0] * 4,
        }
    )
    for loss in ("ocl", "both"):
        assert small_near2(loss=loss).fit(graded, start=minilm).dimension == 384
    with pytest.raises(DataError, match="needs grades"):
        small_near2(loss="ocl").fit(PAIRS, start=minilm)
    with pytest.raises(WrongUse, match="expected one of mnr, ocl, both, found 'triplet'"):
        small_near2(loss="triplet").fit(PAIRS, start=minilm)


def test_near2_takes_mined_negatives(minilm):
    table = PAIRS.slice(0, 32).append_column("negative_1", PAIRS["positive"].slice(32, 32))
    assert small_near2(nested=False).fit(table, start=minilm).card["matryoshka"] == []


def test_the_nested_loss_is_the_sum_over_renormalised_prefixes(minilm):
    """Against a loop in NumPy: in-batch softmax of cosine / temperature, summed over the prefixes."""
    import torch
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

    model = minilm.model
    a, b = PAIRS["anchor"].to_pylist()[:6], PAIRS["positive"].to_pylist()[:6]
    loss = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model, scale=20.0), matryoshka_dims=[384, 64, 32])
    with torch.no_grad():
        found = float(loss([model.preprocess(a), model.preprocess(b)], None))
    want = 0.0
    u, v = minilm.encode(a).astype(np.float64), minilm.encode(b).astype(np.float64)
    for width in (384, 64, 32):
        x, y = u[:, :width], v[:, :width]
        x, y = x / np.linalg.norm(x, axis=1, keepdims=True), y / np.linalg.norm(y, axis=1, keepdims=True)
        logits = 20 * x @ y.T
        want += np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(logits)])
    assert found == pytest.approx(want, rel=1e-4)


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path):
    """SIGKILL in the middle; the second run begins behind the last checkpoint and ends with a whole model."""
    pytest.importorskip("sentence_transformers")
    from umekomi.models.scratch import untrained_transformer

    words = [f"what is {i} it is {i} here" for i in range(96)]
    backbone = untrained_transformer("bert", words, layers=1, width=64, heads=2, vocabulary=300, max_length=16)
    backbone.embedder().save(tmp_path / "start")
    source = f"""
import sys, dataclasses
import umekomi, umekomi.parts.learning.sentences as training
from umekomi.recipes import get
real = training._train
training._train = lambda model, stage, run, steps: real(model, stage, run, int(sys.argv[1]))
import pyarrow as pa
pairs = pa.table({{"anchor": [f"what is {{i}}" for i in range(96)], "positive": [f"it is {{i}} here" for i in range(96)]}})
recipe = dataclasses.replace(get("near2").small(), batch_size=8, max_length=16)
umekomi.train(recipe, pairs, {str(tmp_path / "m")!r}, start={str(tmp_path / "start")!r}, seed=1)
print("done")
"""
    first = zygote.Process(source=source, words=[2])  # a checkpoint every two steps
    checkpoints = None
    for _ in range(1500):
        time.sleep(0.1)
        found = sorted(tmp_path.glob(".m.checkpoints/*/stage_0/checkpoint-*/trainer_state.json"))
        if found:
            checkpoints = found
            break
    assert checkpoints, "no checkpoint was written"
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "m").exists()
    out, error = zygote.Process(source=source, words=[20]).communicate()
    assert "done" in out, error[-2000:]
    assert load(tmp_path / "m").dimension == 64
    assert not list(tmp_path.glob(".m.*"))


def test_train_saves_and_writes_what_it_was_trained_on(tmp_path):
    model = train("bm25", {"text": TEXTS}, tmp_path / "m", settings={"k1": 2.0})
    back = load(tmp_path / "m")
    assert back.k1 == 2.0
    assert back.card["trained_on"] == model.card["trained_on"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(WrongUse, match="is a file"):
        train("bm25", {"text": TEXTS}, tmp_path / "file")
