"""Eigenmodes: for every direction of error the perturbation that loads most on it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.batches import ExhaustedStrategy, PoolView
from tasks.batches.eigenmodes import pick_eigenmodes
from tasks.operators.rows import MemoryRows


def draw(pool, n, seed=0):
    return pick_eigenmodes(pool, n, np.random.default_rng(seed))


def with_coordinates(coordinates, eigenvalues=None, chunk=16_384):
    """A library whose loadings are its coordinates, with unit eigenvalues unless given."""
    size, rank = coordinates.shape
    return PoolView(
        coordinates=MemoryRows(coordinates, chunk),
        eigenvalues=np.ones(rank) if eigenvalues is None else eigenvalues,
        variance=np.square(coordinates).sum(axis=1),
        predictions=np.zeros(size),
        members=np.zeros((size, 2)),
    )


def loadings(pool):
    return np.asarray(pool.coordinates.array) / np.sqrt(pool.eigenvalues)


def test_one_pick_a_mode_is_the_largest_unused_loading(make_pool):
    pool = make_pool(200, 6)
    picks = draw(pool, 6)
    assert picks.mode.tolist() == list(range(6))
    used: list[int] = []
    for mode, row in enumerate(picks.rows):
        weight = np.abs(loadings(pool)[:, mode])
        weight[used] = -1
        assert row == np.argmax(weight)
        used.append(int(row))


def test_a_row_that_leads_two_modes_is_picked_once():
    values = np.array([2.0, 1.0])
    coordinates = np.array([[0.9, 0.8], [0.1, 0.7], [0.2, 0.1]]) * np.sqrt(values)
    pool = replace(with_coordinates(coordinates), eigenvalues=values)
    picks = draw(pool, 2)
    assert picks.rows.tolist() == [0, 1]
    np.testing.assert_allclose(picks.score, [0.9, 0.7])


def test_more_picks_than_modes_follow_the_eigenvalues(make_pool):
    pool = replace(make_pool(100, 3), eigenvalues=np.array([6.0, 3.0, 1.0]))
    picks = draw(pool, 20)
    assert np.bincount(picks.mode).tolist() == [12, 6, 2]
    assert picks.mode[:6].tolist() == [0, 1, 2, 0, 1, 2]


def test_only_positive_eigenvalues_count(make_pool):
    pool = replace(make_pool(30, 3), eigenvalues=np.array([2.0, 0.0, -1.0]))
    assert set(draw(pool, 10).mode.tolist()) == {0}
    with pytest.raises(ExhaustedStrategy, match="no positive eigenvalue"):
        draw(replace(pool, eigenvalues=np.array([0.0, 0.0, -1.0])), 1)


def test_degenerate_modes_are_ordered_by_seed(make_pool):
    pool = replace(make_pool(40, 4), eigenvalues=np.full(4, 1.5))
    orders = {tuple(draw(pool, 4, seed=seed).mode.tolist()) for seed in range(20)}
    assert len(orders) > 5


def test_says_when_nothing_loads_on_a_mode():
    column = np.array([[1.0], [0.5], [0.0], [0.0]])
    with pytest.raises(ExhaustedStrategy, match="pick 3: nothing unused loads on mode 0"):
        draw(with_coordinates(column), 3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 40), st.sampled_from([3, 16_384]))
@settings(max_examples=60, deadline=None)
def test_every_pick_is_the_heaviest_unused_of_its_mode(seed, rank, n, chunk):
    """Rows that are heavy in all modes are used up by the first: the others have to look further."""
    rng = np.random.default_rng(seed)
    coordinates = rng.standard_normal((60, rank)) * np.exp(2.0 * rng.standard_normal((60, 1)))
    values = np.sort(rng.exponential(size=rank))[::-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.batches.eigenmodes.SPARE", 0)
        pool = replace(with_coordinates(coordinates, values, chunk), open=np.arange(60) % 3 > 0)
        picks = draw(pool, n)
    weight = np.where(pool.open[:, None], np.abs(coordinates), -1.0)
    for row, mode, score in zip(picks.rows.tolist(), picks.mode.tolist(), picks.score.tolist(), strict=True):
        assert weight[row, mode] == weight[:, mode].max()
        assert score == pytest.approx(weight[row, mode] / np.sqrt(values[mode]))
        weight[row] = -1.0


def test_equal_loadings_are_drawn():
    pool = with_coordinates(np.repeat([[2.0], [1.0]], [5, 20], axis=0), chunk=4)
    assert {int(draw(pool, 1, seed).rows[0]) for seed in range(40)} == set(range(5))
    assert set(draw(pool, 5).rows.tolist()) == set(range(5))
    assert len({tuple(draw(pool, 7, seed).rows.tolist()[5:]) for seed in range(40)}) > 20


def test_copies_no_matrix():
    """Of the rows it takes only those picked, and what a chunk gives is a few rows a mode."""

    class Watched(MemoryRows):
        taken, largest = 0, 0

        def take(self, rows):
            Watched.taken += len(rows)
            return super().take(rows)

        def map(self, function, *args, along=()):
            for part in super().map(function, *args, along=along):
                if isinstance(part, tuple):
                    Watched.largest = max(Watched.largest, len(part[0]))
                yield part

    coordinates = np.random.default_rng(0).standard_normal((20_000, 6)).astype(np.float32)
    pool = replace(with_coordinates(coordinates), coordinates=Watched(coordinates, 2_000))
    draw(pool, 12)
    assert Watched.taken == 12
    assert Watched.largest < 150


@pytest.mark.parametrize("parts", [(1,) * 12, (7, 5), (3, 1, 8), (11, 1)])
def test_asked_in_parts_gives_the_picks_of_asking_at_once(make_pool, parts):
    pool = make_pool(300, 12, observed=10)
    whole, left = draw(pool, 12), pool
    rows: list[int] = []
    modes: list[int] = []
    for seed, count in enumerate(parts):
        picks = draw(left, count, seed)
        rows += picks.rows.tolist()
        modes += picks.mode.tolist()
        left = left.without(np.isin(np.arange(310), picks.rows))
    assert rows == whole.rows.tolist()
    assert modes == whole.mode.tolist()


def test_parts_beyond_the_number_of_modes_share_the_places():
    """Each row loads on one mode, so modes do not take from each other."""
    column = np.concatenate([np.eye(3) * (1 + weight) for weight in range(20)])
    pool = with_coordinates(column, np.array([6.0, 3.0, 1.0]))
    first = draw(pool, 10)
    left = pool.without(np.isin(np.arange(60), first.rows))
    second = draw(left, 10, 1)
    assert np.bincount(np.concatenate([first.mode, second.mode])).tolist() == [12, 6, 2]
    assert {*first.rows.tolist(), *second.rows.tolist()} == set(draw(pool, 20).rows.tolist())


def test_what_another_chose_stands_for_a_mode_only_where_it_leads(make_pool):
    pool = make_pool(200, 6)
    weight = np.abs(loadings(pool))
    leader, others = int(weight[:, 0].argmax()), np.argsort(weight.max(axis=1))[:30]
    left = pool.without(np.isin(np.arange(200), [leader, *others]))
    assert draw(left, 5).mode.tolist() == [1, 2, 3, 4, 5]


def test_exhaustion_counts_the_picks_of_this_request():
    pool = with_coordinates(np.array([[1.0], [0.5], [0.2], [0.0], [0.0]]))
    left = pool.without(np.arange(5) == 0)
    assert draw(left, 2).rows.tolist() == [1, 2]
    with pytest.raises(ExhaustedStrategy, match="pick 3: nothing unused loads on mode 0"):
        draw(left, 3)
