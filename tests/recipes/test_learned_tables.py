"""Learned tables: hierarchies, bags, graphs, sentences, dictionaries. Light install only."""

import numpy as np
import pyarrow as pa
import pytest

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.models import load
from umekomi.recipes import get
from umekomi.tasks.entities import HypernymyRanking, LinkPrediction, Reconstruction

TREE = pa.table(
    {
        "child": [f"{kind}{i}" for kind in ("cat", "dog", "ant", "bee") for i in range(6)]
        + ["cat", "dog", "ant", "bee", "mammal", "insect"],
        "parent": [kind for kind in ("cat", "dog", "ant", "bee") for i in range(6)]
        + ["mammal", "mammal", "insect", "insect", "animal", "animal"],
    }
)
GROUPS = pa.table(
    {
        "source": [f"{group}{i}" for group in "abc" for i in range(12) for j in range(i)] + ["a0", "b0"],
        "target": [f"{group}{j}" for group in "abc" for i in range(12) for j in range(i)] + ["b0", "c0"],
    }
)


def tree_model(**settings):
    return get("poincare")(
        **{"dimensions": 3, "epochs": 200, "burn_in": 20, "negatives": 5, "threads": 1} | settings
    ).fit(TREE)


@pytest.mark.parametrize(
    ("manifold", "settings"),
    [
        ("ball", {}),
        ("lorentz", {}),
        ("lorentz", {"schedule": "rising", "first_negatives": 2, "hard_epochs": 40, "hard_pool": 10}),
    ],
)
def test_poincare_reconstructs_a_tree(manifold, settings):
    model = tree_model(manifold=manifold, **settings)
    assert model.card["training"]["relations"] == 24 * 3 + 4 * 2 + 2, "what follows from the pairs is added"
    from umekomi.data.graphs import closure

    pairs = closure(list(zip(TREE["child"].to_pylist(), TREE["parent"].to_pylist(), strict=True)))
    table = pa.table({"child": [a for a, _ in pairs], "parent": [b for _, b in pairs]})
    found = Reconstruction(table).evaluate(model)
    assert found.value > 0.9
    euclidean = Reconstruction(table).evaluate(tree_model(manifold="euclidean", dimensions=2, learning_rate=0.01))
    assert euclidean.value < found.value
    depth = np.linalg.norm(model.vectors[:, 1:] if manifold == "lorentz" else model.vectors, axis=1)
    assert depth[model.row("animal")] < depth[model.row("mammal")] < depth[model.row("cat3")]
    graded = pa.table(
        {
            "child": ["cat1", "mammal", "animal", "unheard"],
            "parent": ["animal", "animal", "cat1", "cat"],
            "score": [6.0, 3.0, 0.5, 3.0],
        }
    )
    ranked = HypernymyRanking(graded).evaluate(model)
    assert ranked.value > 0.9
    assert "1 of 4 pairs" in ranked.notes[0]


def test_one_thread_and_a_seed_give_the_same_bits(tmp_path):
    a, b, c = (get("poincare")(dimensions=2, epochs=20, threads=1).fit(TREE, seed=seed) for seed in (1, 1, 2))
    assert (a.vectors == b.vectors).all()
    assert (a.vectors != c.vectors).any()
    a.save(tmp_path / "m")
    back = load(tmp_path / "m")
    assert (back.vectors == a.vectors).all()
    assert back.metric == "poincare"
    for name, data in (
        ("starspace", {"left": [["x"], ["y"]] * 9, "right": [["1"], ["2"]] * 9}),
        ("edrep", GROUPS),
        ("fastsent", {"document": [["a b", "b a"]] * 9}),
    ):
        recipe = get(name)(threads=1, **({"min_count": 1} if name == "fastsent" else {}))
        first, second = (recipe.fit(data, seed=3) for _ in range(2))
        assert (first.vectors == second.vectors).all()


