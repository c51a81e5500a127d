"""How far the learned tables' loops are from what bounds them, one thread: each beside the part of its work that cannot
be left out, done alone by a compiled loop. Poincaré: the same rows of the table read and written back, and the loop
itself on a table that fits the first cache, which leaves the arithmetic. StarSpace: the rows of the left features read
(only some examples write theirs back). FastSent and EDRep: as many multiply-adds, in the same lengths, on rows in the
first cache. ``share`` is the loop's rate over the slower bound's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numba import njit

from benchmarks.edrep import walk
from benchmarks.run import REPEATS, rate, spread, timed
from umekomi.data import load
from umekomi.parts.kernels import bags, hyperbolic, sentences, sparse
from umekomi.parts.kernels.draw import draw, mix
from umekomi.recipes import get
from umekomi.verbs.reproduce import Measurement

CLAIM = "speed-bounds"
_FAST = {"contract", "arcp", "nsz", "reassoc"}


def measure() -> Iterator[Measurement]:
    yield from _poincare()
    yield from _starspace()
    yield from _fastsent()
    yield from _edrep()


def _beside(
    name: str,
    data: str,
    rows: int,
    unit: str,
    items: float,
    loop: tuple[float, float, float],
    bounds: dict[str, tuple[float, float, float]],
) -> Iterator[Measurement]:
    yield rate(CLAIM, f"{name}: the loop", data, rows, unit, items, loop)
    for bound, seconds in bounds.items():
        yield rate(CLAIM, f"{name}: {bound}", data, rows, unit, items, seconds)
    slowest = max(seconds[0] for seconds in bounds.values())
    yield rate(CLAIM, f"{name}: share of the slower bound", data, rows, "share", slowest, loop)


def _kernels(
    module: ModuleType, names: tuple[str, ...], fit: Callable[[], object]
) -> tuple[tuple[float, float, float], dict[str, list[tuple[Any, ...]]]]:
    """(seconds in the kernels of a fit, as :func:`timed` has them; the arguments of all calls of the last). Recipes
    look kernels up when they fit."""
    real = {name: getattr(module, name) for name in names}
    spent, seen = [], {}

    def clocked(name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            begun = time.perf_counter()
            out = real[name](*args)
            spent[-1] += time.perf_counter() - begun
            seen[name].append(args)
            return out

        return call

    for name in names:
        setattr(module, name, clocked(name))
    try:
        for _ in range(REPEATS + 1):
            spent.append(0.0)
            seen = {name: [] for name in names}
            fit()
    finally:
        for name in names:
            setattr(module, name, real[name])
    return spread(spent[1:]), seen


# --- poincare --------------------------------------------------------------------------------------------------------


@njit(nogil=True, fastmath=_FAST)
def _rows(table, heads, tails, negatives, key):
    width = table.shape[1]
    chosen = np.empty(negatives + 2, np.int64)
    points = np.empty((width, negatives + 2))
    size = np.uint64(len(table))
    for index in range(len(heads)):
        chosen[0], chosen[1] = heads[index], tails[index]
        for j in range(negatives):
            key, bits = draw(key)
            chosen[j + 2] = ((bits >> np.uint64(32)) * size) >> np.uint64(32)
        for j in range(negatives + 2):
            for i in range(width):
                points[i, j] = table[chosen[j], i]
        for j in range(negatives + 2):
            for i in range(width):
                table[chosen[j], i] = points[i, j]


def _poincare() -> Iterator[Measurement]:
    from umekomi.data.graphs import hierarchy, relations

    found = relations(hierarchy(load("wordnet-nouns")["train"], CLAIM))
    count, links, negatives = len(found.names), len(found.heads), 20
    offsets, neighbours = found.neighbours()
    order = np.random.default_rng(0).permutation(links)
    heads, tails = found.heads[order], found.tails[order]
    for manifold, geometry in (("ball", hyperbolic.BALL), ("lorentz", hyperbolic.LORENTZ)):
        extra = int(geometry == hyperbolic.LORENTZ)

        def table(rows: int, extra: int = extra) -> Any:
            space = np.random.default_rng(0).uniform(-0.3, 0.3, (rows, 5))
            return np.column_stack([np.sqrt(1 + (space**2).sum(1)), space]) if extra else space

        def loop(
            points: Any, heads: Any, tails: Any, offsets: Any, neighbours: Any, geometry: int = geometry
        ) -> Callable[[], object]:
            pool, nearest, every = (
                np.arange(len(points), dtype=np.int32),
                np.zeros((len(points), 0), np.int32),
                np.arange(links),
            )
            rest = nearest, 0.0, negatives, 0.01, 1e-5, geometry, mix(0)
            return lambda: hyperbolic.sgd(points, np.zeros(0), heads, tails, every, offsets, neighbours, pool, *rest)

        whole = loop(table(count), heads, tails, offsets, neighbours)
        small = 256
        near = loop(
            table(small),
            heads % small,
            (tails + 1 + heads) % small,
            np.zeros(small + 1, np.int64),
            np.zeros(0, np.int32),
        )
        alone = table(count)
        _rows(alone, heads[:10], tails[:10], negatives, np.uint64(7))
        near()
        bounds = {
            "its arithmetic, the table in the first cache": timed(near),
            "its rows read and written back": timed(
                lambda alone=alone: _rows(alone, heads, tails, negatives, np.uint64(7))
            ),
        }
        yield from _beside(
            f"poincare, {manifold}, 5 dimensions, 20 negatives",
            "wordnet-nouns",
            links,
            "relations/s",
            links,
            timed(whole),
            bounds,
        )


# --- starspace -------------------------------------------------------------------------------------------------------


@njit(nogil=True, fastmath=_FAST)
def _bags(table, order, offsets, ids):
    width = table.shape[1]
    total = np.zeros(width, np.float32)
    for index in order:
        for i in range(offsets[index], offsets[index + 1]):
            row = ids[i]
            for k in range(width):
                total[k] += table[row, k]
    return total


def _starspace() -> Iterator[Measurement]:
    train = load("agnews")["train"]
    recipe = get("starspace")(
        dimensions=10, similarity="dot", adagrad="off", learning_rate=0.01, search=5, negatives=3, epochs=1, threads=1
    )
    loop, seen = _kernels(bags, ("starspace",), lambda: recipe.fit(train))
    table, offsets, ids = (seen["starspace"][0][place] for place in (0, 5, 6))
    order = np.concatenate([args[4] for args in seen["starspace"]])
    _bags(table, order[:10], offsets, ids)
    alone = {"its left rows read": timed(lambda: _bags(table, order, offsets, ids))}
    yield from _beside("starspace, 10 dimensions", "agnews", len(order), "examples/s", len(order), loop, alone)


# --- fastsent --------------------------------------------------------------------------------------------------------


@njit(nogil=True, fastmath=_FAST)
def _steps(nodes, total, error, steps):
    width = nodes.shape[1]
    for step in range(steps):
        node = nodes[step & 63]
        logit = np.float32(0.0)
        for k in range(width):
            logit += total[k] * node[k]
        push = np.float32(1e-6) * logit
        for k in range(width):
            error[k] += push * node[k]
            node[k] += push * total[k]


def _fastsent() -> Iterator[Measurement]:
    novels = load("english-novels")["train"]
    loop, seen = _kernels(
        sentences, ("fastsent",), lambda: get("fastsent")(epochs=1, min_count=5, threads=1).fit(novels)
    )
    offsets, ids, documents, paths = (seen["fastsent"][0][place] for place in (3, 4, 5, 6))
    # every sentence that has words predicts those of its neighbours in the document
    lengths = np.concatenate([[0], np.cumsum(np.diff(paths)[ids])])
    steps, filled, beside = (
        lengths[offsets[1:]] - lengths[offsets[:-1]],
        np.diff(offsets) > 0,
        documents[1:] == documents[:-1],
    )
    total = int(steps[1:][beside & filled[:-1]].sum() + steps[:-1][beside & filled[1:]].sum())
    nodes = np.random.default_rng(0).normal(size=(64, 100)).astype(np.float32)
    sums = nodes[0].copy(), nodes[1].copy()
    _steps(nodes, *sums, 10)
    alone = {"its multiply-adds in the first cache": timed(lambda: _steps(nodes, *sums, total))}
    yield from _beside("fastsent, 100 dimensions", "english-novels", len(filled), "tree nodes/s", total, loop, alone)


# --- edrep -----------------------------------------------------------------------------------------------------------


@njit(nogil=True, fastmath=_FAST)
def _adds(rows, count):
    """``count`` times: a row plus a multiple of another, both in the first cache."""
    width = rows.shape[1]
    for step in range(count):
        a, b = rows[step & 31], rows[32 + (step >> 2 & 31)]
        for k in range(width):
            b[k] += np.float32(1e-6) * a[k]


def _edrep() -> Iterator[Measurement]:
    for name in ("pubmed", "blogcatalog"):
        names, _, step = walk(load(name)["train"])
        for kappa in (1, 4):
            recipe = get("edrep")(dimensions=32, epochs=50, learning_rate=1.0, kappa=kappa, threads=1)
            loop, seen = _kernels(
                sparse,
                ("_product", "sphere_step", "moments"),
                lambda recipe=recipe, names=names, step=step: recipe.fit_matrix([step] * 3, names, partial=True),
            )
            # rows of 32 numbers that are multiplied and added: one an entry of P; of every point 32 a group (its
            # covariance) and four of its own; 32 more
            total = sum(int(offsets[high] - offsets[low]) for offsets, *_, low, high in seen["_product"])
            total += sum((args[8] - args[7]) * (32 * len(args[2]) + 4) for args in seen["sphere_step"])
            total += sum((high - low) * 32 for *_, low, high in seen["moments"])
            rows = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
            _adds(rows, 10)
            alone = {"its multiply-adds in the first cache": timed(lambda rows=rows, total=total: _adds(rows, total))}
            yield from _beside(f"edrep, 32 dimensions, κ = {kappa}", name, step.nnz, "rows of 32/s", total, loop, alone)
