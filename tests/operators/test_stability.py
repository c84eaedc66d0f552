"""Halving residuals: whole plates where possible, the same deal each time, and what agreement means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.operators import Factor
from tasks.operators.stability import agreement, deal, rank_correlation


@settings(max_examples=60, deadline=None)
@given(n=st.integers(5, 60), plates=st.integers(0, 12), parts=st.integers(2, 5), seed=st.integers(0, 99))
def test_every_point_is_in_one_part_and_a_plate_is_never_torn_apart(n, plates, parts, seed):
    stands = np.zeros((n, plates), dtype=bool)
    if plates:
        stands[np.arange(n), np.random.default_rng(seed).integers(0, plates, n)] = True
    part, by = deal(stands, parts, seed)
    assert part.min() >= 0
    assert np.bincount(part, minlength=parts).min() >= 1
    assert np.bincount(part).max() <= 2 * n / parts + 1
    if by == "plates":
        assert all(len(np.unique(part[column])) <= 1 for column in stands.T)
    again, _ = deal(stands, parts, seed)
    np.testing.assert_array_equal(part, again)


def test_points_tied_through_others_stay_together():
    stands = np.zeros((12, 5), dtype=bool)
    stands[:3, 0] = stands[2:6, 1] = True  # point 2 ties plates 0 and 1
    stands[6:8, 2] = stands[8:10, 3] = stands[10:, 4] = True
    part, by = deal(stands, 2, 0)
    assert by == "plates"
    assert len(set(part[:6])) == 1
    assert np.bincount(part).tolist() == [6, 6]


def test_one_plate_cannot_be_halved():
    part, by = deal(np.arange(10)[:, None] % 3 == np.arange(3), 2, 0)
    assert by == "labels", "three plates are too few for halves"
    part, by = deal(np.ones((10, 1), dtype=bool), 2, 0)
    assert by == "labels"
    assert np.bincount(part).tolist() == [5, 5]
    assert deal(np.zeros((10, 0), dtype=bool), 2, 0)[1] == "labels"
    with pytest.raises(UserError, match="too few residuals to divide; got 1"):
        deal(np.zeros((1, 0), dtype=bool), 2, 0)


def test_the_same_estimate_agrees_and_orthogonal_ones_do_not():
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(50, 6)))
    one, other = Factor(q[:, :3] * [3.0, 2.0, 1.0]), Factor(q[:, 3:] * [3.0, 2.0, 1.0])
    same = agreement(one, one, "plates")
    assert (same.diagonals, same.subspace, same.modes) == (pytest.approx(1), pytest.approx(1), 3)
    assert agreement(one, other, "plates").subspace == pytest.approx(0, abs=1e-9)


def test_nothing_agrees_with_nothing():
    empty, one = Factor(np.zeros((9, 0))), Factor(np.ones((9, 1)))
    assert agreement(empty, one, "labels").diagonals is None
    assert "noise" in agreement(one, empty, "labels").why
    flat = agreement(one, one, "labels")
    assert (flat.diagonals, flat.subspace, flat.why) == (None, pytest.approx(1), "a diagonal is constant")


def test_only_growing_error_is_no_direction():
    one = Factor(np.ones((9, 1)), np.array([-1.0]))
    assert agreement(one, one, "labels").modes == 0


def test_rank_correlation_is_blind_to_scale():
    x = np.array([1.0, 5.0, 2.0, 9.0])
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1)
    assert rank_correlation(x, np.ones(4)) is None
