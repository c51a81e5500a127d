"""Folders that are damaged, strange or old: each opens and gives right vectors, or is one line that names the file."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
from fuzz.folders import LIGHT, TEXTS, prepare, run_case, words_tokenizer
from safetensors.numpy import load_file, save_file

from umekomi.errors import DataError, UmekomiError, WrongUse
from umekomi.models import load
from umekomi.models.entity import EntityEmbedder
from umekomi.models.static import StaticEmbedder
from umekomi.models.untrained import HashingEmbedder


def edit(path, **changes):
    value = json.loads(path.read_text())
    value.update(changes)
    path.write_text(json.dumps(value))


@pytest.fixture
def static(tmp_path):
    tokenizer, words = words_tokenizer()
    StaticEmbedder(tokenizer, np.eye(len(words), dtype=np.float32), "tiny").save(tmp_path / "m")
    return tmp_path / "m"


# --- any folder -----------------------------------------------------------------------------------------------------


def test_damage_of_every_kind_is_right_or_one_line(tmp_path):
    for place in ("saved", "scratch"):
        (tmp_path / place).mkdir()
    prepare(tmp_path / "saved", LIGHT)
    found = [run_case(f"7-{number}", LIGHT, tmp_path / "saved", tmp_path / "scratch") for number in range(40)]
    assert not [case for case in found if case[0] not in ("right", "other", "refused")]
    assert sum(verdict == "refused" for verdict, _ in found) > 20


CHANGES = {
    "kind of another type": (
        "umekomi.json",
        {"kind": ["static"]},
        r"umekomi.json: expected a kind among .*\['static'\]",
    ),
    "format of another type": ("umekomi.json", {"format": "9"}, "umekomi.json, format: expected int, found str '9'"),
    "card of another type": (
        "umekomi.json",
        {"card": [1]},
        "umekomi.json, card: expected dict or NoneType, found list",
    ),
    "name of another type": ("umekomi.json", {"name": 3}, "umekomi.json, name: expected str, found int 3"),
    "settings it does not know": (
        "umekomi.json",
        {"settings": {"zzz": 1}},
        "settings: expected no settings, found 'zzz'",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_head_of_wrong_types_is_named(change, static):
    file, value, match = CHANGES[change]
    edit(static / file, **value)
    with pytest.raises(UmekomiError, match=match):
        load(static)


BROKEN = {
    "umekomi.json": [b"[" * 200_000, b"\xff", b"[]", b""],
    "model.safetensors": [b"", b"\xff" * 40],
    "tokenizer.json": [b"", b"{}", b'{"model": 3}'],
}


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize(("file", "data"), [(file, data) for file in BROKEN for data in BROKEN[file]])
def test_a_broken_file_is_named(file, data, sums, static):
    if not sums:
        (static / "SHA256SUMS").unlink()
    (static / file).write_bytes(data)
    with pytest.raises(UmekomiError, match=str(static / file)):
        load(static)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_missing_file_a_pipe_and_a_link_to_nowhere_are_named_at_once(file, static):
    (static / file).unlink()
    with pytest.raises(WrongUse, match=f"{file}: the saved model is not whole"):
        load(static)
    os.mkfifo(static / file)
    with pytest.raises(DataError, match=f"{file}: expected a file, found a pipe"):
        load(static)
    (static / file).unlink()
    (static / file).symlink_to(file)
    with pytest.raises(DataError, match=f"{file}: expected a file, found a link that leads nowhere"):
        load(static)


def test_a_flipped_bit_is_found_and_what_is_changed_on_purpose_opens(static):
    want, fingerprint = load(static).encode(TEXTS), load(static).fingerprint()
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=static, check=False).returncode == 0
    data = bytearray((static / "model.safetensors").read_bytes())
    data[-2] ^= 64
    (static / "model.safetensors").write_bytes(data)
    with pytest.raises(DataError, match=r"model.safetensors: expected the file that was saved.*remove SHA256SUMS"):
        load(static)
    (static / "SHA256SUMS").unlink()
    assert (load(static).encode(TEXTS) != want).any()
    data[-2] ^= 64
    (static / "model.safetensors").write_bytes(data)
    assert (load(static).encode(TEXTS) == want).all()  # as folders without checksums do
    assert load(static).fingerprint() == fingerprint
    edit(static / "umekomi.json", name="another")
    assert load(static).name == "another"


def test_checksums_name_only_what_lies_within(static):
    (static / "SHA256SUMS").write_text(f"{'0' * 64}  ../outside\n")
    with pytest.raises(DataError, match=r"SHA256SUMS: expected a path within the folder, found '../outside'"):
        load(static)


def test_saved_files_may_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o022)
    try:
        EntityEmbedder(["a"], np.ones((1, 2), np.float32)).save(tmp_path / "m")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "m").iterdir()}
    assert set(modes.values()) == {0o644}
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o755


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "words.json").write_text("a 1 2")
    with pytest.raises(WrongUse, match="is a file: expected a model's folder"):
        load(tmp_path / "words.json")


# --- vectors that are not finite ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_name_the_model_and_the_first_text(value, static):
    arrays = load_file(static / "model.safetensors")
    _, words = words_tokenizer()
    arrays["embedding.weight"][words.index("cat")] = value
    save_file(arrays, static / "model.safetensors")
    (static / "SHA256SUMS").unlink()
    model = load(static)
    assert np.isfinite(model.encode(["the red apple"])).all()
    for encode in (model.encode, model.encode_with_counts, lambda texts: model.encode(texts, output="multi")):
        with pytest.raises(UmekomiError, match="tiny: expected finite vectors, found NaN or infinity for item 2, 'how"):
            encode(TEXTS)


def test_sparse_vectors_that_are_not_finite_too():
    from umekomi.models.lexical import Bm25Embedder

    model = Bm25Embedder.fit(TEXTS)
    model.idf[model.terms.index("cat")] = np.inf
    with pytest.raises(UmekomiError, match="bm25: expected finite vectors.*item 2, 'how to open the cat'"):
        model.encode_document(TEXTS)


def test_sizes_that_no_memory_holds_are_refused_when_made():
    with pytest.raises(WrongUse, match="hashing: expected 1 to 16,777,216 dimensions, found 1000000000000"):
        HashingEmbedder(10**12)


# --- model2vec ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_of_model2vec_by_its_own_formula(normalize, packed, tmp_path):
    """Without the unknown token; weights and a mapping where the folder has them."""
    rng = np.random.default_rng(0)
    tokenizer, words = words_tokenizer()
    table = rng.normal(size=(4 if packed else len(words), 8)).astype(np.float32)
    arrays = {"embeddings": table}
    if packed:
        arrays["mapping"] = rng.integers(0, 4, len(words))
        arrays["weights"] = rng.uniform(0.1, 1, len(words)).astype(np.float32)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    save_file(arrays, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": normalize}))
    model = load(tmp_path)
    for text in ("the red apple", "the strange cat"):
        rows = []
        for word in text.split():
            if word in words:
                place = words.index(word)
                row = table[arrays["mapping"][place] if packed else place]
                rows.append(row * arrays["weights"][place] if packed else row)
        want = np.mean(rows, 0)
        found = model.encode([text])[0]
        unit = want / np.linalg.norm(want)
        assert found / np.linalg.norm(found) == pytest.approx(unit, abs=1e-6)
        if normalize:
            assert found == pytest.approx(unit, abs=1e-6)
    model.save(tmp_path / "again")
    assert (load(tmp_path / "again").encode(TEXTS) == model.encode(TEXTS)).all()
    save_file({"embeddings": table[:2]}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"model.safetensors: expected vectors for the \d+ tokens"):
        load(tmp_path)


# --- networks -------------------------------------------------------------------------------------------------------

pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of transformers alone, and one of sentence-transformers, both tiny."""
    from umekomi.models.scratch import untrained_transformer

    root = tmp_path_factory.mktemp("tiny")
    backbone = untrained_transformer("bert", TEXTS, layers=2, width=32, heads=2, vocabulary=300, max_length=64)
    backbone.model.base_model.save_pretrained(root / "bare")
    backbone.tokenizer.save_pretrained(root / "bare")
    backbone.embedder().model.save(str(root / "theirs"), create_model_card=False)
    return root


