"""simcse, nv-embed, gemini-embedding and qwen3-embedding on networks of one layer: what each does to data, model and
card."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from umekomi.errors import DataError, WrongUse
from umekomi.models import load
from umekomi.models.scratch import untrained_transformer
from umekomi.parts.learning.sentences import Stage
from umekomi.parts.networks import sees
from umekomi.recipes import get

ANIMALS = ("cat", "dog", "owl", "eel")
TEXTS = [
    f"the {animal} number {i} lives by {place}" for i in range(6) for animal in ANIMALS for place in ("water", "trees")
]
PAIRS = pa.table(
    {
        "anchor": [f"where does {text.split()[1]} {text.split()[3]} live near {text.split()[-1]}?" for text in TEXTS],
        "positive": TEXTS,
    }
)
CLASSES = pa.table({"text": TEXTS, "label": [text.split()[1] for text in TEXTS]})
SCORED = pa.table(
    {"sentence1": TEXTS[:20], "sentence2": TEXTS[1:21], "score": [5.0 if i % 2 else 1.0 for i in range(20)]}
)
FAST = {"max_length": 24}


@pytest.fixture(scope="module")
def networks():
    return {
        name: untrained_transformer(
            name, TEXTS + PAIRS["anchor"].to_pylist(), layers=1, width=32, heads=4, vocabulary=400, max_length=64
        )
        for name in ("bert", "qwen3")
    }


@pytest.fixture
def stages_run(monkeypatch):
    """What the trainer was given, stage by stage, as it still runs."""
    from umekomi.parts.learning import sentences as training

    seen: list[Stage] = []
    real = training._train

    def train(model, stage, *rest):
        seen.append(stage)
        return real(model, stage, *rest)

    monkeypatch.setattr(training, "_train", train)
    return seen


def round_trip(embedder, tmp_path):
    embedder.save(tmp_path / "model")
    role = "query" if "query" in embedder.roles else None
    np.testing.assert_array_equal(
        load(tmp_path / "model").encode(TEXTS[:4], role=role), embedder.encode(TEXTS[:4], role=role)
    )


# --- simcse -----------------------------------------------------------------------------------------------------------


def simcse(**options):
    return replace(get("simcse")(), batch_size=16, learning_rate=1e-3, **options)


def test_simcse_drops_its_head_without_labels_and_keeps_it_with_them(networks, tmp_path):
    alone = simcse().fit({"text": TEXTS}, start=networks["bert"])
    assert [type(module).__name__ for module in alone.model] == ["Transformer", "Pooling", "Normalize"] and alone.model[
        1
    ].pooling_mode == "cls"
    entailment = {
        "sentence1": TEXTS[:8] * 2,
        "sentence2": TEXTS[8:24],
        "label": ["entailment"] * 8 + ["contradiction"] * 8,
    }
    labelled = simcse(hard_weight=2.0).fit(entailment, start=networks["bert"])
    assert type(labelled.model[-1]).__name__ == "Dense" and labelled.card["training"]["objective"] == "supervised"
    assert type(simcse(mlp="keep").fit({"text": TEXTS}, start=networks["bert"]).model[-1]).__name__ == "Dense"
    assert len(simcse(mlp="none").fit(PAIRS, start=networks["bert"]).model) == 3
    round_trip(labelled, tmp_path)


def test_simcse_views(networks, monkeypatch):
    """Two masks: the positive's cosine is below one in training; one mask or none: it is one."""
    from umekomi.parts.losses.contrastive import InfoNCE

    cosines = []
    real = InfoNCE.of

    def of(self, columns, labels=None, numbers=None):
        cosines.append(torch.nn.functional.cosine_similarity(columns[0], columns[1]).min().item())
        return real(self, columns, labels, numbers)

    monkeypatch.setattr(InfoNCE, "of", of)
    least = {}
    for views in ("two", "same", "none"):
        cosines.clear()
        model = simcse(views=views).fit({"text": TEXTS}, start=networks["bert"])
        least[views] = min(cosines)
        assert all(
            module.p == (0 if views == "none" else 0.1)
            for module in model.model.modules()
            if isinstance(module, torch.nn.Dropout)
        )
    assert least["two"] < 0.999 and least["same"] > 0.99999 and least["none"] > 0.99999


