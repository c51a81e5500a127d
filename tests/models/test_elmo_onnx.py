"""ELMo's two graphs: the network's own vectors, without torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.models import load

pytest.importorskip("onnxruntime")

FIXTURE = Path(__file__).parents[1] / "fixtures" / "elmo-onnx"
SMALL = {"filters": [(1, 3), (2, 4)], "projection": 3, "width": 5, "characters": 4, "longest": 8}
WORDS = ["the", "a", "cat", "dog", "sat", "don't", "ünder", "日本", "unbelievably", ".", ","]
FREE = {"cell_clip": None, "projection_clip": None}
CLIPPED = {"scale": 3.0, "sizes": {"cell_clip": 0.4, "projection_clip": 0.2}}
"""Sizes at which both bounds are reached."""
TEXTS = ["The cat sat.", "a dog", "", "the dog don't sit ünder it " * 30, "日本 語", "unbelievablylong words", "\n\t"]


def model(split="treebank", scale=1.0, sizes=None, **reading):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from umekomi.models.elmo import ElmoEmbedder
    from umekomi.models.words import CharacterReader
    from umekomi.parts.layers.bilm import BiLanguageModel, ElmoNetwork
    from umekomi.parts.learning.modules import seed_globals

    with seed_globals(3):
        network = ElmoNetwork(BiLanguageModel(**(SMALL | (sizes or {}))), **reading)
    with torch.no_grad():
        network.mix.copy_(torch.linspace(-1, 1, len(network.mix)))
        network.gamma.fill_(1.5)
        for side in (network.model.forwards, network.model.backwards):
            for weight in side.parameters():
                weight *= scale
    return ElmoEmbedder(CharacterReader.of(split, 8), network, name="small")


def exported(embedder, runtime=""):
    from umekomi.models.engines.choice import export

    return export(embedder, runtime)


def cosines(a, b):
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)


# --- with the runtime alone -------------------------------------------------------------------------------------------


def test_a_saved_graph_gives_the_vectors_that_torch_gave():
    expected = json.loads(FIXTURE.with_name("elmo-onnx.json").read_text(encoding="utf-8"))
    texts, want = expected["texts"], np.array(expected["vectors"])
    graph = load(FIXTURE)
    assert graph.kind == "elmo-onnx" and graph.dimension == 6
    whole = graph.encode(texts)
    np.testing.assert_allclose(whole, want, atol=1e-6)
    alone = np.concatenate([graph.encode([text], batch_size=1) for text in texts])
    np.testing.assert_allclose(alone, whole, rtol=1e-5, atol=1e-7)
    assert not whole[2].any() and whole[[0, 1, 3, 4, 5]].any(1).all()
    assert graph.lengths(texts).tolist() == [4, 2, 0, 210, 2, 2]
    assert not graph.truncated(texts).any()
    assert graph.encode([]).shape == (0, 6)


def test_what_it_keeps_of_words_changes_nothing(monkeypatch):
    from umekomi.models.engines import elmo

    texts = [" ".join(np.random.default_rng(i).choice(WORDS, i % 9)) + f" word{i}" for i in range(60)]
    want = load(FIXTURE).encode(texts)
    monkeypatch.setattr(elmo, "KNOWN", 3 * 20)
    monkeypatch.setattr(elmo, "CHUNK", 7)
    graph = load(FIXTURE)
    for _ in range(2):
        np.testing.assert_allclose(graph.encode(texts), want, rtol=1e-5, atol=1e-7)
    assert 20 <= len(graph._known) < 27


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"longest": 2}, "longest: expected 3 characters or more, found 2"),
        ({"longest": "8"}, "longest: expected int, found str '8'"),
        ({"before": "os"}, "before: expected nothing, surfaces or bigrams, found 'os'"),
        ({"context": 0}, "expected sizes above zero"),
        ({"dimension": 8}, "expected 2 vectors of 4 numbers from the graph of its words, found shape [2, 3]"),
        ({"extra": 1}, "found 'extra'"),
    ],
)
def test_settings_that_are_none_are_one_line(change, line, tmp_path):
    shutil.copytree(FIXTURE, tmp_path / "m")
    head = json.loads((tmp_path / "m" / "umekomi.json").read_text())
    head["settings"] |= change
    (tmp_path / "m" / "umekomi.json").write_text(json.dumps(head))
    (tmp_path / "m" / "SHA256SUMS").unlink()
    with pytest.raises(DataError) as told:
        load(tmp_path / "m")
    assert line in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["model.onnx", "words.onnx", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_folder_that_is_not_whole_is_one_line(name, damage, tmp_path):
    shutil.copytree(FIXTURE, tmp_path / "m")
    file = tmp_path / "m" / name
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(UmekomiError) as told:
        load(tmp_path / "m").encode(["a dog"])
    assert name in str(told.value) and "\n" not in str(told.value)


# --- beside torch -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runtime", "reading"),
    [
        ("onnx", {}),
        ("openvino", {}),
        ("onnx", {"layer": 0}),
        ("onnx", {"layer": 1}),
        ("onnx", {"split": "bigrams"}),
        ("onnx", {"sizes": {"layers": 3, "residual": False, "activation": "tanh"} | FREE}),
        ("onnx", CLIPPED),
        ("openvino", CLIPPED),
    ],
)
def test_the_graphs_give_the_networks_vectors(runtime, reading):
    pytest.importorskip("onnxruntime" if runtime == "onnx" else runtime)
    embedder = model(**reading)
    graph = exported(embedder, runtime)
    texts = TEXTS + [" ".join(np.random.default_rng(i).choice(WORDS, i % 40)) for i in range(40)]
    want = embedder.encode(texts)
    for found in (graph.encode(texts), np.concatenate([graph.encode([text]) for text in texts])):
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
        assert (cosines(found, want)[want.any(1)] > 0.9999).all() and not found[~want.any(1)].any()
    assert graph.lengths(texts).tolist() == embedder.lengths(texts).tolist()


def test_the_clips_are_in_the_graph():
    clipped = exported(model(**CLIPPED)).encode(TEXTS)
    for name in CLIPPED["sizes"]:
        other = exported(model(**CLIPPED | {"sizes": CLIPPED["sizes"] | {name: None}})).encode(TEXTS)
        assert np.abs(clipped - other).max() > 0.01


def test_a_step_against_a_slow_loop():
    embedder = model(**CLIPPED)
    network, text = embedder.network.model, ["a", "dog", "sat"]
    graph = exported(embedder)
    weights = {name: value.detach().double().numpy() for name, value in network.named_parameters()}
    rows = np.concatenate([graph._marks[:1], graph._word_vectors(text), graph._marks[1:]]).astype(np.float64)
    shares = np.exp(np.linspace(-1, 1, 3))
    shares *= 1.5 / shares.sum()
    total = np.zeros((5, 6))
    for side, name in enumerate(("forwards", "backwards")):
        given = rows if side == 0 else rows[::-1]
        mixed = shares[0] * given
        for layer in range(2):
            own = {key: weights[f"{name}.cells.{layer}.{key}_l0"] for key in ("weight_ih", "weight_hh", "weight_hr")}
            bias = weights[f"{name}.cells.{layer}.bias_ih_l0"] + weights[f"{name}.cells.{layer}.bias_hh_l0"]
            h, c, outputs = np.zeros(3), np.zeros(5), []
            for x in given:
                i, f, g, o = np.split(own["weight_ih"] @ x + own["weight_hh"] @ h + bias, 4)
                i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
                c = np.clip(f * c + i * np.tanh(g), -0.4, 0.4)
                h = np.clip(own["weight_hr"] @ (o * np.tanh(c)), -0.2, 0.2)
                outputs.append(h)
            given = np.array(outputs) + (given if layer else 0)
            mixed = mixed + shares[layer + 1] * given
        total[:, 3 * side : 3 * side + 3] = mixed if side == 0 else mixed[::-1]
    np.testing.assert_allclose(graph.encode("a dog sat")[0], total[1:-1].mean(0), atol=1e-5)


def test_a_text_that_torch_reads_in_pieces():
    embedder = model()
    text = " ".join(np.random.default_rng(0).choice(WORDS, 5_000))
    np.testing.assert_allclose(exported(embedder).encode([text]), embedder.encode([text]), rtol=1e-4)


def test_the_verbs_take_it_and_torch_is_not_there(fresh, tmp_path, monkeypatch):
    from umekomi.models.engines.choice import open_for_encoding
    from umekomi.verbs.convert import convert

    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    embedder = model()
    embedder.save(tmp_path / "m")
    opened = open_for_encoding(str(tmp_path / "m"), "onnx")
    assert (opened.kind, opened.name, opened.fingerprint()) == ("elmo-onnx", "small", embedder.fingerprint())
    convert(tmp_path / "m", tmp_path / "onnx", "onnx")
    convert(tmp_path / "onnx", tmp_path / "again", "onnx")
    (tmp_path / "texts.txt").write_text("\n".join(text.strip() or "-" for text in TEXTS), encoding="utf-8")
    told = fresh(
        f"""
