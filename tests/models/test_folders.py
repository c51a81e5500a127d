"""Which folder opens where, both ways; and that nothing in a folder is ever run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import TEXTS

from umekomi.errors import WrongUse
from umekomi.models import load
from umekomi.recipes import get

pytest.importorskip("sentence_transformers")
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from umekomi.models.text import TextEmbedder
from umekomi.parts.pooling import TailMean


@pytest.fixture
def ours(minilm):
    """A model with a layer of ours."""
    model = SentenceTransformer(modules=[minilm.model[0], TailMean(384, share=0.25)], device="cpu")
    return TextEmbedder(model, "tail")


def test_standard_layers_open_in_sentence_transformers_and_back(minilm, tmp_path):
    minilm.save(tmp_path / "ours")
    there = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert (there.encode(TEXTS) == minilm.encode(TEXTS)).all()
    there.save(str(tmp_path / "theirs"))
    back = load(tmp_path / "theirs")
    assert back.kind == "text"
    assert (back.encode(TEXTS) == minilm.encode(TEXTS)).all()


def test_a_static_table_opens_in_sentence_transformers_and_back(tmp_path):
    model = get("lsa")(dimensions=16, vocabulary=200).fit(TEXTS * 3)
    model.save(tmp_path / "ours")
    there = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert there.encode(TEXTS) == pytest.approx(model.encode(TEXTS), abs=1e-5)
    there.save(str(tmp_path / "theirs"))
    back = load(tmp_path / "theirs")
    assert back.kind == "static"
    assert (back.encode(TEXTS) == model.encode(TEXTS)).all()


def test_multi_vectors_open_in_sentence_transformers(minilm, tmp_path):
    from umekomi.models.multivector import MultiVectorEmbedder

    model = MultiVectorEmbedder.of(minilm)
    model.save(tmp_path / "m")
    there = MultiVectorEncoder(str(tmp_path / "m"), device="cpu")
    want = there.similarity(there.encode_query(TEXTS[:3]), there.encode_document(TEXTS)).numpy()
    found = model.similarity(model.encode_query(TEXTS[:3]), model.encode_document(TEXTS))
    assert found == pytest.approx(want, rel=1e-4)


def test_token_vectors_of_a_model_without_torch_are_one_line():
    """It was an AttributeError: what ``umekomi.load`` opens for encoding is often another engine's."""
    from umekomi.models.multivector import MultiVectorEmbedder

    with pytest.raises(WrongUse, match="expected a text embedder run by torch .*, found kind hashing"):
        MultiVectorEmbedder.of(load("hashing"))


def test_our_layers_open_here_and_elsewhere_only_when_asked(ours, tmp_path):
    ours.save(tmp_path / "m")
    back = load(tmp_path / "m")
    assert (back.encode(TEXTS) == ours.encode(TEXTS)).all()
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformer(str(tmp_path / "m"), device="cpu")
    there = SentenceTransformer(str(tmp_path / "m"), device="cpu", trust_remote_code=True)
    assert (there.encode(TEXTS) == ours.encode(TEXTS)).all()


@pytest.mark.parametrize("how", ["modules", "auto_map", "kind"])
def test_a_planted_file_is_never_run(how, minilm, tmp_path, forked):
    """Three ways a folder could ask for its own code; the file writes a mark when it runs."""
    folder, mark = tmp_path / "m", tmp_path / "ran"
    minilm.save(folder)
    code = f"open({str(mark)!r}, 'w').write('ran')\nfrom transformers import BertModel, BertConfig\nclass Evil(BertModel): pass\nclass EvilConfig(BertConfig): model_type = 'evil'\n"
    (folder / "evil.py").write_text(code)
    (folder / "modeling_evil.py").write_text(code)
    if how == "modules":
        modules = json.loads((folder / "modules.json").read_text())
        modules[1]["type"] = "evil.Evil"
        (folder / "modules.json").write_text(json.dumps(modules))
    elif how == "auto_map":
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = {"AutoModel": "modeling_evil.Evil", "AutoConfig": "modeling_evil.EvilConfig"}
        config["model_type"] = "evil"
        (folder / "config.json").write_text(json.dumps(config))
    else:
        head = json.loads((folder / "umekomi.json").read_text())
        head["kind"] = "evil.Evil"
        (folder / "umekomi.json").write_text(json.dumps(head))
    out = forked(
        f"import sys; sys.path.insert(0, {str(folder)!r})\nimport umekomi\ntry:\n    "
        f"umekomi.load({str(folder)!r})\nexcept Exception as error:\n    print('refused', error)\n"
    )
    assert out.startswith("refused")
    assert not mark.exists()


