"""Passes over the library against all pairs in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.batches.distances import centred, nearest, reaches
from tasks.operators.rows import MemoryRows
from tasks.threads import one_blas_thread


def points_of(shape, size, rank, rng):
    """Rows that are hard in one way each."""
    rows = rng.standard_normal((size, rank))
    if shape == "heavy":
        rows *= np.exp(3 * rng.standard_normal((size, 1)))
    elif shape == "far":
        rows += 300.0  # all far from the origin: products cancel
    elif shape == "lattice":
        rows = rng.integers(-1, 2, (size, rank)).astype(float)  # ties, and rows that coincide
    elif shape == "tiny":
        rows *= 1e-18
    elif shape == "huge":
        rows *= 1e18
    elif shape == "close":
        rows = rng.standard_normal((4, rank))[rng.integers(0, 4, size)] + 1e-4 * rows
    return rows


def all_pairs(rows, centres):
    difference = rows.astype(np.float64)[:, None] - centres.astype(np.float64)[None]
    return np.einsum("ijk,ijk->ij", difference, difference)


SHAPES = ["plain", "heavy", "far", "lattice", "tiny", "huge", "close"]


@given(
    st.sampled_from(SHAPES),
    st.sampled_from([np.float32, np.float64]),
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from([1, 7, 50, 1000]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None)
def test_nearest_is_the_nearest(shape, dtype, count, rank, chunk, seed):
    rng = np.random.default_rng(seed)
    rows = points_of(shape, 120, rank, rng).astype(dtype)
    centres = rows[rng.choice(120, count, replace=False)].astype(np.float64)
    open_ = rng.random(120) < 0.8
    with one_blas_thread():
        square, centre = nearest(centred(MemoryRows(rows, chunk)), open_, centres)
    true = all_pairs(rows, centres)
    true[true <= 1e-12 * np.square(centres).sum(axis=1)] = 0
    np.testing.assert_array_equal(centre[open_], true.argmin(axis=1)[open_])
    np.testing.assert_allclose(square[open_], true.min(axis=1)[open_], rtol=1e-12)
    assert not square[~open_].any()


@given(
    st.sampled_from(SHAPES),
    st.sampled_from([np.float32, np.float64]),
    st.integers(1, 30),
    st.integers(1, 12),
    st.sampled_from([1, 7, 50, 1000]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None)
def test_reaches_are_who_is_nearer(shape, dtype, count, rank, chunk, seed):
    rng = np.random.default_rng(seed)
    rows = points_of(shape, 120, rank, rng).astype(dtype)
    centres = rows[rng.choice(120, count, replace=False)].astype(np.float64)
    points = rows[rng.choice(120, 9, replace=False)].astype(np.float64)
    with one_blas_thread():
        library = centred(MemoryRows(rows, chunk))
        square, centre = nearest(library, np.ones(120, dtype=bool), centres)
        found = reaches(library, square, centre, centres, points)
    true = all_pairs(rows, points)
    true[true <= 1e-12 * np.square(points).sum(axis=1)] = 0
    for number, reach in enumerate(found):
        inside = np.flatnonzero(true[:, number] < square)
        np.testing.assert_array_equal(reach.point, points[number])
        np.testing.assert_array_equal(reach.rows, inside)
        np.testing.assert_allclose(reach.square, true[inside, number], rtol=1e-12)


@pytest.mark.parametrize(("name", "value"), [("BLOCK", 5), ("GROUP", 3)])
def test_how_the_work_is_divided_changes_no_bit(name, value, monkeypatch):
    rng = np.random.default_rng(0)
    rows = points_of("heavy", 300, 6, rng).astype(np.float32)
    library, centres = centred(MemoryRows(rows, 64)), rows[:20].astype(np.float64)

    def work():
        square, centre = nearest(library, np.ones(300, dtype=bool), centres)
        found = reaches(library, square, centre, centres, rows[50:60].astype(np.float64))
        return [square, centre, *(reach.rows for reach in found), *(reach.square for reach in found)]

    whole = work()
    monkeypatch.setattr(f"tasks.batches.distances.{name}", value)
    for before, after in zip(whole, work(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_triangle_inequality_spares_rows(monkeypatch):
    """Two far clusters: what is near one centre is never compared with points beside the other."""
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.standard_normal((500, 4)), 1000 + rng.standard_normal((20, 4))])
    library, centres = centred(MemoryRows(rows)), rows[[0, 500]]
    square, centre = nearest(library, np.ones(520, dtype=bool), centres)
    compared = []
    monkeypatch.setattr(
        "tasks.batches.distances._blocks", lambda chunk, weights, near, targets: compared.append(len(near)) or iter(())
    )
    reaches(library, square, centre, centres, rows[[501]])
    assert 0 < compared[0] <= 19


def test_an_empty_library_has_no_distances():
    library = centred(MemoryRows(np.empty((0, 3))))
    square, centre = nearest(library, np.empty(0, dtype=bool), np.zeros((2, 3)))
    assert len(square) == len(centre) == 0
