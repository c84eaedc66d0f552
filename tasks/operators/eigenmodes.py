"""Eigenmodes of a factored operator, without the operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from tasks.errors import NumericalError, UserError
from tasks.operators.factors import Factor, Float64

_ROWS = 65536  # rows converted to float64 at a time

Chunks = Callable[[], Iterable[Factor]]


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

    def loadings(self, chunk: Factor) -> Float64:
        """Rows of the eigenvectors U (n, k) that belong to the chunk's points."""
        return self._rotate(chunk, self.rotation)

    def coordinates(self, chunk: Factor) -> Float64:
        """Rows of Z = U₊Λ₊^½ (n, positive): distances between them are those of the operator's positive part."""
        n = self.positive
        return self._rotate(chunk, self.rotation[:, :n] * np.sqrt(self.values[:n]))

    def _rotate(self, chunk: Factor, rotation: Float64) -> Float64:
        if chunk.rank != len(self.rotation):
            raise UserError("chunk of another factor", got=f"{chunk.rank} columns", expected=f"{len(self.rotation)}")
        out = np.empty((len(chunk), rotation.shape[1]))
        for start in range(0, len(chunk), _ROWS):
            out[start : start + _ROWS] = chunk.columns[start : start + _ROWS].astype(np.float64) @ rotation
        return out


def eigenmodes(source: Factor | Chunks, k: int | None = None, tol: float = 1e-9) -> Eigenmodes:
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

    Returns:
        The modes, descending by eigenvalue; none for a zero operator.

    Raises:
        UserError: No chunk, or chunks that do not belong to one factor.
        NumericalError: The Gram matrix is not finite.
    """
    gram, signs = _gram((lambda: [source]) if isinstance(source, Factor) else source)
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


def _gram(chunks: Chunks) -> tuple[Float64, Float64]:
    """AᵀA (r, r) accumulated in float64, and the signs (r,)."""
    gram: Float64 | None = None
    signs: Float64 = np.empty(0)
    for chunk in chunks():
        if gram is None:
            gram, signs = np.zeros((chunk.rank, chunk.rank)), chunk.signs
        if not np.array_equal(chunk.signs, signs):
            raise UserError("chunks with different signs are not of one factor", got=chunk.signs, expected=str(signs))
        for start in range(0, len(chunk), _ROWS):
            rows = chunk.columns[start : start + _ROWS].astype(np.float64)
            gram += rows.T @ rows
    if gram is None:
        raise UserError("no chunk to take eigenmodes of", todo="The pool is empty")
    if not np.isfinite(gram).all():
        raise NumericalError("the Gram matrix of the factor is not finite")
    return gram, signs
