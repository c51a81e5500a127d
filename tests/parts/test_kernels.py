"""Compiled loops against slow ones written from the papers' formulas."""

from decimal import Decimal, getcontext

import numpy as np
import pytest

from umekomi.parts import partition, similarity
from umekomi.parts.kernels import bags, hyperbolic, sentences, sparse
from umekomi.parts.kernels.draw import mix
from umekomi.parts.kernels.threads import run_all, shards

RNG = np.random.default_rng(0)


# --- hyperbolic ------------------------------------------------------------------------------------------------------


def one_step(table, geometry, rate=0.05, history=None, negatives=1):
    """Relation 0 → 1 with node 2 as the only possible negative."""
    table = table.copy()
    offsets, neighbours = np.array([0, 1, 1, 1], np.int64), np.array([1], np.int32)
    history = np.zeros(0) if history is None else history
    args = np.array([0], np.int32), np.array([1], np.int32), np.array([0]), offsets, neighbours, np.array([2], np.int32)
    loss = hyperbolic.sgd(
        table, history, *args, np.zeros((3, 0), np.int32), 0.0, negatives, rate, 1e-5, geometry, mix(0)
    )
    return table, loss


def distance(a, b, geometry):
    if geometry == hyperbolic.BALL:
        return np.arccosh(1 + 2 * ((a - b) ** 2).sum() / ((1 - a @ a) * (1 - b @ b)))
    if geometry == hyperbolic.LORENTZ:
        return np.arccosh(a[0] * b[0] - a[1:] @ b[1:])
    return ((a - b) ** 2).sum()


def slow_loss(table, geometry, negatives=1):
    near, far = (distance(table[0], table[other], geometry) for other in (1, 2))
    return -np.log(np.exp(-near) / (np.exp(-near) + negatives * np.exp(-far)))


def slow_gradient(table, geometry, negatives=1):
    out = np.zeros_like(table)
    for place in np.ndindex(*table.shape):
        moved = [table.copy(), table.copy()]
        moved[0][place] += 1e-6
        moved[1][place] -= 1e-6
        out[place] = (slow_loss(moved[0], geometry, negatives) - slow_loss(moved[1], geometry, negatives)) / 2e-6
    return out


@pytest.mark.parametrize("geometry", [hyperbolic.BALL, hyperbolic.LORENTZ, hyperbolic.EUCLIDEAN])
def test_the_closest_unrelated_nodes_closest_first(geometry):
    points = RNG.normal(size=(60, 3)) / (4 if geometry == hyperbolic.BALL else 1)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1) if geometry == hyperbolic.BALL else 1
    table = (
        np.column_stack([np.sqrt(1 + (points**2).sum(1)), points]) if geometry == hyperbolic.LORENTZ else 0.99 * points
    )
    related = [sorted({(row + 1) % 60, (row + 7) % 60}) for row in range(60)]
    offsets, neighbours = np.arange(0, 121, 2), np.array(related, np.int32).ravel()
    columns, weights = hyperbolic.columns_of(table, geometry)
    out = np.full((60, 58), -1, np.int32)
    hyperbolic.closest(columns, weights, geometry, np.arange(60, dtype=np.int32), offsets, neighbours, out)
    for row in range(60):
        others = [node for node in range(60) if node != row and node not in related[row]]
        others.sort(key=lambda node: distance(table[row], table[node], geometry))
        assert out[row].tolist() == [*others, row]  # one more was asked for than there is


@pytest.mark.parametrize("negatives", [1, 5])
def test_a_step_in_the_ball(negatives):
    table = RNG.uniform(-0.5, 0.5, (3, 4))
    found, loss = one_step(table, hyperbolic.BALL, negatives=negatives)
    gradient = slow_gradient(table, hyperbolic.BALL, negatives)
    if negatives > 1:
        # every copy of the negative writes the row from where it stood: the last one stays
        gradient[2] /= negatives
    want = table - 0.05 * (1 - (table**2).sum(1, keepdims=True)) ** 2 / 4 * gradient
    assert loss == pytest.approx(slow_loss(table, hyperbolic.BALL, negatives), rel=1e-9)
    assert found == pytest.approx(want, abs=1e-8)


def test_points_are_put_back_into_the_ball():
    table = np.array([[0.999, 0.0], [-0.999, 0.0], [0.0, 0.999]])
    found, _ = one_step(table, hyperbolic.BALL, rate=500.0)
    assert (np.linalg.norm(found, axis=1) <= 1 - 1e-5 + 1e-12).all()