def test_a_transformed_model_does_not_open_elsewhere_without_its_transforms(minilm, tmp_path):
    from umekomi.transforms import Truncate

    minilm.with_transform(Truncate(32)).save(tmp_path / "m")
    assert not (tmp_path / "m" / "modules.json").exists()
    with pytest.raises(Exception, match="."):
        SentenceTransformer(str(tmp_path / "m"), device="cpu")


def test_a_folder_that_is_not_whole(minilm, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongUse, match="expected a saved model"):
        load(tmp_path / "empty")
    get("bm25")().fit(TEXTS).save(tmp_path / "m")
    (tmp_path / "m" / "terms.json").unlink()
    with pytest.raises(WrongUse, match="not whole"):
        load(tmp_path / "m")
    (tmp_path / "m" / "umekomi.json").write_text("{broken")
    with pytest.raises(WrongUse, match="not valid JSON"):
        load(tmp_path / "m")
    (tmp_path / "m" / "umekomi.json").write_text(json.dumps({"kind": "bm25", "format": 99}))
    with pytest.raises(WrongUse, match="upgrade umekomi"):
        load(tmp_path / "m")


def test_tail_mean_against_a_loop_whatever_the_padding():
    import torch

    torch.manual_seed(0)
    tokens = torch.randn(3, 6, 4)
    mask = torch.tensor([[1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0]])
    found = TailMean(4, share=0.5)({"token_embeddings": tokens, "attention_mask": mask})["sentence_embedding"]
    for row in range(3):
        real = tokens[row][mask[row].bool()]
        kept = max(1, int(np.ceil(len(real) * 0.5)))
        assert torch.allclose(found[row], real[-kept:].mean(0), atol=1e-6)
    with pytest.raises(ValueError, match="share"):
        TailMean(4, share=0)


def test_the_same_vector_whatever_is_in_the_batch(ours, minilm):
    for model in (ours, minilm):
        together = model.encode(TEXTS, batch_size=8)
        alone = np.concatenate([model.encode([text]) for text in TEXTS])
        assert np.abs(together - alone).max() / np.abs(alone).max() < 1e-5


def test_scorers_save_and_load(minilm, tmp_path):
    from sentence_transformers import CrossEncoder

    from umekomi.contracts import Scorer
    from umekomi.models.scorers import CrossEncoderScorer, EmbedderScorer

    model = EmbedderScorer(minilm)
    assert isinstance(model, Scorer)
    assert model.score(TEXTS[:2], TEXTS[:2]) == pytest.approx(1, abs=1e-5)
    minilm.model[0].auto_model.save_pretrained(tmp_path / "raw")
    minilm.model.tokenizer.save_pretrained(tmp_path / "raw")
    cross = CrossEncoderScorer(CrossEncoder(str(tmp_path / "raw"), num_labels=1, device="cpu"), "raw")
    before = cross.score(TEXTS[:2], TEXTS[2:4])
    cross.save(tmp_path / "cross")
    assert (load(tmp_path / "cross").score(TEXTS[:2], TEXTS[2:4]) == before).all()


