"""Sketched gradients against the gradients themselves."""

import numpy as np
import pytest
import torch

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import DropoutSettings, ForestSettings, MlpSettings
from tasks.ensembles import Target, TrainingSet, fit_ensemble, predict
from tasks.ensembles.gradient_sketch import MEMBERS, gradient_projections, gradient_sketch
from tasks.ensembles.network import Shape, initial_weights, output, penultimate

WIDTHS = (5, 9, 9, 2)
POINTS = torch.from_numpy(np.random.default_rng(5).standard_normal((4, WIDTHS[0]), dtype=np.float32))


def networks(members):
    rngs = [np.random.default_rng(number) for number in range(members)]
    tensors = initial_weights(WIDTHS, torch.zeros(WIDTHS[-1]), rngs, random_bias=True)
    rng = np.random.default_rng(9)
    tensors["weight.2"] = torch.from_numpy(rng.standard_normal((members, *WIDTHS[2:]), dtype=np.float32))
    return tensors


def kernel(tensors, shape, outputs):
    """Mean over the members of ∇f·∇f′, weights by 1/fan-in, by automatic differentiation point by point."""
    total = torch.zeros(len(POINTS), len(POINTS))
    for member in range(MEMBERS):
        own = {n: t[member : member + 1].clone().requires_grad_() for n, t in tensors.items() if "gradient" not in n}
        rows = []
        for point in POINTS:
            said = output(own, penultimate(own, point[None], shape))[..., :outputs].sum()
            slopes = torch.autograd.grad(said, list(own.values()))
            widths = [own[name].shape[1] ** 0.5 if "weight" in name else 1.0 for name in own]
            rows.append(torch.cat([(slope / width).flatten() for slope, width in zip(slopes, widths, strict=True)]))
        total += torch.stack(rows) @ torch.stack(rows).T / MEMBERS
    return total


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ["silu", "relu", "mish"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_products_estimate_the_kernel_of_the_gradients(residual, activation, outputs):
    shape = Shape(activation, residual)
    tensors = networks(MEMBERS + 2)
    tensors |= gradient_projections(tensors, 40_000, np.random.default_rng(1))
    with torch.no_grad():  # as `predict` calls it
        phi = gradient_sketch(tensors, POINTS, shape, outputs)
    expected = kernel(tensors, shape, outputs)
    scale = expected.diagonal().sqrt()
    error = (phi @ phi.T - expected) / (scale[:, None] * scale)
    assert error.abs().max() < 0.05  # 1/√40,000 times a few


def test_a_network_of_another_parameterisation_would_be_noticed():
    shape = Shape("silu", False)
    tensors = networks(MEMBERS)
    tensors |= gradient_projections(tensors, 40_000, np.random.default_rng(1))
    phi = gradient_sketch(tensors, POINTS, shape, 1)
    assert (phi @ phi.T / kernel(tensors, shape, 2) - 1).abs().max() > 0.1


@pytest.fixture(scope="module")
def train():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 4)).astype(np.float32)
    return TrainingSet(features, features[:, 0] * features[:, 1], np.zeros(60))


SMALL = MlpSettings(members=3, hidden=(8,), epochs=4)
DROPOUT = DropoutSettings(model="mc-dropout", members=3, hidden=(8,), epochs=4)
FOREST = ForestSettings(model="forest", members=3)


@pytest.mark.parametrize(("settings", "width"), [(SMALL, 16), (DROPOUT, 16), (FOREST, 0)])
def test_networks_have_gradients_and_forests_have_none(train, settings, width):
    operators = OperatorsSection(sketch=4, features=4, gradients=16)
    said = predict(fit_ensemble(train, Target(), settings, operators, 0), train.features)
    assert said.gradients.shape == (60, width)
    assert not width or np.linalg.matrix_rank(said.gradients) > 5


def test_gradients_can_be_switched_off_and_do_not_touch_anything_else(train):
    found = {}
    for columns in (0, 16, 32):
        operators = OperatorsSection(sketch=4, features=4, gradients=columns)
        found[columns] = predict(fit_ensemble(train, Target(), SMALL, operators, 0), train.features)
    assert found[0].gradients.shape == (60, 0)
    for name in ("members", "within", "features", "sd"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[32], name))


def test_the_chunk_in_which_a_point_is_predicted_does_not_matter(train):
    ensemble = fit_ensemble(train, Target(), SMALL, OperatorsSection(sketch=4, features=4, gradients=16), 0)
    whole, parts = predict(ensemble, train.features), predict(ensemble, train.features, rows=7)
    np.testing.assert_allclose(whole.gradients, parts.gradients, rtol=1e-4, atol=1e-6)