def test_a_step_on_the_hyperboloid():
    table = RNG.uniform(-1, 1, (3, 4))
    table[:, 0] = np.sqrt(1 + (table[:, 1:] ** 2).sum(1))
    found, loss = one_step(table, hyperbolic.LORENTZ)
    assert loss == pytest.approx(slow_loss(table, hyperbolic.LORENTZ), rel=1e-9)
    gradient = slow_gradient(table, hyperbolic.LORENTZ)
    gradient[:, 0] *= -1
    inner = -table[:, 0] * gradient[:, 0] + (table[:, 1:] * gradient[:, 1:]).sum(1)
    tangent = -0.05 * (gradient + inner[:, None] * table)
    length = np.sqrt(-(tangent[:, :1] ** 2) + (tangent[:, 1:] ** 2).sum(1, keepdims=True))
    want = np.cosh(length) * table + np.sinh(length) / length * tangent
    assert found == pytest.approx(want, abs=1e-7)
    assert -(found[:, 0] ** 2) + (found[:, 1:] ** 2).sum(1) == pytest.approx(-np.ones(3))


def test_distances_far_out_on_the_hyperboloid_keep_their_digits():
    """Points at 16 to 18 from the middle and one to four apart, against sixty decimal places; |u - x|² - (u0 - x0)² is
    off by .1 there."""
    getcontext().prec = 60
    angle = 1e-7
    space = np.array([[2e7, 0.0], [2e7 * np.cos(angle), 2e7 * np.sin(angle)], [9e6, 0.3]])
    table = np.column_stack([np.sqrt(1 + (space**2).sum(1)), space])
    exact = [[Decimal(float(value)) for value in row] for row in space]
    first = [(1 + x * x + y * y).sqrt() for x, y in exact]
    ways = []
    for other in (1, 2):
        cosh = first[0] * first[other] - sum(a * b for a, b in zip(exact[0], exact[other], strict=True))
        ways.append(cosh + (cosh * cosh - 1).sqrt())  # e^d
    want = -float((ways[1] / (ways[0] + ways[1])).ln())
    _, loss = one_step(table, hyperbolic.LORENTZ, rate=1e-3)
    assert loss == pytest.approx(want, rel=1e-6)


def test_points_of_the_hyperboloid_stay_where_doubles_can_tell_them_apart():
    """A head and a negative near the limit, pushed apart by long steps for a long time."""
    table = np.array([[0.0, 9e7, 0.0], [0.0, 0.1, 0.2], [0.0, -9e7, 3.0]])
    table[:, 0] = np.sqrt(1 + (table[:, 1:] ** 2).sum(1))
    for _ in range(50):
        table, loss = one_step(table, hyperbolic.LORENTZ, rate=2.0, negatives=5)
    assert np.isfinite(table).all()
    assert np.isfinite(loss)
    assert np.linalg.norm(table[:, 1:], axis=1).max() <= hyperbolic.FARTHEST * (1 + 1e-9)
    assert table[:, 0] == pytest.approx(np.sqrt(1 + (table[:, 1:] ** 2).sum(1)), rel=1e-12)
    moved, _ = one_step(table, hyperbolic.LORENTZ, rate=2.0)
    assert (np.abs(moved - table) > 0).any()


def test_a_step_in_the_euclidean_arm():
    table = RNG.normal(size=(3, 4))
    found, loss = one_step(table, hyperbolic.EUCLIDEAN)
    assert loss == pytest.approx(slow_loss(table, hyperbolic.EUCLIDEAN), rel=1e-9)
    assert found == pytest.approx(table - 0.05 * slow_gradient(table, hyperbolic.EUCLIDEAN), abs=1e-8)


