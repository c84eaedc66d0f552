"""The size of the error from honest residuals: right on average and where it differs, blind to known noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import NumericalError, UserError
from tasks.operators import Factor
from tasks.operators import calibrated as module
from tasks.operators.calibrated import ErrorModel, calibrate_error, rescale


def world(seed, n=600, noise=0.0, spread=1.0):
    """Features (n, 3), squared residuals, true squared error; the error's sd grows tenfold along the first feature."""
    rng = np.random.default_rng(seed)
    features = rng.uniform(-1, 1, size=(n, 3))
    error = np.exp(spread * features[:, 0] * np.log(10)) ** 0.5
    r = error * rng.normal(size=n) + np.sqrt(noise) * rng.normal(size=n)
    return features, r**2, error**2


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 500), noise=st.floats(0, 2), heavy=st.booleans())
def test_mean_of_error_and_noise_is_the_mean_squared_residual(seed, noise, heavy):
    """Over the cross-fitted values; only where noise explains all residuals does the floor stand above it."""
    rng = np.random.default_rng(seed)
    features, squared, _ = world(seed, n=80, noise=noise)
    squared = squared * rng.standard_t(3, 80) ** 2 if heavy else squared
    known = np.full(80, noise)
    made = calibrate_error(features, squared, known)
    fold, _ = module.deal(np.zeros((80, 0), dtype=bool), module.FOLDS, 0)
    g = np.empty(80)
    for one in range(module.FOLDS):
        trees = module._grow(made.model.features[fold != one], made.model.logs[fold != one])
        g[fold == one] = module._predict(trees, made.model.features[fold == one])
    shape = made.model.level + made.model.slope * (g - made.model.centre)
    error = module._without_noise((made.model.base + known) * np.exp(shape), known)
    expected = max(squared.mean(), noise + 0.02 * squared.mean())
    assert (error + known).mean() == pytest.approx(expected, rel=1e-6)


def test_finds_where_the_error_is_large():
    features, squared, _ = world(0)
    made = calibrate_error(features, squared, np.zeros(600))
    fresh, _, truth = world(1)
    said = made.model.grow()(fresh, np.zeros(600))
    assert np.corrcoef(np.log(said), np.log(truth))[0, 1] > 0.9
    assert said.mean() == pytest.approx(truth.mean(), rel=0.2)
    assert made.model.slope > 0.8
    assert made.correlation > 0.4
    assert made.stability.diagonals > 0.8


def test_ninety_percent_intervals_hold_about_ninety_percent():
    features, squared, _ = world(2)
    made = calibrate_error(features, squared, np.zeros(600))
    fresh, residuals, _ = world(3, n=4000)
    held = residuals <= 1.645**2 * made.model.grow()(fresh, np.zeros(4000))
    assert held.mean() == pytest.approx(0.9, abs=0.04)


def test_known_noise_is_not_chased():
    """Noise is large where the error is small: without its variance the two are confused."""
    rng = np.random.default_rng(4)
    features = rng.uniform(-1, 1, size=(1500, 2))
    noise = np.where(features[:, 0] > 0, 2.0, 0.05)
    truth = np.where(features[:, 0] > 0, 0.1, 1.0)
    squared = (truth + noise) * rng.normal(size=1500) ** 2
    told = calibrate_error(features, squared, noise).model.grow()(features, noise)
    untold = calibrate_error(features, squared, np.zeros(1500)).model.grow()(features, np.zeros(1500))
    noisy = features[:, 0] > 0
    assert told[~noisy].mean() > 2 * told[noisy].mean()
    assert untold[~noisy].mean() < untold[noisy].mean()


def test_where_features_tell_nothing_the_error_is_the_same_everywhere():
    rng = np.random.default_rng(5)
    squared = rng.normal(size=60) ** 2
    made = calibrate_error(rng.normal(size=(60, 4)), squared, np.zeros(60))
    said = made.model.grow()(rng.normal(size=(500, 4)), np.zeros(500))
    assert said.std() < 0.5 * said.mean()
    assert said.mean() == pytest.approx(squared.mean(), rel=0.3)


