"""The perturbations at the centres of scikit-learn's k-means."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.cluster import KMeans

from tasks.batches import ExhaustedStrategy, PoolView
from tasks.batches.k_means import pick_k_means_embedding, pick_k_means_features
from tasks.errors import UserError
from tasks.operators.rows import MemoryRows


def library(features, open_=None, chunk=16_384):
    size = len(features)
    return PoolView(
        coordinates=np.ones((size, 1)),
        eigenvalues=np.ones(1),
        variance=np.ones(size),
        predictions=np.zeros(size),
        members=np.ones((size, 2)),
        open=np.ones(size, dtype=bool) if open_ is None else open_,
        features=MemoryRows(features, chunk),
        embedding=MemoryRows(features[:, ::-1].copy() ** 3, chunk),
    )


def pick(pool, n, seed=0, which=pick_k_means_features):
    return which(pool, n, np.random.default_rng(seed))


@pytest.mark.parametrize("which", [pick_k_means_features, pick_k_means_embedding])
def test_takes_what_is_nearest_to_the_centres_of_scikit_learn(which):
    rng = np.random.default_rng(0)
    pool = library(rng.standard_normal((300, 4)), rng.random(300) < 0.7)
    picks = pick(pool, 9, 5, which)
    rows = pool.features if which is pick_k_means_features else pool.embedding
    points, candidates = rows.array[pool.open], np.flatnonzero(pool.open)
    seed = int(np.random.default_rng(5).integers(2**31))
    centres = KMeans(9, n_init=1, random_state=seed).fit(points).cluster_centers_
    nearest = candidates[np.square(points[:, None] - centres[None]).sum(axis=2).argmin(axis=0)]
    assert len(set(nearest.tolist())) == 9
    assert set(picks.rows.tolist()) == set(nearest.tolist())


def test_finds_clusters_and_takes_the_larger_ones_first():
    rng = np.random.default_rng(1)
    sizes, places = [40, 25, 10], np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    features = np.concatenate([p + rng.standard_normal((k, 2)) for k, p in zip(sizes, places, strict=True)])
    picks = pick(library(features), 3)
    assert np.repeat([0, 1, 2], sizes)[picks.rows].tolist() == [0, 1, 2]
    assert "of 53.3% of the pool in its features" in picks.reason[0]


def test_a_row_that_two_centres_want_is_picked_once():
    """A ring around one row: its centres of gravity are nearer to the row in the middle than to any other."""
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = 10 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    features = np.concatenate([ring, [[0.1, 0.05]]])
    for seed in range(10):
        assert len(set(pick(library(features), 2, seed).rows.tolist())) == 2


@pytest.mark.parametrize(("name", "value"), [("MEMORY", 200), ("WORK", 100)])
def test_a_large_library_goes_by_sample_and_small_batches(name, value, monkeypatch):
    rng = np.random.default_rng(2)
    places = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])
    features = np.concatenate([place + rng.standard_normal((100, 2)) for place in places])
    monkeypatch.setattr(f"tasks.batches.k_means.{name}", value)
    found = [pick(library(features), 4, seed).rows // 100 for seed in range(5)]
    # One start may join two of the places; the sample and the batches still see all of them.
    assert max(len(set(places.tolist())) for places in found) == 4
    np.testing.assert_array_equal(pick(library(features), 4, 3).rows, pick(library(features, chunk=33), 4, 3).rows)


def test_only_open_rows_count():
    features = np.concatenate([np.random.default_rng(3).standard_normal((30, 2)), 1000 + np.zeros((30, 2))])
    picks = pick(library(features, np.arange(60) < 30), 5)
    assert picks.rows.max() < 30


def test_says_when_too_few_differ():
    features = np.repeat(np.arange(4.0), 5)[:, None]
    assert len(set(features[pick(library(features), 4).rows, 0].tolist())) == 4
    with pytest.raises(ExhaustedStrategy, match=r"k-means-features, pick 5: .*too few.*got 4 that differ"):
        pick(library(features), 5)


@pytest.mark.parametrize("chunk", [16_384, 50])
def test_a_sample_that_misses_what_differs_does_not_refuse(chunk, monkeypatch):
    features = np.zeros((1000, 1))
    features[[3, 300, 301, 990], 0] = [-0.0, 5.0, 6.0, 50.0]
    monkeypatch.setattr("tasks.batches.k_means.MEMORY", 20)
    for seed in range(5):
        rows = pick(library(features, chunk=chunk), 4, seed).rows
        assert sorted(features[rows, 0].tolist()) == [0.0, 5.0, 6.0, 50.0]
    with pytest.raises(ExhaustedStrategy, match=r"k-means-features, pick 5: .*too few.*got 4 that differ"):
        pick(library(features, chunk=chunk), 5)


def test_its_rows_are_needed():
    pool = library(np.ones((3, 1)))
    with pytest.raises(UserError, match=r"strategy k-means-features.*needs features"):
        pick(replace(pool, features=None), 1)
    with pytest.raises(UserError, match=r"strategy k-means-embedding.*needs embedding"):
        pick(replace(pool, embedding=None), 1, 0, pick_k_means_embedding)
