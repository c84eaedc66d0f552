"""Δ, what the ensemble gets wrong in common, from the products of forward residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.errors import UserError
from tasks.operators.factors import Factor, Float64, Floats
from tasks.operators.history import PairFit, ResidualSet, effective_number, fit_pairs, weights_of
from tasks.operators.stability import Stability, agreement, deal

_NULL = 1e-12  # Gram eigenvalues below this share of the largest are directions without residuals


@dataclass(frozen=True)
class Cobias:
    """The cobias Δ̂(x, x′) = φ(x)ᵀ B₊ φ(x′).

    Attributes:
        root: (p, k), B₊ = root·rootᵀ; k = 0 when nothing but noise was found.
        form: (p, p), B before it was made positive: the least-squares solution.
        eigenvalues: (q,) of Δ̂ over the residuals' points, divided by n, before truncation, descending [unit squared].
        clipped_share: Share of the positive eigenvalues that truncation took away: 0 nothing, 1 all.
        n_residuals: Residuals n that went in, of all rounds that count.
        effective_n: Independent residuals that would fix their mean as well; plate noise makes it less than n.
        rounds: Rounds that count.
    """

    root: Float64
    form: Float64
    eigenvalues: Float64
    clipped_share: float
    n_residuals: int
    effective_n: float
    rounds: int = 1

    @property
    def rank(self) -> int:
        """Columns k of the root: directions that were found, at most one for each round and output."""
        return int(self.root.shape[1])


def quadratic_delta(sets: Sequence[ResidualSet], ridge: float, decay: float = 0.0) -> Cobias:
    """Estimate Δ from the products of all pairs of forward residuals of a round, without forming the pairs.

    E[r rᵀ] = Δ + Σ_Y + Σ_F/M, so P = rrᵀ − noise estimates Δ; see `fit_pairs` for its regression on features.

    Positive part: let K be B in orthonormal coordinates over the residuals' points, divided by n, so that tr K is the
    mean of the estimated δ². From one round rrᵀ is a single random direction, and plain clipping of the negative
    eigenvalues would keep all of its noise but drop what was subtracted for it. So K₊ is the closest positive matrix
    with the trace of K (0 when that is negative): all eigenvalues are lowered by the same amount, then clipped.

    Args:
        sets: Forward residuals by round, in the features of the ensemble of the newest.
        ridge: λ relative to the mean squared eigenvalue of the Gram matrices.
        decay: Weight of a round beside the one after it; 0 leaves all but the newest (age 0) out.

    Returns:
        The cobias in the coordinates of the features.

    Raises:
        UserError: No residuals that count, or sets of different features.
        NumericalError: All features are zero.

    Source:
        Quadratic cobias estimator: Scherer, Kirsch & Taylor-King 2025 (arXiv 2509.04363); closed form, sum over rounds
        and truncation are this project's.
    """
    fit = fit_pairs(sets, ridge, decay)
    root, values, clipped_share = _positive_part(fit)
    counted = [one for one, weight in zip(sets, weights_of(sets, decay), strict=True) if weight]
    return Cobias(
        root=root,
        form=fit.form,
        eigenvalues=values,
        clipped_share=clipped_share,
        n_residuals=sum(len(one) for one in counted),
        effective_n=effective_number(sets, decay),
        rounds=len(counted),
    )


def cobias_factor(features: Floats, cobias: Cobias) -> Factor:
    """Δ̂ over any points, from their features Φ (N, p) of the same ensemble as the residuals': Φ·root, (N, k).

    Raises:
        UserError: Another number of features than the cobias was estimated with.
    """
    return root_factor(features, cobias.root)


def root_factor(features: Floats, root: Float64, signs: Float64 | None = None) -> Factor:
    """Φ·root·diag(signs)·rootᵀ·Φᵀ over N points as a factor (N, k).

    Args:
        features: Φ (N, p).
        root: (p, k).
        signs: (k,), all +1 when left out.

    Raises:
        UserError: Another number of features than the root has.
    """
    if features.ndim != 2 or features.shape[1] != len(root):
        raise UserError("features do not fit the cobias", got=f"shape {features.shape}", expected=f"(N, {len(root)})")
    return Factor(features @ root.astype(features.dtype), signs)


def cobias_stability(sets: Sequence[ResidualSet], ridge: float, decay: float, seed: int) -> Stability:
    """Agreement of Δ̂ from two halves of the residuals, over all their points."""
    halves, by = halved(sets, decay, seed)
    points = np.concatenate([one.features for half in halves for one in half])
    first, second = (cobias_factor(points, quadratic_delta(half, ridge, decay)) for half in halves)
    return agreement(first, second, by)


def halved(sets: Sequence[ResidualSet], decay: float, seed: int) -> tuple[list[list[ResidualSet]], str]:
    """Two halves of every set that counts, by plates where there are enough, and what was halved.

    Raises:
        UserError: A set that counts has a single residual.
    """
    halves: list[list[ResidualSet]] = [[], []]
    ways = set()
    for one, weight in zip(sets, weights_of(sets, decay), strict=True):
        if weight:
            half, by = deal(one.plates, 2, seed)
            ways.add(by)
            for number in (0, 1):
                halves[number].append(one.take(half == number))
    return halves, "plates" if ways == {"plates"} else "labels"


def spectral(fit: PairFit) -> tuple[Float64, Float64]:
    """Eigenvalues of the form over the residuals' points, divided by their number, and what undoes it.

    Returns:
        The eigenvalues κ (q,), descending, and (p, q) V with B = V diag(κ) Vᵀ on the directions that have residuals.
    """
    gram, basis = np.linalg.eigh(fit.gram)
    seen = gram > _NULL * gram.max()
    scale, basis = np.sqrt(gram[seen] / fit.points), basis[:, seen]
    values, vectors = np.linalg.eigh(scale[:, None] * (basis.T @ fit.form @ basis) * scale)
    return values[::-1], basis @ (vectors[:, ::-1] / scale[:, None])


def _positive_part(fit: PairFit) -> tuple[Float64, Float64, float]:
    """Root (p, k) of the positive part of the form, eigenvalues before truncation, share of positive mass removed."""
    values, undo = spectral(fit)
    kept = _lower_to_trace(values)
    positive = kept > 0
    mass = float(values[values > 0].sum())
    share = 1.0 - float(kept.sum()) / mass if mass > 0 else 0.0
    return undo[:, positive] * np.sqrt(kept[positive]), values, share


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
