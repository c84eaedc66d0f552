from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.campaigns.config import AlignmentSection, ControlWells, PlatesSection
from tasks.errors import UserError
from tasks.readouts.alignment import ALIGNMENTS, AlignmentFit, apply_alignment, fit_alignment
from tasks.readouts.alignment.shrinkage import shrink

METHODS = sorted(ALIGNMENTS)


def _section(method: str = "negcon", *, shrinkage: bool = False, min_controls: int = 2) -> AlignmentSection:
    return AlignmentSection(method=method, shrinkage=shrinkage, min_controls=min_controls)


def _aligned(wells, plates, section):
    return apply_alignment(wells, fit_alignment(wells, section, plates))["aligned"].to_numpy()


def _role(wells, role, values):
    wells = wells.copy()
    wells.loc[wells["role"] == role, "value"] = values
    return wells


@pytest.mark.parametrize("method", METHODS)
@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0.01, 100)), min_size=3, max_size=3))
@settings(max_examples=25, deadline=None)
def test_plate_shift_and_scale_vanish(make_wells, plates, method, changes):
    wells = make_wells(offsets=(0.0, 0.0, 0.0))
    index = wells["barcode"].str[1:].astype(int).to_numpy()
    shift, factor = np.array(changes).T
    moved = wells.assign(value=shift[index] + factor[index] * wells["value"])
    expected = _aligned(wells, plates, _section(method))
    np.testing.assert_allclose(_aligned(moved, plates, _section(method)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shrinkage", [False, True])
def test_run_wide_shift_and_scale_vanish_with_shrinkage_too(make_wells, plates, method, shrinkage):
    wells = make_wells(offsets=(0.0, 1.0, -2.0))
    moved = wells.assign(value=50.0 + 7.0 * wells["value"])
    section = _section(method, shrinkage=shrinkage)
    expected = _aligned(wells, plates, section)
    np.testing.assert_allclose(_aligned(moved, plates, section), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=15, deadline=None)
def test_samples_never_influence_the_fit(make_wells, plates, method, seed, shrinkage):
    wells = make_wells(offsets=(0.0, 3.0))
    noise = np.random.default_rng(seed).normal(0, 1e6, len(wells))
    samples = wells["role"] == "sample"
    changed = wells.assign(value=wells["value"].where(~samples, noise))
    dropped = wells[~samples]
    section = _section(method, shrinkage=shrinkage)
    fit = fit_alignment(wells, section, plates)
    assert fit_alignment(changed, section, plates) == fit
    assert fit_alignment(dropped, section, plates) == fit


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_order_of_wells_changes_no_bit(make_wells, plates, method, seed):
    wells = make_wells(offsets=(0.0, 3.0, 1.0))
    section = _section(method, shrinkage=True)
    shuffled = wells.sample(frac=1.0, random_state=np.random.default_rng(seed))
    assert fit_alignment(shuffled, section, plates) == fit_alignment(wells, section, plates)


@pytest.mark.parametrize("method", METHODS)
def test_applying_twice_is_applying_once(make_wells, plates, method):
    wells = make_wells(offsets=(100.0, 300.0), scales=(2.0, 5.0))
    once = _aligned(wells, plates, _section(method))
    twice = _aligned(wells.assign(value=once), plates, _section(method))
    np.testing.assert_allclose(twice, once, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("levels", "scale"), [((0.0, 10.0), 3.0), ((0.0, -10.0), 3.0), ((0.0, 10.0), -3.0)])
def test_two_point_puts_the_medians_at_their_nominal_values(make_wells, plates, levels, scale):
    wells = make_wells(offsets=(40.0, 60.0), scales=(scale, 2 * scale), levels=levels)
    wells["aligned"] = _aligned(wells, plates, _section("two-point"))
    medians = wells.groupby(["barcode", "role"])["aligned"].median()
    np.testing.assert_allclose(medians.xs("negcon", level="role"), 0.0, atol=1e-9)
    np.testing.assert_allclose(medians.xs("poscon", level="role"), 10.0)


def test_negcon_gives_controls_median_0_and_sd_1(make_wells, plates):
    wells = make_wells(seed=5, offsets=tuple(range(40)), scales=(3.0,) * 40)
    wells["aligned"] = _aligned(wells, plates, _section("negcon", shrinkage=True))
    controls = wells[wells["role"] == "negcon"]
    assert controls["aligned"].std() == pytest.approx(1.0, abs=0.06)
    fit = fit_alignment(wells, _section("negcon", shrinkage=True), plates)
    assert fit.control_noise == pytest.approx(1.0, abs=0.06)


def test_missing_values_stay_missing_and_do_not_count(make_wells, plates):
    wells = make_wells(negcon=5)
    wells.loc[[0, len(wells) - 1], "value"] = np.nan
    fit = fit_alignment(wells, _section(), plates)
    assert fit.plates[0].n_negcon == 4
    aligned = apply_alignment(wells, fit)["aligned"]
    assert list(np.flatnonzero(aligned.isna())) == [0, len(wells) - 1]


def test_a_single_plate_is_not_shrunk(make_wells, plates):
    wells = make_wells(offsets=(5.0,), scales=(2.0,))
    assert fit_alignment(wells, _section(shrinkage=True), plates) == fit_alignment(wells, _section(), plates)


def test_a_plate_with_one_control_takes_the_runs_scale(make_wells, plates):
    wells = make_wells(offsets=(0.0,) * 6)
    lonely = (wells["barcode"] == "P05") & (wells["role"] == "negcon")
    wells = wells.drop(index=wells[lonely].index[1:])
    fit = fit_alignment(wells, _section(shrinkage=True, min_controls=1), plates)
    alone = fit.plates[5]
    assert alone.shrinkage_scale == 0.0
    assert alone.shrinkage_offset < 0.5 * max(plate.shrinkage_offset for plate in fit.plates)
    assert min(plate.scale for plate in fit.plates) <= alone.scale <= max(plate.scale for plate in fit.plates)
    with pytest.raises(UserError, match="plate P05, attempt 1: one control well gives no scale"):
        fit_alignment(wells, _section(min_controls=1), plates)


def _offset_errors(make_wells, plates, negcon, n_plates, spread, campaigns):
    """Mean squared error of raw and shrunk offsets, and the variance that was predicted for each."""
    found = []
    for seed in range(campaigns):
        offsets = tuple(spread * np.random.default_rng(10_000 + seed).standard_normal(n_plates))
        wells = make_wells(seed=seed, offsets=offsets, negcon=negcon, poscon=0, samples=0)
        row = []
        for shrinkage in (False, True):
            fits = fit_alignment(wells, _section(shrinkage=shrinkage), plates).plates
            row.append(np.mean([(fit.offset - true) ** 2 for fit, true in zip(fits, offsets, strict=True)]))
            row.append(np.mean([fit.offset_variance * fit.scale**2 for fit in fits]))
        found.append(row)
    return np.mean(found, axis=0)


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_shrunk_offsets_of_two_controls_are_better_than_raw(make_wells, plates, spread):
    raw, _, shrunk, _ = _offset_errors(make_wells, plates, negcon=2, n_plates=8, spread=spread, campaigns=40)
    assert shrunk < 0.75 * raw


@pytest.mark.parametrize(("negcon", "spread"), [(16, 0.3), (16, 2.0), (4, 2.0)])
def test_offset_variance_predicts_the_squared_error(make_wells, plates, negcon, spread):
    raw, raw_said, shrunk, said = _offset_errors(
        make_wells, plates, negcon=negcon, n_plates=10, spread=spread, campaigns=80
    )
    assert raw_said / raw == pytest.approx(1.0, abs=0.15)
    assert said / shrunk == pytest.approx(1.0, abs=0.15)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0.01, 10)), min_size=2, max_size=12))