@pytest.mark.parametrize("name", ["poincare", "starspace", "starspace, held out", "edrep", "fastsent"])
def test_an_interrupted_fit_goes_on_behind_the_last_whole_epoch(name, tmp_path, monkeypatch):
    """Stopped in the middle, then run again: the same bits as without the stop."""
    from umekomi.parts.learning import arrays as epochs

    monkeypatch.setattr(epochs, "SAVE_SECONDS", 0.0)
    name, _, held = name.partition(", ")
    data = {
        "poincare": TREE,
        "starspace": pa.table({"left": [["x", "z"], ["y"]] * 20, "right": [["1"], ["2"]] * 20}),
        "edrep": GROUPS,
        "fastsent": pa.table({"document": [["a b c", "b a", "c c a"]] * 20}),
    }[name]
    settings = (
        {"epochs": 6, "threads": 1}
        | ({"min_count": 1} if name == "fastsent" else {})
        | ({"validation": 0.2, "patience": 6} if held else {})
    )
    recipe = get(name)(**settings)
    whole = recipe.fit(data)
    real, calls = epochs._finite, []

    def stop(arrays, loss, epoch, *rest):
        real(arrays, loss, epoch, *rest)
        calls.append(epoch)
        if epoch == 3 and len(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(epochs, "_finite", stop)
    (tmp_path / "c").mkdir()
    with pytest.raises(KeyboardInterrupt):
        recipe.fit(data, checkpoint=tmp_path / "c")
    again = recipe.fit(data, checkpoint=tmp_path / "c")
    assert calls == [0, 1, 2, 3, 3, 4, 5]
    assert (again.vectors == whole.vectors).all()
    other = get(name)(**(settings | {"learning_rate": 0.011})).fit(data, checkpoint=tmp_path / "c")
    assert (other.vectors != whole.vectors).any(), "a checkpoint of other settings is not gone on from"


def test_numbers_that_blow_up_name_the_epoch_and_the_row():
    with pytest.raises(
        UmekomiError,
        match=r"poincare: epoch \d+, points row \d+ \('.+'\): expected finite numbers, found NaN or infinity; a smaller learning_rate",
    ):
        tree_model(manifold="euclidean", learning_rate=1e200)


def test_bad_input_of_poincare():
    with pytest.raises(DataError, match="no cycle, found b → a → b|no cycle, found a → b → a"):
        get("poincare")().fit({"child": ["a", "b"], "parent": ["b", "a"]})
    with pytest.raises(DataError, match="no cycle, found a → a"):
        get("poincare")().fit({"child": ["a"], "parent": ["a"]})
    with pytest.raises(
        DataError, match=r"poincare learns from hierarchy \(child, parent\) or graph \(source, target\); found parent"
    ):
        get("poincare")().fit({"parent": ["a"]})
    with pytest.raises(WrongUse, match="dimensions: expected 2 or more, found 1"):
        get("poincare")(dimensions=1).fit(TREE)
    with pytest.raises(WrongUse, match="manifold: expected one of ball, lorentz, euclidean, found 'torus'"):
        get("poincare")(manifold="torus").fit(TREE)
    with pytest.raises(WrongUse, match="init: expected one of random, spectral, found 'pca'"):
        get("poincare")(init="pca").fit(TREE)
    with pytest.raises(WrongUse, match="same manifold"):
        get("poincare")(dimensions=5, epochs=1).fit(TREE, start=tree_model(epochs=1))


def test_poincare_of_a_graph_and_held_out_links():
    split = np.arange(GROUPS.num_rows) % 7 == 0
    train, test = GROUPS.filter(pa.array(~split)), GROUPS.filter(pa.array(split))
    looped = pa.concat_tables([train, pa.table({"source": ["a1"], "target": ["a1"]})])
    model = get("poincare")(dimensions=4, epochs=150, threads=1, burn_in_share=0.1).fit(looped)
    assert model.card["training"]["notes"] == ["1 self-loops left out"]
    found = LinkPrediction(test, train=train).evaluate(model)
    untrained = get("poincare")(dimensions=4, epochs=1, learning_rate=1e-9, threads=1).fit(train)
    assert found.value > 2 * LinkPrediction(test, train=train).evaluate(untrained).value


@pytest.mark.parametrize("manifold", ["ball", "lorentz", "euclidean"])
def test_a_spectral_start_knows_the_branches(manifold):
    still = {"manifold": manifold, "epochs": 1, "learning_rate": 1e-12, "dimensions": 4}
    model, random = tree_model(init="spectral", **still), tree_model(**still)
    by_branch, by_chance = (Reconstruction(TREE).evaluate(one).value for one in (model, random))
    assert by_branch > 1.5 * by_chance
    assert (tree_model(init="spectral", **still).vectors == model.vectors).all()
    points = model.vectors.astype(np.float64)
    if manifold == "ball":
        assert np.linalg.norm(points, axis=1).max() < 0.5
    if manifold == "lorentz":
        assert points[:, 0] ** 2 - (points[:, 1:] ** 2).sum(1) == pytest.approx(np.ones(len(points)), abs=1e-6)
    islands = pa.concat_tables([TREE, pa.table({"child": ["x"], "parent": ["y"]})])
    with_islands = get("poincare")(init="spectral", manifold=manifold, dimensions=2, epochs=2, threads=1).fit(islands)
    assert np.isfinite(with_islands.vectors).all()


def test_schedules():
    recipe = get("poincare")(learning_rate=1.0, epochs=110, burn_in=10, burn_in_share=0.1)
    assert [recipe._rate(e) for e in (0, 9, 10, 60, 109)] == pytest.approx([0.1, 0.1, 1, 1, 1])
    from dataclasses import replace

    assert [replace(recipe, schedule="linear")._rate(e) for e in (0, 10, 60, 109)] == pytest.approx([0.1, 1, 0.5, 0.01])
    rising = replace(recipe, schedule="rising", first_learning_rate=0.01)
    rates = [rising._rate(e) for e in range(110)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1.0, rel=0.05)
    assert rates[-1] < 0.2
    more = replace(rising, negatives=50, first_negatives=20)
    assert [more._negatives(e) for e in (0, 44, 88, 109)] == [20, 32, 50, 50]  # 20 · sqrt(50 / 20) half-way up
    assert replace(more, schedule="linear")._negatives(0) == 50
    assert rising._negatives(0) == 10
    hard = replace(rising, hard_epochs=10)
    assert [hard._rate(e) for e in (100, 109)] == pytest.approx([0.05, 0.05 * 0.1**0.9])
    with pytest.raises(WrongUse, match="hard_epochs below epochs"):
        replace(recipe, hard_epochs=110).fit(TREE)
    with pytest.raises(WrongUse, match="schedule"):
        replace(recipe, schedule="steep").fit(TREE)
    released = get("poincare").released()
    assert (released.learning_rate, released.epochs, released.negatives, released.dampening) == (1.0, 1500, 50, 0.75)


# --- bags -------------------------------------------------------------------------------------------------------------

TOPICS = {
    "sport": "ball team goal match score",
    "food": "bread soup salt oven taste",
    "money": "bank stock bond price market",
}


def topics(count=60, seed=0):
    rng = np.random.default_rng(seed)
    rows = [(label, " ".join(rng.choice(words.split(), 3))) for label, words in TOPICS.items() for _ in range(count)]
    return pa.table({"text": [text for _, text in rows], "label": [label for label, _ in rows]})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"similarity": "dot"},
        {"loss": "softmax", "similarity": "dot"},
        {"share": False},
        {"adagrad": "off"},
        {"ngrams": 2},
    ],
)
def test_starspace_classifies(settings, tmp_path):
    model = get("starspace")(
        **{"dimensions": 10, "epochs": 20, "learning_rate": 0.05, "search": 10, "threads": 1} | settings
    ).fit(topics())
    test = topics(20, seed=1)
    predicted, scores = model.predict(test["text"].to_pylist(), k=2)
    assert (
        np.mean(
            [row[0] == f"__label__{label}" for row, label in zip(predicted, test["label"].to_pylist(), strict=True)]
        )
        > 0.95
    )
    assert scores.shape == (60, 2)
    assert (np.diff(scores) <= 0).all()
    model.save(tmp_path / "m")
    back = load(tmp_path / "m")
    assert back.predict(["ball goal"])[0] == model.predict(["ball goal"])[0] == [["__label__sport"]]
    assert (back.encode(["ball goal", "soup"]) == model.encode(["ball goal", "soup"])).all()
    assert back.fingerprint() == model.fingerprint()


