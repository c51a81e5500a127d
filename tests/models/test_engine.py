"""The CPU engine against sentence-transformers: the same vectors, whatever the batch; long texts in windows; late
chunking."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
from conftest import TEXTS, needs_data, with_fewer_tokens
from tokenizers import Tokenizer

from umekomi.errors import DataError, WrongUse
from umekomi.files import cache_folder
from umekomi.models import load
from umekomi.models.truncation import encode_truncated, late_chunks

pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")

from umekomi.models.engines.choice import open_for_encoding
from umekomi.models.engines.onnx import OnnxEmbedder


@pytest.fixture(scope="module")
def engine():
    return open_for_encoding("minilm", "onnx")


@pytest.fixture(scope="module")
def small():
    """A network of two layers that knows nothing, for what does not depend on what a model knows."""
    from umekomi.models.scratch import untrained_transformer

    network = untrained_transformer("bert", mixed(40), layers=2, width=32, heads=2, vocabulary=300, max_length=64)
    return network.embedder("mean")


def mixed(count: int) -> list[str]:
    """Texts of one word to twice what minilm reads."""
    draw = random.Random(5)
    words = [
        "the",
        "quick",
        "brown",
        "fox",
        "jumps",
        "over",
        "lazy",
        "dogs",
        "東京",
        "埋め込み",
        "naïve",
        "1,234",
        "🙂",
        "unbelievable",
    ]
    return [" ".join(draw.choices(words, k=draw.choice((1, 3, 9, 30, 120, 400)))) for _ in range(count)]


def test_every_text_has_the_vector_of_sentence_transformers(engine, minilm):
    texts = [*mixed(40), "", " ", *TEXTS]
    want = minilm.model.encode(texts)
    cosines = (want * engine.encode(texts)).sum(1)
    assert cosines.min() >= 0.9999
    assert np.abs(want - engine.encode(texts)).max() < 1e-5
    assert isinstance(engine, OnnxEmbedder)
    assert engine.fingerprint() == minilm.fingerprint()
    assert (engine.name, engine.dimension, engine.metric) == (minilm.name, minilm.dimension, minilm.metric)


@needs_data
def test_exact_on_real_sentences_and_abstracts(engine, minilm):
    from umekomi.data import load as data

    sentences = data("stsb", "test")["sentence1"].to_pylist()[:200]
    abstracts = data("scifact")["test"].corpus["text"].to_pylist()[:12]
    for texts in (sentences, abstracts):
        assert (minilm.encode(texts) * engine.encode(texts)).sum(1).min() >= 0.9999


def test_the_same_vector_whatever_the_batch(engine, tmp_path):
    texts = mixed(24)
    want = np.concatenate([engine.encode([text], batch_size=1) for text in texts])
    assert np.abs(engine.encode(texts) - want).max() <= 1e-5
    assert np.abs(engine.encode(texts, batch_size=7) - want).max() <= 1e-5
    order = random.Random(1).sample(range(24), 24)
    assert np.abs(engine.encode([texts[i] for i in order]) - want[order]).max() <= 1e-5
    for threads in (1, 3):
        other = OnnxEmbedder(
            engine.graph,
            engine.tokenizer,
            dimension=384,
            context=256,
            metric="cosine",
            prompts={},
            name="threads",
            threads=threads,
        )
        assert np.abs(other.encode(texts) - want).max() <= 1e-5
    engine.save(tmp_path / "saved")
    assert np.abs(load(tmp_path / "saved").encode(texts) - want).max() <= 1e-5


def test_reported_tokens_and_cuts_are_the_tokenizers(engine, minilm):
    texts = ["", "one two three", "word " * 254, "word " * 255, "漢字" * 200]
    for embedder in (engine, minilm):
        found = embedder.encode_with_counts(texts)
        assert found.truncated.tolist() == [False, False, False, True, True]
        assert found.truncated.tolist() == embedder.truncated(texts).tolist()
        assert found.tokens.tolist() == [2, 5, 256, 256, 256], "what reached the model"
    assert engine.lengths(texts).tolist() == minilm.lengths(texts).tolist() == [2, 5, 256, 257, 402]


def test_the_second_opening_needs_no_torch(engine, fresh):
    out = fresh(
        "import sys, umekomi\nfrom umekomi.models.engines.choice import open_for_encoding\n"
        "m = open_for_encoding('minilm')\nprint(m.kind, m.encode(['a']).shape, 'torch' in sys.modules)"
    )
    assert out.split() == ["onnx", "(1,", "384)", "False"]


def test_openvino_gives_the_same_vectors_from_many_threads(engine, minilm):
    pytest.importorskip("openvino")
    from concurrent.futures import ThreadPoolExecutor

    texts = mixed(24)
    opened = open_for_encoding("minilm", "openvino")
    assert (opened.runtime.gpu, opened.rounding, opened.fingerprint()) == (False, "", minilm.fingerprint())
    assert type(opened.runtime) is not type(engine.runtime)
    want = np.concatenate([opened.encode([text]) for text in texts])
    assert (engine.encode(texts) * want).sum(1).min() >= 0.9999
    for size in (256, 7):
        assert np.abs(opened.encode(texts, batch_size=size) - want).max() <= 1e-5
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda start: opened.encode(texts[start : start + 3]), range(0, 24, 3)))
    assert np.abs(np.concatenate(found) - want).max() <= 1e-5


def test_bfloat16_is_asked_for_says_what_it_costs_and_is_kept_apart(
    engine, minilm, small, tmp_path, monkeypatch, capsys
):
    openvino = pytest.importorskip("openvino")
    from umekomi.models.engines import choice as module
    from umekomi.transforms import transform_class
    from umekomi.verbs.encode import encode

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(WrongUse, match="expected a processor that computes in bfloat16"):
            open_for_encoding("minilm", "openvino-bf16")
        return
    graphs = cache_folder() / "engines"
    if graphs.is_dir():  # vectors are to be this test's own, graphs need not
        shutil.copytree(graphs, tmp_path / "cache" / "engines")
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    texts = mixed(16)
    rounded = open_for_encoding("minilm", "openvino-bf16")
    assert "in bfloat16: the least cosine to its own vectors is 0.9999" in capsys.readouterr().err
    assert (rounded.rounding, rounded.fingerprint()) == ("bf16", minilm.fingerprint())
    off = np.abs(rounded.encode(texts) - engine.encode(texts)).max()
    assert 1e-5 < off < 0.01, "it does compute in bfloat16"
    assert (rounded.encode(texts) * engine.encode(texts)).sum(1).min() >= 0.9999
    short = small.with_transform(transform_class("truncate")(16))
    short.save(tmp_path / "t")
    assert open_for_encoding(tmp_path / "t", "openvino-bf16").rounding == "bf16"
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    for name in ("openvino-bf16", "onnx", "openvino-bf16"):
        encode(tmp_path / "t", tmp_path / "a.jsonl", tmp_path / f"{name}.npy", engine=name)
    coarse, exact = (np.load(tmp_path / f"{name}.npy") for name in ("openvino-bf16", "onnx"))
    assert np.abs(exact - short.encode(texts)).max() < 1e-5 < np.abs(coarse - exact).max(), "the cache keeps both apart"
    minilm.save(tmp_path / "m")
    monkeypatch.setattr(module, "EXACT", 0.999999)
    with pytest.raises(WrongUse, match=r"cannot be run by OpenVINO in bfloat16: its graph gives another vector"):
        open_for_encoding(tmp_path / "m", "openvino-bf16")


def test_a_converted_graph_runs_by_either(engine, tmp_path):
    pytest.importorskip("openvino")
    engine.save(tmp_path / "graph")
    opened = open_for_encoding(tmp_path / "graph", "openvino")
    assert type(opened.runtime) is not type(engine.runtime)
    assert opened.fingerprint() == load(tmp_path / "graph").fingerprint()
    assert np.abs(opened.encode(TEXTS) - engine.encode(TEXTS)).max() <= 1e-5
    (tmp_path / "graph" / "model.onnx").write_bytes(b"broken")
    with pytest.raises(DataError, match="expected a graph, found what cannot be opened"):
        open_for_encoding(tmp_path / "graph", "openvino")


def test_a_runtime_that_is_not_installed_is_one_line(monkeypatch):
    from umekomi.models.engines import runtimes

    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    for name, extra in (("openvino-bf16", "openvino"), ("onnx", "onnx")):
        with pytest.raises(
            WrongUse,
            match=rf"engine {name} needs the package '.*', which is not installed: pip install 'umekomi\[{extra}\]'",
        ):
            open_for_encoding("minilm", name)
    assert open_for_encoding("minilm").kind == "text", "auto leaves torch"


def test_another_model_in_the_same_folder_is_another_graph(small, tmp_path):
    """The kept graph goes by content: weights that changed are exported anew."""
    import torch

    small.save(tmp_path / "m")
    first = open_for_encoding(tmp_path / "m").encode(["a text"])
    changed = load(tmp_path / "m")
    with torch.no_grad():
        changed.model[0].auto_model.encoder.layer[1].output.dense.weight += 0.1 * torch.randn(
            32, 128, generator=torch.Generator().manual_seed(0)
        )
    changed.save(tmp_path / "m")
    second = open_for_encoding(tmp_path / "m").encode(["a text"])
    assert np.abs(second - changed.encode(["a text"])).max() < 1e-5 < np.abs(first - second).max()


def test_what_cannot_be_exact_runs_by_torch_or_is_refused(small, tmp_path, monkeypatch, capsys):
    from umekomi.models.engines import choice as module

    small.save(tmp_path / "m")
    monkeypatch.setattr(module, "EXACT", 1.1)
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    assert open_for_encoding(tmp_path / "m").kind == "text"
    assert "runs by torch; it cannot be exported (its graph gives another vector" in capsys.readouterr().err
    with pytest.raises(WrongUse, match="cannot be run by ONNX Runtime"):
        open_for_encoding(tmp_path / "m", "onnx")
    with pytest.raises(WrongUse, match="engine: expected auto, onnx, openvino, openvino-bf16, torch, found 'fast'"):
        open_for_encoding("minilm", "fast")
    load("random").save(tmp_path / "random")
    with pytest.raises(WrongUse, match="random is of kind random"):
        open_for_encoding(tmp_path / "random", "onnx")
    with pytest.raises(WrongUse, match="random is of kind random"):
        open_for_encoding("random", "openvino")


def test_a_broken_kept_graph_is_one_line(small, tmp_path, monkeypatch):
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path / "cache"))
    small.save(tmp_path / "m")
    open_for_encoding(tmp_path / "m")
    (kept,) = (path for path in (tmp_path / "cache" / "engines").iterdir() if path.is_dir())
    (kept / "model.onnx").write_bytes(b"broken")
    again = open_for_encoding(tmp_path / "m")
    assert again.encode(["a"]).shape == (1, 32)
    shutil.rmtree(tmp_path / "cache")


def test_transforms_stand_behind_the_engine(minilm, tmp_path):
    from umekomi.transforms import transform_class

    shrunk = minilm.with_transform(transform_class("truncate")(64))
    shrunk.save(tmp_path / "t")
    for _ in range(2):
        opened = open_for_encoding(tmp_path / "t")
    assert (opened.base.kind, opened.name) == ("onnx", shrunk.name)
    assert opened.fingerprint() == load(tmp_path / "t").fingerprint()
    assert np.abs(opened.encode(TEXTS) - shrunk.encode(TEXTS)).max() < 1e-5
    assert opened.encode_with_counts(["word " * 400]).truncated.tolist() == [True]


def test_eight_bits_say_what_they_cost(minilm, tmp_path):
    """Every text of the data keeps its vector to the cosine asked for, which is measured anew here; what cannot is
    refused."""
    from umekomi.inspection.layers import cut_layers
    from umekomi.models.engines.onnx import export
    from umekomi.verbs.convert import convert

    texts = [*mixed(10), *TEXTS]
    fewer = with_fewer_tokens(minilm, texts)  # each of many graphs on the way is written and read with its table
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    engine = export(cut_layers(fewer, 1))
    engine.save(tmp_path / "float")
    convert(
        tmp_path / "float", tmp_path / "m8", "onnx", precision="int8", data=tmp_path / "a.jsonl", least_cosine=0.998
    )
    opened = load(tmp_path / "m8")
    cost = opened.card["int8"]
    cosines = (opened.encode(texts) * engine.encode(texts)).sum(1) / np.linalg.norm(opened.encode(texts), axis=1)
    assert cosines.min() >= 0.998 - 1e-4
    assert abs(cost["cosine_least"] - cosines.min()) < 2e-3, "activations are rounded batch by batch"
    assert 0.25 * cost["of"] <= cost["rounded"] <= cost["of"] == 6 and cost["speed"] > 0
    assert (tmp_path / "m8" / "model.onnx").stat().st_size < 0.9 * (tmp_path / "float" / "model.onnx").stat().st_size
    assert opened.fingerprint() != engine.fingerprint()
    with pytest.raises(WrongUse, match="too few to be worth it"):
        convert(tmp_path / "float", tmp_path / "no", "onnx", precision="int8", data=texts, least_cosine=0.999999)
    assert not (tmp_path / "no").exists()
    with pytest.raises(WrongUse, match="expected to 'onnx', and data"):
        convert(tmp_path / "float", tmp_path / "no", "onnx", precision="int8")
    with pytest.raises(WrongUse, match="at least 8 texts"):
        convert(tmp_path / "float", tmp_path / "no", "onnx", precision="int8", data=["a"])


@pytest.mark.parametrize("context", [3, 7, 16])
def test_texts_are_cut_as_the_tokenizer_cuts_them(engine, context, monkeypatch):
    own = Tokenizer.from_str(engine.tokenizer.to_str())
    own.enable_truncation(context)
    monkeypatch.setattr(engine, "context", context)
    draw = random.Random(context)
    words = ["the", "[SEP]", "[CLS]", "running", "don't", "東京はとても", "12345", "…", "\n"]
    texts = [" ".join(draw.choices(words, k=draw.randint(0, 12))) for _ in range(200)]
    found = engine._cut(texts)
    for text, here, there in zip(texts, found, own.encode_batch(texts), strict=True):
        assert (here.ids, here.type_ids, here.overflowing) == (there.ids, there.type_ids, bool(there.overflowing)), text
    assert {each.overflowing for each in found} == {True, False}


# --- long texts -----------------------------------------------------------------------------------------------------


def test_windows_cover_the_text_in_order_and_fit(engine, minilm):
    text = " ".join(f"word{i}" for i in range(700))
    for embedder in (engine, minilm):
        pieces = embedder.windows(text)
        assert len(pieces) > 5
        assert not embedder.truncated(pieces).any()
        assert pieces[0].startswith("word0 ") and pieces[-1].endswith("word699")
        at = [text.index(piece) for piece in pieces]
        ends = [place + len(piece) for place, piece in zip(at, pieces, strict=True)]
        assert all(later < end for end, later in zip(ends, at[1:], strict=False)), (
            "each shares something with the one before"
        )
        assert all(text[place - 1] == " " for place in at[1:]) and all(text[end] == " " for end in ends[:-1]), (
            "no word is cut"
        )
        assert embedder.windows("short") == ["short"]
        assert not embedder.truncated(embedder.windows("漢字" * 900)).any()
        assert not embedder.truncated(embedder.windows("a" * 5000 + "🙂" * 900)).any()


def test_chunked_vectors_are_the_weighted_mean_of_the_windows(engine):
    text = " ".join(f"word{i} and more" for i in range(300))
    found = encode_truncated(engine, ["short", text], truncation="chunk")
    pieces = engine.encode_with_counts(engine.windows(text))
    want = (pieces.vectors * pieces.tokens[:, None]).sum(0)
    assert np.abs(found.vectors[1] - want / np.linalg.norm(want)).max() < 1e-5
    assert np.abs(found.vectors[0] - engine.encode(["short"])[0]).max() < 1e-5
    assert found.truncated.tolist() == [False, False]
    assert found.tokens[1] == pieces.tokens.sum()
    short = encode_truncated(engine, ["short", text], truncation="chunk", dimensions=32).vectors
    assert np.abs(short - engine.cut(found.vectors, 32)).max() < 1e-6
    assert np.abs(np.linalg.norm(short, axis=1) - 1).max() < 1e-5


def test_a_chunked_vector_sees_the_end_of_the_text(engine):
    """The last words change a chunked vector, and cannot change a cut one."""
    start = "the history of bread and baking in europe " * 60
    a, b = start + "volcano eruption lava " * 40, start + "quantum computer chip " * 40
    cut = encode_truncated(engine, [a, b]).vectors
    chunked = encode_truncated(engine, [a, b], truncation="chunk").vectors
    assert np.abs(cut[0] - cut[1]).max() < 1e-5
    assert np.abs(chunked[0] - chunked[1]).max() > 0.01


def test_truncation_words(engine):
    with pytest.raises(DataError, match="text 8 is longer than minilm reads: 'word word"):
        encode_truncated(engine, ["a", "b", "word " * 400], truncation="error", first=5)
    with pytest.raises(WrongUse, match="truncation: expected warn, error, silent or chunk, found 'cut'"):
        encode_truncated(engine, ["a"], truncation="cut")
    assert encode_truncated(engine, [], truncation="chunk").vectors.shape == (0, 384)


def test_late_chunks_are_the_tokens_means_of_one_pass(minilm):
    pieces = [
        "Berlin is the capital of Germany.",
        " Its more than 3.85 million inhabitants",
        " make it the largest city.",
    ]
    found = late_chunks(minilm, [pieces, ["alone"]])
    assert found.offsets.tolist() == [0, 3, 4]
    tokens = minilm.model.encode("".join(pieces), output_value="token_embeddings", convert_to_numpy=False).cpu().numpy()
    counts = [len(minilm.model.tokenizer(piece, add_special_tokens=False)["input_ids"]) for piece in pieces]
    start = 1
    for row, count in enumerate(counts):
        want = tokens[start : start + count].mean(0)
        assert np.abs(found.flat[row] - want / np.linalg.norm(want)).max() < 1e-4
        start += count
    alone = minilm.encode(pieces)
    query = minilm.encode(["population of Berlin"])[0]
    assert found.flat[1] @ query > alone[1] @ query, "the second piece knows whose inhabitants they are"
    with pytest.raises(DataError, match="has .* tokens, minilm reads 256 at once"):
        late_chunks(minilm, [["word " * 300]])


@pytest.mark.rare
def test_devices_give_the_same_vectors(minilm, tmp_path):
    from umekomi.verbs.encode import encode

    texts = mixed(16)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    done = encode("minilm", tmp_path / "a.jsonl", tmp_path / "v.npy", devices=["cpu", "cpu"], cache=False)
    assert done.rows == 16
    assert np.abs(np.load(tmp_path / "v.npy") - minilm.encode(texts)).max() < 1e-5


def test_devices_that_are_not_there_are_named(tmp_path):
    from umekomi.verbs.encode import encode

    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(WrongUse, match="devices: expected a GPU, found none|found .* GPU"):
        encode("minilm", tmp_path / "a.jsonl", tmp_path / "w.npy", devices=["cuda:99"])
    with pytest.raises(WrongUse, match="expected all, or names such as"):
        encode("minilm", tmp_path / "a.jsonl", tmp_path / "w.npy", devices=["quantum"])


def test_openvino_can_be_used_first_by_many_threads_at_once(fresh):
    """Its table of types is not made by two threads at once, which would wait for each other for ever."""
    pytest.importorskip("openvino")
    out = fresh(
        """
