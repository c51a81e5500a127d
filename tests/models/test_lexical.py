import bm25s
import numpy as np
import pytest
from conftest import TEXTS
from sklearn.feature_extraction.text import TfidfVectorizer

from umekomi.errors import DataError, WrongUse
from umekomi.models.lexical import Bm25Embedder, TfIdfEmbedder
from umekomi.models.untrained import HashingEmbedder, RandomEmbedder
from umekomi.parts.words import words

CORPUS = [f"{a} {b}" for a in TEXTS for b in TEXTS[::-1]]


@pytest.mark.parametrize("variant", ["lucene", "robertson", "atire"])
def test_the_inner_product_is_bm25s_own_score(variant):
    ours = Bm25Embedder.fit(CORPUS, words="words", variant=variant)
    theirs = bm25s.BM25(method=variant, k1=1.5, b=0.75)
    theirs.index([words(text) for text in CORPUS], show_progress=False)
    query = "the cat and the market sold shares shares"
    found = ours.similarity(ours.encode_query([query]), ours.encode_document(CORPUS))[0]
    assert found == pytest.approx(theirs.get_scores(words(query)), abs=1e-4)
    assert found.max() > 0


def test_variants_that_no_sparse_row_can_hold():
    with pytest.raises(WrongUse, match="lucene, robertson or atire"):
        Bm25Embedder.fit(CORPUS, variant="bm25+")


def test_tfidf_is_scikit_learns():
    ours = TfIdfEmbedder.fit(CORPUS, words="words")
    theirs = TfidfVectorizer(analyzer=words, sublinear_tf=True).fit(CORPUS)
    assert ours.encode(TEXTS).toarray() == pytest.approx(theirs.transform(TEXTS).toarray(), abs=1e-6)


def test_japanese_finds_its_document():
    pytest.importorskip("fugashi")
    documents = ["東京都は日本の首都です。", "梅雨は雨の多い季節です。", "猫は動物です。"]
    model = Bm25Embedder.fit(documents)
    assert model.words == "fugashi"
    scores = model.similarity(model.encode_query(["日本の首都はどこですか"]), model.encode_document(documents))[0]
    assert scores.argmax() == 0
    assert scores[2] == 0


def test_nothing_to_learn_from():
    with pytest.raises(DataError, match="zero rows"):
        Bm25Embedder.fit([])
    with pytest.raises(DataError, match="hold no word"):
        TfIdfEmbedder.fit(["the a", "!!"])


def test_random_vectors_know_nothing_and_repeat():
    model = RandomEmbedder(256)
    vectors = model.encode([f"text {i}" for i in range(400)])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    scores = model.similarity(vectors, vectors)[~np.eye(400, dtype=bool)]
    assert abs(scores.mean()) < 0.002
    assert scores.std() == pytest.approx(1 / 16, rel=0.05)
    assert (model.encode(["text 7"]) == vectors[7]).all()
    assert not (RandomEmbedder(256, seed=1).encode(["text 7"]) == vectors[7]).all()


def test_hashing_is_streamed_alike_whatever_the_chunk():
    model = HashingEmbedder(64)
    many = [f"word{i} shared" for i in range(5000)]
    assert (model.encode(many)[4500:] == model.encode(many[4500:])).all()


@pytest.mark.parametrize("kind", [Bm25Embedder, TfIdfEmbedder])
@pytest.mark.parametrize("words", ["words", "bigrams"])
def test_full_and_half_width_are_one_word_on_both_sides(kind, words):
    documents = ["ＡＢＣ株式会社のｶﾞｲﾄﾞ", "ABC inventory １２３", "something else entirely"]
    model = kind.fit(documents, words=words)
    assert not any("\uff01" <= character <= "\uff9f" for term in model.terms for character in term)
    for query, plain in (("ａｂｃ", "abc"), ("ガイド", "ｶﾞｲﾄﾞ"), ("１２３", "123")):
        wide, narrow = (
            model.similarity(model.encode_query([text]), model.encode_document(documents)) for text in (query, plain)
        )
        assert np.array_equal(wide, narrow)
        assert wide.max() > 0 or words == "words", query


def test_a_model_saved_before_texts_were_folded_stays_as_it_was(tmp_path):
    """Its vocabulary holds words in full width, and a query in full width still finds them."""
    from umekomi.models import load

    terms = ["abc", "ａｂｃ"]
    old = Bm25Embedder(terms, np.ones(2, np.float32), "words", average_length=2.0)
    old.save(tmp_path / "old")
    assert "normalisation" not in (tmp_path / "old" / "umekomi.json").read_text()
    found = load(tmp_path / "old")
    assert found.encode_query(["ＡＢＣ ａｂｃ abc"]).toarray().tolist() == [[1, 2]]
    new = Bm25Embedder.fit(["ＡＢＣ ａｂｃ abc", "def"])
    new.save(tmp_path / "new")
    assert load(tmp_path / "new").encode_query(["ＡＢＣ ａｂｃ abc"]).toarray().max() == 3


@pytest.mark.parametrize("kind", [Bm25Embedder, TfIdfEmbedder])
@pytest.mark.parametrize("role", ["query", "document"])
def test_no_texts_are_no_rows(kind, role):
    model = kind.fit(CORPUS)
    none = model.encode([], role=role)
    assert none.shape == (0, model.dimension)
    assert none.dtype == np.float32
    assert model.similarity(none, model.encode(CORPUS)).shape == (0, len(CORPUS))
