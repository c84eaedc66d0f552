"""Σ_F, the agreement of its halves, and the noise of measurements to come."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.operators import member_factor
from tasks.operators.eigenmodes import gram_matrix
from tasks.operators.epistemic import epistemic_factor, mean_factor, member_stability
from tasks.operators.measurement import measurement_noise
from tasks.readouts.noise import NoiseModel


def dense(factor):
    return factor @ np.eye(len(factor))


def test_spread_of_members_and_their_own_posteriors_add_up():
    rng = np.random.default_rng(0)
    members, within = rng.normal(size=(12, 5)), rng.normal(size=(12, 3))
    whole = np.cov(members) + within @ within.T
    np.testing.assert_allclose(dense(epistemic_factor(members, within)), whole, atol=1e-12)
    np.testing.assert_allclose(dense(mean_factor(members, within)), whole / 5, atol=1e-12)


def test_several_outputs_add_their_covariances():
    members = np.random.default_rng(1).normal(size=(12, 5, 3))
    whole = sum(np.cov(members[..., output]) for output in range(3))
    np.testing.assert_allclose(dense(epistemic_factor(members, np.zeros((12, 0)))), whole, atol=1e-12)


@pytest.mark.parametrize("outputs", [1, 2])
def test_agreement_of_halves_is_that_of_their_own_modes(outputs):
    """From the Gram matrix of all members; beside it the two halves' leading eigenvectors, dense."""
    rng = np.random.default_rng(2)
    members = rng.normal(size=(40, 9, outputs)) + 9 * rng.normal(size=(40, 1, 1)) * rng.normal(size=(1, 9, outputs))
    found = member_stability(gram_matrix(member_factor(members)), 9)
    vectors = []
    for half in (members[:, ::2], members[:, 1::2]):
        covariance = sum(np.cov(half[..., output]) for output in range(outputs))
        vectors.append(np.linalg.eigh(covariance)[1][:, -3:])
    assert found.modes == 3
    assert found.subspace == pytest.approx(np.square(vectors[0].T @ vectors[1]).sum() / 3, abs=1e-6)
    assert 0.3 < found.subspace < 0.9  # one direction in common, the rest by chance


def test_halves_need_a_spread():
    assert "fewer than four" in member_stability(np.eye(3), 3).why
    assert "agree everywhere" in member_stability(np.zeros((4, 4)), 4).why


NOISE = NoiseModel(
    average=0.2, source="negcon", n=30, floor=0.1, knots=(0.0, 1.0), variances=(0.1, 0.4), anchors={"a": 1.0},
    plates={"P1.1": 0.03, "P2.1": 0.05}, scales={"P1.1": 0.02, "P2.1": 0.0}, runs={"P1.1": "a", "P2.1": "a"},
    run_variances={"a": 0.007}, reagent=0.5,
)  # fmt: skip


def test_noise_of_a_new_label_is_its_wells_plates_and_run():
    predicted = np.array([0.0, 1.0, 3.0])
    found = measurement_noise(NOISE, predicted, 2, "continuous")
    well = np.array([0.1, 0.4, 0.4]) + 0.5
    plate = 0.04 + (predicted - 1.0) ** 2 * 0.01
    np.testing.assert_allclose(found, (well + plate) / 2 + 0.007, rtol=1e-12)


def test_plates_of_several_runs_have_their_own_anchors():
    runs = {"P1.1": "a", "P2.1": "b", "P3.1": "b"}
    noise = NOISE.model_copy(
        update={"runs": runs, "plates": dict.fromkeys(runs, 0.0), "scales": {"P1.1": 0.02, "P2.1": 0.04, "P3.1": 0.3}}
        | {"anchors": {"a": 1.0, "b": -2.0}, "run_variances": {"a": 0.0, "b": 0.0}, "reagent": 0.0}
    )
    predicted = np.array([-5.0, 0.0, 0.7])
    plate = (0.02 * (predicted - 1.0) ** 2 + 0.34 * (predicted + 2.0) ** 2) / 3
    expected = noise.well_variance(predicted) + plate
    np.testing.assert_allclose(measurement_noise(noise, predicted, 1, "continuous"), expected, rtol=1e-12)


def test_noise_of_a_class_is_that_of_a_draw():
    np.testing.assert_allclose(measurement_noise(NOISE, np.array([0.0, 0.2, 1.0]), 3, "binary"), [0, 0.16, 0])