@pytest.mark.parametrize("metric", ["poincare", "lorentz", "euclidean", "cosine", "dot"])
def test_ranks_are_those_of_the_similarity(metric):
    from umekomi.models.entity import EntityEmbedder
    from umekomi.tasks.entities import rank

    points = RNG.uniform(-0.4, 0.4, (40, 3)).astype(np.float32)
    if metric == "lorentz":
        points = similarity.hyperboloid(np.column_stack([np.zeros(40), points])).astype(np.float32)
    points[7] = points[8]  # an equal score counts half
    model = EntityEmbedder([str(i) for i in range(40)], points, metric=metric)
    wanted = {row: {int(i) for i in RNG.choice(40, 3, replace=False)} - {row} for row in range(0, 40, 3)}
    known = {row: {int(i) for i in RNG.choice(40, 4, replace=False)} - {row} for row in wanted}
    precision, places = [], []
    for row in sorted(wanted):
        scores = model.similarity(points[row : row + 1].astype(np.float64), points.astype(np.float64))[0]
        others = [i for i in range(40) if i != row and i not in wanted[row] | known[row]]
        ahead = sorted(
            float((scores[others] > scores[i]).sum() + 0.5 * (scores[others] == scores[i]).sum()) for i in wanted[row]
        )
        precision.append(np.mean([(j + 1) / (a + j + 1) for j, a in enumerate(ahead)]))
        places += [a + 1 for a in ahead]
    found = rank(model, wanted, known)
    assert found["map"].values == pytest.approx(np.array(precision), abs=1e-6)
    assert sorted(found["mean rank"].values) == pytest.approx(sorted(places), abs=1e-6)


# --- bags -------------------------------------------------------------------------------------------------------------


def starspace_step(
    table,
    left,
    right,
    others,
    *,
    loss,
    cosine,
    jacobian=False,
    adagrad=bags.OFF,
    kept=10,
    margin=0.5,
    rate=0.1,
    draws=8,
):
    """Example 0 is (left → right); the negatives are the right sides of all examples, each drawn as chance has it.
    Returns (table after, loss, the negatives drawn)."""
    table = table.copy()
    sides = [right, *others]
    lengths = np.cumsum([0, *(len(bag) for bag in sides)])
    example_offsets = np.arange(len(sides) + 1)
    left_offsets = np.array([0, len(left)] + [len(left)] * len(others))
    ids, weights = np.array([i for bag in sides for i in bag], np.int32), np.ones(lengths[-1], np.float32)
    squares = np.zeros(table.shape if adagrad == bags.COORDINATE else (len(table), 1), np.float32)
    state = mix(5)
    total = bags.starspace(
        table,
        table,
        squares,
        squares,
        np.array([0]),
        left_offsets,
        np.array(left, np.int32),
        np.ones(len(left), np.float32),
        example_offsets,
        lengths,
        ids,
        weights,
        np.zeros(0, np.int64),
        8,
        0,
        loss,
        cosine,
        np.float32(0.5),
        np.float32(margin),
        draws,
        kept,
        np.float32(rate),
        adagrad,
        jacobian,
        np.float32(100.0),
        1,
        5,
        True,
        0.0,
        0.0,
        state,
    )
    return table, total


def project(table, bag, cosine):
    summed = table[list(bag)].sum(0)
    return summed / np.linalg.norm(summed) if cosine else summed / len(bag) ** 0.5


@pytest.mark.parametrize("loss", [bags.HINGE, bags.SOFTMAX])
@pytest.mark.parametrize("cosine", [True, False])
def test_starspace_is_the_papers_loss_and_its_gradient(loss, cosine):
    """One other right side: every draw is it, or the positive itself, which is no negative. With the Jacobian, the step
    is the gradient that finite differences give."""
    table = RNG.normal(0, 0.5, (7, 5)).astype(np.float32)
    left, right, other = [0, 1], [2, 3], [4, 5]
    draws = 8

    def value(t, count):
        a, b, n = (project(t, bag, cosine) for bag in (left, right, other))
        if loss == bags.HINGE:
            return max(0.0, 0.5 - a @ b + a @ n)
        return -np.log(np.exp(a @ b) / (np.exp(a @ b) + count * np.exp(a @ n)))

    found, total = starspace_step(
        table, left, right, [other], loss=loss, cosine=cosine, jacobian=True, kept=1, draws=draws
    )
    wide = table.astype(np.float64)
    if loss == bags.HINGE:
        count = 1
        assert total == pytest.approx(value(wide, 1) / draws, rel=1e-5) and total > 0
    else:
        count = round(float(np.expm1(total) / (np.exp(value(wide, 1)) - 1)))
        assert 1 <= count < draws, "some draws were the positive itself"
        assert total == pytest.approx(value(wide, count), rel=1e-4)
    gradient = np.zeros_like(wide)
    for place in np.ndindex(*wide.shape):
        up, down = wide.copy(), wide.copy()
        up[place] += 1e-6
        down[place] -= 1e-6
        gradient[place] = (value(up, count) - value(down, count)) / 2e-6
    if loss == bags.SOFTMAX:
        # the same negative drawn several times is updated for each in turn: small steps add up to the sum
        assert found - table == pytest.approx(-0.1 * gradient, abs=2e-3)
    else:
        assert found - table == pytest.approx(-0.1 * gradient, abs=1e-5)


