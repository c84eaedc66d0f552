"""The noise of aligned readouts: variance of a well, and the errors that the wells of a plate or of a run share."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict

from tasks.errors import UserError
from tasks.readouts.well_noise import evaluate

Array = npt.NDArray[np.float64]


class NoiseModel(BaseModel):
    """Noise of the aligned readout.

    Attributes:
        average: Variance of one well, averaged over the wells it was told from [readout unit²].
        source: What it was estimated from; negcon also when the replicates fell below the floor.
        n: Degrees of freedom of that estimate.
        floor: Lower 1% confidence limit of the negative controls' variance; `average` is never below, nor the variance
            at the controls' own value [readout unit²].
        knots: Aligned values at which the variance of a well was told, ascending; one where it is constant.
        variances: Variance of one well there, independent of every other well [readout unit²].
        plates: Plate attempt key (barcode.attempt) -> error variance of its offset, the same for all its wells
            [readout unit²].
        scales: Plate attempt key -> error variance of the log of its scale, the same for all its wells.
        runs: Plate attempt key -> run.
        run_variances: Run -> variance of the error that all its wells share [readout unit²].
        reagent: Variance between the reagents of one perturbation (guides of a gene); 0 without [readout unit²].
        anchors: Run -> aligned value at which errors of its plates' scales do nothing [readout unit].
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    average: float
    source: Literal["replicates", "negcon"]
    n: int
    floor: float
    knots: tuple[float, ...]
    variances: tuple[float, ...]
    plates: dict[str, float]
    scales: dict[str, float]
    runs: dict[str, str]
    run_variances: dict[str, float]
    reagent: float = 0.0
    anchors: dict[str, float]

    def well_variance(self, aligned: npt.ArrayLike) -> Array:
        """Variance of one well at aligned values [readout unit²]; any shape in, the same out; positive.

        Log-linear between the knots, constant beyond them.
        """
        return evaluate(self.knots, self.variances, np.asarray(aligned, dtype=np.float64))

    def shared_variance(self, plates: pd.Series[str], aligned: pd.Series[float]) -> pd.Series[float]:
        """Error variance that a value shares with its plate: v_p + (a − anchor of the run)²·u_p; rows in, rows out.

        Args:
            plates: Plate attempt keys.
            aligned: Aligned values a [readout unit], with the same index.

        Returns:
            Variances [readout unit²], v_p of the plate's offset and u_p of the log of its scale.

        Raises:
            UserError: A plate attempt is not part of the model.
        """
        unknown = sorted(set(plates) - set(self.plates))
        if unknown:
            raise UserError("plate attempt without noise", got=", ".join(unknown), expected="a plate that was aligned")
        anchor = plates.map(self.runs).map(self.anchors)
        return plates.map(self.plates) + (aligned - anchor) ** 2 * plates.map(self.scales)