import sys, threading
import openvino
from umekomi.models.engines.runtimes import _core
sys.setswitchinterval(1e-7)
start, types = threading.Barrier(4), []

def look():
    _core()
    start.wait()
    types.append(openvino.Type.f32.to_dtype().name)  # what every run asks of every input

threads = [threading.Thread(target=look) for _ in range(4)]
for each in threads: each.start()
for each in threads: each.join()
print(*types)
""",
        within=60,
    )
    assert out.split() == ["float32"] * 4


def test_umekomi_load_encodes_by_the_engine_and_what_trains_or_saves_takes_the_model(minilm, tmp_path):
    import umekomi
    from umekomi.models import load as load_itself
    from umekomi.models.opening import source_of
    from umekomi.models.starting import trainable_model
    from umekomi.transforms import Truncate

    fast = umekomi.load("minilm")
    assert fast.kind == "onnx" and umekomi.load(fast) is fast and umekomi.load("minilm", engine="torch").kind == "text"
    np.testing.assert_allclose(fast.encode(["a cat", "two dogs"]), minilm.encode(["a cat", "two dogs"]), atol=1e-4)
    assert fast.fingerprint() == minilm.fingerprint()
    assert load_itself(fast).kind == "text" and trainable_model(fast, "a recipe").kind == "text"
    fast.save(tmp_path / "m")
    assert source_of(tmp_path / "m").kind == "text"
    cut = fast.with_transform(Truncate(64))
    cut.save(tmp_path / "cut")
    assert source_of(tmp_path / "cut" / "base").kind == "text"
    opened = umekomi.load(tmp_path / "cut")
    assert opened.base.kind == "onnx" and load_itself(opened).base.kind == "text"
    np.testing.assert_allclose(opened.encode(["a cat"]), minilm.encode(["a cat"], dimensions=64), atol=1e-4)
    assert umekomi.load("hashing").kind == "hashing"


def test_evaluate_takes_several_tasks():
    import umekomi
    from umekomi.data import load as load_data

    rows = load_data(
        {
            "sentence1": ["red cat", "old dog", "big owl"],
            "sentence2": ["red cat", "old fox", "wet day"],
            "score": [5, 3, 1],
        }
    )
    found = umekomi.evaluate("hashing", ["similarity", "similarity"], rows["all"])
    assert [result.metric for result in found] == ["spearman", "spearman"]
