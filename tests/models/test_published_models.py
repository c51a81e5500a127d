"""Published models: the loading code is real, the weights are small and random, saved in the published layout."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from umekomi.errors import WrongUse
from umekomi.models import load
from umekomi.models.published.catalogue import CATALOGUE
from umekomi.models.published.nv_embed import HEAD, PARTS, QUERY, TRUNK
from umekomi.models.scratch import untrained_transformer
from umekomi.parts.networks import sees
from umekomi.parts.pooling import LatentAttention

TEXTS = [f"passage {i} tells of the river and the {animal}" for i in range(40) for animal in ("cat", "otter", "heron")]


@pytest.fixture
def nv_folder(tmp_path):
    """A folder as nvidia/NV-Embed-v2 lays it out: one trunk under ``embedding_model``, the head under
    ``latent_attention_model``."""
    from safetensors.torch import save_file
    from tokenizers import processors

    backbone = untrained_transformer("mistral", TEXTS, layers=2, width=32, heads=4, vocabulary=400, max_length=256)
    backbone.tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 2)]
    )  # no end token, as published
    torch.manual_seed(3)
    head = LatentAttention(32, latents=6, heads=2, head_width=10).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(0, 0.3)
    folder = tmp_path / "NV-Embed-v2"
    folder.mkdir()
    backbone.tokenizer.save_pretrained(folder)
    trunk = {TRUNK + name: value.clone() for name, value in backbone.model.model.state_dict().items()}
    names = {ours: theirs for theirs, ours in PARTS.items()}
    own = {HEAD + names[name]: value.clone() for name, value in head.state_dict().items()}
    save_file(trunk, folder / "model-00001-of-00002.safetensors", {"format": "pt"})
    save_file(own, folder / "model-00002-of-00002.safetensors", {"format": "pt"})
    index = dict.fromkeys(trunk, "model-00001-of-00002.safetensors") | dict.fromkeys(
        own, "model-00002-of-00002.safetensors"
    )
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    text = backbone.model.config.to_dict() | {"model_type": "bidir_mistral", "sliding_window": 4096}
    latent = {
        "latent_dim": 32,
        "hidden_dim": 32,
        "num_latents_value": 6,
        "num_cross_heads": 2,
        "cross_dim_head": 10,
        "mult": 4,
    }
    config = {
        "model_type": "nvembed",
        "auto_map": {"AutoModel": "modeling_nvembed.NVEmbedModel"},
        "text_config": text,
        "latent_attention_config": latent,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_nvembed.py").write_text("raise SystemExit('code of a folder was run')")
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}])
    )
    return folder, backbone, head


def test_published_averages_are_over_data_sets():
    """Model cards mix averages over data sets and over kinds of task; ours is the one that its name says."""
    rows = [entry.published for entry in CATALOGUE.values() if len(entry.published) > 1]
    assert len(rows) == 6
    for row in rows:
        average, *kinds = row.values()
        assert np.average(kinds, weights=(6, 2, 4, 1, 2, 1)) == pytest.approx(average, abs=0.011)


def test_nv_embed_is_read_by_its_shapes(nv_folder):
    folder, backbone, head = nv_folder
    embedder = load(folder)
    assert sees(embedder.model.transformers_model, range(10, 15)).all()
    network = backbone.model.model.eval()
    network.config.is_causal = False
    words = backbone.tokenizer
    for role, before in (("query", QUERY), ("document", "")):
        for text in ("the river", "an otter and a heron by the river"):
            ids = [2, *words(before + text, add_special_tokens=False)["input_ids"], words.eos_token_id]
            prompt = 1 + len(words(before.rstrip(), add_special_tokens=False)["input_ids"]) if before else 0
            with torch.no_grad():
                states = network(input_ids=torch.tensor([ids])).last_hidden_state
                expected = torch.nn.functional.normalize(head.tokens(states)[0, prompt:].mean(0), dim=0)
            np.testing.assert_allclose(embedder.encode([text], role=role)[0], expected, atol=2e-6)


def test_nv_embed_leaves_out_what_the_released_code_leaves_out(nv_folder):
    """It masks the first n positions, n the instruction's tokens alone, BOS standing at 0; its last space has joined
    the text's first word."""
    folder, backbone, _ = nv_folder
    embedder = load(folder)
    words = backbone.tokenizer
    released = len(words.tokenize(QUERY))
    ids = words(QUERY + "the river")["input_ids"]
    assert words.convert_ids_to_tokens(ids[released]).startswith("Ġ")
    assert embedder.model[0]._get_prompt_length(QUERY) == released


