"""Prediction: chunks, the last-layer posterior against a dense oracle, ensemble features, storage."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tasks.ensembles import ensemble_from_tensors, ensemble_to_tensors, predict
from tasks.ensembles.encoding import encode
from tasks.ensembles.leading import feature_projection
from tasks.ensembles.network import Shape, output, penultimate
from tasks.ensembles.posterior import last_layer_posterior
from tasks.errors import NumericalError, UserError


def dense_within(phi: np.ndarray, curvature: np.ndarray, prior: float, points: np.ndarray) -> np.ndarray:
    """mean_m P_m S_m P_mᵀ at points P (M, k, h+1), with explicit inverses; Φ (M, n, h+1), curvature (M, n)."""
    total = np.zeros((points.shape[1], points.shape[1]))
    for m in range(len(phi)):
        ridge = np.mean(np.sum(phi[m] ** 2, axis=1)) / prior
        precision = phi[m].T @ np.diag(curvature[m]) @ phi[m] + ridge * np.eye(phi.shape[2])
        total += points[m] @ np.linalg.inv(precision) @ points[m].T
    return total / len(phi)


def with_ones(activations: torch.Tensor) -> np.ndarray:
    values = activations.double().numpy()
    return np.concatenate([values, np.ones((*values.shape[:2], 1))], axis=2)


@pytest.mark.parametrize("name", ["ensemble", "classifier"])
@pytest.mark.parametrize("rows", [1, 7, 10_000])
def test_chunks_change_nothing_beyond_rounding(name, rows, train, request):
    model = request.getfixturevalue(name)
    whole, parts = predict(model, train.features[:20]), predict(model, train.features[:20], rows=rows)
    for field in ("members", "within", "features", "sd"):
        np.testing.assert_allclose(getattr(parts, field), getattr(whole, field), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_full_sketch_is_the_mean_posterior_covariance(kind, train, classes, fit):
    labels = train if kind == "continuous" else classes
    model = fit(labels, kind, sketch=5 * (8 + 1))
    tensors = model.tensors
    activations = penultimate(tensors, encode(tensors, torch.from_numpy(labels.features)), Shape())
    outputs, phi = output(tensors, activations)[..., 0].double().numpy(), with_ones(activations)
    if kind == "continuous":
        residuals = (labels.targets[:, 0] - float(tensors["target_mean"])) / float(tensors["target_scale"]) - outputs
        held = tensors["held_out"].numpy().astype(bool)
        mean_square = np.array([np.mean(row[mask] ** 2) for row, mask in zip(residuals, held, strict=True)])
        curvature = np.ones_like(outputs) / mean_square[:, None]
        slope, prior = np.full((5, 20), float(tensors["target_scale"])), 1.0
    else:
        probability = 1 / (1 + np.exp(-outputs))
        curvature = probability * (1 - probability)
        slope, prior = curvature[:, :20], 4.0
    expected = dense_within(phi, curvature, prior, phi[:, :20] * slope[..., None])
    within = predict(model, labels.features[:20]).within.astype(float)
    np.testing.assert_allclose(within @ within.T, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_sketch_is_right_on_average_and_close_each_time():
    rng = np.random.default_rng(0)
    activations = torch.from_numpy(rng.normal(size=(4, 60, 30)))
    curvature = torch.from_numpy(rng.uniform(0.5, 2, size=(4, 60)))
    chunks = list(zip(activations.split(25, dim=1), curvature.split(25, dim=1), strict=True))
    points = with_ones(activations)[:, :10]
    oracle = dense_within(with_ones(activations), curvature.numpy(), 1.0, points)
    sketches = []
    for seed in range(60):
        fold = last_layer_posterior(chunks, 1.0, 64, np.random.default_rng(seed)).numpy()
        within = np.einsum("mnh,mhr->nr", points, fold)
        sketches.append(within @ within.T)
    np.testing.assert_allclose(np.mean(sketches, axis=0), oracle, rtol=0, atol=0.05 * np.diag(oracle).max())
    spread = np.std([np.diag(s) for s in sketches], axis=0) / np.diag(oracle)
    assert spread.max() < np.sqrt(2 / 64) * 1.3


def test_posterior_grows_away_from_the_labels(ensemble, train):
    far = train.features[:1].copy()
    far[0, :3] = 8.0
    near = np.square(predict(ensemble, train.features).within).sum(axis=1).mean()
    assert np.square(predict(ensemble, far).within).sum() > 2 * near


def test_without_last_layer_the_factor_is_empty(train, fit):
    assert predict(fit(train, within="none"), train.features).within.shape == (300, 0)


def test_leading_features_are_uncorrelated_and_ordered_over_the_labels(ensemble, train):
    features = predict(ensemble, train.features).features.astype(float)
    assert features.shape == (300, 7)
    np.testing.assert_array_equal(features[:, -1], 1.0)
    covariance = np.cov(features[:, :-1].T, bias=True)
    assert covariance[0, 0] == pytest.approx(1.0, abs=1e-3)
    assert np.all(np.diff(np.diag(covariance)) <= 1e-6)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)
    np.testing.assert_allclose(features[:, :-1].mean(axis=0), 0, atol=1e-3)


@pytest.mark.parametrize("n", [12, 80])  # fewer and more labels than the 30 activations
def test_projection_agrees_with_a_singular_value_decomposition(n):
    stacked = np.random.default_rng(n).normal(size=(n, 30))
    found = feature_projection(torch.from_numpy(stacked), 64)
    scores = stacked @ found["projection"].numpy() - found["projection_mean"].numpy()
    u, s, _ = np.linalg.svd(stacked - stacked.mean(axis=0), full_matrices=False)
    rank = min(n - 1, 30)
    assert scores.shape == (n, rank)
    expected = (u * s / s[0] * np.sqrt(n))[:, :rank]
    np.testing.assert_allclose(np.abs(scores), np.abs(expected), atol=1e-4)


def test_indefinite_precision_is_an_error():
    activations = torch.ones(2, 5, 3)
    with pytest.raises(NumericalError, match=r"members \[0, 1\] is not positive definite"):
        last_layer_posterior([(activations, torch.full((2, 5), -10.0))], 1.0, 4, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["ensemble", "classifier"])
def test_storage_round_trip_changes_no_prediction(name, train, request):
    model = request.getfixturevalue(name)
    arrays, meta = ensemble_to_tensors(model)
    again = ensemble_from_tensors(arrays, json.loads(json.dumps(meta)))
    before, after = predict(model, train.features), predict(again, train.features)
    for field in ("members", "within", "features", "sd"):
        np.testing.assert_array_equal(getattr(before, field), getattr(after, field))
    np.testing.assert_array_equal(again.history, model.history)
    assert (again.target, again.members, again.meta) == (model.target, model.members, model.meta)


def test_what_is_not_an_ensemble_is_refused():
    with pytest.raises(UserError, match="not a stored ensemble"):
        ensemble_from_tensors({"weight.0": np.zeros(1)}, {})


def test_features_must_fit(ensemble):
    with pytest.raises(UserError, match=r"shape \(4, 6\), expected \(n, 5\)"):
        predict(ensemble, np.zeros((4, 6)))
    bad = np.zeros((4, 5))
    bad[2, 1] = np.inf
    with pytest.raises(UserError, match="row 2"):
        predict(ensemble, bad)


def test_nothing_to_predict_is_an_empty_prediction(ensemble):
    said = predict(ensemble, np.zeros((0, 5)))
    assert (said.members.shape, said.within.shape, said.features.shape) == ((0, 5), (0, 32), (0, 7))
