"""Several outputs: which perturbations are right as a whole, and bounds of each output at once."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.stopping.audit import audit_bound
from tasks.stopping.outputs import jointly_right, output_bounds


@given(st.integers(1, 6), st.integers(1, 6))
def test_a_share_of_the_outputs_must_be_right(outputs, needed):
    needed = min(needed, outputs)
    right = np.array(list(itertools.product([False, True], repeat=outputs)))
    found = jointly_right(right, needed / outputs)
    assert found.tolist() == [sum(row) >= needed for row in right.tolist()]


@pytest.mark.parametrize(("share", "needed"), [(1.0, 5), (0.8, 4), (0.81, 5), (0.2, 1), (0.01, 1)])
def test_shares_are_rounded_up_to_whole_outputs(share, needed):
    right = np.arange(5)[None, :] < np.arange(6)[:, None]
    assert jointly_right(right, share).tolist() == [count >= needed for count in range(6)]


def test_one_output_is_itself():
    right = np.array([[True], [False]])
    assert jointly_right(right, 1.0).tolist() == [True, False]


@pytest.mark.parametrize(("shape", "share"), [((3,), 0.5), ((3, 0), 0.5), ((3, 2), 0.0), ((3, 2), 1.1)])
def test_no_share(shape, share):
    with pytest.raises(UserError, match="no share of outputs"):
        jointly_right(np.ones(shape, dtype=bool), share)


def test_each_output_has_an_equal_share_of_the_risk():
    right = np.ones((50, 2), dtype=bool)
    right[:5, 1] = False
    found = output_bounds(right, 400, 0.1)
    assert found.tolist() == [1 - audit_bound(400, 50, errors, 0.05) / 400 for errors in (0, 5)]


def test_all_bounds_hold_at_once():
    """Enumerated over all samples of 3 out of 7, outputs right and wrong together or against each other."""
    for second in ("same", "opposite"):
        truth = np.array([[k < 4, (k < 4) == (second == "same")] for k in range(7)])
        draws = list(itertools.combinations(range(7), 3))
        wrong = [(output_bounds(truth[list(draw)], 7, 0.3) > truth.mean(axis=0) + 1e-12).any() for draw in draws]
        assert np.mean(wrong) <= 0.3


def test_a_sample_larger_than_the_population():
    with pytest.raises(UserError):
        output_bounds(np.ones((5, 2), dtype=bool), 4, 0.1)