def test_nv_embed_saves_as_the_houses_own(nv_folder, tmp_path):
    embedder = load(nv_folder[0])
    embedder.save(tmp_path / "mine")
    np.testing.assert_array_equal(
        load(tmp_path / "mine").encode(TEXTS[:3], role="query"), embedder.encode(TEXTS[:3], role="query")
    )


def test_a_head_that_is_not_there_is_said(nv_folder):
    folder = nv_folder[0]
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WrongUse, match="model-00002-of-00002.safetensors is not there"):
        load(folder)
    index["weight_map"] = {name: file for name, file in index["weight_map"].items() if "00001" in file}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WrongUse, match="expected the weights latents"):
        load(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["latent_attention_config"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WrongUse, match="latent_attention_config"):
        load(folder)


def test_qwen3_takes_the_last_token_and_every_text_ends_in_its_mark(tmp_path, monkeypatch):
    """The published layout: sentence-transformers' modules, last-token pooling, prompts; a tokenizer whose eos_token is
    not the mark that ends a text."""
    from sentence_transformers import SentenceTransformer
    from tokenizers import processors

    backbone = untrained_transformer("qwen3", TEXTS, layers=2, width=32, heads=4, vocabulary=400, max_length=64)
    words = backbone.tokenizer
    words.add_special_tokens({"additional_special_tokens": ["<|endoftext|>"]})
    backbone.model.resize_token_embeddings(len(words))
    end = words.convert_tokens_to_ids("<|endoftext|>")
    words._tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", end)]
    )
    embedder = backbone.embedder("cls", prompts={"query": "Instruct: find\nQuery:", "document": ""})
    embedder.model[1].pooling_mode = "lasttoken"
    embedder.model.save(str(tmp_path / "whole"))
    words._tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    broken = backbone.embedder("cls")
    broken.model[1].pooling_mode = "lasttoken"
    broken.model.save(str(tmp_path / "broken"))

    assert (
        load(tmp_path / "whole").model.tokenizer("the river " * 99, truncation=True, max_length=9)["input_ids"][-1]
        == end
    )
    theirs = SentenceTransformer(str(tmp_path / "whole"), device="cpu").encode(TEXTS[:5], prompt_name="query")
    np.testing.assert_allclose(load(tmp_path / "whole").encode(TEXTS[:5], role="query"), theirs, atol=1e-6)

    entry = CATALOGUE["qwen3-embedding-0.6b"]
    assert entry.ends_in == "<|endoftext|>" and entry.prompts["query"].endswith("Query:")
    from umekomi.models import opening

    for folder in ("whole", "broken"):  # as files that lost their post-processor are mended
        monkeypatch.setattr(opening, "_fetched", lambda hub, folder=folder: tmp_path / folder)
        found = load(entry.name)
        assert found.model.tokenizer("river")["input_ids"][-1] == end
        np.testing.assert_allclose(
            found.encode(TEXTS[:5], role="document"),
            load(tmp_path / "whole").encode(TEXTS[:5], role="document"),
            atol=1e-6,
        )


def test_non_commercial_licences_are_said(nv_folder, monkeypatch, capsys):
    from umekomi.models import opening

    monkeypatch.setattr(opening, "_fetched", lambda hub: nv_folder[0])
    found = load("nv-embed-v2")
    assert "not for commercial use" in capsys.readouterr().err and found.card["licence"] == "CC-BY-NC-4.0"


def test_a_hub_that_cannot_be_reached_is_one_line():
    with pytest.raises(WrongUse) as error:
        load("nobody/this-model-is-not-there")
    assert "\n" not in str(error.value) and "hub" in str(error.value)
