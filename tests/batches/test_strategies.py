"""What every strategy promises, and what each of them maximises."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.batches import STRATEGIES, ExhaustedStrategy, Picks, PoolView
from tasks.batches.pool import largest_remainder
from tasks.errors import NumericalError


def draw(name, pool, n, seed=0):
    return STRATEGIES[name](pool, n, np.random.default_rng(seed))


def with_coordinates(pool, coordinates, observed=None):
    rank = coordinates.shape[1]
    return replace(
        pool,
        index=np.arange(len(coordinates)),
        coordinates=coordinates,
        loadings=coordinates.copy(),
        eigenvalues=np.ones(rank),
        variance=np.square(coordinates).sum(axis=1),
        predictions=np.zeros(len(coordinates)),
        members=np.zeros((len(coordinates), 2)),
        observed_coordinates=np.zeros((0, rank)) if observed is None else observed,
    )


@pytest.mark.parametrize("name", sorted(STRATEGIES))
class TestEveryStrategy:
    @pytest.mark.parametrize("n", [0, 1, 7, 60])
    def test_supplies_distinct_rows(self, name, n, make_pool):
        picks = draw(name, make_pool(60, 5, observed=10), n)
        assert len(np.unique(picks.rows)) == n
        assert set(picks.rows.tolist()) <= set(range(60))

    def test_says_when_the_pool_is_too_small(self, name, make_pool):
        with pytest.raises(ExhaustedStrategy, match=rf"{name}, pick 13: .*got 12 perturbations"):
            draw(name, make_pool(12, 3), 13)

    def test_depends_on_the_seed_alone(self, name, make_pool):
        pool = make_pool(80, 6, observed=5)
        before = pool.coordinates.copy(), pool.loadings.copy(), pool.variance.copy()
        first, again = draw(name, pool, 20, seed=3), draw(name, pool, 20, seed=3)
        np.testing.assert_array_equal(first.rows, again.rows)
        assert first.reason == again.reason
        for array, copy in zip((pool.coordinates, pool.loadings, pool.variance), before, strict=True):
            np.testing.assert_array_equal(array, copy)

    def test_breaks_ties_by_seed(self, name, make_pool):
        """Identical perturbations: each is picked by some seed, none always."""
        same = np.ones((8, 1))
        pool = with_coordinates(make_pool(8, 1), same)
        first = {int(draw(name, pool, 1, seed=seed).rows[0]) for seed in range(60)}
        assert first == set(range(8))


def test_top_variance_takes_the_largest(make_pool):
    pool = make_pool(50, 4)
    picks = draw("top-variance", pool, 10)
    assert set(picks.rows.tolist()) == set(np.argsort(pool.variance)[-10:].tolist())
    assert (np.diff(picks.score) <= 0).all()


def test_top_variance_does_not_guess_where_there_is_no_variance(make_pool):
    pool = replace(make_pool(5, 2), variance=np.array([1.0, 0.0, 2.0, 0.0, 0.0]))
    assert draw("top-variance", pool, 2).rows.tolist() == [2, 0]
    with pytest.raises(ExhaustedStrategy, match="pick 3: no variance left"):
        draw("top-variance", pool, 4)


class TestEigenmodes:
    def test_one_pick_a_mode_is_the_largest_unused_loading(self, make_pool):
        pool = make_pool(200, 6)
        picks = draw("eigenmodes", pool, 6)
        assert picks.mode.tolist() == list(range(6))
        used: list[int] = []
        for mode, row in enumerate(picks.rows):
            weight = np.abs(pool.loadings[:, mode])
            weight[used] = -1
            assert row == np.argmax(weight)
            used.append(int(row))

    def test_a_row_that_leads_two_modes_is_picked_once(self, make_pool):
        loadings = np.array([[0.9, 0.8], [0.1, 0.7], [0.2, 0.1]])
        pool = replace(with_coordinates(make_pool(3, 2), loadings), eigenvalues=np.array([2.0, 1.0]))
        picks = draw("eigenmodes", pool, 2)
        assert picks.rows.tolist() == [0, 1]
        np.testing.assert_allclose(picks.score, [0.9, 0.7])

    def test_more_picks_than_modes_follow_the_eigenvalues(self, make_pool):
        pool = replace(make_pool(100, 3), eigenvalues=np.array([6.0, 3.0, 1.0]))
        picks = draw("eigenmodes", pool, 20)
        assert np.bincount(picks.mode).tolist() == [12, 6, 2]
        assert picks.mode[:6].tolist() == [0, 1, 2, 0, 1, 2]

    def test_only_positive_eigenvalues_count(self, make_pool):
        pool = replace(make_pool(30, 3), eigenvalues=np.array([2.0, 0.0, -1.0]))
        assert set(draw("eigenmodes", pool, 10).mode.tolist()) == {0}
        with pytest.raises(ExhaustedStrategy, match="no positive eigenvalue"):
            draw("eigenmodes", replace(pool, eigenvalues=np.array([0.0, 0.0, -1.0])), 1)

    def test_degenerate_modes_are_ordered_by_seed(self, make_pool):
        pool = replace(make_pool(40, 4), eigenvalues=np.full(4, 1.5))
        orders = {tuple(draw("eigenmodes", pool, 4, seed=seed).mode.tolist()) for seed in range(20)}
        assert len(orders) > 5

    def test_says_when_nothing_loads_on_a_mode(self, make_pool):
        loadings = np.array([[1.0], [0.5], [0.0], [0.0]])
        with pytest.raises(ExhaustedStrategy, match="pick 3: nothing unused loads on mode 0"):
            draw("eigenmodes", with_coordinates(make_pool(4, 1), loadings), 3)


def lcmd_oracle(points, observed, n):
    """Straight from the definition, with all distances; for pools without ties."""
    centres = [row for row in observed]
    chosen: list[int] = []
    for _ in range(n):
        if not centres:
            row = int(np.argmax(np.square(points).sum(axis=1)))
        else:
            square = np.square(points[:, None, :] - np.array(centres)[None]).sum(axis=2)
            nearest, distance = square.argmin(axis=1), square.min(axis=1)
            sums = [distance[nearest == c].sum() for c in range(len(centres))]
            inside = np.flatnonzero(nearest == int(np.argmax(sums)))
            row = int(inside[np.argmax(distance[inside])])
        chosen.append(row)
        centres.append(points[row])
    return chosen


class TestEigenspaceClusters:
    @given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(1, 5), st.booleans())
    @settings(max_examples=60, deadline=None)
    def test_agrees_with_the_definition(self, seed, observed, rank, heavy):
        rng = np.random.default_rng(seed)
        points = rng.standard_normal((70, rank))
        if heavy:
            points *= np.exp(2 * rng.standard_normal((70, 1)))
        centres = rng.standard_normal((observed, rank))
        base = PoolView(
            np.arange(70), points, points, np.ones(rank), np.ones(70), np.ones(70), np.ones((70, 2)), centres
        )
        assert draw("eigenspace-clusters", base, 25).rows.tolist() == lcmd_oracle(points, centres, 25)

    def test_blocks_change_nothing(self, make_pool, monkeypatch):
        pool = make_pool(300, 8, observed=40)
        whole = draw("eigenspace-clusters", pool, 50).rows
        monkeypatch.setattr("tasks.batches.eigenspace_clusters.BLOCK", 7)
        np.testing.assert_array_equal(draw("eigenspace-clusters", pool, 50).rows, whole)

    def test_skipping_by_the_triangle_inequality_changes_nothing(self, make_pool, monkeypatch):
        pool = make_pool(400, 3, observed=30)
        monkeypatch.setattr("tasks.batches.eigenspace_clusters.GATHER", 2.0)
        skipping = draw("eigenspace-clusters", pool, 60).rows
        monkeypatch.setattr("tasks.batches.eigenspace_clusters.GATHER", -1.0)
        np.testing.assert_array_equal(draw("eigenspace-clusters", pool, 60).rows, skipping)

    def test_score_is_the_distance_to_all_that_was_chosen_before(self, make_pool):
        pool = make_pool(100, 4, observed=10)
        picks = draw("eigenspace-clusters", pool, 15)
        before = list(pool.observed_coordinates)
        for row, score in zip(picks.rows, picks.score, strict=True):
            nearest = min(np.linalg.norm(pool.coordinates[row] - centre) for centre in before)
            assert score == pytest.approx(nearest)
            before.append(pool.coordinates[row])

    def test_leaves_alone_what_is_already_known(self, make_pool):
        known = np.array([[0.0, 0.0]])
        points = np.concatenate([np.zeros((50, 2)), [[1.0, 0.0], [0.0, 1.0]]])
        pool = with_coordinates(make_pool(52, 2), points, known)
        assert set(draw("eigenspace-clusters", pool, 2).rows.tolist()) == {50, 51}
        with pytest.raises(ExhaustedStrategy, match="pick 3: every perturbation left coincides"):
            draw("eigenspace-clusters", pool, 3)


class TestPoolView:
    def test_what_leaves_the_pool_counts_as_observed(self, make_pool):
        pool = make_pool(20, 3, observed=2)
        taken = np.zeros(20, dtype=bool)
        taken[[4, 7]] = True
        left = pool.without(taken)
        assert left.index.tolist() == [row for row in range(20) if row not in (4, 7)]
        np.testing.assert_array_equal(left.observed_coordinates[-2:], pool.coordinates[[4, 7]])
        np.testing.assert_array_equal(left.coordinates, pool.coordinates[left.index])

    def test_refuses_values_that_are_not_finite(self, make_pool):
        pool = make_pool(5, 2)
        with pytest.raises(NumericalError, match="variance holds values that are not finite"):
            replace(pool, variance=np.array([1, 2, np.nan, 3, 4.0]))

    def test_refuses_shapes_that_disagree(self, make_pool):
        with pytest.raises(NumericalError, match=r"eigenvalues|coordinates has shape \(5, 2\), expected \(5, 3\)"):
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
