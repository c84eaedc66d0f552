from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from tasks.campaigns.config import AlignmentSection
from tasks.checkpoints.payloads import Payload, decode, encode
from tasks.readouts.alignment import fit_alignment
from tasks.readouts.alignment.profiles import PROFILE_ALIGNMENTS, ProfileFit, apply_profiles, fit_profiles

METHODS = sorted(PROFILE_ALIGNMENTS)
SCALES = ("plate", "common")
FEATURES = ["f0", "f1", "f2", "f3"]


def _section(method="negcon", *, scale="plate", shrinkage=False, regularisation=None, **others):
    return AlignmentSection(
        method=method, scale=scale, shrinkage=shrinkage, regularisation=regularisation, min_controls=2, **others
    )


def _fit(wells, plates, section, known=None):
    return fit_profiles(wells, section, plates, "f0", known)


def _aligned(wells, plates, section, known=None):
    return apply_profiles(wells, _fit(wells, plates, section, known))[FEATURES].to_numpy()


def _within_plates(wells, values):
    """Rows of controls less their plate's mean, and their degrees of freedom."""
    controls = (wells["role"] == "negcon").to_numpy()
    table = pd.DataFrame(values[controls])
    plate = wells.loc[controls, "barcode"].to_numpy()
    return (table - table.groupby(plate).transform("mean")).to_numpy(), len(table) - len(set(plate))


def _covariance(wells, values):
    rows, df = _within_plates(wells, values)
    return rows.T @ rows / df


def _bits(fit):
    return {name: array.tobytes() for name, array in fit.to_tensors().items()}, fit.meta


def _moved(wells, shift, factor):
    """Every feature of every plate: shift + factor·value; (P, 4) each."""
    index = pd.factorize(wells["barcode"])[0]
    return wells.assign(**{f: shift[index, j] + factor[index, j] * wells[f] for j, f in enumerate(FEATURES)})


plate_changes = st.lists(
    st.tuples(st.floats(-1e5, 1e5), st.floats(0.01, 100)), min_size=12, max_size=12
)  # 3 plates, 4 features