def test_simcse_watches_alignment_and_uniformity(networks, tmp_path):
    import json

    (tmp_path / "watch.jsonl").write_text("\n".join(json.dumps(row) for row in SCORED.to_pylist()))
    curve = (
        simcse(watch=str(tmp_path / "watch.jsonl"), watch_every=2)
        .fit({"text": TEXTS}, start=networks["bert"])
        .card["training"]["curve"]
    )
    assert [point["step"] for point in curve] == [0, 2, 3]
    assert all(point["alignment"] >= 0 and point["uniformity"] <= 0 and -1 <= point["spearman"] <= 1 for point in curve)
    assert curve[0]["uniformity"] != curve[-1]["uniformity"]


def test_the_curve_is_drawn(networks, tmp_path):
    pytest.importorskip("matplotlib")
    from umekomi.inspection import training_curve

    model = simcse(mlp="none").fit({"text": TEXTS}, start=networks["bert"])
    with pytest.raises(WrongUse, match="no curve"):
        training_curve(model, tmp_path / "curve.svg")
    model.card["training"]["curve"] = [
        {"step": i, "alignment": 1 / (i + 1), "uniformity": -float(i), "spearman": i / 9} for i in range(4)
    ]
    assert "alignment and uniformity" in training_curve(model, tmp_path / "curve.svg").read_text()
    with pytest.raises(WrongUse, match="expected a file ending in"):
        training_curve(model, tmp_path / "curve.gif")