@pytest.fixture
def theirs(made, tmp_path):
    return shutil.copytree(made / "theirs", tmp_path / "theirs")


@pytest.fixture
def bare(made, tmp_path):
    return shutil.copytree(made / "bare", tmp_path / "bare")


def modules(folder, **changes):
    value = json.loads((folder / "modules.json").read_text())
    value[1].update(changes)
    (folder / "modules.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    "kind",
    [
        *("torch.load", "pickle.load", "os.system", "sentence_transformers.util.http_get"),
        *("sentence_transformers.sentence_transformer.modules.pooling.Pooling.load", "sentence_transformers."),
        *("sentence_transformers.util.torch.load", "umekomi.parts.pooling.Layer", "umekomi.parts.pooling.torch.load"),
        *(3, None, ["torch.load"]),
    ],
)
def test_a_layer_that_is_not_known_exactly_is_refused(kind, theirs):
    modules(theirs, type=kind)
    with pytest.raises(UmekomiError, match=r"modules.json(: expected layers of|, type: expected str)"):
        load(theirs)


def test_every_layer_of_the_list_is_sentence_transformers_own():
    """Under each of its paths, old and new, that this version still has."""
    import warnings

    from sentence_transformers.base.modules import Module
    from sentence_transformers.util import import_from_string

    from umekomi.models.folders import LAYERS

    found = set()
    for place, name in LAYERS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                layer = import_from_string(place)
            except ImportError:
                continue
        assert issubclass(layer, Module), place
        assert layer.__name__ == name
        found.add(f"{layer.__module__}.{layer.__name__}")
    assert found <= set(LAYERS)  # what a save writes is on the list
    assert len(found) == len(set(LAYERS.values()))


