"""What the members that did not learn from a label say about it, and how wide intervals must therefore be.

Names of the tensors: out_of_fold.mean, out_of_fold.variance (n, C): mean and variance of those members' predictions,
NaN where no member, or only one, did not learn from the label; out_of_fold.count (n,).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.9, 0.95)


def out_of_fold(members: npt.NDArray[Any], held_out: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Mean, variance and number of the predictions that are honest about each label.

    They are honest about its noise as far as plates were held out whole; a member was stopped on these very labels,
    which makes its residuals a little too small (one of some dozens of epochs was chosen by their sum).

    Args:
        members: (n, M, C) predictions of the labels.
        held_out: (M, n) whether a member did not learn from a label.

    Returns:
        The arrays by name, float32.
    """
    mask = held_out.T.astype(bool)[..., None]
    count = mask.sum(axis=1).astype(np.float64)
    total = np.where(mask, members, 0.0).sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        square = np.where(mask, np.square(members - mean[:, None]), 0.0).sum(axis=1, dtype=np.float64)
        variance = square / (count - 1)
    variance[count[:, 0] < 2] = np.nan
    return {
        "out_of_fold.mean": mean.astype(np.float32),
        "out_of_fold.variance": variance.astype(np.float32),
        "out_of_fold.count": count[:, 0].astype(np.float32),
    }


def interval_factors(
    residuals: Float, spread: Float, noise: Float | None = None
) -> tuple[list[float], list[list[float]]]:
    """Noise variance that out-of-fold residuals show beside the members' spread, and the factors of intervals.

    The variance of a new readout is noise + spread; its interval at a level is ± factor·√(noise + spread), the factor
    being that quantile of |residual|/√(noise + spread) over the labels (locally weighted conformal prediction), with
    the usual +1 for the new one.

    Args:
        residuals: (n, C) readout minus the mean of the members that had not seen it; rows with NaN are left out.
        spread: (n, C) variance between members.
        noise: (n, C) variance of a readout that the model has learnt; None: one for all is estimated.

    Returns:
        Noise variance of each column [readout unit squared] and the factors (levels, C), at `LEVELS`.

    Source:
        Lei et al., Distribution-free predictive inference for regression, 2018, section 5.2.
    """
    known = np.isfinite(residuals).all(axis=1)
    residuals, spread = residuals[known], spread[known]
    if noise is None:
        excess = np.square(residuals).mean(axis=0) - spread.mean(axis=0)
        variance = np.maximum(excess, 0.01 * np.square(residuals).mean(axis=0))
    else:
        variance = noise[known].mean(axis=0)
    sd = np.sqrt((variance if noise is None else noise[known]) + spread)
    scores = np.divide(np.abs(residuals), sd, out=np.zeros_like(sd), where=sd > 0)
    levels = [min(1.0, level * (1 + 1 / len(scores))) for level in LEVELS]
    factors = np.quantile(scores, levels, axis=0, method="higher")
    return [float(v) for v in variance], [[float(v) for v in row] for row in factors]