def test_simcse_one_seed_one_model(networks):
    a, b, c = (simcse().fit({"text": TEXTS}, start=networks["bert"], seed=seed).encode(TEXTS[:3]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-4


# --- nv-embed ---------------------------------------------------------------------------------------------------------


def nv(**options):
    return replace(
        get("nv-embed").small(),
        **({"pooling": "latent", "latents": 4, "heads": 2, "hard_negatives": 1, "batch_size": 16} | FAST | options),
    )


def test_nv_embed_learns_retrieval_first_and_then_everything_without_in_batch(networks, stages_run, tmp_path):
    model = nv().fit({"questions": PAIRS, "topics": CLASSES, "sts": SCORED}, start=networks["qwen3"])
    first, second = (next(iter(stage.tables.values())) for stage in stages_run)
    assert first.num_rows == len(PAIRS) and all(
        policy[0] == 1 and policy[2] == 1 for policy in first["label"].to_pylist()
    )
    assert second.num_rows == len(PAIRS) + len(CLASSES) + 20 and all(
        policy[0] == 0 for policy in second["label"].to_pylist()
    )
    told = {
        (a.split("\n")[0], bool(b))
        for a, b in zip(second["instruction"].to_pylist(), second["document_instruction"].to_pylist(), strict=True)
    }
    assert told == {
        ("Instruct: Given a question, retrieve passages that answer the question", False),
        ("Instruct: Classify the given text by its class", True),
        ("Instruct: Retrieve semantically similar text", True),
    }
    assert sees(model.model.transformers_model, range(10, 15)).all()
    assert model.model.tokenizer("cat")["input_ids"][-1] == model.model.tokenizer.eos_token_id
    assert model.model.prompts["query"].endswith("\nQuery: ") and model.model.prompts["document"] == ""
    round_trip(model, tmp_path)


def test_negatives_come_from_the_model_as_it_was_or_from_bm25(networks, monkeypatch, tmp_path):
    """Not from a pooling that has learned nothing yet; a backbone's folder is a backbone too."""
    from umekomi.tasks import negatives

    teachers = []
    real = negatives.hard_negatives
    monkeypatch.setattr(
        negatives,
        "hard_negatives",
        lambda teacher, *rest, **options: teachers.append(teacher) or real(teacher, *rest, **options),
    )
    start = networks["bert"].embedder("mean")
    nv(order="single").fit(PAIRS, start=start)
    networks["bert"].save(tmp_path / "backbone")
    nv(order="single").fit(PAIRS, start=str(tmp_path / "backbone"))
    assert teachers[0] is start and teachers[1].kind == "bm25"
    assert qwen(runs=1).fit(PAIRS, start=str(tmp_path / "backbone")).model[1].pooling_mode == "lasttoken"


@pytest.mark.parametrize(("order", "in_batch"), [("reversed", [0, 1]), ("single", [0]), ("single-in-batch", [1])])
def test_nv_embed_orders(networks, stages_run, order, in_batch):
    nv(order=order, epochs=(1, 2)).fit({"questions": PAIRS, "topics": CLASSES}, start=networks["qwen3"])
    assert [next(iter(stage.tables.values()))["label"].to_pylist()[0][0] for stage in stages_run] == in_batch
    assert sum(stage.epochs for stage in stages_run) == 3


def test_nv_embed_goes_on_from_its_own_pooling_and_folds_adapters(networks):
    pytest.importorskip("peft")
    start = nv().fit({"questions": PAIRS, "topics": CLASSES}, start=networks["qwen3"])
    again = nv(pooling="own", lora=(2, 4.0, 0.0)).fit({"questions": PAIRS, "topics": CLASSES}, start=start)
    assert [type(module).__name__ for module in again.model] == [type(module).__name__ for module in start.model]
    assert not any("lora" in name for name in again.model.state_dict())
    assert any(
        not torch.equal(value, again.model.state_dict()[name])
        for name, value in start.model.state_dict().items()
        if "q_proj" in name
    )


# --- gemini-embedding -------------------------------------------------------------------------------------------------


def gemini(**options):
    return replace(get("gemini-embedding").small(), **({"batch_sizes": (16, 16), "prefixes": (8, 16)} | FAST | options))


def test_gemini_embedding_weak_first_then_each_set_alone_then_a_soup(networks, stages_run, tmp_path):
    model = gemini(dimensions=24, runs=2).fit(
        {"weak web": PAIRS, "questions": PAIRS, "topics": CLASSES}, start=networks["qwen3"]
    )
    assert [list(stage.tables) for stage in stages_run] == [
        ["weak web"],
        ["questions", "topics"],
        ["questions", "topics"],
    ]
    assert (
        "negative_1" not in stages_run[0].tables["weak web"].column_names
        and "negative_1" in stages_run[1].tables["questions"].column_names
    )
    loss = stages_run[1].losses["topics"]
    assert (
        loss.prefixes == {8: 1.0, 16: 1.0, 24: 1.0}
        and not loss.candidates.queries
        and loss.candidates.negatives == "own"
    )
    assert (
        model.dimension == 24 and model.card["training"]["merged"] == [0, 1] and model.card["matryoshka"] == [8, 16, 24]
    )
    assert sees(model.model.transformers_model, range(10, 15)).all()
    round_trip(model, tmp_path)


def test_the_soup_is_the_mean_of_its_runs(networks, monkeypatch):
    from umekomi.parts import merging

    made = []
    real = merging.soup
    monkeypatch.setattr(merging, "soup", lambda states, weights=None: made.append(states) or real(states, weights))
    model = gemini(runs=3).fit({"questions": PAIRS}, start=networks["bert"])
    (states,) = made
    assert len(states) == 3
    for name, value in model.model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, sum(state[name] for state in states) / 3)
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_greedy_soup_judges_on_rows_it_did_not_learn_from(networks, stages_run):
    model = gemini(runs=2, merge="greedy", held_out=0.25).fit({"questions": PAIRS}, start=networks["bert"])
    assert stages_run[0].tables["questions"].num_rows == 36 and set(model.card["training"]["merged"]) <= {0, 1}


# --- qwen3-embedding --------------------------------------------------------------------------------------------------


def qwen(**options):
    return replace(get("qwen3-embedding").small(), **({"batch_sizes": (16, 16), "prefixes": (8, 16)} | FAST | options))


def test_qwen3_embedding(networks, stages_run, tmp_path):
    model = qwen(keep_above=-1.0).fit({"weak web": PAIRS, "questions": PAIRS}, start=networks["qwen3"])
    assert [list(stage.tables) for stage in stages_run] == [
        ["weak web"],
        ["questions", "weak web"],
        ["questions", "weak web"],
    ]
    assert model.card["training"]["weak pairs kept"] == len(PAIRS) and model.model[1].pooling_mode == "lasttoken"
    choice = stages_run[1].losses["questions"].candidates
    assert choice.queries and choice.document_document and choice.margin == 0.1 and choice.negatives == "own"
    seen = sees(model.model.transformers_model, range(10, 15))
    assert (seen == np.tril(seen)).all()
    assert model.model.prompts["query"].endswith("\nQuery:") and stages_run[1].tables["questions"]["instruction"][
        0
    ].as_py().endswith("Query:")
    round_trip(model, tmp_path)
    assert (
        qwen(keep_above=1.1)
        .fit({"weak web": PAIRS, "questions": PAIRS}, start=networks["qwen3"])
        .card["training"]["weak pairs kept"]
        == 0
    )


@pytest.mark.parametrize("name", ["gemini-embedding", "qwen3-embedding"])
def test_weak_pairs_alone_are_one_stage(networks, stages_run, name):
    model = {"gemini-embedding": gemini, "qwen3-embedding": qwen}[name]().fit(
        {"weak web": PAIRS}, start=networks["bert"]
    )
    assert len(stages_run) == 1 and model.card["training"]["runs"] == 0


def test_an_interrupted_run_is_not_learned_again(networks, tmp_path):
    recipe = qwen(runs=2)
    first = recipe.fit({"questions": PAIRS}, start=networks["bert"], checkpoint=tmp_path)
    (own,) = tmp_path.iterdir()  # named by all that was learned from
    assert sorted(folder.name for folder in own.iterdir()) == ["run 1 of 2", "run 2 of 2"]
    again = recipe.fit({"questions": PAIRS}, start=networks["bert"])
    np.testing.assert_array_equal(first.encode(TEXTS[:3], role="document"), again.encode(TEXTS[:3], role="document"))


# --- all --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields", "data"),
    [
        ("simcse", {"temperature": 0.0}, {"text": TEXTS}),
        ("simcse", {"views": "three"}, {"text": TEXTS}),
        ("simcse", {}, {"text": ["one"]}),
        ("nv-embed", {"order": "sideways"}, PAIRS),
        ("nv-embed", {"temperature": -1.0}, PAIRS),
        ("nv-embed", {}, pa.table({"text": TEXTS, "label": ["same"] * len(TEXTS)})),
        ("gemini-embedding", {"merge": "stirred"}, PAIRS),
        ("gemini-embedding", {"temperature": 0.0}, PAIRS),
        ("qwen3-embedding", {"runs": 0}, PAIRS),
        (
            "qwen3-embedding",
            {},
            pa.table({**{name: PAIRS[name] for name in ("anchor", "positive")}, "negative_1": PAIRS["positive"]}),
        ),
    ],
)
def test_wrong_use_is_one_line(networks, name, fields, data):
    with pytest.raises((WrongUse, DataError), match="expected") as error:
        replace(get(name).small(), **fields).fit(data, start=networks["bert"])
    assert "\n" not in str(error.value)