@pytest.mark.parametrize("settings", [{}, {"share": False}, {"mode": 5}, {"word_weight": 0.5}])
def test_starspace_stops_where_what_is_held_out_gets_no_better(settings, monkeypatch):
    from umekomi.recipes import starspace

    tables = {}
    learn = starspace.learn
    monkeypatch.setattr(
        starspace, "learn", lambda arrays, *rest, **options: tables.update(arrays) or learn(arrays, *rest, **options)
    )
    rng = np.random.default_rng(0)  # labels that the words say nothing of: there is nothing to learn but by heart
    texts = [" ".join(f"w{i}" for i in rng.choice(300, 6)) for _ in range(120)]
    data = pa.table({"text": texts, "label": [f"{i}" for i in rng.choice(12, 120)]})
    options = {
        "dimensions": 16,
        "learning_rate": 0.3,
        "epochs": 60,
        "margin": 0.5,
        "patience": 3,
        "threads": 1,
    } | settings
    model = get("starspace")(validation=0.25, **options).fit(data)
    seen = model.card["training"]["validation loss"]
    assert len(seen) == len(model.card["training"]["loss"]) < 60
    assert int(np.argmin(seen)) == len(seen) - 4
    assert model.card["training"]["examples"] == (540 if "mode" in settings else 90)
    np.testing.assert_array_equal(model.vectors, tables["best left"])
    assert (tables["best left"] != tables["left"]).any()
    assert "validation loss" not in get("starspace")(**options).fit(data).card["training"]


