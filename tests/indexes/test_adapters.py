"""One contract for the index and the databases behind its face."""

from __future__ import annotations

import numpy as np
import pytest

from umekomi.errors import DataError, WrongUse
from umekomi.indexes import Index
from umekomi.indexes.filters import sql, tree
from umekomi.models.untrained import HashingEmbedder
from umekomi.parts import similarity as similarities

ROWS = 120


def vectors_of(rows: int = ROWS, width: int = 16):
    return np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)


def payload(rows: int = ROWS):
    return {
        "year": [2000 + i % 25 for i in range(rows)],
        "word": [f"it's {i % 5}" for i in range(rows)],
        "seen": [i % 2 == 0 for i in range(rows)],
    }


def made(kind: str, folder, metric: str, **more):
    if kind == "umekomi":
        return Index.create(folder / "i", metric=metric)
    if kind == "lance":
        pytest.importorskip("lancedb")
        from umekomi.indexes.adapters import LanceIndex

        return LanceIndex(folder / "lance", dimension=16, metric=metric, **more)
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    from umekomi.indexes.adapters import QdrantIndex

    return QdrantIndex(client, dimension=16, metric=metric, **more)


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("kind", ["umekomi", "lance", "qdrant"])
def test_all_find_filter_replace_and_delete_alike(kind, metric, tmp_path):
    vectors = vectors_of()
    index = made(kind, tmp_path, metric)
    names = [f"n{i}" for i in range(ROWS)]
    index.add(names, vectors, payload())
    assert len(index) == ROWS
    whole = similarities.named(metric)(vectors[:3], vectors)
    for row, hits in enumerate(index.search(vectors[:3], 5)):
        order = np.argsort(-whole[row], kind="stable")[:5]
        assert [hit.id for hit in hits] == [f"n{i}" for i in order]
        np.testing.assert_allclose(
            [hit.score for hit in hits], whole[row, order], atol=2e-3 if metric == "euclidean" else 1e-4
        )
        assert hits[0].payload == {
            "year": 2000 + order[0] % 25,
            "word": f"it's {order[0] % 5}",
            "seen": bool(order[0] % 2 == 0),
        }
    years, words, seen = np.arange(ROWS) % 25, np.arange(ROWS) % 5, np.arange(ROWS) % 2 == 0
    for condition, mask in (
        ("year > 2020", years > 20),
        ("2003 <= year < 2005", (years >= 3) & (years < 5)),
        ('word == "it\'s 3" or year == 2001', (words == 3) | (years == 1)),
        ('not year > 2003 and word in ("it\'s 1", "it\'s 2")', (years <= 3) & np.isin(words, (1, 2))),
        ('word not in ("it\'s 1",)', words != 1),
        ("year != 2000 and seen", (years != 0) & seen),
        ("word is None", np.zeros(ROWS, bool)),
    ):
        scores = np.where(mask, whole[0], -np.inf)
        order = [i for i in np.argsort(-scores, kind="stable")[:6] if mask[i]]
        assert [hit.id for hit in index.search(vectors[:1], 6, filter=condition)[0]] == [f"n{i}" for i in order], (
            condition
        )
    with pytest.raises(DataError, match=r"2 ids are .*there already|2 ids are in .* already"):
        index.add(["n1", "n2", "new"], vectors[:3])
    index.add(["n1"], vectors[50:51], {"year": [1999], "word": ["x"], "seen": [True]}, replace=True)
    assert len(index) == ROWS
    assert {hit.payload["year"] for hit in index.search(vectors[50:51], ROWS)[0] if hit.id == "n1"} == {1999}
    with pytest.raises(DataError, match="nothing was deleted"):
        index.delete(["n5", "other"])
    index.delete(["n5", "n6"])
    assert len(index) == ROWS - 2
    assert not {"n5", "n6"} & {hit.id for hit in index.search(vectors[5:6], ROWS - 2)[0]}
    with pytest.raises(WrongUse, match="16"):
        index.search(vectors[:, :3])
    with pytest.raises(DataError, match="NaN or infinity in row 2"):
        index.search(np.where(np.arange(2)[:, None] == 1, np.nan, vectors[:2]))


def test_lance_compacts_itself_and_is_found_again(tmp_path):
    index = made("lance", tmp_path, "cosine", compact_every=5)
    vectors = vectors_of()
    for i in range(12):
        index.add([f"n{i}"], vectors[i : i + 1], {"year": [i]})
    assert len(list((tmp_path / "lance").rglob("*.lance"))) < 10
    again = made("lance", tmp_path, "cosine")
    assert len(again) == 12
    with pytest.raises(WrongUse, match="no field 'yaer'; there are: year"):
        again.search(vectors[:1], 3, filter="yaer > 1")


@pytest.mark.parametrize("kind", ["lance", "qdrant"])
def test_texts_need_an_embedder(kind, tmp_path):
    with pytest.raises(WrongUse, match="texts need an embedder"):
        made(kind, tmp_path / "a", "cosine").search("a text")
    index = made(kind, tmp_path / "b", "cosine", embedder=HashingEmbedder(16), text="text")
    index.add(["a", "b"], ["a red dog", "one blue boat"], {"text": ["a red dog", "one blue boat"]})
    assert index.search("blue boat", 1)[0][0].text == "one blue boat"
    with pytest.raises(WrongUse, match="expected a metric"):
        made(kind, tmp_path / "c", "poincare")


def test_a_condition_in_sql_lets_nothing_out_of_its_quotes():
    assert sql(tree('name == "x\' OR 1 = 1 --"', None)) == "`name` = 'x'' OR 1 = 1 --'"
    assert sql(tree("a in () or not b is None", None)) == "((1 = 0) OR (NOT (`b` IS NULL)))"
    with pytest.raises(WrongUse, match="expected a field's name"):
        tree("1 == 2", None)
