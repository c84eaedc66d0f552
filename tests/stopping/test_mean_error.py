"""The bound of a mean without replacement: coverage by enumeration and by simulation, limits, mistakes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from tasks.errors import NumericalError, UserError
from tasks.stopping.audit import audit_bound
from tasks.stopping.mean_error import PRECISION, mean_upper_bound, squared_error_bound


@pytest.mark.parametrize("population", [(0, 0, 0, 1, 1), (0, 0.5, 0.5, 1, 1), (0.1, 0.1, 0.1, 0.1, 1), (1,) * 5])
@pytest.mark.parametrize("risk", [0.5, 0.3, 0.1])
def test_covers_over_all_orders_of_a_small_population(population, risk):
    """Enumerated: at any time of the drawing, not only at its end."""
    mean = np.mean(population)
    for drawn in (2, 4):
        wrong = [
            min(mean_upper_bound(np.array(order[:k], dtype=float), 5, risk) for k in range(1, drawn + 1))
            < mean - PRECISION
            for order in itertools.permutations(population, drawn)
        ]
        assert np.mean(wrong) <= risk


@pytest.mark.parametrize("shape", ["rare", "even", "skewed"])
def test_covers_in_simulated_draws(shape):
    rng = np.random.default_rng(3)
    population = {
        "rare": (np.arange(500) < 15).astype(float), "even": rng.random(500), "skewed": rng.beta(0.1, 2, 500)
    }[shape]  # fmt: skip
    wrong = sum(
        mean_upper_bound(rng.choice(population, 80, replace=False), 500, 0.1) < population.mean() for _ in range(600)
    )
    assert binomtest(wrong, 600, 0.1, alternative="greater").pvalue > 1e-3, f"{wrong} of 600"


@pytest.mark.parametrize("errors", [0, 10, 100])
def test_is_not_much_looser_than_the_exact_one_where_values_are_0_or_1(errors):
    """On average over orders; a single one may even be tighter, because the bound may be taken at any time."""
    rng = np.random.default_rng(0)
    values = (np.arange(1000) < errors).astype(float)
    exact = audit_bound(10_000, 1000, errors, 0.01) / 10_000
    found = np.mean([mean_upper_bound(rng.permutation(values), 10_000, 0.01) for _ in range(20)])
    assert exact - 0.002 <= found <= exact + 0.012


def test_small_errors_give_a_bound_that_counting_could_not():
    """All errors are a tenth of the largest: the mean is told to about log(1/risk)/n."""
    assert mean_upper_bound(np.full(1000, 0.1), 10_000, 0.01) < 0.1 + 2 * np.log(100) / 1000


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 50), st.floats(1e-4, 0.4))
def test_lies_between_what_is_known_and_what_is_certain(values, more, risk):
    values, population = np.array(values), len(values) + more
    found = mean_upper_bound(values, population, risk)
    assert values.sum() / population - 1e-12 <= found <= (values.sum() + more) / population + 1e-12
    assert found <= mean_upper_bound(values, population, risk / 2) + 2 * PRECISION
    assert mean_upper_bound(values, population, 0.0) == pytest.approx((values.sum() + more) / population)


def test_everything_measured_is_exact():
    values = np.random.default_rng(0).random(40)
    assert mean_upper_bound(values, 40, 0.05) == pytest.approx(values.mean())


@pytest.mark.parametrize(("population", "risk"), [(2, 0.1), (10, 1.0), (10, -0.1)])
def test_impossible_numbers(population, risk):
    with pytest.raises(UserError, match="impossible numbers"):
        mean_upper_bound(np.zeros(3), population, risk)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_values_outside(value):
    with pytest.raises(NumericalError, match="must lie in"):
        mean_upper_bound(np.array([value]), 10, 0.1)


class TestSquaredError:
    def test_scales_with_the_readout(self):
        rng = np.random.default_rng(1)
        predicted, measured = rng.random(60), rng.random(60)
        one = squared_error_bound(predicted, measured, (0.0, 1.0), 500, 0.05)
        ten = squared_error_bound(predicted * 10 - 3, measured * 10 - 3, (-3.0, 7.0), 500, 0.05)
        assert ten == pytest.approx(100 * one, rel=1e-6)

    def test_predictions_beyond_the_limits_are_taken_for_the_limit(self):
        measured = np.full(30, 1.0)
        far = squared_error_bound(np.full(30, 5.0), measured, (0.0, 1.0), 100, 0.05)
        assert far == squared_error_bound(np.full(30, 1.0), measured, (0.0, 1.0), 100, 0.05)

    def test_a_missing_measurement_is_the_largest_error(self):
        predicted, measured = np.full(30, 0.5), np.full(30, 0.5)
        gone, wrong = measured.copy(), measured.copy()
        gone[3], wrong[3] = np.nan, 1.0
        whole = squared_error_bound(predicted, measured, (0.0, 1.0), 100, 0.05)
        assert squared_error_bound(predicted, gone, (0.0, 1.0), 100, 0.05) > whole
        assert squared_error_bound(predicted, gone, (0.0, 1.0), 100, 0.05) > squared_error_bound(
            predicted, wrong, (0.0, 1.0), 100, 0.05
        )

    def test_mistakes(self):
        with pytest.raises(UserError, match="wrong way round"):
            squared_error_bound(np.zeros(2), np.zeros(2), (1.0, 0.0), 5, 0.1)
        with pytest.raises(UserError, match="beyond the limits of the readout; got 2"):
            squared_error_bound(np.zeros(1), np.full(1, 2.0), (0.0, 1.0), 5, 0.1)
        with pytest.raises(NumericalError, match="finite"):
            squared_error_bound(np.full(1, np.nan), np.zeros(1), (0.0, 1.0), 5, 0.1)
