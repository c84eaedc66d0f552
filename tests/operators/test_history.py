"""Sets of residuals: what they weigh, and what of them is taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.operators import Diagonal
from tasks.operators.history import ResidualSet, effective_number, fit_pairs, weights_of


def residuals(seed, n=20, p=3, **parts):
    rng = np.random.default_rng(seed)
    return ResidualSet(rng.normal(size=(n, p)), rng.normal(size=n), Diagonal(rng.uniform(0.1, 1, n)), **parts)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), p=st.integers(1, 6), ridge=st.floats(1e-4, 10))
def test_one_round_has_the_closed_form(seed, p, ridge):
    one = residuals(seed, p=p)
    g, u = np.linalg.eigh(one.features.T @ one.features)
    expected = u @ ((u.T @ one.moments() @ u) / (np.outer(g, g) + ridge * np.mean(g**2))) @ u.T
    found = fit_pairs([one], ridge, 0.5)
    np.testing.assert_allclose(found.form, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())
    np.testing.assert_array_equal(found.form, found.form.T)


def test_weights_fall_with_age_and_the_newest_alone_counts_without_history():
    sets = [residuals(age, age=age) for age in (0, 1, 3)]
    assert weights_of(sets, 0.5) == [1.0, 0.5, 0.125]
    assert weights_of(sets, 0.0) == [1.0, 0.0, 0.0]
    assert weights_of(sets, 1.0) == [1.0, 1.0, 1.0]


def test_some_points_are_the_same_as_those_points_alone():
    plates = np.random.default_rng(0).random((20, 4)) < 0.5
    whole = residuals(1, plates=plates, age=2, errors=Diagonal(np.arange(1.0, 21.0)))
    some = np.arange(20) % 3 == 0
    part = whole.take(some)
    np.testing.assert_array_equal(part.features, whole.features[some])
    np.testing.assert_array_equal(part.plates, plates[some])
    np.testing.assert_array_equal(part.noise.diagonal(), whole.noise.diagonal()[some])
    np.testing.assert_array_equal(part.errors.diagonal(), np.arange(1.0, 21.0)[some])
    assert part.age == 2


def test_equal_independent_rounds_count_in_full_and_old_ones_for_less():
    sets = [ResidualSet(np.ones((10, 1)), np.ones(10), Diagonal(np.ones(10)), age=age) for age in (0, 1)]
    assert effective_number(sets, 1.0) == pytest.approx(20)
    assert effective_number(sets, 0.5) == pytest.approx(1.5**2 / 1.25 * 10)
    assert effective_number(sets, 0.0) == pytest.approx(10)
