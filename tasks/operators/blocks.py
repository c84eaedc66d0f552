"""Errors that groups of points share: of plates, runs, reagents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from tasks.errors import NumericalError, UserError
from tasks.operators.linear import Float64, LowRank, Points, as_index


@dataclass(frozen=True, eq=False)
class Blocks(LowRank):
    """The operator W·diag(variances)·Wᵀ, W sparse.

    It exists because a point stands on few of many plates and runs: each group is a column with as many entries as it
    has points, where a factor would hold all N.

    Args:
        weights: W (N, q), share of each point in each group's error; any sparse array.
        variances: (q,) of each group's error, not negative [readout unit squared].

    Raises:
        UserError: Shapes disagree.
        NumericalError: A value is not finite, or a variance negative.
    """

    weights: scipy.sparse.csr_array
    variances: Float64

    def __post_init__(self) -> None:
        weights = scipy.sparse.csr_array(self.weights).astype(np.float64)
        variances = np.asarray(self.variances, dtype=np.float64)
        if variances.shape != (weights.shape[1],):
            got = f"{variances.shape} variances of {weights.shape[1]} groups"
            raise UserError("variances and groups disagree", where="blocks", got=got)
        if not (np.isfinite(weights.data).all() and np.isfinite(variances).all()):
            raise NumericalError("a weight or variance of the blocks is not finite")
        if (variances < 0).any():
            worst = int(variances.argmin())
            raise NumericalError(f"the variance of group {worst} is {variances[worst]:.6g}, which is negative")
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "variances", variances)

    def __len__(self) -> int:
        """N."""
        return int(self.weights.shape[0])

    @property
    def core(self) -> Float64:
        """The variances (q,)."""
        return self.variances

    def inner(self, vectors: Float64) -> Float64:
        """See `LowRank.inner`."""
        return np.asarray(self.weights.T @ vectors)

    def expand(self, small: Float64) -> Float64:
        """See `LowRank.expand`."""
        return np.asarray(self.weights @ small)

    def gram(self, weights: Float64) -> Float64:
        """See `LowRank.gram`."""
        return np.asarray((self.weights.T @ self.weighted(weights)).toarray())

    def weighted(self, weights: Float64) -> scipy.sparse.csr_array:
        """diag(weights) W (N, q), sparse."""
        return scipy.sparse.csr_array(self.weights * weights[:, None])

    def diagonal(self) -> Float64:
        """See `Operator.diagonal`."""
        return np.asarray(self.weights.power(2) @ self.variances)

    def take(self, rows: Points) -> Blocks:
        """See `Operator.take`."""
        return Blocks(self.weights[as_index(rows, len(self))], self.variances)
