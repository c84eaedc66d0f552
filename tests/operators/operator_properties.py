"""One test class for every operator over the points: it must agree with its dense self, and with linear_operator."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.errors import NumericalError, UserError
from tasks.operators import Operator, as_linear_operator


class OperatorTests:
    """Inherit, and supply `make`: an operator over n points and the matrix it stands for.

    `second` may give the same operator as linear_operator has it. `solvable` says whether it has an inverse.
    """

    tolerance = 1e-10
    solvable = False

    def make(self, seed: int) -> tuple[Operator, np.ndarray]:
        raise NotImplementedError

    def second(self, seed: int):
        return None

    @pytest.fixture(params=[0, 1, 2])
    def seed(self, request: pytest.FixtureRequest) -> int:
        return request.param

    @pytest.fixture
    def case(self, seed) -> tuple[Operator, np.ndarray]:
        return self.make(seed)

    def close(self, found: np.ndarray | float, expected: np.ndarray | float) -> None:
        size = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=self.tolerance, atol=self.tolerance * max(size, 1e-300))

    def test_products(self, case):
        operator, matrix = case
        x = np.random.default_rng(8).normal(size=(len(matrix), 3))
        self.close(operator @ x, matrix @ x)
        self.close(operator.matmul(x), matrix @ x)
        self.close(operator.matvec(x[:, 0]), matrix @ x[:, 0])
        assert (operator @ x[:, 0]).shape == (len(matrix),)

    def test_symmetric(self, case):
        operator, matrix = case
        found = operator @ np.eye(len(matrix))
        self.close(found, matrix)
        self.close(found, found.T)

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

    @pytest.mark.parametrize("how", ["numbers", "mask", "slice"])
    def test_some_points(self, case, how):
        operator, matrix = case
        mask = np.arange(len(matrix)) % 3 == 0
        rows = {"numbers": np.array([3, 0, 5]), "mask": mask, "slice": slice(2, 9, 2)}[how]
        numbers = np.arange(len(matrix))[rows]
        taken = operator.take(rows)
        assert type(taken) is type(operator)
        self.close(taken @ np.eye(len(numbers)), matrix[np.ix_(numbers, numbers)])

    def test_scipy_sees_it(self, case):
        operator, matrix = case
        view = as_linear_operator(operator)
        x = np.random.default_rng(10).normal(size=(len(matrix), 2))
        assert view.shape == matrix.shape
        self.close(view @ x, matrix @ x)
        self.close(view.H @ x[:, 0], matrix @ x[:, 0])

    def test_sum_with_itself_doubles(self, case):
        operator, matrix = case
        self.close((operator + operator) @ np.eye(len(matrix)), 2 * matrix)

    def test_linear_operator_agrees(self, seed):
        other = self.second(seed)
        if other is None:
            return
        operator, matrix = self.make(seed)
        import torch

        x = np.random.default_rng(11).normal(size=(len(matrix), 2))
        self.close(operator @ x, (other @ torch.from_numpy(x)).numpy())
        self.close(operator.diagonal(), other.diagonal().numpy())
        if self.solvable:
            self.close(operator.solve(x), other.solve(torch.from_numpy(x)).numpy())
            self.close(operator.logdet(), float(other.logdet()))

    def test_solving(self, case):
        operator, matrix = case
        x = np.random.default_rng(12).normal(size=(len(matrix), 2))
        if not self.solvable:
            with pytest.raises(NumericalError, match="has no inverse: add a Diagonal"):
                operator.solve(x)
            with pytest.raises(NumericalError, match="has no inverse: add a Diagonal"):
                operator.logdet()
            return
        self.close(operator.solve(x), np.linalg.solve(matrix, x))
        self.close(operator.solve(x[:, 0]), np.linalg.solve(matrix, x[:, 0]))
        self.close(operator.logdet(), np.linalg.slogdet(matrix)[1])

    def test_vectors_over_other_points_are_refused(self, case):
        operator, _ = case
        with pytest.raises(UserError, match=r"other points.*shape \(3, 2\), expected \(11,\) or \(11, k\)"):
            operator @ np.ones((3, 2))
        with pytest.raises(UserError, match="other points"):
            operator.quadratic(np.ones((12, 1)))
        with pytest.raises(UserError, match=r"got \[11, 3\]"):
            operator + operator.take(slice(0, 3))
