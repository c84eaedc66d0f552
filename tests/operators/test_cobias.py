"""The quadratic cobias: the closed form against all pairs, and what it finds in simulations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import NumericalError, UserError
from tasks.operators import Diagonal, Factor, cobias_factor, quadratic_delta
from tasks.operators.cobias import _lower_to_trace, cobias_stability
from tasks.operators.history import ResidualSet, fit_pairs


def all_pairs(rounds: list[tuple[np.ndarray, np.ndarray, float]], ridge: float) -> np.ndarray:
    """B by ridge regression of every entry of P on the p² products of features; rounds are (Φ, P, weight)."""
    p = rounds[0][0].shape[1]
    system, target, penalty = np.zeros((p * p, p * p)), np.zeros(p * p), 0.0
    for phi, products, weight in rounds:
        design = np.einsum("ia,jb->ijab", phi, phi).reshape(-1, p * p)
        system += weight * design.T @ design
        target += weight * design.T @ products.ravel()
        penalty += weight * ridge * np.mean(np.linalg.eigvalsh(phi.T @ phi) ** 2)
    return np.linalg.solve(system + penalty * np.eye(p * p), target).reshape(p, p)


@pytest.mark.parametrize("ridge", [1e-6, 0.1, 1.0])
@pytest.mark.parametrize("outputs", [1, 2])
def test_closed_form_is_least_squares_over_all_pairs(ridge, outputs, dense):
    rng = np.random.default_rng(0)
    phi, r, root = rng.normal(size=(30, 4)), rng.normal(size=(30, outputs)), rng.normal(size=(30, 30)) / 8
    found = quadratic_delta([ResidualSet(phi, r, dense(root @ root.T))], ridge)
    expected = all_pairs([(phi, r @ r.T - root @ root.T, 1.0)], ridge)
    np.testing.assert_allclose(found.form, expected, rtol=1e-9, atol=1e-10)


def test_earlier_rounds_add_their_pairs_with_less_weight():
    rng = np.random.default_rng(5)
    sets = [ResidualSet(rng.normal(size=(n, 3)), rng.normal(size=n), Diagonal(np.full(n, 0.2)), age=age)
            for age, n in enumerate((12, 25, 9))]  # fmt: skip
    pairs = [(one.features, one.values @ one.values.T - 0.2 * np.eye(len(one)), 0.6**one.age) for one in sets]
    np.testing.assert_allclose(fit_pairs(sets, 0.1, 0.6).form, all_pairs(pairs, 0.1), rtol=1e-9)
    alone = fit_pairs(sets, 0.1, 0.0)
    np.testing.assert_allclose(alone.form, fit_pairs(sets[:1], 0.1, 0.6).form, rtol=1e-12)


def test_every_round_brings_a_direction_of_its_own(dense):
    """Bias in two directions, one a round: one round shows one of them, both rounds show both."""
    rng = np.random.default_rng(6)
    directions = np.eye(5)[:2]
    sets = []
    for age, direction in enumerate(directions):
        phi = rng.normal(size=(200, 5))
        sets.append(
            ResidualSet(phi, phi @ direction + 0.1 * rng.normal(size=200), Diagonal(np.full(200, 0.01)), age=age)
        )
    one, both = quadratic_delta(sets, 1e-6), quadratic_delta(sets, 1e-6, decay=1.0)
    assert (one.rounds, both.rounds) == (1, 2)
    leading = np.sort(np.linalg.eigvalsh(both.root @ both.root.T))[::-1]
    assert leading[1] > 0.4
    assert leading[2] < 0.05
    assert np.sort(np.linalg.eigvalsh(one.root @ one.root.T))[::-1][1] < 0.05
    assert both.n_residuals == 400


def test_positive_part_is_the_closest_over_the_points_with_the_same_trace(dense):
    rng = np.random.default_rng(1)
    phi = np.c_[rng.normal(size=(40, 3)), np.ones(40)]
    r = phi @ [1.0, -2.0, 0.5, 1.0] + rng.normal(size=40)
    found = quadratic_delta([ResidualSet(phi, r, dense(np.eye(40)))], 1e-3)
    before, after = phi @ found.form @ phi.T, phi @ found.root @ found.root.T @ phi.T
    assert np.trace(after) == pytest.approx(np.trace(before))
    assert 40 * found.eigenvalues.sum() == pytest.approx(np.trace(before))
    assert np.linalg.eigvalsh(after).min() > -1e-9
    clipped = np.clip(np.linalg.eigvalsh(before), 0, None).sum()
    assert found.clipped_share == pytest.approx(1 - np.trace(after) / clipped)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8))
def test_lowered_eigenvalues_keep_the_sum_and_are_the_closest(values):
    before = np.sort(np.array(values))[::-1]
    after = _lower_to_trace(before)
    assert after.min() >= 0
    assert after.sum() == pytest.approx(max(before.sum(), 0), abs=1e-9)
    drop = before - after
    if before.sum() > 0:  # optimal: the same drop wherever something is left, and nowhere a larger one
        assert drop[after > 0].min(initial=np.inf) >= drop.max() - 1e-9


def test_a_sum_lost_to_rounding_leaves_nothing():
    after = _lower_to_trace(np.array([1.0, -1.0 + 2**-53]))
    assert after.min() >= 0
    assert after.sum() == pytest.approx(0, abs=1e-15)


def simulate(bias: float, noise: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, 6) of points on a line, forward residuals with a smooth bias and given noise, the bias."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=len(noise))
    phi = np.polynomial.legendre.legvander(x, 5)[:, ::-1]
    delta = bias * (np.sin(3 * x) + 0.5)
    return phi, delta + np.linalg.cholesky(noise) @ rng.normal(size=len(noise)), delta


def test_recovers_a_smooth_bias_under_plate_noise(dense, plate_noise):
    errors, naive = [], []
    for seed in range(20):
        phi, r, delta = simulate(1.0, plate_noise, seed)
        found = quadratic_delta([ResidualSet(phi, r, dense(plate_noise))], 1e-3)
        truth = np.outer(delta, delta)
        estimate = phi @ found.root @ found.root.T @ phi.T
        errors.append(np.linalg.norm(estimate - truth) / np.linalg.norm(truth))
        naive.append(np.linalg.norm(np.outer(r, r) - truth) / np.linalg.norm(truth))
    assert np.mean(errors) < 0.3
    assert np.mean(errors) < 0.7 * np.mean(naive)


def mean_squared_bias(phi: np.ndarray, root: np.ndarray) -> float:
    return float(np.square(phi @ root).sum(axis=1).mean())


def test_finds_next_to_nothing_in_pure_noise(dense, plate_noise):
    told, untold, shares = [], [], []
    for seed in range(60):
        phi, r, _ = simulate(0.0, plate_noise, seed)
        found = quadratic_delta([ResidualSet(phi, r, dense(plate_noise))], 1e-3)
        told.append(mean_squared_bias(phi, found.root))
        shares.append(found.clipped_share)
        wells_only = dense(np.diag(np.diag(plate_noise)))
        untold.append(mean_squared_bias(phi, quadratic_delta([ResidualSet(phi, r, wells_only)], 1e-3).root))
    assert np.mean(told) < 0.05 * plate_noise[0, 0]
    assert np.mean(shares) > 0.7
    assert np.mean(told) < 0.7 * np.mean(untold)  # plate noise passes for bias when it is not subtracted


def test_mean_squared_bias_is_not_inflated(dense, plate_noise):
    found, truth = [], []
    for seed in range(60):
        phi, r, delta = simulate(0.5, plate_noise, seed)
        found.append(mean_squared_bias(phi, quadratic_delta([ResidualSet(phi, r, dense(plate_noise))], 1e-3).root))
        truth.append(np.mean(delta**2))
    assert np.mean(found) == pytest.approx(np.mean(truth), rel=0.15)


def test_ridge_shrinks_towards_nothing(dense, plate_noise):
    phi, r, _ = simulate(1.0, plate_noise, 0)
    sizes = [
        mean_squared_bias(phi, quadratic_delta([ResidualSet(phi, r, dense(plate_noise))], x).root)
        for x in (0.01, 1, 100)
    ]
    assert sizes[0] > sizes[1] > sizes[2]


def test_unused_feature_directions_do_no_harm(dense, plate_noise):
    phi, r, _ = simulate(1.0, plate_noise, 0)
    doubled = np.c_[phi, phi, np.zeros(len(phi))]
    plain = quadratic_delta([ResidualSet(phi, r, dense(plate_noise))], 1e-9)
    found = quadratic_delta([ResidualSet(doubled, r, dense(plate_noise))], 1e-9)
    np.testing.assert_allclose(
        cobias_factor(doubled, found).diagonal(), cobias_factor(phi, plain).diagonal(), rtol=1e-5, atol=1e-8
    )


def test_effective_number_of_residuals(dense, plate_noise):
    phi, r, _ = simulate(1.0, plate_noise, 0)
    independent = quadratic_delta([ResidualSet(phi, r, dense(np.eye(240)))], 1.0)
    assert (independent.n_residuals, independent.effective_n) == (240, pytest.approx(240))
    shared = quadratic_delta([ResidualSet(phi, r, dense(plate_noise))], 1.0)
    assert shared.effective_n == pytest.approx(240 * 0.13 / (0.09 + 40 * 0.04))
    members = Diagonal(np.ones(240)) + Factor(np.full((240, 1), 0.25))
    assert quadratic_delta([ResidualSet(phi, r, members)], 1.0).effective_n == pytest.approx(240 * 1.0625 / 16)


def test_halves_agree_where_there_is_bias_and_not_where_there_is_none(dense, plate_noise):
    plates = np.repeat(np.eye(6, dtype=bool), 40, axis=0)
    found = []
    for bias in (1.0, 0.0):
        phi, r, _ = simulate(bias, plate_noise, 3)
        found.append(cobias_stability([ResidualSet(phi, r, dense(plate_noise), plates)], 1e-3, 0.0, seed=1))
    biased, noisy = found
    assert biased.by == "plates"
    assert biased.diagonals > 0.9
    assert biased.subspace > 0.8
    assert noisy.diagonals is None or noisy.diagonals < biased.diagonals
    assert noisy.subspace is None or noisy.subspace < biased.subspace


def test_halves_of_which_one_shows_nothing_have_no_figure(dense):
    rng = np.random.default_rng(4)
    phi = rng.normal(size=(40, 3))
    silent = ResidualSet(phi, 1e-3 * rng.normal(size=40), dense(np.eye(40)))
    found = cobias_stability([silent], 1e-3, 0.0, seed=0)
    assert (found.diagonals, found.subspace) == (None, None)
    assert "nothing but noise" in found.why


def test_mistakes_are_named():
    noise = Diagonal(np.ones(5))
    with pytest.raises(UserError, match=r"same points; got \[5, 4, 5, 4\]"):
        ResidualSet(np.ones((5, 2)), np.ones(4), noise)
    with pytest.raises(UserError, match="wrong signs"):
        ResidualSet(np.ones((5, 2)), np.ones(5), noise, signs=np.array([1.0, -1.0]))
    with pytest.raises(NumericalError, match="not finite"):
        ResidualSet(np.ones((5, 2)), np.full(5, np.nan), noise)
    with pytest.raises(NumericalError, match="zero"):
        quadratic_delta([ResidualSet(np.zeros((5, 2)), np.ones(5), noise)], 1.0)
    one = ResidualSet(np.ones((5, 2)), np.ones(5), noise)
    with pytest.raises(UserError, match="one set of features"):
        quadratic_delta([one, ResidualSet(np.ones((5, 3)), np.ones(5), noise, age=1)], 1.0, 0.5)
    with pytest.raises(UserError, match=r"operators\.decay"):
        quadratic_delta([ResidualSet(np.ones((5, 2)), np.ones(5), noise, age=1)], 1.0)
    with pytest.raises(UserError, match=r"shape \(9, 3\), expected \(N, 2\)"):
        cobias_factor(np.ones((9, 3)), quadratic_delta([one], 1.0))
