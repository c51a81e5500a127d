"""Intervals by the bootstrap over items: of one result, and of the paired difference of two.

A result keeps the value of every item, as float64 ``[n]`` or ``[n, k]``, and the *name* of the statistic that makes
one figure of them; resampling rows and computing the statistic again gives the interval (scipy.stats.bootstrap,
percentile method). Two results on the same items are resampled with the same rows: the interval of their difference is
far narrower than the two intervals side by side suggest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RESAMPLES = 1000


class Interval(NamedTuple):
    """A figure and where it would lie in 95 of 100 repetitions with other items."""

    value: float
    low: float
    high: float

    @property
    def includes_zero(self) -> bool:
        """Whether the sign is not settled."""
        return self.low <= 0 <= self.high


def mean(values: Array) -> float:
    """Mean over items."""
    return float(values.mean())


def spearman(values: Array) -> float:
    """Rank correlation of the two columns, gold and predicted."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=0)
    centred = ranks - ranks.mean(0)
    scale = np.sqrt((centred**2).sum(0).prod())
    return float((centred[:, 0] * centred[:, 1]).sum() / scale) if scale else float("nan")


def pearson(values: Array) -> float:
    """Linear correlation of the two columns, gold and predicted."""
    centred = values - values.mean(0)
    scale = np.sqrt((centred**2).sum(0).prod())
    return float((centred[:, 0] * centred[:, 1]).sum() / scale) if scale else float("nan")


def v_measure(values: Array) -> float:
    """Harmonic mean of homogeneity and completeness of (label, cluster)."""
    from sklearn.metrics import v_measure_score

    return float(v_measure_score(values[:, 0], values[:, 1]))


def average_precision(values: Array) -> float:
    """Average precision of (label 0 or 1, score)."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(values[:, 0], values[:, 1])) if values[:, 0].any() else float("nan")


def macro_f1(values: Array) -> float:
    """Unweighted mean of the classes' F1 of (label, prediction)."""
    from sklearn.metrics import f1_score

    return float(f1_score(values[:, 0], values[:, 1], average="macro"))


def auc(values: Array) -> float:
    """Area under the ROC curve of (label 0 or 1, score): how often a positive scores above a negative, a tie half."""
    from scipy.stats import rankdata

    positive = values[:, 0] > 0
    count = int(positive.sum())
    if not 0 < count < len(values):
        return float("nan")
    ranks = rankdata(values[:, 1])
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(values) - count)))


def r2(values: Array) -> float:
    """Share of the variance of the first column, gold, that the second, predicted, explains."""
    spread = ((values[:, 0] - values[:, 0].mean()) ** 2).sum()
    return float(1 - ((values[:, 0] - values[:, 1]) ** 2).sum() / spread) if spread else float("nan")


def f1(values: Array) -> float:
    """F1 of class 1 of (label, prediction)."""
    hits = float(((values[:, 0] == 1) & (values[:, 1] == 1)).sum())
    named = float((values == 1).sum())
    return 2 * hits / named if named else float("nan")


def _over_groups(values: Array, statistic: Callable[[Array], float]) -> tuple[list[float], list[int]]:
    """(the statistic of each group of rows of (gold, predicted, group), how many rows each has)."""
    import numpy as np

    parts = [values[values[:, 2] == group, :2] for group in np.unique(values[:, 2])]
    return [statistic(part) for part in parts], [len(part) for part in parts]


def mean_pearson(values: Array) -> float:
    """Mean over groups of the Pearson correlation within each: (gold, predicted, group)."""
    each, _ = _over_groups(values, pearson)
    return sum(each) / len(each)


def wmean_pearson(values: Array) -> float:
    """As :func:`mean_pearson`, each group weighted by its rows."""
    each, sizes = _over_groups(values, pearson)
    return sum(value * size for value, size in zip(each, sizes, strict=True)) / sum(sizes)


def mean_spearman(values: Array) -> float:
    """Mean over groups of the rank correlation within each: (gold, predicted, group)."""
    each, _ = _over_groups(values, spearman)
    return sum(each) / len(each)


def wmean_spearman(values: Array) -> float:
    """As :func:`mean_spearman`, each group weighted by its rows."""
    each, sizes = _over_groups(values, spearman)
    return sum(value * size for value, size in zip(each, sizes, strict=True)) / sum(sizes)


def bleu(values: Array) -> float:
    """Corpus BLEU, 0 to 1, of (right n-grams of one to four words, all n-grams, length, wanted length): the geometric
    mean of the shares that are right, times exp(1 − wanted / length) where less was written than wanted. An order of
    which nothing is right counts as half a right one, the next as a quarter (sacrebleu's exponential smoothing)."""
    sums = values.sum(0)
    right, whole, (length, wanted) = sums[:4], sums[4:8], sums[8:]
    if not whole.all() or not right.any():
        return 0.0
    missing = np.cumsum(right == 0)
    share = np.where(right > 0, right, 0.5**missing) / whole
    return float(np.exp(np.log(share).mean() + min(0.0, 1 - wanted / length)))


