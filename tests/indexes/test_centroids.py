"""Token vectors by their centroids: estimates beside a slow loop, recall for any k and filter, deletes, damage."""

from __future__ import annotations

import numpy as np
import pytest
from indexes.test_index import clustered

from umekomi.contracts import Vectors
from umekomi.errors import DataError, WrongUse
from umekomi.indexes import Index
from umekomi.indexes.kinds import Late, make_kind
from umekomi.indexes.kinds.centroids import Centroids
from umekomi.indexes.scans import Part
from umekomi.parts import similarity as similarities

ROWS = 3000


def passages(rows: int, seed: int = 0, width: int = 24) -> Vectors:
    """Rows of 3 to 9 token vectors, most of them near one another, as the words of a passage are."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(3, 10, rows)
    tokens = clustered(int(sizes.sum()), width, seed)
    own = np.repeat(clustered(rows, width, seed + 1), sizes, axis=0)
    mixed = tokens + 0.7 * own
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    return Vectors(mixed.astype(np.float32), np.concatenate([[0], np.cumsum(sizes)]))


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    made = Index.create(tmp_path_factory.mktemp("c") / "i", metric="maxsim", output="multi", kind="centroids")
    place = np.random.default_rng(2).permutation(ROWS)
    whole = passages(ROWS + 30)
    vectors, others = similarities.rows(whole, 0, ROWS), similarities.rows(whole, ROWS, ROWS + 30)
    half = ROWS // 2
    for low, high in ((0, half), (half, ROWS)):
        made.add(range(low, high), similarities.rows(vectors, low, high), {"place": place[low:high]})
    made.compact()
    return made, vectors, place, others


def test_estimates_are_what_a_slow_loop_adds_up():
    vectors = passages(40)
    kind = make_kind("centroids", {"centroids": 16, "probes": 5})
    kind.learn(vectors)
    centres = kind.codec["centroids"]
    arrays = kind.derive(vectors)
    assert len(centres) == 16 and len(arrays["lists"]) == 17
    nearest = [{int(((token - centres) ** 2).sum(1).argmin()) for token in vectors.item(row)} for row in range(40)]
    for centre in range(16):
        listed = arrays["members"][arrays["lists"][centre] : arrays["lists"][centre + 1]].tolist()
        assert listed == [row for row in range(40) if centre in nearest[row]]
    query = vectors.item(3)
    expected = np.zeros(40)
    for token in query:
        products = centres @ token
        order = np.argsort(-products)
        for row in range(40):
            walked = [products[centre] for centre in order[:5] if centre in nearest[row]]
            expected[row] += walked[0] if walked else products[order[5]]
    for threads in (1, 3):
        found = kind._estimates(Part.fresh(vectors, arrays), query @ centres.T, threads)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("width", [24, 320])
def test_what_bits_say_is_what_a_slow_loop_adds_up(width):
    """Rows without vectors among them, in threads or not; and it is close to MaxSim itself."""
    vectors = passages(60, width=width)
    vectors = Vectors(vectors.flat, np.insert(vectors.offsets, 7, vectors.offsets[7]))
    kind = make_kind("centroids", {"centroids": 16})
    kind.learn(vectors)
    part, tokens = Part.fresh(vectors, kind.derive(vectors)), passages(3, seed=5, width=width).item(1)
    centres, rotation = kind.codec["centroids"], kind.codec["rotation"]
    turned = tokens @ rotation
    half, step = 2, 0.9957 * np.linalg.norm(turned, axis=1, keepdims=True) / rotation.shape[1] ** 0.5
    levels = (np.clip(np.floor(turned / step), -half, half - 1) + 0.5) * step
    expected = np.zeros(61)
    for row in range(61):
        best = np.full(len(tokens), -np.inf)
        for vector in vectors.item(row):
            centre = centres[((vector - centres) ** 2).sum(1).argmin()]
            left = (vector - centre) @ rotation
            factor = (left**2).sum() / np.abs(left).sum()
            best = np.maximum(best, tokens @ centre + factor * (levels @ np.where(left > 0, 1, -1)))
        expected[row] = best.sum() if len(vectors.item(row)) else 0
    for threads in (1, 3):
        found = kind._by_bits(part, tokens, tokens @ centres.T, np.arange(61), threads)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.corrcoef(found, similarities.maxsim(Vectors.of([tokens]), vectors)[0])[0, 1] > 0.95


@pytest.mark.parametrize("tokens", [1, 4, 7])
def test_a_shortlist_is_scored_as_every_row_is(tokens):
    """Rows without vectors among them; tokens that are no multiple of four."""
    vectors = passages(300)
    offsets = np.concatenate([vectors.offsets, vectors.offsets[-1:], vectors.offsets[-1:]])
    vectors, rows = Vectors(vectors.flat, offsets), np.array([0, 3, 4, 120, 299, 300, 301])
    asked = -np.abs(vectors.flat[:tokens])
    expected = similarities.maxsim(Vectors.of([asked]), vectors)[0][rows]
    np.testing.assert_allclose(
        similarities.maxsim_of(similarities.in_fours(Vectors.of([asked])), vectors, rows)[0], expected, rtol=1e-5
    )
    assert expected[-2:].tolist() == [0, 0] and expected[:5].all()


def test_recall_holds_for_any_k_and_filter(index):
    made, vectors, place, others = index
    assert made.kind.name == "centroids" and 0 < made.kind.shortlist < ROWS / 4 and made.kind.reach
    queries = Vectors.of([others.item(row)[:4] for row in range(30)])
    true = similarities.maxsim(queries, vectors)
    for passing in (ROWS, ROWS // 2, ROWS // 20, 15, 1):
        scores_of = np.where(place[None] < passing, true, -np.inf)
        for k in (1, 10, 100):
            rows, scores = made.nearest(queries, k, filter=None if passing == ROWS else f"place < {passing}")
            there = min(k, passing)
            assert (rows[:, :there] >= 0).all() and (rows[:, there:] < 0).all()
            assert all(len(set(row[:there])) == there for row in rows)
            np.testing.assert_allclose(scores[:, :there], np.take_along_axis(true, rows[:, :there], 1), rtol=1e-4)
            last = -np.sort(-scores_of, axis=1)[:, there - 1]
            assert (scores[:, :there] >= last[:, None] - 1e-4).mean() >= 0.9, (passing, k)


def test_deletes_and_wrong_use(tmp_path):
    vectors = passages(1500)
    made = Index.create(tmp_path / "i", metric="maxsim", output="multi", kind="centroids", shortlist=400)
    made.add(range(1500), vectors)
    query = Vectors.of([vectors.item(5)])
    near = [hit.id for hit in made.search(query, 30)[0]]
    made.delete(near[:20])
    assert [hit.id for hit in made.search(query, 10)[0]] == near[20:]
    assert len(made.search(query, 1480)[0]) == 1480
    made.compact()
    assert [hit.id for hit in made.search(query, 10)[0]] == near[20:]
    assert len(made.search(Vectors.of([np.zeros((0, 24), np.float32)]), 3)[0]) == 3
    with pytest.raises(WrongUse, match="centroids: expected multi vectors compared by maxsim"):
        Index.create(tmp_path / "j", metric="cosine", kind="centroids")
    for name, place, line in (
        ("members", 1 << 30, "rows that do not rise"),
        ("nearest", 1 << 30, "expected centroids 0 to "),
    ):
        (file,) = (tmp_path / "i").glob(f"segment-*/{name}-*.npy")
        kept = np.load(file)
        np.save(file, np.concatenate([[place], kept[1:]]).astype(kept.dtype))
        with pytest.raises(DataError, match=f"is damaged .*{line}"):
            Index(tmp_path / "i", verify=False).search(query, 3)
        np.save(file, kept)
    arrays = made.kind.derive(vectors) | {"flat": vectors.flat}
    made.kind.sound(arrays)
    for name in ("nearest", "factors", "codes"):
        with pytest.raises(ValueError, match=f"{name}: expected [0-9,]+, one for each token vector, found 3"):
            made.kind.sound(arrays | {name: arrays[name][:3]})


def test_an_index_from_before_there_were_bits_opens_and_finds_the_same(tmp_path, monkeypatch):
    vectors = passages(1500)
    queries = Vectors.of([vectors.item(row) for row in range(20)])
    learn, found = Centroids.learn, {}

    def unturned(kind, vectors):
        learn(kind, vectors)
        del kind.codec["rotation"]

    for bits in (True, False):
        if not bits:
            monkeypatch.setattr(Centroids, "learn", unturned)
        made = Index.create(tmp_path / str(bits), metric="maxsim", output="multi", kind="centroids", shortlist=400)
        made.add(range(1500), vectors)
        made.compact()
        monkeypatch.undo()
        opened = Index(tmp_path / str(bits))
        assert ("codes" in opened.snapshot().kind.derive(vectors)) is bits
        found[bits] = opened.nearest(queries, 10)
        opened.add(["more"], Vectors.of([vectors.item(3)]))
        assert [hit.id for hit in opened.search(Vectors.of([vectors.item(3)]), 2)[0]] == ["3", "more"]
    assert (found[True][0] == found[False][0]).mean() > 0.99


def test_few_rows_are_all_looked_at():
    vectors = passages(60)
    kind = make_kind("centroids", {})
    kind.learn(vectors)
    part = Part.fresh(vectors, kind.derive(vectors))
    assert kind.tuned([part], 0.95) == {"shortlist": 0}
    queries = Vectors.of([vectors.item(1)])
    assert (kind.search(part, queries, 5, None)[0] == Late().search(part, queries, 5, None)[0]).all()


def test_an_automatic_kind_looks_at_everything_where_centroids_say_too_little(tmp_path, monkeypatch):
    """It fell back on the kind of dense vectors, which no token vectors fit."""
    from umekomi.indexes import upkeep

    monkeypatch.setattr(upkeep, "AUTO_DOCUMENTS", 2000)
    flat = np.random.default_rng(0).standard_normal((2 * 2600, 64)).astype(np.float32)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    vectors = Vectors(flat, np.arange(0, len(flat) + 1, 2))
    index = Index.create(tmp_path / "i", metric="maxsim", output="multi", recall=1.0)
    index.add(range(2500), similarities.rows(vectors, 0, 2500))
    assert index.kind.name == "late"
    assert index.check(sample=20) == 1.0
    monkeypatch.setattr(upkeep, "rebuild", None)  # nor is it tried again with every addition
    index.add(range(2500, 2600), similarities.rows(vectors, 2500, 2600))
    assert index.kind.name == "late"
