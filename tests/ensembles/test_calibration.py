"""Calibration against oracles: integrals, simulations that are calibrated and that are not, and edges."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, trapezoid
from scipy.stats import binomtest, norm, spearmanr
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from tasks.ensembles.calibration import LEVELS, area_by_chance, calibrate
from tasks.ensembles.class_calibration import calibrate_classes
from tasks.ensembles.estimates import Calibration, area_under_curve, mean_of, rank_correlation
from tasks.errors import NumericalError


def simulated(n: int, seed: int = 0, stated: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, their sds times `stated`, and measurements that the true sds scatter."""
    rng = np.random.default_rng(seed)
    mean, sd = rng.normal(0, 3, n), rng.gamma(4, 0.25, n)
    return mean, stated * sd, mean + sd * rng.normal(size=n)


def value(calibration: Calibration, name: str) -> float:
    found = calibration.metrics[name].value
    assert found is not None
    return found


# --- closed forms by integration ---


@pytest.mark.parametrize(("mean", "sd", "measured"), [(0.0, 1.0, 0.0), (1.0, 0.3, 2.1), (-4.0, 5.0, 3.0)])
def test_scores_are_the_integrals_that_define_them(mean: float, sd: float, measured: float) -> None:
    calibration = calibrate([mean], [sd], [measured])
    below = quad(lambda y: norm.cdf(y, mean, sd) ** 2, mean - 15 * sd, measured, epsabs=1e-11)[0]
    above = quad(lambda y: (1 - norm.cdf(y, mean, sd)) ** 2, measured, max(measured, mean) + 15 * sd, epsabs=1e-11)[0]
    assert value(calibration, "crps") == pytest.approx(below + above, abs=1e-7)
    assert value(calibration, "nll") == pytest.approx(-norm.logpdf(measured, mean, sd))


@pytest.mark.parametrize("stated", [0.4, 1.0, 2.5])
def test_area_is_what_a_fine_grid_approaches(stated: float) -> None:
    mean, sd, measured = simulated(60, stated=stated)
    grid = np.linspace(0, 1, 20_001)
    inside = np.abs(measured - mean) <= norm.ppf((1 + grid[:-1, None]) / 2) * sd
    expected = trapezoid(np.abs(np.append(inside.mean(axis=1), 1.0) - grid), grid)
    assert value(calibrate(mean, sd, measured), "miscalibration_area") == pytest.approx(expected, abs=2e-4)


def test_intervals_and_orders_are_those_of_scipy() -> None:
    mean, sd, measured = simulated(80)
    calibration = calibrate(mean, sd, measured, sd[::-1])
    error = np.abs(measured - mean)
    assert value(calibration, "rank_correlation") == pytest.approx(spearmanr(sd, error)[0])
    assert value(calibration, "rank_correlation_epistemic") == pytest.approx(spearmanr(sd[::-1], error)[0])
    held = int((error <= norm.ppf(0.95) * sd).sum())
    wilson = binomtest(held, 80).proportion_ci(0.95, method="wilson")
    found = calibration.metrics["coverage_90"]
    assert (found.value, found.low, found.high) == pytest.approx((held / 80, wilson.low, wilson.high))


# --- simulations ---


@pytest.fixture(scope="module")
def many() -> list[Calibration]:
    """Calibrated simulations of 150 measurements each."""
    return [calibrate(*simulated(150, seed)) for seed in range(300)]


def test_calibrated_predictions_show_nothing_but_chance() -> None:
    calibration = calibrate(*simulated(20_000))
    for level in (0.5, 0.8, 0.9, 0.95):
        assert value(calibration, f"coverage_{round(100 * level)}") == pytest.approx(level, abs=0.015)
    assert value(calibration, "miscalibration_area") < 3 * area_by_chance(20_000)
    assert value(calibration, "sharpness") == pytest.approx(value(calibration, "rmse"), rel=0.03)


@pytest.mark.parametrize("stated", [0.5, 2.0])
def test_an_sd_that_is_wrong_by_two_covers_as_the_normal_distribution_says(stated: float) -> None:
    calibration = calibrate(*simulated(20_000, stated=stated))
    for point in calibration.curve:
        expected = 2 * norm.cdf(stated * norm.ppf((1 + point.nominal) / 2)) - 1
        assert point.observed == pytest.approx(expected, abs=0.015)
    area = quad(lambda p: abs(2 * norm.cdf(stated * norm.ppf((1 + p) / 2)) - 1 - p), 0, 1)[0]
    assert value(calibration, "miscalibration_area") == pytest.approx(area, abs=0.01)
    honest = calibrate(*simulated(20_000))
    assert value(calibration, "nll") > value(honest, "nll")
    assert value(calibration, "crps") > value(honest, "crps")
    assert value(calibration, "rank_correlation") == pytest.approx(value(honest, "rank_correlation"))


def test_area_by_chance_is_the_mean_of_calibrated_simulations(many: list[Calibration]) -> None:
    areas = [value(one, "miscalibration_area") for one in many]
    assert np.mean(areas) == pytest.approx(area_by_chance(150), rel=0.1)


