"""How large the error is at every point, learnt from honest residuals; the factor rescaled to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from threadpoolctl import threadpool_limits

from tasks.errors import NumericalError, UserError
from tasks.operators.factors import Factor, Float64
from tasks.operators.stability import Bools, Stability, deal, rank_correlation

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

FEWEST = 20  # residuals
FOLDS = 5
_LEAST_SQUARE = 0.03  # of the mean: smaller residuals are alike, their logarithm says nothing of the error's size
_LEAST_SHARE = 0.02  # of the error and noise together that is never taken for noise
_BOOSTING: dict[str, Any] = {
    "max_iter": 50,
    "learning_rate": 0.05,
    "max_leaf_nodes": 4,
    "min_samples_leaf": 20,
    "early_stopping": False,
    "random_state": 0,
}


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """ê(x), the expected squared error of a prediction without the measurement's noise, as data: no fitted object.

    E r²(x) = (base + σ²_Y(x))·exp(level + slope·(g(x) − centre)), g the regression of log r² − log(base + σ²_Y) on
    features. Its trees are grown from `features` and `logs` when they are wanted, the same every time.

    Attributes:
        features: (n, q) of the residuals, float32.
        logs: (n,) log r², each at least that of 0.03 mean r², less log(base + noise).
        base: Mean squared error that r² shows beyond the noise: where features tell nothing, ê is flat.
        centre: Mean of the cross-fitted g.
        slope: 0 to 1: how much of g holds out of fold; 0 when features tell nothing of the error.
        level: Set so that ê plus noise is on average the mean squared residual.
    """

    features: npt.NDArray[np.float32]
    logs: Float64
    base: float
    centre: float
    slope: float
    level: float

    def grow(self) -> Error:
        """What evaluates ê; takes about a tenth of a second for a thousand residuals."""
        return Error(self, _grow(self.features, self.logs) if self.slope else None)

    def to_tensors(self) -> dict[str, npt.NDArray[Any]]:
        """As named arrays."""
        numbers = np.array([self.base, self.centre, self.slope, self.level])
        return {"features": self.features, "logs": self.logs, "numbers": numbers}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]]) -> ErrorModel:
        """What `to_tensors` took apart."""
        return cls(tensors["features"], tensors["logs"], *(float(number) for number in tensors["numbers"]))


@dataclass(frozen=True, eq=False)
class Error:
    """ê at any points."""

    model: ErrorModel
    trees: HistGradientBoostingRegressor | None

    def __call__(self, features: npt.NDArray[np.floating], noise: Float64) -> Float64:
        """ê (N,) [readout unit squared], positive: E r² less the noise, at least 2% of E r².

        Args:
            features: (N, q), as those of the residuals.
            noise: (N,) variance of a measurement at these points.

        Raises:
            UserError: Another number of features than the model was made with.
        """
        made = self.model
        if features.ndim != 2 or features.shape[1] != made.features.shape[1]:
            expected = f"(N, {made.features.shape[1]})"
            raise UserError("features do not fit the calibration", got=f"shape {features.shape}", expected=expected)
        g = np.full(len(features), made.centre) if self.trees is None else _predict(self.trees, features)
        shape = made.slope * (g - made.centre)
        return _without_noise((made.base + noise) * np.exp(made.level + shape), noise)


@dataclass(frozen=True, eq=False)
class Calibration:
    """The size of the error as honest residuals show it, and how far that can be trusted.

    Attributes:
        model: ê.
        residuals: n.
        effective_n: Normal residuals that would fix their mean square as well: few where single ones are very large.
        noise_share: Share of the mean squared residual that is noise; 1 and more: nothing but noise was seen.
        floored_share: Share of the residuals where ê stands at its floor.
        correlation: Rank correlation of cross-fitted ê and r²; None where one is constant.
        stability: Agreement of ê from two halves of the residuals.
        by: What folds were made of: plates or labels.
    """

    model: ErrorModel
    residuals: int
    effective_n: float
    noise_share: float
    floored_share: float
    correlation: float | None
    stability: Stability
    by: str


def calibrate_error(
    features: npt.NDArray[np.floating],
    squared: Float64,
    noise: Float64,
    plates: Bools | None = None,
    seed: int = 0,
) -> Calibration:
    """Learn the size of the error from honest residuals.

    g(x) regresses log r² on features by boosted trees, robust to single large residuals. It starts from what a flat
    error would give, log(base + σ²_Y(x)): shrunk to nothing it leaves a flat ê, not the noise upside down.
    E exp ≠ exp E: the mean of exp g is not that of r² (for normal residuals it is 0.28 of it, for others something
    else), and a g fitted to residuals follows their noise. So g is cross-fitted, shrunk to its mean by the slope that
    it has out of fold, and its level set so that the mean of ê + noise is that of r² (smearing).

    Args:
        features: (n, q) at the residuals' points.
        squared: r² (n,) of a model that had not seen the label; summed over outputs [readout unit squared].
        noise: (n,) what r² holds besides the squared error: variance of the measurement, and of what else makes this
            residual larger than the published prediction's.
        plates: (n, P) whether a point has a well on a plate: folds are made of plates where there are enough.
        seed: Of the folds.

    Returns:
        The calibration.

    Raises:
        UserError: Fewer than 20 residuals, or shapes that disagree.
        NumericalError: A value is not finite, or all residuals are zero.

    Source:
        Retransformation: Duan 1983, Smearing estimate. The rest is this project's.
    """
    plates = np.zeros((len(squared), 0), dtype=bool) if plates is None else plates
    _check(features, squared, noise, plates)
    inputs = np.ascontiguousarray(features, dtype=np.float32)
    base = max(float(squared.mean() - noise.mean()), _LEAST_SHARE * float(squared.mean()))
    flat = np.log(base + noise)
    logs = np.log(np.maximum(squared, _LEAST_SQUARE * squared.mean())) - flat
    fold, by = deal(plates, FOLDS, seed)
    g = np.empty(len(logs))
    for one in range(FOLDS):
        g[fold == one] = _predict(_grow(inputs[fold != one], logs[fold != one]), inputs[fold == one])
    centre, slope = float(g.mean()), _slope(g, logs)
    shape = slope * (g - centre) + flat
    level = _level(shape, base, noise)
    fitted = _without_noise(np.exp(level + shape), noise)
    return Calibration(
        model=ErrorModel(inputs, logs, base, centre, slope, level),
        residuals=len(logs),
        effective_n=_effective_number(squared),
        noise_share=float(noise.mean() / squared.mean()),
        floored_share=float(np.mean(np.exp(level + shape) * (1 - _LEAST_SHARE) < noise)),
        correlation=rank_correlation(fitted, squared),
        stability=_halved(inputs, logs, plates, seed),
        by=by,
    )


def rescale(factor: Factor, target: Float64) -> Factor:
    """The operator with its rows scaled to another diagonal: A_i ← A_i √(target_i/‖A_i‖²).

    Rows of zeros stay: the ensemble has no direction for their error.

    Args:
        factor: A·Aᵀ over N points, in memory, all signs +1.
        target: (N,) not negative.

    Raises:
        UserError: A sign is −1, or the target is over other points.
        NumericalError: A target is negative or not finite.
    """
    if (factor.signs < 0).any() or target.shape != (len(factor),):
        raise UserError("only a positive factor can be rescaled, to a diagonal over its points", got=target.shape)
    if not (np.isfinite(target) & (target >= 0)).all():
        raise NumericalError("an entry of the diagonal to rescale to is negative or not finite")
    own = factor.diagonal()
    scale = np.sqrt(np.divide(target, own, out=np.zeros(len(own)), where=own > 0))
    columns = factor.columns.take(np.arange(len(factor)))
    return Factor((columns * scale[:, None]).astype(columns.dtype))


def _check(features: npt.NDArray[np.floating], squared: Float64, noise: Float64, plates: Bools) -> None:
    lengths = [len(features), len(squared), len(noise), len(plates)]
    if features.ndim != 2 or squared.ndim != 1 or noise.ndim != 1 or len(set(lengths)) != 1:
        raise UserError("features, residuals and noise must be over the same points", where="calibration", got=lengths)
    if len(squared) < FEWEST:
        raise UserError("too few residuals to calibrate with", got=len(squared), expected=f"at least {FEWEST}")
    if not all(np.isfinite(values).all() for values in (features, squared, noise)):
        raise NumericalError("a feature, residual or noise variance of the calibration is not finite")
    if squared.min() < 0 or noise.min() < 0 or not squared.any():
        raise NumericalError("squared residuals and noise must not be negative, nor all residuals zero")


def _grow(features: npt.NDArray[np.float32], logs: Float64) -> HistGradientBoostingRegressor:
    from sklearn.ensemble import HistGradientBoostingRegressor  # takes a third of a second; a plan grows no trees

    with threadpool_limits(limits=1, user_api="openmp"):  # sums of gradients do not depend on the number of threads
        return HistGradientBoostingRegressor(**_BOOSTING).fit(features, logs)


def _predict(trees: HistGradientBoostingRegressor, features: npt.NDArray[np.floating]) -> Float64:
    said: Float64 = trees.predict(np.asarray(features, dtype=np.float32))
    return said


def _slope(g: Float64, logs: Float64) -> float:
    """Slope of log r² on the cross-fitted g, cut to 0 … 1."""
    spread = float(np.square(g - g.mean()).sum())
    return float(np.clip((g - g.mean()) @ (logs - logs.mean()) / spread, 0.0, 1.0)) if spread > 0 else 0.0


def _level(shape: Float64, wanted: float, noise: Float64) -> float:
    """Level l at which the mean of exp(l + shape) without the noise is as wanted."""

    def excess(level: float) -> float:
        return float(_without_noise(np.exp(level + shape), noise).mean()) - wanted

    # ê lies between E r² less the noise and E r², so does the level between those at which either has the right mean.
    mean = np.log(np.exp(shape).mean())
    low, high = np.log(wanted) - mean, np.log((wanted + noise.mean()) / _LEAST_SHARE) - mean
    return float(brentq(excess, low - 1e-9, high + 1e-9, xtol=1e-13, rtol=1e-13))


def _effective_number(squared: Float64) -> float:
    """n·Var(normal r²)/Var(r²); r² of a normal residual varies by 2σ⁴."""
    spread = float(squared.var(ddof=1))
    count = float(len(squared))
    return float(np.clip(count * 2 * squared.mean() ** 2 / spread, 1.0, count)) if spread > 0 else count


def _without_noise(total: Float64, noise: Float64) -> Float64:
    least: Float64 = np.maximum(total - noise, _LEAST_SHARE * total)
    return least


def _halved(features: npt.NDArray[np.float32], logs: Float64, plates: Bools, seed: int) -> Stability:
    """Agreement of g from two halves of the residuals, each over all of them."""
    half, by = deal(plates, 2, seed)
    said = [_predict(_grow(features[half == one], logs[half == one]), features) for one in (0, 1)]
    correlation = rank_correlation(*said)
    why = "the subspace is the ensemble's own" if correlation is not None else "one half sees the same error everywhere"
    return Stability(correlation, None, 0, by, why)
