"""Intervals: they hold what they promise, and say so where there is none."""

import numpy as np
import pytest
from scipy.stats import spearmanr, t

from tasks.assessing.intervals import MOST_POINTS, mean_of_repeats, rank_correlation, ratio


def test_without_a_common_part_the_interval_is_students():
    values = np.array([0.1, 0.3, -0.2, 0.4])
    found = mean_of_repeats(values, 0.0)
    low, high = t.interval(0.95, 3, loc=values.mean(), scale=values.std(ddof=1) / 2)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.value == pytest.approx(values.mean())


def test_labels_in_common_widen_it():
    values = np.array([0.1, 0.3, -0.2, 0.4])
    narrow, wide = mean_of_repeats(values, 0.0), mean_of_repeats(values, 0.2)
    assert wide.high - wide.value == pytest.approx((narrow.high - narrow.value) * np.sqrt(1 + 4 * 0.25))


def test_one_repeat_has_no_interval():
    found = mean_of_repeats(np.array([0.2]), 0.1)
    assert (found.value, found.low) == (0.2, None)
    assert "one repeat" in found.why


def test_the_rank_correlation_is_spearmans_and_its_interval_holds_it():
    rng = np.random.default_rng(1)
    x = rng.normal(size=200)
    y = x + rng.normal(size=200)
    found = rank_correlation(x, y, seed=0)
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    assert found.low < found.value < found.high
    assert found.low > 0.5  # the true one is 0.69
    assert rank_correlation(x, y, seed=0) == found


def test_a_constant_has_no_rank_correlation():
    assert rank_correlation(np.ones(20), np.arange(20.0), 0).value is None


def test_many_points_are_thinned():
    x = np.arange(3.0 * MOST_POINTS)
    found = rank_correlation(x, -x, 0)
    assert found.value == pytest.approx(-1.0)


def test_the_intervals_of_a_share_of_squares_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(5)
    held = 0
    for seed in range(100):
        noise, signal = rng.normal(size=150), rng.normal(size=150)
        found = ratio(noise**2, (noise + signal) ** 2, seed)
        held += found.low <= 0.5 <= found.high
    assert held >= 85
