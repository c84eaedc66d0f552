"""The direct cobias: ridge regression, and the bias that squaring brings."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tasks.errors import NumericalError, UserError
from tasks.operators import Diagonal
from tasks.operators.cobias import root_factor
from tasks.operators.direct import direct_delta, direct_stability
from tasks.operators.history import ResidualSet


def test_is_ridge_regression_of_the_weighted_rounds():
    rng = np.random.default_rng(0)
    sets = [ResidualSet(rng.normal(size=(n, 4)), rng.normal(size=n), Diagonal(np.ones(n)), age=age)
            for age, n in enumerate((30, 20))]  # fmt: skip
    found = direct_delta(sets, 0.3, 0.5)
    phi, r = np.concatenate([one.features for one in sets]), np.concatenate([one.values for one in sets])
    weights = np.repeat([1.0, 0.5], [30, 20])
    penalty = 0.3 * np.trace((phi.T * weights) @ phi) / 4
    ridge = Ridge(alpha=penalty, fit_intercept=False).fit(phi, r[:, 0], sample_weight=weights)
    np.testing.assert_allclose(found.root[:, 0], ridge.coef_, rtol=1e-6)
    assert (found.rank, found.rounds, found.n_residuals) == (1, 2, 50)
    np.testing.assert_allclose(root_factor(phi, found.root).diagonal(), np.square(phi @ found.root[:, 0]), rtol=1e-12)


def test_the_upward_bias_is_the_variance_of_what_is_squared(dense, plate_noise):
    """Simulated: squares of estimates of a known bias exceed the square of their mean by what is reported."""
    rng = np.random.default_rng(1)
    phi = np.c_[rng.normal(size=(240, 3)), np.ones(240)]
    delta, root = phi @ [0.2, -0.1, 0.0, 0.1], np.linalg.cholesky(plate_noise)
    made = [direct_delta([ResidualSet(phi, delta + root @ rng.normal(size=240), dense(plate_noise))], 1e-6)
            for _ in range(400)]  # fmt: skip
    said = np.stack([(phi @ one.root)[:, 0] for one in made])
    excess = np.square(said).mean(axis=0) - np.square(said.mean(axis=0))
    np.testing.assert_allclose(made[0].variance(phi).mean(), excess.mean(), rtol=0.15)
    assert made[0].upward_bias == pytest.approx(made[0].variance(phi).mean())
    assert np.mean([one.mean_square for one in made]) == pytest.approx(np.mean(delta**2) + made[0].upward_bias, rel=0.1)


def test_several_outputs_are_several_directions():
    rng = np.random.default_rng(2)
    phi, r = rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    both = direct_delta([ResidualSet(phi, r, Diagonal(np.ones(50)))], 0.1)
    each = [direct_delta([ResidualSet(phi, r[:, t], Diagonal(np.ones(50)))], 0.1) for t in (0, 1)]
    total = sum(root_factor(phi, one.root).diagonal() for one in each)
    np.testing.assert_allclose(root_factor(phi, both.root).diagonal(), total, rtol=1e-9)


def test_halves_are_compared():
    rng = np.random.default_rng(3)
    phi = rng.normal(size=(200, 3))
    plain = ResidualSet(phi, phi[:, 0] + 0.1 * rng.normal(size=200), Diagonal(np.full(200, 0.01)))
    found = direct_stability([plain], 1e-3, 0.0, seed=0)
    assert (found.by, found.modes) == ("labels", 1)
    assert min(found.diagonals, found.subspace) > 0.95


def test_mistakes_are_named():
    noise = Diagonal(np.ones(5))
    with pytest.raises(NumericalError, match="zero"):
        direct_delta([ResidualSet(np.zeros((5, 2)), np.ones(5), noise)], 1.0)
    with pytest.raises(UserError, match="one set of features"):
        direct_delta([], 1.0)
