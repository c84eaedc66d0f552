"""Eigenmodes against dense eigendecompositions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.operators import Factor, eigenmodes, hstack, member_factor


def dense(factor: Factor) -> np.ndarray:
    a = factor.columns.astype(float)
    return (a * factor.signs) @ a.T


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
