"""Expected improvement: the picks of the dense algorithm, in their order, without its matrix."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import zarr
from dense_oracle import Dense, heavy_tailed, pool_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.batches import ExhaustedStrategy
from tasks.batches.expected_improvement import pick_expected_improvement
from tasks.batches.posterior import Posterior, posterior_of
from tasks.operators.rows import MemoryRows
from tasks.operators.stored_rows import StoredRows

#: Of the paper: greedy picks remove 16.9 of a trace of 20, the best pair 19.6.
COUNTEREXAMPLE = np.array([[9.0, 3.0, 2.0], [3.0, 2.0, 3.0], [2.0, 3.0, 9.0]])


def draw(pool, n, seed=0, **options):
    return pick_expected_improvement(pool, n, np.random.default_rng(seed), **options)


def noises(coordinates, kind, seed=1):
    mean = 0.1 * float(np.square(coordinates, dtype=np.float64).sum(axis=1).mean())
    rng = np.random.default_rng(seed)
    return mean * (np.exp(rng.standard_normal(len(coordinates))) if kind == "heteroskedastic" else 1.0)


def left(pool, rows):
    """Reducible variance left in the library when these rows are measured."""
    posterior = posterior_of(pool)
    for z, noise in zip(pool.coordinates.take(rows).astype(np.float64), pool.noise[rows], strict=True):
        posterior.measure(z, float(noise))
    return posterior.trace()


@pytest.mark.parametrize("noise", ["constant", "heteroskedastic"])
@pytest.mark.parametrize("tail", [0.0, 0.5])
def test_gives_the_picks_of_the_dense_algorithm_in_order(noise, tail):
    coordinates = heavy_tailed(2_000, 50, tail=tail)
    pool = pool_of(coordinates, noises(coordinates, noise))
    assert draw(pool, 100).rows.tolist() == Dense(pool).greedy(100)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["constant", "heteroskedastic"])
def test_gives_the_picks_of_a_full_scan_in_order_in_a_large_pool(noise):
    """In place of a 20,000 × 20,000 matrix, its columns when they are needed: C v = Z(Zᵀv) − V(Vᵀv)."""
    points = heavy_tailed(20_000, 50).astype(np.float64)
    pool = pool_of(points, noises(points, noise))
    d, n = np.square(points).sum(axis=1), (points @ (points.T @ points) * points).sum(axis=1)
    taken, expected, columns = np.zeros(len(points), dtype=bool), [], np.zeros((500, len(points)))
    for pick in range(500):
        row = int(np.where(taken, -1.0, n / (d + pool.noise)).argmax())
        taken[row] = True
        expected.append(row)
        before = columns[:pick]
        v = (points @ points[row] - before[:, row] @ before) / np.sqrt(d[row] + pool.noise[row])
        product = points @ (points.T @ v) - (before @ v) @ before
        columns[pick] = v
        d, n = d - v * v, n - 2.0 * v * product + v * v * float(v @ v)
    assert draw(pool, 500).rows.tolist() == expected


@given(
    st.integers(0, 2**32 - 1),
    st.integers(5, 60),
    st.integers(1, 8),
    st.sampled_from([0.0, 1e-6, 0.05, 1.0, 30.0]),
    st.booleans(),
    st.sampled_from(["value", "measurement"]),
)
@settings(max_examples=120, deadline=None)
def test_every_pick_is_the_best_given_those_before(seed, size, rank, noise, uneven, target):
    """With fronts so small that rows leave and come back all the time."""
    rng = np.random.default_rng(seed)
    coordinates = rng.standard_normal((size, rank)) * np.exp(rng.standard_normal((size, 1)))
    level = noise * (np.exp(rng.standard_normal(size)) if uneven else np.ones(size))
    state = rng.choice(4, size, p=[0.6, 0.15, 0.15, 0.1])
    pool = pool_of(coordinates, level, state == 0, state == 1, state == 2)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ROOM": 2, "SHRINK": 0.9}.items():
            patch.setattr(f"tasks.batches.greedy.{name}", value)
        dense = Dense(pool, measured=target == "measurement")
        asked = min(pool.available, 20 if noise else max(0, rank - int(pool.pending.sum())))
        picks = draw(pool, asked, target=target)
    dense.follow(picks.rows, picks.score)


@pytest.mark.parametrize("target", ["value", "measurement"])
def test_scores_add_up_to_what_is_removed(target):
    coordinates = heavy_tailed(300, 10)
    pool = pool_of(coordinates, noises(coordinates, "heteroskedastic"))
    picks, dense = draw(pool, 30, target=target), Dense(pool, measured=target == "measurement")
    noise = dense.noise.sum() if dense.measured else 0.0
    before = dense.trace() + noise
    for row in picks.rows.tolist():
        dense.condition(row, dense.measured)
    after = dense.trace() + (dense.noise[dense.inside].sum() if dense.measured else 0.0)
    assert picks.score.sum() == pytest.approx(before - after)
    assert (
        picks.reason[0]
        == f"removes {picks.score[0]:.3g} ({picks.score[0] / before:.2%}) of the variance left in the library"
    )


class TestThePapersCounterexample:
    pool = pool_of(np.linalg.cholesky(COUNTEREXAMPLE), 0.0)

    def test_greedy_removes_less_than_the_best_pair(self):
        picks = draw(self.pool, 2)
        assert picks.score.sum() == pytest.approx(16.9, abs=0.05)
        pairs = itertools.combinations(range(3), 2)
        assert max(20.0 - left(self.pool, np.array(pair)) for pair in pairs) == pytest.approx(19.6, abs=0.05)

    def test_says_at_which_pick_nothing_is_left(self):
        flat = pool_of(np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]]), 0.0)
        assert len(draw(flat, 2).rows) == 2
        with pytest.raises(ExhaustedStrategy, match=r"expected-improvement, pick 3: .*already determined"):
            draw(flat, 3)


def test_with_the_same_small_noise_for_all_the_papers_rule_agrees():
    coordinates = heavy_tailed(1_000, 20)
    pool = pool_of(coordinates, 0.01 * noises(coordinates, "constant"))
    assert draw(pool, 20).rows.tolist() == draw(pool, 20, target="measurement").rows.tolist()


def test_does_not_chase_noise_where_the_papers_rule_does():
    coordinates = np.repeat([[1.0], [1.0]], 5, axis=0)
    pool = pool_of(coordinates, np.array([0.1] * 9 + [50.0]))
    assert draw(pool, 1).rows[0] != 9
    assert draw(pool, 1, target="measurement").rows.tolist() == [9]


def test_asking_in_parts_is_asking_at_once():
    coordinates = heavy_tailed(500, 12)
    pool = pool_of(coordinates, noises(coordinates, "heteroskedastic"))
    whole, first = draw(pool, 30), draw(pool, 11)
    taken = np.zeros(500, dtype=bool)
    taken[first.rows] = True
    second = draw(pool.without(taken), 19)
    assert np.concatenate([first.rows, second.rows]).tolist() == whole.rows.tolist()
    np.testing.assert_allclose(second.score, whole.score[11:], rtol=1e-9)


def test_what_may_not_be_picked_counts():
    """A direction that only vetoed rows have is worth nothing; one that they share is worth more."""
    coordinates = np.diag([1.0, 1.1, 1.2]).repeat([3, 3, 3], axis=0)
    vetoed = np.array([False, True, True, False, False, False, True, True, True])
    pool = pool_of(coordinates, 0.1)
    assert draw(pool.forbidding(vetoed), 1).rows[0] in {3, 4, 5}
    unknown = replace(pool, open=pool.open & ~vetoed & ~np.isin(np.arange(9), [4, 5]), vetoed=vetoed)
    assert draw(unknown, 1).rows.tolist() == [0]


def test_what_was_observed_before_does_not_count():
    """The picks are those from a library without the observed rows."""
    coordinates = heavy_tailed(400, 8)
    open_ = np.arange(400) % 5 > 0
    noise = noises(coordinates, "heteroskedastic")
    among = draw(pool_of(coordinates[open_], noise[open_]), 25).rows
    assert draw(pool_of(coordinates, noise, open_), 25).rows.tolist() == np.flatnonzero(open_)[among].tolist()


def test_rows_from_storage_and_small_chunks_give_the_same_picks(tmp_path):
    coordinates = heavy_tailed(3_000, 12)
    pool = pool_of(coordinates, noises(coordinates, "heteroskedastic"))
    stored = zarr.create_array(tmp_path / "z", shape=coordinates.shape, chunks=(700, 12), dtype="f4")
    stored[:] = coordinates
    expected = draw(pool, 60)
    for rows in (MemoryRows(coordinates, 128), StoredRows.of_zarr(stored)):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"FRONT_BYTES": 40_000, "ROOM": 50}.items():
                patch.setattr(f"tasks.batches.greedy.{name}", value)
            found = draw(replace(pool, coordinates=rows), 60)
        assert found.rows.tolist() == expected.rows.tolist()
        np.testing.assert_allclose(found.score, expected.score, rtol=1e-9)


def test_identical_rows_are_drawn_by_seed_and_fill_the_batch():
    pool = pool_of(np.ones((40, 1)), 0.3)
    orders = {tuple(draw(pool, 6, seed=seed).rows.tolist()) for seed in range(30)}
    assert len(orders) == 30
    assert {order[0] for order in orders} > {order[0] for order in list(orders)[:2]}


def test_agrees_with_another_implementation_while_float32_lasts(monkeypatch):
    """BAIT's forward step on the same factor is the same rule; it runs in float32: only the first picks can agree."""
    pytest.importorskip("bmdal_reg")
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)
    from bmdal_reg.bmdal.algorithms import BatchSelectorImpl
    from bmdal_reg.bmdal.feature_data import TensorFeatureData

    coordinates = heavy_tailed(2_000, 20)
    noise = noises(coordinates, "constant")
    data = {"train": torch.zeros((1, 20)), "pool": torch.from_numpy(coordinates)}
    selector = BatchSelectorImpl([None], {name: TensorFeatureData(rows) for name, rows in data.items()}, None)
    chosen, _ = selector.select("linear", [], "bait", 30, verbosity=0, bait_sigma=float(noise) ** 0.5)
    assert draw(pool_of(coordinates, noise), 30).rows.tolist() == chosen.tolist()


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0.0, 1e-9, 0.5]))
@settings(max_examples=40, deadline=None)
def test_the_posterior_is_that_of_the_normal_equations(seed, rank, noise):
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((min(rank, 4), rank))
    posterior = Posterior(np.eye(rank))
    for z in points:
        posterior.measure(z, noise)
    gram = points @ points.T + noise * np.eye(len(points))
    expected = np.eye(rank) - points.T @ np.linalg.solve(gram, points)
    scale = np.linalg.cond(gram)
    np.testing.assert_allclose(posterior.root @ posterior.root.T, expected, atol=1e-13 * scale)