@pytest.mark.parametrize("method", METHODS)
@given(plate_changes)
@settings(max_examples=25, deadline=None)
def test_plate_shift_and_scale_of_every_feature_vanish(make_profiles, plates, method, changes):
    wells = make_profiles()
    shift, factor = np.array(changes).T.reshape(2, 3, 4)
    expected = _aligned(wells, plates, _section(method))
    unit = np.abs(wells[FEATURES].to_numpy()).max(axis=0)  # shifts of the size of the features
    moved = _moved(wells, shift * unit / 1e5, factor)
    np.testing.assert_allclose(_aligned(moved, plates, _section(method)), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@given(plate_changes)
@settings(max_examples=15, deadline=None)
def test_plate_shift_vanishes_under_a_common_scale(make_profiles, plates, method, changes):
    wells, section = make_profiles(), _section(method, scale="common")
    unit = np.abs(wells[FEATURES].to_numpy()).max(axis=0)
    moved = _moved(wells, np.array(changes)[:, 0].reshape(3, 4) * unit / 1e5, np.ones((3, 4)))
    expected = _aligned(wells, plates, section)
    np.testing.assert_allclose(_aligned(moved, plates, section), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shrinkage", [False, True])
@given(plate_changes)
@settings(max_examples=10, deadline=None)
def test_run_wide_shift_and_scale_vanish_always(make_profiles, plates, method, scale, shrinkage, changes):
    wells, section = make_profiles(), _section(method, scale=scale, shrinkage=shrinkage)
    shift, factor = np.array(changes[:4]).T
    unit = np.abs(wells[FEATURES].to_numpy()).max(axis=0)
    moved = _moved(wells, np.tile(shift * unit / 1e5, (3, 1)), np.tile(factor, (3, 1)))
    expected = _aligned(wells, plates, section)
    np.testing.assert_allclose(_aligned(moved, plates, section), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shrinkage", [False, True])
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_whitened_controls_have_covariance_identity(make_profiles, plates, scale, shrinkage, seed):
    wells = make_profiles(seed)
    raw = _covariance(wells, wells[FEATURES].to_numpy())
    assert np.linalg.cond(raw) > 1e3  # uncentred, unscaled input
    section = _section("tvn", scale=scale, shrinkage=shrinkage, regularisation=0.0)
    np.testing.assert_allclose(_covariance(wells, _aligned(wells, plates, section)), np.eye(4), atol=1e-6)


def test_with_ledoit_wolf_and_many_controls_it_is_close_to_the_identity(make_profiles, plates):
    wells = make_profiles(5, n_plates=6, negcon=100)
    covariance = _covariance(wells, _aligned(wells, plates, _section("tvn", scale="common", shrinkage=True)))
    np.testing.assert_allclose(covariance, np.eye(4), atol=0.05)


def test_fewer_controls_than_features_are_whitened_where_they_vary(make_profiles, plates):
    wells = make_profiles(3, d=60, n_plates=4, negcon=6)
    features = [f"f{j}" for j in range(60)]
    fit = _fit(wells, plates, _section("tvn", scale="common", regularisation=0.1))
    spread = fit.mixing.source
    assert spread.directions.shape == (60, 20)  # 4 plates of 6 wells leave 20 directions
    aligned = apply_profiles(wells, fit)[features].to_numpy()
    values = np.linalg.eigvalsh(_covariance(wells, aligned))
    np.testing.assert_allclose(values[:40], 0.0, atol=1e-8)
    sample = (spread.values - 0.1) / 0.9  # eigenvalues of the sample correlation
    np.testing.assert_allclose(np.sort(values[40:]), np.sort(sample / spread.values), rtol=1e-6)
    assert values[40:].min() > 0.8
    assert np.all(np.isfinite(aligned))


def test_coral_gives_a_later_run_the_first_runs_covariance(make_profiles, plates):
    first, later = make_profiles(1), make_profiles(2, run="R01", first=3)
    section = _section("coral", scale="common", regularisation=0.0)
    fit = _fit(first, plates, section)
    reference = _covariance(first, apply_profiles(first, fit)[FEATURES].to_numpy())
    moved = apply_profiles(later, _fit(later, plates, section, fit))[FEATURES].to_numpy()
    np.testing.assert_allclose(_covariance(later, moved), reference, rtol=1e-6, atol=1e-6)
    alone = _aligned(later, plates, _section("negcon", scale="common"), _fit(first, plates, _section(scale="common")))
    assert np.abs(_covariance(later, alone) - reference).max() > 0.3


@pytest.mark.parametrize("scale", SCALES)
def test_coral_leaves_the_first_run_as_negcon_does(make_profiles, plates, scale):
    wells = make_profiles(4, n_plates=1)
    expected = _aligned(wells, plates, _section("negcon", scale=scale))
    np.testing.assert_allclose(_aligned(wells, plates, _section("coral", scale=scale)), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("method", "scale", "n_plates"),
    [
        ("negcon", "plate", 3),
        ("negcon", "common", 3),
        ("tvn", "common", 3),
        ("coral", "common", 3),
        ("tvn", "plate", 1),
    ],
)
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_applying_twice_is_applying_once(make_profiles, plates, method, scale, n_plates, seed):
    """Exactly so without shrinkage and regularisation."""
    section = _section(method, scale=scale, regularisation=0.0)
    first, later = make_profiles(seed, n_plates=n_plates), make_profiles(seed + 1, run="R01", first=3)
    fit = _fit(first, plates, section)
    once, later_once = apply_profiles(first, fit), apply_profiles(later, _fit(later, plates, section, fit))
    again = _fit(once.drop(columns="aligned"), plates, section)
    twice = apply_profiles(once, again)
    np.testing.assert_allclose(twice[FEATURES], once[FEATURES], rtol=1e-6, atol=1e-6)
    later_twice = apply_profiles(later_once, _fit(later_once, plates, section, again))
    if n_plates > 1:
        np.testing.assert_allclose(later_twice[FEATURES], later_once[FEATURES], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "scale", "tolerance"),
    [(method, scale, 0.1) for method in METHODS for scale in SCALES if (method, scale) != ("tvn", "plate")]
    + [("tvn", "plate", 0.4)],
)
def test_with_shrinkage_twice_is_nearly_once(make_profiles, plates, method, scale, tolerance):
    """In sds of a control well. Not so tvn with regularisation: it leaves correlation, which a second time takes."""
    section = _section(method, scale=scale, shrinkage=True, regularisation=0.0)
    wells = make_profiles(8, n_plates=6)
    once = _aligned(wells, plates, section)
    twice = _aligned(wells.assign(**dict(zip(FEATURES, once.T, strict=True))), plates, section)
    difference = (twice - once)[wells["role"] == "negcon"]
    assert np.sqrt(np.mean(difference**2)) < tolerance


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", SCALES)
@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=8, deadline=None)
def test_a_later_plate_changes_no_earlier_bit(make_profiles, plates, method, scale, seed, shrinkage):
    section = _section(method, scale=scale, shrinkage=shrinkage)
    wells = make_profiles(seed, n_plates=5)
    early = wells[wells["barcode"].isin(["P01", "P02", "P04"])]
    fit = _fit(early, plates, section)
    before, aligned = _bits(fit), apply_profiles(early, fit)
    at_once = _fit(wells, plates, section, fit)
    one_by_one = fit
    for barcode in ("P03", "P00"):
        one_by_one = _fit(wells[wells["barcode"] == barcode], plates, section, one_by_one)
    assert _bits(one_by_one) == _bits(at_once)
    assert _bits(fit) == before
    kept = [plate.barcode in ("P01", "P02", "P04") for plate in at_once.outcome.plates]
    assert at_once.centre[kept].tobytes() == fit.centre.tobytes()
    assert at_once.scale[kept].tobytes() == fit.scale.tobytes()
    assert tuple(p for p, old in zip(at_once.outcome.plates, kept, strict=True) if old) == fit.outcome.plates
    pd.testing.assert_frame_equal(apply_profiles(wells, at_once).loc[early.index], aligned, check_exact=True)
    assert np.isfinite(apply_profiles(wells, at_once)[FEATURES].to_numpy()).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_later_plate_lands_on_the_runs_scale(make_profiles, plates, method):
    """The extension is close to what a fit of all plates together would have said."""
    section = _section(method, scale="common", shrinkage=True)
    wells = make_profiles(6, n_plates=9)
    fit = _fit(wells[wells["barcode"] < "P08"], plates, section)
    extended, together = _fit(wells, plates, section, fit), _fit(wells, plates, section)
    late = wells[wells["barcode"] == "P08"]
    difference = apply_profiles(late, extended)[FEATURES] - apply_profiles(late, together)[FEATURES]
    assert np.abs(difference.to_numpy()).max() < 1.0
    errors = [of.plates[-1].offset_variance + of.run_offset_variance for of in (extended.outcome, together.outcome)]
    assert errors[0] == pytest.approx(errors[1], rel=0.25)


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_order_of_wells_changes_no_bit(make_profiles, plates, method, seed):
    wells, section = make_profiles(), _section(method, shrinkage=True)
    shuffled = wells.sample(frac=1.0, random_state=np.random.default_rng(seed))
    fit = _fit(wells, plates, section)
    assert _bits(_fit(shuffled, plates, section)) == _bits(fit)
    aligned = apply_profiles(shuffled, fit).sort_index()
    pd.testing.assert_frame_equal(aligned, apply_profiles(wells, fit), check_exact=True)


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=10, deadline=None)
def test_samples_never_influence_the_fit(make_profiles, plates, method, seed, shrinkage):
    wells, section = make_profiles(), _section(method, shrinkage=shrinkage)
    samples = wells["role"] == "sample"
    changed = wells.copy()
    changed.loc[samples, FEATURES] = np.random.default_rng(seed).normal(0, 1e6, (samples.sum(), 4))
    changed.loc[changed.index[samples][0], FEATURES] = [np.nan, np.inf, 0.0, 1.0]
    bits = _bits(_fit(wells, plates, section))
    assert _bits(_fit(changed, plates, section)) == bits
    assert _bits(_fit(wells[~samples], plates, section)) == bits


