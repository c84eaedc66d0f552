"""A bound of the mean squared error of a bounded readout, from a random sample and without a model."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tasks.errors import NumericalError, UserError

Floats = npt.NDArray[np.float64]

# Largest stake: with 1, one value of 1 where 0 is expected would take the whole capital.
LARGEST_STAKE = 0.9
PRECISION = 1e-9


def mean_upper_bound(values: Floats, population: int, risk: float) -> float:
    """Upper bound of the mean of a finite population of numbers in [0, 1], from a sample without replacement.

    A bettor who starts with 1 stakes λ_i on the next value being below its conditional mean
    m_i = (N·m − Σ_{j<i} x_j)/(N − i + 1). Were the mean m, the capital Π_i (1 − λ_i·(x_i − m_i)) would be a martingale,
    and exceed 1/risk at any time with probability at most `risk` (Ville). The bound is the least m at which it does;
    the capital grows with m because the stakes do not depend on it. Exact for finite samples; it may be asked after
    every value.

    Args:
        values: (n,) sample, in an order that does not depend on the values. Sorted values make the bound wrong.
        population: N, the sample included.
        risk: Probability of being wrong, 0 ≤ risk < 1. With 0 only certainties count.

    Returns:
        The bound, from (Σ x)/N, which is known, to (Σ x + N − n)/N, which is certain.

    Raises:
        UserError: More values than population, no population, or a risk out of range.
        NumericalError: A value outside of [0, 1] or not finite.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B 2023), section 5
        (without replacement) with the predictable plug-in stakes of equation 26, one-sided and cut at 0.9.
    """
    n = len(values)
    if not (population >= 1 and n <= population and 0 <= risk < 1):
        raise UserError(
            "bound of a mean from impossible numbers",
            got=f"population {population}, sample {n}, risk {risk}",
            expected="sample ≤ population, population ≥ 1, 0 ≤ risk < 1",
        )
    if not (np.isfinite(values).all() and ((values >= 0) & (values <= 1)).all()):
        raise NumericalError("values of a bounded mean must lie in [0, 1]")
    total = float(values.sum())
    known, certain = total / population, (total + population - n) / population
    if n in (0, population) or risk == 0:
        return certain
    stakes, seen = _stakes(values, risk), np.concatenate([[0.0], np.cumsum(values)[:-1]])
    left = population - np.arange(n)
    low, high = known, certain
    while high - low > PRECISION:
        middle = (low + high) / 2
        expected = (population * middle - seen) / left
        # A conditional mean above 1 cannot be: with the values seen, m is impossible.
        capital = np.cumsum(np.log1p(-stakes * (values - expected)))
        if (expected > 1).any() or capital.max() >= -math.log(risk):
            high = middle
        else:
            low = middle
    return high


def _stakes(values: Floats, risk: float) -> Floats:
    """(n,) stakes, each from the values before it alone."""
    count = np.arange(1, len(values) + 1)
    mean = (0.5 + np.cumsum(values)) / (count + 1)
    spread = (0.25 + np.cumsum(np.square(values - mean))) / (count + 1)
    before = np.concatenate([[0.25], spread[:-1]])
    return np.minimum(np.sqrt(-2 * math.log(risk) / (before * len(values))), LARGEST_STAKE)


def squared_error_bound(
    predicted: Floats, measured: Floats, limits: tuple[float, float], population: int, risk: float
) -> float:
    """Upper bound of the mean squared error of predictions over a population, from a uniform random sample of it.

    Args:
        predicted: (n,) predictions of the sample [readout unit]; beyond the limits they count as the limit.
        measured: (n,) measurements [readout unit]; NaN where there is none, which counts as the largest error.
        limits: Smallest and largest value of the readout [readout unit]. The narrower, the tighter is the bound.
        population: Perturbations, the sample included.
        risk: Probability of being wrong.

    Returns:
        Bound [readout unit squared].

    Raises:
        UserError: Limits the wrong way round, or a measurement beyond them; see `mean_upper_bound`.
        NumericalError: A prediction is not finite, or the sizes differ.
    """
    low, high = limits
    if not low < high:
        raise UserError("limits of a readout are the wrong way round", got=limits, expected="smallest, largest")
    if predicted.shape != measured.shape or not np.isfinite(predicted).all():
        raise NumericalError("predictions must be finite and as many as measurements")
    if ((measured < low) | (measured > high)).any():
        beyond = measured[(measured < low) | (measured > high)][0]
        raise UserError("a measurement is beyond the limits of the readout", got=beyond, expected=f"{low} to {high}")
    error = np.abs(np.clip(predicted, low, high) - measured) / (high - low)
    return mean_upper_bound(np.square(np.where(np.isnan(error), 1.0, error)), population, risk) * (high - low) ** 2