def test_a_backbone_is_saved_whole_and_becomes_an_embedder(minilm, tmp_path, forked):
    from transformers import BertConfig, BertForMaskedLM

    from umekomi.contracts import Backbone
    from umekomi.models.backbone import TransformerBackbone

    config = BertConfig(
        vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    made = TransformerBackbone(BertForMaskedLM(config), minilm.model.tokenizer, "tiny")
    assert isinstance(made, Backbone)
    assert made.config["hidden_size"] == 32
    made.save(tmp_path / "b")
    embedder = made.embedder("mean", max_length=64)
    np.save(tmp_path / "v.npy", embedder.encode(TEXTS))
    out = forked(
        f"import numpy as np, umekomi\nb = umekomi.load({str(tmp_path / 'b')!r})\nv = b.embedder('mean', "
        f"max_length=64).encode({TEXTS!r})\n"
        f"print(b.kind, type(b.model).__name__, (v == np.load({str(tmp_path / 'v.npy')!r})).all())"
    )
    assert out.split() == ["backbone", "BertForMaskedLM", "True"]
    from umekomi.verbs.encode import encode
    from umekomi.verbs.evaluate import evaluate

    (tmp_path / "t.txt").write_text("a text")
    with pytest.raises(WrongUse, match="tiny is a backbone; expected an embedder: call .embedder"):
        encode(tmp_path / "b", tmp_path / "t.txt", tmp_path / "v.npy")
    with pytest.raises(WrongUse, match="judges embedders and scorers; tiny is a backbone"):
        evaluate(made, "retrieval", [{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "d"}])
    before = made.embedder().encode(TEXTS)
    pairs = {"anchor": [f"q {i}" for i in range(16)], "positive": [f"p {i}" for i in range(16)]}
    trained = get("near2")(max_length=16, batch_size=8, prefixes=(16,)).fit(pairs, start=made)
    assert trained.dimension == 32
    assert (made.embedder().encode(TEXTS) == before).all()
    with pytest.raises(WrongUse, match="expected one of mean"):
        made.embedder("median")
    head = json.loads((tmp_path / "b" / "umekomi.json").read_text())
    head["settings"]["architecture"] = "logging"
    (tmp_path / "b" / "umekomi.json").write_text(json.dumps(head))
    with pytest.raises(WrongUse, match="expected an architecture of transformers"):
        load(tmp_path / "b")


def test_a_hub_id_opens_from_the_hubs_cache_and_gets_its_prompts(minilm, tmp_path, fresh):
    """The hub's own cache layout, without network; the catalogue adds the prompts that the folder lacks."""
    snapshot = tmp_path / "models--cl-nagoya--ruri-v3-30m" / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    minilm.save(tmp_path / "m")
    (tmp_path / "m" / "umekomi.json").unlink()
    snapshot.parent.mkdir(parents=True)
    (tmp_path / "m").rename(snapshot)
    (tmp_path / "models--cl-nagoya--ruri-v3-30m" / "refs").mkdir()
    (tmp_path / "models--cl-nagoya--ruri-v3-30m" / "refs" / "main").write_text(snapshot.name)
    out = fresh(
        "import umekomi\nm = umekomi.load('cl-nagoya/ruri-v3-30m')\nprint(m.name, m.dimension)\n"
        "n = umekomi.load('ruri-v3-30m')\nprint(n.prompt('query'), n.prompt('document'), n.card['licence'])\n"
        "try:\n    umekomi.load('nobody/nothing')\nexcept umekomi.UmekomiError as error:\n    print(error)",
        HF_HUB_CACHE=str(tmp_path),
        HF_HUB_OFFLINE="1",
    )
    assert out.split("\n")[0] == "cl-nagoya/ruri-v3-30m 384"
    assert out.split("\n")[1] == "検索クエリ:  検索文書:  Apache-2.0"
    assert "the hub does not give it" in out.split("\n")[2]


def test_linear_transforms_become_sentence_transformers_layers(minilm, tmp_path):
    """The folder opens there and gives the same vectors; what is not linear is named."""
    from sentence_transformers import SentenceTransformer

    from umekomi.errors import WrongUse
    from umekomi.models.folding import without_storage
    from umekomi.transforms import Int8, Pca, RandomProjection, SparseCode, Truncate, Whitening
    from umekomi.transforms.linear import Centre, Normalise
    from umekomi.transforms.whitening import AllButTheTop
    from umekomi.verbs.convert import convert

    texts = [f"{TEXTS[i % len(TEXTS)]} {i}" for i in range(40)]
    vectors = minilm.encode(texts)
    whitening = Whitening(width=20)
    whitening.stands = "after"  # on finished vectors here
    chains = [
        [Truncate(64)],
        [Pca(16)],
        [Centre(), AllButTheTop(2), Normalise()],
        [Truncate(100), Pca(12)],
        [whitening],
        [RandomProjection(8, 1)],
    ]
    for number, chain in enumerate(chains):
        learning = vectors
        for transform in chain:
            learning = transform.fit(learning).transform(learning)
        shrunk = minilm.with_transform(*chain)
        convert(shrunk, tmp_path / str(number), "sentence-transformers")
        theirs = SentenceTransformer(str(tmp_path / str(number)), device="cpu").encode(texts[:5])
        np.testing.assert_allclose(theirs, shrunk.encode(texts[:5]), atol=2e-5)
    stored = minilm.with_transform(Pca(16).fit(vectors), Int8().fit(Pca(16).fit(vectors).transform(vectors)))
    bare, left = without_storage(stored)
    assert left == ["int8"] and [transform.name for transform in bare.transforms] == ["pca"]
    code = SparseCode(2, 8, epochs=1, batch_size=8).fit(vectors)
    with pytest.raises(WrongUse, match="sparse-code is no linear layer"):
        convert(minilm.with_transform(code), tmp_path / "code", "sentence-transformers")
