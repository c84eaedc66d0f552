"""Factors in every kind of memory against their dense selves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_operator.operators import RootLinearOperator
from operator_properties import OperatorTests

from tasks.errors import NumericalError, UserError
from tasks.operators import Cobias, Factor, cobias_factor, hstack, member_factor, passes
from tasks.operators.device_rows import DeviceRows
from tasks.operators.rows import MemoryRows
from tasks.operators.stored_rows import StoredRows


def tall(seed, columns=4, dtype=float):
    return np.random.default_rng(seed).normal(size=(11, columns)).astype(dtype)


def stored(array, rows=4):
    chunks = (rows, array.shape[1])
    return StoredRows.of_zarr(zarr.create_array(zarr.storage.MemoryStore(), data=array, chunks=chunks))


class TestPositiveFactor(OperatorTests):
    def make(self, seed):
        return Factor(tall(seed)), tall(seed) @ tall(seed).T

    def second(self, seed):
        return RootLinearOperator(torch.from_numpy(tall(seed)))


class TestSignedFactor(OperatorTests):
    def make(self, seed):
        a, signs = tall(seed), np.random.default_rng(seed + 9).choice([-1.0, 1.0], size=4)
        return Factor(a, signs), a @ np.diag(signs) @ a.T


class TestSinglePrecisionFactor(OperatorTests):
    def make(self, seed):
        a = tall(seed, dtype=np.float32)
        return Factor(a), a.astype(float) @ a.astype(float).T  # the algebra itself is in double precision


class TestFactorInSmallChunks(OperatorTests):
    def make(self, seed):
        a = tall(seed, dtype=np.float32)
        return Factor(MemoryRows(a, chunk=3)), a.astype(float) @ a.astype(float).T


class TestFactorOnDevice(OperatorTests):
    def make(self, seed):
        a, signs = tall(seed, dtype=np.float32), np.array([1.0, -1, 1, 1])
        return Factor(DeviceRows(torch.from_numpy(a), chunk=3), signs), (a.astype(float) * signs) @ a.T.astype(float)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
class TestFactorOnGpu(OperatorTests):
    def make(self, seed):
        a = tall(seed)
        return Factor(torch.from_numpy(a).cuda()), a @ a.T


class TestFactorInStorage(OperatorTests):
    def make(self, seed):
        a = tall(seed)
        return Factor(stored(a)), a @ a.T


class TestEmptyFactor(OperatorTests):
    def make(self, seed):
        return Factor(np.empty((11, 0))), np.zeros((11, 11))


class TestMemberFactor(OperatorTests):
    def make(self, seed):
        members = np.random.default_rng(seed).normal(loc=5, size=(11, 6))
        return member_factor(members), np.cov(members)


class TestMemberFactorOfSeveralOutputs(OperatorTests):
    def make(self, seed):
        members = np.random.default_rng(seed).normal(loc=5, size=(11, 6, 3))
        return member_factor(members), sum(np.cov(members[:, :, output]) for output in range(3))


class TestMemberFactorOfStoredMembers(OperatorTests):
    def make(self, seed):
        members = np.random.default_rng(seed).normal(loc=5, size=(11, 6, 2))
        matrix = np.cov(members[:, :, 0]) + np.cov(members[:, :, 1])
        return member_factor(stored(members.reshape(11, 12)), outputs=2), matrix


class TestSumOfFactors(OperatorTests):
    def make(self, seed):
        a, b, c = tall(seed, 3), tall(seed + 1, 2, np.float32), np.empty((11, 0))
        return hstack([Factor(a), Factor(b, -np.ones(2)), Factor(c)]), a @ a.T - b.astype(float) @ b.astype(float).T


class TestSumOfFactorsInStorage(OperatorTests):
    def make(self, seed):
        a, b = tall(seed, 3), tall(seed + 1, 2)
        return hstack([Factor(stored(a)), Factor(stored(b, rows=3), -np.ones(2))]), a @ a.T - b @ b.T


class TestCobiasFactor(OperatorTests):
    def make(self, seed):
        rng = np.random.default_rng(seed)
        features, root = rng.normal(size=(11, 4)), rng.normal(size=(4, 2))
        cobias = Cobias(root, root @ root.T, np.ones(2), 0.0, 11, 11.0)
        return cobias_factor(features, cobias), features @ root @ root.T @ features.T


@settings(max_examples=30, deadline=None)
@given(members=st.integers(2, 9), shift=st.floats(-1e3, 1e3), seed=st.integers(0, 1000))
def test_member_covariance_has_rank_below_members_and_ignores_a_common_shift(members, shift, seed):
    f = np.random.default_rng(seed).normal(size=(15, members))
    columns = np.asarray(member_factor(f).columns)
    assert np.linalg.matrix_rank(columns, tol=1e-8) == members - 1
    moved = member_factor(f + shift * np.arange(15)[:, None])
    np.testing.assert_allclose(np.asarray(moved.columns), columns, atol=1e-9)


def test_blocks_of_a_chunk_change_little(monkeypatch):
    a = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    whole = Factor(a).quadratic(np.ones((1000, 1)))
    monkeypatch.setattr(passes, "_BLOCK", 2048)  # blocks of 64 rows
    np.testing.assert_allclose(Factor(a).quadratic(np.ones((1000, 1))), whole, rtol=1e-12)


def test_float32_members_stay_float32():
    assert member_factor(np.ones((3, 4), dtype=np.float32)).columns.dtype == np.float32
    assert member_factor(stored(np.ones((11, 4), dtype=np.float32))).columns.dtype == np.float32


@pytest.mark.parametrize(
    ("columns", "signs", "error", "message"),
    [
        (np.zeros(4), np.empty(0), UserError, r"needs a matrix.*shape \(4,\)"),
        (np.zeros((4, 2)), np.ones(3), UserError, "expected 2 times"),
        (np.zeros((4, 2)), np.array([1.0, 0.5]), UserError, "wrong signs"),
        (np.array([[0.0], [np.nan]]), np.empty(0), NumericalError, r"row 1 .* not finite"),
    ],
)
def test_a_factor_says_what_is_wrong_with_it(columns, signs, error, message):
    with pytest.raises(error, match=message):
        Factor(columns, signs)


def test_operators_over_different_points_do_not_add_up():
    with pytest.raises(UserError, match=r"got \[3, 4\]"):
        hstack([Factor(np.ones((3, 1))), Factor(np.ones((4, 1)))])


@pytest.mark.parametrize("members", [np.ones((5, 1)), np.ones((5, 1, 3)), MemoryRows(np.ones((5, 1)))])
def test_one_member_has_no_covariance(members):
    with pytest.raises(UserError, match="needs two"):
        member_factor(members)