def test_starspace_recommends_from_collections():
    rng = np.random.default_rng(0)
    bags = [[f"{side}{i}" for i in rng.choice(8, 4, replace=False)] for side in "xy" * 60]
    for mode in (1, 2, 3):
        model = get("starspace")(mode=mode, dimensions=8, epochs=15, learning_rate=0.05, search=10, threads=1).fit(
            {"left": [[]] * 120, "right": bags}
        )
        x = model.encode([["x0", "x1"]])
        items = model.encode([[f"{side}{i}"] for side in "xy" for i in range(2, 8)])
        scores = model.similarity(x, items)[0]
        assert scores[:6].min() > scores[6:].max(), mode


def test_starspace_embeds_graphs_sentences_pairs_and_words():
    triples = {
        "head": ["tokyo", "kyoto", "paris", "lyon"] * 8,
        "relation": ["in"] * 32,
        "tail": ["japan", "japan", "france", "france"] * 8,
    }
    model = get("starspace")(dimensions=8, epochs=30, learning_rate=0.05, search=5, threads=1).fit(triples)
    scores = model.similarity(
        model.encode([["osaka", "in"], ["tokyo", "in"], ["paris", "in"]]), model.encode([["japan"], ["france"]])
    )
    assert scores[1, 0] > scores[1, 1]
    assert scores[2, 1] > scores[2, 0]
    assert "japan" in model
    texts = topics()["text"].to_pylist()
    documents = pa.table({"document": [texts[i : i + 4] for i in range(0, 180, 4)]})
    pairs = pa.table({"anchor": texts[::2], "positive": texts[1::2]})
    for data, settings in (
        (documents, {}),
        (pairs, {}),
        (pa.table({"text": texts}), {}),
        (documents, {"word_weight": 0.5, "mode": 3}),
    ):
        model = get("starspace")(dimensions=8, epochs=20, learning_rate=0.05, search=10, threads=1, **settings).fit(
            data
        )
        v = model.encode(["ball goal", "team score", "soup oven"])
        s = model.similarity(v, v)
        assert s[0, 1] > s[0, 2]


def test_weights_and_features_that_were_not_seen(capsys):
    data = {
        "left": [["a", "b"], ["c", "d"]] * 10,
        "left_weights": [[1.0, 0.5], [1.0, 0.5]] * 10,
        "right": [["1"], ["2"]] * 10,
        "right_weights": [[1.0], [1.0]] * 10,
    }
    model = get("starspace")(dimensions=4, threads=1).fit(data)
    heavy = model.encode([{"a": 2.0, "b": 1.0}, ["a", "b"], ["a", "new"], []])
    assert heavy[0] == pytest.approx(
        (2 * model["a"] + model["b"]) / np.linalg.norm(2 * model["a"] + model["b"]), abs=1e-5
    )
    assert heavy[2] == pytest.approx(model["a"] / np.linalg.norm(model["a"]), abs=1e-5)
    assert (heavy[3] == 0).all()
    assert "1 of 6 features are not in starspace and were left out" in capsys.readouterr().err
    with pytest.raises(DataError, match="expected a weight for each"):
        get("starspace")().fit(data | {"left_weights": [[1.0]] * 20})
    with pytest.raises(WrongUse, match="nothing to predict"):
        model.predict(["a"])


