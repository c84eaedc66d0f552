"""Greedy k-centre against a loop over all distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_of_points import library

from tasks.batches import ExhaustedStrategy
from tasks.batches.k_centre import pick_k_centre


def pick(pool, n, seed=0):
    return pick_k_centre(pool, n, np.random.default_rng(seed))


def by_definition(points, observed, n):
    points = points.astype(np.float64)
    square = np.square(points).sum(axis=1) if not len(observed) else np.full(len(points), np.inf)
    for centre in observed.astype(np.float64):
        square = np.minimum(square, np.square(points - centre).sum(axis=1))
    chosen, known = [], len(observed)
    for _ in range(n):
        row = int(square.argmax())
        chosen.append(row)
        new = np.square(points - points[row]).sum(axis=1)
        square, known = np.minimum(square, new) if known else new, known + 1
    return chosen


@pytest.mark.parametrize("farthest", [1, 9, 8192])
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 60),
    st.integers(1, 6),
    st.sampled_from([0.0, 2.0]),
    st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=40, deadline=None)
def test_agrees_with_the_definition(farthest, seed, observed, rank, spread, dtype):
    rng = np.random.default_rng(seed)
    points = (rng.standard_normal((150, rank)) * np.exp(spread * rng.standard_normal((150, 1)))).astype(dtype)
    known = rng.standard_normal((observed, rank)).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.batches.k_centre.FARTHEST", farthest)
        assert pick(library(points, known), 40).rows.tolist() == by_definition(points, known, 40)


def test_agrees_with_the_definition_in_a_large_library():
    rng = np.random.default_rng(4)
    points, known = rng.standard_normal((10_000, 10)).astype(np.float32), rng.standard_normal((400, 10))
    known = known.astype(np.float32)
    assert pick(library(points, known, chunk=4096), 200).rows.tolist() == by_definition(points, known, 200)


def test_all_observed_rows_are_centres():
    """Not only those of the last batch: what an early one covers is not picked again."""
    points = np.array([[10.0, 0.0], [0.0, 5.0], [0.1, 0.1]])
    early, late = [10.0, 0.1], [0.0, 0.0]
    assert pick(library(points, np.array([early, late])), 1).rows.tolist() == [1]
    assert pick(library(points, np.array([late])), 1).rows.tolist() == [0]


def test_score_is_the_covering_radius():
    points = np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 0.5]])
    picks = pick(library(points, np.zeros((1, 2))), 3)
    np.testing.assert_allclose(picks.score, [5.0, 1.0, 0.5])


@pytest.mark.parametrize("farthest", [1, 8192])
def test_says_when_everything_left_coincides(farthest, monkeypatch):
    monkeypatch.setattr("tasks.batches.k_centre.FARTHEST", farthest)
    pool = library(np.array([[1.0], [1.0], [1.0], [2.0]]), np.zeros((1, 1)))
    assert pick(pool, 2).rows[0] == 3
    with pytest.raises(ExhaustedStrategy, match=r"k-centre, pick 3: .*every perturbation left coincides"):
        pick(pool, 3)


@pytest.mark.parametrize("farthest", [1, 3, 8192])
@pytest.mark.parametrize("observed", [0, 1])
def test_rows_that_are_equally_far_are_drawn(farthest, observed, monkeypatch):
    monkeypatch.setattr("tasks.batches.k_centre.FARTHEST", farthest)
    pool = library(np.eye(5), np.zeros((observed, 5)))
    assert {int(pick(pool, 1, seed).rows[0]) for seed in range(60)} == set(range(5))
    assert sorted(pick(pool, 5).rows.tolist()) == list(range(5))
