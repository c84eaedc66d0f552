import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.campaigns.config import AlignmentSection, QualitySection, ReadoutColumns, ReadoutSection
from tasks.errors import UserError
from tasks.labs.replay import LabConfig, ReplayLab, file_name
from tasks.readouts.alignment import apply_alignment, fit_alignment
from tasks.readouts.ingest import match_platemap, read_plate_file
from tasks.readouts.quality import assess_plate


def wells_of(lab, plate, attempt=1, run="R01", failed=False):
    """What the pipeline makes of the lab's file."""
    name, data = lab.plate_file(plate, attempt, run, failed=failed)
    section = ReadoutSection(tolerance=1.0, columns=lab.config.columns)
    (readout,) = read_plate_file(data, name, section, 96)
    return match_platemap(readout, plate, section)


def with_changes(config, **changes):
    return LabConfig.model_validate({**config.model_dump(), **changes})


def test_a_lab_without_effects_reports_the_truth_in_counts(screen, quiet, make_plate):
    wells = wells_of(ReplayLab(screen, quiet), make_plate("X-R01-P01", screen["perturbation"]))
    samples = wells[wells["role"] == "sample"]
    truth = screen.set_index("perturbation")["value"].loc[samples["perturbation"]].to_numpy()
    np.testing.assert_allclose(samples["value"], 20000.0 + 1000.0 * truth, atol=1e-3)
    assert set(wells.loc[wells["role"] == "negcon", "value"]) == {20000.0}
    assert set(wells.loc[wells["role"] == "poscon", "value"]) == {28000.0}


def test_the_order_of_plates_changes_no_byte(screen, make_plate):
    config = LabConfig(seed=3, missing_wells=0.1, failure_rate=0.3)
    plates = [make_plate(f"X-R01-P{i:02d}", screen["perturbation"]) for i in range(1, 5)]
    forwards, backwards = ReplayLab(screen, config), ReplayLab(screen, config)
    first = [forwards.plate_file(plate, 1, "R01") for plate in plates]
    second = [backwards.plate_file(plate, 1, "R01") for plate in reversed(plates)][::-1]
    assert first == second
    assert len({data for _, data in first}) == 4


def test_bytes_are_those_of_this_seed_for_ever(screen, quiet, make_plate):
    """A change here changes every replay that was ever published."""
    lab = ReplayLab(screen, with_changes(quiet, seed=11, well_noise=0.5, run_offset_sd=0.2))
    table = lab.measure_plate(make_plate("X-R01-P01", screen["perturbation"]), 1, "R01")
    assert table["value"].head(3).tolist() == [19796.896, 14176.895, 13245.234]


@pytest.mark.parametrize("change", ["seed", "barcode", "attempt", "run"])
def test_noise_is_new_for_every_seed_plate_attempt_and_run(change, screen, quiet, make_plate):
    noisy = with_changes(quiet, well_noise=1.0)
    names = {"seed": 0, "barcode": "A", "attempt": 1, "run": "R01"}
    other = {**names, change: {"seed": 1, "barcode": "B", "attempt": 2, "run": "R02"}[change]}

    def measure(seed, barcode, attempt, run):
        lab = ReplayLab(screen, with_changes(noisy, seed=seed))
        return lab.measure_plate(make_plate(barcode, screen["perturbation"]), attempt, run)["value"]

    assert abs(np.corrcoef(measure(**names), measure(**names))[0, 1]) == pytest.approx(1.0)
    truth = ReplayLab(screen, quiet).measure_plate(make_plate("A", screen["perturbation"]), 1, "R01")["value"]
    assert abs(np.corrcoef(measure(**names) - truth, measure(**other) - truth)[0, 1]) < 0.4


def test_a_well_keeps_its_noise_whichever_other_wells_are_used(screen, make_plate):
    lab = ReplayLab(screen, LabConfig())
    full = lab.measure_plate(make_plate("A", screen["perturbation"]), 1, "R01").set_index("well")["value"]
    half = lab.measure_plate(make_plate("A", screen["perturbation"][:30]), 1, "R01").set_index("well")["value"]
    assert len(half) == len(full) - 48
    pd.testing.assert_series_equal(half, full[half.index])


def test_effects_have_the_sizes_that_were_asked_for(screen, quiet, make_plate):
    """Over many plates: one run offset shared by the plates of a run, one offset for each plate, noise in each well."""
    lab = ReplayLab(screen, with_changes(quiet, well_noise=0.5, plate_offset_sd=2.0, run_offset_sd=4.0))
    plate = make_plate("A", screen["perturbation"])
    truth = ReplayLab(screen, quiet).measure_plate(plate, 1, "R")["value"].to_numpy()
    errors = (
        np.array(
            [
                [
                    lab.measure_plate(plate.assign(barcode=f"{run}-{i}"), 1, f"R{run}")["value"].to_numpy() - truth
                    for i in range(3)
                ]
                for run in range(80)
            ]
        )
        / lab.config.gain
    )
    of_plate = errors.mean(axis=2)
    assert errors.std(axis=2, ddof=1).mean() == pytest.approx(0.5, rel=0.03)
    assert np.sqrt(of_plate.var(axis=1, ddof=1).mean()) == pytest.approx(2.0, rel=0.2)
    assert of_plate.mean(axis=1).std(ddof=1) == pytest.approx(np.sqrt(4.0**2 + 2.0**2 / 3), rel=0.2)


