"""The difference operator: noise cancels path by path, drops are positive, halves are compared."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from tasks.errors import UserError
from tasks.operators import Diagonal, Factor, eigenmodes, noise_operator
from tasks.operators.cobias import root_factor
from tasks.operators.difference import (
    difference_factor,
    difference_stability,
    estimate_difference,
    paired_residuals,
    weighted_by_remaining,
)
from tasks.readouts.sigma_y import SigmaY
from tasks.threads import one_blas_thread


@pytest.fixture(autouse=True)
def one_thread():
    with one_blas_thread():
        yield


def nothing(n):
    return Factor(np.zeros((n, 0)))


def paired(phi, older, newer, epistemic=None, **parts):
    n = len(phi)
    given = epistemic or (nothing(n), nothing(n))
    plates = np.zeros((n, 0), dtype=bool)
    return paired_residuals(phi, older, newer, given, Diagonal(np.full(n, 0.04)), plates, **parts)


def dense(factor):
    return factor @ np.eye(len(factor))


def case(seed, noise=0.0, n=300):
    """Features, and residuals of two ensembles: bias in direction 0 is gone in the newer one, in direction 1 is new."""
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(n, 4))
    common = noise * rng.normal(size=n)
    return phi, common + 2 * phi[:, 0], common + phi[:, 1]


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_finds_what_drops_and_what_grows_under_any_common_noise(noise):
    found = []
    for seed in range(10):
        phi, older, newer = case(seed, noise)
        one = estimate_difference([paired(phi, older, newer)], 1e-6)
        found.append(one.root @ np.diag(one.signs) @ one.root.T)
    mean = np.mean(found, axis=0)
    np.testing.assert_allclose(mean, np.diag([4.0, -1.0, 0.0, 0.0]), atol=0.05 + 0.25 * noise)


def test_common_noise_that_is_shared_by_all_labels_cancels_exactly_where_nothing_changed():
    rng = np.random.default_rng(0)
    phi, r = rng.normal(size=(50, 3)), 7 + rng.normal(size=50)
    found = estimate_difference([paired(phi, r, r)], 0.1)
    assert found.rank == 0
    assert found.negative_share == 0.0


def test_member_noise_is_subtracted_with_its_sign():
    """Two means of few members differ by their sampling noise alone: no drop is found on average."""
    rng = np.random.default_rng(1)
    phi = np.c_[rng.normal(size=(100, 2)), np.ones(100)]
    told, untold = [], []
    for _ in range(100):
        older = phi @ rng.normal(size=3)
        newer = 0.5 * phi @ rng.normal(size=3)
        spread = Factor(phi), Factor(0.5 * phi)
        for sets, into in ((paired(phi, older, newer, spread), told), (paired(phi, older, newer), untold)):
            one = estimate_difference([sets], 1e-6)
            into.append(one.eigenvalues.sum())
    expected = np.trace(phi.T @ phi) * 0.75 / 100
    assert np.mean(untold) == pytest.approx(expected, rel=0.2)
    assert abs(np.mean(told)) < 0.2 * expected


def test_the_whole_operator_is_the_difference_of_the_reducible_ones():
    rng = np.random.default_rng(2)
    older, newer = Factor(rng.normal(size=(20, 3))), Factor(rng.normal(size=(20, 5)))
    change = root_factor(rng.normal(size=(20, 4)), rng.normal(size=(4, 2)), np.array([1.0, -1.0]))
    found = difference_factor(older, newer, change)
    np.testing.assert_allclose(dense(found), dense(older) - dense(newer) + dense(change), atol=1e-12)
    values = np.linalg.eigvalsh(dense(found))[::-1]
    modes = eigenmodes(found)
    np.testing.assert_allclose(modes.values[: modes.positive], values[values > 1e-9], rtol=1e-7)


def test_drop_times_remaining_is_on_the_diagonal():
    rng = np.random.default_rng(3)
    whole = Factor(rng.normal(size=(20, 3)), np.array([1.0, -1.0, 1.0]))
    remaining = rng.uniform(0, 2, 20)
    found = weighted_by_remaining(whole, remaining, 0.5)
    np.testing.assert_allclose(found.diagonal(), whole.diagonal() * remaining / 0.5, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dense(weighted_by_remaining(whole, np.full(20, 0.5), 0.5)), dense(whole), atol=1e-12)
    with pytest.raises(UserError, match="non-negative"):
        weighted_by_remaining(whole, -remaining, 0.5)


def test_earlier_rounds_count_for_less():
    phi, older, newer = case(0)
    sets = [paired(phi, older, newer), paired(phi, newer, older, age=1)]
    alone, both = estimate_difference(sets, 1e-6), estimate_difference(sets, 1e-6, 0.5)
    assert (alone.rounds, both.rounds, both.n_residuals) == (1, 2, 600)
    np.testing.assert_allclose(both.eigenvalues, alone.eigenvalues / 3, rtol=1e-6)


def test_noise_shows_in_the_share_that_is_negative_and_in_the_halves():
    phi, older, _ = case(1, noise=0.3)
    clear = paired(phi, older, 0.3 * older)
    assert estimate_difference([clear], 1e-3).negative_share < 0.05
    found = difference_stability([clear], 1e-3, 0.0, seed=0)
    assert min(found.diagonals, found.subspace) > 0.9
    rng = np.random.default_rng(5)
    blind = [[paired(phi, rng.normal(size=300), rng.normal(size=300))] for _ in range(10)]
    assert 0.3 < np.mean([estimate_difference(sets, 1e-3).negative_share for sets in blind]) < 0.7
    assert np.mean([difference_stability(sets, 1e-3, 0.0, seed=0).subspace for sets in blind]) < 0.6


def test_label_noise_tells_how_many_residuals_these_are():
    plates = scipy.sparse.csr_array(np.repeat(np.eye(2), 20, axis=0))
    noise = noise_operator(SigmaY(np.full(40, 0.1), plates, np.array([1.0, 1.0])))
    rng = np.random.default_rng(6)
    none = nothing(40)
    sets = paired_residuals(rng.normal(size=(40, 2)), rng.normal(size=40), rng.normal(size=40), (none, none), noise,
                            plates.toarray() > 0)  # fmt: skip
    found = estimate_difference([sets], 1.0)
    assert found.effective_n == pytest.approx(40 * 1.1 / (0.1 + 20))