import sys, numpy as np, umekomi
from umekomi.cli import main
for model, more in (({str(tmp_path / "again")!r}, []), ({str(tmp_path / "m")!r}, ["--engine", "onnx"])):
    sys.argv = ["umekomi", "encode", model, {str(tmp_path / "texts.txt")!r}, "--out", {str(tmp_path / "v.npy")!r}, *more]
    try:
        main()
    except SystemExit as end:
        assert not end.code
    print("\\nfound", np.load({str(tmp_path / "v.npy")!r}).sum().item(), "torch" in sys.modules)
"""
    )
    want = float(embedder.encode([text.strip() or "-" for text in TEXTS]).sum())
    lines = [line.split()[1:] for line in told.splitlines() if line.startswith("found")]
    assert len(lines) == 2
    for total, torch_there in lines:
        assert float(total) == pytest.approx(want, abs=1e-4) and torch_there == "False"


def test_what_has_no_graph_says_why(tmp_path):
    from umekomi.models.engines.choice import open_for_encoding
    from umekomi.verbs.convert import convert

    carried = model(stateful=True)
    carried.save(tmp_path / "m")
    for job in (
        lambda: convert(tmp_path / "m", tmp_path / "out", "onnx"),
        lambda: open_for_encoding(str(tmp_path / "m"), "onnx"),
    ):
        with pytest.raises(WrongUse, match=r"depends on what was read before it \(stateful\)") as told:
            job()
        assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()
    model().save(tmp_path / "plain")
    with pytest.raises(WrongUse, match="int8: expected a model of one graph, found small-onnx, of kind elmo-onnx"):
        convert(tmp_path / "plain", tmp_path / "out", "onnx", precision="int8", data=["a dog"] * 9)
