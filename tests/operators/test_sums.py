"""Diagonals, blocks and sums against their dense selves and against linear_operator."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_operator.operators import AddedDiagLinearOperator, DiagLinearOperator, LowRankRootLinearOperator
from operator_properties import OperatorTests
from scipy.sparse.linalg import cg, eigsh

from tasks.errors import NumericalError, UserError
from tasks.operators import (
    Blocks,
    Diagonal,
    Factor,
    LowRankPlusDiagonal,
    Operator,
    add,
    as_linear_operator,
    noise_operator,
)
from tasks.operators.device_rows import DeviceRows
from tasks.operators.sums import Sum
from tasks.readouts.sigma_y import SigmaY


def noise(seed):
    return np.random.default_rng(seed).uniform(0.5, 2.0, size=11)


def tall(seed, columns=4):
    return np.random.default_rng(seed + 50).normal(size=(11, columns))


def plates(seed):
    """Shares (11, 3) of three plates, one of them without variance, and the variances."""
    rng = np.random.default_rng(seed + 70)
    weights = np.where(np.arange(11)[:, None] % 3 == np.arange(3), rng.uniform(0.5, 1, size=(11, 3)), 0.0)
    return scipy.sparse.csr_array(weights), np.array([0.7, 0.0, 0.2])


def dense_plates(seed):
    weights, variances = plates(seed)
    return (weights.toarray() * variances) @ weights.toarray().T


class TestDiagonal(OperatorTests):
    solvable = True

    def make(self, seed):
        return Diagonal(noise(seed)), np.diag(noise(seed))

    def second(self, seed):
        return DiagLinearOperator(torch.from_numpy(noise(seed)))


class TestBlocks(OperatorTests):
    def make(self, seed):
        return Blocks(*plates(seed)), dense_plates(seed)


class TestFactorPlusDiagonal(OperatorTests):
    solvable = True

    def make(self, seed):
        return Factor(tall(seed)) + Diagonal(noise(seed)), tall(seed) @ tall(seed).T + np.diag(noise(seed))

    def second(self, seed):
        root = LowRankRootLinearOperator(torch.from_numpy(tall(seed)))
        return AddedDiagLinearOperator(root, DiagLinearOperator(torch.from_numpy(noise(seed))))


class TestSignedFactorPlusDiagonal(OperatorTests):
    solvable = True
    tolerance = 1e-9

    def make(self, seed):
        a, signs = tall(seed), np.array([1.0, -1, 1, -1])
        a[:, signs < 0] *= 0.1  # so that what is subtracted leaves it positive definite
        return Diagonal(noise(seed)) + Factor(a, signs), (a * signs) @ a.T + np.diag(noise(seed))


class TestBlocksPlusDiagonal(OperatorTests):
    solvable = True

    def make(self, seed):
        return Blocks(*plates(seed)) + Diagonal(noise(seed)), dense_plates(seed) + np.diag(noise(seed))


class TestAllThree(OperatorTests):
    solvable = True

    def make(self, seed):
        whole = Blocks(*plates(seed)) + Factor(tall(seed)) + Diagonal(noise(seed))
        return whole, dense_plates(seed) + tall(seed) @ tall(seed).T + np.diag(noise(seed))


class TestAllThreeOnDevice(OperatorTests):
    solvable = True

    def make(self, seed):
        a = DeviceRows(torch.from_numpy(tall(seed)), chunk=4)
        whole = add(Diagonal(noise(seed)), Factor(a), Blocks(*plates(seed)))
        return whole, dense_plates(seed) + tall(seed) @ tall(seed).T + np.diag(noise(seed))


class TestSumWithoutDiagonal(OperatorTests):
    def make(self, seed):
        return Blocks(*plates(seed)) + Factor(tall(seed)), dense_plates(seed) + tall(seed) @ tall(seed).T


class TestNoiseOfLabels(OperatorTests):
    solvable = True

    def make(self, seed):
        weights, variances = plates(seed)
        return noise_operator(SigmaY(noise(seed), weights, variances)), dense_plates(seed) + np.diag(noise(seed))

    def test_agrees_with_sigma_y(self, seed):
        weights, variances = plates(seed)
        given = SigmaY(noise(seed), weights, variances)
        features = np.random.default_rng(1).normal(size=(11, 3))
        np.testing.assert_allclose(noise_operator(given).quadratic(features), given.quadratic(features))
        np.testing.assert_allclose(noise_operator(given).diagonal(), given.diagonal())


def test_the_type_says_which_algebra_applies():
    diagonal, factor, blocks = Diagonal(noise(0)), Factor(tall(0)), Blocks(*plates(0))
    assert type(diagonal + diagonal) is Diagonal
    assert type(factor + factor) is Factor
    assert (factor + factor).rank == 8
    assert type(blocks + blocks) is Blocks
    assert type(factor + blocks) is Sum
    for whole in (diagonal + factor, blocks + diagonal, (factor + blocks) + diagonal, diagonal + (blocks + factor)):
        assert type(whole) is LowRankPlusDiagonal
    assert len((diagonal + factor + blocks + factor + diagonal).terms) == 3


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    scale=st.floats(0.01, 3.0),
    signs=st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3),
)
def test_refuses_exactly_what_is_not_positive_definite(seed, scale, signs):
    a = scale * np.random.default_rng(seed).normal(size=(11, 3))
    whole = Diagonal(np.ones(11)) + Factor(a, np.array(signs))
    smallest = np.linalg.eigvalsh(np.eye(11) + (a * signs) @ a.T)[0]
    if smallest > 1e-6:
        sign, expected = np.linalg.slogdet(np.eye(11) + (a * signs) @ a.T)
        assert sign == 1
        assert whole.logdet() == pytest.approx(expected, rel=1e-7, abs=1e-7)
    elif smallest < -1e-6:
        with pytest.raises(NumericalError, match=r"not positive definite: a sum over 11 points has \d eigenvalues"):
            whole.solve(np.ones(11))


def test_says_which_entry_of_the_diagonal_is_not_positive():
    values = np.ones(11)
    values[4] = 0.0
    for operator in (Diagonal(values), Diagonal(values) + Factor(tall(0))):
        for use in (operator.logdet, lambda operator=operator: operator.solve(np.ones(11))):
            with pytest.raises(NumericalError, match="not positive definite: entry 4 of the diagonal is 0"):
                use()


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"needs a vector.*shape \(2, 2\)"):
        Diagonal(np.eye(2))
    with pytest.raises(NumericalError, match="entry 1 of a diagonal"):
        Diagonal(np.array([1.0, np.inf]))
    weights, variances = plates(0)
    with pytest.raises(UserError, match="variances and groups disagree"):
        Blocks(weights, variances[:2])
    with pytest.raises(NumericalError, match=r"variance of group 2 is -1"):
        Blocks(weights, np.array([1.0, 0, -1]))
    with pytest.raises(NumericalError, match="blocks is not finite"):
        Blocks(weights, np.array([1.0, 0, np.nan]))
    with pytest.raises(UserError, match="mask of other points"):
        Blocks(weights, variances).take(np.ones(4, dtype=bool))


class Mine(Operator):
    """An operator that no sum knows."""

    def __len__(self):
        return 11

    def matmul(self, vectors):
        return vectors

    def diagonal(self):
        return np.ones(11)

    def take(self, rows):
        return self


def test_an_operator_of_another_type_does_not_add_up():
    assert Mine().quadratic(np.ones((11, 1))).item() == 11  # what is derived works on it
    assert Mine().trace() == 11
    with pytest.raises(UserError, match="got Diagonal, Mine"):
        Mine() + Diagonal(np.ones(11))


def test_solvers_of_the_ecosystem_work_on_it():
    rng = np.random.default_rng(3)
    a = rng.normal(size=(300, 6))
    whole = Factor(a) + Diagonal(rng.uniform(0.5, 1, size=300))
    values, _ = eigsh(as_linear_operator(whole), k=4, v0=np.ones(300))
    matrix = a @ a.T + np.diag(whole.diagonal() - np.square(a).sum(axis=1))
    np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(matrix)[-4:])
    solution, status = cg(as_linear_operator(whole), np.ones(300), rtol=1e-12)
    assert status == 0
    np.testing.assert_allclose(solution, whole.solve(np.ones(300)), rtol=1e-8)


def test_a_large_library_takes_no_square_matrix():
    rng = np.random.default_rng(4)
    n = 200_000
    plate = scipy.sparse.csr_array((np.ones(n), (np.arange(n), np.arange(n) // 384)))
    whole = add(
        Diagonal(rng.uniform(0.5, 1, size=n)),
        Factor(rng.normal(size=(n, 5)).astype(np.float32)),
        Blocks(plate, np.full(plate.shape[1], 0.1)),
    )
    x = rng.normal(size=n)  # a 200,000 × 200,000 matrix would need 320 GB
    np.testing.assert_allclose(whole @ whole.solve(x), x, atol=1e-8)