@pytest.mark.parametrize("path", ["../bare", "/etc", "a/../../b", "..\\bare", "C:\\x", "1\0", 3, None])
def test_a_path_that_leads_out_is_refused(path, theirs):
    modules(theirs, path=path)
    with pytest.raises(UmekomiError, match=r"modules.json(: expected a path within|, path: expected str)"):
        load(theirs)


def test_a_layers_folder_that_is_a_link_is_refused(theirs, bare):
    shutil.rmtree(theirs / "1_Pooling")
    (theirs / "1_Pooling").symlink_to(bare)
    with pytest.raises(DataError, match="1_Pooling: expected a folder of the model's own, found a link to"):
        load(theirs)


def test_names_in_other_files_of_a_folder_are_looked_at_too(theirs, bare):
    edit(theirs / "sentence_bert_config.json", tokenizer_name_or_path="../bare")
    with pytest.raises(DataError, match="sentence_bert_config.json: expected a path within the folder"):
        load(theirs)
    (bare / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../theirs/model.safetensors"}}))
    with pytest.raises(DataError, match="model.safetensors.index.json: expected a path within the folder"):
        load(bare)


def test_activations_are_of_torch_alone(theirs):
    dense = theirs / "3_Dense"
    dense.mkdir()
    layer = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    value = [*json.loads((theirs / "modules.json").read_text()), layer]
    (theirs / "modules.json").write_text(json.dumps(value))
    with pytest.raises(WrongUse, match=r"3_Dense/config.json: the saved model is not whole"):
        load(theirs)
    save_file(
        {"linear.weight": np.eye(4, 32, dtype=np.float32), "linear.bias": np.zeros(4, "f4")},
        dense / "model.safetensors",
    )
    config = {"in_features": 32, "out_features": 4, "bias": True, "activation_function": "torch.load"}
    (dense / "config.json").write_text(json.dumps(config))
    with pytest.raises(WrongUse, match=r"activation_function: expected an activation of torch.nn, found 'torch.load'"):
        load(theirs)
    edit(dense / "config.json", activation_function="torch.nn.modules.linear.Identity")
    assert load(theirs).encode(TEXTS).shape == (5, 4)


def test_a_transformer_without_its_tokenizer_is_refused(theirs):
    (theirs / "tokenizer.json").unlink()
    with pytest.raises(UmekomiError, match=f"{theirs}.*tokenizer"):
        load(theirs)


def test_a_bert_without_its_vocabulary_is_refused(bare):
    """transformers makes a tokenizer that knows five marks and no word."""
    from transformers import BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({w for text in TEXTS for w in text.split()})]
    (bare / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(bare / "vocab.txt")).save_pretrained(bare)
    assert len(load(bare).encode(TEXTS)) == 5
    for file in ("vocab.txt", "tokenizer.json"):
        (bare / file).unlink()
    with pytest.raises(WrongUse, match="expected the tokenizer's files"):
        load(bare)


