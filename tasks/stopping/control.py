"""The random control that is no secret: perturbations drawn in round 0 and trained on, predicted out of fold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.campaigns.config import ReadoutSection
from tasks.stopping.audit import correct
from tasks.stopping.evidence import ControlEvidence


def random_control(
    predicted: npt.NDArray[np.float64],
    measured: npt.NDArray[np.float64],
    drawn: npt.NDArray[np.bool_],
    readout: ReadoutSection,
    round_index: int,
) -> ControlEvidence | None:
    """Error on labels that were drawn at random, by members that did not learn from them; None without one.

    Args:
        predicted: (n,) out-of-fold predictions of the training labels [readout unit, or probability]; NaN where all
            members learnt from the label.
        measured: (n,) training labels [readout unit, or class].
        drawn: (n,) drawn uniformly from the library in round 0.
        readout: When a prediction is correct.
        round_index: Round of the model.
    """
    known = drawn & np.isfinite(predicted) & np.isfinite(measured)
    if not known.any():
        return None
    said, truth = predicted[known], measured[known]
    right = int(correct(said, truth, readout).sum())
    n = int(known.sum())
    error = 1 - right / n if readout.kind == "binary" else float(np.sqrt(np.mean(np.square(said - truth))))
    return ControlEvidence(round_index=round_index, n=n, right=right, error=error)
