"""Anchors, heavy tails, single controls, and runs whose plates come one after the other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tasks.campaigns.config import AlignmentSection
from tasks.errors import UserError
from tasks.readouts.alignment import AlignmentFit, apply_alignment, fit_alignment
from tasks.readouts.alignment.offsets import Sites, shared_variance, shrink_tied
from tasks.readouts.alignment.shrinkage import shrink
from tasks.readouts.alignment.tails import Before, Group, fit_noise, normal_worth

SEEDS = st.integers(0, 2**32 - 1)


def _section(method="negcon", *, min_controls=1, **settings):
    return AlignmentSection.model_validate({"method": method, "min_controls": min_controls, **settings})


def _screen(
    seed, *, n_plates=12, negcon=1, poscon=0, spread=2.0, tail=None, samples=12, library=3.0, replicates=2, first=0
):
    """Plates of log readouts: offset N(0, spread²), wells N(0, 1) or t; `replicates` plates hold the same samples."""
    rng = np.random.default_rng(seed)
    offsets = spread * rng.standard_normal(n_plates)
    contents = library * rng.standard_normal((n_plates, samples))
    rows = []
    for p in range(n_plates):
        noise = rng.standard_normal(negcon + poscon) if tail is None else rng.standard_t(tail, negcon + poscon)
        group = (first + p) // replicates
        for i in range(negcon + poscon):
            role, level = ("negcon", 0.0) if i < negcon else ("poscon", 10.0)
            rows.append((f"P{first + p:03d}", role, "", 0, i, level + offsets[p] + noise[i]))
        for i in range(samples):
            value = contents[p // replicates, i] + offsets[p] + rng.standard_normal()
            rows.append((f"P{first + p:03d}", "sample", f"X{group}-{i}", 1 + i // 20, i % 20, value))
    table = pd.DataFrame(rows, columns=["barcode", "role", "perturbation", "row", "column", "value"])
    table["well"] = [
        f"{chr(65 + row)}{column + 1:02d}" for row, column in zip(table["row"], table["column"], strict=True)
    ]
    return table.assign(attempt=1, run="R", replicate=1), offsets


def _errors(fit, offsets):
    """Errors of the plates' places at the level where they are described; every true scale is 1."""
    return np.array([plate.offset + fit.anchor * plate.scale for plate in fit.plates]) - (offsets + fit.anchor)


def _stated(fit):
    """Own and common error variance of the offsets, in raw units."""
    square = np.array([plate.scale**2 for plate in fit.plates])
    return np.array([plate.offset_variance for plate in fit.plates]) * square, fit.run_offset_variance * square.mean()


def _calibration(plates, n, **screen):
    """Mean squared error, stated mean squared error, mean product of two plates' errors, stated common error."""
    section = screen.pop("section")
    found = []
    for seed in range(n):
        wells, offsets = _screen(seed, **screen)
        fit = fit_alignment(wells, section, plates)
        error, (own, common) = _errors(fit, offsets), _stated(fit)
        p = len(error)
        product = (error.sum() ** 2 - (error**2).sum()) / (p * (p - 1))
        found.append([np.mean(error**2), own.mean() + common, product, common])
    return np.mean(found, axis=0)


# What is stated


# On other seeds these two were off by more than a tenth (0.89 and 0.90; 1.12): a tenth is not met everywhere.
_WIDER = {(4, (), 0.5): 0.17, (16, ("bridges",), 3.0): 0.17}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("negcon", "anchors"), [(1, ("bridges",)), (4, ()), (16, ()), (4, ("bridges",)), (16, ("bridges",))]
)
@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
def test_stated_error_is_near_the_error(plates, negcon, anchors, spread):
    """100 screens of 50 plates with known components: offsets sd `spread`, wells sd 1."""
    error, stated, _, _ = _calibration(
        plates, 100, n_plates=50, negcon=negcon, spread=spread, section=_section(anchors=anchors)
    )
    assert stated / error == pytest.approx(1.0, abs=_WIDER.get((negcon, anchors, spread), 0.1))


