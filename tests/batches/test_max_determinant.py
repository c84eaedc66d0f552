"""Maximum determinant: most information about the function, given the picks before."""

import numpy as np
import pytest
from dense_oracle import Dense, heavy_tailed, pool_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.batches import ExhaustedStrategy
from tasks.batches.max_determinant import pick_max_determinant


def draw(pool, n, seed=0):
    return pick_max_determinant(pool, n, np.random.default_rng(seed))


def mutual_information(pool, rows):
    """Of the measurements of these rows and the function: ½ (log det(C + D) − log det D)."""
    points = pool.coordinates.take(rows).astype(np.float64)
    noise = pool.noise[rows]
    return 0.5 * (np.linalg.slogdet(points @ points.T + np.diag(noise))[1] - np.log(noise).sum())


@pytest.mark.parametrize("uneven", [0.0, 1.0])
def test_gives_the_picks_of_the_dense_algorithm_in_order(uneven):
    coordinates = heavy_tailed(2_000, 50)
    noise = 0.1 * np.exp(uneven * np.random.default_rng(1).standard_normal(2_000))
    pool = pool_of(coordinates, noise)
    assert draw(pool, 150).rows.tolist() == Dense(pool).greedy(150, "information")


@given(st.integers(0, 2**32 - 1), st.integers(5, 60), st.integers(1, 8), st.sampled_from([1e-4, 0.05, 1.0, 30.0]))
@settings(max_examples=60, deadline=None)
def test_every_pick_is_the_best_given_those_before(seed, size, rank, noise):
    rng = np.random.default_rng(seed)
    coordinates = rng.standard_normal((size, rank)) * np.exp(rng.standard_normal((size, 1)))
    state = rng.choice(3, size, p=[0.7, 0.15, 0.15])
    pool = pool_of(coordinates, noise * np.exp(rng.standard_normal(size)), state == 0, state == 1)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ROOM": 2, "SHRINK": 0.9}.items():
            patch.setattr(f"tasks.batches.greedy.{name}", value)
        picks = draw(pool, min(pool.available, 15))
    Dense(pool).follow(picks.rows, np.expm1(2.0 * picks.score), "information")


def test_scores_add_up_to_the_mutual_information():
    pool = pool_of(heavy_tailed(300, 10), np.random.default_rng(0).uniform(0.05, 0.5, 300))
    picks = draw(pool, 40)
    assert picks.score.sum() == pytest.approx(mutual_information(pool, picks.rows))
    variance = np.expm1(2.0 * picks.score[0]) * pool.noise[picks.rows[0]]
    assert picks.reason[0] == f"variance {variance:.3g} given the picks before, {picks.score[0]:.3g} nats"


@pytest.mark.parametrize("n", [50, 300])
def test_equals_another_implementation_where_noise_is_the_same_for_all(monkeypatch, n):
    pytest.importorskip("bmdal_reg")
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)
    from bmdal_reg.bmdal.algorithms import BatchSelectorImpl
    from bmdal_reg.bmdal.feature_data import TensorFeatureData

    coordinates = heavy_tailed(5_000, 50)
    data = {"train": torch.zeros((1, 50)).double(), "pool": torch.from_numpy(coordinates).double()}
    selector = BatchSelectorImpl([None], {name: TensorFeatureData(rows) for name, rows in data.items()}, None)
    options = {"verbosity": 0, "maxdet_sigma": 0.3, "allow_maxdet_fs": True}
    chosen, _ = selector.select("linear", [], "maxdet", n, **options)
    assert draw(pool_of(coordinates, 0.09), n).rows.tolist() == chosen.tolist()


def test_without_noise_it_takes_what_varies_most_given_those_before():
    points = heavy_tailed(200, 6, dtype=np.float64)
    picks = draw(pool_of(points, 0.0), 5)  # centred: five directions
    rest = points.copy()
    for row in picks.rows:
        assert row == np.square(rest).sum(axis=1).argmax()
        direction = rest[row] / np.linalg.norm(rest[row])
        rest = rest - np.outer(rest @ direction, direction)
    with pytest.raises(ExhaustedStrategy, match=r"max-determinant, pick 6: .*already determined"):
        draw(pool_of(points, 0.0), 6)


def test_what_is_measured_exactly_comes_first():
    pool = pool_of(np.diag([1.0, 3.0, 2.0]), np.array([0.0, 0.1, 0.0]))
    assert draw(pool, 3).rows.tolist() == [2, 0, 1]


def test_noise_makes_a_measurement_tell_less():
    pool = pool_of(np.diag([1.0, 3.0]), np.array([0.01, 10.0]))
    assert draw(pool, 2).rows.tolist() == [0, 1]


def test_asking_in_parts_is_asking_at_once():
    pool = pool_of(heavy_tailed(500, 12), np.random.default_rng(0).uniform(0.05, 0.5, 500))
    whole, first = draw(pool, 30), draw(pool, 11)
    taken = np.zeros(500, dtype=bool)
    taken[first.rows] = True
    assert draw(pool.without(taken), 19).rows.tolist() == whole.rows[11:].tolist()
