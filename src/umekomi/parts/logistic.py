"""Many logistic regressions at once: the same rows, other subsets of them to learn from, other penalties, as nested
cross-validation asks for. All are carried through one L-BFGS (Nocedal & Wright 2006, algorithms 7.4 and 7.5), so that a
step of hundreds of them is two matrix products.

Each is scikit-learn's ``LogisticRegression(C=...)``: ½ |w|² + C · Σ loss, the intercept not penalised, softmax where
there are three classes or more. The minimum is the same; the way there is shorter, since all of them begin at the
solution for all rows and share the axes of its curvature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umekomi.errors import DataError

Floats = NDArray[np.float64]

NUMBERS = 1 << 23
"""Logits that are held at once; more problems than that are solved in turns."""
WEIGHTS = 1 << 20
"""Weights that are, as often as L-BFGS remembers steps, twice."""
AXES = 5000
"""Columns up to which the features are turned into the axes of their curvature, which is cubic in their number."""
PAIRS = 8
"""Steps that L-BFGS remembers."""


@dataclass(frozen=True)
class Solved:
    """``classes`` int16 ``[subsets, penalties, rows]``: the class that each problem predicts for every row, whether it
    learned from it or not. ``steps``: the most that a problem took; ``unfinished``: how many stopped before
    ``tolerance``."""

    classes: NDArray[np.int16]
    steps: int
    unfinished: int


def predict(
    features: Any,
    classes: NDArray[np.integer[Any]],
    subsets: NDArray[np.bool_],
    penalties: Sequence[float],
    *,
    tolerance: float = 1e-6,
    most: int = 300,
) -> Solved:
    """Learn from each of ``subsets`` (bool ``[subsets, rows]``) with each of ``penalties`` (scikit-learn's ``C``), and
    predict all rows.

    ``features`` are ``[rows, d]``, dense or CSR; ``classes`` int ``[rows]`` from 0. A problem is solved where no number
    of its mean loss's gradient is larger than ``tolerance``; scikit-learn's own default is 1e-4. Where a subset lacks a
    class, that class is never predicted from it.
    """
    count = int(classes.max()) + 1
    if len(penalties) == 0 or not all(penalty > 0 for penalty in penalties):
        raise DataError(f"logistic regression: expected penalties C above zero, found {list(penalties)}")
    for number, subset in enumerate(subsets):
        if len(np.unique(classes[subset])) < 2:
            raise DataError(
                f"logistic regression: expected two classes or more to learn from, found one in subset {number + 1}"
            )
    rows = _Rows.of(features, classes, count)
    whole = np.ones((1, len(classes)), bool)
    begin = np.zeros((rows.width + 1, 1, rows.outputs))
    centre = _Problems(rows, whole, np.array([0]), np.array([float(np.median(penalties))]))
    begin, _, _ = centre.solve(begin, tolerance, most)
    rows, begin = rows.turned(begin)
    one_each = _Problems(rows, whole, np.zeros(len(penalties), int), np.array(penalties, float))
    starts, _, _ = one_each.solve(np.repeat(begin, len(penalties), 1), tolerance, most)
    out = np.empty((len(subsets), len(penalties), len(classes)), np.int16)
    each = rows.outputs * len(penalties)
    at_once = max(1, min(NUMBERS // (len(classes) * each), WEIGHTS // (rows.width * each)))
    steps = unfinished = 0
    for first in range(0, len(subsets), at_once):
        some = subsets[first : first + at_once]
        subset = np.repeat(np.arange(len(some)), len(penalties))
        problems = _Problems(rows, some, subset, np.tile(np.array(penalties, float), len(some)))
        weights, taken, left = problems.solve(np.tile(starts, (1, len(some), 1)), tolerance, most)
        steps, unfinished = max(steps, taken), unfinished + left
        out[first : first + at_once] = problems.classes(weights).reshape(len(some), len(penalties), -1)
    return Solved(out, steps, unfinished)


@dataclass
class _Rows:
    """Features ``[n, d]`` float64 or CSR, classes, and ``curvature`` ``[d]``: Σ x² of each column, whose share p(1−p)
    is what the loss curves by."""

    features: Any
    labels: NDArray[np.int64]
    count: int
    curvature: Floats
    sparse: bool

    @property
    def width(self) -> int:
        return int(self.features.shape[1])

    @property
    def outputs(self) -> int:
        """Numbers that decide a row: one for two classes, else one a class."""
        return 1 if self.count == 2 else self.count

    @staticmethod
    def of(features: Any, labels: Any, count: int) -> _Rows:
        """Dense features are moved to mean zero, which an intercept makes up for, and turned to the axes of their
        scatter."""
        if hasattr(features, "tocsr"):
            features = features.tocsr().astype(np.float64)
            squares = np.asarray(features.multiply(features).sum(0)).ravel()
            used = np.flatnonzero(squares)  # a column of zeros has no weight
            return _Rows(features[:, used], np.asarray(labels, np.int64), count, squares[used], True)
        features = np.array(features, np.float64)
        features -= features.mean(0)
        features, values = _axes(features)
        return _Rows(features, np.asarray(labels, np.int64), count, values, False)

    def turned(self, weights: Floats) -> tuple[_Rows, Floats]:
        """The rows along the axes of the curvature at these ``weights`` ``[d + 1, 1, outputs]``, and the weights there;
        as they are where rows are sparse or too wide, or decided by several numbers, whose curvatures differ."""
        if self.sparse or self.outputs > 1 or self.width > AXES:
            return self, weights
        share = _sigmoid(self.features @ weights[:-1, 0, 0] + weights[-1, 0, 0])
        curve = share * (1 - share)
        values, vectors = np.linalg.eigh((self.features * curve[:, None]).T @ self.features)
        mean = max(float(curve.mean()), 1e-12)
        turned = _Rows(self.features @ vectors, self.labels, self.count, np.maximum(values, 0) / mean, False)
        return turned, np.concatenate([(vectors.T @ weights[:-1, 0])[:, None], weights[-1:]])


def _axes(features: Floats) -> tuple[Floats, Floats]:
    """Features turned to the axes of their scatter, and their sums of squares there; no axis without any is kept."""
    n, d = features.shape
    if min(n, d) > AXES:
        return features, np.einsum("nd,nd->d", features, features)
    if d <= n:
        scatter, vectors = np.linalg.eigh(features.T @ features)
        return features @ vectors, np.maximum(scatter, 0)
    scatter, vectors = np.linalg.eigh(features @ features.T)
    real = scatter > scatter[-1] * 1e-12
    return vectors[:, real] * np.sqrt(scatter[real]), scatter[real]


def _sigmoid(logits: Floats) -> Floats:
    from scipy.special import expit

    return expit(logits)


@dataclass
class _Problems:
    """``subset`` and ``penalties`` of each problem, ``[k]``; a problem's mean loss is over its own rows."""

    rows: _Rows
    subsets: NDArray[np.bool_]
    subset: NDArray[np.int64]
    penalties: Floats
    shares: Floats = field(init=False)

    def __post_init__(self) -> None:
        inside = self.subsets.astype(np.float64)
        self.shares = (inside / inside.sum(1, keepdims=True)).T.copy()
        self.ridge = 1 / (self.penalties * self.subsets.sum(1)[self.subset])

    def logits(self, weights: Floats) -> Floats:
        """``[n, k, outputs]``"""
        flat = weights.reshape(len(weights), -1)
        out = self.rows.features @ flat[:-1]
        out += flat[-1]
        return out.reshape(len(out), *weights.shape[1:])

    def classes(self, weights: Floats) -> NDArray[np.int16]:
        """``[k, n]``; a class that a problem's subset lacks is never the one."""
        logits = self.logits(weights)
        if self.rows.outputs == 1:
            return (logits[:, :, 0] > 0).T.astype(np.int16)
        known = np.stack([np.bincount(self.rows.labels[some], minlength=self.rows.count) > 0 for some in self.subsets])
        logits[:, ~known[self.subset]] = -np.inf
        return logits.argmax(2).T.astype(np.int16)

    def value_and_gradient(self, weights: Floats, which: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Mean loss and half of the penalty ``[k]``, and its gradient ``[d + 1, k, outputs]``, of the problems
        ``which``."""
        logits, share = self.logits(weights), self.shares[:, self.subset[which]]
        n, labels = len(logits), self.rows.labels
        if self.rows.outputs == 1:
            z = logits[:, :, 0]
            signed = np.where(labels[:, None] == 1, -z, z)
            residual = _sigmoid(signed)
            # log(1 + exp(s)) from sigmoid(s), which is at hand: s − log sigmoid(s)
            loss = np.maximum(signed, 0) + np.log1p(np.exp(-np.abs(signed)))
            value = np.einsum("nk,nk->k", loss, share)
            residual *= share
            residual[labels == 1] *= -1
            flat = residual
        else:
            logits -= logits.max(2, keepdims=True)
            right = logits[np.arange(n), :, labels].copy()
            np.exp(logits, out=logits)
            total = logits.sum(2)
            value = np.einsum("nk,nk->k", np.log(total) - right, share)
            logits /= total[:, :, None]
            logits[np.arange(n), :, labels] -= 1
            logits *= share[:, :, None]
            flat = logits.reshape(n, -1)
        gradient = np.empty_like(weights)
        gradient[:-1] = (self.rows.features.T @ flat).reshape(-1, *weights.shape[1:])
        gradient[-1] = flat.sum(0).reshape(weights.shape[1:])
        ridge = self.ridge[which]
        gradient[:-1] += ridge[:, None] * weights[:-1]
        value += 0.5 * ridge * np.einsum("dkc,dkc->k", weights[:-1], weights[:-1])
        return value, gradient

    def _inverse_curvature(self) -> Floats:
        """About the inverse of the Hessian's diagonal, ``[d + 1, k, 1]``: p(1−p) is that of the classes' shares."""
        n, share = len(self.rows.labels), np.bincount(self.rows.labels) / len(self.rows.labels)
        spread = float((share * (1 - share)).mean())
        curve = spread * self.rows.curvature[:, None] / n + self.ridge
        return np.concatenate([1 / curve, np.full((1, len(self.ridge)), 1 / spread)])[:, :, None]

    def solve(self, weights: Floats, tolerance: float, most: int) -> tuple[Floats, int, int]:
        """(weights, steps of the slowest, how many are unfinished)."""
        out = weights.copy()
        which = np.arange(weights.shape[1])
        scale = self._inverse_curvature()
        at = out
        value, gradient = self.value_and_gradient(at, which)
        memory = _Memory()
        for step in range(most):
            going = np.abs(gradient).max((0, 2)) > tolerance
            if not going.all():
                out[:, which] = at
                if not going.any():
                    return out, step, 0
                which, at, value, gradient = which[going], at[:, going], value[going], gradient[:, going]
                scale = scale[:, going]
                memory.keep(going)
            direction = memory.direction(gradient, scale)
            slope = np.einsum("dkc,dkc->k", gradient, direction)
            new, value, following = self._search(at, value, gradient, direction, slope, which)
            memory.add(new - at, following - gradient)
            at, gradient = new, following
        out[:, which] = at
        return out, most, int((np.abs(gradient).max((0, 2)) > tolerance).sum())

    def _search(
        self, at: Floats, value: Floats, gradient: Floats, direction: Floats, slope: Floats, which: NDArray[np.int64]
    ) -> tuple[Floats, Floats, Floats]:
        """A step along ``direction`` that lowers each problem's value enough (Armijo): whole, or halved until it
        does."""
        length = np.ones(len(which))
        new = at + direction
        after, following = self.value_and_gradient(new, which)
        for _ in range(30):
            # near the minimum the values differ by less than they are rounded: there the gradient decides
            short = ~(after <= value + 1e-4 * length * slope + 1e-14 * np.abs(value))
            if not short.any():
                break
            length[short] /= 2
            new[:, short] = at[:, short] + length[short, None] * direction[:, short]
            after[short], following[:, short] = self.value_and_gradient(new[:, short], which[short])
        return new, after, following


class _Memory:
    """What L-BFGS remembers of its last steps: their ways, how the gradient turned on each, and one over their product.
    A problem's numbers stand in a row, so that its inner products run through memory as it lies."""

    def __init__(self) -> None:
        self.steps: list[Floats] = []
        self.turns: list[Floats] = []
        self.rho: list[Floats] = []

    def keep(self, problems: NDArray[np.bool_]) -> None:
        """Only these problems go on."""
        self.steps = [one[problems] for one in self.steps]
        self.turns = [one[problems] for one in self.turns]
        self.rho = [one[problems] for one in self.rho]

    def add(self, step: Floats, turn: Floats) -> None:
        """One more step, and the oldest is forgotten."""
        self.steps.append(_in_rows(step))
        self.turns.append(_in_rows(turn))
        curved = np.einsum("kx,kx->k", self.steps[-1], self.turns[-1])
        self.rho.append(np.where(curved > 1e-300, 1 / np.maximum(curved, 1e-300), 0.0))
        if len(self.steps) > PAIRS:
            del self.steps[0], self.turns[0], self.rho[0]

    def direction(self, gradient: Floats, scale: Floats) -> Floats:
        """Minus the inverse Hessian, as the remembered steps tell it, times ``gradient`` ``[d, k, outputs]``; ``scale``
        ``[d, k, 1]`` is the inverse of its diagonal before the first."""
        if not self.steps:
            return -scale * gradient
        q, work = _in_rows(gradient), np.empty((gradient.shape[1], gradient.shape[0] * gradient.shape[2]))
        diagonal = _in_rows(np.broadcast_to(scale, gradient.shape))
        alphas = []
        for s, y, r in zip(reversed(self.steps), reversed(self.turns), reversed(self.rho), strict=True):
            alpha = r * np.einsum("kx,kx->k", s, q)
            q -= np.multiply(alpha[:, None], y, out=work)
            alphas.append(alpha)
        q *= diagonal
        # the curvature that the last step met, against the one assumed
        y = self.turns[-1]
        met = np.einsum("kx,kx->k", y, np.multiply(diagonal, y, out=work)) * self.rho[-1]
        q /= np.where(met > 0, met, 1.0)[:, None]
        for s, y, r, alpha in zip(self.steps, self.turns, self.rho, reversed(alphas), strict=True):
            beta = r * np.einsum("kx,kx->k", y, q)
            q += np.multiply((alpha - beta)[:, None], s, out=work)
        np.negative(q, out=q)
        d, k, outputs = gradient.shape
        return np.ascontiguousarray(q.reshape(k, d, outputs).transpose(1, 0, 2))


def _in_rows(values: Floats) -> Floats:
    """``[d, k, outputs]`` as ``[k, d · outputs]``, a copy."""
    return np.array(values.transpose(1, 0, 2), order="C").reshape(values.shape[1], -1)
