import numpy as np
import pytest

from umekomi.data.frequencies import of_tokens, of_words
from umekomi.errors import DataError, WrongUse
from umekomi.inspection import symmetry
from umekomi.models import load
from umekomi.models.bags import BagEmbedder
from umekomi.models.entity import EntityEmbedder
from umekomi.models.static import StaticEmbedder
from umekomi.transforms import AllButTheTop, Sif, Whitening, ZipfianCentring, ZipfianWhitening, transform_class

RNG = np.random.default_rng(0)
WORDS = (RNG.normal(size=(300, 8)) @ RNG.normal(size=(8, 8)) + 3).astype(np.float32)
P = 1 / np.arange(1, 301)
P /= P.sum()


@pytest.mark.parametrize(("kind", "weights"), [(Whitening, None), (ZipfianWhitening, P)])
def test_whitened_words_have_no_mean_and_unit_covariance_under_their_probabilities(kind, weights):
    """Yokoi et al. 2024, algorithm 1: rows sqrt(p) (w - mu) = U S Vᵀ, w̃ = (w - mu) V S⁻¹."""
    p = np.full(300, 1 / 300) if weights is None else P
    found = kind().fit(WORDS, weights=weights).transform(WORDS)
    assert p @ found == pytest.approx(np.zeros(8), abs=1e-4)
    assert (found * p[:, None]).T @ found == pytest.approx(np.eye(8), abs=1e-3)
    mu = p @ WORDS
    _, scale, right = np.linalg.svd(np.sqrt(p)[:, None] * (WORDS - mu), full_matrices=False)
    want = (WORDS - mu) @ right.T / scale
    assert np.abs(found) == pytest.approx(np.abs(want), abs=1e-3)
    assert symmetry(found, p) == pytest.approx((1, 1), abs=1e-4)
    assert max(symmetry(WORDS, p)) < 0.9


def test_a_direction_without_variance_is_dropped_and_counted():
    flat = np.column_stack([WORDS, WORDS[:, 0] * 2]).astype(np.float32)
    whitening = ZipfianWhitening().fit(flat, weights=P)
    assert int(whitening.dropped_) == 1
    assert np.isfinite(whitening.transform(flat)).all()
    assert whitening.dimensions(9) == whitening.transform(flat).shape[1] == 8
    assert ZipfianWhitening(3).fit(flat, weights=P).transform(flat).shape[1] == 3
    with pytest.raises(DataError, match="vectors that differ"):
        Whitening().fit(np.ones((5, 3), np.float32))


def test_minilms_token_table_has_directions_that_hold_nothing(minilm):
    table = minilm.model[0].auto_model.get_input_embeddings().weight.detach().numpy()
    found = ZipfianWhitening().fit(
        table, weights=of_tokens(minilm.model.tokenizer._tokenizer, {"the cat": 3.0, "a dog": 1.0, "embedding": 1.0})
    )
    assert int(found.dropped_) >= 1
    assert np.isfinite(found.transform(table)).all()


def test_centring_sif_and_all_but_the_top():
    centred = ZipfianCentring().fit(WORDS, weights=P).transform(WORDS)
    assert P @ centred == pytest.approx(np.zeros(8), abs=1e-5)
    assert Sif(1e-3).fit(WORDS, weights=P).transform(WORDS) == pytest.approx(
        WORDS * (1e-3 / (1e-3 + P))[:, None], rel=1e-4
    )
    left = AllButTheTop(2).fit(WORDS).transform(WORDS)
    assert np.linalg.matrix_rank(left, tol=1e-2) == 6
    first = AllButTheTop(1, centre=False).fit(WORDS).transform(WORDS)
    right = np.linalg.svd(WORDS, full_matrices=False)[2][0]
    assert first @ right == pytest.approx(np.zeros(300), abs=1e-2)


def test_a_table_transform_folds_into_the_table(tmp_path):
    from umekomi.recipes import get

    model = get("lsa")(dimensions=6, vocabulary=120).fit(
        {"text": [f"{a} {b}" for a in ("cat", "dog") for b in ("eats fish", "sleeps long", "runs away")]}
    )
    p = of_tokens(model.tokenizer, ["cat eats fish", "dog sleeps"])
    whitening = ZipfianWhitening().fit(model.table, weights=p)
    folded = model.with_transform(whitening)
    assert isinstance(folded, StaticEmbedder)
    texts = ["cat sleeps", "dog eats"]
    assert folded.encode(texts) == pytest.approx(whitening.transform(model.encode(texts)), abs=1e-3), (
        "an affine map and a mean commute"
    )
    both = model.with_transform(whitening, AllButTheTop(1).fit(folded.encode([*texts, "cat runs"])))
    both.save(tmp_path / "m")
    assert (load(tmp_path / "m").encode(texts) == both.encode(texts)).all()
    with pytest.raises(WrongUse, match="stands before pooling: it cannot follow all-but-the-top"):
        model.with_transform(AllButTheTop(1).fit(folded.encode(texts)), whitening)
    ball = EntityEmbedder(["a", "b"], np.zeros((2, 2), np.float32), metric="poincare")
    with pytest.raises(WrongUse, match="out of their space"):
        ball.with_transform(Whitening().fit(np.eye(2, dtype=np.float32)))
    two = BagEmbedder(["a", "b", "c"], WORDS[:3], right=WORDS[3:6])
    mean = ZipfianCentring().fit(WORDS, weights=P)
    moved = two.with_transform(mean)
    assert moved.right == pytest.approx(WORDS[3:6] - mean.mean_, abs=1e-5) and (two.right == WORDS[3:6]).all()
    words = EntityEmbedder([str(i) for i in range(300)], WORDS)
    assert words.with_transform(ZipfianWhitening().fit(WORDS, weights=P)).vectors.shape == (300, 8)


def test_wrong_weights():
    with pytest.raises(WrongUse, match="zipfian-whitening needs weights="):
        ZipfianWhitening().fit(WORDS)
    with pytest.raises(DataError, match="expected 300 word probabilities"):
        ZipfianWhitening().fit(WORDS, weights=P[:5])
    with pytest.raises(DataError, match="do not all vanish"):
        Sif().fit(WORDS, weights=np.zeros(300))
    with pytest.raises(WrongUse, match="learned nothing yet"):
        transform_class("zipfian-whitening")().transform(WORDS)
    with pytest.raises(WrongUse, match="that table alone"):
        Sif().fit(WORDS, weights=P).transform(WORDS[:3])


def test_word_frequencies_of_lists_corpora_and_mappings():
    assert of_words(["a", "b", "Unseen"], {"a": 3, "b": 1}) == pytest.approx([0.75, 0.25, 0])
    assert of_words(["a", "b"], [["a", "a", "b"], ["a"]]) == pytest.approx([0.75, 0.25])
    with pytest.raises(WrongUse, match="none of the words occurs"):
        of_words(["x"], {"a": 1})


def test_wordfreqs_lists():
    pytest.importorskip("wordfreq")
    found = of_words(["the", "cat", "qqqq"], "en")
    assert found[0] > 100 * found[1] > 0
    assert found[2] == 0
    assert of_words(["の", "猫"], "ja")[0] > of_words(["の", "猫"], "ja")[1] > 0
    with pytest.raises(WrongUse, match="has no list of the language 'tlh'"):
        of_words(["the"], "tlh")