def test_pure_noise_leaves_the_floor_and_says_so():
    rng = np.random.default_rng(6)
    squared = rng.normal(size=200) ** 2
    made = calibrate_error(rng.normal(size=(200, 2)), squared, np.full(200, 1.5))
    assert made.noise_share > 1
    assert made.floored_share > 0.9
    said = made.model.grow()(rng.normal(size=(50, 2)), np.full(50, 1.5))
    assert (said > 0).all()
    assert said.mean() < 0.1


def test_the_same_data_give_the_same_bits():
    features, squared, _ = world(7, n=150)
    one, other = (calibrate_error(features, squared, np.full(150, 0.1)) for _ in range(2))
    assert (one.model.level, one.model.slope) == (other.model.level, other.model.slope)
    np.testing.assert_array_equal(
        one.model.grow()(features, np.zeros(150)), other.model.grow()(features, np.zeros(150))
    )


def test_storage_gives_back_the_same_model():
    features, squared, _ = world(10, n=100)
    made = calibrate_error(features, squared, np.full(100, 0.1)).model
    again = ErrorModel.from_tensors(made.to_tensors())
    np.testing.assert_array_equal(again.grow()(features, np.ones(100)), made.grow()(features, np.ones(100)))


def test_folds_are_made_of_plates_where_there_are_enough():
    features, squared, _ = world(8, n=120)
    plates = np.repeat(np.eye(12, dtype=bool), 10, axis=0)
    assert calibrate_error(features, squared, np.zeros(120), plates).by == "plates"
    assert calibrate_error(features, squared, np.zeros(120), plates[:, :6] | plates[:, 6:]).by == "labels"


def test_single_large_residuals_count_for_few():
    features, squared, _ = world(9, spread=0.0)
    assert calibrate_error(features, squared, np.zeros(600)).effective_n > 400
    squared[0] = 1e4
    assert calibrate_error(features, squared, np.zeros(600)).effective_n < 10


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), rank=st.integers(1, 5))
def test_a_rescaled_factor_has_the_diagonal_and_keeps_the_directions(seed, rank):
    rng = np.random.default_rng(seed)
    factor, target = Factor(rng.normal(size=(15, rank))), rng.uniform(0, 3, 15)
    found = rescale(factor, target)
    np.testing.assert_allclose(found.diagonal(), target, rtol=1e-12, atol=1e-15)
    one, other = factor @ np.eye(15), found @ np.eye(15)
    sizes = np.sqrt(np.outer(np.diag(one), np.diag(one))), np.sqrt(np.outer(target, target))
    np.testing.assert_allclose(other / np.maximum(sizes[1], 1e-9), np.where(sizes[1] > 0, one / sizes[0], 0), atol=1e-6)


def test_a_point_without_a_direction_stays_without_one():
    found = rescale(Factor(np.array([[1.0, 0.0], [0.0, 0.0]])), np.array([4.0, 9.0]))
    np.testing.assert_array_equal(found.diagonal(), [4.0, 0.0])


def test_mistakes_are_named():
    ones = np.ones(30)
    with pytest.raises(UserError, match="too few residuals to calibrate with; got 19, expected at least 20"):
        calibrate_error(np.ones((19, 2)), np.ones(19), np.ones(19))
    with pytest.raises(UserError, match="same points"):
        calibrate_error(np.ones((29, 2)), ones, ones)
    with pytest.raises(NumericalError, match="not finite"):
        calibrate_error(np.ones((30, 2)), np.full(30, np.nan), ones)
    with pytest.raises(NumericalError, match="negative"):
        calibrate_error(np.ones((30, 2)), ones, -ones)
    with pytest.raises(UserError, match=r"got shape \(5, 3\), expected \(N, 2\)"):
        calibrate_error(np.random.default_rng(0).normal(size=(30, 2)), ones, 0 * ones).model.grow()(
            np.ones((5, 3)), np.ones(5)
        )
    with pytest.raises(UserError, match="positive factor"):
        rescale(Factor(np.ones((3, 1)), np.array([-1.0])), np.ones(3))
    with pytest.raises(NumericalError, match="negative or not finite"):
        rescale(Factor(np.ones((3, 1))), -np.ones(3))
