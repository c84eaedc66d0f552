"""Symmetric operators over the pool as tall factors: no N×N matrix is ever formed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tasks.errors import NumericalError, UserError

Floats = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

_ROWS = 65536  # rows converted to float64 at a time


class SymmetricOperator(Protocol):
    """What the estimators ask of an operator over n points, whatever its form."""

    def matvec(self, vector: Float64) -> Float64:
        """Product with a vector (n,)."""
        ...

    def diagonal(self) -> Float64:
        """Diagonal (n,)."""
        ...

    def quadratic(self, features: Float64) -> Float64:
        """ΦᵀSΦ (p, p) for features Φ (n, p)."""
        ...


@dataclass(frozen=True)
class Factor:
    """The operator A·diag(signs)·Aᵀ over N points, of rank at most r.

    It exists because N is the size of a library and r a few hundred: every term of Ω^red (members, last layers,
    cobias) is one, and their sum is their columns side by side.

    Args:
        columns: A (N, r) [readout unit], float32 or float64; algebra is done in float64, a slice of rows at a time.
        signs: (r,) +1 or −1 for each column; all +1 when left out.

    Raises:
        UserError: Shapes disagree or a sign is not ±1.
        NumericalError: A value is not finite.
    """

    columns: Floats
    signs: Float64 = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        if self.columns.ndim != 2:
            raise UserError("a factor needs a matrix", got=f"shape {self.columns.shape}", expected="(N, r)")
        rank = self.columns.shape[1]
        signs = np.ones(rank) if not self.signs.size else np.asarray(self.signs, dtype=np.float64)
        if signs.shape != (rank,) or not np.isin(signs, (-1.0, 1.0)).all():
            raise UserError("wrong signs of a factor", got=self.signs, expected=f"{rank} times +1 or -1")
        if not np.isfinite(self.columns).all():
            row = int(np.argwhere(~np.isfinite(self.columns).all(axis=1))[0][0])
            raise NumericalError(f"row {row} of a factor of shape {self.columns.shape} is not finite")
        object.__setattr__(self, "signs", signs)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def rank(self) -> int:
        """Number of columns r, the largest possible rank."""
        return int(self.columns.shape[1])

    def matvec(self, vector: Float64) -> Float64:
        """Product with a vector: (N,) → (N,)."""
        inner = sum((self.columns[s].astype(np.float64).T @ vector[s] for s in self._slices()), np.zeros(self.rank))
        return self._by_rows(lambda rows: rows @ (self.signs * inner))

    def diagonal(self) -> Float64:
        """Diagonal (N,) [readout unit squared]."""
        return self._by_rows(lambda rows: np.square(rows) @ self.signs)

    def trace(self) -> float:
        """Sum of the diagonal."""
        return float(self.diagonal().sum())

    def quadratic(self, features: Float64) -> Float64:
        """ΦᵀAJAᵀΦ (p, p) for features Φ (N, p)."""
        start = np.zeros((self.rank, features.shape[1]))
        inner = sum((self.columns[s].astype(np.float64).T @ features[s] for s in self._slices()), start)
        return inner.T @ (self.signs[:, None] * inner)

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_] | slice) -> Factor:
        """The operator over some of the points: rows and columns of A·J·Aᵀ at once."""
        return Factor(self.columns[rows], self.signs)

    def _slices(self) -> list[slice]:
        return [slice(start, start + _ROWS) for start in range(0, len(self), _ROWS)]

    def _by_rows(self, function: Callable[[Float64], Float64]) -> Float64:
        parts = [function(self.columns[s].astype(np.float64)) for s in self._slices()]
        return np.concatenate(parts) if parts else np.empty(0)


def hstack(factors: Sequence[Factor]) -> Factor:
    """Sum of operators over the same points: their columns side by side.

    Raises:
        UserError: No factor, or factors over different numbers of points.
    """
    if not factors or len({len(factor) for factor in factors}) != 1:
        raise UserError("only operators over the same points add up", got=[len(factor) for factor in factors])
    columns = np.concatenate([factor.columns for factor in factors], axis=1)
    return Factor(columns, np.concatenate([factor.signs for factor in factors]))


def member_factor(members: Floats) -> Factor:
    """Σ_F of the members' predictions: F_c/√(M − 1), F_c centred over the members; rank at most M − 1.

    Args:
        members: F (N, M) predictions [readout unit].

    Returns:
        Factor over the N points with M columns.

    Raises:
        UserError: Fewer than two members.
    """
    if members.ndim != 2 or members.shape[1] < 2:
        raise UserError(
            "a covariance over members needs two of them", got=f"shape {members.shape}", expected="(N, M >= 2)"
        )
    centred = members - members.mean(axis=1, keepdims=True, dtype=np.float64).astype(members.dtype)
    return Factor(centred / np.sqrt(members.shape[1] - 1, dtype=members.dtype))
