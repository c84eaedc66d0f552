"""What the certificate only bounds: the accuracy of a hybrid screen against the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.campaigns.config import ReadoutSection
from tasks.errors import UserError


def true_accuracy(screen: pd.DataFrame, values: pd.DataFrame, readout: ReadoutSection) -> float:
    """System accuracy of a hybrid screen: (measured + predicted correctly)/N.

    Only where the truth is known, as in a replay. A measured perturbation counts as correct, noise and all, as it does
    in the certificate; a predicted one when it is correct against the noise-free value.

    Args:
        screen: obs of the hybrid screen, indexed by perturbation; columns source (measured | predicted) and value
            (readout units; binary: class, or probability of class 1).
        values: The truth: columns perturbation and value (aligned readout units), every perturbation of the screen
            among them.
        readout: Continuous: correct within `tolerance`, the limit included. Binary: correct if value > 0.5 agrees with
            truth > `threshold`.

    Returns:
        A share between 0 and 1.

    Raises:
        UserError: The screen is empty, holds another source, or a perturbation has no true value.
    """
    if screen.empty:
        raise UserError("an empty screen has no accuracy", where="screen")
    other = set(screen["source"].astype(str)) - {"measured", "predicted"}
    if other:
        raise UserError("unknown source", where="screen", got=min(other), expected="measured or predicted")
    truth = values.set_index("perturbation")["value"].astype(float).reindex(screen.index.astype(str))
    if truth.isna().any():
        raise UserError("no true value", where="values", got=truth.index[truth.isna()][0])
    published = screen["value"].to_numpy(dtype=np.float64)
    if readout.kind == "binary":
        right = (published > 0.5) == (truth.to_numpy() > float(readout.threshold or 0.0))
    else:
        right = np.abs(published - truth.to_numpy()) <= float(readout.tolerance or 0.0)
    measured = (screen["source"].astype(str) == "measured").to_numpy()
    return float(np.mean(measured | right))
