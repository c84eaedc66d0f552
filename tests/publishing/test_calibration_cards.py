"""Calibration in the report and in the file beside it: what is judged, what is said of it, what must not be told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.ensembles.calibration import calibrate
from tasks.publishing.calibration_data import Judged, calibration_file, judge
from tasks.publishing.cards.accuracy import error_by_arm, learning_card
from tasks.publishing.cards.calibration import FEWEST, calibration_card
from tasks.publishing.cards.calibration_course import course_card
from tasks.publishing.cards.parts import Card
from tasks.publishing.report_data import ReportData

Make = Callable[..., ReportData]


@pytest.fixture(scope="module")
def data(report_data: Make) -> ReportData:
    return report_data()


def table_of(measured: np.ndarray, arm: object = "random", round_index: int = 3, sd: float = 1.0) -> pd.DataFrame:
    """Residuals of a model that always predicts 0."""
    columns = {"perturbation": "x", "predicted": 0.0, "sd": sd, "epistemic": sd, "measured": measured, "arm": arm}
    return pd.DataFrame(columns | {"round": round_index})


def judged_on(data: ReportData, forward: pd.DataFrame | None, screen: pd.DataFrame | None = None) -> ReportData:
    """The report of these residuals; without a screen nothing but them is judged."""
    screen = data.screen.iloc[:0] if screen is None else screen
    return replace(data, forward=forward, calibration=judge(forward, screen, data.kind, data.round_index))


def cells(card: Card) -> dict[str, list[str]]:
    """Text of the columns of the metrics by the beginning of their row."""
    return {row[0].text: [cell.text for cell in row[1:]] for row in card.tables[0].rows}


# --- what is judged ---


def test_each_arm_of_each_round_is_judged_on_its_own_residuals(data: ReportData) -> None:
    assert data.forward is not None
    groups = {(one.round_index, one.group) for one in data.calibration}
    assert groups == {(r, arm) for r in (1, 2, 3) for arm in ("random", "strategy")} | {(3, "screen")}
    for one in data.calibration:
        if one.group == "screen":
            continue
        mine = data.forward[(data.forward["round"] == one.round_index) & (data.forward["arm"] == one.group)]
        assert one.calibration == calibrate(mine["predicted"], mine["sd"], mine["measured"], mine["epistemic"])


def test_the_screen_is_judged_at_hidden_audit_members_with_its_bias_and_the_noise_of_their_labels(
    data: ReportData,
) -> None:
    found = next(one.calibration for one in data.calibration if one.group == "screen")
    hidden = data.screen[data.screen["audit"]]
    sd = np.sqrt(hidden["epistemic"] ** 2 + hidden["bias"] ** 2 + hidden["standard_error"] ** 2)
    inside = np.abs(hidden["measured"] - hidden["predicted"]) <= 1.6448536 * sd
    assert found.n == len(hidden)
    assert found.metrics["coverage_90"].value == pytest.approx(inside.mean())


def test_rows_without_a_measurement_and_empty_groups_are_left_out(data: ReportData) -> None:
    forward = table_of(np.array([1.0, np.nan, 2.0]), ["random", "strategy", "random"])
    found = judge(forward, data.screen.iloc[:0], "continuous", 3)
    assert [(one.group, one.calibration.n) for one in found] == [("random", 2)]
    assert judge(None, data.screen.iloc[:0], "continuous", 0) == ()


def test_order_of_the_rows_does_not_matter(data: ReportData) -> None:
    assert data.forward is not None
    shuffled = data.forward.sample(frac=1.0, random_state=1)
    again = judge(shuffled, data.screen.sample(frac=1.0, random_state=1), data.kind, data.round_index)
    assert [(one.round_index, one.group) for one in again] == [(one.round_index, one.group) for one in data.calibration]
    for one, other in zip(again, data.calibration, strict=True):
        assert one.calibration.metrics["crps"].value == pytest.approx(other.calibration.metrics["crps"].value)


# --- the file ---


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_the_file_holds_what_the_report_shows_and_no_perturbation(report_data: Make, kind: str) -> None:
    data = report_data(kind=kind)
    text = calibration_file(data.calibration)
    found = json.loads(text)
    assert found["confidence"] == 0.95
    assert [(one["round"], one["group"]) for one in found["groups"]] == [
        (one.round_index, one.group) for one in data.calibration
    ]
    assert set(found["meaning"]) >= {one["group"] for one in found["groups"]}
    for one, told in zip(data.calibration, found["groups"], strict=True):
        assert told["calibration"] == json.loads(json.dumps(one.calibration.to_json()))
    assert not any(name in text for name in data.screen.index)
    hidden = data.screen.loc[data.screen["audit"], "measured"]
    assert kind == "binary" or not any(repr(value) in text for value in hidden)


def test_the_file_of_a_first_round_without_audit_is_empty_but_valid() -> None:
    assert json.loads(calibration_file(()))["groups"] == []


# --- the card ---


@pytest.mark.parametrize(
    ("scale", "words"),
    [(3.0, "too sure of itself"), (0.2, "more careful than it needs"), (1.0, "as promised, within chance.")],
)
def test_calibration_is_judged(data: ReportData, scale: float, words: str) -> None:
    measured = scale * np.random.default_rng(2).normal(size=300)
    assert words in calibration_card(judged_on(data, table_of(measured))).finding


def test_coverage_is_counted_inside_the_central_interval(data: ReportData) -> None:
    measured = np.array([1.0] * 9 + [1.7])  # 1.7 sd lies outside the 90% interval, 1.0 inside the 70% one
    card = calibration_card(judged_on(data, table_of(measured, "strategy")))
    assert card.finding == "90% intervals held 90% on strategic picks: as promised, within chance."
    line = next(trace for trace in card.figures[1].spec["data"] if trace.get("name") == "strategic picks")
    held = dict(zip(line["x"], line["y"], strict=True))
    assert (held[0.65], held[0.7], held[0.9], held[0.95]) == (0.0, 0.9, 0.9, 1.0)


def test_groups_that_differ_are_told_apart(data: ReportData) -> None:
    rng = np.random.default_rng(3)
    measured = np.concatenate([rng.normal(size=200), 4 * rng.normal(size=200)])
    card = calibration_card(judged_on(data, table_of(measured, np.repeat(["random", "strategy"], 200))))
    assert "on the random control (as promised, within chance)" in card.finding
    assert "on strategic picks (fewer than promised)" in card.finding
    assert "too sure" not in card.finding  # the control is what speaks for the model


def test_the_table_says_every_metric_with_its_interval_and_how_to_read_it(data: ReportData) -> None:
    card = calibration_card(data)
    judged = [one for one in data.calibration if one.round_index == 3]
    assert card.tables[0].headers == ("metric", "random control", "strategic picks", "this screen")
    assert len(card.tables[0].rows) == 1 + len(judged[0].calibration.metrics)
    assert all(row[0].note.endswith(".") for row in card.tables[0].rows)
    shown = cells(card)
    assert shown["measurements"] == [str(one.calibration.n) for one in judged]
    for one, text in zip(judged, shown["inside 90% intervals"], strict=True):
        assert text == f"{100 * (one.calibration.metrics['coverage_90'].value or 0):.0f}%"
    row = next(row for row in card.tables[0].rows if row[0].text == "RMSE [log mol/L]")
    assert all(" to " in cell.note for cell in row[1:])


def test_too_few_are_told_but_not_drawn(data: ReportData) -> None:
    card = calibration_card(judged_on(data, table_of(np.array([0.5, 1.0]))))
    assert card.finding.startswith("Only 2 measurements")
    assert [figure.key for figure in card.figures] == ["forward"]
    row = next(row for row in card.tables[0].rows if row[0].text == "rank correlation, sd and error")
    assert (row[1].text, row[1].hint) == ("–", "All sds are equal.")


def test_the_first_round_judges_the_screen_alone(data: ReportData) -> None:
    card = calibration_card(judged_on(data, None, data.screen))
    assert card.missing == ""
    assert [figure.key for figure in card.figures] == ["coverage"]
    assert "on this screen" in card.finding


def test_classes_have_their_own_metrics(report_data: Make) -> None:
    card = calibration_card(report_data(kind="binary"))
    assert card.finding.startswith("Predicted rightly: the random control ")
    shown = cells(card)
    assert {"predicted rightly", "log loss", "Brier score", "AUROC of confidence"} <= set(shown)
    assert not any("interval" in name for name in shown)
    curves = [trace["name"] for trace in card.figures[1].spec["data"] if trace.get("name")]
    assert curves == ["as promised", "strategic picks", "this screen"]  # 16 random ones are too few for ten bins
    keys = [figure.key for figure in course_card(report_data(kind="binary")).figures]
    assert keys == ["course-expected_calibration_error", "course-nll", "course-auroc"]


# --- the course over the rounds ---


def test_the_course_shows_each_round_and_arm(data: ReportData) -> None:
    card = course_card(data)
    assert [figure.key for figure in card.figures] == ["course-coverage_90", "course-crps", "course-rank_correlation"]
    traces = {trace["name"]: trace for trace in card.figures[1].spec["data"]}
    for group, name in (("random", "random control"), ("strategy", "strategic picks")):
        found = [one.calibration.metrics["crps"] for one in data.calibration if one.group == group]
        assert traces[name]["x"] == ["R1", "R2", "R3"]
        assert traces[name]["y"] == pytest.approx([estimate.value for estimate in found], rel=1e-5)
        assert traces[name]["error_y"]["array"] == pytest.approx([one.high - one.value for one in found], rel=1e-4)
    assert card.finding.startswith("From round 1 to 3, random control: inside 90% intervals ")


def test_small_groups_and_the_screen_are_no_part_of_the_course(data: ReportData) -> None:
    rng = np.random.default_rng(4)
    few = [table_of(rng.normal(size=FEWEST - 1), "random", number) for number in (1, 2, 3)]
    many = [table_of(rng.normal(size=50), "strategy", number, 0.5) for number in (2, 3)]
    card = course_card(judged_on(data, pd.concat([*few, *many]), data.screen))
    names = [trace["name"] for trace in card.figures[0].spec["data"] if trace["name"]]
    assert names == ["strategic picks"]
    assert "From round 2 to 3, strategic picks" in card.finding


def test_one_round_has_no_course_yet(data: ReportData) -> None:
    rng = np.random.default_rng(5)
    assert "1 round so far" in course_card(judged_on(data, table_of(rng.normal(size=50)))).missing
    assert "no round yet" in course_card(judged_on(data, None, data.screen)).missing


def test_what_cannot_be_computed_is_a_gap(data: ReportData) -> None:
    tables = [table_of(np.ones(20), "random", number) for number in (2, 3)]  # equal sds have no rank correlation
    card = course_card(judged_on(data, pd.concat(tables)))
    line = next(trace for trace in card.figures[2].spec["data"] if trace["name"] == "random control")
    assert line["y"] == [None, None]
    assert "rank correlation, sd and error – → –" in card.finding


# --- the error by arm, from the same figures ---


def test_arms_are_compared_by_their_intervals(data: ReportData) -> None:
    rng = np.random.default_rng(1)
    for scale, words in ((3.0, "harder"), (0.3, "easier"), (1.0, "no clear difference")):
        arm = np.repeat(["random", "strategy"], 200)
        measured = rng.normal(size=400) * np.where(arm == "strategy", scale, 1.0)
        assert words in learning_card(judged_on(data, table_of(measured, arm))).finding


def test_the_error_of_classes_is_the_share_that_was_wrong(report_data: Make) -> None:
    data = report_data(kind="binary")
    table = error_by_arm(data)
    assert table is not None
    assert data.forward is not None
    for row in table.itertuples():
        arm = {"random control": "random", "strategic picks": "strategy"}[str(row.arm)]
        mine = data.forward[(data.forward["round"] == row.round) & (data.forward["arm"] == arm)]
        assert row.error == pytest.approx(np.mean((mine["predicted"] > 0.5) != (mine["measured"] > 0.5)))
        assert 0 <= row.lower <= row.error <= row.upper <= 1


def test_one_measurement_has_an_error_without_an_interval(data: ReportData) -> None:
    one = judged_on(data, table_of(np.array([2.0])))
    assert isinstance(one.calibration[0], Judged)
    table = error_by_arm(one)
    assert table is not None
    assert table.at[0, "error"] == 2.0
    assert np.isnan(table.at[0, "lower"])
    assert learning_card(one).figures[0].spec["data"][0]["error_y"]["array"] == [None]
