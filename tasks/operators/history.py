"""Honest residuals of the last rounds, and the regression of their products on pairs of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy.linalg

from tasks.errors import NumericalError, UserError
from tasks.operators.linear import Float64, Operator

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ResidualSet:
    """Residuals of one round at n points, each measured minus predicted by a model that had not seen it.

    Args:
        features: Φ (n, p) at these points. All sets of an estimate are in the features of one ensemble, whichever
            ensembles predicted: features of two ensembles mean different things.
        values: r (n, T), or (n,) for T = 1 [readout unit]. Products of several columns add up.
        noise: What the products r_i·r_j hold besides what is estimated, over the n points: Σ_Y + Σ_F/M.
        plates: (n, P) whether a point has a well on a plate; P = 0 where plates are not known.
        signs: (T,) ±1, whether the products of a column count as they are or negatively; all +1 when left out.
        errors: Covariance of the residuals' errors where it is another than `noise`; it tells how many independent
            residuals these are worth.
        age: Rounds before the newest one.

    Raises:
        UserError: Not all parts are over the same points.
        NumericalError: A feature or residual is not finite.
    """

    features: Float64
    values: Float64
    noise: Operator
    plates: Bools = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    signs: Float64 = field(default_factory=lambda: np.empty(0))
    errors: Operator | None = None
    age: int = 0

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        object.__setattr__(self, "features", np.asarray(self.features, dtype=np.float64))
        object.__setattr__(self, "values", values[:, None] if values.ndim == 1 else values)
        plates = np.asarray(self.plates, dtype=bool)
        object.__setattr__(self, "plates", plates if plates.size else np.zeros((len(values), 0), dtype=bool))
        if not self.signs.size:
            object.__setattr__(self, "signs", np.ones(self.values.shape[1]))
        self._check()

    def _check(self) -> None:
        parts = (self.features, self.values, self.noise, self.plates, self.errors)
        lengths = [len(part) for part in parts if part is not None]
        if self.features.ndim != 2 or len(set(lengths)) != 1 or not len(self):
            raise UserError("features, residuals and noise must be over the same points", where="cobias", got=lengths)
        if self.signs.shape != (self.values.shape[1],) or not np.isin(self.signs, (-1.0, 1.0)).all():
            raise UserError("wrong signs of residuals", where="cobias", got=self.signs, expected="+1 or -1 a column")
        if not (np.isfinite(self.features).all() and np.isfinite(self.values).all()):
            raise NumericalError("a feature or forward residual of the cobias is not finite")

    def __len__(self) -> int:
        """N."""
        return len(self.values)

    def take(self, chosen: Bools) -> ResidualSet:
        """Some of the points, by a mask (n,)."""
        errors = None if self.errors is None else self.errors.take(chosen)
        return ResidualSet(
            self.features[chosen],
            self.values[chosen],
            self.noise.take(chosen),
            self.plates[chosen],
            self.signs,
            errors,
            self.age,
        )

    def moments(self) -> Float64:
        """C = Φᵀ(Σ_t s_t r_t r_tᵀ − noise)Φ (p, p)."""
        sums = self.features.T @ self.values
        return (sums * self.signs) @ sums.T - self.noise.quadratic(self.features)


@dataclass(frozen=True)
class PairFit:
    """Regression of the products of residuals on the products of features: φ(x)ᵀ B φ(x′).

    Attributes:
        form: B (p, p), symmetric.
        gram: Σ_s w_s Φ_sᵀΦ_s (p, p).
        points: Σ_s w_s n_s.
    """

    form: Float64
    gram: Float64
    points: float


def fit_pairs(sets: Sequence[ResidualSet], ridge: float, decay: float) -> PairFit:
    """Regress the products of residuals of each round on products of features, without forming the pairs.

    B = argmin Σ_s w_s Σ_ij (P^s_ij − φ_iᵀBφ_j)² + λ‖B‖²_F with P^s = rrᵀ − noise of set s, w_s = decay^age and
    λ = ridge·Σ_s w_s‖G_s‖²_F/p, G_s = Φ_sᵀΦ_s. Only products within a set count, as noise between rounds is another.
    B solves Σ_s w_s G_s B G_s + λB = Σ_s w_s C_s, a linear system over the p(p + 1)/2 entries of a symmetric B; with
    one set that is B = U[(UᵀCU)_ab/(g_a g_b + λ)]Uᵀ for G = U diag(g) Uᵀ.

    Args:
        sets: At least one, all of p features.
        ridge: λ relative to the mean squared eigenvalue of the Gram matrices.
        decay: Weight of a round beside the one after it, 0 to 1; 0 leaves all but the newest out.

    Raises:
        UserError: No set, or sets of different features.
        NumericalError: All features are zero.

    Source:
        Quadratic cobias estimator: Scherer, Kirsch & Taylor-King 2025 (arXiv 2509.04363); the closed form and the sum
        over rounds are this project's.
    """
    weights = weights_of(sets, decay)
    kept = [(one, weight, one.features.T @ one.features) for one, weight in zip(sets, weights, strict=True) if weight]
    gram = sum(weight * own for _, weight, own in kept) + np.zeros((1, 1))
    penalty = ridge * sum(weight * float(np.square(own).sum()) for _, weight, own in kept) / len(gram)
    if penalty == 0.0:
        raise NumericalError("all features of the cobias are zero")
    target = sum(weight * one.moments() for one, weight, _ in kept) + np.zeros((1, 1))
    rows, columns = np.triu_indices(len(gram))
    # An entry off the diagonal stands twice in a symmetric matrix; the scale makes the system symmetric.
    scale = np.where(rows == columns, np.sqrt(0.5), 1.0)
    system = np.diag(np.full(len(rows), penalty))
    for _, weight, own in kept:
        by_row, by_column = own[rows], own[columns]
        products = by_row[:, rows] * by_column[:, columns] + by_row[:, columns] * by_column[:, rows]
        system += weight * (scale[:, None] * products * scale)
    solved = scipy.linalg.solve(system, scale * target[rows, columns], assume_a="pos", overwrite_a=True) / scale
    form = np.empty_like(gram)
    form[rows, columns] = form[columns, rows] = solved
    return PairFit(form, gram, float(sum(weight * len(one) for one, weight, _ in kept)))


def weights_of(sets: Sequence[ResidualSet], decay: float) -> list[float]:
    """Weight of each set, decay^age.

    Raises:
        UserError: No set, sets of different features, or all weights are 0.
    """
    if len({one.features.shape[1] for one in sets}) != 1:
        raise UserError("residuals need one set of features", where="cobias", got=[one.features.shape for one in sets])
    weights = [float(decay**one.age) for one in sets]
    if not any(weights):
        raise UserError(
            "no residuals of the newest round, and earlier ones do not count", where="operators.decay", got=decay
        )
    return weights


def effective_number(sets: Sequence[ResidualSet], decay: float) -> float:
    """Independent residuals that would fix the weighted mean of all residuals as well.

    n·v̄/Var, v̄ the mean variance of their errors and Var the variance of their mean times n; plates make it less than n.
    """
    weights = weights_of(sets, decay)
    points, total, spread = 0.0, 0.0, 0.0
    for one, weight in zip(sets, weights, strict=True):
        errors = one.noise if one.errors is None else one.errors
        ones = np.ones((len(one), 1))
        points += weight * len(one)
        total += weight * float(errors.diagonal().sum())
        spread += weight**2 * float(errors.quadratic(ones)[0, 0])
    count = float(sum(len(one) for one, weight in zip(sets, weights, strict=True) if weight))
    return float(np.clip(points * total / spread, 1.0, count)) if spread > 0 else count
