"""What the model itself expects to have wrong: by it, and by no hidden readout, the risk is spent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from tasks.campaigns.config import ReadoutSection

Float64 = npt.NDArray[np.float64]


def said_errors(mean: Float64, variance: Float64, noise: Float64, readout: ReadoutSection) -> Float64:
    """Probability (N,) that a measurement would call a prediction wrong, as the model says it.

    Binary: that of the less likely class. Continuous: that a normal error of the prediction and the measurement
    together leaves the tolerance.

    Args:
        mean: (N,) predictions; of a binary readout the probability of class 1.
        variance: (N, 2) diagonals of Σ_F and Δ, or (N, 3) with the calibrated squared error ê behind them [readout unit
            squared]. Not read of a binary readout.
        noise: (N,) variance of a new measurement [readout unit squared]. Not read of a binary readout.
        readout: Its kind and tolerance.
    """
    if readout.kind == "binary":
        return np.minimum(mean, 1 - mean)
    squared = variance[:, 2] if variance.shape[1] > 2 else variance.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # no error at all: nothing leaves the tolerance
        distance = np.nan_to_num(float(readout.tolerance or 0.0) / np.sqrt(squared + noise), nan=np.inf)
    wrong: Float64 = 2 * norm.sf(distance)
    return wrong
