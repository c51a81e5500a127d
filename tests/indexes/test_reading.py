"""What a search gives: one commit, as many hits as were asked for, the recall that was promised, vectors of any size."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from indexes.test_index import needs_package

from umekomi.contracts import Vectors
from umekomi.errors import DataError, WrongUse
from umekomi.indexes import Index
from umekomi.indexes import index as index_module
from umekomi.indexes.kinds import make_kind
from umekomi.indexes.packing import concatenate
from umekomi.models.lexical import Bm25Embedder
from umekomi.parts import similarity as similarities


def clustered(rows, width=64, seed=0):
    """Unit vectors in groups, as encoders make them."""
    generator = np.random.default_rng(seed)
    middles = np.random.default_rng(0).standard_normal((40, width)) / np.sqrt(1 + np.arange(width))
    vectors = middles[generator.integers(0, 40, rows)] + 0.5 * generator.standard_normal((rows, width)) / np.sqrt(
        1 + np.arange(width)
    )
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def recall(scores, queries, vectors, allowed, k):
    every = np.where(allowed, queries @ vectors.T, -np.inf)
    last = -np.partition(-every, k - 1, axis=1)[:, k - 1]
    return float((scores >= last[:, None] - 1e-6).mean())


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory):
    vectors, queries = clustered(10_000), clustered(40, seed=9)
    index = Index.create(tmp_path_factory.mktemp("recall") / "i", metric="cosine", kind="exact")
    order = np.argsort(-(vectors @ vectors[7]))
    near, far = np.zeros(10_000, bool), np.zeros(10_000, bool)
    near[order[:1500]], far[order[-1500:]] = True, True
    half = np.random.default_rng(1).random(10_000) < 0.5
    place = np.random.default_rng(2).permutation(10_000)
    index.add(range(10_000), vectors, {"half": half, "near": near, "far": far, "place": place})
    return index, vectors, queries, {"half": half, "near": near, "far": far}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("binary", {}),
        ("binary", {"shortlist": 40}),
        ("funnel", {}),
        ("funnel", {"rotate": False, "width": 16, "widths": (32,)}),
        ("turbo", {}),
        ("turbo", {"bits": 2}),
        ("turbo", {"shortlist": 40}),
    ],
)
def test_the_promised_recall_holds_for_any_k_and_filter(ten_thousand, kind, settings):
    if kind == "turbo":
        pytest.importorskip("turbovec")
    index, vectors, queries, masks = ten_thousand
    index.compact(kind, **settings)
    assert index.kind.reach
    for name, mask in [("", np.ones(10_000, bool)), *masks.items()]:
        for k in (1, 10, 100, 1000):
            _, scores = index.nearest(queries, k, filter=name or None)
            if settings.get("shortlist") and not name and k <= 10:
                continue  # as many as were asked for by name, whatever that gives
            assert recall(scores, queries, vectors, mask, k) >= 0.93, (name, k)


@pytest.mark.parametrize("kind", ["exact", "binary", "turbo", "funnel", "hnsw"])
def test_no_kind_gives_fewer_hits_than_rows_that_pass(ten_thousand, kind):
    """From one row in ten thousand, .01 %, to all of them: as many hits as were asked for, or every row that passes."""
    needs_package(kind)
    index, _, queries, _ = ten_thousand
    index.compact(kind, **({"connections": 4, "build_effort": 16, "effort": 16} if kind == "hnsw" else {}))
    for passing in (1, 2, 11, 50, 201, 500, 5000, 10_000):
        for k in (1, 10, 100, 1500):
            rows, scores = index.nearest(queries[:6], k, filter=f"place < {passing}")
            assert (rows[:, : min(k, passing)] >= 0).all() and np.isfinite(scores[:, : min(k, passing)]).all()
            assert (rows[:, passing:] < 0).all()
            assert all(len(set(row[row >= 0])) == min(k, passing) for row in rows)


def test_a_graph_keeps_its_recall_for_many_hits(tmp_path):
    pytest.importorskip("usearch")
    vectors, queries = clustered(2500), clustered(20, seed=9)
    index = Index.create(tmp_path / "i", metric="cosine", kind="hnsw", connections=8, build_effort=32)
    index.add(range(2500), vectors, {"half": np.arange(2500) % 2 == 0})
    assert [depth for depth, _ in index.kind.reach] == [100, 1000]
    for name, mask in (("", np.ones(2500, bool)), ("half", np.arange(2500) % 2 == 0)):
        for k in (10, 100, 1000):
            _, scores = index.nearest(queries, k, filter=name or None)
            assert recall(scores, queries, vectors, mask, k) >= 0.93, (name, k)


def test_effort_for_more_hits_is_in_proportion(tmp_path):
    pytest.importorskip("usearch")
    kind = make_kind("hnsw", {"effort": 20})
    assert [kind.needed(k) for k in (1, 11, 100, 1000, 3000)] == [20, 20, 200, 2000, 0]  # tuned for ten hits only
    kind.reach = [(100, 200), (1000, 1500)]
    assert [kind.needed(k) for k in (11, 100, 550, 1000, 2000, 4000)] == [20, 200, 850, 1500, 3000, 0]
    kind.reach = [(100, 200), (1000, 0)]
    assert [kind.needed(k) for k in (100, 101, 2000)] == [200, 0, 0]


def test_an_index_tuned_before_margins_still_looks_further_for_more(ten_thousand):
    index, vectors, queries, _ = ten_thousand
    index.compact("binary")
    now = index.snapshot()
    old = make_kind("binary", now.kind.settings())
    old.codec = now.kind.codec
    assert not old.reach
    _, scores = now.nearest(queries, 100, kind=old)
    assert recall(scores, queries, vectors, np.ones(10_000, bool), 100) >= 0.93


def test_as_many_hits_as_there_are(tmp_path):
    index = Index.create(tmp_path / "i", metric="cosine")
    assert index.search(np.zeros((2, 3), np.float32)) == [[], []]
    index.add([1, 2, 3, 4], np.eye(4, dtype=np.float32), {"x": [1, 2, 3, 4]})
    one = np.eye(4, dtype=np.float32)[:1]
    assert len(index.search(one)[0]) == len(index.search(one, 10**12)[0]) == 4
    assert index.nearest(one, 10)[0].shape == (1, 4)
    assert [hit.id for hit in index.search(one, 100, filter="x > 2")[0]] == ["3", "4"]
    rows, scores = index.nearest(one, 3, filter="x > 2")
    assert rows.tolist() == [[2, 3, -1]]
    assert scores[0, 2] == -np.inf
    assert index.search([]) == index.search(np.zeros((0, 4))) == []
    assert index.nearest(np.zeros((0, 4)), 3)[0].shape == (0, 3)
    assert [hit.id for hit in index.search([[0.0, 1, 0, 0]], 1)[0]] == ["2"]  # lists of numbers are vectors
    assert index.search(one, np.int64(2))[0][0].id == "1"
    for k in (0, -1, 2.0, "3", None, True):
        with pytest.raises(WrongUse, match="k: expected a whole number from 1 up"):
            index.search(one, k)
    index.delete([1, 2, 3, 4])
    assert index.search(one)[0] == []


def test_a_check_of_too_few_rows_is_no_figure(tmp_path):
    index = Index.create(tmp_path / "i", metric="cosine")
    with pytest.raises(WrongUse, match="is an empty index"):
        index.check()
    index.add(["a"], np.ones((1, 4)))
    with pytest.raises(WrongUse, match="holds one row, which has no neighbours"):
        index.check()
    assert index.check(queries=np.ones((1, 4))) == 1.0
    index.add([f"b{i}" for i in range(30)], np.ones((30, 4)))
    assert index.check() == 1.0  # among equals it does not matter which is found


def test_a_graph_keeps_its_promise_to_queries_that_are_not_in_it(tmp_path):
    pytest.importorskip("usearch")
    vectors = np.random.default_rng(0).standard_normal((8500, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # noise, in which no row is near another
    queries, stored = vectors[:500], vectors[500:]
    index = Index.create(tmp_path / "i", metric="cosine", kind="hnsw")
    index.add([str(row) for row in range(8000)], stored)
    index.compact()
    assert 64 < index.about["kind"]["settings"]["effort"] <= 512
    for k in (1, 10, 100, 1000):
        _, scores = index.nearest(queries, k)
        assert recall(scores, queries, stored, np.ones(8000, bool), k) >= 0.94, k
    index.delete([str(row) for row in range(0, 8000, 3)])
    assert len(index.nearest(queries, 5)[0]) == 500
    small = Index.create(tmp_path / "s", metric="cosine", kind="hnsw")
    small.add([str(row) for row in range(5)], stored[:5])
    small.compact()
    assert small.search(stored[2:3], 3)[0][0].id == "2"


def test_a_check_of_rows_without_neighbours_is_no_figure(tmp_path):
    words = Bm25Embedder.fit(["apple", "bread", "cat", "dog"])
    index = Index.create(tmp_path / "i", model=words)
    index.add(["a", "b", "c", "d"], ["apple", "bread", "cat", "dog"])
    with pytest.raises(WrongUse, match="none of 4 queries has a neighbour: there is nothing to check"):
        index.check()
    index.add(["e"], ["apple"])
    assert index.check() == 1.0


def test_a_filtered_search_beside_a_writer_sees_one_commit(tmp_path):
    """The same rows over and over in another order, in a thread: every hit meets the filter, none is an error."""
    vectors = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    folder = tmp_path / "i"
    writer = Index.create(folder, metric="cosine")
    writer.add(range(60), vectors, {"v": [i % 2 for i in range(60)]})
    stop, wrong, seen = threading.Event(), [], [0]

    def read(reader):
        while not stop.is_set():
            try:
                hits = reader.search(vectors[:2], 5, filter="v == 1")
                seen[0] += 1
                if any(hit.payload["v"] != 1 or len(row) != 5 for row in hits for hit in row):
                    wrong.append(hits)
                reader.check(sample=5)
            except Exception as error:
                wrong.append(error)

    # one index of each thread's own, and one that two share
    shared = Index(folder)
    threads = [threading.Thread(target=read, args=(index,)) for index in (Index(folder), shared, shared)]
    for thread in threads:
        thread.start()
    for turn in range(12):
        order = np.random.default_rng(turn).permutation(60)
        writer.add(order.tolist(), vectors[order], {"v": [int(i) % 2 for i in order]}, replace=True)
        writer.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert seen[0] > 20


def test_a_snapshot_stays_what_it_was(tmp_path):
    vectors = clustered(20, 8)
    index = Index.create(tmp_path / "i", metric="cosine")
    index.add(range(20), vectors, {"n": list(range(20))})
    now = index.snapshot()
    index.delete(range(10))
    index.compact()
    rows, _ = now.nearest(vectors[:1], 3, filter="n < 10")
    assert [row["n"] < 10 for row in now.rows(rows[0].tolist())] == [True] * 3
    assert now.column("n", rows[0]).to_pylist()[0] == 0
    assert len(now) == 20
    assert len(index) == 10
    with pytest.raises(WrongUse, match="no row has the number 20"):
        now.rows([20])


@pytest.mark.parametrize("kind", ["exact", "binary", "turbo", "funnel", "hnsw"])
@pytest.mark.parametrize("scale", [1e30, 1e-42, 1e300, 1e-300])
def test_vectors_of_any_size_compare_by_cosine(tmp_path, kind, scale):
    needs_package(kind)
    vectors = clustered(300, 16)
    with np.errstate(all="ignore"):
        scaled = vectors.astype(np.float64) * scale
        scaled = scaled.astype(np.float32) if 1e-300 < scale < 1e300 else scaled
    index = Index.create(tmp_path / "i", metric="cosine", kind=kind)
    index.add(range(300), scaled)
    true = np.sort(vectors[:5] @ vectors.T, axis=1)[:, :-4:-1]
    for asked in (vectors[:5], scaled[:5]):
        np.testing.assert_allclose(index.nearest(asked, 3)[1], true, atol=2e-3)  # 1e-42 has three digits


def test_a_small_graph_is_the_same_however_many_threads_there_are(monkeypatch):
    pytest.importorskip("usearch")
    from umekomi.indexes.kinds import hnsw

    vectors, graphs = clustered(900, 16), []
    for threads in (1, 2, 4):
        monkeypatch.setattr(hnsw, "cores", lambda threads=threads: threads)
        graphs.append(hnsw.Hnsw().derive(vectors)["graph"].tobytes())
    assert graphs[0] == graphs[1] == graphs[2]


def test_vectors_whose_scores_overflow_or_vanish_are_named(tmp_path):
    from scipy import sparse

    good = np.eye(3, dtype=np.float32)
    for metric, output in (("dot", "dense"), ("euclidean", "dense"), ("dot", "sparse"), ("maxsim", "multi")):
        index = Index.create(tmp_path / f"{metric}-{output}", metric=metric, output=output)

        def of(rows, output=output):
            rows = np.asarray(rows, np.float32)
            return (
                sparse.csr_matrix(rows)
                if output == "sparse"
                else Vectors.of([row[None] for row in rows])
                if output == "multi"
                else rows
            )

        index.add(["a", "b", "c"], of(good))
        for number, what in ((1e30, "1e.30"), (1e-42, "1e-42")):
            if metric == "euclidean" and number < 1:
                continue  # a distance from nearly nothing is a distance
            bad = of([[1, 0, 0], [number, 0, 0]])
            said = f"expected lengths .* by {metric} .*{what} in row 2"
            with pytest.raises(WrongUse, match=f"query vectors: {said}"):
                index.search(bad)
            with pytest.raises(WrongUse, match=f"added vectors: {said}"):
                index.add(["d", "e"], bad)
        with pytest.raises(DataError, match="query vectors: .*NaN or infinity in row 2"):
            index.search(of([[1, 0, 0], [0, np.nan, 0]]))
        assert len(index) == 3
    points = Index.create(tmp_path / "ball", metric="poincare")
    with pytest.raises(WrongUse, match="points of the Poincaré ball, shorter than 1, found another in row 2"):
        points.add(["a", "b"], np.array([[0.5, 0], [1, 0]]))


@pytest.mark.parametrize("kind", ["binary", "funnel", "turbo"])
def test_short_and_long_vectors_by_their_product(tmp_path, kind):
    if kind == "turbo":
        pytest.importorskip("turbovec")
    for scale in (1e-12, 1e12):
        vectors = clustered(3000) * np.float32(scale)
        index = Index.create(tmp_path / f"{scale}", metric="dot", kind=kind)
        index.add(range(3000), vectors)
        assert index.check(sample=60) > 0.9
        assert index.check(50, sample=60) > 0.9


def test_a_graph_refuses_vectors_that_it_cannot_tell_apart(tmp_path):
    pytest.importorskip("usearch")
    index = Index.create(tmp_path / "i", metric="dot", kind="hnsw")
    with pytest.raises(WrongUse, match="index kind hnsw: expected vectors of which the longest has a length of 0.01"):
        index.add(["a", "b"], np.eye(2) * 1e-4)
    assert len(index) == 0
    index.add(["a", "b"], np.array([[1.0, 0], [0.9, 0]]))
    rows, scores = index.nearest(np.array([[1e-6, 0]]), 2)
    assert rows.tolist() == [[0, 1]]
    np.testing.assert_allclose(scores, [[1e-6, 0.9e-6]], rtol=1e-5)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([[1, 2], [3]], "expected rows of numbers"),
        ([["a", "b"]], "expected numbers|expected texts|was made from vectors"),
        ([[1 + 2j, 0]], "expected numbers, found complex"),
        ([[None, 1]], "NaN or infinity in row 1|expected rows of numbers"),
        (np.zeros((2, 2, 2)), "two dimensions, found 3"),
        (np.array([["x", "y"]]), "expected numbers, found <U1"),
        (Vectors(np.zeros((2, 2), np.float32), np.array([0, 5])), "offsets: expected numbers that rise from 0 to 2"),
    ],
)
def test_what_is_no_vector_is_one_line(tmp_path, bad, said):
    index = Index.create(tmp_path / "i", metric="cosine")
    index.add(["a"], np.ones((1, 2)))
    with pytest.raises((WrongUse, DataError), match=said):
        index.search(bad)


def test_codes_that_point_out_of_their_width_are_refused(tmp_path):
    from scipy import sparse

    index = Index.create(tmp_path / "i", metric="dot", output="sparse", dimension=4)
    bad = sparse.csr_matrix(np.ones((1, 4), np.float32))
    bad.indices[0] = 77
    for use in (lambda: index.add(["a"], bad), lambda: index.search(bad)):
        with pytest.raises(WrongUse, match="vectors: .*ind"):
            use()
    twice = sparse.csr_matrix((np.float32([1, 2]), [1, 1], [0, 2]), shape=(1, 4))
    index.add(["a"], twice)
    assert index.search(sparse.csr_matrix(np.float32([[0, 1, 0, 0]])))[0][0].score == 3


def test_lengths_of_one_whatever_they_were():
    rows = np.array([[3, 4], [0, 0], [3e30, 4e30], [3e-42, 4e-42], [3e38, 0]], np.float32)
    expected = [[0.6, 0.8], [0, 0], [0.6, 0.8], [0.6, 0.8], [1, 0]]
    np.testing.assert_allclose(similarities.normalise(rows), expected, rtol=2e-3)
    np.testing.assert_allclose(similarities.normalise(rows[2]), expected[2], rtol=1e-6)
    np.testing.assert_allclose(similarities.normalise(np.array([[3e300, 4e300]])), [[0.6, 0.8]], rtol=1e-6)
    from scipy import sparse

    np.testing.assert_allclose(similarities.normalise(sparse.csr_matrix(rows)).toarray(), expected, rtol=2e-3)
    assert similarities.normalise(rows[:2]).dtype == np.float32


def test_what_a_segment_proved_is_not_looked_through_again(tmp_path):
    from scipy import sparse

    index = Index.create(tmp_path / "i", metric="dot", output="sparse", dimension=4)
    index.add(["a", "b"], sparse.csr_matrix(np.eye(2, 4, dtype=np.float32)))
    (segment,) = index.snapshot().segments
    seen = []

    def refused(array):
        seen.append(len(array))
        raise ValueError("no")

    for _ in range(2):  # what failed is not remembered
        with pytest.raises(DataError, match=r"documents.*no"):
            segment.part().prove("documents", refused)
    for _ in range(3):
        segment.part(np.array([True, False])).prove("documents", lambda array: seen.append(len(array)), checksum=True)
    assert seen == [2, 2, 2]
    index.add(["c"], sparse.csr_matrix(np.eye(1, 4, dtype=np.float32)))
    assert index.snapshot().segments[0] is segment  # which other commits share
    index.search(sparse.csr_matrix(np.eye(1, 4, dtype=np.float32)))
    assert index.snapshot().segments[1]._proved == {"documents"}


def test_queries_are_shared_out_among_threads(monkeypatch):
    from umekomi.indexes import scans

    monkeypatch.setattr(scans, "cores", lambda: 2)
    asked = []

    def ask(query, threads):
        asked.append(threads)
        return np.full((1, 3), query), np.full((1, 3), float(query), np.float32)

    for count, threads in ((0, None), (3, 2), (9, 1)):
        asked.clear()
        rows, scores = scans.ask_all(ask, np.arange(count), 3)
        assert rows.shape == scores.shape == (count, 3) and rows[:, 0].tolist() == list(range(count))
        assert asked == [threads] * count


@pytest.mark.parametrize("number", [np.nan, np.inf, -2e15])
def test_numbers_that_no_index_takes_are_not_carried_on(number):
    """A kind that meets them may say so in words of its own: turbovec raised an error that nothing named."""
    vectors = np.zeros((3, 4), np.float32)
    vectors[1, 2] = number
    _, _, blocks = concatenate([vectors], [np.arange(3)], "dense")["vectors"]
    with pytest.raises(ValueError, match="numbers up to 1e"):
        list(blocks)


@pytest.mark.parametrize("kind", ["exact", "binary", "turbo", "funnel", "hnsw"])
def test_opening_a_large_index_does_what_its_first_query_would_wait_for(ten_thousand, tmp_path, monkeypatch, kind):
    needs_package(kind)
    monkeypatch.setattr(index_module, "MANY", 300)
    index = Index.create(tmp_path / "i", metric="cosine", kind=kind)
    index.add(range(299), ten_thousand[1][:299])
    asked = []
    searched = type(index.kind).search
    monkeypatch.setattr(
        type(index.kind), "search", lambda self, part, *given: asked.append(part.rows) or searched(self, part, *given)
    )
    assert len(Index(tmp_path / "i")) == 299 and not asked
    index.add([299], ten_thousand[1][299:300])
    Index(tmp_path / "i", prepare=False)
    assert not asked
    Index(tmp_path / "i")
    looked_at = [1] if kind == "exact" else [each.segment.rows for each in index.snapshot().segments]
    assert asked == looked_at


def test_every_kind_of_output_is_prepared(tmp_path):
    generator = np.random.default_rng(0)
    tokens = [generator.standard_normal((size, 8)).astype(np.float32) for size in (3, 5, 1)]
    late = Index.create(tmp_path / "late", metric="maxsim", output="multi")
    late.prepare()  # empty: nothing to do
    late.add(range(3), Vectors.of(tokens))
    words = Bm25Embedder.fit(["red apple", "green apple", "red car"])
    sparse = Index.create(tmp_path / "sparse", model=words)
    sparse.add(range(3), ["red apple", "green apple", "red car"])
    for folder in ("late", "sparse"):
        opened = Index(tmp_path / folder, prepare=True)
        assert [hit.id for hit in opened.search(opened.vectors(np.array([1])), 1)[0]] == ["1"]
