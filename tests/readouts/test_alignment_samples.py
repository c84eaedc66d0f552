"""Methods for one-off screens: plate medians and B-scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.campaigns.config import AlignmentSection
from tasks.errors import UserError
from tasks.readouts.alignment import (
    ALIGNMENTS,
    SAMPLE_BASED,
    SAMPLE_WARNING,
    AlignmentFit,
    alignment_warning,
    apply_alignment,
    fit_alignment,
)
from tasks.readouts.alignment.samples import fit_b_score

METHODS = sorted(SAMPLE_BASED)


def _section(method):
    return AlignmentSection(method=method)


def _grid(make_wells, values):
    """One plate with a grid of samples, and a control on a row of its own."""
    values = np.asarray(values, dtype=float)
    rows, columns = values.shape
    wells = make_wells(negcon=2, poscon=0, samples=values.size)
    sample = wells["role"] == "sample"
    wells.loc[sample, "row"] = np.repeat(np.arange(rows), columns)
    wells.loc[sample, "column"] = np.tile(np.arange(columns), rows)
    wells.loc[sample, "value"] = values.ravel()
    wells.loc[~sample, ["row", "column"]] = [[rows, 0], [rows, columns]]
    return wells


def _aligned(wells, plates, method):
    return apply_alignment(wells, fit_alignment(wells, _section(method), plates))["aligned"].to_numpy()


def test_they_carry_a_warning_and_stand_apart():
    assert sorted(SAMPLE_BASED) == ["b-score", "plate-median"]
    assert not SAMPLE_BASED & set(ALIGNMENTS)
    for method in SAMPLE_BASED:
        assert alignment_warning(method) == f"alignment {method} {SAMPLE_WARNING}"
    assert alignment_warning("negcon") is alignment_warning("two-point") is None


def test_b_score_by_hand(make_wells, plates):
    """Row medians 2, 6, 10, then column medians of what is left −1, 0, 2; the polish ends there.

    1 2 4      −1 0 2       0 0 0
    5 6 9  ->  −1 0 3   ->  0 0 1      Overall 6, rows −4 0 4, columns −1 0 2.
    2 10 12    −8 0 2      −7 0 0
    """
    wells = _grid(make_wells, [[1, 2, 4], [5, 6, 9], [2, 10, 12]])
    fit = fit_b_score(np.array([[1.0, 2, 4], [5, 6, 9], [2, 10, 12]]))
    assert fit.overall == 6.0
    np.testing.assert_array_equal(fit.rows, [-4, 0, 4])
    np.testing.assert_array_equal(fit.columns, [-1, 0, 2])
    np.testing.assert_array_equal(fit.residual, [[0, 0, 0], [0, 0, 1], [-7, 0, 0]])
    with pytest.raises(UserError, match=r"plate P00.*MAD = 0.*b-score needs several samples"):
        fit_alignment(wells, _section("b-score"), plates)


def test_b_score_of_a_plate_by_hand(make_wells, plates):
    """Residuals ±1 and 0 around rows 10, 20, 30: MAD 1, so that a B-score is the residual over 1.4826."""
    residual = np.array([[0, 1, -1, 1, -1], [1, 0, 0, -1, 1], [-1, -1, 1, 0, 0]])
    wells = _grid(make_wells, residual + np.array([[10], [20], [30]]))
    fit = fit_alignment(wells, _section("b-score"), plates)
    plate = fit.plates[0]
    assert plate.offset == 20.0
    assert plate.row_effects == (-10.0, 0.0, 10.0)
    assert plate.column_effects == (0.0,) * 5
    assert plate.scale == pytest.approx(1.4826)
    scores = apply_alignment(wells, fit).query("role == 'sample'")["aligned"].to_numpy().reshape(3, 5)
    np.testing.assert_allclose(scores, residual / 1.4826)


def _polish(grid):
    """The same by sweeping medians with lists and sorting, as one does on paper."""

    def median(numbers):
        known = sorted(number for number in numbers if number == number)
        half = len(known) // 2
        return known[half] if len(known) % 2 else (known[half - 1] + known[half]) / 2

    left = [list(row) for row in grid]
    for _ in range(3000):  # medians of even numbers of values may close in slowly
        for i, row in enumerate(left):
            middle = median(row)
            left[i] = [number - middle for number in row]
        for j in range(len(left[0])):
            middle = median([row[j] for row in left])
            for row in left:
                row[j] -= middle
    return np.array(left)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_b_score_agrees_with_a_polish_on_paper(seed):
    rng = np.random.default_rng(seed)
    grid = rng.normal(0, 1, (5, 7)) + rng.normal(0, 3, (5, 1)) + rng.normal(0, 3, 7)
    grid[rng.random((5, 7)) < 0.1] = np.nan
    grid = grid[np.isfinite(grid).any(axis=1)]
    if not np.isfinite(grid).any(axis=0).all():
        return
    np.testing.assert_allclose(fit_b_score(grid).residual, _polish(grid), atol=1e-8)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_b_score_parts_sum_to_the_plate(seed):
    rng = np.random.default_rng(seed)
    grid = 1e4 + 100 * rng.standard_normal((6, 9))
    found = fit_b_score(grid)
    np.testing.assert_allclose(found.overall + found.rows[:, None] + found.columns + found.residual, grid)
    np.testing.assert_allclose([np.median(found.rows), np.median(found.columns)], 0.0, atol=1e-8)


def test_row_and_column_patterns_vanish_in_b_scores(make_wells, plates):
    """Rows go exactly. Medians of columns still depend on them a little: the polish has no single end."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((8, 10))
    rows, columns = 50 * rng.standard_normal((8, 1)), 50 * rng.standard_normal(10)
    plain, by_row, both = (
        _aligned(_grid(make_wells, noise + pattern), plates, "b-score")[2:] for pattern in (0.0, rows, rows + columns)
    )
    np.testing.assert_allclose(by_row, plain, atol=1e-8)
    assert np.corrcoef(both, plain)[0, 1] > 0.95
    assert np.abs(both - plain).max() < 1.5


