from __future__ import annotations

import numpy as np
import pytest

from tasks.campaigns.config import AlignmentSection
from tasks.errors import UserError
from tasks.readouts.alignment.profiles import PROFILE_ALIGNMENTS, apply_profiles, fit_profiles

METHODS = sorted(PROFILE_ALIGNMENTS)
FEATURES = ["f0", "f1", "f2", "f3"]


def _fit(wells, plates, method="negcon", known=None, **others):
    return fit_profiles(wells, AlignmentSection(method=method, **others), plates, "f0", known)


def _controls(wells, barcode):
    return wells.index[(wells["barcode"] == barcode) & (wells["role"] == "negcon")]


@pytest.mark.parametrize("method", METHODS)
def test_too_few_controls_name_the_plate_or_take_the_runs_level(make_profiles, plates, method):
    wells = make_profiles(n_plates=4)
    few = wells.drop(index=_controls(wells, "P02")[1:])
    with pytest.raises(
        UserError, match="plate P02, attempt 1: too few negcon wells with values; got 1, expected at le"
    ):
        _fit(few, plates, method)
    for left in (few, wells.drop(index=_controls(wells, "P02"))):
        fit = _fit(left, plates, method, on_too_few="run")
        fits = fit.as_alignment_fit().plates
        assert fits[2].shrinkage_offset == fits[2].shrinkage_scale == 0.0
        assert fits[2].offset_variance > max(plate.offset_variance for plate in (fits[0], fits[1], fits[3]))
        assert np.isfinite(apply_profiles(left, fit)[FEATURES].to_numpy()).all()
    others = fit.scale[[0, 1, 3]]
    assert np.all((fit.scale[2] >= others.min(axis=0)) & (fit.scale[2] <= others.max(axis=0)))
    if method == "negcon":
        centres = fit.centre[[0, 1, 3]]
        assert np.all((fit.centre[2] >= centres.min(axis=0)) & (fit.centre[2] <= centres.max(axis=0)))


def test_a_later_plate_without_controls_takes_the_runs_level_too(make_profiles, plates):
    wells = make_profiles(n_plates=5)
    wells = wells.drop(index=_controls(wells, "P04"))
    fit = _fit(wells[wells["barcode"] < "P04"], plates, on_too_few="run")
    later = _fit(wells, plates, known=fit, on_too_few="run")
    np.testing.assert_array_equal(later.centre[4], fit.run_state.centre.mean)
    np.testing.assert_array_equal(later.scale[4], np.exp(fit.run_state.log_scale.mean))


def test_one_control_needs_shrinkage_or_the_runs_level(make_profiles, plates):
    wells = make_profiles()
    few = wells.drop(index=_controls(wells, "P02")[1:])
    with pytest.raises(UserError, match=r"plate P02, attempt 1: too few.*got 1, expected at least 2"):
        _fit(few, plates, min_controls=1, shrinkage=False, scale="plate")
    assert np.isfinite(_fit(few, plates, min_controls=1).centre).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shrinkage", [False, True])
