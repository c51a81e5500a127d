"""Save, load in a fresh process, encode: bit for bit, for every kind of embedder."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from conftest import TEXTS

from umekomi.contracts import Embedder, Vectors
from umekomi.errors import WrongUse
from umekomi.models import load
from umekomi.models.entity import EntityEmbedder
from umekomi.models.lexical import Bm25Embedder, TfIdfEmbedder
from umekomi.models.untrained import HashingEmbedder, RandomEmbedder
from umekomi.recipes import get
from umekomi.transforms import Pca, Truncate

CORPUS = [f"{text} Number {i} of the corpus." for i in range(6) for text in TEXTS]

DIGEST = """
import hashlib, json, sys
import umekomi
from umekomi.contracts import Vectors
model = umekomi.load(sys.argv[1], engine="torch")
items = json.loads(sys.argv[2])
vectors = model.encode(items)
parts = [vectors.flat, vectors.offsets] if isinstance(vectors, Vectors) else [vectors.data, vectors.indices, vectors.indptr] if hasattr(vectors, "indptr") else [vectors]
print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest(), model.kind, model.similarity(vectors, vectors).sum())
"""


def digest(vectors):
    if isinstance(vectors, Vectors):
        parts = [vectors.flat, vectors.offsets]
    elif hasattr(vectors, "indptr"):
        parts = [vectors.data, vectors.indices, vectors.indptr]
    else:
        parts = [vectors]
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def poincare_table():
    rng = np.random.default_rng(0)
    return EntityEmbedder([f"node {i}" for i in range(20)], rng.uniform(-0.4, 0.4, (20, 3)), metric="poincare")


def multi(minilm):
    from umekomi.models.multivector import MultiVectorEmbedder

    return MultiVectorEmbedder.of(minilm)


KINDS = {
    "transformer": lambda minilm: minilm,
    "static": lambda minilm: get("lsa")(dimensions=16, vocabulary=300).fit(CORPUS),
    "bm25": lambda minilm: Bm25Embedder.fit(CORPUS),
    "tfidf": lambda minilm: TfIdfEmbedder.fit(CORPUS),
    "multi": multi,
    "poincare table": lambda minilm: poincare_table(),
    "random": lambda minilm: RandomEmbedder(16, seed=-3),
    "hashing": lambda minilm: HashingEmbedder(64),
    "transformed": lambda minilm: minilm.with_transform(Pca(16).fit(minilm.encode(CORPUS)), Truncate(8)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_save_load_encode_bit_for_bit_in_a_fresh_process(kind, minilm, tmp_path, forked):
    model = KINDS[kind](minilm)
    assert isinstance(model, Embedder)
    items = model.names[:5] if kind == "poincare table" else TEXTS
    vectors = model.encode(items)
    model.save(tmp_path / "model")
    source = f"import sys; sys.argv = ['x', {str(tmp_path / 'model')!r}, {json.dumps(items)!r}]\n" + DIGEST
    found, kind_found, total = forked(source).split()
    assert found == digest(vectors)
    assert kind_found == model.kind
    assert float(total) == pytest.approx(float(model.similarity(vectors, vectors).sum()), rel=1e-6)
    assert (tmp_path / "model" / "README.md").is_file()
    assert load(tmp_path / "model").fingerprint() == model.fingerprint()


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_types(kind, minilm):
    model = KINDS[kind](minilm)
    items = model.names[:3] if kind == "poincare table" else TEXTS[:3]
    vectors = model.encode(items)
    if model.outputs == {"multi"}:
        assert vectors.flat.dtype == np.float32
        assert vectors.offsets.dtype == np.int64
        assert vectors.items == 3
    else:
        assert vectors.dtype == np.float32
        assert vectors.shape == (3, model.dimension)
    scores = model.similarity(vectors, vectors)
    assert scores.shape == (3, 3)
    assert scores.dtype == np.float32
    assert (scores.argmax(1) == np.arange(3)).all() or model.kind in ("bm25", "multi"), "nothing is nearer than itself"
    assert model.similarity_pairwise(vectors, vectors) == pytest.approx(np.diag(scores), abs=1e-5)
    one = model.encode(items[0])
    assert digest(one) == digest(model.encode(items[:1])), "a single item gives one row"


def test_wrong_arguments_are_one_line(minilm):
    for options, message in (
        ({"output": "sparse"}, "gives dense vectors, not 'sparse'"),
        ({"modality": "image"}, "embeds text, not 'image'"),
        ({"dimensions": 500}, "expected 1 to 384, found 500"),
        ({"role": "waiter"}, "knows no role 'waiter'"),
        ({"condition": ["a"]}, "takes no condition"),
    ):
        with pytest.raises(WrongUse, match=message):
            minilm.encode(TEXTS, **options)


def test_dimensions_are_renormalised(minilm):
    short = minilm.encode(TEXTS, dimensions=64)
    assert short.shape == (len(TEXTS), 64)
    assert np.linalg.norm(short, axis=1) == pytest.approx(1, abs=1e-5)
    full = minilm.encode(TEXTS)[:, :64]
    assert short == pytest.approx(full / np.linalg.norm(full, axis=1, keepdims=True), abs=1e-6)


def test_texts_that_are_cut_are_told(minilm):
    assert minilm.truncated(["short", "word " * 400]).tolist() == [False, True]
    assert minilm.truncated([]).tolist() == []


def test_role_and_empty_input(minilm):
    assert digest(minilm.encode_query(TEXTS)) == digest(minilm.encode(TEXTS)), "minilm has no prompts"
    assert minilm.encode([]).shape == (0, 384)


def test_prompts_are_the_models_own_and_their_lack_is_said_once(minilm, capsys):
    import copy

    from umekomi.models.text import TextEmbedder

    model = copy.deepcopy(minilm.model)
    model.prompts = {"query": "query: ", "document": "passage: "}
    prompted = TextEmbedder(model, "prompted")
    assert digest(prompted.encode_query(["a cat"])) == digest(minilm.encode(["query: a cat"]))
    prompted.encode(["a cat"])
    prompted.encode(["a cat"])
    assert capsys.readouterr().err.count("was trained with prompts") == 1


def test_names_that_are_not_there():
    with pytest.raises(WrongUse, match="the nearest: minilm"):
        load("minilmm")
    with pytest.raises(WrongUse, match="no such folder"):
        load("./nothing/here")


def test_catalogue_says_what_cannot_be_loaded():
    with pytest.raises(WrongUse, match="only by running its repository's code"):
        load("jina-embeddings-v4")
    from umekomi.models.published.catalogue import CATALOGUE

    assert CATALOGUE["nv-embed-v2"].non_commercial
    assert CATALOGUE["sarashina-embedding-v1-1b"].non_commercial
    assert not CATALOGUE["ruri-v3-30m"].non_commercial


def test_a_transform_keeps_the_models_own_prompts(minilm):
    """A task's role reaches the model behind a transform as it reaches the model itself."""
    import copy

    from umekomi.models.text import TextEmbedder
    from umekomi.tasks.base import own_role

    model = copy.deepcopy(minilm.model)
    model.prompts = {"query": "", "document": "", "clustering": "topic: "}
    prompted = TextEmbedder(model, "prompted")
    for embedder in (prompted, prompted.with_transform(Truncate(16))):
        assert own_role(embedder, "clustering") == "clustering"
        assert own_role(embedder, "classification") is None
    assert own_role(minilm, "clustering") is None
    assert digest(prompted.with_transform(Truncate(16)).encode(TEXTS, role="clustering")) == digest(
        minilm.encode([f"topic: {text}" for text in TEXTS], dimensions=16)
    )
