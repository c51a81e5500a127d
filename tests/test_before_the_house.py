"""What the code wrote before the house was moved opens in the code of today: models, indexes, vector files, shards of a
run that was cut off, comparisons. ``tests/fixtures/make.py`` made the files, and says how."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import umekomi
from umekomi.contracts import Vectors
from umekomi.indexes import Index

PLACE = Path(__file__).parent / "fixtures" / "before-the-house"
EXPECTED = json.loads((PLACE / "expected.json").read_text(encoding="utf-8"))
NEEDS = {"text": "sentence_transformers", "multi": "sentence_transformers", "backbone": "sentence_transformers"} | {
    "cross-encoder": "sentence_transformers",
    "onnx": "onnxruntime",
}


@pytest.fixture(scope="module")
def saved():
    with np.load(PLACE / "expected.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture
def copied(tmp_path):
    """The files where they may be written to."""
    return Path(shutil.copytree(PLACE, tmp_path / "old"))


def parts(vectors):
    if isinstance(vectors, Vectors):
        return {"flat": vectors.flat, "offsets": vectors.offsets}
    if hasattr(vectors, "indptr"):
        return {"data": vectors.data, "indices": vectors.indices, "indptr": vectors.indptr}
    return {"dense": vectors}


def whole(arrays):
    """Vectors from the parts that were kept of them."""
    if "flat" in arrays:
        return Vectors(arrays["flat"], arrays["offsets"])
    if "indptr" in arrays:
        from scipy.sparse import csr_array

        shape = (len(arrays["indptr"]) - 1, EXPECTED["models"]["bm25"]["dimension"])
        return csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
    return arrays["dense"]


def under(saved, start):
    return {key.removeprefix(start): value for key, value in saved.items() if key.startswith(start)}


def same_libraries():
    """Folders that transformers writes name its version: another one writes another folder."""

    def found(name):
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return all(found(name) == known for name, known in EXPECTED["versions"].items() if name != "numpy")


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_models(name, saved):
    about = EXPECTED["models"][name]
    needed = NEEDS.get(about["kind"])
    if needed and find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    model = umekomi.load(PLACE / "models" / name, engine="torch")
    assert (model.kind, model.name) == (about["kind"], about["name"])
    if "dimension" in about:
        assert model.dimension == about["dimension"]
    if "fingerprint" in about and (needed in (None, "onnxruntime") or same_libraries()):
        assert model.fingerprint() == about["fingerprint"]
    if about["kind"] == "backbone":
        model = model.embedder("mean")
        about = EXPECTED["models"]["text"]
        assert parts(model.encode(about["items"]))["dense"] == pytest.approx(saved[f"{name}/dense"], abs=1e-6)
        return
    if about["kind"] == "cross-encoder":
        texts = EXPECTED["models"]["text"]["items"]
        assert model.score(texts[:4], texts[4:]) == pytest.approx(saved[f"{name}/scores"], abs=1e-6)
        return
    if about["kind"] == "gemini":
        assert (model.model, model.dimension) == ("gemini-embedding-001", 128)
        return
    for role in ("query", "document"):
        known = under(saved, f"{name}/{role}/")
        found = parts(model.encode(about["items"], role=role))
        assert set(found) == set(known)
        for part, values in found.items():
            assert values.dtype == known[part].dtype
            # tables are looked up and summed in one order everywhere; products and networks differ by processor
            exact = about["kind"] in ("entity", "random", "hashing", "bm25", "tfidf", "static") or values.dtype != "f4"
            np.testing.assert_allclose(values, known[part], rtol=0, atol=0 if exact else 1e-6)


@pytest.mark.parametrize("kind", EXPECTED["indexes"])
def test_indexes(kind, saved, copied):
    if kind == "hnsw":
        pytest.importorskip("usearch")
    about = EXPECTED["indexes"][kind]
    index = Index(copied / "indexes" / kind, verify=True)
    assert (len(index), index.kind.name) == (about["rows"], about["kind"])
    asked = whole(under(saved, f"indexes/{kind}/asked/"))

    def hits_are_the_same():
        for condition, expected in about["hits"].items():
            found = index.search(asked, 5, filter=condition or None)
            assert [[(hit.id, hit.text, hit.payload) for hit in row] for row in found] == [
                [(name, text, payload) for name, _, text, payload in row] for row in expected
            ]
            for row, known in zip(found, expected, strict=True):
                assert [hit.score for hit in row] == pytest.approx([score for _, score, _, _ in known], abs=2e-6)

    hits_are_the_same()
    index.compact()  # written anew by the code of today
    hits_are_the_same()
    index.delete(["n3"])
    assert len(Index(copied / "indexes" / kind)) == about["rows"] - 1


def test_stored_vectors_are_those_that_went_in(saved, copied):
    vectors = saved["indexes/vectors"]
    _, scores = Index(copied / "indexes" / "exact").nearest(vectors[[5]], 1)
    assert scores[0, 0] == pytest.approx(1, abs=1e-6)
    import pyarrow.parquet as pq

    from umekomi.verbs.encode import vectors_of

    rows = vectors_of(pq.read_table(copied / "vectors" / "v.parquet"))
    assert (rows == np.load(copied / "vectors" / "v.npy")).all()
    assert (rows == umekomi.load(copied / "models" / "static").encode(texts_of(copied))).all()


def texts_of(place):
    return [json.loads(line)["text"] for line in (place / "vectors" / "texts.jsonl").read_text("utf-8").splitlines()]


def test_an_index_of_texts_finds_its_model_and_takes_more(copied):
    hits = umekomi.search(copied / "indexes" / "of-texts", "interest rates of the bank", k=3)
    assert [[hit.id, round(hit.score, 5), hit.text] for hit in hits] == EXPECTED["vectors"]["hits"]
    more = copied / "more.jsonl"
    more.write_text(json.dumps({"id": "new", "text": "interest rates of the bank", "year": 1}) + "\n")
    umekomi.index("hashing", more, copied / "indexes" / "of-texts", add=True)
    assert umekomi.search(copied / "indexes" / "of-texts", "interest rates of the bank", k=1)[0].id == "new"


def test_an_index_of_saved_vectors_opens_with_its_model(copied):
    index = Index(copied / "indexes" / "of-vectors")
    index.use(umekomi.load(copied / "models" / "static"))
    texts = texts_of(copied)
    assert [row[0].text for row in index.search(texts[:3], 1)] == texts[:3]


def test_a_run_that_was_cut_off_goes_on(copied):
    folder = copied / "vectors"
    model = umekomi.load(copied / "models" / "static")
    done = umekomi.encode(model, folder / "texts.jsonl", folder / "cut.npy", shard_rows=20, resume=True)
    assert (done.rows, done.kept) == (48, 40)
    assert (folder / "cut.npy").read_bytes() == (folder / "v.npy").read_bytes()


RENAMED = {"starspace"}
"""Candidates whose fields have other names now: settings are part of what a result is kept under."""
REFUSED = {"hashing@32"}
"""A candidate that gives every document one score, which was a row then and is none now."""


def test_a_comparison_of_other_rules_is_judged_anew_once(copied):
    """Its rows were made by rules that have changed since (what a text's words are, what cannot be judged): none is
    shown as if it were of today's, none is lost, and the second time nothing is done again."""
    known = EXPECTED["comparison"]
    before = (copied / "comparison" / "journal.jsonl").read_text("utf-8")
    found = umekomi.compare(known["candidates"], copied / "pairs.jsonl", out=copied / "comparison")
    assert found.winner == known["winner"]
    assert set(found.skipped) == set(known["skipped"]) | REFUSED
    for row in found.rows:
        metric, value, dimensions = known["rows"][row.candidate]
        assert (row.metric, row.dimensions) == (metric, dimensions)
        if row.candidate not in RENAMED:
            assert row.score.value == value
    now = (copied / "comparison" / "journal.jsonl").read_text("utf-8")
    assert now.startswith(before)
    again = {json.loads(line)["candidate"] for line in now.removeprefix(before).splitlines()}
    assert again == set(known["candidates"]) - REFUSED
    umekomi.compare(known["candidates"], copied / "pairs.jsonl", out=copied / "comparison")
    assert (copied / "comparison" / "journal.jsonl").read_text("utf-8") == now, "what was finished is not done again"
    assert (copied / "comparison" / "report.html").is_file()
