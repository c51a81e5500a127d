"""Distillation of minilm, without its rarest tokens, into a token table."""

import numpy as np
import pytest
from conftest import with_fewer_tokens

from umekomi.errors import WrongUse
from umekomi.models import load
from umekomi.recipes import get

pytest.importorskip("sentence_transformers")
pytest.importorskip("wordfreq")

TEXTS = ["A cat sits on the mat.", "Two dogs run in a park.", "The market fell today.", "She plays the violin."] * 5
MEANT = ["a cat on a mat", "a kitten on a rug", "the price of oil"]


@pytest.fixture(scope="module")
def fewer(minilm):
    """minilm with a twentieth of its tokens: each goes through it for every fit below."""
    return with_fewer_tokens(minilm, [*TEXTS, *MEANT], common=1500)


@pytest.fixture(scope="module")
def distilled(fewer):
    return get("static")().fit(start=fewer)


def test_a_static_minilm_keeps_meaning_and_opens_elsewhere(distilled, tmp_path, fresh):
    scores = distilled.similarity(distilled.encode(MEANT), distilled.encode(MEANT))
    assert scores[0, 1] > scores[0, 2] + 0.1
    assert distilled.dimension == 256
    assert distilled.card["training"]["directions dropped"] >= 1
    distilled.save(tmp_path / "m")
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(tmp_path / "m"))
    assert theirs.encode(MEANT) == pytest.approx(distilled.encode(MEANT), abs=1e-5)
    out = fresh(
        f"import sys, umekomi; m = umekomi.load({str(tmp_path / 'm')!r}); print(m.encode(['a cat'])[0, :3].tolist(), "
        "'torch' in sys.modules)"
    )
    assert out.strip().endswith("False")
    assert eval(out.strip()[: -len("False")]) == pytest.approx(distilled.encode(["a cat"])[0, :3].tolist(), abs=1e-5)


def test_a_row_is_what_the_model_says_of_the_token(fewer):
    """The vector of the token alone between the model's special tokens, before normalisation: the text of that token,
    encoded."""
    model = get("static")(whiten="none", dimensions=384).fit(start=fewer)
    for word in ("cat", "violin"):
        row = model.table[model.tokenizer.token_to_id(word)]
        assert row / np.linalg.norm(row) == pytest.approx(fewer.encode([word])[0], abs=1e-4)
    assert get("static")(whiten="none", dimensions=16).fit(start=fewer).dimension == 16


def test_texts_bring_the_table_nearer_to_the_model(fewer, distilled):
    taught = get("static")(strength=0.01).fit({"text": list(dict.fromkeys(TEXTS))}, start=fewer)

    def gap(model):
        own = model.similarity(*[model.encode(TEXTS[:4])] * 2)
        return np.abs(own - fewer.similarity(*[fewer.encode(TEXTS[:4])] * 2)).mean()

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
