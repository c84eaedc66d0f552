"""What a strategy sees and answers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.batches import Picks
from tasks.batches.pool import largest_remainder
from tasks.errors import NumericalError


class TestPoolView:
    def test_what_leaves_the_pool_counts_as_observed(self, make_pool):
        pool = make_pool(20, 3, observed=2)
        taken = np.zeros(22, dtype=bool)
        taken[[4, 7]] = True
        left = pool.without(taken)
        assert np.flatnonzero(left.open).tolist() == [row for row in range(20) if row not in (4, 7)]
        assert left.observed.tolist() == [4, 7, 20, 21]
        assert (len(left), left.available, pool.available) == (22, 18, 20)
        assert left.coordinates is pool.coordinates

    def test_what_is_vetoed_is_neither_open_nor_observed(self, make_pool):
        pool = make_pool(20, 3, observed=2)
        vetoed = np.isin(np.arange(22), [4, 7, 21])
        left = pool.forbidding(vetoed)
        assert np.flatnonzero(left.open).tolist() == [row for row in range(20) if row not in (4, 7)]
        assert left.observed.tolist() == [20, 21]
        assert not left.without(vetoed).pending.any()
        assert left.without(np.isin(np.arange(22), [3])).observed.tolist() == [3, 20, 21]

    def test_refuses_values_that_are_not_finite(self, make_pool):
        pool = make_pool(5, 2)
        with pytest.raises(NumericalError, match="variance holds values that are not finite"):
            replace(pool, variance=np.array([1, 2, np.nan, 3, 4.0]))

    def test_refuses_shapes_that_disagree(self, make_pool):
        with pytest.raises(NumericalError, match="2 coordinates of 3 modes"):
            replace(make_pool(5, 2), eigenvalues=np.ones(3))

    def test_refuses_double_picks(self):
        with pytest.raises(NumericalError, match="picked twice"):
            Picks(np.array([1, 1]), np.zeros(2), np.zeros(2, dtype=np.int64), ("", ""))


@given(
    st.lists(st.floats(0.0, 100.0), min_size=1, max_size=12).filter(lambda w: sum(w) > 1e-3),
    st.integers(0, 500),
    st.integers(0, 99),
)
def test_largest_remainder_is_within_one_of_the_exact_share(weights, total, seed):
    places = largest_remainder(weights, total, np.random.default_rng(seed))
    assert places.sum() == total
    exact = np.array(weights) / np.sum(weights) * total
    assert (np.abs(places - exact) < 1 + 1e-6).all()


def test_largest_remainder_keeps_exact_shares_exact():
    rng = np.random.default_rng(0)
    assert largest_remainder([0.1, 0.2, 0.7], 10, rng).tolist() == [1, 2, 7]
    assert largest_remainder([0.6, 0.3, 0.1], 30, rng).tolist() == [18, 9, 3]