def test_intervals_hold_the_truth_as_often_as_they_say(many: list[Calibration]) -> None:
    truth = calibrate(*simulated(200_000))
    for name in ("coverage_90", "rmse", "mae", "crps", "nll", "sharpness", "rank_correlation"):
        true = 0.9 if name == "coverage_90" else value(truth, name)
        held = [one.metrics[name].low <= true <= one.metrics[name].high for one in many]
        assert np.mean(held) == pytest.approx(0.95, abs=0.045), name


# --- properties ---


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 40),
    seed=st.integers(0, 1000),
    unit=st.floats(1e-3, 1e3),
    shift=st.floats(-1e3, 1e3),
    order=st.randoms(use_true_random=False),
)
def test_units_shifts_and_order_change_only_what_carries_a_unit(n, seed, unit, shift, order) -> None:
    mean, sd, measured = simulated(n, seed)
    rows = list(range(n))
    order.shuffle(rows)
    before = calibrate(mean, sd, measured, sd)
    after = calibrate((unit * mean + shift)[rows], unit * sd[rows], (unit * measured + shift)[rows], unit * sd[rows])
    close = pytest.approx
    for name in before.metrics:
        old, new = value(before, name), value(after, name)
        if name in ("crps", "sharpness", "rmse", "mae"):
            assert new == close(unit * old, rel=1e-5)
        elif name == "nll":
            assert new == close(old + np.log(unit), abs=1e-4)
        elif name == "miscalibration_area":
            assert new == close(old, abs=1e-5)
        else:
            assert new == close(old, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 30), seed=st.integers(0, 1000), stated=st.floats(0.01, 100))
def test_whatever_the_data_the_numbers_stay_in_their_ranges(n: int, seed: int, stated: float) -> None:
    calibration = calibrate(*simulated(n, seed, stated))
    shares = [point.observed for point in calibration.curve]
    assert [point.nominal for point in calibration.curve] == list(LEVELS)
    assert shares == sorted(shares)
    assert all(0 <= point.low <= point.observed <= point.high <= 1 for point in calibration.curve)
    assert 0 <= value(calibration, "miscalibration_area") <= 0.5
    assert value(calibration, "crps") > 0
    assert value(calibration, "mae") <= value(calibration, "rmse") + 1e-12


# --- edges ---


def test_without_a_measurement_every_metric_says_so() -> None:
    for calibration in (calibrate([], [], [], []), calibrate_classes([], []), calibrate_classes(np.zeros((0, 3)), [])):
        assert calibration.n == 0
        assert calibration.curve == ()
        assert all(estimate.value is None and estimate.why for estimate in calibration.metrics.values())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_measurements_give_values_and_say_what_they_cannot_give(n: int) -> None:
    metrics = calibrate(*simulated(n), np.ones(n)).metrics
    assert metrics["rmse"].value is not None
    assert (metrics["rmse"].low is None) == (n == 1)
    assert (metrics["rank_correlation"].value is None) == (n == 1)
    assert metrics["rank_correlation"].low is None
    assert metrics["rank_correlation_epistemic"].value is None
    for estimate in metrics.values():
        assert estimate.why or None not in (estimate.value, estimate.low, estimate.high)


def test_an_sd_of_zero_is_a_point_without_density() -> None:
    calibration = calibrate([1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [1.0, 3.0, 1.0])
    assert value(calibration, "coverage_95") == pytest.approx(2 / 3)
    assert calibration.metrics["nll"].why == "2 of 3 sds are zero: no density"
    assert value(calibrate([1.0], [0.0], [3.0]), "crps") == 2.0
    assert value(calibrate([1.0], [1e-12], [3.0]), "crps") == pytest.approx(2.0)


def test_constant_columns_have_no_order() -> None:
    calibration = calibrate([0.0] * 5, [1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    assert calibration.metrics["rank_correlation"].why == "all sds are equal"
    assert calibration.metrics["rank_correlation_epistemic"].value == pytest.approx(1.0)
    assert "without exception" in calibration.metrics["rank_correlation_epistemic"].why
    flat = calibrate([0.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], [2.0] * 5)
    assert flat.metrics["rank_correlation"].why == "all errors are equal"
    assert (flat.metrics["rmse"].low, flat.metrics["rmse"].high) == (2.0, 2.0)
    assert calibrate([1.0, 2.0], [1.0, 1.0], [1.0, 2.0]).metrics["rmse"].value == 0.0


def test_json_holds_every_number_and_nothing_that_json_lacks() -> None:
    for calibration in (
        calibrate(*simulated(30)),
        calibrate([0.0], [0.0], [1.0]),
        calibrate_classes([0.0, 1.0], [1, 1]),
    ):
        found = json.loads(json.dumps(calibration.to_json(), allow_nan=False))
        assert found["n"] == calibration.n
        assert list(found["metrics"]) == list(calibration.metrics)
        assert len(found["curve"]) == len(calibration.curve)
        for name, estimate in calibration.metrics.items():
            assert found["metrics"][name]["value"] == estimate.value


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0.0], [1.0, 1.0], [0.0]), "different lengths"),
        (([0.0], [-1.0], [0.0]), "sd is below zero"),
        (([0.0], [1.0], [np.nan]), "measured must be one column of finite numbers"),
        (([[0.0]], [1.0], [0.0]), "predicted must be one column"),
        (([0.0], [1.0], [0.0], [-0.1]), "sd is below zero"),
    ],
)
def test_columns_that_cannot_be_used_are_refused(columns: tuple[list[float], ...], message: str) -> None:
    with pytest.raises(NumericalError, match=message):
        calibrate(*columns)


