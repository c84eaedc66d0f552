from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.campaigns.config import QualitySection
from tasks.errors import UserError
from tasks.readouts.quality import Metric, PlateQuality, assess_plate, judge_directions

OPEN = QualitySection(min_zprime=None, min_ssmd=None, max_missing=1.0)


def _metric(verdict: PlateQuality, name: str) -> Metric:
    (found,) = (metric for metric in verdict.metrics if metric.name == name)
    return found


def _with_values(wells: pd.DataFrame, role: str, values: list[float]) -> pd.DataFrame:
    wells = wells.copy()
    wells.loc[wells["role"] == role, "value"] = values
    return wells


def test_zprime_ssmd_cv_and_range_by_hand(make_wells):
    wells = make_wells(negcon=5, poscon=5)
    wells = _with_values(wells, "negcon", [98.0, 99.0, 100.0, 102.0, 500.0])  # median 100, MAD 2
    wells = _with_values(wells, "poscon", [7.0, 9.0, 10.0, 11.0, 40.0])  # median 10, MAD 1
    verdict = assess_plate(wells, OPEN)
    assert _metric(verdict, "zprime").value == pytest.approx(1 - 3 * 1.4826 * 3 / 90)
    assert _metric(verdict, "ssmd").value == pytest.approx(90 / (1.4826 * np.sqrt(5)))
    assert _metric(verdict, "negcon_cv").value == pytest.approx(1.4826 * 2 / 100)
    assert _metric(verdict, "dynamic_range").value == pytest.approx(90)


@settings(deadline=None, max_examples=30)
@given(shift=st.floats(-1e3, 1e3), factor=st.floats(0.01, 100), sign=st.sampled_from([-1, 1]))
def test_metrics_do_not_depend_on_the_instruments_unit(make_wells, shift, factor, sign):
    wells = make_wells(samples=100)
    moved = wells.assign(value=shift + sign * factor * wells["value"])
    after, before = (assess_plate(table, OPEN) for table in (moved, wells))
    for name in ("zprime", "ssmd", "row_effect", "column_effect"):
        assert _metric(after, name).value == pytest.approx(_metric(before, name).value, rel=1e-6, abs=1e-9)


def test_a_plate_passes_at_its_thresholds_and_fails_beyond_them(make_wells):
    wells = make_wells()
    zprime = _metric(assess_plate(wells, OPEN), "zprime").value
    at = assess_plate(wells, QualitySection(min_zprime=zprime, min_ssmd=None))
    beyond = assess_plate(wells, QualitySection(min_zprime=np.nextafter(zprime, 1), min_ssmd=None))
    assert at.passed
    assert at.reasons == ()
    assert not beyond.passed
    assert beyond.reasons[0].startswith("zprime:")
    assert "below" in beyond.reasons[0]


def test_without_planned_poscon_zprime_is_information(make_wells):
    verdict = assess_plate(make_wells(poscon=0), QualitySection())
    assert verdict.passed
    for name in ("zprime", "ssmd"):
        metric = _metric(verdict, name)
        assert (metric.verdict, metric.value) == ("INFO", None)
        assert "no poscon" in metric.reason


def test_planned_poscon_without_values_fails(make_wells):
    verdict = assess_plate(_with_values(make_wells(), "poscon", [np.nan] * 16), QualitySection(max_missing=1.0))
    assert _metric(verdict, "zprime").verdict == "FAIL"
    assert _metric(verdict, "poscon_wells").verdict == "FAIL"


@pytest.mark.parametrize("role", ["negcon", "poscon"])
def test_controls_without_spread_fail_with_a_reason_instead_of_a_number(make_wells, role):
    verdict = assess_plate(_with_values(make_wells(), role, [7.0] * 16), QualitySection())
    for name in ("zprime", "ssmd"):
        metric = _metric(verdict, name)
        assert (metric.verdict, metric.value) == ("FAIL", None)
        assert f"MAD of {role} is 0" in metric.reason


def test_negcon_without_spread_fails_whatever_the_thresholds(make_wells):
    verdict = assess_plate(_with_values(make_wells(poscon=0), "negcon", [7.0] * 16), OPEN)
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["negcon_spread"]


def test_equal_medians_fail(make_wells):
    wells = make_wells(negcon=3, poscon=3)
    wells = _with_values(_with_values(wells, "negcon", [1.0, 2.0, 3.0]), "poscon", [0.0, 2.0, 4.0])
    metric = _metric(assess_plate(wells, QualitySection()), "zprime")
    assert (metric.verdict, metric.value) == ("FAIL", None)


def test_negcon_around_zero_has_no_cv(make_wells):
    wells = _with_values(make_wells(negcon=3), "negcon", [-1.0, 0.0, 1.0])
    metric = _metric(assess_plate(wells, QualitySection(max_negcon_cv=0.2)), "negcon_cv")
    assert (metric.verdict, metric.value) == ("FAIL", None)
    assert "median of negcon is 0" in metric.reason


def test_missing_share_counts_used_wells(make_wells):
    wells = make_wells(samples=68)  # 100 used wells
    wells.loc[wells["role"] == "sample", "value"] = wells["value"].where(np.arange(len(wells)) >= 38)
    verdict = assess_plate(wells, QualitySection())
    assert _metric(verdict, "missing").value == pytest.approx(0.06)
    assert verdict.reasons == ("missing: 0.06 is above 0.05: B09, B10, B11, B12, B13, B14",)


