import json
import math

import numpy as np
import pyarrow as pa
import pytest

import umekomi
from umekomi.cli.main import main
from umekomi.errors import WrongUse

DOCUMENTS = [
    f"the {animal} {verb} {place} on day {day}"
    for day in range(4)
    for animal in ("cat", "dog", "owl")
    for verb in ("sat", "slept")
    for place in ("here", "there")
]


def pairs(count=40):
    return pa.table(
        {
            "anchor": [
                f"question {i}: {text.split()[1]} {text.split()[-1]}?" for i, text in enumerate(DOCUMENTS[:count])
            ],
            "positive": DOCUMENTS[:count],
        }
    )


def test_any_embedder_has_a_space():
    done = umekomi.inspect("hashing", pairs())
    assert done.layers == () and "alignment" in done.space and "no layers" in done.notes[-1]
    assert 1 <= done.space["effective rank"] <= 1024 and -4 <= done.space["uniformity"] <= 0


torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from umekomi.inspection.layers import AllLayers, cut_layers
from umekomi.models.scratch import untrained_transformer


@pytest.fixture(scope="module")
def embedders():
    return {
        name: untrained_transformer(name, DOCUMENTS, layers=3, width=32, heads=4, vocabulary=400).embedder("mean")
        for name in ("bert", "qwen3", "modernbert")
    }


@pytest.mark.parametrize("name", ["bert", "qwen3", "modernbert"])
def test_the_last_layer_is_the_model_and_a_cut_is_its_layer(embedders, name):
    embedder = embedders[name]
    layers = AllLayers(embedder)
    every = layers.encode(DOCUMENTS[:9])
    np.testing.assert_allclose(every[-1], embedder.encode(DOCUMENTS[:9]), atol=1e-6)
    assert layers.count == 4 and not embedder.model.transformers_model.config.output_hidden_states
    shorter = cut_layers(embedder, 2)
    assert len(AllLayers(shorter).encode(DOCUMENTS[:2])) == 3 and AllLayers(embedder).count == 4
    if name == "bert":  # no norm stands behind its last layer
        np.testing.assert_allclose(shorter.encode(DOCUMENTS[:9]), every[2], atol=1e-6)
    with pytest.raises(WrongUse, match="expected 1 to 3, found 4"):
        cut_layers(embedder, 4)


def test_a_cut_round_trips(embedders, tmp_path):
    for name, embedder in embedders.items():
        shorter = cut_layers(embedder, 2)
        shorter.save(tmp_path / name)
        np.testing.assert_array_equal(
            umekomi.load(tmp_path / name, engine="torch").encode(DOCUMENTS[:3]), shorter.encode(DOCUMENTS[:3])
        )


def test_layers_are_judged_beside_their_metrics(embedders, tmp_path):
    done = umekomi.inspect(embedders["qwen3"], pairs(), out=tmp_path / "page.html", most=30, views=2)
    assert [row.layer for row in done.layers] == [0, 1, 2, 3] and done.layers[-1].difference.value == 0
    assert {choice.rule for choice in done.choices} >= {
        "last layer",
        "a layer at random (mean)",
        "two thirds of the depth",
        "oracle (the best on this data)",
        "lowest DiME",
    }
    assert max(row.value for row in done.layers) == next(
        choice.value for choice in done.choices if choice.rule.startswith("oracle")
    )
    assert next(choice.layer for choice in done.choices if choice.rule == "two thirds of the depth") == 2
    for found in done.correlations:
        assert -1 <= found.value <= 1 and 0 < found.p <= 1
    page = (tmp_path / "page.html").read_text()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["layers"][0]["metrics"].keys() == done.layers[0].metrics.keys() and "http" not in page.replace(
        "http://www.w3.org", ""
    )
    other = umekomi.inspect(embedders["qwen3"], pairs(), most=30, views=2, repository=True)
    assert other.layers[2].metrics["prompt entropy"] != done.layers[2].metrics["prompt entropy"]
    assert other.layers[2].value == done.layers[2].value