def test_stated_error_of_single_controls_with_bridges(plates):
    error, stated, product, common = _calibration(
        plates, 30, n_plates=30, negcon=1, spread=1.0, section=_section(anchors=("bridges",))
    )
    assert stated / error == pytest.approx(1.0, abs=0.2)
    assert common == pytest.approx(product, abs=0.015)


def test_the_runs_common_error_is_told_apart(plates):
    """Equal plates that are shrunk hard share the error of their mean; unshrunk plates share nothing."""
    _, _, product, common = _calibration(plates, 60, n_plates=10, negcon=4, spread=0.2, section=_section())
    assert common == pytest.approx(product, rel=0.35)
    wells, _ = _screen(0, negcon=4)
    assert fit_alignment(wells, _section(shrinkage=False), plates).run_offset_variance == 0.0


def test_common_error_of_shrinkage_is_the_error_of_the_runs_mean():
    rng = np.random.default_rng(0)
    found = shrink(rng.normal(0, 1e-4, 40), np.full(40, 1.0))  # τ is next to 0: B = 0, every plate is the mean
    common = shared_variance(found.covariance, np.ones(40))
    assert common == pytest.approx(1 / 40, rel=0.05)
    assert np.all(found.variances >= common)


# Heavy tails


def test_normal_controls_lose_nothing_by_robustness():
    """The tied system with nothing tied and normal errors is plain shrinkage."""
    rng = np.random.default_rng(3)
    values, variances = rng.normal(0, 2, 14), np.linspace(0.5, 1.5, 14)
    plain = shrink(values, variances)
    tied = shrink_tied(Sites(values, variances), np.ones(14), np.zeros((14, 14)), np.zeros(14))
    np.testing.assert_allclose(tied.values, plain.values, atol=0.02)
    np.testing.assert_allclose(tied.covariance, plain.covariance, atol=0.02)
    np.testing.assert_allclose(tied.kept, plain.kept, atol=0.02)


def test_tail_and_size_of_noise_are_found():
    rng = np.random.default_rng(0)
    pairs = [Group(rng.normal(0, 5) + 0.7 * rng.standard_normal(2), np.zeros(2), np.ones(2)) for _ in range(400)]
    normal = fit_noise(pairs)
    assert normal.tail is None
    assert normal.variance == pytest.approx(0.49, rel=0.1)
    assert normal.df == 400
    heavy = fit_noise([Group(rng.standard_t(3, 2), np.zeros(2), np.ones(2)) for _ in range(400)])
    assert heavy.tail in (3.0, 4.0)
    assert heavy.variance == pytest.approx(1.0, rel=0.25)


def test_worth_of_one_value_by_brute_force():
    """t₃ value at x, t₁ level before: posterior mean by summing over a fine grid."""
    from scipy.stats import t

    level = np.linspace(-60, 60, 400_001)
    for x in (-9.0, -2.0, 0.5, 3.0, 20.0):
        mass = t.pdf(x - level, 3) * t.pdf(level / 2.0, 1)
        expected = float(mass @ level / mass.sum())
        worth = normal_worth(Group(np.array([x]), np.ones(1), np.ones(1)), 3.0, Before(0.0, 4.0, 1.0))
        own, before = worth.shares[0], worth.before / 4.0
        if abs(x) > 2.5:
            assert own * x / (own + before) == pytest.approx(expected, abs=0.02)
        else:  # near the middle weights stand in for the ratio of two small numbers
            assert own * x / (own + before) == pytest.approx(expected, abs=0.25)


@given(
    x=st.lists(st.floats(-50, 50), min_size=1, max_size=3),
    variance=st.floats(0.01, 100),
    tail=st.sampled_from([3.0, 6.0]),
)
@settings(deadline=None, max_examples=60)
def test_worth_never_leaves_the_data(x, variance, tail):
    values = np.array(x)
    worth = normal_worth(Group(values, np.ones(len(x)), np.ones(len(x))), tail, Before(0.0, variance, tail))
    assert np.all(worth.shares > 0)
    assert worth.before >= 0
    assert worth.extra >= 0
    assert worth.shift == 0.0


