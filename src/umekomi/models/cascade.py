"""Adaptive classification: short prefixes answer what they are sure of (Kusupati et al. 2022, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from umekomi.errors import DataError, WrongUse
from umekomi.parts.similarity import normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umekomi.contracts import Floats


class Cascade:
    """A linear classifier on every prefix of finished vectors; a text goes on to the next longer one while the most
    likely class lies below that prefix's threshold.

    Thresholds are set on ``share`` of the training rows that the classifiers did not see: for each prefix, shortest
    first, the lowest at which what it answers is answered as often rightly as by the full width. What is learned ends
    in ``_``: ``thresholds_`` (one a prefix but the last), ``classes_``.
    """

    def __init__(self, widths: Sequence[int], *, share: float = 0.2, seed: int = 0, strength: float = 10.0) -> None:
        self.widths = tuple(widths)
        if len(self.widths) < 2 or list(self.widths) != sorted(set(self.widths)) or self.widths[0] < 1:
            raise WrongUse(f"cascade: expected two or more rising widths, found {', '.join(map(str, widths))}")
        if not 0 < share < 1:
            raise WrongUse(f"cascade, share: expected a share between 0 and 1, found {share}")
        self.share, self.seed, self.strength = share, seed, strength

    def fit(self, vectors: Floats, labels: Sequence[Any]) -> Cascade:
        """Learn from vectors float32 ``[n, d]`` and their labels."""
        from sklearn.linear_model import LogisticRegression

        vectors, given = np.asarray(vectors, np.float32), np.asarray(labels)
        if vectors.shape[1] < self.widths[-1]:
            raise WrongUse(
                f"cascade: expected vectors of {self.widths[-1]} dimensions or more, found {vectors.shape[1]}"
            )
        if len(given) != len(vectors) or len(set(given.tolist())) < 2:
            raise DataError(f"cascade: expected a label for each of {len(vectors)} vectors, and two classes or more")
        held = np.random.default_rng(self.seed).random(len(given)) < self.share
        if not held.any() or len(set(given[~held].tolist())) < len(set(given.tolist())):
            raise DataError(
                "cascade: expected rows of every class to learn from beside those held out for the thresholds; found "
                "too few"
            )
        self.heads_ = [
            LogisticRegression(C=self.strength, max_iter=1000).fit(self._prefix(vectors[~held], width), given[~held])
            for width in self.widths
        ]
        self.classes_ = self.heads_[0].classes_
        right, sure = [], []
        for head, width in zip(self.heads_, self.widths, strict=True):
            chances = head.predict_proba(self._prefix(vectors[held], width))
            right.append(self.classes_[chances.argmax(1)] == given[held])
            sure.append(chances.max(1))
        self.thresholds_: list[float] = []
        left = np.ones(int(held.sum()), bool)
        for stage in range(len(self.widths) - 1):
            self.thresholds_.append(_lowest(sure[stage][left], right[stage][left], right[-1][left]))
            left &= sure[stage] < self.thresholds_[-1]
        return self

    def predict(self, vectors: Floats) -> tuple[np.ndarray, NDArray[np.int64]]:
        """(a class for every vector, the dimensions that it took)."""
        vectors = np.asarray(vectors, np.float32)
        answers = np.empty(len(vectors), self.classes_.dtype)
        used = np.zeros(len(vectors), np.int64)
        left = np.arange(len(vectors))
        for head, width, threshold in zip(self.heads_, self.widths, [*self.thresholds_, 0.0], strict=True):
            if not len(left):
                break
            chances = head.predict_proba(self._prefix(vectors[left], width))
            done = chances.max(1) >= threshold
            answers[left[done]], used[left[done]] = self.classes_[chances[done].argmax(1)], width
            left = left[~done]
        return answers, used

    def _prefix(self, vectors: Floats, width: int) -> Floats:
        return normalise(vectors[:, :width])


def _lowest(sure: NDArray[np.floating], right: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    """The lowest threshold above which as many are right as the whole has right among them; above every chance where
    none is."""
    if not len(sure):
        return 1.1
    order = np.argsort(-sure, kind="stable")
    ahead = np.cumsum(right[order].astype(int) - whole[order].astype(int)) >= 0
    # equal chances stand or fall together
    last = np.append(sure[order][1:] != sure[order][:-1], True)
    good = np.flatnonzero(ahead & last)
    return float(sure[order][good[-1]]) if len(good) else 1.1
