"""Largest-cluster maximum distance against its definition."""

from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_of_points import library

from tasks.batches import ExhaustedStrategy
from tasks.batches.eigenspace_clusters import pick_eigenspace_clusters
from tasks.operators.stored_rows import StoredRows


def pick(pool, n, seed=0, **options):
    return pick_eigenspace_clusters(pool, n, np.random.default_rng(seed), **options)


def scattered(rng, size, rank, spread=0.0):
    return rng.standard_normal((size, rank)) * np.exp(spread * rng.standard_normal((size, 1)))


def by_definition(points, observed, n):
    """One loop over all distances in float64, for libraries without ties."""
    points, centres = points.astype(np.float64), list(observed.astype(np.float64))
    square = np.square(points if not centres else points - centres[0]).sum(axis=1)
    nearest = np.zeros(len(points), dtype=int)

    def take_over(centre, number):
        new = np.square(points - centre).sum(axis=1)
        nearest[new < square] = number
        np.minimum(square, new, out=square)

    for number, centre in enumerate(centres):
        take_over(centre, number)
    chosen = []
    for _ in range(n):
        largest = np.bincount(nearest, weights=square).argmax()
        row = int(np.where(nearest == largest, square, -1).argmax())
        chosen.append(row)
        if not centres:
            square[:] = np.inf
        take_over(points[row], len(centres))
        centres.append(points[row])
    return chosen


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 60),
    st.integers(1, 6),
    st.sampled_from([0.0, 2.0]),
    st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=80, deadline=None)
def test_agrees_with_the_definition(seed, observed, rank, spread, dtype):
    rng = np.random.default_rng(seed)
    points = scattered(rng, 150, rank, spread).astype(dtype)
    known = scattered(rng, observed, rank, spread).astype(dtype)
    assert pick(library(points, known), 40).rows.tolist() == by_definition(points, known, 40)


@pytest.mark.parametrize(("rank", "spread"), [(2, 0.0), (30, 0.0), (30, 1.0)])
def test_agrees_with_the_definition_where_much_is_asked_ahead(rank, spread):
    rng = np.random.default_rng(rank)
    points, known = scattered(rng, 8000, rank, spread).astype(np.float32), scattered(rng, 400, rank, spread)
    known = known.astype(np.float32)
    assert pick(library(points, known), 200).rows.tolist() == by_definition(points, known, 200)


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.sampled_from([0.1, 1.0, 100.0]))
@settings(max_examples=40, deadline=None)
def test_noise_makes_an_error_count_as_far_as_a_label_removes_it(seed, observed, level):
    rng = np.random.default_rng(seed)
    points = scattered(rng, 150, 4, 1.0).astype(np.float32)
    known = scattered(rng, observed, 4, 1.0).astype(np.float32)
    pool = library(points, known)
    everything = pool.coordinates.array
    variance = np.square(everything.astype(np.float64)).sum(axis=1)
    noise = level * np.exp(rng.standard_normal(len(everything)))
    weights = np.sqrt(variance / (variance + noise)).astype(np.float32)
    weighed = everything * weights[:, None]
    np.testing.assert_allclose(np.square(weighed).sum(axis=1), variance**2 / (variance + noise), rtol=1e-5)
    noisy = replace(pool, variance=variance, noise=noise)
    assert pick(noisy, 40).rows.tolist() == by_definition(weighed[:150], weighed[150:], 40)
    assert pick(noisy, 40, noise="ignore").rows.tolist() == by_definition(points, known, 40)
    without = replace(noisy, noise=np.zeros(len(everything)))
    assert pick(without, 40).rows.tolist() == by_definition(points, known, 40)


def test_an_error_that_no_label_could_tell_from_noise_is_left_alone():
    points = np.concatenate([np.full((20, 1), 3.0), np.full((20, 1), -2.0)]) + np.linspace(0, 0.1, 40)[:, None]
    pool = library(points, np.zeros((1, 1)))
    noise = np.where(np.arange(41) < 20, 1e4, 0.0)
    noisy = replace(pool, variance=np.square(pool.coordinates.array[:, 0]), noise=noise)
    assert pick(noisy, 1, noise="ignore").rows[0] < 20
    assert 20 <= pick(noisy, 1).rows[0] < 40


def test_chunks_change_nothing():
    rng = np.random.default_rng(0)
    points, known = scattered(rng, 2000, 8, 1.0), scattered(rng, 100, 8, 1.0)
    whole, pieces = pick(library(points, known), 100), pick(library(points, known, chunk=130), 100)
    np.testing.assert_array_equal(whole.rows, pieces.rows)
    np.testing.assert_array_equal(whole.score, pieces.score)
    assert whole.reason == pieces.reason


def test_rows_in_storage_give_the_same_picks(tmp_path):
    rng = np.random.default_rng(9)
    points, known = scattered(rng, 900, 5).astype(np.float32), scattered(rng, 60, 5).astype(np.float32)
    pool = library(points, known)
    array = zarr.create_array(tmp_path / "z", shape=(960, 5), chunks=(100, 5), dtype="float32")
    array[:] = pool.coordinates.array
    stored = replace(pool, coordinates=StoredRows.of_zarr(array, keep=0))
    np.testing.assert_array_equal(pick(stored, 40).rows, pick(pool, 40).rows)