def test_outliers_among_single_controls_do_little_harm(plates):
    raw, robust = [], []
    for seed in range(12):
        wells, offsets = _screen(seed, n_plates=24, spread=0.5, tail=3)
        control = wells[wells["role"] == "negcon"].set_index("barcode")["value"].to_numpy()
        raw.append(np.mean((control - offsets) ** 2))
        robust.append(np.mean(_errors(fit_alignment(wells, _section(anchors=("bridges",)), plates), offsets) ** 2))
    assert np.mean(robust) < 0.25 * np.mean(raw)


def test_a_plate_that_is_unlike_the_others_stays_where_its_controls_are(plates):
    wells, _ = _screen(5, n_plates=30, spread=0.1, negcon=2, samples=0)
    moved = wells.assign(value=wells["value"].mask(wells["barcode"] == "P007", wells["value"] + 40.0))
    fit = fit_alignment(moved, _section(), plates)
    centre = moved[moved["barcode"] == "P007"]["value"].mean()
    assert fit.plates[7].offset == pytest.approx(centre, abs=1.0)
    others = [plate.offset for plate in fit.plates if plate.barcode != "P007"]
    assert np.std(others) < 0.6


def test_unshrunk_single_controls_state_the_variance_of_their_tail(plates):
    wells, _ = _screen(3, n_plates=20)
    told = fit_alignment(wells, _section(anchors=("bridges",)), plates)
    tail, square = 3.0, told.settings.excess_variance
    told = told.model_copy(update={"plates": (), "settings": told.settings.model_copy(update={"tail": tail})})
    alone = fit_alignment(wells, _section(shrinkage=False), plates, known=told)
    own, _ = _stated(alone)
    # known.run_offset_variance is taken out of each plate's own part, and comes back with the run's
    common = told.run_offset_variance * alone.plates[0].scale ** 2
    np.testing.assert_allclose(own + common, square * tail / (tail - 2))


# Single controls


def test_single_controls_that_nothing_ties_are_refused_with_a_way_out(plates):
    wells, _ = _screen(0)
    for section in (_section(), _section(shrinkage=False)):
        with pytest.raises(UserError, match=r"plate P000.*noise of the controls cannot be told.*alignment\.anchors"):
            fit_alignment(wells, section, plates)
    apart, _ = _screen(0, replicates=1)
    with pytest.raises(UserError, match=r"too few plates are tied.* Give repeated plates the run of the plates"):
        fit_alignment(apart, _section(anchors=("bridges",)), plates)


def test_single_controls_have_sd_1_after_negcon(plates):
    wells, _ = _screen(1, n_plates=60)
    fit = fit_alignment(wells.assign(value=5.0 * wells["value"]), _section(anchors=("bridges",)), plates)
    assert len({plate.scale for plate in fit.plates}) == 1
    assert fit.plates[0].scale == pytest.approx(5.0, rel=0.25)
    assert fit.control_noise == pytest.approx(1.0)
    assert fit.plates[0].scale_variance == pytest.approx(0.5 / 30)


def test_two_point_works_with_one_control_of_each_kind(plates):
    wells, offsets = _screen(2, n_plates=40, poscon=1, spread=1.0)
    fit = fit_alignment(wells, _section("two-point", anchors=("bridges",)), plates)
    error = _errors(fit, offsets)
    assert 0 < fit.anchor < 5  # between the samples and the middle of the controls
    assert np.mean(error**2) < 0.35  # two controls on two tied plates: 1/4 and the run's share
    assert np.mean([plate.scale for plate in fit.plates]) == pytest.approx(1.0, abs=0.05)


def test_wide_spans_count_no_more_than_narrow_ones(plates):
    """By its own span a plate would weigh more the wider it is by chance: scales 3% too large on average."""
    level = []
    for seed in range(20):
        wells, _ = _screen(seed, n_plates=60, poscon=1, spread=1.0, samples=10, library=1.0)
        fit = fit_alignment(wells, _section("two-point", anchors=("samples",)), plates)
        level.append(fit.settings.log_scale.mean)
    assert np.mean(level) == pytest.approx(0.0, abs=0.015)