def test_bad_input_of_starspace():
    with pytest.raises(WrongUse, match="similarity: expected one of cosine, dot, found 'l2'"):
        get("starspace")(similarity="l2").fit(topics())
    with pytest.raises(WrongUse, match="mode: expected a number from 0 to 5, found 6"):
        get("starspace")(mode=6).fit(topics())
    with pytest.raises(DataError, match="mode 3: expected examples with 2 right bags or more, found none among 2"):
        get("starspace")(mode=3).fit({"left": [[], []], "right": [["a"], ["b"]]})
    with pytest.raises(WrongUse, match="validation: expected 0 or more and less than 1, found 1"):
        get("starspace")(validation=1).fit(topics())
    with pytest.raises(DataError, match="validation: expected two examples or more, found 1"):
        get("starspace")(validation=0.5).fit({"left": [["a"]], "right": [["b"]]})
    with pytest.raises(DataError, match="learns from"):
        get("starspace")().fit({"age": [1.0], "target": [1]})


# --- graphs and words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"kappa": 3}, {"symmetric": False}, {"directed": True}])
def test_edrep_finds_the_groups_of_a_graph(settings):
    model = get("edrep")(dimensions=8, epochs=40, walk=3, threads=1, **settings).fit(GROUPS)
    inside = [model.similarity(model.encode([f"{g}3"]), model.encode([f"{g}7"], role="document"))[0, 0] for g in "abc"]
    across = [
        model.similarity(model.encode([f"{g}3"]), model.encode([f"{h}7"], role="document"))[0, 0]
        for g in "abc"
        for h in "abc"
        if g != h
    ]
    assert min(inside) > max(across)
    losses = model.card["training"]["loss"]
    assert losses[-1] < losses[0]


def test_edrep_of_given_factors_is_that_of_their_product():
    from scipy.sparse import random_array

    rng = np.random.default_rng(0)
    factors = []
    for _ in range(2):
        matrix = random_array((30, 30), density=0.3, rng=rng).toarray() + np.eye(30)
        factors.append(matrix / matrix.sum(1, keepdims=True))
    names = [str(i) for i in range(30)]
    recipe = get("edrep")(dimensions=6, epochs=10, threads=1)
    for partial, dense in ((False, factors[0] @ factors[1]), (True, (factors[0] + factors[0] @ factors[1]) / 2)):
        for symmetric in (True, False):
            from dataclasses import replace

            chosen = replace(recipe, symmetric=symmetric)
            a, b = chosen.fit_matrix(factors, names, partial=partial), chosen.fit_matrix([dense], names)
            assert a.vectors == pytest.approx(b.vectors, abs=1e-3)
    with pytest.raises(DataError, match=r"expected factors of shape \(30, 30\)"):
        recipe.fit_matrix([np.eye(3)], names)
    with pytest.raises(DataError, match="none below zero"):
        recipe.fit_matrix([-np.eye(30)], names)


def test_edrep_of_words():
    texts = topics(200)["text"].to_pylist()
    model = get("edrep")(dimensions=8, epochs=40, min_count=5, subsample=0.0, threads=1).fit({"text": texts})
    s = model.similarity(model.encode(["ball", "team", "soup"]), model.encode(["goal", "oven"]))
    assert s[0, 0] > s[0, 1] and s[1, 0] > s[1, 1] and s[2, 1] > s[2, 0]


def test_bad_input_of_edrep():
    with pytest.raises(DataError, match="needs an edge between two nodes; found 1 self-loops"):
        get("edrep")().fit({"source": ["a"], "target": ["a"]})
    with pytest.raises(DataError, match="zero rows"):
        get("edrep")().fit(pa.table({"source": pa.array([], pa.string()), "target": pa.array([], pa.string())}))
    with pytest.raises(DataError, match="row 2, column 'weight': expected a number above zero, found -1"):
        get("edrep")().fit({"source": ["a", "b"], "target": ["b", "c"], "weight": [1.0, -1.0]})
    with pytest.raises(WrongUse, match="learning_rate: expected more than 0 and at most 1"):
        get("edrep")(learning_rate=0.0).fit(GROUPS)


