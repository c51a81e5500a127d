import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import v_measure_score

from umekomi.statistics import STATISTICS, interval, paired_interval


def test_spearman_and_pearson_agree_with_scipy_on_ties():
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.integers(0, 5, 200), rng.normal(size=200)])
    assert STATISTICS["spearman"](values) == pytest.approx(spearmanr(values[:, 0], values[:, 1]).statistic, abs=1e-12)
    assert STATISTICS["pearson"](values) == pytest.approx(pearsonr(values[:, 0], values[:, 1]).statistic, abs=1e-12)


def test_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = interval(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.05)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05)


def test_interval_covers_the_truth_about_95_times_of_100():
    rng = np.random.default_rng(2)
    covered = sum(
        found.low <= 0.3 <= found.high
        for found in (interval((rng.random(80) < 0.3).astype(float), resamples=300, seed=i) for i in range(120))
    )
    assert 105 <= covered <= 120


def test_v_measure_interval_holds_the_figure_itself():
    rng = np.random.default_rng(3)
    values = np.column_stack([rng.integers(0, 6, 300), rng.integers(0, 6, 300)]).astype(float)
    found = interval(values, "v_measure", resamples=200)
    assert found.value == pytest.approx(v_measure_score(values[:, 0], values[:, 1]))
    assert found.low < found.value < found.high


def test_paired_interval_is_narrower_than_two_apart():
    rng = np.random.default_rng(4)
    a = rng.random(300)
    b = a - 0.02 + 0.01 * rng.normal(size=300)
    difference = paired_interval(a, b)
    assert difference.low > 0
    assert not difference.includes_zero
    assert interval(a).low < interval(b).high, "side by side the two overlap"


def test_paired_needs_the_same_items():
    with pytest.raises(ValueError, match="3 against 2"):
        paired_interval(np.ones(3), np.ones(2))
