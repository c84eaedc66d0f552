"""What every operator over the points of a library can do, and how solvers of the ecosystem see it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import LinearOperator

from tasks.errors import NumericalError, UserError

Float64 = npt.NDArray[np.float64]
Points = npt.NDArray[np.integer] | npt.NDArray[np.bool_] | slice


class Operator(ABC):
    """A symmetric operator S over N points; its N×N matrix is never formed.

    It exists so that Ω and its terms are used alike, whatever their form. A class supplies `__len__`, `matmul`,
    `diagonal` and `take`; the rest is derived, and overridden only where the form allows a shorter way. Sums (`a + b`)
    are of the type whose algebra applies: only what has a positive diagonal can be solved with.
    """

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @abstractmethod
    def matmul(self, vectors: Float64) -> Float64:
        """SX (N, k) for X (N, k)."""

    @abstractmethod
    def diagonal(self) -> Float64:
        """Diagonal of S (N,) [readout unit squared]."""

    @abstractmethod
    def take(self, rows: Points) -> Operator:
        """The operator over some of the points: those rows and columns of S, in the order asked for."""

    def __matmul__(self, vectors: Float64) -> Float64:
        """SX for X (N, k), or Sx for x (N,).

        Raises:
            UserError: X is not over the N points.
        """
        x = self._over_points(vectors)
        return self.matmul(x) if vectors.ndim == 2 else self.matmul(x)[:, 0]

    def __add__(self, other: Operator) -> Operator:
        """Sum of operators over the same points; see `tasks.operators.sums.add`."""
        from tasks.operators.sums import add

        return add(self, other)

    def matvec(self, vector: Float64) -> Float64:
        """Sx (N,) for x (N,)."""
        return self @ vector

    def trace(self) -> float:
        """Sum of the diagonal."""
        return float(self.diagonal().sum())

    def quadratic(self, features: Float64) -> Float64:
        """ΦᵀSΦ (p, p) for features Φ (N, p)."""
        x = self._over_points(features)
        return x.T @ self.matmul(x)

    def solve(self, vectors: Float64) -> Float64:
        """S⁻¹X (N, k) for X (N, k), or S⁻¹x (N,) for x (N,).

        Raises:
            NumericalError: This operator has no inverse, or none that its form would give.
        """
        raise NumericalError(self._singular())

    def logdet(self) -> float:
        """Logarithm of det S.

        Raises:
            NumericalError: S is not positive definite, or its form does not tell.
        """
        raise NumericalError(self._singular())

    def _singular(self) -> str:
        return f"{type(self).__name__} over {len(self)} points has no inverse: add a Diagonal with positive values"

    def _over_points(self, vectors: Float64) -> Float64:
        if vectors.ndim not in (1, 2) or len(vectors) != len(self):
            got, expected = f"shape {vectors.shape}", f"({len(self)},) or ({len(self)}, k)"
            raise UserError("vectors over other points than the operator", got=got, expected=expected)
        x = np.asarray(vectors, dtype=np.float64)
        return x if x.ndim == 2 else x[:, None]


class LowRank(Operator):
    """B·diag(core)·Bᵀ with few columns B (N, r).

    It exists because whatever is a product of tall columns multiplies through them alone, and because any of them plus
    a positive diagonal can be solved with. A class supplies `core`, `inner` and `expand` besides `diagonal`, `take` and
    the length.
    """

    @property
    @abstractmethod
    def core(self) -> Float64:
        """Signs or variances of the columns (r,)."""

    @abstractmethod
    def inner(self, vectors: Float64) -> Float64:
        """BᵀX (r, k) for X (N, k)."""

    @abstractmethod
    def expand(self, small: Float64) -> Float64:
        """BC (N, k) for a small C (r, k)."""

    @abstractmethod
    def gram(self, weights: Float64) -> Float64:
        """Bᵀ diag(weights) B (r, r) for weights (N,) that are not negative."""

    @property
    def rank(self) -> int:
        """Number of columns r, the largest possible rank."""
        return len(self.core)

    def matmul(self, vectors: Float64) -> Float64:
        """See `Operator.matmul`."""
        return self.expand(self.core[:, None] * self.inner(vectors))

    def quadratic(self, features: Float64) -> Float64:
        """See `Operator.quadratic`; one pass."""
        inner = self.inner(self._over_points(features))
        return inner.T @ (self.core[:, None] * inner)


def as_linear_operator(operator: Operator) -> LinearOperator:
    """The operator as scipy sees one: `eigsh`, `cg` and the other iterative solvers work on it."""
    size = len(operator)

    def matvec(vector: Float64) -> Float64:
        return operator @ vector.reshape(size)

    both = operator.matmul
    return LinearOperator((size, size), matvec, rmatvec=matvec, matmat=both, rmatmat=both, dtype=np.float64)


def as_index(rows: Points, size: int) -> npt.NDArray[np.int64]:
    """Points by their number (k,), of a mask (N,), a slice or numbers."""
    if isinstance(rows, slice):
        return np.arange(size)[rows]
    given = np.asarray(rows)
    if given.dtype == np.bool_ and given.shape != (size,):
        raise UserError("a mask of other points", got=f"shape {given.shape}", expected=f"({size},)")
    return np.flatnonzero(given).astype(np.int64) if given.dtype == np.bool_ else given.astype(np.int64)
