"""Δ the direct way: regress the residuals, square what comes out, and say by how much that is too large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from tasks.errors import NumericalError
from tasks.operators.cobias import halved, root_factor
from tasks.operators.factors import Float64, Floats
from tasks.operators.history import ResidualSet, effective_number, weights_of
from tasks.operators.stability import Stability, agreement


@dataclass(frozen=True)
class DirectCobias:
    """The cobias Δ̂(x, x′) = δ̂(x)δ̂(x′), δ̂(x) = φ(x)ᵀβ.

    Attributes:
        root: β (p, T), a column an output.
        covariance: (p, p) of β: that of δ̂ is φᵀ·covariance·φ.
        mean_square: Mean of δ̂² over the residuals' points [unit squared].
        upward_bias: Mean of Var(δ̂) there: by so much the mean of δ̂² exceeds that of the squared expectation.
        n_residuals: Residuals that went in.
        effective_n: Independent residuals that would fix their mean as well.
        rounds: Rounds that count.
    """

    root: Float64
    covariance: Float64
    mean_square: float
    upward_bias: float
    n_residuals: int
    effective_n: float
    rounds: int

    @property
    def rank(self) -> int:
        """One direction an output."""
        return int(self.root.shape[1])

    def variance(self, features: Floats) -> Float64:
        """Var(δ̂) (N,) at points with features (N, p): the upward bias of each entry of the diagonal."""
        phi = features.astype(np.float64)
        return np.asarray(np.einsum("np,pq,nq->n", phi, self.covariance, phi, optimize=True))


def direct_delta(sets: Sequence[ResidualSet], ridge: float, decay: float = 0.0) -> DirectCobias:
    """Estimate Δ by ridge regression of forward residuals on features.

    β = (G + λI)⁻¹ Σ_s w_s Φ_sᵀr_s with G = Σ_s w_s Φ_sᵀΦ_s, w_s = decay^age and λ = ridge·tr(G)/p. Squaring δ̂ is biased
    up by Var(δ̂) = φᵀ(G + λI)⁻¹[Σ_s w_s² Φ_sᵀ(Σ_Y + Σ_F/M)Φ_s](G + λI)⁻¹φ, which is not subtracted: the quadratic
    estimate is the one without it.

    Args:
        sets: Forward residuals by round, in the features of the ensemble of the newest.
        ridge: λ relative to the mean eigenvalue of G.
        decay: Weight of a round beside the one after it; 0 leaves all but the newest out.

    Raises:
        UserError: No residuals that count, or sets of different features.
        NumericalError: All features are zero.

    Source:
        Direct cobias estimator: Scherer, Kirsch & Taylor-King 2025 (arXiv 2509.04363); its bias is this project's.
    """
    weights = weights_of(sets, decay)
    pairs = [(one, weight) for one, weight in zip(sets, weights, strict=True) if weight]
    gram = np.sum([weight * (one.features.T @ one.features) for one, weight in pairs], axis=0)
    penalty = ridge * float(np.trace(gram)) / len(gram)
    if penalty == 0.0:
        raise NumericalError("all features of the cobias are zero")
    moments = np.sum([weight * (one.features.T @ one.values) for one, weight in pairs], axis=0)
    noise = np.sum([weight**2 * one.noise.quadratic(one.features) for one, weight in pairs], axis=0)
    inverse = scipy.linalg.inv(gram + penalty * np.eye(len(gram)))
    root, covariance = inverse @ moments, inverse @ noise @ inverse
    points = sum(weight * len(one) for one, weight in pairs)
    return DirectCobias(
        root=root,
        covariance=covariance,
        mean_square=float(np.trace(root.T @ gram @ root)) / points,
        upward_bias=float(np.trace(covariance @ gram)) / points,
        n_residuals=sum(len(one) for one, _ in pairs),
        effective_n=effective_number(sets, decay),
        rounds=len(pairs),
    )


def direct_stability(sets: Sequence[ResidualSet], ridge: float, decay: float, seed: int) -> Stability:
    """Agreement of the direct Δ̂ from two halves of the residuals, over all their points."""
    halves, by = halved(sets, decay, seed)
    points = np.concatenate([one.features for half in halves for one in half])
    first, second = (root_factor(points, direct_delta(half, ridge, decay).root) for half in halves)
    return agreement(first, second, by)
