"""Symmetric operators over the pool as tall factors: no N×N matrix is ever formed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import array_api_compat
import numpy as np
import numpy.typing as npt
import scipy.sparse

from tasks.errors import UserError
from tasks.operators import passes
from tasks.operators.linear import Float64 as Float64
from tasks.operators.linear import LowRank, Points, as_index
from tasks.operators.rows import MemoryRows, Rows, as_rows
from tasks.operators.views import SideBySide, Transformed

Floats = npt.NDArray[np.floating]


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


@dataclass(frozen=True, init=False, eq=False)
class Factor(LowRank):
    """The operator A·diag(signs)·Aᵀ over N points, of rank at most r.

    It exists because N is the size of a library and r a few hundred: every term of Ω^red (members, last layers,
    cobias) is one, and their sum is their columns side by side.

    Attributes:
        columns: A (N, r) [readout unit], float32 or float64; algebra is done in float64, some rows at a time.
        signs: (r,) +1 or −1 for each column.
    """

    columns: Rows
    signs: Float64

    def __init__(self, columns: Any, signs: Float64 | None = None) -> None:
        """Build the operator.

        Args:
            columns: A (N, r), an array, a tensor, or `Rows`.
            signs: (r,); all +1 when left out.

        Raises:
            UserError: Shapes disagree or a sign is not ±1.
            NumericalError: A value is not finite.
        """
        if len(columns.shape) != 2:
            raise UserError("a factor needs a matrix", got=f"shape {tuple(columns.shape)}", expected="(N, r)")
        rank = int(columns.shape[1])
        given = np.ones(rank) if signs is None or not np.size(signs) else np.asarray(signs, dtype=np.float64)
        if given.shape != (rank,) or not np.isin(given, (-1.0, 1.0)).all():
            raise UserError("wrong signs of a factor", got=signs, expected=f"{rank} times +1 or -1")
        object.__setattr__(self, "columns", as_rows(columns))
        object.__setattr__(self, "signs", given)

    def __len__(self) -> int:
        """N."""
        return len(self.columns)

    @property
    def core(self) -> Float64:
        """The signs (r,)."""
        return self.signs

    def diagonal(self) -> Float64:
        """See `Operator.diagonal`."""
        return _joined([*self.columns.map(passes.signed_squares, self.signs)], np.empty(0))

    def inner(self, vectors: Float64) -> Float64:
        """AᵀX (r, k) for X (N, k): one pass."""
        start = np.zeros((self.rank, vectors.shape[1]))
        return sum(self.columns.map(passes.inner, along=[vectors]), start)

    def inner_sparse(self, weights: scipy.sparse.csr_array) -> Float64:
        """AᵀW (r, q) for a sparse W (N, q): one pass."""
        return sum(self.columns.map(passes.inner_sparse, along=[weights]), np.zeros((self.rank, weights.shape[1])))

    def expand(self, small: Float64) -> Float64:
        """AC (N, k) for a small C (r, k): one pass."""
        return _joined([*self.columns.map(passes.product, small)], np.empty((0, small.shape[1])))

    def gram(self, weights: Float64) -> Float64:
        """Aᵀ diag(weights) A (r, r) for weights (N,) that are not negative: one pass."""
        return sum(self.columns.map(passes.weighted_gram, along=[weights]), np.zeros((self.rank, self.rank)))

    def take(self, rows: Points) -> Factor:
        """The operator over some of the points, in memory: rows and columns of A·J·Aᵀ at once."""
        return Factor(self.columns.take(as_index(rows, len(self))), self.signs)


def hstack(factors: Sequence[Factor]) -> Factor:
    """Sum of operators over the same points: their columns side by side. What is in memory is joined there.

    Raises:
        UserError: No factor, or factors over different numbers of points.
    """
    if not factors or len({len(factor) for factor in factors}) != 1:
        raise UserError("only operators over the same points add up", got=[len(factor) for factor in factors])
    columns = [factor.columns for factor in factors]
    in_memory = [part.array for part in columns if isinstance(part, MemoryRows)]
    joined = np.concatenate(in_memory, axis=1) if len(in_memory) == len(columns) else SideBySide(columns)
    return Factor(joined, np.concatenate([factor.signs for factor in factors]))


def member_factor(members: Any, outputs: int = 1) -> Factor:
    """Σ_F of the members' predictions: F_c/√(M − 1), F_c centred over the members; rank at most M − 1 an output.

    Several outputs (or classes) are more columns: the operator is the sum of their covariances.

    Args:
        members: F (N, M), or (N, M, C) of several outputs [readout unit], in memory; or `Rows` (N, M·C), of which
            nothing is copied.
        outputs: C of `Rows`.

    Returns:
        Factor over the N points with M·C columns.

    Raises:
        UserError: Fewer than two members, or columns that are not M·C.
    """
    if isinstance(members, Rows) and not isinstance(members, np.ndarray):
        columns = members.shape[1]
        if columns < 2 * outputs or columns % outputs:
            raise _too_few(members.shape, f"(N, {outputs} outputs x M >= 2)")
        return Factor(Transformed(members, partial(_centred, outputs=outputs), columns))
    if members.ndim not in (2, 3) or members.shape[1] < 2:
        raise _too_few(members.shape, "(N, M >= 2) or (N, M >= 2, C)")
    flat = members.reshape(len(members), -1)
    return Factor(_centred(flat, outputs=flat.shape[1] // members.shape[1]))


def _centred(chunk: Any, outputs: int) -> Any:
    """(n, M·C) predictions less the members' mean, over √(M − 1)."""
    xp = array_api_compat.array_namespace(chunk)
    each = xp.reshape(chunk, (chunk.shape[0], chunk.shape[1] // outputs, outputs))
    mean = xp.mean(xp.astype(each, xp.float64, copy=False), axis=1, keepdims=True)
    centred = (each - xp.astype(mean, chunk.dtype, copy=False)) / (each.shape[1] - 1) ** 0.5
    return xp.reshape(centred, chunk.shape)


def _too_few(shape: tuple[int, ...], expected: str) -> UserError:
    return UserError("a covariance over members needs two of them", got=f"shape {tuple(shape)}", expected=expected)


def _joined(parts: Sequence[Float64], empty: Float64) -> Float64:
    return np.concatenate(parts) if parts else empty
