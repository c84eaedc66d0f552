"""The audit: how many errors a random sample still allows in the whole, exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

from tasks.campaigns.config import ReadoutSection
from tasks.errors import NumericalError, UserError

# Rounding in the distribution function must never reject: P within this relative distance of the risk is kept.
ROUNDING = 1e-7


def audit_bound(population: int, sample: int, errors: int, risk: float) -> int:
    """Largest number of errors in the population that the sample does not reject.

    The largest K with P(Hypergeometric(population, K, sample) ≤ errors) > risk. If the sample was drawn uniformly
    without replacement, the true number of errors exceeds it with probability at most `risk`, whatever the population
    looks like: exact, for finite samples, no model.

    Args:
        population: Perturbations not chosen so far, the sample included.
        sample: Perturbations drawn (hidden audit members).
        errors: Errors among them.
        risk: Probability allowed to be wrong, 0 ≤ risk < 1. With 0 only certainties count.

    Returns:
        K, between `errors` and population − sample + errors.

    Raises:
        UserError: Unless 0 ≤ errors ≤ sample ≤ population and 0 ≤ risk < 1.

    Source: Clopper and Pearson 1934, for the hypergeometric distribution (exact test inversion).
    """
    if not (0 <= errors <= sample <= population and 0 <= risk < 1):
        raise UserError(
            "audit bound of impossible counts",
            got=f"population {population}, sample {sample}, errors {errors}, risk {risk}",
            expected="0 ≤ errors ≤ sample ≤ population and 0 ≤ risk < 1",
        )
    kept, rejected = errors, population - sample + errors + 1
    if risk == 0:
        return rejected - 1
    # P falls in K: bisect. `kept` is never rejected (P = 1); one error more than fits outside the sample has P = 0.
    while rejected - kept > 1:
        middle = (kept + rejected) // 2
        if hypergeom.cdf(errors, population, middle, sample) > risk * (1 - ROUNDING):
            kept = middle
        else:
            rejected = middle
    return kept


def correct(
    predicted: npt.NDArray[np.floating], measured: npt.NDArray[np.floating], readout: ReadoutSection
) -> npt.NDArray[np.bool_]:
    """Which predictions the measurement confirms.

    Args:
        predicted: (n,) predictions; readout units, or for a binary readout probabilities of class 1.
        measured: (n,) measurements; readout units or classes 0 and 1. NaN where there is none.
        readout: Continuous: correct within `tolerance`, the limit included. Binary: correct if the likelier class was
            measured (a probability of exactly 0.5 is class 0).

    Returns:
        (n,) bool; without a measurement False, because nothing confirms the prediction.

    Raises:
        NumericalError: If shapes differ or a prediction is not finite.
    """
    if predicted.shape != measured.shape:
        raise NumericalError(f"predictions {predicted.shape} and measurements {measured.shape} differ in shape")
    if not np.isfinite(predicted).all():
        raise NumericalError("a prediction is not finite")
    if readout.kind == "binary":
        right = (predicted > 0.5) == (measured > 0.5)
    else:
        right = np.abs(predicted.astype(np.float64) - measured) <= float(readout.tolerance or 0.0)
    return np.asarray(right & ~np.isnan(measured), dtype=bool)
