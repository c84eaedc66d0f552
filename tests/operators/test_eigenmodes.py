"""Eigenmodes against dense eigendecompositions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zarr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.operators import Factor, eigenmodes, hstack, member_factor, peaks
from tasks.operators.device_rows import DeviceRows
from tasks.operators.eigenmodes import gram_matrix, modes_of_gram
from tasks.operators.peaks import largest_loadings
from tasks.operators.rows import MemoryRows
from tasks.operators.stored_rows import StoredRows


def dense(factor: Factor) -> np.ndarray:
    return factor @ np.eye(len(factor))


def check(factor: Factor, tolerance: float = 1e-8) -> None:
    """Values are the non-zero ones of the dense operator; vectors are orthonormal and reproduce it."""
    matrix, modes = dense(factor), eigenmodes(factor)
    scale = np.abs(matrix).max()
    expected = np.linalg.eigvalsh(matrix)[::-1]
    expected = expected[np.abs(expected) > 1e-9 * np.abs(expected).max()]
    np.testing.assert_allclose(modes.values, expected, rtol=tolerance, atol=tolerance * scale)
    u = modes.loadings(factor)
    np.testing.assert_allclose(u.T @ u, np.eye(len(modes.values)), atol=1e-6)
    np.testing.assert_allclose((u * modes.values) @ u.T, matrix, atol=1e-7 * scale)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 25), r=st.integers(1, 8), indefinite=st.booleans(), seed=st.integers(0, 10_000))
def test_agrees_with_the_dense_operator(n, r, indefinite, seed):
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=r) if indefinite else np.ones(r)
    columns = rng.normal(size=(n, r))
    shares = np.square(np.linalg.svd(columns, compute_uv=False))
    assume(shares.min() > 1e-5 * shares.max())  # between clearly there and clearly not, the tolerance decides
    check(Factor(columns, signs))


def test_tolerance_decides_what_counts_as_zero():
    q, _ = np.linalg.qr(np.random.default_rng(8).normal(size=(20, 3)))
    factor = Factor(q * np.sqrt([1.0, 1e-2, 1e-4]))
    assert [len(eigenmodes(factor, tol=tol).values) for tol in (1e-5, 1e-3, 1e-1)] == [3, 2, 1]


def test_dependent_columns_are_no_obstacle():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(30, 3))
    check(Factor(np.c_[a, a[:, :1], np.zeros(30), a @ np.ones(3)], np.array([1, 1, -1, 1, 1, -1.0])))
    members = member_factor(rng.normal(size=(30, 6)))
    check(members)
    assert len(eigenmodes(members).values) == 5


def test_repeated_eigenvalues_span_the_right_space():
    q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 5)))
    factor = Factor(q * np.sqrt([3, 3, 3, 2, 2]), np.array([1, 1, 1, -1, 1.0]))
    check(factor)
    np.testing.assert_allclose(eigenmodes(factor).values, [3, 3, 3, 2, -2])


def test_what_cancels_is_gone():
    a = np.random.default_rng(2).normal(size=(20, 3))
    assert len(eigenmodes(hstack([Factor(a), Factor(a, -np.ones(3))])).values) == 0
    assert len(eigenmodes(Factor(np.zeros((20, 3)))).values) == 0
    assert eigenmodes(Factor(np.empty((20, 0)))).loadings(Factor(np.empty((20, 0)))).shape == (20, 0)


def test_chunks_are_as_good_as_the_whole():
    rng = np.random.default_rng(3)
    factor = Factor(rng.normal(size=(50, 6)).astype(np.float32), rng.choice([-1.0, 1.0], size=6))
    whole = eigenmodes(factor)
    parts = [factor.take(slice(start, start + 7)) for start in range(0, 50, 7)]
    chunked = eigenmodes(lambda: iter(parts))
    np.testing.assert_allclose(chunked.values, whole.values, rtol=1e-9)
    loadings = np.concatenate([chunked.loadings(part) for part in parts])
    np.testing.assert_allclose(loadings, whole.loadings(factor), atol=1e-9)


def test_coordinates_give_the_distances_of_the_positive_part():
    rng = np.random.default_rng(4)
    factor = Factor(rng.normal(size=(20, 4)), np.array([1, -1, 1, 1.0]))
    modes = eigenmodes(factor)
    values, vectors = np.linalg.eigh(dense(factor))
    positive = (vectors * np.clip(values, 0, None)) @ vectors.T
    z = modes.coordinates(factor)
    assert z.shape == (20, modes.positive) == (20, 3)
    np.testing.assert_allclose(z @ z.T, positive, atol=1e-9)


def test_k_keeps_the_largest_by_size():
    q, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(20, 4)))
    factor = Factor(q * np.sqrt([1.0, 5.0, 2.0, 4.0]), np.array([1, -1, 1, 1.0]))
    np.testing.assert_allclose(eigenmodes(factor, k=2).values, [4, -5])


def test_largest_entry_of_each_rotation_is_positive():
    rng = np.random.default_rng(6)
    a = rng.normal(size=(20, 4))
    modes = eigenmodes(Factor(a))
    largest = np.abs(modes.rotation).argmax(axis=0)
    assert (modes.rotation[largest, np.arange(4)] > 0).all()


def test_a_large_pool_takes_no_square_matrix():
    factor = Factor(np.random.default_rng(7).normal(size=(300_000, 3)).astype(np.float32))
    modes = eigenmodes(factor)  # a 300,000 × 300,000 matrix would need 720 GB
    assert modes.loadings(factor).shape == (300_000, 3)
    assert modes.values.sum() == pytest.approx(factor.trace(), rel=1e-9)


def test_chunks_of_another_factor_are_refused():
    one, other = Factor(np.ones((4, 2))), Factor(np.ones((4, 2)), np.array([1.0, -1.0]))
    with pytest.raises(UserError, match="different signs"):
        eigenmodes(lambda: [one, other])
    with pytest.raises(UserError, match="got 3 columns, expected 2"):
        eigenmodes(one).loadings(Factor(np.ones((4, 3))))
    with pytest.raises(UserError, match="no chunk"):
        eigenmodes(lambda: [])


def test_modes_over_the_pool_and_loadings_over_all():
    rng = np.random.default_rng(9)
    factor = Factor(rng.normal(size=(40, 5)).astype(np.float32), np.array([1, 1, -1, 1, 1.0]))
    pool = rng.random(40) < 0.6
    modes = eigenmodes(factor, chosen=pool)
    of_pool = eigenmodes(factor.take(pool))
    np.testing.assert_allclose(modes.values, of_pool.values, rtol=1e-12)
    np.testing.assert_allclose(modes.coordinates(factor)[pool], of_pool.coordinates(factor.take(pool)), atol=1e-12)
    assert modes.coordinates(factor).shape == (40, modes.positive)
    with pytest.raises(UserError, match=r"mask of other points; got shape \(3,\)"):
        eigenmodes(factor, chosen=np.ones(3, dtype=bool))


def test_grams_of_parts_add_up():
    rng = np.random.default_rng(10)
    factor = Factor(rng.normal(size=(50, 4)), np.array([1, -1, 1, 1.0]))
    parts = [factor.take(slice(start, start + 20)) for start in (0, 20, 40)]
    found = modes_of_gram(sum(gram_matrix(part) for part in parts), factor.signs)
    np.testing.assert_allclose(found.values, eigenmodes(factor).values, rtol=1e-12)


def test_difference_of_two_rounds_is_indefinite():
    rng = np.random.default_rng(11)
    before, now = member_factor(rng.normal(size=(60, 6))), member_factor(0.7 * rng.normal(size=(60, 6)))
    drop = hstack([before, Factor(now.columns, -now.signs)])
    check(drop)
    modes = eigenmodes(drop)
    assert (modes.positive, len(modes.values)) == (5, 10)


def test_coordinates_as_rows_are_those_in_memory():
    factor = Factor(np.random.default_rng(12).normal(size=(40_000, 4)), np.array([1, -1, 1, 1.0]))
    modes = eigenmodes(factor)
    rows = modes.coordinate_rows(factor)
    assert rows.shape == (40_000, 3)
    wanted = np.array([7, 39_999, 0])
    np.testing.assert_allclose(rows.take(wanted), modes.coordinates(factor)[wanted], atol=1e-12)
    with pytest.raises(UserError, match="another factor"):
        modes.coordinate_rows(Factor(np.ones((3, 2))))


class TestLargestLoadings:
    """The strategy's core: per mode the point whose |loading| is largest."""

    def check(self, factor, chosen=None):
        modes = eigenmodes(factor, chosen=chosen)
        loadings = modes.loadings(factor)
        found = largest_loadings(modes, factor, chosen)
        among = np.ones(len(factor), dtype=bool) if chosen is None else chosen
        size = np.where(among[:, None], np.abs(loadings), -1.0)
        np.testing.assert_array_equal(found.rows, size.argmax(axis=0))
        np.testing.assert_allclose(found.loadings, loadings[found.rows, np.arange(len(modes.values))], rtol=1e-9)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("n", [1, 5, 4096, 9001])
    def test_agrees_with_all_loadings(self, n, dtype):
        rng = np.random.default_rng(n)
        a = rng.normal(size=(n, 6)) * np.exp(rng.normal(size=(n, 1)))
        self.check(Factor(a.astype(dtype)))
        self.check(Factor(a.astype(dtype), np.array([1, -1, 1, 1, -1, 1.0])))
        self.check(Factor(a.astype(dtype)), rng.random(n) < 0.5 if n > 1 else None)

    def test_near_ties_are_decided_in_double_precision(self):
        rng = np.random.default_rng(0)
        direction = rng.normal(size=40)
        a = np.outer(rng.choice([-1.0, 1.0], size=20_000) * (1 + 1e-7 * rng.random(20_000)), direction)
        self.check(Factor(np.c_[a, 0.01 * rng.normal(size=(20_000, 3))].astype(np.float32)))

    def test_weak_modes_beside_strong_ones(self):
        rng = np.random.default_rng(1)
        self.check(Factor((rng.normal(size=(20_000, 4)) * [1e3, 1, 1e-1, 0.1]).astype(np.float32)))

    def test_anywhere(self, tmp_path):
        rng = np.random.default_rng(2)
        a = (rng.normal(size=(20_000, 3)) * np.exp(2 * rng.normal(size=(20_000, 1)))).astype(np.float32)
        self.check(Factor(DeviceRows(torch.from_numpy(a), chunk=7000)))
        stored = zarr.create_array(tmp_path / "a.zarr", data=a, chunks=(5000, 3))
        self.check(Factor(StoredRows.of_zarr(stored)))
        self.check(Factor(MemoryRows(a, chunk=4097)))

    def test_a_mode_on_which_nobody_chosen_loads(self):
        factor = Factor(np.array([[3.0, 0], [0, 1], [0, 2]]))
        found = largest_loadings(eigenmodes(factor), factor, np.array([False, True, True]))
        assert found.rows.tolist() == [1, 2]  # never row 0, which may not be had
        assert found.loadings[0] == 0

    def test_short_rows_are_passed_over_where_lengths_differ(self):
        rng = np.random.default_rng(3)
        even, scale = rng.normal(size=(5000, 3)), np.exp(2 * rng.normal(size=(5000, 1)))
        shortest = peaks._shortest(even * scale, [], np.eye(3))
        assert 0 < shortest < np.abs(even * scale).max()
        assert peaks._shortest(np.ones((5000, 3)), [], np.eye(3)) == 0
        assert peaks._shortest(even, [np.zeros(5000, dtype=bool)], np.eye(3)) == 0

    def test_mistakes_are_named(self):
        factor = Factor(np.ones((4, 2)))
        modes = eigenmodes(factor)
        with pytest.raises(UserError, match="modes of another factor"):
            largest_loadings(modes, Factor(np.ones((4, 3))))
        for mask in (np.zeros(4, dtype=bool), np.ones(3, dtype=bool)):
            with pytest.raises(UserError, match="among"):
                largest_loadings(modes, factor, mask)


@pytest.mark.parametrize("make", [MemoryRows, lambda a: DeviceRows(torch.from_numpy(a), chunk=7)])
def test_one_code_for_arrays_and_tensors(make):
    a = np.random.default_rng(13).normal(size=(50, 6)).astype(np.float32)
    check(Factor(make(a), np.array([1, -1, 1, 1, -1, 1.0])), 1e-7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_gpu_gives_the_same_modes():
    factor = Factor(np.random.default_rng(14).normal(size=(100_000, 20)).astype(np.float32))
    there = Factor(torch.from_numpy(np.asarray(factor.columns)).cuda())
    np.testing.assert_allclose(eigenmodes(there).values, eigenmodes(factor).values, rtol=1e-9)
    np.testing.assert_array_equal(
        largest_loadings(eigenmodes(there), there).rows, largest_loadings(eigenmodes(factor), factor).rows
    )
