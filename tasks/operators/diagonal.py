"""Operators that treat every point by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.errors import NumericalError, UserError
from tasks.operators.linear import Float64, Operator, Points


@dataclass(frozen=True, eq=False)
class Diagonal(Operator):
    """The operator diag(values).

    It exists because the independent noise of wells is one, and because a positive one makes any sum invertible.

    Args:
        values: (N,) [readout unit squared].

    Raises:
        UserError: Not a vector.
        NumericalError: A value is not finite.
    """

    values: Float64

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        if values.ndim != 1:
            raise UserError("a diagonal needs a vector", got=f"shape {values.shape}", expected="(N,)")
        if not np.isfinite(values).all():
            raise NumericalError(f"entry {int(np.argmin(np.isfinite(values)))} of a diagonal is not finite")
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        """N."""
        return len(self.values)

    def matmul(self, vectors: Float64) -> Float64:
        """See `Operator.matmul`."""
        return self.values[:, None] * vectors

    def diagonal(self) -> Float64:
        """See `Operator.diagonal`."""
        return self.values

    def take(self, rows: Points) -> Diagonal:
        """See `Operator.take`."""
        return Diagonal(self.values[rows])

    def solve(self, vectors: Float64) -> Float64:
        """See `Operator.solve`; every value has to be positive."""
        x = self._over_points(vectors)
        return (x / self.positive()[:, None]).reshape(vectors.shape)

    def logdet(self) -> float:
        """See `Operator.logdet`."""
        return float(np.log(self.positive()).sum())

    def positive(self) -> Float64:
        """The values (N,), all of which are positive.

        Raises:
            NumericalError: One is not; it is named.
        """
        if len(self.values) and not self.values.min() > 0:
            worst = int(self.values.argmin())
            raise NumericalError(f"not positive definite: entry {worst} of the diagonal is {self.values[worst]:.6g}")
        return self.values