@pytest.mark.parametrize("method", METHODS)
@given(shift=st.floats(-1e4, 1e4), factor=st.floats(0.01, 100))
@settings(max_examples=15, deadline=None)
def test_plate_shift_and_scale_vanish(make_wells, plates, method, shift, factor):
    wells = _grid(make_wells, np.random.default_rng(1).normal(40, 7, (6, 8)))
    moved = wells.assign(value=shift + factor * wells["value"])
    np.testing.assert_allclose(_aligned(moved, plates, method), _aligned(wells, plates, method), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_applying_twice_is_applying_once(make_wells, plates, method, seed):
    wells = _grid(make_wells, np.random.default_rng(seed).normal(40, 7, (6, 8)))
    wells = wells[wells["role"] == "sample"]
    once = _aligned(wells, plates, method)
    np.testing.assert_allclose(_aligned(wells.assign(value=once), plates, method), once, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_order_of_wells_and_later_plates_change_no_bit(make_wells, plates, method):
    wells = make_wells(offsets=(0.0, 5.0, 2.0), samples=200)
    fit = fit_alignment(wells, _section(method), plates)
    assert fit_alignment(wells.sample(frac=1.0, random_state=1), _section(method), plates) == fit
    early = fit_alignment(wells[wells["barcode"] < "P02"], _section(method), plates)
    assert early.plates == fit.plates[:2]
    assert fit_alignment(wells, _section(method), plates, known=early).plates == fit.plates
    assert AlignmentFit.model_validate_json(fit.model_dump_json()) == fit


@pytest.mark.parametrize("method", METHODS)
def test_excluded_samples_are_not_looked_at(make_wells, plates, method):
    wells = make_wells(samples=200)
    hidden = frozenset({"X0-03", "X0-77"})
    poisoned = wells.assign(value=wells["value"].mask(wells["perturbation"].isin(hidden), 1e6))
    fits = [fit_alignment(table, _section(method), plates, exclude=hidden) for table in (wells, poisoned)]
    assert fits[0] == fits[1] != fit_alignment(wells, _section(method), plates)


@pytest.mark.parametrize("method", METHODS)
def test_a_plate_without_samples_is_named(make_wells, plates, method):
    wells = make_wells(samples=200)
    with pytest.raises(UserError, match="plate P00, attempt 1: too few samples with a value; got 0"):
        fit_alignment(wells[wells["role"] != "sample"], _section(method), plates)


def test_they_drift_when_samples_are_chosen_and_controls_do_not(make_wells, plates):
    """The second plate holds strong perturbations only: its median hides what they do."""
    truth = {f"X{i:03d}": float(value) for i, value in enumerate(np.random.default_rng(0).normal(0, 2, 300))}
    chosen = {name: value for name, value in truth.items() if value < -1}
    everything, strong = make_wells(truth=truth), make_wells(seed=1, truth=chosen).assign(barcode="P01")
    import pandas as pd

    wells = pd.concat([everything, strong], ignore_index=True)
    for method, drift in (("plate-median", 2.0), ("negcon", 0.0)):
        section = AlignmentSection(method=method, shrinkage=False)
        offsets = [plate.offset for plate in fit_alignment(wells, section, plates).plates]
        assert abs(offsets[1] - offsets[0]) == pytest.approx(drift, abs=0.8)