def test_weights_that_are_missing_or_left_over_are_refused(bare):
    """transformers would draw the first at random, and leave the second out."""
    edit(bare / "config.json", num_hidden_layers=3)
    with pytest.raises(
        DataError, match=r"config.json: expected a network whose weights lie beside it.*encoder.layer.2"
    ):
        load(bare)
    edit(bare / "config.json", num_hidden_layers=1)
    with pytest.raises(DataError, match=r"config.json: expected a network of all layers.*encoder.layer.1"):
        load(bare)


def test_a_pooler_that_nothing_reads_is_no_part_of_the_model(theirs):
    """Its weights are not in the folder; drawn anew at each opening, they gave the model another name each time."""
    assert not [name for name in load_file(theirs / "model.safetensors") if "pooler" in name]
    first, second = load(theirs), load(theirs)
    assert first.fingerprint() == second.fingerprint()
    first.encode(TEXTS)  # sets how its tokenizer cuts and pads
    assert first.fingerprint() == second.fingerprint()
    assert "pooler" not in dict(first.model.transformers_model.named_children())


@pytest.mark.parametrize(
    "change",
    [
        *({"hidden_size": 64}, {"vocab_size": 10**12}, {"num_hidden_layers": 10**9}, {"intermediate_size": 10**15}),
        *({"hidden_size": 32_000}, {"intermediate_size": 10**7}, {"max_position_embeddings": 10**7}),
        *({"hidden_size": "32"}, {"num_hidden_layers": None}, {"model_type": []}, {"hidden_act": "torch.load"}),
        *({"max_position_embeddings": 10**10}, {"num_attention_heads": 0}, {"hidden_size": -32}),
    ],
    ids=str,
)
def test_a_configuration_of_another_network_is_refused_at_once(change, bare):
    edit(bare / "config.json", **change)
    begun = time.monotonic()
    with pytest.raises(UmekomiError, match=str(bare)):
        load(bare).encode(TEXTS)
    assert time.monotonic() - begun < 10


def test_a_tokenizer_without_a_padding_token_gets_one(bare):
    want = load(bare).encode(TEXTS)
    edit(bare / "tokenizer_config.json", pad_token=None)
    found = load(bare)
    assert found.model.tokenizer.pad_token == "[EOS]"
    assert found.encode(TEXTS) == pytest.approx(want, abs=1e-6)


def test_pooling_settings_that_are_missing_are_named(theirs):
    (theirs / "1_Pooling" / "config.json").unlink()
    with pytest.raises(WrongUse, match=r"1_Pooling/config.json: the saved model is not whole"):
        load(theirs)


def test_old_paths_of_layers_open(theirs):
    want = load(theirs).encode(TEXTS)
    value = json.loads((theirs / "modules.json").read_text())
    for module in value:
        module["type"] = "sentence_transformers.models." + module["type"].rpartition(".")[2]
    (theirs / "modules.json").write_text(json.dumps(value))
    shutil.rmtree(theirs / "2_Normalize", ignore_errors=True)  # empty: git and the hub leave it out
    assert (load(theirs).encode(TEXTS) == want).all()


def test_a_folder_of_transformers_opens_as_what_it_is(bare):
    from sentence_transformers import SentenceTransformer

    there = SentenceTransformer(str(bare), device="cpu").encode(TEXTS)
    assert (load(bare).encode(TEXTS) == there).all()
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(bare), num_labels=1, device="cpu")
    model.model.save_pretrained(bare)
    found = load(bare)
    assert found.kind == "cross-encoder"
    assert found.score(TEXTS, TEXTS) == pytest.approx(model.predict(list(zip(TEXTS, TEXTS, strict=True))), abs=1e-6)


def test_sentence_transformers_other_kinds(theirs):
    edit(theirs / "config_sentence_transformers.json", model_type="SparseEncoder")
    with pytest.raises(WrongUse, match="model_type: expected SentenceTransformer, MultiVectorEncoder, CrossEncoder"):
        load(theirs)


def test_scores_that_are_not_finite_name_the_pair(bare):
    import torch
    from sentence_transformers import CrossEncoder

    from umekomi.models.scorers import CrossEncoderScorer

    model = CrossEncoder(str(bare), num_labels=1, device="cpu")
    with torch.no_grad():
        model.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(UmekomiError, match="raw: expected finite scores, found NaN or infinity for pair 1, 'the red"):
        CrossEncoderScorer(model, "raw").score(TEXTS, TEXTS)


