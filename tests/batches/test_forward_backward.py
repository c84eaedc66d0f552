"""Forward-backward expected improvement: more than needed, then the least missed are dropped."""

from dataclasses import replace

import numpy as np
import pytest
from dense_oracle import Dense, heavy_tailed, pool_of

from tasks.batches import ExhaustedStrategy
from tasks.batches.expected_improvement import pick_expected_improvement
from tasks.batches.forward_backward import pick_expected_improvement_backward
from tasks.batches.posterior import posterior_of


def draw(pool, n, seed=0):
    return pick_expected_improvement_backward(pool, n, np.random.default_rng(seed))


def left(pool, rows):
    dense = Dense(pool)
    for row in rows.tolist():
        dense.condition(int(np.flatnonzero(dense.rows == row)[0]), leaves=False)
    return dense.trace()


def pool_with_noise(size, rank, seed=0, uneven=0.0, share=0.1):
    coordinates = heavy_tailed(size, rank, seed)
    mean = share * float(np.square(coordinates, dtype=np.float64).sum(axis=1).mean())
    return pool_of(coordinates, mean * np.exp(uneven * np.random.default_rng(1).standard_normal(size)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_leaves_less_than_greedy_does(seed):
    pool = pool_with_noise(10_000, 50, seed, share=0.05)
    forward = pick_expected_improvement(pool, 100, np.random.default_rng(0))
    trace = posterior_of(pool).trace()
    assert trace - draw(pool, 100).score.sum() < 0.92 * (trace - forward.score.sum())


def test_drops_one_after_another_the_least_missed():
    pool = pool_with_noise(150, 8, uneven=1.0)
    kept = pick_expected_improvement(pool, 24, np.random.default_rng(0)).rows.tolist()
    while len(kept) > 12:
        without = [left(pool, np.array(kept[:place] + kept[place + 1 :])) for place in range(len(kept))]
        kept.pop(int(np.argmin(without)))
    assert sorted(draw(pool, 12).rows.tolist()) == sorted(kept)


def test_picks_are_in_greedy_order_and_scores_add_up():
    pool = pool_with_noise(400, 10, uneven=1.0)
    picks, dense = draw(pool, 20), Dense(pool)
    dense.free[:] = False
    dense.free[picks.rows] = True
    before = dense.trace()
    dense.follow(picks.rows, picks.score)
    assert picks.score.sum() == pytest.approx(before - dense.trace())


def test_finds_the_best_pair_of_the_papers_counterexample():
    covariance = np.array([[9.0, 3.0, 2.0], [3.0, 2.0, 3.0], [2.0, 3.0, 9.0]])
    picks = draw(pool_of(np.linalg.cholesky(covariance), 0.0), 2)
    assert sorted(picks.rows.tolist()) == [0, 2]
    assert picks.score.sum() == pytest.approx(19.6, abs=0.05)


def test_works_with_as_many_as_there_are():
    """Three directions without noise: no six picks to drop three of, but three are there."""
    points = np.random.default_rng(0).standard_normal((30, 3))
    assert len(draw(pool_of(points, 0.0), 3).rows) == 3
    with pytest.raises(ExhaustedStrategy, match=r"expected-improvement-backward, pick 4: .*already determined"):
        draw(pool_of(points, 0.0), 4)
    assert sorted(draw(pool_of(points[:5], 0.1), 5).rows.tolist()) == [0, 1, 2, 3, 4]


def test_hardly_noisy_measurements_are_told_apart():
    """σ² − zᵀAz of an almost exact measurement is a small difference of small numbers."""
    points = heavy_tailed(300, 6, dtype=np.float64)
    forward = pick_expected_improvement(pool_of(points, 1e-9), 5, np.random.default_rng(0))
    picks = draw(pool_of(points, 1e-9), 5)
    assert left(pool_of(points, 1e-9), picks.rows) <= left(pool_of(points, 1e-9), forward.rows) * (1 + 1e-9)


def test_takes_account_of_what_is_pending():
    pool = pool_with_noise(300, 6)
    taken = np.zeros(300, dtype=bool)
    taken[draw(pool, 6).rows] = True
    rest = pool.without(taken)
    forgotten = replace(rest, pending=np.zeros(300, dtype=bool))
    with_it, without_it = (left(rest, draw(asked, 6).rows) for asked in (rest, forgotten))
    assert with_it < without_it