def test_starspace_as_released_leaves_the_normalisation_out():
    table = RNG.normal(0, 0.5, (7, 5)).astype(np.float32)
    found, _ = starspace_step(table, [0, 1], [2, 3], [[4, 5]], loss=bags.HINGE, cosine=True, kept=1)
    a, b, n = (project(table, bag, True) for bag in ([0, 1], [2, 3], [4, 5]))
    for rows, gradient in (([0, 1], n - b), ([2, 3], -a), ([4, 5], a)):
        for row in rows:
            assert found[row] == pytest.approx(table[row] - 0.1 * gradient, abs=1e-5)
    assert (found[6] == table[6]).all()


def test_starspace_adagrad_keeps_one_number_a_row_or_one_a_coordinate():
    table = RNG.normal(0, 0.5, (7, 5)).astype(np.float32)
    b, n = (project(table, bag, False) for bag in ([2], [4]))
    row, _ = starspace_step(table, [0], [2], [[4]], loss=bags.HINGE, cosine=False, kept=1, adagrad=bags.ROW, margin=9)
    step = (n - b) / np.sqrt(((n - b) ** 2).mean() + 1e-6)
    assert row[0] == pytest.approx(table[0] - 0.1 * step, abs=1e-5)
    each, _ = starspace_step(
        table, [0], [2], [[4]], loss=bags.HINGE, cosine=False, kept=1, adagrad=bags.COORDINATE, margin=9
    )
    assert each[0] == pytest.approx(table[0] - 0.1 * np.sign(n - b), abs=1e-3)


def test_rows_are_kept_short():
    table = np.ones((4, 3), np.float32)
    squares = np.zeros((4, 1), np.float32)
    bags._update(
        table,
        squares,
        np.array([1], np.int32),
        np.ones(1, np.float32),
        1,
        -np.ones(3, np.float32),
        np.float32(1),
        bags.OFF,
        np.float32(1),
    )
    assert np.linalg.norm(table[1]) == pytest.approx(1)
    assert (table[0] == 1).all()


# --- sentences --------------------------------------------------------------------------------------------------------


def test_huffman_codes_are_the_shortest():
    counts = np.array([40, 30, 20, 5, 3, 2])
    offsets, paths, codes = sentences.huffman(counts)
    words = [tuple(codes[offsets[i] : offsets[i + 1]]) for i in range(6)]
    assert sum(2.0 ** -len(word) for word in words) == 1
    assert len(set(words)) == 6
    assert [len(word) for word in words] == [1, 2, 3, 4, 5, 5]
    assert (paths[offsets[:-1]] == 0).all(), "every path begins at the root"
    assert paths.max() == 4


@pytest.mark.parametrize("autoencode", [False, True])
def test_fastsent_against_a_slow_loop(autoencode):
    counts = np.array([4, 3, 2, 2, 1])
    tree = sentences.huffman(counts)
    ids = np.array([0, 1, 2, 0, 3, 4, 1, 0], np.int32)
    offsets, of = np.array([0, 3, 5, 6, 8]), np.array([0, 0, 0, 1])
    words, nodes = RNG.normal(0, 0.5, (5, 6)).astype(np.float32), RNG.normal(0, 0.5, (4, 6)).astype(np.float32)
    u, v = words.astype(np.float64), nodes.astype(np.float64)
    wanted = 0
    for i in range(4):
        mine = ids[offsets[i] : offsets[i + 1]]
        total, error = u[mine].sum(0), np.zeros(6)
        for side in (-1, 0, 1):
            j = i + side
            if not 0 <= j < 4 or of[i] != of[j] or (side == 0 and not autoencode):
                continue
            for word in ids[offsets[j] : offsets[j + 1]]:
                wanted += 1
                for at in range(tree[0][word], tree[0][word + 1]):
                    node, code = tree[1][at], tree[2][at]
                    push = (1 - code - 1 / (1 + np.exp(-total @ v[node]))) * 0.1
                    error += push * v[node]
                    v[node] += push * total
        for word in mine:
            u[word] += error / len(mine)
    loss, predicted = sentences.fastsent(
        words, nodes, np.arange(4), offsets, ids, of, *tree, autoencode, np.float32(0.1), 0
    )
    assert predicted == wanted
    assert loss > 0
    assert words == pytest.approx(u, abs=1e-5)
    assert nodes == pytest.approx(v, abs=1e-5)


