"""Several classes, several outputs, and a network that learns how noisy a readout is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from tasks.ensembles import MODELS, Ensemble, TrainingSet, interval, predict
from tasks.ensembles.problem import SMOOTHING, unsmoothed
from tasks.errors import UserError


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(600, 3))


def zeros(targets: np.ndarray) -> np.ndarray:
    return np.zeros(np.shape(targets))


def noise_of(model: Ensemble, x: np.ndarray) -> np.ndarray:
    """(n,) variance of a readout as the model has learnt it."""
    with torch.no_grad():
        return MODELS["mlp"].say(model, torch.from_numpy(x).float()).noise.numpy()[:, 0]


def test_classes_get_probabilities_that_sum_to_one_and_order_them(points, fit):
    classes = np.digitize(points[:, 0] + points[:, 1], (-0.7, 0.7))
    said = predict(
        fit(TrainingSet(points[:400], classes[:400], zeros(classes[:400])), "multi-class", columns=3), points
    )
    assert said.members.shape == (600, 5, 3)
    np.testing.assert_allclose(said.members.sum(axis=2), 1.0, rtol=1e-5)
    assert np.mean(said.mean[400:].argmax(axis=1) == classes[400:]) > 0.85
    assert said.within.shape == (600, 0)


def test_smoothing_is_taken_back():
    true = torch.tensor([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
    smoothed = (1 - SMOOTHING) * true + SMOOTHING / 3
    torch.testing.assert_close(unsmoothed(smoothed), true, atol=0.002, rtol=0)


def test_probabilities_of_classes_are_as_sure_as_they_are_right(points, fit):
    rng = np.random.default_rng(2)
    chance = 1 / (1 + np.exp(-2 * points[:, 0]))
    classes = np.where(rng.random(600) < 0.2, 2, rng.random(600) < chance).astype(float)
    said = predict(
        fit(TrainingSet(points[:400], classes[:400], zeros(classes[:400])), "multi-class", columns=3), points
    )
    assert said.mean[400:, 2].mean() == pytest.approx(0.2, abs=0.06)
    sure = said.mean[400:].max(axis=1).mean()
    assert sure == pytest.approx(np.mean(said.mean[400:].argmax(axis=1) == classes[400:]), abs=0.1)


def test_a_class_that_no_label_has_is_improbable(points, fit):
    classes = (points[:, 0] > 0).astype(float)
    said = predict(fit(TrainingSet(points, classes, zeros(classes)), "multi-class", columns=3), points)
    assert said.mean[:, 2].max() < 0.2


def test_outputs_are_learned_side_by_side_in_their_own_units(points, fit):
    targets = np.c_[points[:, 0], 1000 + 300 * points[:, 1]]
    said = predict(fit(TrainingSet(points[:400], targets[:400], zeros(targets[:400]))), points)
    assert said.members.shape == (600, 5, 2)
    errors = np.sqrt(np.mean((said.mean[400:] - targets[400:]) ** 2, axis=0))
    assert (errors < 0.35 * targets.std(axis=0)).all()


def test_several_outputs_have_intervals_each(points, fit):
    rng = np.random.default_rng(1)
    targets = np.c_[points[:, 0], 100 * points[:, 1]] + rng.normal(size=(600, 2)) * (0.3, 30)
    model = fit(TrainingSet(points[:400], targets[:400], zeros(targets[:400])))
    low, high = interval(model, predict(model, points[400:]), 0.9)
    held = np.mean((low <= targets[400:]) & (targets[400:] <= high), axis=0)
    assert held == pytest.approx(0.9, abs=0.08)


def test_several_binary_outputs(points, fit):
    targets = (points[:, :2] > 0).astype(float)
    said = predict(fit(TrainingSet(points[:400], targets[:400], zeros(targets[:400])), "binary"), points)
    assert np.mean((said.mean[400:] > 0.5) == targets[400:]) > 0.9


def test_the_noise_head_knows_where_readouts_are_noisy(fit):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(1500, 2))
    sd = np.where(x[:, 1] > 0, 0.8, 0.1)
    y = 5 + x[:, 0] + sd * rng.normal(size=1500)
    model = fit(TrainingSet(x[:1000], y[:1000], np.zeros(1000)), noise_head=True)
    said = predict(model, x[1000:])
    learnt = np.sqrt(noise_of(model, x[1000:]))
    assert np.median(learnt[sd[1000:] > 0.5]) == pytest.approx(0.8, rel=0.25)
    assert np.median(learnt[sd[1000:] < 0.5]) == pytest.approx(0.1, rel=0.6)
    assert stats.spearmanr(learnt, sd[1000:]).statistic > 0.8
    low, high = interval(model, said, 0.9)
    inside = ((low <= y[1000:, None]) & (y[1000:, None] <= high))[:, 0]
    assert inside[sd[1000:] < 0.5].mean() == pytest.approx(0.9, abs=0.1)
    assert inside[sd[1000:] > 0.5].mean() == pytest.approx(0.9, abs=0.1)


def test_known_label_noise_counts_once(fit):
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, size=(800, 2))
    y = x[:, 0] + 0.5 * rng.normal(size=800)
    for known in (0.0, 0.25):
        learnt = noise_of(fit(TrainingSet(x, y, np.full(800, known)), noise_head=True), x)
        assert np.median(learnt) == pytest.approx(0.25, rel=0.25)


def test_a_noise_head_is_for_continuous_readouts(classes, fit):
    with pytest.raises(UserError, match="noise head is for continuous readouts"):
        fit(classes, "binary", noise_head=True)


@pytest.mark.parametrize(
    ("kind", "columns", "targets", "message"),
    [
        ("binary", 1, np.r_[np.zeros(11), 2.0], "binary readout must be classes.*got 2.*0 or 1"),
        ("multi-class", 3, np.r_[np.zeros(11), 3.0], "multi-class readout must be classes.*got 3.*0 to 2"),
        ("continuous", 2, np.zeros(12), "another number of outputs.*got 1.*expected 2"),
    ],
)
def test_targets_of_another_kind_are_refused(kind, columns, targets, message, fit):
    train = TrainingSet(np.arange(24.0).reshape(12, 2), targets, zeros(targets))
    with pytest.raises(UserError, match=message):
        fit(train, kind, columns=columns)
