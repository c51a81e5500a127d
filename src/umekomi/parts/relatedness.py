"""A linear map and a softmax over five grades, learned by squared error against softened targets: how SentEval
(Conneau & Kiela, LREC 2018) has relatedness predicted from frozen features, after Tai, Socher & Manning 2015, eq. 15.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

GRADES = 5
BATCH, ROUND, MOST_EPOCHS, PATIENCE = 64, 50, 1000, 3
"""SentEval's: rows a step, epochs between two looks at the dev split, epochs in all, and looks that bring nothing
new, of which one more ends the training."""
RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
"""Adam's defaults (Kingma & Ba 2015)."""


def softened(scores: Any) -> Floats:
    """Targets ``[n, 5]``: a score of 3.6 is grade 3 by 0.4 and grade 4 by 0.6.

    As in SentEval a score below 1 (STS-B has them, from 0 on) leaves the part below grade 1 out: 0.4 is grade 1 by 0.4.

    >>> softened([3.6, 5.0, 0.4]).astype(float).round(2).tolist()
    [[0.0, 0.0, 0.4, 0.6, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0], [0.4, 0.0, 0.0, 0.0, 0.0]]
    """
    scores = np.asarray(scores, np.float64)[:, None]
    return np.maximum(0, 1 - np.abs(scores - np.arange(1, GRADES + 1))).astype(np.float32)


@dataclass(frozen=True)
class Fitted:
    """``weights`` ``[d, 5]`` and ``bias`` ``[5]`` of the best look at the dev split, its Pearson there, and the epochs
    trained."""

    weights: Floats
    bias: Floats
    dev: float
    epochs: int

    def scores(self, features: Any) -> NDArray[np.float64]:
        """The expected grade of each row, 1 to 5."""
        return np.asarray(_softmax(features @ self.weights + self.bias) @ np.arange(1, GRADES + 1), np.float64)


def fit(features: Any, scores: Any, dev_features: Any, dev_scores: Any, *, seed: int = 1111) -> Fitted:
    """Learn from ``features`` ``[n, d]`` (dense or CSR) and their ``scores`` ``[n]``, by Adam, and keep the weights of
    the look at the dev split with the highest Pearson. One seed, one result."""
    rng = np.random.default_rng(seed)
    features, dev_features = (_float32(part) for part in (features, dev_features))
    targets, gold = softened(scores), np.asarray(dev_scores, np.float64)
    n, d = features.shape
    bound = 1 / np.sqrt(d)
    packed = rng.uniform(-bound, bound, (d + 1, GRADES)).astype(np.float32)
    best, best_weights, nothing_new, epochs, step = -1.0, packed.copy(), 0, 0, 0
    first, second, gradient = np.zeros_like(packed), np.zeros_like(packed), np.empty_like(packed)
    while epochs <= MOST_EPOCHS:
        for _ in range(ROUND):
            order = rng.permutation(n)
            rows, wanted = features[order], targets[order]
            for start in range(0, n, BATCH):
                part = rows[start : start + BATCH]
                share = _softmax(part @ packed[:-1] + packed[-1])
                error = (2 / share.size) * (share - wanted[start : start + BATCH])
                back = share * (error - (share * error).sum(1, keepdims=True))
                gradient[:-1] = part.T @ back
                gradient[-1] = back.sum(0)
                step += 1
                first += (1 - BETA1) * (gradient - first)
                second += (1 - BETA2) * (gradient * gradient - second)
                scale = np.float32(RATE / (1 - BETA1**step))
                packed -= scale * first / (np.sqrt(second / np.float32(1 - BETA2**step)) + np.float32(EPSILON))
        epochs += ROUND
        value = _pearson(Fitted(packed[:-1], packed[-1], 0.0, epochs).scores(dev_features), gold)
        if value > best:
            best, best_weights = value, packed.copy()
        elif nothing_new >= PATIENCE:
            break
        else:
            nothing_new += 1
    return Fitted(best_weights[:-1], best_weights[-1], best, epochs)


def _float32(features: Any) -> Any:
    return features.tocsr().astype(np.float32) if hasattr(features, "tocsr") else np.asarray(features, np.float32)


def _softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _pearson(a: Any, b: Any) -> float:
    from umekomi.statistics import pearson

    value = pearson(np.column_stack([a, b]))
    return value if np.isfinite(value) else 0.0
