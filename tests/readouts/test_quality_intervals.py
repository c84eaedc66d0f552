"""Z′ and SSMD against other implementations, their intervals, and plates on which they cannot be had."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation

from tasks.campaigns.config import QualitySection
from tasks.readouts.quality import Metric, PlateQuality, assess_plate
from tasks.readouts.quality.bootstrap import FEWEST_WELLS, bootstrap_intervals
from tasks.readouts.robust import control_moments

OPEN = QualitySection(min_zprime=None, min_ssmd=None, max_missing=1.0)
ONE_EACH = {"negcon": 1, "poscon": 1}


def _metric(verdict: PlateQuality, name: str) -> Metric:
    found = verdict.metric(name)
    assert found is not None, name
    return found


def _controls(wells: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    return wells.loc[wells["role"] == "negcon", "value"], wells.loc[wells["role"] == "poscon", "value"]


# --- agreement ---


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [3, 8, 16])
def test_zprime_and_ssmd_agree_with_scipy(make_wells, seed, n):
    wells = make_wells(seed, negcon=n, poscon=n + 1, noise=1.5)
    negcon, poscon = _controls(wells)
    low, high = (median_abs_deviation(v, scale=1 / 1.4826) for v in (negcon, poscon))
    gap = abs(negcon.median() - poscon.median())
    verdict = assess_plate(wells, OPEN)
    assert _metric(verdict, "zprime").value == pytest.approx(1 - 3 * (low + high) / gap, rel=1e-6)
    assert _metric(verdict, "ssmd").value == pytest.approx(gap / np.hypot(low, high), rel=1e-6)


def test_zprime_agrees_with_the_robust_scaling_of_pycytominer(make_wells):
    """Scaled by RobustMAD on one control, the other's centre and spread are gap/s and ratio of spreads."""
    transform = pytest.importorskip("pycytominer.operations.transform")
    wells = make_wells(3, noise=2.0)
    negcon, poscon = (pd.DataFrame({"value": values.to_numpy()}) for values in _controls(wells))
    scaled = transform.RobustMAD(epsilon=0.0).fit(negcon).transform(poscon)["value"]
    other = transform.RobustMAD(epsilon=0.0).fit(poscon)
    ratio = float(other.mad["value"]) / float(transform.RobustMAD(epsilon=0.0).fit(negcon).mad["value"])
    expected = 1 - 3 * (1 + ratio) / abs(float(scaled.median()))
    assert _metric(assess_plate(wells, OPEN), "zprime").value == pytest.approx(expected, rel=1e-6)


def test_robust_and_classical_zprime_agree_where_there_are_many_normal_wells(make_wells):
    wells = make_wells(5, negcon=150, poscon=150, noise=0.8)
    negcon, poscon = _controls(wells)
    classical = 1 - 3 * (negcon.std() + poscon.std()) / abs(negcon.mean() - poscon.mean())
    assert _metric(assess_plate(wells, OPEN), "zprime").value == pytest.approx(classical, abs=0.06)


# --- intervals ---


def test_interval_encloses_the_value_and_narrows_with_wells(make_wells):
    few, many = (assess_plate(make_wells(1, negcon=n, poscon=n), OPEN) for n in (8, 128))
    for name in ("zprime", "ssmd"):
        for verdict in (few, many):
            metric = _metric(verdict, name)
            assert metric.low < metric.value < metric.high
        assert _metric(many, name).high - _metric(many, name).low < 0.5 * (
            _metric(few, name).high - _metric(few, name).low
        )


def test_interval_does_not_depend_on_the_order_of_wells_or_on_other_wells(make_wells):
    wells = make_wells(2)
    shuffled = wells.sample(frac=1.0, random_state=0)
    longer = make_wells(2, samples=0)
    assert assess_plate(shuffled, OPEN) == assess_plate(wells, OPEN)
    longer["value"] = wells["value"].iloc[: len(longer)]
    assert _metric(assess_plate(longer, OPEN), "zprime") == _metric(assess_plate(wells, OPEN), "zprime")