def test_a_model_that_is_no_transformer(networks):
    for name in ("simcse", "nv-embed", "gemini-embedding", "qwen3-embedding"):
        with pytest.raises(WrongUse, match="transformer text embedder"):
            get(name).small().fit(PAIRS, start="hashing")


def test_the_verb_takes_sets_by_name(networks, tmp_path, capsys):
    import csv
    import json

    from umekomi.cli.main import main
    from umekomi.verbs.train import train

    with (tmp_path / "pairs.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows(
            [PAIRS.column_names, *zip(*(PAIRS[name].to_pylist() for name in PAIRS.column_names), strict=True)]
        )
    (tmp_path / "topics.jsonl").write_text("\n".join(json.dumps(row) for row in CLASSES.to_pylist()))
    networks["qwen3"].save(tmp_path / "start")
    words = [
        "train",
        "nv-embed",
        "--start",
        str(tmp_path / "start"),
        "--small",
        "--set",
        "max_length=24",
        "--out",
        str(tmp_path / "out"),
    ]
    sets = ["--data", f"questions={tmp_path / 'pairs.csv'}", "--data", f"topics={tmp_path / 'topics.jsonl'}"]
    assert main([*words, *sets, "--json"]) == 0
    card = json.loads(capsys.readouterr().out)["card"]
    assert (
        card["training"]["sets"] == {"questions": "pairs", "topics": "labelled texts"}
        and "questions: " in card["trained_on"]
    )
    assert load(tmp_path / "out").dimension == 32
    for wrong in ([*sets[:2], *sets[:2]], [*sets[:2], "--data", str(tmp_path / "pairs.csv")]):
        assert main([*words, *wrong]) == 2
    with pytest.raises(WrongUse, match="simcse learns from one set, found 2"):
        train("simcse", {"a": PAIRS, "b": CLASSES})