def test_shrunk_estimates_lie_between_their_own_and_the_others(estimates):
    values, variances = np.array(estimates).T
    shrunk = shrink(values, variances)
    slack = 1e-9 * (1 + np.abs(values).max())
    assert np.all(shrunk.values >= values.min() - slack)
    assert np.all(shrunk.values <= values.max() + slack)
    assert np.all((shrunk.kept >= 0) & (shrunk.kept <= 1))
    assert np.all(shrunk.variances > 0)


def test_shrinkage_is_strong_for_equal_plates_and_weak_for_different_ones():
    rng = np.random.default_rng(0)
    equal = shrink(rng.normal(0, 1, 12), np.ones(12))
    different = shrink(rng.normal(0, 30, 12), np.ones(12))
    assert equal.kept.max() < 0.5
    assert different.kept.min() > 0.95


@pytest.mark.parametrize("n_plates", [4, 8])
def test_shrinkage_states_its_own_error_when_its_prior_holds(n_plates):
    """Plates that differ by τ, itself drawn from the flat prior: stated and true squared errors agree on average."""
    rng = np.random.default_rng(n_plates)
    variances = np.linspace(0.5, 1.5, n_plates)
    true_error, stated = [], []
    for tau in rng.uniform(0.0, 6.0, 3000):
        truth = 100.0 + tau * rng.standard_normal(n_plates)
        shrunk = shrink(truth + np.sqrt(variances) * rng.standard_normal(n_plates), variances)
        true_error.append(np.mean((shrunk.values - truth) ** 2))
        stated.append(np.mean(shrunk.variances))
    assert np.mean(stated) / np.mean(true_error) == pytest.approx(1.0, abs=0.04)