@pytest.mark.parametrize("verbosity", ["", "error"])
def test_nothing_that_is_handled_here_is_said_by_a_library(bare, theirs, verbosity):
    """A fresh process, whose terminal shows what a user sees: notes of ours alone."""
    edit(theirs / "tokenizer_config.json", pad_token=None)
    settings = {
        "prompts": {"query": "q: "},
        "default_prompt_name": "query",
        "__version__": {"sentence_transformers": "99"},
    }
    edit(theirs / "config_sentence_transformers.json", **settings)
    script = f"""
import umekomi
for folder in ({str(bare)!r}, {str(theirs)!r}):
    model = umekomi.load(folder)
    model.encode(["the red " * 200, ""])
    model.encode_query(["the red " * 200, ""])
    model.truncated(["the red " * 200])
"""
    settings = {**os.environ, "TRANSFORMERS_VERBOSITY": verbosity}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=settings)
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if not line.endswith("exporting its graph for ONNX Runtime, once")] == []


# --- routes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def routed(made, tmp_path):
    """A model whose queries and documents go through layers of their own."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Router, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(0)

    def tower(*more):
        return [Transformer(str(made / "bare")), Pooling(32), *more]

    router = Router.for_query_document(tower(), tower(Dense(32, 32)))
    router.sub_modules["query"][0].max_seq_length = 8
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "routed"), create_model_card=False)
    return tmp_path / "routed"


def test_queries_and_documents_take_their_routes(routed):
    from sentence_transformers import SentenceTransformer

    from umekomi.models.engines.choice import open_for_encoding

    there, here = SentenceTransformer(str(routed), device="cpu"), load(routed)
    for texts in (TEXTS, ["the red apple " * 40]):
        for name in ("encode_query", "encode_document", "encode"):
            assert getattr(here, name)(texts) == pytest.approx(getattr(there, name)(texts), abs=1e-6), name
    assert np.abs(here.encode_query(TEXTS) - here.encode_document(TEXTS)).max() > 0.1
    long = ["the red apple how to open"]
    assert here.truncated(long, "query").tolist() == [True]
    assert here.truncated(long, "document").tolist() == [False]
    assert here.encode_with_counts(long, role="query").tokens.tolist() == [8]
    with pytest.raises(WrongUse, match="knows no role 'answer'"):
        here.encode(TEXTS, role="answer")
    with pytest.raises(
        WrongUse, match="has routes .document, query., a graph has one|has routes .document, query., one"
    ):
        open_for_encoding(routed, "onnx")
    opened = open_for_encoding(routed)
    assert (opened.encode_query(TEXTS) == here.encode_query(TEXTS)).all()


def test_a_routes_layers_are_looked_at(routed):
    value = json.loads((routed / "router_config.json").read_text())
    value["types"]["query_1_Pooling"] = "torch.load"
    (routed / "router_config.json").write_text(json.dumps(value))
    with pytest.raises(WrongUse, match="router_config.json: expected layers of sentence-transformers or umekomi"):
        load(routed)
    value["types"]["query_1_Pooling"] = "sentence_transformers.models.Pooling"
    value["types"]["../x"] = "sentence_transformers.models.Pooling"
    (routed / "router_config.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match="router_config.json: expected a path within the folder, found '../x'"):
        load(routed)


def test_a_words_tokenizer_knows_what_it_calls_unknown_words():
    from tokenizers import Tokenizer, models

    from umekomi.models.words import CharacterReader

    with pytest.raises(WrongUse, match="expected '<unk>', what it calls unknown words, among its words"):
        CharacterReader(Tokenizer(models.WordLevel({"a": 0}, "<unk>")))


def test_a_backbones_tokenizer_that_cannot_be_an_embedders_is_one_line(tmp_path):
    pytest.importorskip("sentence_transformers")
    from umekomi.models.scratch import untrained_transformer

    untrained_transformer("bert", TEXTS, layers=1, width=8, heads=2, vocabulary=300, max_length=16).save(tmp_path / "m")
    edit(tmp_path / "m" / "tokenizer_config.json", model_max_length=[16])
    with pytest.raises(DataError, match="embedder: ") as found:
        load(tmp_path / "m").embedder()
    assert "\n" not in str(found.value)
