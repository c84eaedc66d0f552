"""Held-out plates, out-of-fold predictions, and the intervals that rest on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import MlpSettings
from tasks.ensembles import Target, TrainingSet, fit_ensemble, interval, predict
from tasks.ensembles.folds import held_out, labels_per_epoch
from tasks.ensembles.out_of_fold import LEVELS, interval_factors, out_of_fold
from tasks.errors import UserError


def on_plates(plates: np.ndarray) -> TrainingSet:
    n = len(plates)
    return TrainingSet(np.arange(n)[:, None], np.zeros(n), np.zeros(n), plates)


@given(st.integers(5, 40), st.integers(1, 3), st.integers(0, 5))
def test_no_plate_of_a_held_out_label_teaches_the_member_that_whole_plates_are_kept_from(count, replicates, seed):
    rng = np.random.default_rng(seed)
    plates = np.zeros((400, count), dtype=bool)
    for row in plates:
        row[rng.choice(count, size=replicates, replace=False)] = True
    masks, by = held_out(on_plates(plates), MlpSettings(), seed, range(12))
    if by == "labels":
        assert replicates > 1  # too entangled
        return
    for mask in masks:
        assert 0 < mask.sum() < len(mask)
        chosen = ~plates[~mask].any(axis=0)  # plates no training label touches
        assert np.array_equal(plates[:, chosen].any(axis=1), mask)


def test_members_take_the_folds_in_turn_and_deal_anew():
    plates = np.arange(10) == np.repeat(np.arange(10), 7)[:, None]
    masks, _ = held_out(on_plates(plates), MlpSettings(), 3, range(20))
    assert (masks[:10].sum(axis=0) == 1).all()
    assert (masks[10:].sum(axis=0) == 1).all()
    assert not np.array_equal(masks[:10], masks[10:])


def test_a_member_has_the_same_labels_whoever_is_beside_it():
    plates = np.arange(7) == np.random.default_rng(0).integers(7, size=90)[:, None]
    for train in (on_plates(plates), on_plates(plates[:, :0])):
        together, _ = held_out(train, MlpSettings(), 3, range(16))
        alone, _ = held_out(train, MlpSettings(), 3, range(13, 14))
        np.testing.assert_array_equal(alone[0], together[13])


def test_few_plates_fall_back_to_labels_or_are_refused():
    plates = np.arange(4) == np.arange(40)[:, None] % 4
    masks, by = held_out(on_plates(plates), MlpSettings(), 0, range(10))
    assert (by, masks.sum(axis=1).tolist()) == ("labels", [4] * 10)
    with pytest.raises(UserError, match=r"plates cannot be held out.*4 plates, 5 are needed"):
        held_out(on_plates(plates), MlpSettings(holdout="plates"), 0, range(2))


def test_labels_on_every_plate_cannot_be_held_out_by_plates():
    everywhere = np.ones((40, 8), dtype=bool)
    assert held_out(on_plates(everywhere), MlpSettings(), 0, range(2))[1] == "labels"
    with pytest.raises(UserError, match="0% of the labels"):
        held_out(on_plates(everywhere), MlpSettings(holdout="plates"), 0, range(2))


def test_an_epoch_is_as_long_as_the_smallest_training_set():
    sizes = (30, 20, 10, 10, 10)
    plates = np.arange(5) == np.repeat(np.arange(5), sizes)[:, None]
    assert labels_per_epoch(on_plates(plates), MlpSettings(), 0) == 50


def test_out_of_fold_means_are_those_of_the_members_that_held_a_label_out():
    members = np.array([[1.0, 2.0, 6.0], [5.0, 7.0, 9.0], [1.0, 1.0, 4.0]])[..., None]
    held = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], dtype=np.uint8)  # (M, n)
    found = out_of_fold(members, held)
    np.testing.assert_array_equal(found["out_of_fold.count"], [2, 1, 0])
    np.testing.assert_allclose(found["out_of_fold.mean"][:, 0], [1.5, 7.0, np.nan])
    np.testing.assert_allclose(found["out_of_fold.variance"][:, 0], [0.5, np.nan, np.nan])


def test_members_never_saw_the_labels_that_they_are_honest_about(train):
    """Targets of one plate are moved by a lot: members that hold it out must not have heard of it."""
    moved = train.targets + 50.0 * train.plates[:, :1]
    settings = MlpSettings(members=10, hidden=(16,), epochs=10)
    fitted = fit_ensemble(
        TrainingSet(train.features, moved, train.variances, train.plates), Target(), settings, OperatorsSection(), 0
    )
    held = fitted.tensors["held_out"].numpy().astype(bool)
    plate = train.plates[:, 0]
    (blind,) = np.flatnonzero(held[:, plate].all(axis=1))
    honest = fitted.tensors["out_of_fold.mean"].numpy()[plate, 0]
    np.testing.assert_allclose(honest, predict(fitted, train.features[plate]).members[:, blind], rtol=1e-4, atol=1e-4)
    assert abs(honest.mean() - train.targets.mean()) < 10 < abs(moved[plate].mean() - honest.mean())


@pytest.mark.parametrize("level", LEVELS)
def test_intervals_hold_what_they_promise_on_new_labels(level, ensemble, labels):
    test = labels(2000, seed=9)
    low, high = interval(ensemble, predict(ensemble, test.features), level)
    assert np.mean((low <= test.targets) & (test.targets <= high)) == pytest.approx(level, abs=0.07)


@given(st.floats(0.1, 10.0), st.floats(0.0, 3.0), st.integers(0, 9))
def test_factors_of_gaussian_residuals_are_normal_quantiles(noise_sd, spread, seed):
    rng = np.random.default_rng(seed)
    spreads = np.full((4000, 1), spread**2)
    residuals = rng.normal(size=(4000, 1)) * np.sqrt(noise_sd**2 + spreads)
    (variance,), factors = interval_factors(residuals, spreads)
    assert variance + spread**2 == pytest.approx(noise_sd**2 + spread**2, rel=0.12)
    np.testing.assert_allclose(np.ravel(factors), [0.674, 1.282, 1.645, 1.960], rtol=0.08)


def test_labels_without_an_honest_prediction_are_left_out():
    residuals = np.r_[np.full(50, np.nan), np.random.default_rng(0).normal(size=50)][:, None]
    with_them = interval_factors(residuals, np.ones((100, 1)))
    assert with_them == interval_factors(residuals[50:], np.ones((50, 1)))


def test_the_sd_is_that_of_the_ninety_percent_interval(ensemble, labels):
    said = predict(ensemble, labels(50, seed=9).features)
    low, high = interval(ensemble, said, 0.9)
    np.testing.assert_allclose((high - low) / 2, stats.norm.ppf(0.95) * said.sd, rtol=1e-5)


def test_a_classifier_has_no_such_interval(classifier, train):
    with pytest.raises(UserError, match="no such interval"):
        interval(classifier, predict(classifier, train.features), 0.9)