@pytest.mark.parametrize(("controls", "most"), [(1, 0.13), (4, 0.07)])
def test_the_better_of_two_controls_tells_the_offset(plates, controls, most):
    """Positive controls with three times the noise, as where knock-downs differ in strength.

    Taken as equal, single ones erred by 0.46 (mean square), and the noise of a negative control was told as 1.9.
    """
    square, stated, noise = [], [], []
    for seed in range(40, 60):
        wells, offsets = _screen(seed, n_plates=24, negcon=controls, poscon=controls, samples=60, library=1.0)
        strong = 2.5 * np.random.default_rng(seed + 1000).standard_normal(len(wells))
        wells["value"] += np.where(wells["role"] == "poscon", strong, 0.0)
        fit = fit_alignment(wells, _section("two-point", anchors=("samples",)), plates)
        error = _errors(fit, offsets)
        assert abs(fit.anchor) < 1.5
        square.append(np.mean(error**2))
        stated.append(np.mean(_stated(fit)[0]) + _stated(fit)[1])
        noise.append(fit.control_noise)
    assert np.mean(square) < most
    assert 0.65 < np.mean(stated) / np.mean(square) < 1.5
    assert np.mean(noise) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("shrinkage", [False, True])
@pytest.mark.parametrize(("controls", "away"), [(4, 10.0), (8, 10.0), (16, 3.0)])
def test_the_sd_of_a_few_controls_is_not_moved_by_ties(plates, controls, away, shrinkage):
    """Samples far from negative controls whose sd errs by a third. Moved as spans are, scales came out 0 or 20."""
    square, stated = [], []
    for seed in range(500, 510):
        wells, offsets = _screen(seed, n_plates=24, negcon=controls, spread=1.0, samples=60, library=1.0)
        wells["value"] += np.where(wells["role"] == "sample", away, 0.0)
        fit = fit_alignment(wells, _section(anchors=("samples",), shrinkage=shrinkage), plates)
        square.append(np.mean(_errors(fit, offsets) ** 2))
        stated.append(np.mean(_stated(fit)[0]) + _stated(fit)[1])
    assert max(square) < 2.5 / controls
    assert 0.7 < np.mean(stated) / np.mean(square) < 1.4


@pytest.mark.parametrize("size", [1.0, 8 / 7, 9 / 7, 10 / 7, 11 / 7, 12 / 7])
def test_a_plate_alone_in_its_round_is_not_tied(plates, size):
    """Not by rounding either."""
    wells, _ = _screen(1, n_plates=9, negcon=4, poscon=4)
    wells = wells.assign(round=wells["barcode"].rank(method="dense").astype(int), value=wells["value"] * size)
    fit = fit_alignment(wells, _section("two-point", anchors=("samples",)), plates)
    assert fit == fit_alignment(wells, _section("two-point"), plates)


@pytest.mark.parametrize(("controls", "left"), [(1, 0.056), (4, 0.0395)])
def test_ties_tell_scale_and_offset_where_the_samples_lie(plates, controls, left):
    """Samples around 0, controls at 0 and 10. Tied midway between them, plates kept 0.071 and 0.041 there."""
    between, square, stated = [], [], []
    for seed in range(40, 60):
        screen = {"n_plates": 24, "negcon": controls, "poscon": controls, "spread": 1.0, "samples": 60, "library": 1.0}
        wells, offsets = _screen(seed, **screen)
        fit = fit_alignment(wells, _section("two-point", anchors=("samples",)), plates)
        zero = np.array([plate.offset for plate in fit.plates]) - offsets
        between.append(np.var(zero))
        error = _errors(fit, offsets)
        square.append(np.mean(error**2))
        stated.append(np.mean(_stated(fit)[0]) + _stated(fit)[1])
    assert np.mean(between) < left
    assert 0.65 < np.mean(stated) / np.mean(square) < 1.5


# Bridges and samples