# --- sentences and definitions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("autoencode", [False, True])
def test_fastsent_brings_neighbours_together(autoencode):
    texts = topics(200)["text"].to_pylist()
    documents = pa.table({"document": [texts[i : i + 5] for i in range(0, 600, 5)]})
    model = get("fastsent")(dimensions=12, epochs=15, min_count=1, autoencode=autoencode, threads=1).fit(documents)
    v = model.encode(["ball goal team", "score match", "soup oven"])
    s = model.similarity(v, v)
    assert s[0, 1] > s[0, 2]
    losses = model.card["training"]["loss"]
    assert losses[-1] < losses[0]
    assert v[1] == pytest.approx(
        (model["score"] + model["match"]) / np.linalg.norm(model["score"] + model["match"]), abs=1e-5
    )


def test_fastsent_needs_sentences_in_order():
    with pytest.raises(DataError, match="a document of two sentences or more"):
        get("fastsent")(min_count=1).fit({"document": [["a b"], ["b c"]]})
    with pytest.raises(DataError, match="occur 10 times or more, found none"):
        get("fastsent")().fit({"document": [["a b", "b c"]]})


def test_dictrep_teaches_definitions_to_point_at_their_word():
    from umekomi.models.entity import EntityEmbedder

    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(12)]
    table = EntityEmbedder(words, rng.normal(size=(12, 10)).astype(np.float32))
    data = pa.table({"anchor": [f"thing part{i} kind{i % 4} of all" for i in range(12)] * 6, "positive": words * 6})
    for settings in ({}, {"dimensions": 10}):
        model = get("dictrep")(epochs=30, min_count=1, **settings).fit(data, start=table)
        s = model.similarity(model.encode([f"part{i} kind{i % 4}" for i in range(12)]), table.vectors)
        assert (s.argmax(1) == np.arange(12)).mean() > 0.8
    with pytest.raises(WrongUse, match="dictrep needs start: a table of word vectors"):
        get("dictrep")().fit(data)
    with pytest.raises(DataError, match="expected definitions of words of entities, found 0 among 1"):
        get("dictrep")().fit({"anchor": ["a b"], "positive": ["zebra"]}, start=table)


def test_triples_are_ranked_both_ways(tmp_path):
    from umekomi.data import Dataset
    from umekomi.tasks import build, default_kind, make

    cities = {
        "tokyo": "japan",
        "kyoto": "japan",
        "osaka": "japan",
        "paris": "france",
        "lyon": "france",
        "nice": "france",
    }
    rows = [(city, "in", country) for city, country in cities.items()] * 8
    train = pa.table({"head": [r[0] for r in rows], "relation": [r[1] for r in rows], "tail": [r[2] for r in rows]})
    test = pa.table({"head": ["tokyo", "nice", "atlantis"], "relation": ["in"] * 3, "tail": ["japan", "france", "sea"]})
    model = get("starspace")(dimensions=8, epochs=30, learning_rate=0.05, search=10, threads=1).fit(train)
    assert default_kind(test) == "triple-ranking"
    task = build("triple-ranking", Dataset("cities", {"train": train, "test": test}), "test", "cities")
    found = task.evaluate(model)
    assert found.scores["hits@1"].value == 1
    assert "1 of 3 triples" in found.notes[0]
    assert make("triple-ranking", {"head": ["tokyo"], "relation": ["in"], "tail": ["japan"]}).evaluate(model).value <= 1
    with pytest.raises(WrongUse, match="a model that embeds bags"):
        task.evaluate(tree_model(epochs=1))


@pytest.mark.parametrize("name", ["starspace", "edrep", "fastsent"])
def test_a_fit_begins_with_what_a_table_knows(name):
    from umekomi.models.entity import EntityEmbedder

    data = {
        "starspace": {"left": [["x"], ["y"]] * 9, "right": [["1"], ["2"]] * 9},
        "edrep": GROUPS,
        "fastsent": {"document": [["x y", "y x"]] * 9},
    }[name]
    settings = {"dimensions": 4, "epochs": 1, "learning_rate": 1e-6, "threads": 1} | (
        {"min_count": 1, "last_learning_rate": 1e-6} if name == "fastsent" else {}
    )
    known = EntityEmbedder(["x", "a0"], np.array([[0.0, 0.6, 0.0, 0.8], [1.0, 0.0, 0.0, 0.0]], np.float32))
    model = get(name)(**settings).fit(data, start=known)
    word = "a0" if name == "edrep" else "x"
    assert model[word] == pytest.approx(known[word], abs=1e-3)
    with pytest.raises(WrongUse, match=f"{name}: start must be a table of 5 dimensions"):
        get(name)(**(settings | {"dimensions": 5})).fit(data, start=known)
