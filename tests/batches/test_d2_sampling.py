"""Draws in proportion to squared distance."""

from itertools import permutations

import numpy as np
import pytest
from pool_of_points import library
from scipy.stats import chisquare

from tasks.batches import ExhaustedStrategy
from tasks.batches.d2_sampling import pick_d2_sampling
from tasks.threads import one_blas_thread


def pick(pool, n, seed=0):
    return pick_d2_sampling(pool, n, np.random.default_rng(seed))


def distances(points, centres):
    if not len(centres):
        return np.square(points).sum(axis=1)
    return np.square(points[:, None] - np.asarray(centres)[None]).sum(axis=2).min(axis=1)


def probability(points, observed, order):
    """Of drawing these rows in this order, from the definition."""
    centres, product = list(observed), 1.0
    for row in order:
        square = distances(points, centres)
        product *= square[row] / square.sum()
        centres.append(points[row])
    return product


@pytest.mark.parametrize("observed", [0, 1, 80])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_orders_have_the_probability_of_the_definition(observed, n):
    """80 observed rows: ten are drawn at a time, and most of those that follow a pick must be thrown away."""
    rng = np.random.default_rng(5)
    points = rng.standard_normal((5, 2)) + np.array([3.0, 0.0])
    known = 0.1 * rng.standard_normal((observed, 2))
    orders = list(permutations(range(5), n))
    expected = np.array([probability(points, known, order) for order in orders])
    pool, draws = library(points, known), np.random.default_rng(6)
    count = dict.fromkeys(orders, 0)
    with one_blas_thread():
        for _ in range(1500):
            count[tuple(pick_d2_sampling(pool, n, draws).rows.tolist())] += 1
    likely = expected * 1500 > 5
    seen = np.array(list(count.values()))
    seen = np.append(seen[likely], seen[~likely].sum())
    expected = np.append(expected[likely], expected[~likely].sum()) * 1500
    kept = expected > 0
    assert expected.sum() == pytest.approx(1500)
    assert kept.sum() == 1 or chisquare(seen[kept], expected[kept]).pvalue > 1e-3


def test_score_is_the_distance_when_it_was_drawn():
    rng = np.random.default_rng(7)
    points, known = rng.standard_normal((400, 3)), rng.standard_normal((100, 3))
    picks = pick(library(points, known), 60)
    centres = list(known)
    for row, score in zip(picks.rows, picks.score, strict=True):
        assert score == pytest.approx(np.sqrt(distances(points[[row]], centres)[0]))
        centres.append(points[row])
    assert len(set(picks.rows.tolist())) == 60


def test_chunks_change_nothing():
    rng = np.random.default_rng(8)
    points, known = rng.standard_normal((700, 4)), rng.standard_normal((50, 4))
    whole, pieces = pick(library(points, known), 50), pick(library(points, known, chunk=90), 50)
    np.testing.assert_array_equal(whole.rows, pieces.rows)
    np.testing.assert_array_equal(whole.score, pieces.score)


def test_what_coincides_with_the_known_is_never_drawn():
    points = np.concatenate([np.zeros((50, 2)), [[1.0, 0.0], [0.0, 1.0]]])
    pool = library(points, np.zeros((1, 2)))
    for seed in range(20):
        assert set(pick(pool, 2, seed).rows.tolist()) == {50, 51}
    with pytest.raises(ExhaustedStrategy, match=r"d2-sampling, pick 3: .*every perturbation left coincides"):
        pick(pool, 3)


def test_without_observed_rows_the_first_goes_by_its_error():
    pool = library(np.array([[0.0], [1.0], [3.0]]))
    with one_blas_thread():
        first = [int(pick(pool, 1, seed).rows[0]) for seed in range(400)]
    assert np.bincount(first).tolist()[0] == 0
    assert 0.05 < np.mean(np.array(first) == 1) < 0.16