def test_hot_nodes_of_one_thread_change_nothing():
    counts = np.array([4, 3, 2, 2, 1])
    tree = sentences.huffman(counts)
    ids, offsets, of = np.array([0, 1, 2, 0, 3, 4, 1, 0], np.int32), np.array([0, 3, 5, 6, 8]), np.zeros(4, np.int64)
    outcomes = []
    for hot in (0, 3):
        words, nodes = (
            np.full((5, 4), 0.1, np.float32) * np.arange(1, 6, dtype=np.float32)[:, None],
            np.full((4, 4), 0.2, np.float32),
        )
        sentences.fastsent(words, nodes, np.arange(4), offsets, ids, of, *tree, False, np.float32(0.1), hot)
        outcomes.append(np.concatenate([words, nodes]))
    assert outcomes[0] == pytest.approx(outcomes[1], abs=1e-6)


# --- sparse products and the normaliser -------------------------------------------------------------------------------


def test_sparse_times_dense():
    from scipy.sparse import random_array

    matrix = random_array((50, 40), density=0.1, format="csr", dtype=np.float32, rng=RNG)
    dense = RNG.normal(size=(40, 9)).astype(np.float32)
    for threads in (1, 2, 7):
        assert sparse.product(matrix, dense, threads) == pytest.approx(matrix @ dense, abs=1e-5)


def test_the_normaliser_is_near_the_exact_sum_and_nearer_with_more_groups():
    """Five clusters on the sphere: one Gaussian is off, five are near (Dall'Amico & Belliardo 2025, section 3)."""
    centres = 3 * similarity.normalise(RNG.normal(size=(5, 16)))
    y = (centres[RNG.integers(0, 5, 3000)] + RNG.normal(0, 0.3, (3000, 16))).astype(np.float32)
    y /= np.linalg.norm(y, axis=1).mean()
    x = 2 * y[:500]
    exact = partition.exact(x, y)
    errors = [
        np.abs(np.expm1(partition.estimate(x, partition.mixture(y, partition.groups_of(y, kappa))[0]) - exact)).mean()
        for kappa in (1, 5)
    ]
    assert errors[1] < errors[0] / 2
    assert errors[1] < 0.01


def test_moments_of_a_mixture():
    y, groups = RNG.normal(size=(2500, 5)).astype(np.float32), RNG.integers(0, 3, 2500)
    weights = RNG.random(2500).astype(np.float32)
    found, weighted = partition.mixture(y, groups, weights)
    for group in range(3):
        members = y[groups == group]
        assert found.means[group] == pytest.approx(members.mean(0), abs=1e-5)
        assert found.covariances[group] == pytest.approx(np.cov(members.T, bias=True), abs=1e-5)
    assert weighted == pytest.approx(weights @ y, rel=1e-3)


def test_a_sphere_step_follows_the_gradient():
    x = similarity.normalise(RNG.normal(size=(6, 4)).astype(np.float32))
    y = RNG.normal(size=(50, 4)).astype(np.float32)
    pulled, constant = RNG.normal(size=(6, 4)).astype(np.float32), RNG.normal(size=4).astype(np.float32)
    about, _ = partition.mixture(y, np.zeros(50, np.int64))
    before = x.copy()
    loss = sparse.sphere_step(x, pulled, *about, constant, np.float32(0.3), 0, 6)
    spread = before @ about.covariances[0]
    log_mass = np.log(50) + before @ about.means[0] + 0.5 * (before * spread).sum(1)
    assert loss == pytest.approx(float((log_mass - (before * pulled).sum(1)).sum()), rel=1e-4)
    gradient = spread + about.means[0] + constant - pulled
    gradient -= (gradient * before).sum(1, keepdims=True) * before
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    assert x == pytest.approx(np.sqrt(1 - 0.09) * before - 0.3 * gradient, abs=1e-5)


def test_shards_and_threads():
    assert shards(3, 8) == [(0, 1), (1, 2), (2, 3)]
    assert run_all(lambda a, b: b - a, shards(10, 3)) == [3, 3, 4]