def test_too_few_controls_fail(make_wells):
    wells = make_wells(negcon=3)
    assert _metric(assess_plate(wells, OPEN, min_controls=3), "negcon_wells").verdict == "PASS"
    assert _metric(assess_plate(wells, OPEN, min_controls=4), "negcon_wells").verdict == "FAIL"


def test_row_effect_finds_a_gradient_and_nothing_else(make_wells):
    rng = np.random.default_rng(1)
    wells = make_wells(samples=352)
    wells["value"] = rng.standard_normal(len(wells))
    tilted = wells.assign(value=wells["value"] + 0.5 * wells["row"])
    verdict = assess_plate(tilted, OPEN)
    assert _metric(verdict, "row_effect").value > 0.6
    assert _metric(verdict, "column_effect").value < 0.1
    assert _metric(verdict, "row_effect").verdict == "INFO"
    chance = []
    for _ in range(50):
        wells["value"] = rng.standard_normal(len(wells))
        chance.append(_metric(assess_plate(wells, OPEN), "row_effect").value)
    assert np.mean(chance) < 0.03


def test_row_effect_of_equal_or_few_samples_says_why(make_wells):
    few = _metric(assess_plate(make_wells(samples=3), OPEN), "row_effect")
    equal = make_wells(samples=60)
    equal.loc[equal["role"] == "sample", "value"] = 1.0
    assert (few.value, few.verdict) == (None, "INFO")
    assert "all sample wells are equal" in _metric(assess_plate(equal, OPEN), "row_effect").reason


def test_json_round_trip(make_wells):
    verdict = assess_plate(make_wells(poscon=0), QualitySection())
    assert PlateQuality.model_validate_json(verdict.model_dump_json()) == verdict


def test_several_plates_at_once_are_refused(make_wells):
    with pytest.raises(UserError, match="2 plate attempts"):
        assess_plate(make_wells(offsets=(0.0, 1.0)), OPEN)


def _swapped(wells: pd.DataFrame) -> pd.DataFrame:
    return wells.assign(role=wells["role"].replace({"negcon": "poscon", "poscon": "negcon"}))


def _verdicts(make_wells, signs: list[int], **options: object) -> list[PlateQuality]:
    """Good plates, the poscon above (1) or below (-1) the negcon, or without poscon (0)."""
    plates = []
    for number, sign in enumerate(signs):
        wells = make_wells(seed=number, poscon=16 if sign else 0).assign(barcode=f"Q{number}")
        plates.append(assess_plate(_swapped(wells) if sign < 0 else wells, QualitySection(**options)))
    return plates


def test_direction_is_the_side_of_the_poscon(make_wells):
    wells = make_wells(negcon=3, poscon=3)
    equal = _with_values(_with_values(wells, "negcon", [1.0, 2.0, 3.0]), "poscon", [0.0, 2.0, 4.0])
    unread = _with_values(wells, "poscon", [np.nan] * 3)
    tables = [wells, _swapped(wells), equal, unread, make_wells(poscon=0)]
    assert [assess_plate(table, OPEN).direction for table in tables] == [1, -1, 0, 0, 0]


@pytest.mark.parametrize("usual", [1, -1])
def test_a_plate_with_swapped_controls_passes_alone_but_not_among_others(make_wells, usual):
    plates = _verdicts(make_wells, [usual, -usual, 0, usual])
    assert all(plate.passed for plate in plates)
    judged = judge_directions(plates, None)
    assert [plate.passed for plate in judged] == [True, False, True, True]
    assert [judged[i] for i in (0, 2, 3)] == [plates[i] for i in (0, 2, 3)]
    metric = _metric(judged[1], "control_direction")
    assert (metric.value, metric.verdict, metric.n, metric.threshold) == (-usual, "FAIL", 32, usual)
    side, other = ("below", "above") if usual == 1 else ("above", "below")
    expected = f"reads {side} the negative control, on most plates {other}: controls swapped or plate turned? repeat"
    assert expected in judged[1].reasons[0]
    assert PlateQuality.model_validate_json(judged[1].model_dump_json()) == judged[1]
    assert judge_directions(judged, None) == judged


@pytest.mark.parametrize(("reads", "passed"), [("higher", [False, True, False]), ("lower", [True, False, True])])
def test_the_configured_direction_outvotes_the_majority(make_wells, reads, passed):
    judged = judge_directions(_verdicts(make_wells, [-1, 1, -1]), reads)
    assert [plate.passed for plate in judged] == passed
    wrong = judged[passed.index(False)]
    assert f"quality.poscon_reads is {reads}" in wrong.reasons[0]


def test_without_majority_every_plate_with_a_direction_fails(make_wells):
    judged = judge_directions(_verdicts(make_wells, [1, 0, -1]), None)
    assert [plate.passed for plate in judged] == [False, True, False]
    assert all("set quality.poscon_reads" in judged[i].reasons[0] for i in (0, 2))
    assert judge_directions(_verdicts(make_wells, [0, 0]), None) == _verdicts(make_wells, [0, 0])


def test_plates_that_failed_have_no_vote_and_stay_as_they_are(make_wells):
    failed = _verdicts(make_wells, [-1, -1], min_ssmd=1e6)
    good = _verdicts(make_wells, [1])
    assert judge_directions([*failed, *good], None) == [*failed, *good]
