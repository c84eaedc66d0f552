"""Points that claim rows, against a loop over all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.batches.claims import _NEAR, claim_nearest
from tasks.operators.rows import MemoryRows


def claim(features, place, priority, chunk=16_384, open_=None):
    open_ = np.ones(len(features), dtype=bool) if open_ is None else open_
    return claim_nearest(MemoryRows(features, chunk), open_, place, priority)


def loop(features, place, priority, open_):
    """One pair at a time: the nearest row that is left, the lowest priority among those that are equally near."""
    left, claimed = open_.copy(), []
    for point in place:
        square = np.where(left, np.square(features.astype(np.float64) - point).sum(axis=1), np.inf)
        claimed.append(int(np.lexsort((priority, square))[0]))
        left[claimed[-1]] = False
    return claimed


@pytest.mark.parametrize("chunk", [16_384, 100, 7])
def test_priority_decides_between_any_number_of_equals(chunk):
    features = np.zeros((400, 4), dtype=np.float32)
    features[: 5 * _NEAR, 0] = 1.0
    for seed in range(20):
        priority = np.random.default_rng(seed).permutation(400)
        rows, distance = claim(features, np.array([[1.0, 0, 0, 0]] * 3), priority, chunk)
        assert rows.tolist() == np.argsort(priority[: 5 * _NEAR])[:3].tolist()
        assert not distance.any()


@pytest.mark.parametrize("chunk", [16_384, 60])
def test_an_offset_that_all_share_hides_nobody(chunk):
    rng = np.random.default_rng(1)
    features = 1e9 + rng.standard_normal((500, 3))
    place, priority = features[rng.permutation(500)[:200]] + 1e-3, rng.permutation(500)
    rows, _ = claim(features, place, priority, chunk)
    assert rows.tolist() == loop(features, place, priority, np.ones(500, dtype=bool))


def test_a_far_point_does_not_hide_what_is_near_to_others():
    """No middle helps here: the bound on the rounding has to."""
    rng = np.random.default_rng(2)
    features = rng.standard_normal((500, 3)) + 1e9
    place, priority = np.concatenate([features[:50] + 1e-3, -1e10 + np.zeros((1, 3))]), rng.permutation(500)
    rows, _ = claim(features, place, priority)
    assert rows.tolist() == loop(features, place, priority, np.ones(500, dtype=bool))


@given(st.integers(0, 999), st.sampled_from([5, 40, 1000]), st.integers(1, 6), st.floats(0, 1e6))
@settings(max_examples=40, deadline=None)
def test_claims_are_those_of_a_loop(seed, chunk, values, offset):
    rng = np.random.default_rng(seed)
    features = offset + rng.integers(0, values, (150, 2)).astype(np.float64)
    place, priority = offset + rng.random((20, 2)) * values, rng.permutation(150)
    open_ = rng.random(150) < 0.6
    rows, distance = claim(features, place, priority, chunk, open_)
    assert rows.tolist() == loop(features, place, priority, open_)
    np.testing.assert_array_equal(distance, np.sqrt(np.square(features[rows] - place).sum(axis=1)))
