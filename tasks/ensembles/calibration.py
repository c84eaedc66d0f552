"""Calibration of numbers: do measurements that the model had not seen fall where it said?

Classes: class_calibration.py. Intervals assume independent residuals; wells of one plate share an error, so true
intervals are somewhat wider.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import erf
from scipy.stats import norm

from tasks.ensembles.estimates import (
    NOTHING,
    Calibration,
    Estimate,
    Floats,
    mean_of,
    rank_correlation,
    root_mean_square,
    share_of,
)
from tasks.errors import NumericalError

LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))
REPORTED = (0.5, 0.8, 0.9, 0.95)


def calibrate(
    predicted: npt.ArrayLike, sd: npt.ArrayLike, measured: npt.ArrayLike, epistemic: npt.ArrayLike | None = None
) -> Calibration:
    """Judge Gaussian predictions of one output.

    An sd of zero is a point: its interval holds what it hits exactly, and it has no density.

    Args:
        predicted: (n,) means [readout unit].
        sd: (n,) total predictive sd of one measurement, noise included.
        measured: (n,) measurements that the model had not seen.
        epistemic: (n,) the reducible part of the sd, where it is known.

    Returns:
        The calibration. Metrics: `coverage_50`, `_80`, `_90`, `_95`, the share of measurements inside the central
        interval of that level; `miscalibration_area`, ∫₀¹ |F(p) − p| dp with F(p) the share inside the interval of
        level p, the area between the coverage curve and the diagonal; `nll`, mean negative log density [nats];
        `crps`, mean continuous ranked probability score [readout unit]; `sharpness`, root mean square of the sd
        [readout unit]; `rmse`, `mae` [readout unit]; `rank_correlation` and `rank_correlation_epistemic`, Spearman's,
        of the total and the epistemic sd with |residual|. One that these data cannot give is None and says why.

    Raises:
        NumericalError: Lengths that differ, values that are not finite, an sd below zero.

    Source:
        Curve and area: Kuleshov et al. 2018, of central intervals as in Chung et al. 2021 (uncertainty toolbox), but
        integrated exactly. CRPS: Gneiting & Raftery 2007, section 4.2.
    """
    mean, spread, value = _column("predicted", predicted), _column("sd", sd), _column("measured", measured)
    known = spread if epistemic is None else _column("epistemic sd", epistemic)
    if len({len(column) for column in (mean, spread, value, known)}) > 1:
        raise NumericalError("calibration: the columns have different lengths")
    if min(spread.min(initial=0.0), known.min(initial=0.0)) < 0:
        raise NumericalError("calibration: an sd is below zero")
    residual = value - mean
    level = _level(residual, spread)
    curve = tuple(share_of(p, int((level <= p).sum()), len(level)) for p in LEVELS) if len(level) else ()
    at = {point.nominal: point.share for point in curve}
    distance = np.abs(residual)
    metrics = {f"coverage_{round(100 * p)}": at.get(p, NOTHING) for p in REPORTED} | {
        "miscalibration_area": Estimate(_area(level), why="its interval is not computed") if len(level) else NOTHING,
        "nll": _nll(residual, spread),
        "crps": mean_of(_crps(residual, spread)),
        "sharpness": root_mean_square(spread),
        "rmse": root_mean_square(residual),
        "mae": mean_of(distance),
        "rank_correlation": rank_correlation(spread, distance),
        "rank_correlation_epistemic": rank_correlation(known, distance),
    }
    if epistemic is None:
        metrics["rank_correlation_epistemic"] = Estimate(None, why="the epistemic sd is not known")
    return Calibration("continuous", len(level), metrics, curve)


def area_by_chance(n: int) -> float:
    """Miscalibration area that n measurements show on average under perfect calibration, √(2π/n)/8 for large n.

    Source: ∫₀¹ E|B(p)| dp of the Brownian bridge B, E|B(p)| = √(2p(1 − p)/π).
    """
    return float(np.sqrt(2 * np.pi / n) / 8)


def _column(name: str, values: npt.ArrayLike) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or not np.isfinite(column).all():
        raise NumericalError(f"calibration: {name} must be one column of finite numbers")
    return column


def _level(residual: Floats, sd: Floats) -> Floats:
    """(n,) level of the central interval that just holds each measurement, erf(|z|/√2); uniform if calibrated."""
    distance = np.abs(residual)
    z = np.divide(distance, sd, out=np.where(distance > 0, np.inf, 0.0), where=sd > 0)
    level: Floats = erf(z / np.sqrt(2))
    return level


def _area(level: Floats) -> float:
    """∫₀¹ |F(p) − p| dp of the empirical distribution of levels, piece by piece: F is constant between levels."""
    edges = np.concatenate([[0.0], np.sort(level), [1.0]])
    height = np.arange(len(level) + 1) / len(level)
    below, above = edges[:-1] - height, edges[1:] - height
    return float(np.sum(above * np.abs(above) - below * np.abs(below)) / 2)


def _nll(residual: Floats, sd: Floats) -> Estimate:
    if (sd == 0).any():
        return Estimate(None, why=f"{int((sd == 0).sum())} of {len(sd)} sds are zero: no density")
    return mean_of(np.log(sd) + 0.5 * np.log(2 * np.pi) + 0.5 * (residual / sd) ** 2)


def _crps(residual: Floats, sd: Floats) -> Floats:
    """(n,) σ (z(2Φ(z) − 1) + 2φ(z) − 1/√π); |residual| of a point."""
    z = np.divide(residual, sd, out=np.zeros_like(residual), where=sd > 0)
    smooth = sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    return np.asarray(np.where(sd > 0, smooth, np.abs(residual)))