def test_shrinkage_by_brute_force():
    """The same posterior by summing over a fine grid of the mean and of τ."""
    x, v = np.array([1.0, 2.5, 7.0, 3.0]), np.array([1.0, 0.5, 2.0, 1.0])
    mean, tau = np.meshgrid(np.linspace(-60, 70, 801), np.linspace(0.005, 75, 1500), indexing="ij")
    total = tau[..., None] ** 2 + v
    log_weight = -0.5 * (np.log(total) + (x - mean[..., None]) ** 2 / total).sum(axis=-1)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    kept = tau[..., None] ** 2 / total
    estimate = mean[..., None] + kept * (x - mean[..., None])
    first = (weight[..., None] * estimate).sum(axis=(0, 1))
    second = (weight[..., None] * (estimate**2 + kept * v)).sum(axis=(0, 1))
    shrunk = shrink(x, v)
    np.testing.assert_allclose(shrunk.values, first, rtol=0.01)
    np.testing.assert_allclose(shrunk.variances, second - first**2, rtol=0.02)
    np.testing.assert_allclose(shrunk.kept, (weight[..., None] * kept).sum(axis=(0, 1)), rtol=0.02)


def test_json_round_trip(make_wells, plates):
    fit = fit_alignment(make_wells(offsets=(0.1, 0.2)), _section("two-point", shrinkage=True), plates)
    assert AlignmentFit.model_validate_json(fit.model_dump_json()) == fit


def test_errors_name_the_plate_and_the_way_out(make_wells, plates):
    wells = make_wells(offsets=(0.0, 1.0))
    second = wells["barcode"] == "P01"
    flat = wells.assign(value=wells["value"].mask(second & (wells["role"] == "negcon"), 7.0))
    with pytest.raises(
        UserError, match=r"plate P01, attempt 1: the negcon wells have no spread \(MAD = 0\).*[Rr]epeat"
    ):
        fit_alignment(flat, _section(), plates)
    with pytest.raises(
        UserError, match="plate P00, attempt 1: too few negcon wells with a value; got 16, expected at "
    ):
        fit_alignment(wells, _section(min_controls=17), plates)
    swapped = wells.assign(role=wells["role"].mask(second, wells["role"].map({"negcon": "poscon", "poscon": "negcon"})))
    with pytest.raises(
        UserError,
        match=r"plate P0\d, attempt 1: positive and negative controls are equal or the other way.*as its next attempt",
    ):
        fit_alignment(swapped, _section("two-point"), plates)
    with pytest.raises(
        UserError,
        match=r"cannot be told: no plate of the run has two of a kind, and nothing ties.*set alignment.anchors",
    ):
        fit_alignment(make_wells(negcon=1), _section(min_controls=1), plates)


def test_mistakes_in_the_request_are_refused(make_wells, plates):
    wells = make_wells()
    with pytest.raises(UserError, match="expected b-score or negcon or plate-median or two-point"):
        fit_alignment(wells, _section("z-score"), plates)
    with pytest.raises(UserError, match="expected one run"):
        fit_alignment(wells.assign(run=["a", "b"] * (len(wells) // 2)), _section(), plates)
    no_nominal = PlatesSection(negcon=ControlWells(wells=("A01",), nominal=1.0))
    with pytest.raises(UserError, match="two different nominal values"):
        fit_alignment(wells, _section("two-point"), no_nominal)
    fit = fit_alignment(wells, _section(), plates)
    with pytest.raises(UserError, match=r"got P00\.2"):
        apply_alignment(wells.assign(attempt=2), fit)