@pytest.mark.parametrize("shrinkage", [False, True])
@pytest.mark.parametrize("feature", FEATURES)
def test_negcon_does_to_each_feature_what_the_alignment_of_one_readout_does(make_profiles, plates, shrinkage, feature):
    wells, section = make_profiles(2, n_plates=5, negcon=7), _section(shrinkage=shrinkage)
    alone = fit_alignment(wells.assign(value=wells[feature]), section, plates)
    fit = fit_profiles(wells, section, plates, feature).as_alignment_fit()
    assert (fit.method, fit.run, fit.anchor) == (alone.method, alone.run, alone.anchor)
    assert fit.control_noise == pytest.approx(alone.control_noise, rel=1e-6)
    for name in ("offset", "scale", "scale_variance", "n_negcon", "shrinkage_offset", "shrinkage_scale"):
        mine, theirs = ([getattr(plate, name) for plate in of.plates] for of in (fit, alone))
        assert mine == pytest.approx(theirs, rel=1e-6), name
    mine, theirs = ([plate.offset_variance + of.run_offset_variance for plate in of.plates] for of in (fit, alone))
    assert mine == pytest.approx(theirs, rel=1e-6)


def test_aligned_is_the_output_and_features_keep_their_names(make_profiles, plates):
    wells = make_profiles(d=4)
    fit = fit_profiles(wells, _section("tvn", shrinkage=True), plates, "f2")
    table = apply_profiles(wells, fit)
    assert list(table.columns) == [*wells.columns, "aligned"]
    np.testing.assert_array_equal(table["aligned"], table["f2"])
    np.testing.assert_array_equal(table["value"], wells["value"])
    raw, mixed = _within_plates(wells, wells[FEATURES].to_numpy())[0], _within_plates(wells, table[FEATURES].to_numpy())
    own = np.abs(np.corrcoef(raw.T, mixed[0].T)[:4, 4:])
    assert (own.argmax(axis=1) == np.arange(4)).all()  # each feature stays closest to itself


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shrinkage", [False, True])
def test_offset_variance_predicts_the_squared_error_of_the_output(make_profiles, plates, method, shrinkage):
    """A plate's samples share the error of its centre: with true value 0 their mean shows it."""
    section = _section(method, scale="common", shrinkage=shrinkage)
    error, said = [], []
    for seed in range(40):
        wells = make_profiles(seed, n_plates=6, negcon=208, samples=0)
        controls = wells.groupby("barcode").cumcount() < 8
        fit = _fit(wells[controls], plates, section)
        table = apply_profiles(wells, fit)[~controls]
        error.append(np.mean(table.groupby("barcode")["aligned"].mean() ** 2))
        said.append(fit.outcome.run_offset_variance + np.mean([plate.offset_variance for plate in fit.outcome.plates]))
    assert np.mean(said) / np.mean(error) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("method", METHODS)
def test_number_of_threads_changes_no_bit(make_profiles, plates, method):
    wells = make_profiles(d=300, n_plates=8, negcon=40, samples=100)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            before = threadpool_info()
            fit = _fit(wells, plates, _section(method))
            found.append((_bits(fit), apply_profiles(wells, fit)))
            assert threadpool_info() == before
    assert found[0][0] == found[1][0]
    pd.testing.assert_frame_equal(found[0][1], found[1][1], check_exact=True)


@pytest.mark.parametrize("method", METHODS)
def test_a_stored_fit_comes_back_bit_by_bit(make_profiles, plates, method):
    fit = _fit(make_profiles(), plates, _section(method, shrinkage=True))
    payload = Payload("tensors", fit.to_tensors())
    tensors = decode("tensors", encode(payload))
    back = ProfileFit.from_tensors(tensors, json.loads(json.dumps(fit.meta)))
    assert _bits(back) == _bits(fit)
    later = make_profiles(9, n_plates=1, first=7)
    section = _section(method, shrinkage=True)
    assert _bits(_fit(later, plates, section, back)) == _bits(_fit(later, plates, section, fit))