def test_bare_texts_have_metrics_and_no_quality(embedders, tmp_path):
    done = umekomi.inspect(embedders["bert"], {"text": DOCUMENTS}, out=tmp_path / "page.html", views=2)
    assert len(done.layers) == 4 and math.isnan(done.layers[0].value) and math.isfinite(done.layers[0].metrics["DiME"])
    assert done.choices == () and done.correlations == () and done.metric == "" and "bare texts" in " ".join(done.notes)
    assert "NaN" not in (tmp_path / "page.html").read_text().split('id="data">')[1].split("</script>")[0]


def test_correlations_are_signed_and_permuted():
    from umekomi.statistics import Interval
    from umekomi.verbs.inspect import LayerRow, _correlations

    rows = [
        LayerRow(
            i,
            float(i),
            0.0,
            1.0,
            Interval(0, 0, 0),
            {"up": float(i**3), "down": -float(i), "flat": 1.0, "gone": math.nan},
        )
        for i in range(6)
    ]
    found = {one.metric: one for one in _correlations(rows, 0)}
    assert (
        found["up"].value == pytest.approx(1)
        and found["down"].value == pytest.approx(-1)
        and set(found) == {"up", "down"}
    )
    assert found["up"].p == pytest.approx(2 / math.factorial(6), rel=0.01)  # all 720 orders are looked at


def test_errors_are_one_line(embedders, tmp_path):
    for wrong in (
        lambda: umekomi.inspect("hashing", pairs(), layers=True),
        lambda: umekomi.inspect(embedders["bert"], pairs(), out=tmp_path / "page.txt"),
        lambda: umekomi.inspect(embedders["bert"], pairs(), views=1),
        lambda: umekomi.inspect(embedders["bert"], pa.table({"text": ["one. Two three."]})),
    ):
        with pytest.raises(umekomi.UmekomiError) as error:
            wrong()
        assert "\n" not in str(error.value)


def test_the_verb(embedders, tmp_path, capsys):
    embedders["bert"].save(tmp_path / "model")
    rows = [json.dumps(row) for row in pairs().to_pylist()]
    (tmp_path / "data.jsonl").write_text("\n".join(rows))
    assert (
        main(["inspect", str(tmp_path / "model"), "--data", str(tmp_path / "data.jsonl"), "--views", "2", "--json"])
        == 0
    )
    assert len(json.loads(capsys.readouterr().out)["layers"]) == 4
    assert main(["inspect", str(tmp_path / "model"), "--data", str(tmp_path / "data.jsonl"), "--views", "2"]) == 0
    assert "two thirds of the depth" in capsys.readouterr().out


def test_shrink_keeps_fewer_layers_only_where_they_win(embedders, tmp_path):
    done = umekomi.shrink(
        embedders["bert"], pairs(), tmp_path / "out", layers=[1, 2], dims=[32], bits=[32, 8], sparse=[]
    )
    names = [row.name for row in done.rows]
    assert {"whole", "first 1 of 3 layers", "first 2 of 3 layers"} <= set(names)
    again = umekomi.load(tmp_path / "out", engine="torch")
    kept = next(note for note in done.notes if "layers" in note)
    first = next((count for count in (1, 2) if f"first {count} of 3 layers kept" in kept), None)
    tried = {row.name: row for row in done.rows}
    assert (first is None) == all(tried[f"first {count} of 3 layers"].difference.low <= -0.01 for count in (1, 2))
    if first:
        inner = again.base if hasattr(again, "base") else again
        assert inner.model.transformers_model.config.num_hidden_layers == first
        assert all(row.name.startswith(f"first {first} of 3") for row in done.rows if not row.baseline)
    np.testing.assert_array_equal(again.encode(DOCUMENTS[:3]), done.embedder.encode(DOCUMENTS[:3]))