@pytest.mark.parametrize("method", ["negcon", "two-point"])
@pytest.mark.parametrize("anchor", ["bridges", "samples"])
def test_anchors_bring_plates_closer_to_each_other(plates, method, anchor):
    alone, tied = [], []
    for seed in range(6):
        wells, offsets = _screen(seed, negcon=3, poscon=3, samples=60, library=1.0)
        for anchors, found in ((), alone), ((anchor,), tied):
            error = _errors(fit_alignment(wells, _section(method, min_controls=2, anchors=anchors), plates), offsets)
            pair = error[::2] - error[1::2] if anchor == "bridges" else error - error.mean()
            found.append(np.mean(pair**2))
    assert np.mean(tied) < 0.5 * np.mean(alone)


def _chosen(wells, extreme):
    """Replicated samples of plates P000 and P001 get an effect that the others do not have."""
    first = wells["barcode"].isin(["P000", "P001"]) & (wells["role"] == "sample")
    return wells.assign(value=wells["value"].mask(first, wells["value"] + extreme))


def test_bridges_do_not_mind_what_was_chosen(plates):
    wells, _ = _screen(0)
    section = _section(anchors=("bridges",))
    plain, chosen = fit_alignment(wells, section, plates), fit_alignment(_chosen(wells, -30.0), section, plates)
    assert plain.bridges == chosen.bridges == 6 * 12
    for before, after in zip(plain.plates, chosen.plates, strict=True):
        assert after.offset == pytest.approx(before.offset, abs=1e-4)


def test_sample_medians_are_compared_within_a_round_only(plates):
    wells, _ = _screen(0, samples=40, library=1.0)
    section = _section(anchors=("samples",))
    late = wells["barcode"].isin(["P000", "P001"])
    rounds = wells.assign(round=np.where(late, 1, 0))
    plain, chosen = (fit_alignment(table, section, plates) for table in (rounds, _chosen(rounds, -30.0)))
    for before, after in zip(plain.plates, chosen.plates, strict=True):
        assert after.offset == pytest.approx(before.offset, abs=1e-6)
    drifted = fit_alignment(_chosen(wells, -30.0), section, plates)
    assert abs(drifted.plates[0].offset - plain.plates[0].offset) > 0.1


@pytest.mark.parametrize("anchors", [("bridges",), ("samples",), ("bridges", "samples")])
def test_excluded_perturbations_change_nothing(plates, anchors):
    wells, _ = _screen(0, negcon=4)
    hidden = frozenset({"X0-0", "X2-5", "X3-1"})
    poisoned = wells.assign(value=wells["value"].mask(wells["perturbation"].isin(hidden), 1e9))
    section = _section(anchors=anchors)
    assert fit_alignment(poisoned, section, plates, exclude=hidden) == fit_alignment(
        wells, section, plates, exclude=hidden
    )
    assert fit_alignment(wells, section, plates, exclude=hidden) != fit_alignment(wells, section, plates)


def test_without_bridges_the_controls_decide_alone(plates):
    wells, _ = _screen(0, negcon=4, replicates=1)
    tied, alone = (fit_alignment(wells, _section(anchors=anchors), plates) for anchors in (("bridges",), ()))
    assert tied == alone
    assert tied.bridges == 0


@given(SEEDS)
@settings(max_examples=5, deadline=None)
def test_order_of_wells_changes_no_bit_with_anchors(plates, seed):
    wells, _ = _screen(1, n_plates=6, negcon=3)
    section = _section(anchors=("bridges", "samples"))
    shuffled = wells.sample(frac=1.0, random_state=np.random.default_rng(seed))
    assert fit_alignment(shuffled, section, plates) == fit_alignment(wells, section, plates)


