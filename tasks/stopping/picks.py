"""The newest strategic picks, judged by the model that picked them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.campaigns.config import ReadoutSection
from tasks.stopping.audit import correct
from tasks.stopping.evidence import PickEvidence


def newest_picks(batch: pd.DataFrame, forward: pd.DataFrame, readout: ReadoutSection) -> PickEvidence:
    """Count the strategic picks of a batch, and those predicted rightly before they were measured.

    Args:
        batch: Batch table of the round. The random arm, repeats and the initial draw are no strategic picks; releases
            are.
        forward: Forward residuals (perturbation, predicted, measured) of the model before on labels it had not seen.
            A pick that is not in it has no measurement.
        readout: When a prediction is correct.
    """
    picked = batch[batch["arm"] == "strategy"]
    known = forward[forward["perturbation"].isin(picked["perturbation"])]
    predicted, measured = (known[name].to_numpy(dtype=np.float64) for name in ("predicted", "measured"))
    return PickEvidence(
        strategies=tuple(sorted(set(picked["slot"].astype(str)))),
        picks=len(picked),
        right=int(correct(predicted, measured, readout).sum()),
    )