STORIES = [["red balls fell.", "nobody saw them!"], ["a car stopped.", "it was blue."], ["boxes came.", "we left."]]


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A model that has learned three stories by heart, and the stories as a file."""
    from dataclasses import replace

    from umekomi.recipes import get

    folder = tmp_path_factory.mktemp("writer")
    own = replace(get("hierarchical-autoencoder").tiny(), width=24, word_dimensions=12, epochs=25)
    replace(own, batch_size=4, learning_rate=0.02).fit({"document": STORIES * 8}, seed=0).save(folder / "m")
    lines = (json.dumps({"text": " ".join(story)}) + "\n" for story in STORIES)
    (folder / "stories.jsonl").write_text("".join(lines))
    (folder / "documents.jsonl").write_text('{"document": ["boxes came.", "we left."]}\n{"document": []}\n')
    (folder / "blank.jsonl").write_text('{"text": "boxes came."}\n{"text": " "}\n')
    return folder


@pytest.mark.parametrize("beam", [(), ("--beam", "1"), ("--beam", "3")])
def test_what_a_model_writes_back(writer, beam, capsys):
    words = ["inspect", str(writer / "m"), "--data", str(writer / "stories.jsonl"), "--reconstruct", *beam]
    assert main(words) == 0
    assert capsys.readouterr().out == (
        "text:    red balls fell. nobody saw them!\nwritten: red balls fell .\n         nobody saw them !\n\n"
        "text:    a car stopped. it was blue.\nwritten: a car stopped .\n         it was blue .\n\n"
        "text:    boxes came. we left.\nwritten: boxes came .\n         we left .\n"
    )
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[2] == {"text": "boxes came. we left.", "written": "boxes came .\nwe left ."} and len(found) == 3


def test_a_text_without_a_known_word_and_fewer_texts(writer, capsys):
    from umekomi.cli.inspect import print_written
    from umekomi.verbs.inspect import Rewritten

    print_written([Rewritten("???", ""), Rewritten("a\nb", "c")], json=False)
    assert capsys.readouterr().out == (
        "text:    ???\nwritten: (nothing: it has no word that the model knows)\n\ntext:    a\n         b\nwritten: c\n"
    )
    words = ["inspect", str(writer / "m"), "--reconstruct", "--data"]
    many = writer / "many.jsonl"
    many.write_text("".join(json.dumps({"text": f"boxes came {n}."}) + "\n" for n in range(9)))
    assert main([*words, str(many), "--most", "4", "--json"]) == 0
    out = capsys.readouterr()
    assert len(json.loads(out.out)) == 4 and "4 of 9 texts" in out.err


@pytest.mark.parametrize(("model", "more", "said"), [
    ("m", ("--beam", "0"), "--beam: expected a whole number from 1 to 10,000, found 0"),
    ("random", (), "cannot write: expected a model of hierarchical-autoencoder, found one of kind"),
    ("m", ("--data", "blank.jsonl"), "line 2, column 'text': expected text, found empty text"),
    ("m", ("--data", "documents.jsonl"), "line 2, column 'document': expected a list of texts, found []"),
    ("m", ("--layers",), "expected none of --out, --task, --layers and --repository"),
])  # fmt: skip
def test_what_cannot_be_written_back_is_one_line(writer, model, more, said, monkeypatch, capsys):
    monkeypatch.chdir(writer)
    assert main(["inspect", model, "--data", "stories.jsonl", "--reconstruct", *more]) != 0
    out = capsys.readouterr()
    assert said in out.err and out.err.count("\n") == 1 and not out.out


def test_a_beam_without_a_reconstruction(writer, capsys):
    assert main(["inspect", str(writer / "m"), "--beam", "3"]) == 2
    assert capsys.readouterr().err == "umekomi: --beam: expected --reconstruct beside it\n"


def test_a_recipe_that_learned_by_writing_and_kept_nothing_of_it(writer, tmp_path, capsys):
    from umekomi.recipes import get

    texts = [" ".join(story) for story in STORIES]
    get("sdae").tiny().fit({"text": texts * 4}, seed=0).save(tmp_path / "sdae")
    assert main(["inspect", str(tmp_path / "sdae"), "--data", str(writer / "stories.jsonl"), "--reconstruct"]) == 2
    assert "sdae cannot write: expected a model of hierarchical-autoencoder" in capsys.readouterr().err
