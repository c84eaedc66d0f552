"""The gradient of an ensemble's spread against finite differences, for every model that has one."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import ForestSettings, GaussianProcessSettings
from tasks.ensembles import Target, fit_ensemble, predict
from tasks.ensembles.gradient import VarianceGradient
from tasks.errors import UserError


@pytest.fixture(scope="module")
def here(train):
    """Features away from the constant one, in a range where the encoding is smooth."""
    return np.random.default_rng(4).normal(size=(7, 5)) * [1, 1, 1, 0, 0.5] + [0, 0, 0, 7, 0]


def check(gradient, here, tolerance):
    variance, slope = gradient(here)
    assert variance.shape == (7,)
    assert slope.shape == here.shape
    step = 1e-2
    for column in (0, 1, 2, 4):
        shift = np.zeros(5)
        shift[column] = step
        slopes = (gradient(here + shift)[0] - gradient(here - shift)[0]) / (2 * step)
        np.testing.assert_allclose(slope[:, column], slopes, atol=tolerance * np.abs(slope).max())


@pytest.mark.parametrize("activation", ["silu", "mish"])
def test_perceptrons(train, fit, here, activation):
    """Without ranks: normal scores are lines between knots, whose slopes a wide difference blurs."""
    check(VarianceGradient(fit(train, activation=activation, ranks=False)), here, 0.02)


def test_features_with_ties_have_a_gradient(train, fit):
    """Ranks of a feature with few values have knots that coincide, at its largest value too."""
    features = np.round(train.features)
    variance, slope = VarianceGradient(fit(replace(train, features=features)))(features)
    assert np.isfinite(variance).all()
    assert np.isfinite(slope).all()


def test_variance_is_that_of_the_members(train, fit, here):
    ensemble = fit(train)
    members = predict(ensemble, here).members.astype(np.float64)
    np.testing.assert_allclose(VarianceGradient(ensemble)(here)[0], members.var(axis=1, ddof=1), rtol=1e-3)


def test_classes_have_a_gradient_too(classes, fit, here):
    variance, slope = VarianceGradient(fit(classes, "binary"))(here)
    assert (variance >= 0).all()
    assert np.isfinite(slope).all()
    assert slope.any()


def test_gaussian_process(train, here):
    process = fit_ensemble(
        train, Target(), GaussianProcessSettings(model="gp", members=6), OperatorsSection(within="none"), 0
    )
    check(VarianceGradient(process), here, 0.05)


def test_rows_at_a_time_change_nothing_beyond_rounding(train, fit, here):
    ensemble = fit(train)
    for whole, parts in zip(VarianceGradient(ensemble)(here), VarianceGradient(ensemble, rows=3)(here), strict=True):
        np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-6)


def test_trees_have_none(train):
    forest = fit_ensemble(
        train, Target(), ForestSettings(model="forest", members=4), OperatorsSection(within="none"), 0
    )
    with pytest.raises(UserError, match="the members have no gradient; got forest"):
        VarianceGradient(forest)
