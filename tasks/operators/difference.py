"""Where the reducible error is collapsing: the last two ensembles on labels that neither had seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.errors import UserError
from tasks.operators.cobias import halved, root_factor, spectral
from tasks.operators.factors import Factor, Float64, hstack
from tasks.operators.history import Bools, ResidualSet, effective_number, fit_pairs, weights_of
from tasks.operators.linear import Operator
from tasks.operators.stability import Stability, agreement

_NULL = 1e-9  # of the mean squared residual: smaller changes are rounding


@dataclass(frozen=True)
class Difference:
    """The change of the cobias Δ_older − Δ_newer = φ(x)ᵀ B φ(x′), of both signs.

    Attributes:
        root: (p, k), B = root·diag(signs)·rootᵀ.
        signs: (k,) +1 where the error drops, −1 where it grows.
        eigenvalues: (k,) over the residuals' points, divided by n, descending [unit squared].
        negative_share: Share of their absolute sum that is negative, where the error would have grown: about
            half where all is noise.
        n_residuals: Points that both ensembles were asked about.
        effective_n: Independent residuals that would fix their mean as well.
        rounds: Rounds that count.
    """

    root: Float64
    signs: Float64
    eigenvalues: Float64
    negative_share: float
    n_residuals: int
    effective_n: float
    rounds: int

    @property
    def rank(self) -> int:
        """Directions k of the change."""
        return len(self.signs)


def paired_residuals(
    features: Float64,
    older: Float64,
    newer: Float64,
    epistemic: tuple[Factor, Factor],
    noise: Operator,
    plates: Bools,
    age: int = 0,
) -> ResidualSet:
    """Residuals of two ensembles at the same labels, which neither had seen.

    With r = ε − δ the noise ε of a label is in both, so εεᵀ is gone from r_older r_olderᵀ − r_newer r_newerᵀ whatever
    its covariance; left of it are products with δ_newer − δ_older, of mean zero.

    Args:
        features: Φ (n, p).
        older: (n,) measured minus predicted by the older ensemble [readout unit].
        newer: (n,) by the newer one.
        epistemic: Σ_F/M of the older and the newer mean over the n points: what the products hold besides Δ.
        noise: Σ_Y over the n points. It cancels; it tells how many independent residuals these are worth.
        plates: (n, P).
        age: Rounds before the newest.
    """
    before, after = epistemic
    return ResidualSet(
        features=features,
        values=np.stack([older, newer], axis=1),
        noise=before + _negative(after),
        plates=plates,
        signs=np.array([1.0, -1.0]),
        errors=noise + after,
        age=age,
    )


def estimate_difference(sets: Sequence[ResidualSet], ridge: float, decay: float = 0.0) -> Difference:
    """Estimate Δ_older − Δ_newer from the residuals of two ensembles at the same labels, as `quadratic_delta` does Δ.

    Both signs are kept: only the sum with Σ_F,older − Σ_F,newer tells where Ω^red drops.

    Args:
        sets: From `paired_residuals`, by round, in the features of one ensemble.
        ridge: λ relative to the mean squared eigenvalue of the Gram matrices.
        decay: Weight of a round beside the one after it; 0 leaves all but the newest out.

    Raises:
        UserError: No residuals that count, or sets of different features.
        NumericalError: All features are zero.

    Source:
        Difference-based acquisition: Scherer, Kirsch & Taylor-King 2025 (arXiv 2509.04363) and the author's blog; its
        formulas were not published, these are this project's.
    """
    fit = fit_pairs(sets, ridge, decay)
    values, undo = spectral(fit)
    counted = [one for one, weight in zip(sets, weights_of(sets, decay), strict=True) if weight]
    size = np.abs(values)
    kept = size > _NULL * max(float(np.square(one.values).mean()) for one in counted)
    total = float(size[kept].sum())
    return Difference(
        root=undo[:, kept] * np.sqrt(size[kept]),
        signs=np.where(values[kept] < 0, -1.0, 1.0),
        eigenvalues=values[kept],
        negative_share=float(-values[kept & (values < 0)].sum()) / total if total > 0 else 0.0,
        n_residuals=sum(len(one) for one in counted),
        effective_n=effective_number(sets, decay),
        rounds=len(counted),
    )


def difference_factor(older: Factor, newer: Factor, change: Factor) -> Factor:
    """C = Σ_F,older − Σ_F,newer + (Δ_older − Δ_newer) = Ω^red_older − Ω^red_newer over the same points, with signs.

    Args:
        older: Σ_F of the older ensemble.
        newer: Σ_F of the newer one.
        change: `root_factor` of the difference.
    """
    return hstack([older, _negative(newer), change])


def weighted_by_remaining(difference: Factor, remaining: Float64, mean: float) -> Factor:
    """Score drop × remaining: D^½ C D^½ with D = remaining/mean, so that the diagonal is C_ii·remaining_i/mean.

    Next to points that were just labelled the error has dropped most and is gone; what has no error left has nothing to
    lose. The weights take both into account.

    Args:
        difference: C over N points, in memory.
        remaining: (N,) reducible error that is left [readout unit squared], not negative.
        mean: Its mean where the difference was learnt: the scale at which C stays as it is.

    Raises:
        UserError: The weights are over other points, negative, or their mean is not positive.
    """
    if remaining.shape != (len(difference),) or (remaining < 0).any() or not mean > 0:
        raise UserError("remaining errors must be non-negative, one a point", got=f"{remaining.shape}, mean {mean:.3g}")
    columns = difference.columns.take(np.arange(len(difference)))
    return Factor((columns * np.sqrt(remaining / mean)[:, None]).astype(columns.dtype), difference.signs)


def difference_stability(sets: Sequence[ResidualSet], ridge: float, decay: float, seed: int) -> Stability:
    """Agreement of the change of the cobias from two halves of the residuals, over all their points."""
    halves, by = halved(sets, decay, seed)
    points = np.concatenate([one.features for half in halves for one in half])
    made = [estimate_difference(half, ridge, decay) for half in halves]
    first, second = (root_factor(points, one.root, one.signs) for one in made)
    return agreement(first, second, by)


def _negative(factor: Factor) -> Factor:
    return Factor(factor.columns, -factor.signs)
