"""Shrinkage: a plate's estimate is drawn to its run's by what it is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_GRID = 128
_WIDEST = 10.0


@dataclass(frozen=True, eq=False)
class Shrunk:
    """Estimates after shrinkage.

    Attributes:
        values: Shrunk estimates, (P,).
        variances: Their error variances, (P,).
        kept: Share of each plate's own estimate that was kept, (P,).
    """

    values: Array
    variances: Array
    kept: Array


def unshrunk(values: Array, variances: Array) -> Shrunk:
    """Each plate for itself. (P,), (P,) -> Shrunk."""
    return Shrunk(values, variances, np.ones_like(values))


def shrink(values: Array, variances: Array) -> Shrunk:
    """Shrink estimates to their precision-weighted mean, averaged over how much the plates may truly differ.

    For a between-plate sd τ and B = τ²/(τ²+v) the estimate is m + B·(x − m) and its error variance τ²v/(τ²+v) +
    (1−B)²·Var(m). Both are averaged over the posterior of τ under a flat prior, and the spread of the estimates over τ
    is added to the error variance. A single best τ (DerSimonian-Laird) shrinks as well, but understates the error
    variance by up to 45% when there are few plates.

    A variance of inf means that the plate says nothing: it takes the mean.

    Args:
        values: Estimates, (P,).
        variances: Their error variances, (P,), positive, at least one of them finite.

    Returns:
        Shrunk estimates; one estimate alone stays as it is.

    Source:
        Rubin 1981, Estimation in parallel randomized experiments. Flat prior on τ: Gelman 2006, Bayesian Analysis
        1:515.
    """
    if len(values) < 2:
        return unshrunk(values, variances)
    tau, weights = _between_sd_posterior(values, variances)
    precision = 1.0 / (tau[:, None] ** 2 + variances)  # (grid, P)
    mean = (precision @ values) / precision.sum(axis=1)
    kept = tau[:, None] ** 2 * precision
    estimates = mean[:, None] + kept * (values - mean[:, None])
    errors = tau[:, None] ** 2 * (1.0 - kept) + (1.0 - kept) ** 2 / precision.sum(axis=1)[:, None]
    average = weights @ estimates
    return Shrunk(average, weights @ (errors + (estimates - average) ** 2), weights @ kept)


def _between_sd_posterior(values: Array, variances: Array) -> tuple[Array, Array]:
    """Grid of between-plate sds τ and their posterior probabilities, mean integrated out; (grid,), (grid,)."""
    informative = np.isfinite(variances)
    x, v = values[informative], variances[informative]
    widest = _WIDEST * (float(np.ptp(x)) + float(np.sqrt(v.max())))
    tau = np.concatenate([[0.0], np.geomspace(0.01 * np.sqrt(v.min()), widest, _GRID - 1)])
    precision = 1.0 / (tau[:, None] ** 2 + v)
    total = precision.sum(axis=1)
    mean = (precision @ x) / total
    misfit = (precision * (x - mean[:, None]) ** 2).sum(axis=1)
    log_density = 0.5 * (np.log(precision).sum(axis=1) - np.log(total) - misfit)
    width = np.gradient(tau)
    width[0] = tau[1] / 2
    density = np.exp(log_density - log_density.max()) * width
    return tau, density / density.sum()