STATISTICS: dict[str, Callable[[Any], float]] = {
    function.__name__: function
    for function in (
        mean,
        spearman,
        pearson,
        v_measure,
        average_precision,
        macro_f1,
        f1,
        auc,
        r2,
        mean_pearson,
        wmean_pearson,
        mean_spearman,
        wmean_spearman,
        bleu,
    )
}


def interval(values: Array, statistic: str = "mean", *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The statistic of ``values`` with its 95 % bootstrap interval over items.

    >>> import numpy as np
    >>> low_to_high = interval(np.array([0., 0., 1., 1.]))
    >>> low_to_high.value, low_to_high.low < .5 < low_to_high.high
    (0.5, True)
    """
    values = np.asarray(values, np.float64)
    compute = STATISTICS[statistic]
    point = compute(values)
    if len(values) < 2:
        return Interval(point, point, point)
    return Interval(point, *_bounds(lambda rows: compute(values[rows]), len(values), point, resamples, seed))


def paired_interval(
    a: Array, b: Array, statistic: str = "mean", *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The difference of the statistic, ``a`` minus ``b``, with its 95 % interval over the same resampled items."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) != len(b):
        raise ValueError(f"paired results need the same items: {len(a)} against {len(b)}")
    compute = STATISTICS[statistic]
    point = compute(a) - compute(b)
    if len(a) < 2:
        return Interval(point, point, point)
    return Interval(point, *_bounds(lambda rows: compute(a[rows]) - compute(b[rows]), len(a), point, resamples, seed))


def paired_error(a: Array, b: Array, statistic: str = "mean", *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """The standard error of the paired difference ``a`` minus ``b``: of a mean from the variance of the differences, of
    others from the bootstrap."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) < 2:
        return float("nan")
    if statistic == "mean":
        return float((a - b).std(ddof=1) / np.sqrt(len(a)))
    generator, compute = np.random.default_rng(seed), STATISTICS[statistic]
    drawn = []
    for _ in range(resamples):
        rows = generator.integers(0, len(a), len(a))
        drawn.append(compute(a[rows]) - compute(b[rows]))
    return float(np.nanstd(drawn, ddof=1))


def p_value(difference: float, error: float, items: int) -> float:
    """Two-sided p of a difference with this standard error under "no difference": Student's t with n − 1 degrees."""
    from scipy.stats import t

    if not np.isfinite(error) or items < 2:
        return float("nan")
    if error == 0:
        return 0.0 if difference else 1.0
    return float(2 * t.sf(abs(difference) / error, items - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """S. Holm's step-down correction (Scandinavian Journal of Statistics 6, 1979): what each p becomes when so many
    were looked at together; no number stays none.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    known = np.flatnonzero(np.isfinite(p))
    out, largest = np.full(len(p), np.nan), 0.0
    for rank, place in enumerate(known[np.argsort(p[known], kind="stable")]):
        largest = max(largest, min(1.0, float(p[place]) * (len(known) - rank)))
        out[place] = largest
    return [round(float(value), 12) for value in out]


def items_needed(difference: float, error: float, items: int, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """How many items it takes for a difference of this size and paired variance to be found settled: n such that
    |d| = (z₁₋α∕₂ + z_power) · σ / √n (J. Cohen, "Statistical Power Analysis", 1988). None where there is no difference,
    or too many would be needed to speak of it.

    >>> items_needed(0.01, 0.01, 100)
    785
    """
    from scipy.stats import norm

    if not difference or not np.isfinite(error) or items < 2:
        return None
    deviation = error * np.sqrt(items)
    needed = ((norm.ppf(1 - alpha / 2) + norm.ppf(power)) * deviation / difference) ** 2
    return int(np.ceil(needed)) if needed < 1e9 else None


def _bounds(
    statistic: Callable[[Any], float], items: int, point: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile bounds; row numbers are what is resampled, so that paired arrays move together.

    A resample on which the statistic is undefined (no positive drawn, say) is left out, as scipy would return NaN for
    the whole interval. The bounds are shifted by the bootstrap's own estimate of bias (Efron & Tibshirani 1993, ch.
    10): none for a mean, but V-measure grows when rows repeat, and its plain percentile interval can miss the figure
    itself.
    """
    from scipy.stats import bootstrap

    drawn = bootstrap(
        (np.arange(items),),
        lambda rows: statistic(rows.astype(np.int64)),
        n_resamples=resamples,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).bootstrap_distribution
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return float("nan"), float("nan")
    shift = point - float(drawn.mean())
    return float(np.quantile(drawn, 0.025)) + shift, float(np.quantile(drawn, 0.975)) + shift