def test_score_is_the_distance_to_all_that_was_chosen_before():
    rng = np.random.default_rng(1)
    points, known = scattered(rng, 100, 4), scattered(rng, 10, 4)
    picks = pick(library(points, known), 15)
    before = list(known)
    for row, score in zip(picks.rows, picks.score, strict=True):
        assert score == pytest.approx(min(np.linalg.norm(points[row] - centre) for centre in before))
        before.append(points[row])


def test_without_observed_rows_the_first_is_the_longest():
    points = scattered(np.random.default_rng(2), 50, 3)
    picks = pick(library(points), 3)
    assert picks.rows[0] == np.linalg.norm(points, axis=1).argmax()
    assert "the origin, nothing being known" in picks.reason[0]
    assert "what was chosen before" in picks.reason[1]


def test_leaves_alone_what_is_already_known():
    points = np.concatenate([np.zeros((50, 2)), [[1.0, 0.0], [0.0, 1.0]]])
    pool = library(points, np.array([[0.0, 0.0]]))
    assert set(pick(pool, 2).rows.tolist()) == {50, 51}
    with pytest.raises(ExhaustedStrategy, match=r"eigenspace-clusters, pick 3: .*every perturbation left coincides"):
        pick(pool, 3, coincident="refuse")


def test_the_rest_is_drawn_where_distances_tell_nothing_more():
    points = np.concatenate([np.zeros((50, 2)), [[1.0, 0.0], [0.0, 1.0]]])
    pool = library(points, np.array([[0.0, 0.0]]))
    found = pick(pool, 12)
    assert set(found.rows[:2].tolist()) == {50, 51}
    assert len(set(found.rows.tolist())) == 12
    assert pool.open[found.rows].all()
    assert ["by chance" in reason for reason in found.reason] == [False] * 2 + [True] * 10
    assert not found.score[2:].any()
    drawn = np.bincount(np.concatenate([pick(pool, 12, seed=seed).rows[2:] for seed in range(300)]), minlength=53)
    assert drawn[:50].min() > 30  # 60 expected of each
    assert not drawn[50:].any()
    assert set(pick(pool, 52).rows.tolist()) == set(np.flatnonzero(pool.open).tolist())


def test_says_when_everything_coincides_from_the_start():
    pool = library(np.repeat([[1.0, 0.0], [0.0, 2.0]], 5, axis=0), np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]))
    with pytest.raises(ExhaustedStrategy, match=r"eigenspace-clusters, pick 1: "):
        pick(pool, 1, coincident="refuse")
    assert "by chance" in pick(pool, 1).reason[0]


def test_a_wrong_guess_of_the_next_picks_changes_nothing(monkeypatch):
    rng = np.random.default_rng(11)
    points, known = scattered(rng, 3000, 3, 1.0), scattered(rng, 300, 3, 1.0)
    guessed = pick(library(points, known), 150)
    monkeypatch.setattr("tasks.batches.eigenspace_clusters.FOREMOST", 2)
    np.testing.assert_array_equal(pick(library(points, known), 150).rows, guessed.rows)
    assert pick(library(points, known), 150).rows.tolist() == by_definition(points, known, 150)


def test_copies_of_a_row_that_differ_by_rounding_count_as_one():
    row = np.array([3.0, 4.0])
    pool = library(np.stack([row, row * (1 + 1e-9), row * (1 - 1e-9)]), np.array([[0.0, 0.0]]))
    assert len(pick(pool, 1).rows) == 1
    with pytest.raises(ExhaustedStrategy, match=r"pick 2: "):
        pick(pool, 2, coincident="refuse")


@pytest.mark.parametrize("observed", [0, 1])
def test_equal_clusters_and_equal_members_are_drawn(observed):
    """Corners of a cross: each comes first with some seed, and the opposite ones later."""
    points = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    orders = {tuple(pick(library(points, np.zeros((observed, 2))), 4, seed).rows.tolist()) for seed in range(60)}
    assert {order[0] for order in orders} == {0, 1, 2, 3}
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)


def test_equals_bmdal_reg(monkeypatch):
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)  # what it still calls infinity
    torch = pytest.importorskip("torch")
    selection = pytest.importorskip("bmdal_reg.bmdal.selection")
    from bmdal_reg.bmdal.feature_data import TensorFeatureData
    from bmdal_reg.bmdal.feature_maps import IdentityFeatureMap
    from bmdal_reg.bmdal.features import Features

    rng = np.random.default_rng(3)
    points, known = scattered(rng, 3000, 20, 0.5), scattered(rng, 100, 20, 0.5)
    theirs = [
        Features(IdentityFeatureMap(n_features=20), TensorFeatureData(torch.from_numpy(z))) for z in (points, known)
    ]
    peer = selection.LargestClusterMaxDistSelectionMethod(*theirs, sel_with_train=True, verbosity=0)
    np.testing.assert_array_equal(pick(library(points, known), 200).rows, peer.select(200).numpy())
