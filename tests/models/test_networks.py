import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from umekomi.errors import DataError, WrongUse
from umekomi.models import load
from umekomi.models.scratch import ARCHITECTURES, DECODERS, train_tokenizer, untrained_transformer
from umekomi.parts.networks import bidirectional, needs, sees, with_eos

TEXTS = [f"the cat number {i} sat on the mat and looked at {i * 7} birds; 埋め込みの検索 {i}" for i in range(200)]
SOME = ["a", "the cat sat on the mat " * 4, "birds", "埋め込み", "looked at the mat"]


@pytest.fixture(scope="module")
def networks():
    return {
        name: untrained_transformer(name, TEXTS, layers=2, width=32, heads=4, vocabulary=400, max_length=64)
        for name in ARCHITECTURES
    }


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_what_a_token_sees(networks, name):
    seen = sees(networks[name].model, range(10, 16))
    np.testing.assert_array_equal(seen, np.tril(np.ones((6, 6), bool)) if name in DECODERS else np.ones((6, 6), bool))


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("both", [True, False])
def test_the_direction_survives_a_save(networks, name, both, tmp_path):
    embedder = networks[name].embedder("mean", bidirectional=both)
    embedder.save(tmp_path / "model")
    again = load(tmp_path / "model")
    for model in (embedder, again):
        seen = sees(model.model.transformers_model, range(10, 16))
        assert seen.all() if both else (seen == np.tril(seen)).all()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["is_causal"] is (not both)
    assert not sees(networks[name].model, range(10, 16)).all()  # the backbone itself was not turned


def test_an_encoder_has_no_direction_to_choose(networks):
    with pytest.raises(WrongUse, match="bert"):
        bidirectional(networks["bert"].model)


POOLINGS = ("mean", "lasttoken", "cls", "tailmean", "latent", "latent-paper", "latent-control", "layermix")


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", ["modernbert", "qwen3"])
def test_poolings_round_trip_and_do_not_look_at_the_batch(networks, name, pooling, tmp_path):
    embedder = networks[name].embedder(
        pooling,
        bidirectional=True if name == "qwen3" else None,
        without_prompt=True,
        prompts={"query": "find: "},
        latents=8,
        heads=4,
    )
    together = embedder.encode(SOME, role="query")
    alone = np.concatenate([embedder.encode([text], role="query") for text in SOME])
    assert (np.linalg.norm(together - alone, axis=1) / np.linalg.norm(alone, axis=1)).max() <= 1e-5
    embedder.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").encode(SOME, role="query"), together)


def test_an_instruction_is_read_but_not_pooled(networks):
    """Behind a network that does not look around, leaving the instruction out is as if it were not there."""
    embedder = networks["bert"].embedder("mean", without_prompt=True, prompts={"query": "find the text about: "})
    network = embedder.model.transformers_model
    with torch.no_grad():
        for layer in network.encoder.layer:  # attention and MLP give nothing: a token is its own embedding
            for part in (layer.attention.output.dense, layer.output.dense):
                part.weight.zero_(), part.bias.zero_()
        network.embeddings.position_embeddings.weight.zero_()
    words = embedder.model.tokenizer
    vectors = (
        network.embeddings.word_embeddings.weight.detach() + network.embeddings.token_type_embeddings.weight[0].detach()
    )
    prompt = words("find the text about:")["input_ids"][:-1]
    ids = words("find the text about: cats")["input_ids"]  # the space is part of what follows
    assert ids[: len(prompt)] == prompt
    plain = torch.nn.functional.layer_norm(vectors[torch.tensor(ids[len(prompt) :])], (32,), eps=1e-12)
    expected = torch.nn.functional.normalize(plain.mean(0), dim=0).numpy()
    np.testing.assert_allclose(embedder.encode(["cats"], role="query")[0], expected, atol=1e-5)


def test_the_tokenizer_knows_every_text_and_ends_it(networks):
    for name in ("bert", "qwen3"):
        words = networks[name].tokenizer
        ids = words("埋め込み and 🦊", truncation=True, max_length=12)["input_ids"]
        assert words.unk_token_id not in ids
        assert ids[-1] == (words.eos_token_id if name == "qwen3" else words.sep_token_id)
    assert (
        networks["qwen3"].tokenizer("the cat " * 100, truncation=True, max_length=12)["input_ids"][-1]
        == words.eos_token_id
    )


def test_an_end_of_text_token_is_added_where_a_decoder_lacks_it(networks, tmp_path):
    """As published files of Qwen3 and NV-Embed need it; it survives truncation and a save."""
    from tokenizers import processors

    backbone = untrained_transformer("qwen3", TEXTS, layers=1, width=16, heads=2, vocabulary=300)
    backbone.tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 2)]
    )
    assert backbone.tokenizer("cat")["input_ids"][-1] != backbone.tokenizer.eos_token_id
    embedder = backbone.embedder("lasttoken")
    embedder.save(tmp_path / "model")
    for words in (embedder.model.tokenizer, load(tmp_path / "model").model.tokenizer):
        ids = words("the cat " * 300, truncation=True, max_length=10)["input_ids"]
        assert len(ids) == 10 and ids[0] == 2 and ids[-1] == words.eos_token_id
    words = train_tokenizer(TEXTS, 300)
    words.eos_token = None
    with pytest.raises(WrongUse, match="end-of-text"):
        with_eos(words)
    words.mask_token = None
    with pytest.raises(WrongUse, match="mask token"):
        needs(words, "mask", "pre-training")


def test_one_seed_one_network():
    a, b, c = (
        untrained_transformer("mistral", TEXTS, layers=1, width=16, heads=2, vocabulary=300, seed=seed)
        for seed in (0, 0, 1)
    )
    first = [next(iter(model.model.state_dict().values())) for model in (a, b, c)]
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])


def test_wrong_shapes_are_one_line():
    for wrong in (
        lambda: untrained_transformer("gpt", TEXTS),
        lambda: untrained_transformer("bert", TEXTS, width=30, heads=4),
        lambda: untrained_transformer("bert", TEXTS, vocabulary=100),
        lambda: untrained_transformer("bert", []),
    ):
        with pytest.raises((WrongUse, DataError), match="expected"):
            wrong()
