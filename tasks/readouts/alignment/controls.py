"""Control wells of a run: gathering them, and what their medians and MADs are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.errors import UserError
from tasks.readouts.alignment.model import PlateControls
from tasks.readouts.alignment.shrinkage import shrink
from tasks.readouts.robust import control_moments, mad_sd, pairwise_variance

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Levels:
    """One kind of control on each of P plates.

    Attributes:
        median: Median of the wells, (P,) [instrument unit].
        median_variance: Its error variance, (P,) [instrument unit²]; the noise in it is pooled over the run.
        log_sd: log of a well's sd from the MAD, corrected for small n, (P,); 0 where there is a single well.
        log_sd_variance: Its error variance, (P,); inf where there is a single well.
    """

    median: Array
    median_variance: Array
    log_sd: Array
    log_sd_variance: Array


def gather_controls(wells: pd.DataFrame) -> list[PlateControls]:
    """Finite control values of each plate attempt, by barcode and attempt. Sample wells are not looked at."""
    finite = np.isfinite(wells["value"].to_numpy(dtype=np.float64))
    usable = wells[finite & wells["role"].isin(["negcon", "poscon"]).to_numpy()]
    values = {
        key: np.sort(group.to_numpy(dtype=np.float64))
        for key, group in usable.groupby(["barcode", "attempt", "role"])["value"]
    }
    return [
        PlateControls(
            str(barcode),
            int(attempt),
            negcon=values.get((barcode, attempt, "negcon"), np.empty(0)),
            poscon=values.get((barcode, attempt, "poscon"), np.empty(0)),
        )
        for barcode, attempt in sorted(set(zip(wells["barcode"], wells["attempt"], strict=True)))
    ]


def control_levels(plates: Sequence[PlateControls], role: str, min_controls: int) -> Levels:
    """Median and spread of one kind of control on every plate.

    Args:
        plates: P plates of one run.
        role: negcon or poscon.
        min_controls: Fewer wells with a value than this on any plate is an error.

    Raises:
        UserError: A plate has too few of these controls, or all but a few of its wells are equal (MAD = 0), or no plate
            has two wells to tell the noise from.
    """
    groups = [plate.negcon if role == "negcon" else plate.poscon for plate in plates]
    log_sd, log_sd_variance, unit_variance = (np.zeros(len(plates)) for _ in range(3))
    for index, (plate, values) in enumerate(zip(plates, groups, strict=True)):
        if len(values) < max(1, min_controls):
            raise UserError(
                f"too few {role} wells with a value",
                where=plate.where,
                got=len(values),
                expected=f"at least {max(1, min_controls)} (alignment.min_controls)",
                todo="Repeat the plate and upload it as its next attempt.",
            )
        if len(values) == 1:
            unit_variance[index], log_sd_variance[index] = 1.0, np.inf
            continue
        moments = control_moments(len(values))
        unit_variance[index], log_sd_variance[index] = moments.median_variance, moments.log_mad_variance
        log_sd[index] = np.log(_spread(values, role, plate)) - moments.log_mad_bias
    if not np.isfinite(log_sd_variance).any():
        raise UserError(
            f"the noise of {role} cannot be told: no plate of the run has two of them",
            where=", ".join(plate.where for plate in plates),
            expected="two wells on at least one plate",
            todo="Add control wells to the plates.",
        )
    medians = np.array([np.median(values) for values in groups])
    # The plates' own MADs say how noisy they are relative to each other, the pairs of the whole run how noisy they are.
    relative = np.exp(shrink(log_sd, log_sd_variance).values)
    pooled, _ = pairwise_variance(values / sd for values, sd in zip(groups, relative, strict=True))
    return Levels(medians, unit_variance * pooled * relative**2, log_sd, log_sd_variance)


def _spread(values: Array, role: str, plate: PlateControls) -> float:
    spread = mad_sd(values)
    if spread == 0.0:
        raise UserError(
            f"the {role} wells have no spread (MAD = 0)",
            where=plate.where,
            got=f"{len(values)} wells around {np.median(values):g}",
            expected="control wells that differ by their noise",
            todo="Look for a saturated detector or copied values; repeat the plate as its next attempt.",
        )
    return spread