def test_a_wider_level_gives_a_wider_interval_and_the_reason_names_it(make_wells):
    wells = make_wells(4)
    narrow, wide = (_metric(assess_plate(wells, QualitySection(interval=level)), "zprime") for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert narrow.value == wide.value
    assert "interval of 50%" in narrow.reason
    assert "16 poscon against 16 negcon wells" in narrow.reason


@pytest.mark.parametrize(("negcon", "poscon"), [(FEWEST_WELLS - 1, 16), (16, FEWEST_WELLS - 1)])
def test_too_few_wells_have_a_value_but_no_interval(make_wells, negcon, poscon):
    metric = _metric(assess_plate(make_wells(negcon=negcon, poscon=poscon), QualitySection()), "zprime")
    assert metric.value is not None
    assert (metric.low, metric.high) == (None, None)
    assert "interval not possible with n < 8 of a control" in metric.reason


def test_controls_of_few_different_values_have_no_interval(make_wells):
    wells = make_wells(negcon=8, poscon=8)
    for role, centre in (("negcon", 0.0), ("poscon", 2.0)):
        wells.loc[wells["role"] == role, "value"] = [centre + step for step in (0, 0, 0, 2, 2, 2, 2, 4)]
    metric = _metric(assess_plate(wells, OPEN), "zprime")
    assert (metric.low, metric.high) == (None, None)
    assert "too few different values" in metric.reason


def _coverage(n: int, plates: int) -> float:
    """Share of plates of an assay with Z′ = 0.5 whose 95% interval holds it."""
    rng = np.random.default_rng(n)
    held = 0
    for _ in range(plates):
        low, high = rng.standard_normal(n), 12.0 + rng.standard_normal(n)
        found = bootstrap_intervals(low, high, 0.95).zprime
        held += found is not None and found[0] <= 0.5 <= found[1]
    return held / plates


def test_interval_holds_its_level_from_the_fewest_wells_on_and_not_below():
    assert _coverage(FEWEST_WELLS, 400) > 0.89
    assert _coverage(16, 400) > 0.94
    assert _coverage(4, 400) < 0.75


def test_json_written_before_intervals_existed_is_still_read(make_wells):
    verdict = assess_plate(make_wells(), OPEN).model_dump(mode="json")
    for metric in verdict["metrics"]:
        del metric["low"], metric["high"]
    assert PlateQuality.model_validate(verdict).metric("zprime").low is None


# --- one control of each kind ---


def test_one_control_of_each_kind_tells_that_it_is_too_few_and_what_it_costs(make_wells):
    verdict = assess_plate(make_wells(**ONE_EACH), QualitySection(), min_controls=1)
    assert verdict.passed
    for name in ("zprime", "ssmd"):
        metric = _metric(verdict, name)
        assert (metric.value, metric.verdict) == (None, "INFO")
        assert "1 negcon well on the plate map is too few" in metric.reason
    cost = _metric(verdict, "control_cost")
    assert (cost.value, cost.verdict) == (1.0, "INFO")
    assert "± 1.00 of one well's noise" in cost.reason
    assert "16 wells would leave ± 0.30" in cost.reason


def test_one_control_left_of_many_planned_fails(make_wells):
    wells = make_wells(negcon=4)
    wells.loc[wells.index[wells["role"] == "negcon"][1:], "value"] = np.nan
    verdict = assess_plate(wells, QualitySection(), min_controls=1)
    assert _metric(verdict, "zprime").verdict == "FAIL"
    assert not verdict.passed


@pytest.mark.parametrize("n", [2, 4, 16, 40])
def test_control_cost_is_the_error_of_the_level(make_wells, n):
    medians = np.median(np.random.default_rng(n).standard_normal((20_000, n)), axis=1)
    value = _metric(assess_plate(make_wells(negcon=n), OPEN), "control_cost").value
    assert value == pytest.approx(medians.std(), rel=0.04)
    assert value == np.sqrt(control_moments(n).median_variance)


def test_control_cost_without_a_control_says_so(make_wells):
    metric = _metric(assess_plate(make_wells(negcon=0), OPEN), "control_cost")
    assert (metric.value, metric.verdict) == (None, "INFO")


# --- CV of logs ---


@pytest.mark.parametrize(("transform", "log"), [("log2", np.log2), ("log10", np.log10)])
def test_cv_is_that_of_before_the_log(make_wells, transform, log):
    wells = make_wells(7, negcon=150)
    is_negcon = wells["role"] == "negcon"
    wells.loc[is_negcon, "value"] = np.exp(0.2 * wells.loc[is_negcon, "value"] + 9)
    logs = wells.assign(value=log(wells["value"].clip(lower=1e-9)))
    before = _metric(assess_plate(wells, OPEN), "negcon_cv")
    after = _metric(assess_plate(logs, OPEN, transform=transform), "negcon_cv")
    assert after.value == pytest.approx(before.value, rel=0.06)
    assert transform in after.reason


# --- plates that were not measured ---


def test_a_constant_plate_fails_even_with_one_control_of_each_kind(make_wells):
    verdict = assess_plate(make_wells(**ONE_EACH).assign(value=7.0), OPEN, min_controls=1)
    assert verdict.reasons == ("plate_spread: all 22 wells read 7: instrument or export error?",)


def test_a_plate_without_any_value_fails(make_wells):
    verdict = assess_plate(make_wells().assign(value=np.nan), QualitySection())
    assert {"missing", "negcon_wells", "poscon_wells", "negcon_spread", "zprime", "ssmd"} == {
        reason.split(":")[0] for reason in verdict.reasons
    }


def test_wells_of_role_other_are_used_nowhere(make_wells):
    wells = make_wells(samples=30)
    other = wells[wells["role"] == "sample"].head(3).assign(role="other", value=[1e6, np.nan, -1e6], perturbation="")
    moved = other.assign(row=9, column=[0, 1, 2], well=["J01", "J02", "J03"])
    assert assess_plate(pd.concat([wells, moved], ignore_index=True), OPEN, fmt=384) == assess_plate(
        wells, OPEN, fmt=384
    )


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_whatever_the_values_nothing_but_numbers_and_reasons_comes_out(make_wells, data):
    wells = make_wells(negcon=3, poscon=3, samples=12)
    number = st.one_of(st.just(np.nan), st.sampled_from([0.0, -0.0, 1.0, 5e-324, 1.7e308, -1.7e308]), st.floats(-9, 9))
    wells["value"] = data.draw(st.lists(number, min_size=len(wells), max_size=len(wells)))
    for transform in ("none", "log2"):
        verdict = assess_plate(wells, QualitySection(), fmt=384, transform=transform, min_controls=1)
        assert PlateQuality.model_validate_json(verdict.model_dump_json()) == verdict
        assert all(metric.reason for metric in verdict.metrics)
        assert all(metric.value is None or np.isfinite(metric.value) for metric in verdict.metrics)
