"""The noise ceiling: how much of what measurements vary by could be predicted at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.assessing.intervals import Float64, Ints, bootstrap
from tasks.batches.pool import Kind
from tasks.ensembles.estimates import Estimate
from tasks.errors import UserError


@dataclass(frozen=True)
class Replicated:
    """Perturbations measured several times.

    Attributes:
        values: (n,) mean of each one's replicates, columns brought to one level.
        variances: (n,) variance of that mean.
        correlation: Of two replicates; of several their intraclass correlation. None where it is not defined.
    """

    values: Float64
    variances: Float64
    correlation: float | None


def noise_ceiling(values: Float64, variances: Float64, kind: Kind, seed: int) -> Estimate:
    """R² that a model which knows the noise-free readout of everything would have on measurements.

    1 − Σ_Y/variance of the labels, cut at 0; of classes 1 − p(1 − p)/variance of the labels.

    Args:
        values: Labels (n,) of perturbations drawn at random.
        variances: (n,) noise variance of each.
        kind: Kind of the readout.
        seed: Of the bootstrap.

    Source:
        Reliability as the ratio of true to total variance: Lord and Novick 1968, section 3.4.
    """
    if not variances.any():
        return Estimate(None, why="the noise of the labels is not known: no replicates")
    if len(values) < 3:
        return Estimate(None, why=f"{len(values)} labels, 3 are needed")

    def statistic(rows: Ints) -> Float64:
        spread = values[rows].var(axis=1, ddof=1)
        share = np.divide(variances[rows].mean(axis=1), spread, out=np.full(len(spread), np.nan), where=spread > 0)
        return np.asarray(np.clip(1.0 - share, 0.0, 1.0))

    return bootstrap(statistic, len(values), seed)


def from_replicates(replicates: npt.NDArray[np.floating]) -> Replicated:
    """Mean and noise of replicates in columns.

    A column's own level is taken out. σ² is pooled over all perturbations with two replicates or more, as two of them
    tell little of one perturbation; the mean of m replicates has the variance σ²/m.

    Args:
        replicates: (n, k), NaN where one is missing; every row has one at least.

    Raises:
        UserError: Fewer than two columns, or too few perturbations with two replicates.

    Source:
        Two-way analysis of variance without interaction; intraclass correlation ICC(3,1): Shrout and Fleiss 1979.
    """
    there = np.isfinite(replicates)
    several = there.sum(axis=1) > 1
    if replicates.shape[1] < 2 or several.sum() < 3:
        expected = "two columns or more, and three perturbations with two values"
        raise UserError("too few replicates", got=f"{replicates.shape[1]} columns, {int(several.sum())} perturbations",
                        expected=expected)  # fmt: skip
    data = np.asarray(replicates, dtype=np.float64)
    level = np.nanmean(data[several], axis=0)
    aligned = data - level + level.mean()
    mean = np.nanmean(aligned, axis=1)
    counts = there.sum(axis=1)
    residual = np.where(there, aligned - mean[:, None], 0.0)[several]
    freedom = float((counts[several] - 1).sum() - (data.shape[1] - 1))
    noise = float(np.square(residual).sum() / max(freedom, 1.0))
    between = float(mean[several].var(ddof=1)) - noise * float((1 / counts[several]).mean())
    total = between + noise
    correlation = max(between, 0.0) / total if total > 0 else None
    return Replicated(mean, noise / counts, correlation)
