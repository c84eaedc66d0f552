"""Who stands on which plate: level plates and strata, coordinates that do not go with plates."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.batches.layout import lay_out, perturbations_per_round
from tasks.batches.registry import STRATEGIES
from tasks.batches.spread import MODES, batch_coordinates, deal, level_plates, plate_correlation
from tasks.errors import NumericalError


def table(rows, modes, slots):
    return pd.DataFrame(
        {
            "perturbation": [f"p{row:05d}" for row in rows],
            "action": "measure",
            "arm": "strategy",
            "slot": slots,
            "rank": np.arange(len(rows)),
            "mode": modes,
        }
    )


def plate_of(platemap, names):
    """(names, replicates) plate of every replicate."""
    used = platemap[platemap["role"] == "sample"]
    plates = pd.Categorical(used["barcode"]).codes.astype(np.int64)
    by_name = pd.DataFrame({"name": used["perturbation"], "plate": plates}).groupby("name")["plate"].apply(list)
    return np.array([by_name[name] for name in names])


def sizes(correlation):
    """Root mean square, and largest."""
    return np.sqrt(np.square(correlation).mean()), np.abs(correlation).max()


def between(plate_of, points):
    """Sum of squares between plates, over all coordinates that differ, in units of their variance."""
    z = points[:, points.std(axis=0) > 0]
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    stands = [(plate_of == plate).any(axis=1) for plate in np.unique(plate_of)]
    return sum(on.sum() * np.square(z[on].mean(axis=0)).sum() for on in stands)


strata_of = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=80).map(sorted)


def numbered(keys):
    """Strata from coarse to fine: slots, and modes of slots."""
    return [
        np.unique([f"{a}" for a, _ in keys], return_inverse=True)[1].astype(np.int64),
        np.unique([f"{a}-{b}" for a, b in keys], return_inverse=True)[1].astype(np.int64),
    ]


@given(keys=strata_of, replicates=st.integers(1, 4), extra=st.integers(0, 5), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_plates_and_strata_are_level_and_replicates_apart(keys, replicates, extra, seed):
    strata, plates = numbered(keys), replicates + extra
    dealt = deal(strata, plates, replicates, 1000, np.random.default_rng(seed))
    assert dealt.shape == (len(keys), replicates)
    assert (np.diff(dealt, axis=1) > 0).all()
    wells = np.bincount(dealt.ravel(), minlength=plates)
    assert wells.max() - wells.min() <= 1
    for stratum in np.unique(strata[1]):
        counts = np.bincount(dealt[strata[1] == stratum].ravel(), minlength=plates)
        assert counts.max() - counts.min() <= 1
    if plates % replicates == 0:
        assert (dealt // (plates // replicates) == np.arange(replicates)).all()


@example(keys=[(0, 0), (0, 0)], replicates=1, extra=2, seed=0)  # a plate that gets no well
@example(keys=[(0, 0), (0, 0), (1, 0), (1, 0), (2, 0)], replicates=3, extra=1, seed=8)  # one plate less full
@given(keys=strata_of, replicates=st.integers(1, 3), extra=st.integers(0, 3), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_levelling_keeps_plates_replicates_and_strata_as_level_as_they_were(keys, replicates, extra, seed):
    strata, plates = numbered(keys), replicates + extra
    rng = np.random.default_rng(seed)
    dealt = deal(strata, plates, replicates, 1000, rng)
    points = rng.standard_normal((len(keys), 3)) * np.array([100.0, 1.0, 0.0])
    levelled = level_plates(dealt, points, strata)
    assert sorted(map(tuple, levelled)) == sorted(map(tuple, dealt))
    for stratum in strata:
        for part in np.unique(stratum):
            before, after = (np.bincount(d[stratum == part].ravel(), minlength=plates) for d in (dealt, levelled))
            assert np.square(after).sum() <= np.square(before).sum()
    assert between(levelled, points) <= between(dealt, points) + 1e-9
    if len(set(np.unique(dealt, return_counts=True)[1])) == 1:  # a correlation weighs plates by how full they are
        assert sizes(plate_correlation(levelled, points))[0] <= sizes(plate_correlation(dealt, points))[0] + 1e-12
    assert np.array_equal(level_plates(dealt, points, strata), levelled)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("strategy", "n_plates", "replicates"),
    [("eigenmodes", 4, 1), ("eigenmodes", 4, 2), ("eigenspace-clusters", 3, 1), ("top-variance", 5, 2)],
)
def test_plates_go_with_no_direction_less_than_a_random_layout(make_pool, plates, strategy, n_plates, replicates, seed):
    """Plates against coordinates, below the 5th percentile of layouts that fill the same places at random."""
    section, pool = plates(replicates=replicates), make_pool(1500, 24, seed=seed)
    rng = np.random.default_rng(seed)
    count = perturbations_per_round(section, n_plates)
    picks = STRATEGIES[strategy].pick(pool, count, rng)
    batch = table(picks.rows, picks.mode, strategy)
    points = batch_coordinates(pool, picks.rows)
    platemap = lay_out(batch, section, n_plates, "c", 1, seed, points)
    found = plate_of(platemap, batch["perturbation"])
    at_random = [sizes(plate_correlation(rng.permutation(found), points)) for _ in range(200)]
    mean, worst = sizes(plate_correlation(found, points))
    low_mean, low_worst = np.quantile(at_random, 0.05, axis=0)
    assert mean < 0.5 * low_mean
    assert worst < 0.5 * low_worst


def test_modes_stay_spread_while_coordinates_are_levelled(plates):
    rng = np.random.default_rng(0)
    modes = np.arange(352) % 11
    batch = table(np.arange(352), modes, "s")
    points = rng.standard_normal((352, 11)) + 5 * np.eye(11)[modes]
    found = plate_of(lay_out(batch, plates(), 4, "c", 1, 0, points), batch["perturbation"])
    for mode in range(11):
        assert np.bincount(found[modes == mode, 0], minlength=4).tolist() == [8, 8, 8, 8]
    assert sizes(plate_correlation(found, points))[1] < 0.02


def test_coordinates_belong_to_their_perturbations_whatever_the_order_of_the_batch(plates):
    """An outlier among the releases and a shuffled batch: the correlation is taken over who is measured."""
    rng = np.random.default_rng(1)
    batch, points = table(np.arange(180), 0, "s"), rng.standard_normal((180, 2))
    batch.loc[176:, "action"] = "release"
    points[176:] = 1e6
    order = rng.permutation(180)
    found = plate_of(lay_out(batch.iloc[order], plates(), 2, "c", 1, 0, points[order]), batch["perturbation"][:176])
    assert sizes(plate_correlation(found, points[:176]))[1] < 0.01


def test_without_directions_the_layout_is_that_without_coordinates(plates):
    batch = table(np.arange(100), np.arange(100) % 7, "s")
    without = lay_out(batch, plates(), 2, "c", 1, 3)
    for points in (np.empty((100, 0)), np.full((100, 2), 0.1)):
        pd.testing.assert_frame_equal(lay_out(batch, plates(), 2, "c", 1, 3, points), without)


def test_the_same_seed_gives_the_same_plates(plates):
    batch, points = table(np.arange(100), 0, "s"), np.random.default_rng(0).standard_normal((100, 5))
    first, again, other = (lay_out(batch, plates(), 2, "c", 1, seed, points) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_leading_coordinates_of_the_batch(make_pool):
    pool, rows = make_pool(60, MODES + 4), np.array([7, 3, 50])
    points = batch_coordinates(pool, rows)
    assert points.shape == (3, MODES)
    np.testing.assert_array_equal(points, pool.coordinates.take(rows)[:, :MODES])


def test_correlation_is_that_of_numpy():
    rng = np.random.default_rng(0)
    found, points = rng.integers(0, 3, (50, 1)), rng.standard_normal((50, 2))
    expected = np.corrcoef(np.eye(3)[found[:, 0]].T, points.T)[:3, 3:]
    np.testing.assert_allclose(plate_correlation(found, points), expected)
    assert (plate_correlation(np.zeros((50, 1), dtype=np.int64), points) == 0).all()  # one plate goes with nothing


def test_a_plate_without_a_well_is_no_plate():
    dealt, points = np.array([[0], [2], [2], [0]]), np.array([[0.0], [1.0], [1.0], [0.0]])
    levelled = level_plates(dealt, points, [np.zeros(4, dtype=np.int64)])
    np.testing.assert_allclose(plate_correlation(dealt, points)[:, 0], [-1, 0, 1])
    np.testing.assert_allclose(plate_correlation(levelled, points)[:, 0], 0, atol=1e-12)
    assert set(levelled[:, 0]) == {0, 2}


@pytest.mark.parametrize("points", [np.zeros((99, 2)), np.full((100, 2), np.nan)])
def test_coordinates_that_do_not_fit_are_refused(plates, points):
    with pytest.raises(NumericalError, match=r"layout: .*coordinates"):
        lay_out(table(np.arange(100), 0, "s"), plates(), 2, "c", 1, 0, points)