@pytest.mark.parametrize("anchors", [("bridges",), ("samples",)])
@pytest.mark.parametrize("method", ["negcon", "two-point"])
@given(st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6))
@settings(max_examples=8, deadline=None, phases=[Phase.generate])
def test_plate_shifts_vanish_with_anchors(plates, method, anchors, shifts):
    """A plate's scale vanishes only nearly: how much controls are worth is told from the run."""
    wells, _ = _screen(1, n_plates=6, negcon=5, poscon=5)
    section = _section(method, anchors=anchors, shrinkage=False)
    moved = wells.assign(value=np.array(shifts)[wells["barcode"].str[1:].astype(int)] + wells["value"])
    expected, found = (apply_alignment(table, fit_alignment(table, section, plates)) for table in (wells, moved))
    np.testing.assert_allclose(found["aligned"], expected["aligned"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("anchors", [("bridges",), ("bridges", "samples")])
@given(shift=st.floats(-1e5, 1e5), factor=st.floats(1e-3, 1e3))
@settings(max_examples=8, deadline=None)
def test_run_wide_shift_and_scale_vanish_with_single_controls(plates, anchors, shift, factor):
    wells, _ = _screen(1)
    section = _section(anchors=anchors)
    moved = wells.assign(value=shift + factor * wells["value"])
    expected, found = (apply_alignment(table, fit_alignment(table, section, plates)) for table in (wells, moved))
    np.testing.assert_allclose(found["aligned"], expected["aligned"], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("shrinkage", [True, False])
@pytest.mark.parametrize("shift", [-7.0, 1000.0])
def test_run_wide_shift_vanishes_where_plates_have_other_gains_and_outliers(plates, shrinkage, shift):
    wells, _ = _screen(0, n_plates=16, negcon=2, poscon=2, spread=5.0, tail=2.0, samples=40, library=1.0)
    gain = np.exp(0.3 * np.random.default_rng(0).standard_normal(16))[wells["barcode"].str[1:].astype(int)]
    wells = wells.assign(value=gain * wells["value"])
    moved = wells.assign(value=shift + wells["value"])
    section = _section("two-point", anchors=("samples",), shrinkage=shrinkage)
    found = []
    for table in (wells, moved):
        early = fit_alignment(table[table["barcode"] < "P012"], section, plates)
        assert early.settings.tail is not None
        found.append(apply_alignment(table, fit_alignment(table, section, plates, known=early))["aligned"])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-3)


def test_a_second_shrunk_fit_only_goes_on_towards_the_controls(plates):
    """Shrinkage is no projection: what it left of a plate's offset, a second fit takes in part, never too much.

    It is not done in practice: a stored fit turns `value` into `aligned`, and never reads `aligned`.
    """
    wells, _ = _screen(4, n_plates=20, negcon=4, spread=0.6)
    once = apply_alignment(wells, fit_alignment(wells, _section(), plates))
    again = once.assign(value=once["aligned"]).drop(columns="aligned")
    second = fit_alignment(again, _section(), plates)
    left = again[again["role"] == "negcon"].groupby("barcode")["value"].median().to_numpy()
    taken = np.array([plate.offset for plate in second.plates])
    level = second.settings.centre.mean
    assert abs(level) < 0.1
    assert np.all((taken - level) * (left - level) >= 0)
    assert np.all(np.abs(taken - level) <= np.abs(left - level) + 1e-9)


# Later plates


@pytest.mark.parametrize("negcon", [1, 2, 8])
@pytest.mark.parametrize("anchors", [("bridges",), ("samples",), ()])
def test_a_later_plate_changes_no_bit_of_an_earlier_one(plates, negcon, anchors):
    if negcon == 1 and not anchors:
        pytest.skip("refused: see above")
    wells, offsets = _screen(6, n_plates=16, negcon=negcon, samples=30)
    section = _section(anchors=anchors)
    early = fit_alignment(wells[wells["barcode"] < "P011"], section, plates)
    stored = AlignmentFit.model_validate_json(early.model_dump_json())
    both = fit_alignment(wells, section, plates, known=stored)
    assert both.plates[:11] == early.plates
    assert both.model_copy(update={"plates": early.plates}) == early
    assert [plate.barcode for plate in both.plates[11:]] == [f"P{p:03d}" for p in range(11, 16)]
    assert np.mean(_errors(both, offsets)[11:] ** 2) < (1.5 if negcon == 1 else 1.0)
    alone = fit_alignment(wells[wells["barcode"] >= "P011"], section, plates, known=stored)
    assert alone.plates[:11] == early.plates
    assert fit_alignment(wells, section, plates, known=both) == both


def test_later_plates_are_tied_to_earlier_ones(plates):
    """P011 is the replicate of P010, which is in the stored fit: two controls tell it, not one."""
    squares, stated = [], []
    for seed in range(40):
        wells, offsets = _screen(seed, n_plates=14, samples=40)
        early = fit_alignment(wells[wells["barcode"] < "P011"], _section(anchors=("bridges",)), plates)
        both = fit_alignment(wells, _section(anchors=("bridges",)), plates, known=early)
        own, common = _stated(both)
        squares.append(_errors(both, offsets)[11] ** 2)
        stated.append(own[11] + common)
    assert np.mean(squares) < 0.65
    assert np.mean(stated) < 0.65


@pytest.mark.parametrize(("method", "controls"), [("negcon", 1), ("negcon", 16), ("two-point", 1)])
def test_later_plates_lie_beside_earlier_ones(plates, method, controls):
    """What all plates share counts for nothing there; the later plates' own controls must not move them together."""
    squares, stated = [], []
    for seed in range(25):
        wells, offsets = _screen(seed, n_plates=15, negcon=controls, poscon=1, spread=1.0, samples=60, library=1.0)
        if method == "negcon":
            wells = wells[wells["role"] != "poscon"]
        early = fit_alignment(wells[wells["barcode"] < "P011"], _section(method, anchors=("samples",)), plates)
        both = fit_alignment(wells, _section(method, anchors=("samples",)), plates, known=early)
        error, own = _errors(both, offsets), _stated(both)[0]
        squares.append(np.mean((error[11:] - error[:11].mean()) ** 2))
        stated.append(own[11:].mean() + own[:11].mean() / 11)
    assert 0.65 < np.mean(stated) / np.mean(squares) < 1.5


@pytest.mark.parametrize("rounds", [(1, 2, 3, 4), (1, 1, 1, 1)])
def test_later_plates_tied_to_no_earlier_one_have_their_own_errors(plates, rounds):
    """The earlier ones are tied to each other, and four later ones to none, or to each other: no error is shared."""
    squares, stated = [], []
    for seed in range(40):
        wells, offsets = _screen(seed, n_plates=10, spread=1.0, samples=60, library=1.0)
        wells["round"] = wells["barcode"].map({f"P{6 + i:03d}": round_ for i, round_ in enumerate(rounds)}).fillna(0)
        early = fit_alignment(wells[wells["barcode"] < "P006"], _section(anchors=("samples",)), plates)
        both = fit_alignment(wells, _section(anchors=("samples",)), plates, known=early)
        own, common = _stated(both)
        squares.append(np.mean(_errors(both, offsets)[6:] ** 2))
        stated.append(np.mean(own[6:]) + common)
        later = wells[wells["barcode"] >= "P006"]
        alone = fit_alignment(later, _section(anchors=("samples",)), plates, known=early)
        assert alone.plates[6].offset_variance == pytest.approx(both.plates[6].offset_variance)
    assert 0.75 < np.mean(stated) / np.mean(squares) < 1.3


def test_stated_error_of_later_plates(plates):
    found = []
    for seed in range(60):
        wells, offsets = _screen(seed, n_plates=20, negcon=4, spread=0.6, samples=0)
        early = fit_alignment(wells[wells["barcode"] < "P012"], _section(), plates)
        both = fit_alignment(wells, _section(), plates, known=early)
        own, common = _stated(both)
        found.append([np.mean(_errors(both, offsets)[12:] ** 2), own[12:].mean() + common])
    error, stated = np.mean(found, axis=0)
    assert stated / error == pytest.approx(1.0, abs=0.15)


def test_a_run_that_began_with_one_plate_goes_on(plates):
    wells, _ = _screen(0, n_plates=5, negcon=6)
    first = fit_alignment(wells[wells["barcode"] == "P000"], _section(), plates)
    both = fit_alignment(wells, _section(), plates, known=first)
    assert both.plates[:1] == first.plates
    assert both.settings.centre is not None
    third = fit_alignment(wells.assign(attempt=2), _section(), plates, known=both)
    assert len(third.plates) == 10


def test_the_stored_fit_is_small(plates):
    wells, _ = _screen(0, n_plates=40, negcon=4)
    assert len(fit_alignment(wells, _section("negcon"), plates).settings.model_dump_json()) < 1000


def test_a_known_fit_of_something_else_is_refused(plates):
    wells, _ = _screen(0, negcon=4, poscon=4)
    fit = fit_alignment(wells, _section(), plates)
    with pytest.raises(UserError, match="another run or method"):
        fit_alignment(wells.assign(run="S"), _section(), plates, known=fit)
    with pytest.raises(UserError, match="another run or method"):
        fit_alignment(wells, _section("two-point"), plates, known=fit)


def test_later_plates_that_are_all_turned_are_refused(plates):
    wells, _ = _screen(0, negcon=4, poscon=4)
    late = wells["barcode"] > "P009"
    swapped = wells["role"].map({"negcon": "poscon", "poscon": "negcon", "sample": "sample"})
    fit = fit_alignment(wells[~late], _section("two-point"), plates)
    with pytest.raises(UserError, match="the other way round than on the run's earlier plates"):
        fit_alignment(wells.assign(role=wells["role"].mask(late, swapped)), _section("two-point"), plates, known=fit)


# Too few controls


@pytest.mark.parametrize("method", ["negcon", "two-point"])
@pytest.mark.parametrize("shrinkage", [False, True])
@pytest.mark.parametrize("anchors", [(), ("bridges",)])
@pytest.mark.parametrize("lack", ["none", "few", "flat"])
def test_a_plate_with_too_few_controls_takes_the_runs_level(plates, method, shrinkage, anchors, lack):
    wells, offsets = _screen(3, n_plates=14, negcon=5, poscon=5)
    control = (wells["barcode"] == "P004") & (wells["role"] == "negcon")
    if lack == "flat":
        wells = wells.assign(value=wells["value"].mask(control, 99.0))
    else:
        wells = wells.drop(index=wells[control].index[0 if lack == "none" else 1 :])
    section = {"method": method, "min_controls": 3, "shrinkage": shrinkage, "anchors": anchors}
    with pytest.raises(UserError, match=r"plate P004, attempt 1.*alignment\.on_too_few"):
        fit_alignment(wells, _section(**section), plates)
    fit = fit_alignment(wells, _section(**section, on_too_few="run"), plates)
    plate, others = fit.plates[4], [plate for plate in fit.plates if plate.barcode != "P004"]
    assert plate.shrinkage_offset == plate.shrinkage_scale == 0.0
    assert plate.n_negcon == {"none": 0, "few": 1, "flat": 5}[lack]
    stated = (plate.offset_variance + fit.run_offset_variance) * plate.scale**2
    if anchors:
        error = _errors(fit, offsets)[4]
        assert abs(error) < 4 * np.sqrt(stated)
        assert method == "negcon" or stated < 1.5  # with a sure scale its replicate tells it better than the run
    else:
        centres = [other.offset + fit.anchor * other.scale for other in others]
        assert plate.offset + fit.anchor * plate.scale == pytest.approx(np.median(centres), abs=0.7)
        assert np.sqrt(stated) == pytest.approx(np.std(centres, ddof=1), rel=0.4)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_later_plates_that_all_lack_controls_take_the_runs_level(plates, sign):
    wells, _ = _screen(3, n_plates=14, negcon=5, poscon=5)
    wells["value"] *= sign
    late, control = wells["barcode"] > "P011", wells["role"] == "negcon"
    section = _section("two-point", min_controls=3, on_too_few="run")
    early = fit_alignment(wells[~late], section, plates)
    both = fit_alignment(wells[~(late & control)], section, plates, known=early)
    assert [np.sign(plate.scale) for plate in both.plates] == [sign] * 14
    assert all(plate.shrinkage_offset == plate.shrinkage_scale == 0.0 for plate in both.plates[12:])


def test_the_runs_level_needs_two_plates(plates):
    wells, _ = _screen(0, n_plates=3, negcon=4)
    lost = wells["barcode"].isin(["P000", "P001"]) & (wells["role"] == "negcon")
    with pytest.raises(UserError, match="the level of the run cannot be taken"):
        fit_alignment(wells[~lost], _section(on_too_few="run"), plates)
