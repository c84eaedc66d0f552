"""The hypergeometric bound, against counting by hand."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.campaigns.config import ReadoutSection
from tasks.errors import NumericalError, UserError
from tasks.stopping.audit import audit_bound, correct


def tail(population, bad, sample, errors):
    """P(at most `errors` of the `bad` are in the sample), as an exact fraction."""
    ways = sum(comb(bad, k) * comb(population - bad, sample - k) for k in range(errors + 1) if sample - k >= 0)
    return Fraction(ways, comb(population, sample))


@pytest.mark.parametrize("risk", [0.3 + 1e-3, 0.05 + 1e-4, 0.004])
def test_is_the_largest_number_not_rejected(risk):
    for population in range(1, 15):
        for sample in range(population + 1):
            for errors in range(sample + 1):
                kept = [k for k in range(population + 1) if tail(population, k, sample, errors) > risk]
                assert audit_bound(population, sample, errors, risk) == max(kept)


@pytest.mark.parametrize("risk", [0.2, 0.05, 0.01])
@pytest.mark.parametrize(("population", "sample"), [(40, 10), (61, 30), (30, 20)])
def test_truth_exceeds_the_bound_with_at_most_the_risk(population, sample, risk):
    """Exact coverage for every possible truth, and it is not needlessly wide."""
    bounds = [audit_bound(population, sample, errors, risk) for errors in range(sample + 1)]
    misses = []
    for bad in range(population + 1):
        wrong = Fraction(0)
        for errors in range(min(bad, sample) + 1):
            if sample - errors <= population - bad and bounds[errors] < bad:
                wrong += Fraction(comb(bad, errors) * comb(population - bad, sample - errors), comb(population, sample))
        misses.append(float(wrong))
    assert max(misses) <= risk
    assert max(misses) > risk / 3


@given(st.integers(0, 400), st.data())
def test_order_in_every_argument(population, data):
    sample = data.draw(st.integers(0, population))
    errors = data.draw(st.integers(0, sample))
    risk = data.draw(st.floats(0.001, 0.5))
    bound = audit_bound(population, sample, errors, risk)
    assert errors <= bound <= population - sample + errors
    assert audit_bound(population, sample, errors, risk / 2) >= bound
    if errors < sample:
        # One error more in the sample adds at least one to the bound: finding an error never helps.
        assert audit_bound(population, sample, errors + 1, risk) >= bound + 1


def test_a_probability_equal_to_the_risk_is_kept():
    """P(no error in 3 of 6, if 3 are wrong) = 1/20: rounding must not decide, and the wider bound is the safe one."""
    assert audit_bound(6, 3, 0, 0.05) == 3


def test_limits():
    assert audit_bound(50, 0, 0, 0.05) == 50
    assert audit_bound(50, 50, 7, 0.05) == 7
    assert audit_bound(50, 10, 2, 0.0) == 42
    assert audit_bound(0, 0, 0, 0.05) == 0


def test_a_large_library_agrees_with_exact_fractions():
    population, sample, errors, risk = 30_000, 1_500, 90, 0.005
    bound = audit_bound(population, sample, errors, risk)
    assert float(tail(population, bound, sample, errors)) > risk
    assert float(tail(population, bound + 1, sample, errors)) <= risk


@pytest.mark.parametrize(
    "counts", [(10, 11, 0, 0.1), (10, 5, 6, 0.1), (10, 5, -1, 0.1), (10, 5, 1, 1.0), (10, 5, 1, -0.1)]
)
def test_impossible_counts(counts):
    with pytest.raises(UserError, match="audit bound of impossible counts"):
        audit_bound(*counts)


class TestCorrect:
    continuous = ReadoutSection(kind="continuous", tolerance=0.5)
    binary = ReadoutSection(kind="binary", threshold=1.0)

    def test_within_the_tolerance_limit_included(self):
        right = correct(np.array([1.0, 1.0, 1.0, 1.0]), np.array([1.5, 0.5, 1.51, 0.49]), self.continuous)
        assert right.tolist() == [True, True, False, False]

    def test_the_likelier_class(self):
        right = correct(np.array([0.9, 0.9, 0.1, 0.5]), np.array([1.0, 0.0, 0.0, 0.0]), self.binary)
        assert right.tolist() == [True, False, True, True]

    @pytest.mark.parametrize("readout", [continuous, binary])
    def test_nothing_confirms_a_prediction_without_a_measurement(self, readout):
        assert correct(np.array([0.0]), np.array([np.nan]), readout).tolist() == [False]

    def test_predictions_must_be_finite(self):
        with pytest.raises(NumericalError, match="not finite"):
            correct(np.array([np.nan]), np.array([1.0]), self.continuous)
        with pytest.raises(NumericalError, match="differ in shape"):
            correct(np.zeros(2), np.zeros(3), self.continuous)