def test_the_edge_effect_stands_in_the_outermost_wells_only(screen, quiet, make_plate):
    plate = make_plate("A", screen["perturbation"])
    plain = ReplayLab(screen, quiet).measure_plate(plate, 1, "R01")
    with_edge = ReplayLab(screen, with_changes(quiet, edge_effect=0.3)).measure_plate(plate, 1, "R01")
    places = plate.set_index("well").loc[plain["well"]]
    outermost = (places["row"].isin([0, 7]) | places["column"].isin([0, 11])).to_numpy()
    assert 0 < outermost.sum() < len(outermost)
    np.testing.assert_allclose(with_edge["value"] - plain["value"], np.where(outermost, 300.0, 0.0), atol=2e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), noise=st.floats(0.05, 0.3))
def test_a_failed_plate_fails_quality_control_and_a_good_one_passes(screen, make_plate, seed, noise):
    lab = ReplayLab(screen, LabConfig(seed=seed, well_noise=noise, poscon_value=8.0))
    plate = make_plate("A", screen["perturbation"])
    assert assess_plate(wells_of(lab, plate), QualitySection()).passed
    failed = assess_plate(wells_of(lab, plate, failed=True), QualitySection())
    verdicts = {metric.name: metric.verdict for metric in failed.metrics}
    assert (failed.passed, verdicts["zprime"]) == (False, "FAIL")


def test_planned_failures_hit_the_first_attempt_only(screen):
    lab = ReplayLab(screen, LabConfig(failures=((1, 2),)))
    assert lab.fails(1, 2, "B", 1)
    assert not any([lab.fails(1, 2, "B", 2), lab.fails(1, 1, "A", 1), lab.fails(2, 2, "C", 1)])


def test_the_failure_rate_is_the_share_of_failed_attempts(screen):
    lab = ReplayLab(screen, LabConfig(failure_rate=0.25))
    failed = [lab.fails(1, 1, f"P{i}", attempt) for i in range(1000) for attempt in (1, 2)]
    assert np.mean(failed) == pytest.approx(0.25, abs=0.04)


def test_missing_wells_are_left_out_at_the_rate_asked_for(screen, quiet, make_plate):
    lab = ReplayLab(screen, with_changes(quiet, missing_wells=0.2))
    plate = make_plate("A", screen["perturbation"])
    tables = [lab.measure_plate(plate.assign(barcode=f"B{i}"), 1, "R") for i in range(60)]
    assert np.mean([len(table) for table in tables]) / 94 == pytest.approx(0.8, abs=0.03)
    missing = wells_of(lab, plate)["value"].isna().sum()
    assert missing == 94 - len(lab.measure_plate(plate, 1, "R01"))


def test_two_point_alignment_undoes_plate_and_run(screen, quiet, make_plate, plates):
    config = with_changes(
        quiet,
        well_noise=0.01,
        plate_offset_sd=1.0,
        plate_scale_sd=0.2,
        run_offset_sd=1.0,
        run_scale_sd=0.2,
        gain=-700.0,
    )
    lab = ReplayLab(screen, config)
    wells = wells_of(lab, make_plate("A", screen["perturbation"]))
    fit = fit_alignment(wells, AlignmentSection(method="two-point"), plates)
    samples = apply_alignment(wells, fit).query("role == 'sample'")
    truth = screen.set_index("perturbation")["value"].loc[samples["perturbation"]].to_numpy()
    assert np.abs(samples["aligned"].to_numpy() - truth).max() < 0.06


def test_columns_have_the_configured_names(screen, quiet, make_plate):
    names = ReadoutColumns(plate="Barcode", well="Well ID", value="OD", run="Day", attempt="Try")
    lab = ReplayLab(screen, with_changes(quiet, columns=names.model_dump()))
    _, data = lab.plate_file(make_plate("A", screen["perturbation"]), 2, "R01-repeat1")
    assert data.decode().splitlines()[:2] == ["Barcode,Try,Day,Well ID,OD", "A,2,R01-repeat1,A01,20000.000"]
    (readout,) = read_plate_file(data, "f.csv", ReadoutSection(tolerance=1.0, columns=names), 96)
    assert (readout.barcode, readout.attempt, readout.run) == ("A", 2, "R01-repeat1")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), st.text(min_size=1), st.integers(1, 9))
def test_file_names_are_safe_and_distinct(barcode, other, attempt):
    name = file_name(barcode, attempt)
    assert "/" not in name
    assert "\\" not in name
    assert name.isascii()
    if other != barcode and other.isprintable():
        assert file_name(other, attempt) != name


def test_a_plate_of_another_library_is_refused(screen, quiet, make_plate):
    with pytest.raises(UserError, match=r"plate A: the screen .* no value .* got alien and 1 more"):
        ReplayLab(screen, quiet).measure_plate(make_plate("A", ["p001", "beta", "alien"]), 1, "R01")


def test_two_plates_are_not_one(screen, quiet, make_plate):
    both = pd.concat([make_plate(name, screen["perturbation"]) for name in "AB"])
    with pytest.raises(UserError, match="not the map of one plate; got 2 barcodes"):
        ReplayLab(screen, quiet).measure_plate(both, 1, "R01")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.rename(columns={"value": "logS"}), "screen: no column value; got perturbation, logS"),
        (lambda s: pd.concat([s, s.iloc[[4]]]), "stands twice; got p004"),
        (lambda s: s.assign(value=s["value"].where(s["perturbation"] != "p007")), "not finite; got p007"),
    ],
)
def test_a_screen_that_cannot_stand_in_is_refused(change, message, screen):
    with pytest.raises(UserError, match=message):
        ReplayLab(change(screen), LabConfig())


def test_an_instrument_without_gain_is_refused(screen):
    with pytest.raises(UserError, match="gain"):
        ReplayLab(screen, LabConfig(gain=0.0))