def test_no_spread_on_one_plate_names_the_features_or_takes_the_runs_scale(make_profiles, plates, method, shrinkage):
    wells = make_profiles(n_plates=4)
    wells.loc[_controls(wells, "P01")[:20], ["f1", "f3"]] = 7.0
    with pytest.raises(
        UserError, match=r"plate P01, attempt 1: features without spread.*MAD = 0.*got f1, f3, expected"
    ):
        _fit(wells, plates, method, shrinkage=shrinkage)
    fit = _fit(wells, plates, method, shrinkage=shrinkage, on_too_few="run")
    aligned = apply_profiles(wells, fit)
    assert np.isfinite(aligned[FEATURES].to_numpy()).all()
    others = fit.scale[[0, 2, 3]][:, [1, 3]]
    assert np.all((fit.scale[1, [1, 3]] >= others.min(axis=0)) & (fit.scale[1, [1, 3]] <= others.max(axis=0)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("on_too_few", ["error", "run"])
def test_a_feature_that_is_constant_everywhere_is_an_error(make_profiles, plates, method, on_too_few):
    wells = make_profiles().assign(f2=3.0)
    with pytest.raises(UserError, match=r"features without spread.*got f2, expected.*[Ll]eave"):
        _fit(wells, plates, method, on_too_few=on_too_few)


def test_a_feature_with_few_distinct_values_is_an_error(make_profiles, plates):
    """MADs are above 0 on one plate, yet most pairs of wells are equal."""
    wells = make_profiles()
    flat = wells.assign(f2=0.0)
    flat.loc[_controls(wells, "P00"), "f2"] = np.arange(24) % 2
    with pytest.raises(UserError, match=r"of the whole run.*f2"):
        _fit(flat, plates, on_too_few="run")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_hole_in_a_control_names_plate_well_and_feature(make_profiles, plates, method, bad):
    wells = make_profiles()
    row = _controls(wells, "P01")[3]
    wells.loc[row, ["f1", "f2"]] = bad
    with pytest.raises(UserError, match=r"plate P01, attempt 1, well A04: .*without a finite value; got f1, f2"):
        _fit(wells, plates, method)


@pytest.mark.parametrize("method", METHODS)
def test_a_control_without_any_value_does_not_count(make_profiles, plates, method):
    wells = make_profiles()
    row = _controls(wells, "P01")[3]
    empty = wells.copy()
    empty.loc[row, FEATURES] = np.nan
    fit, without = _fit(empty, plates, method), _fit(wells.drop(index=row), plates, method)
    assert fit.as_alignment_fit() == without.as_alignment_fit()
    assert fit.as_alignment_fit().plates[1].n_negcon == 23
    aligned = apply_profiles(empty, fit)[FEATURES].to_numpy()
    assert np.flatnonzero(np.isnan(aligned).any(axis=1)).tolist() == [row]


def test_holes_in_samples_stay_holes_unless_features_are_mixed(make_profiles, plates):
    wells = make_profiles()
    row = wells.index[wells["role"] == "sample"][2]
    well = wells.loc[row, "well"]
    wells.loc[row, "f1"] = np.nan
    aligned = apply_profiles(wells, _fit(wells, plates))
    assert np.argwhere(aligned[FEATURES].isna().to_numpy()).tolist() == [[row, 1]]
    with pytest.raises(UserError, match=f"plate P00, attempt 1, well {well}: .*got f1"):
        apply_profiles(wells, _fit(wells, plates, "tvn"))
    wells.loc[row, "f1"] = np.inf
    with pytest.raises(UserError, match=f"plate P00, attempt 1, well {well}: .*got f1"):
        apply_profiles(wells, _fit(wells, plates))


@pytest.mark.parametrize("method", ["tvn", "coral"])
def test_fewer_controls_than_features_need_regularisation(make_profiles, plates, method):
    wells = make_profiles(d=40, n_plates=3, negcon=8)
    with pytest.raises(UserError, match=r"alignment.regularisation: .*got 0 with 21 independent directions for 40"):
        _fit(wells, plates, method, regularisation=0.0)
    for share in (None, 0.01, 1.0):
        fit = _fit(wells, plates, method, regularisation=share)
        assert np.isfinite(apply_profiles(wells, fit)["aligned"]).all()


@pytest.mark.parametrize("method", ["tvn", "coral"])
def test_two_wells_on_one_plate_are_too_few_to_mix_features(make_profiles, plates, method):
    with pytest.raises(UserError, match="how features vary together; got 1 degrees of freedom"):
        _fit(make_profiles(n_plates=1, negcon=2), plates, method)


def test_a_duplicated_feature_is_no_problem_with_regularisation(make_profiles, plates):
    wells = make_profiles()
    wells["f3"] = 2.0 * wells["f1"]
    with pytest.raises(UserError, match="3 independent directions for 4"):
        _fit(wells, plates, "tvn", regularisation=0.0)
    aligned = apply_profiles(wells, _fit(wells, plates, "tvn"))
    np.testing.assert_allclose(aligned["f1"], aligned["f3"], atol=1e-6)


def test_the_known_fit_must_be_of_the_same_kind(make_profiles, plates):
    wells, later = make_profiles(), make_profiles(1, n_plates=1, first=5, run="R01")
    fit = _fit(wells, plates, "coral")
    with pytest.raises(UserError, match="the features changed; got without f3; with g"):
        _fit(later.rename(columns={"f3": "g"}), plates, "coral", known=fit)
    with pytest.raises(UserError, match="the alignment's settings changed"):
        _fit(later, plates, "tvn", known=fit)
    shuffled = later[[*later.columns[:10], "f2", "f0", "f3", "f1"]]
    one, other = _fit(later, plates, "coral", known=fit), _fit(shuffled, plates, "coral", known=fit)
    np.testing.assert_array_equal(one.centre, other.centre)
    np.testing.assert_array_equal(apply_profiles(later, one)[FEATURES], apply_profiles(shuffled, other)[FEATURES])


def test_mistakes_in_the_request_are_refused(make_profiles, plates):
    wells = make_profiles()
    with pytest.raises(UserError, match=r"alignment.method: .*got two-point, expected coral or negcon or tvn"):
        _fit(wells, plates, "two-point")
    with pytest.raises(UserError, match="anchors are for one feature; got bridges"):
        _fit(wells, plates, anchors=("bridges",))
    with pytest.raises(UserError, match="expected one run"):
        _fit(wells.assign(run=["a", "b"] * (len(wells) // 2)), plates)
    with pytest.raises(UserError, match=r"readout.output: .*got f9"):
        fit_profiles(wells, AlignmentSection(), plates, "f9")
    fit = _fit(wells, plates)
    with pytest.raises(UserError, match=r"got P00\.2"):
        apply_profiles(wells.assign(attempt=2), fit)
    with pytest.raises(UserError, match="features missing; got f1"):
        apply_profiles(wells.drop(columns="f1"), fit)
