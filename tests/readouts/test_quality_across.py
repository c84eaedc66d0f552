"""What plates tell about each other: failed positive controls, replicates; and positions on the plate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from tasks.campaigns.config import QualitySection
from tasks.readouts.quality import (
    Metric,
    PlateQuality,
    assess_plate,
    judge_directions,
    judge_gaps,
    judge_replicates,
)

OPEN = QualitySection(min_zprime=None, min_ssmd=None, max_missing=1.0)


def _metric(verdict: PlateQuality, name: str) -> Metric:
    found = verdict.metric(name)
    assert found is not None, name
    return found


def _judge(wells: pd.DataFrame) -> list[PlateQuality]:
    return [assess_plate(plate, OPEN, min_controls=1) for _, plate in wells.groupby(["barcode", "attempt"])]


# --- the gap of the controls ---


def _plates(make_wells, gaps: list[float], run: str = "R00", first: int = 0) -> list[PlateQuality]:
    """Plates with one noiseless control of each kind."""
    plates = []
    for number, gap in enumerate(gaps, start=first):
        wells = make_wells(negcon=1, poscon=1, noise=0.0, levels=(5.0, 5.0 + gap), run=run, samples=5)
        plates.append(assess_plate(wells.assign(barcode=f"G{number:02d}"), OPEN, min_controls=1))
    return plates


def test_a_failed_positive_control_is_told_with_one_control_of_each_kind(make_wells):
    plates = _plates(make_wells, [-3.0, -2.9, -0.4, -3.2, -3.1, 0.5])
    assert all(plate.passed for plate in plates)
    judged = judge_gaps(plates, 0.5)
    assert [plate.passed for plate in judged] == [True, True, False, True, True, False]
    metric = _metric(judged[2], "control_gap")
    assert metric.value == pytest.approx(0.4 / 2.95)
    assert (metric.threshold, metric.n) == (0.5, 2)
    assert "did the positive control fail?" in metric.reason
    assert "6 plates of its run" in metric.reason
    assert _metric(judged[5], "control_gap").value == pytest.approx(-0.5 / 2.95)  # counted in the run's direction
    assert PlateQuality.model_validate_json(judged[2].model_dump_json()) == judged[2]
    assert judge_gaps(judged, 0.5) == judged


def test_without_a_threshold_gaps_inform_only(make_wells):
    judged = judge_gaps(_plates(make_wells, [3.0, 3.0, 0.1, 3.0]), None)
    assert all(plate.passed for plate in judged)
    assert _metric(judged[2], "control_gap").value == pytest.approx(0.1 / 3)
    assert _metric(judged[2], "control_gap").verdict == "INFO"


def test_each_run_has_its_own_gap_unless_it_is_too_small(make_wells):
    strong, weak = _plates(make_wells, [9.0] * 4), _plates(make_wells, [2.0] * 4, "R01", 4)
    assert all(plate.passed for plate in judge_gaps([*strong, *weak], 0.5))
    alone = _plates(make_wells, [2.0], "R02", 8)
    judged = judge_gaps([*strong, *alone], 0.5)
    assert [plate.passed for plate in judged] == [True] * 4 + [False]
    assert "its run is too small" in _metric(judged[-1], "control_gap").reason


def test_two_plates_cannot_judge_each_other(make_wells):
    judged = judge_gaps(_plates(make_wells, [3.0, 0.1]), 0.5)
    assert [(plate.passed, _metric(plate, "control_gap").value) for plate in judged] == [(True, None)] * 2


def test_runs_without_any_gap_fail_where_one_is_asked_for(make_wells):
    judged = judge_gaps(_plates(make_wells, [0.0, 0.0, 0.0]), 0.5)
    assert [plate.passed for plate in judged] == [False] * 3
    assert "median gap of the 3 plates of its run is 0" in judged[0].reasons[0]


def test_plates_without_poscon_have_no_gap(make_wells):
    plates = _judge(make_wells(poscon=0, offsets=(0.0, 1.0, 2.0)))
    assert judge_gaps(plates, 0.5) == plates


def test_failed_positive_controls_of_a_real_screen(real_data):
    """One control of each kind a plate; 14 of the 114 positive controls are at less than half of the usual gap."""
    screen = pd.read_parquet(real_data / "kcviab" / "kcviab.parquet")
    controls = screen[screen["control"].isin(["neg", "pos"])]
    wells = pd.DataFrame(
        {
            "barcode": [f"P{p:02d}-{r}" for p, r in zip(controls["plate"], controls["replicate"], strict=True)],
            "attempt": 1,
            "run": controls["replicate"].astype(str).to_numpy(),
            "well": controls["well"].to_numpy(),
            "row": 1,
            "column": controls["control"].map({"neg": 0, "pos": 1}).to_numpy(),
            "role": controls["control"].map({"neg": "negcon", "pos": "poscon"}).to_numpy(),
            "perturbation": "",
            "replicate": 0,
            "value": np.log2(controls["value"].to_numpy()),
        }
    )
    plates = judge_gaps(judge_directions(_judge(wells), "lower"), 0.5)
    failed = {plate.barcode for plate in plates if not plate.passed}
    assert len(plates) == 114
    assert {"P21-1", "P21-2", "P28-1", "P28-2", "P18-1", "P18-2", "P25-2", "P19-1", "P17-1"} <= failed
    assert len(failed) == 14


# --- replicates ---


def _screen(make_wells, seed: int, plates: int, agreement: float = 1.0) -> pd.DataFrame:
    """Plates with the same perturbations, offsets and scales of their own, the last one by chance alone."""
    rng = np.random.default_rng(seed)
    truth = {f"X{i:03d}": float(v) for i, v in enumerate(rng.normal(0, 2.0, 60))}
    offsets, scales = tuple(rng.normal(0, 50, plates)), tuple(rng.uniform(0.5, 3, plates))
    wells = make_wells(seed, truth=truth, offsets=offsets, scales=scales, noise=0.5)
    last = (wells["barcode"] == f"P{plates - 1:02d}") & (wells["role"] == "sample")
    if not agreement:
        wells.loc[last, "value"] = rng.permutation(wells.loc[last, "value"].to_numpy())
    return wells


def test_two_plates_agree_as_spearman_says(make_wells):
    wells = _screen(make_wells, 1, 2)
    judged = judge_replicates(_judge(wells), wells, 0.5)
    first, second = (wells[(wells["barcode"] == b) & (wells["role"] == "sample")] for b in ("P00", "P01"))
    expected = spearmanr(first["value"], second["value"]).statistic
    for plate in judged:
        metric = _metric(plate, "replicate_agreement")
        assert metric.value == pytest.approx(expected, abs=1e-12)
        assert (metric.verdict, metric.n) == ("PASS", 60)


def test_a_plate_that_agrees_with_nobody_fails_and_the_others_do_not(make_wells):
    wells = _screen(make_wells, 2, 4, agreement=0.0)
    judged = judge_replicates(_judge(wells), wells, 0.3)
    assert [plate.passed for plate in judged] == [True, True, True, False]
    assert "which of the plates is wrong it cannot tell" in judged[3].reasons[0]
    assert judge_replicates(_judge(wells), wells.sample(frac=1, random_state=1), 0.3) == judged
    assert all(plate.passed for plate in judge_replicates(_judge(wells), wells, None))


def test_several_partners_are_averaged_by_what_they_share(make_wells):
    wells = _screen(make_wells, 3, 3)
    few = (wells["barcode"] == "P02") & (wells["role"] == "sample") & (wells["perturbation"] > "X019")
    wells = wells[~few]
    value = _metric(judge_replicates(_judge(wells), wells, None)[0], "replicate_agreement").value
    table = wells[wells["role"] == "sample"].pivot_table(index="perturbation", columns="barcode", values="value")
    each = [table[["P00", other]].dropna() for other in ("P01", "P02")]
    assert [len(pair) for pair in each] == [60, 20]
    expected = sum(len(pair) * spearmanr(pair.iloc[:, 0], pair.iloc[:, 1]).statistic for pair in each) / 80
    assert value == pytest.approx(expected, abs=1e-12)


def test_hidden_members_cannot_change_what_replicates_say(make_wells):
    wells = _screen(make_wells, 4, 3)
    hidden = frozenset({"X001", "X002", "X003", "X004"})
    changed = wells.assign(value=wells["value"].where(~wells["perturbation"].isin(hidden), 1e9))
    plates = _judge(wells)
    assert judge_replicates(plates, changed, 0.3, exclude=hidden) == judge_replicates(
        plates, wells, 0.3, exclude=hidden
    )
    assert judge_replicates(plates, changed, 0.3) != judge_replicates(plates, wells, 0.3)


def test_failed_plates_and_other_attempts_are_no_replicates(make_wells):
    wells = _screen(make_wells, 5, 2)
    again = wells[wells["barcode"] == "P00"].assign(attempt=2)
    both = pd.concat([wells, again], ignore_index=True)
    plates = _judge(both)
    assert _metric(judge_replicates(plates, both, None)[0], "replicate_agreement").n == 60
    failed = [plate.model_copy(update={"passed": plate.barcode != "P01"}) for plate in plates]
    for plate in judge_replicates(failed, both, 0.9)[:2]:
        metric = _metric(plate, "replicate_agreement")
        assert (metric.value, metric.verdict, metric.n) == (None, "INFO", 0)
        assert "8 needed" in metric.reason


def test_plates_without_samples_or_partners_say_why(make_wells):
    bare, alone = make_wells(samples=0), make_wells(samples=20)
    assert judge_replicates(_judge(bare), bare, 0.5) == _judge(bare)
    assert _metric(judge_replicates(_judge(alone), alone, 0.5)[0], "replicate_agreement").verdict == "INFO"
    assert judge_replicates([], bare.iloc[:0], 0.5) == []


# --- positions ---


def _filled(make_wells, seed: int, hidden: int = 0) -> pd.DataFrame:
    """A full 384-well plate without plate effects; the first samples are hidden audit members."""
    wells = make_wells(seed, samples=352)
    wells["value"] = np.random.default_rng(seed).standard_normal(len(wells))
    return wells


@pytest.mark.parametrize("axis", ["row", "column"])
def test_an_effect_above_its_threshold_fails(make_wells, axis):
    limits = {f"max_{name}_effect": 0.2 for name in ("row", "column")}
    wells = _filled(make_wells, 1)
    assert assess_plate(wells, OPEN.model_copy(update=limits)).reasons == ()
    tilted = wells.assign(value=wells["value"] + 0.5 * wells[axis])
    (reason,) = assess_plate(tilted, OPEN.model_copy(update=limits)).reasons
    assert reason.startswith(f"{axis}_effect: 0.")
    assert "is above 0.2" in reason
    assert "if these stand at random" in reason


def test_hidden_members_cannot_change_the_effects_of_positions(make_wells):
    wells = _filled(make_wells, 2)
    hidden = frozenset(wells.loc[wells["perturbation"] != "", "perturbation"].iloc[:30])
    changed = wells.assign(value=wells["value"].where(~wells["perturbation"].isin(hidden), 50.0))
    verdicts = [assess_plate(table, OPEN, fmt=384, exclude=hidden) for table in (wells, changed)]
    for name in ("row_effect", "column_effect", "edge_effect"):
        assert _metric(verdicts[0], name) == _metric(verdicts[1], name)
    assert _metric(assess_plate(changed, OPEN), "row_effect").value > 0.05


def test_edge_effect_finds_a_shifted_rim_and_names_chance(make_wells):
    wells = _filled(make_wells, 3)
    rim = wells["row"].isin([0, 15]) | wells["column"].isin([0, 23])
    flat, shifted = (
        _metric(assess_plate(wells.assign(value=wells["value"] - shift * rim), OPEN, fmt=384), "edge_effect")
        for shift in (0.0, 2.0)
    )
    assert abs(flat.value) < 0.5
    assert shifted.value == pytest.approx(flat.value - 2.0, abs=0.2)
    assert "below the others; chance alone gives ± 0.1" in shifted.reason
    assert shifted.verdict == "INFO"


def test_edge_effect_that_cannot_be_had_says_why(make_wells):
    wells = _filled(make_wells, 4)
    inner = wells[wells["row"].between(1, 14) & wells["column"].between(1, 22)]
    assert "0 sample wells at the rim" in _metric(assess_plate(inner, OPEN, fmt=384), "edge_effect").reason
    assert "format" in _metric(assess_plate(wells, OPEN), "edge_effect").reason
    same = wells.assign(value=wells["value"].where(wells["role"] != "sample", 1.0))
    assert _metric(assess_plate(same, OPEN, fmt=384), "edge_effect").value is None


def test_missing_wells_are_named_shortly(make_wells):
    wells = make_wells(samples=68)
    wells.loc[wells.index[-12:], "value"] = np.nan
    metric = _metric(assess_plate(wells, QualitySection()), "missing")
    assert metric.reason == "0.12 is above 0.05: D17, D18, D19, D20, D21, D22, D23, D24 and 4 more"
    assert metric.n == 88
