"""Both legs of a hybrid index: BM25's scores beside bm25s's formulas, the fusion beside a slow loop, and what a kill, a
delete or a filter does to them."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import numpy as np
import pytest

from umekomi.errors import DataError, WrongUse
from umekomi.indexes import Index
from umekomi.indexes.lexical import NAME, settings
from umekomi.models.lexical import Bm25Embedder
from umekomi.models.untrained import HashingEmbedder
from umekomi.parts.ranking import exact_search

WORDS = tuple("river bank money loan boat fish water tree bird stone house garden road train market bread".split(" "))  # noqa: SIM905


def corpus(rows: int, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    return [
        " ".join(generator.choices(WORDS, [1 / (i + 1) for i in range(len(WORDS))], k=generator.randint(3, 30)))
        for _ in range(rows)
    ]


def hybrid(folder, texts, parts: int = 3, **more) -> Index:
    index = Index.create(folder, model=HashingEmbedder(64), text="text", words=settings("words", **more))
    for place in range(parts):
        low, high = len(texts) * place // parts, len(texts) * (place + 1) // parts
        index.add(range(low, high), texts[low:high], {"text": texts[low:high], "place": list(range(low, high))})
    return index


def same_as_bm25(index: Index, texts: list[str], ids: list[str], asked: list[str], **more) -> None:
    model = Bm25Embedder.fit(texts, words="words", **more)
    numbers, scores = exact_search(model, model.encode_query(asked), model.encode_document(texts), 20)
    for query, hits in enumerate(index.search(asked, 20, leg=NAME)):
        there = np.isfinite(scores[query])
        np.testing.assert_allclose([hit.score for hit in hits], scores[query][there], rtol=1e-5, atol=1e-6)
        by_id = {ids[row]: score for row, score in zip(numbers[query], scores[query], strict=True)}
        assert all(hit.score == pytest.approx(by_id.get(hit.id, hit.score), rel=1e-5, abs=1e-6) for hit in hits)


@pytest.mark.parametrize("more", [{}, {"variant": "atire", "k1": 0.9, "b": 0.4}, {"variant": "robertson", "b": 1.0}])
def test_its_scores_are_those_of_the_rows_that_are_there(tmp_path, more):
    """After additions in parts, deletes, replacements and compact the scores are those of BM25 learned from what is
    left: nothing drifts."""
    texts = corpus(200)
    asked = ["river money", "boat boat stone unknown", "bread market train road"]
    index = hybrid(tmp_path / "i", texts, **more)
    assert index.legs == ("bm25", "vectors") and len(index.snapshot().segments) == 3
    same_as_bm25(index, texts, [str(i) for i in range(200)], asked, **more)
    gone = {i for i in range(200) if i % 3 == 0 or 20 < i < 60}
    index.delete(sorted(gone))
    index.add(
        [1, 500], ["zebra river", "a zebra on the bank"], {"text": ["zebra river", "a zebra on the bank"]}, replace=True
    )
    left = [i for i in range(200) if i not in gone and i != 1]
    now = [*(texts[i] for i in left), "zebra river", "a zebra on the bank"]
    ids = [*(str(i) for i in left), "1", "500"]
    same_as_bm25(index, now, ids, [*asked, "zebra"], **more)
    index.compact()
    assert len(index.snapshot().segments) == 1 and len(index) == len(now)
    same_as_bm25(Index(tmp_path / "i"), now, ids, [*asked, "zebra"], **more)


def test_fusion_is_the_sum_of_reciprocal_ranks(tmp_path):
    texts = corpus(300)
    index = hybrid(tmp_path / "i", texts)
    model = HashingEmbedder(64)
    for query in ("river bank", "garden bird bird", "nothing here is known"):
        words = [hit.id for hit in index.search(query, 100, leg="bm25")[0]]
        vectors = [hit.id for hit in index.search(query, 100, leg="vectors")[0]]
        total: dict[str, float] = {}
        for ranking in (words, vectors):
            for place, name in enumerate(ranking):
                total[name] = total.get(name, 0.0) + 1 / (61 + place)
        expected = sorted(total, key=lambda name: (-round(total[name], 12), int(name)))[:30]
        hits = index.search([query], 30)[0]
        assert [hit.id for hit in hits] == expected
        np.testing.assert_allclose([hit.score for hit in hits], [total[name] for name in expected], rtol=1e-6)
        given = index.search(model.encode_query([query]), 30, texts=[query])[0]
        assert [hit.id for hit in given] == expected
        alone = index.search(model.encode_query([query]), 30)[0]
        assert [hit.id for hit in alone] == vectors[:30]
    assert len(index.search("river", 300)[0]) == 300  # rows without the word come from the vectors


def test_filters_hold_in_both_legs(tmp_path):
    texts = corpus(300)
    index = hybrid(tmp_path / "i", texts)
    index.delete([7, 8])
    for condition, rows in (("place < 9", range(7)), ("place >= 295", range(295, 300)), ("place == 7", ())):
        for leg in (None, "bm25", "vectors"):
            hits = index.search("river bank money loan", 50, filter=condition, leg=leg)[0]
            allowed = {str(i) for i in rows}
            assert {hit.id for hit in hits} <= allowed
            if leg != "bm25":
                assert {hit.id for hit in hits} == allowed


def test_wrong_use_is_one_line(tmp_path):
    index = hybrid(tmp_path / "i", corpus(20), 1)
    vectors = HashingEmbedder(64).encode(["a"])
    for use, said in (
        (lambda: index.search("river", leg="bm52"), "leg: expected bm25 or vectors, found 'bm52'"),
        (lambda: index.search(vectors, leg="bm25"), "bm25 is asked with texts, found vectors"),
        (lambda: index.search(vectors, texts=["a", "b"]), "a text for every vector, found 2 and 1"),
        (lambda: index.add(["x"], vectors), "has a lexical leg: expected texts, or vectors with their texts"),
        (lambda: index.note(lexical=1), "the index's own facts"),
        (lambda: settings("wrods"), "no tokenizer 'wrods'"),
        (lambda: settings("words", b=2), "b of 0 to 1"),
    ):
        with pytest.raises((WrongUse, ValueError), match=said):
            use()
    plain = Index.create(tmp_path / "j", metric="cosine")
    plain.add(["a"], np.eye(1, 4))
    with pytest.raises(WrongUse, match="leg: expected vectors, found 'bm25'"):
        plain.search(np.eye(1, 4), leg="bm25")
    assert len(index) == 20
    empty = hybrid(tmp_path / "k", ["", "the of", "…"], 1)
    assert empty.search("river", leg="bm25") == [[]] and len(empty.search("river")[0]) == 3


def test_a_damaged_leg_is_named(tmp_path):
    hybrid(tmp_path / "i", corpus(50), 1)
    (file,) = (tmp_path / "i").glob("segment-*/holders.npy")
    holders = np.load(file)
    holders[3] = 1 << 30
    np.save(file, holders)
    with pytest.raises(DataError, match="holders.npy is damaged .*rows that do not rise below 50"):
        Index(tmp_path / "i", verify=False).search("river", leg="bm25")
    with pytest.raises(DataError, match="checksum"):
        Index(tmp_path / "i")
    manifest = tmp_path / "i" / "umekomi-index.json"
    assert json.loads(json.loads(manifest.read_text())["manifest"])["format"] == 2


def test_kills_during_additions_leave_both_legs_of_the_last_commit(tmp_path):
    texts = corpus(400)
    index = hybrid(tmp_path / "i", texts[:20], 1)
    chance, done = random.Random(0), 20
    for _ in range(8):
        child = os.fork()
        if child == 0:
            try:
                own = Index(tmp_path / "i")
                own.use(HashingEmbedder(64))
                for low in range(len(own), 400, 20):
                    own.add(range(low, low + 20), texts[low : low + 20], {"text": texts[low : low + 20]})
            finally:
                os._exit(0)
        begun, until = index.store.stamp(), time.monotonic() + 10
        while index.store.stamp() == begun and len(index) < 400 and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        index = Index(tmp_path / "i", verify=True)
        index.use(HashingEmbedder(64))
        assert len(index) >= done and len(index) % 20 == 0
        done = len(index)
        same_as_bm25(index, texts[:done], [str(i) for i in range(done)], ["river bank", "loan stone"])
        assert len(index.search("river", done)[0]) == done
    assert done >= 100
