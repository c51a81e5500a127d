"""Distillation of minilm into a token table, once for all tests."""

import numpy as np
import pytest

from umekomi.errors import WrongUse
from umekomi.models import load
from umekomi.recipes import get

pytest.importorskip("sentence_transformers")
pytest.importorskip("wordfreq")
pytestmark = pytest.mark.usefixtures("distilled")

TEXTS = ["A cat sits on the mat.", "Two dogs run in a park.", "The market fell today.", "She plays the violin."] * 5


def test_a_static_minilm_keeps_meaning_and_opens_elsewhere(distilled, tmp_path, fresh):
    texts = ["a cat on a mat", "a kitten on a rug", "the price of oil"]
    scores = distilled.similarity(distilled.encode(texts), distilled.encode(texts))
    assert scores[0, 1] > scores[0, 2] + 0.1
    assert distilled.dimension == 256
    assert distilled.card["training"]["directions dropped"] >= 1
    distilled.save(tmp_path / "m")
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(tmp_path / "m"))
    assert theirs.encode(texts) == pytest.approx(distilled.encode(texts), abs=1e-5)
    out = fresh(
        f"import sys, umekomi; m = umekomi.load({str(tmp_path / 'm')!r}); print(m.encode(['a cat'])[0, :3].tolist(), "
        "'torch' in sys.modules)"
    )
    assert out.strip().endswith("False")
    assert eval(out.strip()[: -len("False")]) == pytest.approx(distilled.encode(["a cat"])[0, :3].tolist(), abs=1e-5)


def test_a_row_is_what_the_model_says_of_the_token(minilm):
    """The vector of the token alone between the model's special tokens, before normalisation: the text of that token,
    encoded."""
    model = get("static")(whiten="none", dimensions=384).fit(start=minilm)
    for word in ("cat", "violin"):
        row = model.table[model.tokenizer.token_to_id(word)]
        assert row / np.linalg.norm(row) == pytest.approx(minilm.encode([word])[0], abs=1e-4)
    assert get("static")(whiten="none", dimensions=16).fit(start=minilm).dimension == 16


def test_texts_bring_the_table_nearer_to_the_model(minilm, distilled):
    taught = get("static")(strength=0.01).fit({"text": list(dict.fromkeys(TEXTS))}, start=minilm)

    def gap(model):
        own = model.similarity(*[model.encode(TEXTS[:4])] * 2)
        return np.abs(own - minilm.similarity(*[minilm.encode(TEXTS[:4])] * 2)).mean()

    assert gap(taught) < gap(distilled)
    assert taught.card["training"]["texts"] == 4


def test_ridge_is_the_closed_form():
    from scipy.sparse import random_array

    from umekomi.recipes.static import ridge

    rng = np.random.default_rng(0)
    bags = random_array((60, 20), density=0.3, format="csr", dtype=np.float32, rng=rng)
    target = rng.normal(size=(60, 3)).astype(np.float32)
    dense = bags.toarray()
    want = np.linalg.solve(dense.T @ dense + 0.2 * np.eye(20), dense.T @ target)
    assert ridge(bags, target, 0.2, steps=200) == pytest.approx(want, abs=1e-3)


def test_wrong_use_of_static(minilm):
    with pytest.raises(WrongUse, match="expected one of zipfian, uniform, none, found 'zipf'"):
        get("static")(whiten="zipf").fit(start=minilm)
    with pytest.raises(WrongUse, match="counts tokens in texts"):
        get("static")(frequencies="data").fit(start=minilm)
    with pytest.raises(WrongUse, match="static distils a sentence-transformers model such as minilm; found random"):
        get("static")().fit(start=load("random"))
