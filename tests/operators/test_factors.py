"""One test class for every operator over the pool: it must agree with its dense self."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks.operators.factors as factors_module
from tasks.errors import NumericalError, UserError
from tasks.operators import Cobias, Factor, cobias_factor, hstack, member_factor


class OperatorTests:
    """Inherit and supply `make`: an operator over n points and the matrix it stands for."""

    tolerance = 1e-10

    def make(self, seed: int) -> tuple[Factor, np.ndarray]:
        raise NotImplementedError

    @pytest.fixture(params=[0, 1, 2])
    def case(self, request: pytest.FixtureRequest) -> tuple[Factor, np.ndarray]:
        return self.make(request.param)

    def close(self, found: np.ndarray | float, expected: np.ndarray | float) -> None:
        np.testing.assert_allclose(found, expected, rtol=self.tolerance, atol=self.tolerance * np.abs(expected).max())

    def test_matvec(self, case):
        operator, matrix = case
        vector = np.random.default_rng(8).normal(size=len(matrix))
        self.close(operator.matvec(vector), matrix @ vector)

    def test_diagonal_and_trace(self, case):
        operator, matrix = case
        self.close(operator.diagonal(), np.diag(matrix))
        self.close(operator.trace(), np.trace(matrix))

    def test_quadratic(self, case):
        operator, matrix = case
        features = np.random.default_rng(9).normal(size=(len(matrix), 3))
        self.close(operator.quadratic(features), features.T @ matrix @ features)

    def test_length(self, case):
        operator, matrix = case
        assert len(operator) == len(matrix)

    def test_some_points(self, case):
        operator, matrix = case
        rows = np.array([3, 0, 5])
        self.close(operator.take(rows).matvec(np.ones(3)), matrix[np.ix_(rows, rows)] @ np.ones(3))

    def test_slices_of_rows_change_nothing(self, case, monkeypatch):
        monkeypatch.setattr(factors_module, "_ROWS", 4)
        self.test_matvec(case)
        self.test_diagonal_and_trace(case)
        self.test_quadratic(case)


class TestPositiveFactor(OperatorTests):
    def make(self, seed):
        a = np.random.default_rng(seed).normal(size=(11, 4))
        return Factor(a), a @ a.T


class TestSignedFactor(OperatorTests):
    def make(self, seed):
        rng = np.random.default_rng(seed)
        a, signs = rng.normal(size=(11, 4)), rng.choice([-1.0, 1.0], size=4)
        return Factor(a, signs), a @ np.diag(signs) @ a.T


class TestSinglePrecisionFactor(OperatorTests):
    def make(self, seed):
        a = np.random.default_rng(seed).normal(size=(11, 4)).astype(np.float32)
        return Factor(a), a.astype(float) @ a.astype(float).T  # the algebra itself is in double precision


class TestEmptyFactor(OperatorTests):
    def make(self, seed):
        return Factor(np.empty((11, 0))), np.zeros((11, 11))


class TestMemberFactor(OperatorTests):
    def make(self, seed):
        members = np.random.default_rng(seed).normal(loc=5, size=(11, 6))
        return member_factor(members), np.cov(members)


class TestSumOfFactors(OperatorTests):
    def make(self, seed):
        rng = np.random.default_rng(seed)
        a, b, c = rng.normal(size=(11, 3)), rng.normal(size=(11, 2)).astype(np.float32), np.empty((11, 0))
        return hstack([Factor(a), Factor(b, -np.ones(2)), Factor(c)]), a @ a.T - b.astype(float) @ b.astype(float).T


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
    factor = member_factor(f)
    assert np.linalg.matrix_rank(factor.columns, tol=1e-8) == members - 1
    moved = member_factor(f + shift * np.arange(15)[:, None])
    np.testing.assert_allclose(moved.columns, factor.columns, atol=1e-9)


def test_float32_members_stay_float32():
    assert member_factor(np.ones((3, 4), dtype=np.float32)).columns.dtype == np.float32


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


def test_one_member_has_no_covariance():
    with pytest.raises(UserError, match="needs two"):
        member_factor(np.ones((5, 1)))
