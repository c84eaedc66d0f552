"""Eigenmodes of a factored operator, without the operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt

from tasks.errors import NumericalError, UserError
from tasks.operators import passes
from tasks.operators.factors import Factor
from tasks.operators.linear import Float64
from tasks.operators.rows import Rows
from tasks.operators.views import Transformed

Chunks = Callable[[], Iterable[Factor]]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Eigenmodes:
    """Eigenvalues of A·J·Aᵀ and the rotation that takes rows of A to eigenvectors.

    Attributes:
        values: (k,) eigenvalues, descending by value; negative ones, if any, come last [readout unit squared].
        rotation: (r, k), U = A @ rotation has orthonormal columns. Each column's largest entry is positive.
    """

    values: Float64
    rotation: Float64

    @property
    def positive(self) -> int:
        """Number of modes with a positive eigenvalue."""
        return int((self.values > 0).sum())

    def loadings(self, factor: Factor) -> Float64:
        """Rows of the eigenvectors U (n, k) that belong to a factor's points."""
        return self._expand(factor, self.rotation)

    def coordinates(self, factor: Factor) -> Float64:
        """Rows of Z = U₊Λ₊^½ (n, positive): distances between them are those of the operator's positive part."""
        return self._expand(factor, self._to_coordinates())

    def coordinate_rows(self, factor: Factor) -> Rows:
        """Z as `Rows` of the factor's dtype that are computed anew in every pass: nothing of size N×r is written."""
        self._check(factor)
        return Transformed(factor.columns, partial(_times, small=self._to_coordinates()), self.positive)

    def _to_coordinates(self) -> Float64:
        n = self.positive
        return self.rotation[:, :n] * np.sqrt(self.values[:n])

    def _expand(self, factor: Factor, small: Float64) -> Float64:
        self._check(factor)
        return factor.expand(small)

    def _check(self, factor: Factor) -> None:
        if factor.rank != len(self.rotation):
            raise UserError("chunk of another factor", got=f"{factor.rank} columns", expected=f"{len(self.rotation)}")


def eigenmodes(
    source: Factor | Chunks, k: int | None = None, tol: float = 1e-9, *, chosen: Bools | None = None
) -> Eigenmodes:
    """Eigenmodes of A·J·Aᵀ from one pass over A.

    G = AᵀA = QΓQᵀ in float64; A = V Γ^½Qᵀ with V = AQΓ^−½ orthonormal, so that the eigenvalues are those of the small
    matrix Γ^½QᵀJQΓ^½ = WΛWᵀ and U = AQΓ^−½W. An eigendecomposition of G stands in for a Cholesky factor because G is
    singular whenever columns depend on each other (centred members always do).

    Args:
        source: The factor, or a function that yields its rows in chunks (N_i, r) with the same signs each time.
        k: Modes to keep, by absolute eigenvalue; all when None.
        tol: Directions of G and modes with less than this share of the largest eigenvalue of G count as zero.
            G squares the condition of A: below about 1e-12 there is only rounding. With signs of both
            kinds the operator itself is reproduced to about √tol of its size.
        chosen: (N,) points over which the modes are taken, of one factor; their loadings and coordinates may then be
            had of all. Everybody when None.

    Returns:
        The modes, descending by eigenvalue; none for a zero operator.

    Raises:
        UserError: No chunk, chunks that do not belong to one factor, or a mask of other points.
        NumericalError: The Gram matrix is not finite.
    """
    if isinstance(source, Factor):
        return modes_of_gram(gram_matrix(source, chosen), source.signs, k, tol)
    total: Float64 | None = None
    signs: Float64 = np.empty(0)
    for chunk in source():
        if total is None:
            total, signs = np.zeros((chunk.rank, chunk.rank)), chunk.signs
        if not np.array_equal(chunk.signs, signs):
            raise UserError("chunks with different signs are not of one factor", got=chunk.signs, expected=str(signs))
        total += gram_matrix(chunk)
    if total is None:
        raise UserError("no chunk to take eigenmodes of", todo="The pool is empty")
    return modes_of_gram(total, signs, k, tol)


def gram_matrix(factor: Factor, chosen: Bools | None = None) -> Float64:
    """AᵀA (r, r) in float64 over all points, or the `chosen` (N,) ones: one pass. Those of parts of the points add up.

    Raises:
        UserError: A mask of other points.
        NumericalError: It overflows.
    """
    if chosen is not None and chosen.shape != (len(factor),):
        raise UserError("a mask of other points", got=f"shape {chosen.shape}", expected=f"({len(factor)},)")
    along = [] if chosen is None else [chosen]
    gram = sum(factor.columns.map(passes.gram, along=along), np.zeros((factor.rank, factor.rank)))
    if not np.isfinite(gram).all():
        raise NumericalError("the Gram matrix of the factor is not finite")
    return gram


def modes_of_gram(gram: Float64, signs: Float64, k: int | None = None, tol: float = 1e-9) -> Eigenmodes:
    """Eigenmodes of A·J·Aᵀ from AᵀA alone; see `eigenmodes`.

    Args:
        gram: G (r, r).
        signs: (r,) diagonal of J.
        k: Modes to keep.
        tol: Share of the largest eigenvalue of G that counts as zero.
    """
    gamma, q = np.linalg.eigh(gram)
    largest_gamma = gamma.max(initial=0.0)
    kept = gamma > tol * largest_gamma
    root, q = np.sqrt(gamma[kept]), q[:, kept]
    values, w = np.linalg.eigh(root[:, None] * (q.T @ (signs[:, None] * q)) * root)
    rotation = (q / root) @ w
    size = np.abs(values)
    order = np.argsort(-size, kind="stable")
    order = order[size[order] > tol * largest_gamma][:k]
    order = order[np.argsort(-values[order], kind="stable")]
    values, rotation = values[order], rotation[:, order]
    if not len(values):
        return Eigenmodes(values, rotation)
    largest = np.take_along_axis(rotation, np.abs(rotation).argmax(axis=0, keepdims=True), axis=0)
    return Eigenmodes(values, rotation * np.sign(largest))


def _times(chunk: Any, small: Float64) -> Any:
    xp = array_api_compat.array_namespace(chunk)
    return chunk @ xp.asarray(small, dtype=chunk.dtype, device=array_api_compat.device(chunk))