# --- classes ---


def test_scores_of_classes_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(0.7, 0.7, 200)
    y = (rng.random(200) < p).astype(int)
    calibration = calibrate_classes(p, y)
    assert value(calibration, "nll") == pytest.approx(log_loss(y, p))
    assert value(calibration, "brier") == pytest.approx(brier_score_loss(y, p))
    assert value(calibration, "accuracy") == pytest.approx(np.mean((p > 0.5) == y))
    right = (p > 0.5) == y
    assert value(calibration, "auroc") == pytest.approx(roc_auc_score(right, np.abs(p - 0.5)))
    assert calibration.kind == "binary"


def test_two_classes_given_in_full_score_as_one_probability() -> None:
    rng = np.random.default_rng(1)
    p, y = rng.random(50), rng.integers(0, 2, 50)
    one, full = calibrate_classes(p, y), calibrate_classes(np.stack([1 - p, p], axis=1), y)
    for name in ("accuracy", "nll", "auroc"):
        assert value(one, name) == pytest.approx(value(full, name))
    assert value(full, "brier") == pytest.approx(2 * value(one, "brier"))  # summed over both classes


def test_expected_calibration_error_by_hand() -> None:
    p = np.array([0.05, 0.05, 0.85, 0.85, 0.85, 0.85])
    calibration = calibrate_classes(p, [0, 1, 1, 1, 1, 0])  # bins: 0.05 against 1/2, 0.85 against 3/4
    assert value(calibration, "expected_calibration_error") == pytest.approx((2 * 0.45 + 4 * 0.1) / 6)
    assert [(round(c.nominal, 2), c.observed, c.n) for c in calibration.curve] == [(0.05, 0.5, 2), (0.85, 0.75, 4)]


@pytest.mark.parametrize("classes", [2, 4])
def test_calibrated_probabilities_have_no_error_and_sharpened_ones_do(classes: int) -> None:
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(classes), 20_000)
    y = (p.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1).clip(max=classes - 1)
    sharp = p**2 / (p**2).sum(axis=1, keepdims=True)
    honest, sure = calibrate_classes(p, y), calibrate_classes(sharp, y)
    assert honest.kind == "multi-class"
    assert value(honest, "expected_calibration_error") < 0.02 < value(sure, "expected_calibration_error")
    assert value(honest, "nll") < value(sure, "nll")
    assert value(honest, "brier") < value(sure, "brier")
    assert value(honest, "accuracy") == value(sure, "accuracy")


def test_class_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)

    def drawn(n: int) -> Calibration:
        p = rng.beta(1.0, 1.0, n)
        return calibrate_classes(p, rng.random(n) < p)

    truth = {"accuracy": 0.75, "brier": 1 / 6, "nll": 0.5, "auroc": value(drawn(200_000), "auroc")}
    found = [drawn(200).metrics for _ in range(300)]
    for name, true in truth.items():
        assert np.mean([m[name].low <= true <= m[name].high for m in found]) == pytest.approx(0.95, abs=0.045)


def test_probability_zero_of_what_was_measured_has_no_log() -> None:
    metrics = calibrate_classes([0.0, 1.0, 1.0], [1, 1, 1]).metrics
    assert metrics["nll"].why == "1 measured classes had been given probability 0"
    assert metrics["auroc"].value == 0.5
    assert calibrate_classes([0.9, 0.9], [1, 1]).metrics["auroc"].why == "all are alike: nothing to tell apart"


@pytest.mark.parametrize(
    ("probability", "measured", "message"),
    [
        ([0.5, 0.5], [1], "do not agree"),
        ([1.2], [1], "not between 0 and 1"),
        ([np.nan], [1], "not between 0 and 1"),
        ([0.5], [2], "none of 0 to 1"),
        ([[0.5, 0.2, 0.2]], [1], "do not sum to 1"),
    ],
)
def test_what_is_no_probability_or_no_class_is_refused(probability: object, measured: object, message: str) -> None:
    with pytest.raises(NumericalError, match=message):
        calibrate_classes(probability, measured)


# --- estimates ---


def test_an_order_that_tells_everything_apart_has_no_interval() -> None:
    found = area_under_curve(np.arange(6.0), np.arange(6) > 2)
    assert (found.value, found.low) == (1.0, None)
    assert "without exception" in found.why


def test_estimates_of_nothing() -> None:
    assert mean_of(np.array([])).value is None
    assert rank_correlation(np.array([1.0]), np.array([1.0])).why == "fewer than 2 measurements"
