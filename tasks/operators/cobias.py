"""Δ, what the ensemble gets wrong in common, from forward residuals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.errors import NumericalError, UserError
from tasks.operators.factors import Factor, Float64, Floats, SymmetricOperator

_NULL = 1e-12  # Gram eigenvalues below this share of the largest are directions without residuals


@dataclass(frozen=True)
class Cobias:
    """The cobias Δ̂(x, x′) = φ(x)ᵀ B₊ φ(x′).

    Attributes:
        root: (p, k), B₊ = root·rootᵀ; k = 0 when nothing but noise was found.
        form: (p, p), B before it was made positive: the least-squares solution.
        eigenvalues: (q,) of Δ̂ over the residuals' points, divided by n, before truncation, descending [unit squared].
        clipped_share: Share of the positive eigenvalues that truncation took away: 0 nothing, 1 all.
        n_residuals: Residuals n that went in.
        effective_n: Independent residuals that would fix their mean as well; plate noise makes it less than n.
    """

    root: Float64
    form: Float64
    eigenvalues: Float64
    clipped_share: float
    n_residuals: int
    effective_n: float


def quadratic_delta(
    features: Floats,
    residuals: Floats,
    sigma_y: SymmetricOperator,
    sigma_f: Factor | None,
    members: int,
    ridge: float,
) -> Cobias:
    """Estimate Δ from the products of all pairs of forward residuals, without forming the pairs.

    E[r rᵀ] = Δ + Σ_Y + Σ_F/M, so B = argmin Σ_ij (P_ij − φ_iᵀBφ_j)² + λ‖B‖²_F with P = rrᵀ − Σ_Y − Σ_F/M. With
    C = ΦᵀPΦ and ΦᵀΦ = U diag(g) Uᵀ, B = U[(UᵀCU)_ab/(g_a g_b + λ)]Uᵀ. λ = ridge · mean(g²).

    Positive part: let K be B in orthonormal coordinates over the residuals' points, divided by n, so that tr K is the
    mean of the estimated δ². From one round rrᵀ is a single random direction, and plain clipping of the negative
    eigenvalues would keep all of its noise but drop what was subtracted for it. So K₊ is the closest positive matrix
    with the trace of K (0 when that is negative): all eigenvalues are lowered by the same amount, then clipped.

    Args:
        features: Φ (n, p) ensemble features of the residuals' points, by the ensemble that made the prediction.
        residuals: r (n,) measured minus predicted, by a model that had not seen them [readout unit].
        sigma_y: Σ_Y over the n points: covariance of the measurements.
        sigma_f: Σ_F over the n points, or None to leave it out.
        members: M, over which the prediction was averaged.
        ridge: λ relative to the mean squared eigenvalue of the Gram matrix ΦᵀΦ.

    Returns:
        The cobias in the coordinates of the features.

    Raises:
        UserError: Shapes disagree.
        NumericalError: A feature or residual is not finite, or all features are zero.

    Source:
        Quadratic cobias estimator: Scherer, Kirsch & Taylor-King 2025 (arXiv 2509.04363); closed form and truncation
        are this project's.
    """
    phi, r = _checked(features, residuals, sigma_f)
    gram_values, basis = np.linalg.eigh(phi.T @ phi)
    gram_values = np.clip(gram_values, 0.0, None)
    noise = sigma_y.quadratic(phi) + (sigma_f.quadratic(phi) / members if sigma_f is not None else 0.0)
    moments = phi.T @ r
    target = basis.T @ (np.outer(moments, moments) - noise) @ basis
    penalty = ridge * float(np.mean(gram_values**2))
    if penalty == 0.0:
        raise NumericalError("all features of the cobias are zero")
    form = target / (np.outer(gram_values, gram_values) + penalty)
    root, values, clipped_share = _positive_part(form, gram_values, len(r))
    return Cobias(
        root=basis @ root,
        form=basis @ form @ basis.T,
        eigenvalues=values,
        clipped_share=clipped_share,
        n_residuals=len(r),
        effective_n=_effective_n(sigma_y, sigma_f, members, len(r)),
    )


def cobias_factor(features: Floats, cobias: Cobias) -> Factor:
    """Δ̂ over any points, from their features Φ (N, p) by the ensemble whose residuals made it: Φ·root, (N, k).

    Raises:
        UserError: Another number of features than the cobias was estimated with.
    """
    if features.ndim != 2 or features.shape[1] != len(cobias.root):
        raise UserError(
            "features do not fit the cobias", got=f"shape {features.shape}", expected=f"(N, {len(cobias.root)})"
        )
    return Factor(features @ cobias.root.astype(features.dtype))


def _checked(features: Floats, residuals: Floats, sigma_f: Factor | None) -> tuple[Float64, Float64]:
    lengths = [len(features), len(residuals), *([len(sigma_f)] if sigma_f is not None else [])]
    if features.ndim != 2 or residuals.ndim != 1 or len(set(lengths)) != 1 or not len(residuals):
        raise UserError("features, residuals and Σ_F must be over the same points", where="cobias", got=lengths)
    if not (np.isfinite(features).all() and np.isfinite(residuals).all()):
        raise NumericalError("a feature or forward residual of the cobias is not finite")
    return features.astype(np.float64), residuals.astype(np.float64)


def _positive_part(form: Float64, gram_values: Float64, n: int) -> tuple[Float64, Float64, float]:
    """Root (p, k) of the positive part of the form, eigenvalues before truncation, share of positive mass removed."""
    seen = gram_values > _NULL * gram_values.max()
    scale = np.sqrt(gram_values[seen] / n)
    values, vectors = np.linalg.eigh(scale[:, None] * form[np.ix_(seen, seen)] * scale)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = _lower_to_trace(values)
    positive = kept > 0
    root = np.zeros((len(form), int(positive.sum())))
    root[seen] = (vectors[:, positive] * np.sqrt(kept[positive])) / scale[:, None]
    mass = float(values[values > 0].sum())
    return root, values, 1.0 - float(kept.sum()) / mass if mass > 0 else 0.0


def _lower_to_trace(values: Float64) -> Float64:
    """Closest non-negative eigenvalues (descending) with the same sum, or zeros where the sum is negative.

    Source:
        Projection onto a simplex: Duchi et al. 2008, figure 1.
    """
    total = values.sum()
    if total <= 0:
        return np.zeros_like(values)
    lowered = (np.cumsum(values) - total) / np.arange(1, len(values) + 1)
    last = np.flatnonzero(values >= lowered)[-1]  # >=: the first one holds even where a tiny sum is lost to rounding
    kept: Float64 = np.clip(values - lowered[last], 0.0, None)
    return kept


def _effective_n(sigma_y: SymmetricOperator, sigma_f: Factor | None, members: int, n: int) -> float:
    ones: npt.NDArray[np.float64] = np.ones((n, 1))
    total, mean = float(sigma_y.diagonal().sum()), float(sigma_y.quadratic(ones)[0, 0])
    if sigma_f is not None:
        total += sigma_f.trace() / members
        mean += float(sigma_f.quadratic(ones)[0, 0]) / members
    return float(np.clip(n * total / mean, 1.0, n)) if mean > 0 else float(n)
