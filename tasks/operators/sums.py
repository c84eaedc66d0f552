"""Sums of operators: the type of a sum says which algebra applies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import scipy.sparse

from tasks.errors import NumericalError, UserError
from tasks.operators.blocks import Blocks
from tasks.operators.diagonal import Diagonal
from tasks.operators.factors import Factor, hstack
from tasks.operators.linear import Float64, LowRank, Operator, Points
from tasks.readouts.sigma_y import SigmaY


@dataclass(frozen=True, eq=False)
class Sum(Operator):
    """A sum of operators over the same points that has no form of its own.

    It exists for terms that do not merge and hold no diagonal: all but solving works on it. Made by `add`.

    Args:
        terms: At least two; at most one `Diagonal`, `Factor` and `Blocks` each, in this order.
    """

    terms: tuple[Operator, ...]

    def __len__(self) -> int:
        """N."""
        return len(self.terms[0])

    def matmul(self, vectors: Float64) -> Float64:
        """See `Operator.matmul`."""
        return np.asarray(sum(term.matmul(vectors) for term in self.terms))

    def diagonal(self) -> Float64:
        """See `Operator.diagonal`."""
        return np.asarray(sum(term.diagonal() for term in self.terms))

    def quadratic(self, features: Float64) -> Float64:
        """See `Operator.quadratic`."""
        return np.asarray(sum(term.quadratic(features) for term in self.terms))

    def take(self, rows: Points) -> Operator:
        """See `Operator.take`."""
        return type(self)(tuple(term.take(rows) for term in self.terms))


class LowRankPlusDiagonal(Sum):
    """D + B·C·Bᵀ: a positive diagonal, and a `Factor`, `Blocks` or both: B their columns, C their signs and variances.

    It exists because the noise of wells is such a diagonal, and with it a system over N points is one over the r
    columns.

    Source:
        Woodbury's identity and the determinant lemma: with J = sign C, K = |C|^½, M = J + K BᵀD⁻¹B K,
        S⁻¹ = D⁻¹ − D⁻¹BK M⁻¹ KBᵀD⁻¹ and |det S| = det D · |det M|. S is positive definite exactly when M has as many
        negative eigenvalues as J (inertia additivity, Haynsworth 1968). The first use costs a pass over the columns
        and O(r³), each solve two passes.
    """

    def solve(self, vectors: Float64) -> Float64:
        """See `Operator.solve`.

        Raises:
            NumericalError: The diagonal or the sum is not positive definite.
        """
        values, basis, scale = self._core
        inverse = 1.0 / self._noise.positive()[:, None]
        y = inverse * self._over_points(vectors)
        inner = scale * np.concatenate([term.inner(y) for term in self._columns])
        small = np.split(scale * (basis @ ((basis.T @ inner) / values[:, None])), self._cuts)
        wide = sum(term.expand(part) for term, part in zip(self._columns, small, strict=True))
        return np.asarray((y - inverse * wide).reshape(vectors.shape))

    def logdet(self) -> float:
        """See `Operator.logdet`.

        Raises:
            NumericalError: The diagonal or the sum is not positive definite.
        """
        return self._noise.logdet() + float(np.log(np.abs(self._core[0])).sum())

    @property
    def _noise(self) -> Diagonal:
        return next(term for term in self.terms if isinstance(term, Diagonal))

    @property
    def _columns(self) -> list[LowRank]:
        return [term for term in self.terms if isinstance(term, LowRank)]

    @property
    def _cuts(self) -> list[int]:
        return [self._columns[0].rank] if len(self._columns) > 1 else []

    @cached_property
    def _core(self) -> tuple[Float64, Float64, Float64]:
        """Eigenvalues (r,) and eigenvectors (r, r) of M, and K (r, 1)."""
        core = np.concatenate([term.core for term in self._columns])
        scale, signs = np.sqrt(np.abs(core))[:, None], np.where(core < 0, -1.0, 1.0)
        values, basis = np.linalg.eigh(np.diag(signs) + scale * self._gram() * scale.T)
        size, wrong = np.abs(values), int((values <= 0).sum()) - int((signs < 0).sum())
        if wrong or size.min(initial=1.0) <= np.finfo(float).eps * size.max(initial=1.0):
            raise NumericalError(
                f"not positive definite: a sum over {len(self)} points has {max(wrong, 1)} eigenvalues that are not "
                f"positive; the eigenvalue of its core that is closest to zero is {values[size.argmin()]:.6g}"
            )
        return values, basis, scale

    def _gram(self) -> Float64:
        """BᵀD⁻¹B (r, r)."""
        inverse = 1.0 / self._noise.positive()
        grams = [term.gram(inverse) for term in self._columns]
        if len(grams) == 1:
            return grams[0]
        factor, blocks = self._columns
        assert isinstance(factor, Factor)
        assert isinstance(blocks, Blocks)
        across = factor.inner_sparse(blocks.weighted(inverse))
        return np.block([[grams[0], across], [across.T, grams[1]]])


def add(*operators: Operator) -> Operator:
    """Sum of operators over the same points, of the type whose algebra applies.

    Diagonals, factors and blocks merge among themselves. What is left alone is of its own type; with a `Diagonal` it is
    a `LowRankPlusDiagonal`, which can be solved with; without one a `Sum`, which cannot.

    Raises:
        UserError: No operator, operators over different numbers of points, or of another type.
    """
    if not operators or len({len(operator) for operator in operators}) != 1:
        raise UserError("only operators over the same points add up", got=[len(operator) for operator in operators])
    terms = [term for operator in operators for term in (operator.terms if isinstance(operator, Sum) else [operator])]
    diagonals = [term for term in terms if isinstance(term, Diagonal)]
    factors = [term for term in terms if isinstance(term, Factor)]
    blocks = [term for term in terms if isinstance(term, Blocks)]
    if len(diagonals) + len(factors) + len(blocks) != len(terms):
        raise UserError("a sum of other operators", got=", ".join(sorted({type(term).__name__ for term in terms})))
    merged: list[Operator] = []
    if diagonals:
        merged.append(Diagonal(reduce(np.add, [term.values for term in diagonals])))
    if factors:
        merged.append(hstack(factors) if len(factors) > 1 else factors[0])
    if blocks:
        merged.append(_side_by_side(blocks))
    if len(merged) == 1:
        return merged[0]
    return LowRankPlusDiagonal(tuple(merged)) if diagonals else Sum(tuple(merged))


def noise_operator(sigma_y: SigmaY) -> Operator:
    """Σ_Y of labels as an operator: `Diagonal` plus `Blocks`, which can be solved with."""
    return add(Diagonal(sigma_y.diagonal_part), Blocks(sigma_y.weights, sigma_y.shared_variances))


def _side_by_side(blocks: Sequence[Blocks]) -> Blocks:
    weights = scipy.sparse.hstack([each.weights for each in blocks], format="csr")
    return Blocks(weights, np.concatenate([each.variances for each in blocks]))
