"""Noise of a well as a function of its value, from what replicates leave over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2

from tasks.readouts.alignment.shrinkage import shrink
from tasks.readouts.two_way import TwoWayFit, clipped_variance, fit_two_way

Array = npt.NDArray[np.float64]

#: Degrees of freedom from which replicates tell a variance.
MIN_REPLICATE_DF = 20
#: Bins end at these shares of the degrees of freedom, narrower towards the ends, where the values are that matter.
_ENDS = (0.02, 0.06, 0.15, 0.3, 0.5, 0.7, 0.85, 0.94, 0.98, 1.0)
#: Level of the test for constant noise; as simulated, constant noise fails it in one screen of a thousand.
_LEVEL = 0.0002
_LEAST = 0.01
_STEPS = 200
_PASSES = 3


@dataclass(frozen=True)
class WellNoise:
    """Variance of a well at some values; log-linear between them, constant beyond the ends.

    Attributes:
        knots: Aligned values, ascending, (B,) [readout unit].
        variances: Variance there, (B,) [readout unit²].
        average: Average over the wells it was told from [readout unit²].
    """

    knots: tuple[float, ...]
    variances: tuple[float, ...]
    average: float


def evaluate(knots: tuple[float, ...], variances: tuple[float, ...], values: Array) -> Array:
    """Variance at some values, log-linear between the knots and constant beyond them; any shape in, the same out."""
    return np.asarray(np.exp(np.interp(values, knots, np.log(variances))))


def replicate_noise(wells: pd.DataFrame, excess: Callable[[TwoWayFit], Array]) -> tuple[TwoWayFit, WellNoise | None]:
    """Fit replicates and tell the variance of a well from them, with outliers judged by the noise at their value.

    Args:
        wells: Samples, as `prepare` returns them.
        excess: What is not the well's in each squared residual of a fit, (N,).

    Returns:
        The fit, and the noise; None below 20 degrees of freedom.
    """
    fit = fit_two_way(wells)
    if fit.df < MIN_REPLICATE_DF:
        return fit, None
    found = well_noise(fit, excess(fit))
    middle = wells.groupby(["content", "reagent"])["y"].transform("median").to_numpy(dtype=np.float64)
    for _ in range(_PASSES):
        if len(found.knots) == 1:
            break
        fit = fit_two_way(wells, evaluate(found.knots, found.variances, middle))
        found = well_noise(fit, excess(fit))
    return fit, found


def well_noise(fit: TwoWayFit, excess: Array) -> WellNoise:
    """Variance of a well against its value, from replicates.

    Wells are put in order of the mean of their perturbation and in bins of at least 20 degrees of freedom. Where the
    bins' variances differ by no more than constant noise explains (chi-square test of their logs, tails heavier
    than normal allowed for), the variance is one number. Else their logs are shrunk towards each other by what each is
    worth, and scaled so that the average over the wells is kept. No bin falls below 1% of the average.

    Args:
        fit: Samples as perturbation + plate, df >= 1.
        excess: Part of each squared residual that is not the well's, as expected: errors of the plates' scales, (N,).

    Source:
        Bartlett & Kendall 1946, The statistical analysis of variance-heterogeneity and the logarithmic transformation.
    """
    average = fit.variance - float(excess.sum() / fit.free.sum())
    constant = WellNoise((float(np.average(fit.level)),), (average,), average)
    free = np.bincount(fit.group, fit.free, len(fit.level)).astype(np.float64)
    bins = _bins(fit.level, free)
    if average <= 0 or bins.max(initial=0) == 0:
        return constant
    df = np.bincount(bins, free)
    of_well = bins[fit.group]
    variances = np.array([_settled(fit.residual[of_well == b], fit.free[of_well == b]) for b in range(len(df))])
    spread = _dispersion(fit, of_well, variances, free)
    variances = np.maximum(variances - np.bincount(of_well, excess) / df, _LEAST * average)
    logs, errors = np.log(variances) + 1.0 / df, 2.0 * spread / df
    centre = np.average(logs, weights=1.0 / errors)
    if float(((logs - centre) ** 2 / errors).sum()) <= float(chi2.ppf(1.0 - _LEVEL, len(df) - 1)):
        return constant
    knots = tuple(float(x) for x in np.bincount(bins, free * fit.level) / df)
    shrunk = np.exp(shrink(logs, errors).values)
    average = float(np.average(variances, weights=df))
    scale = average / np.average(evaluate(knots, tuple(shrunk), fit.level), weights=free)
    return WellNoise(knots, tuple(float(v) for v in scale * shrunk), average)


def _bins(level: Array, free: Array) -> npt.NDArray[np.intp]:
    """Bin of each perturbation, by level; every bin has 20 degrees of freedom, or there is one bin. (G,) -> (G,)."""
    order = np.argsort(level, kind="stable")
    done = np.cumsum(free[order])
    total = float(done[-1])
    cuts: list[float] = []
    for end in _ENDS[:-1]:
        if min(end * total - (cuts[-1] if cuts else 0.0), total - end * total) >= MIN_REPLICATE_DF:
            cuts.append(end * total)
    bins = np.empty(len(level), dtype=np.intp)
    bins[order] = np.searchsorted(np.array(cuts), done - free[order] / 2)
    return np.unique(bins, return_inverse=True)[1]


def _settled(residual: Array, free: Array) -> float:
    """Clipped variance of the wells of one bin, where clipping and scale agree."""
    variance = float((residual**2).sum() / free.sum())
    for _ in range(_STEPS):
        before, variance = variance, clipped_variance(residual, free, variance)
        if variance >= before * (1 - 1e-6):
            break
    return variance


def _dispersion(fit: TwoWayFit, of_well: npt.NDArray[np.intp], v: Array, free: Array) -> float:
    """How much more the squares vary than those of normal wells; 1 at least."""
    known = np.maximum(v, np.finfo(np.float64).tiny)
    squares = np.bincount(fit.group, fit.residual**2 / known[of_well], len(free))
    capped = np.minimum(squares, 25.0 * np.maximum(free, 1.0))
    return max(1.0, float(((capped - free) ** 2).sum() / (2.0 * free.sum())))
