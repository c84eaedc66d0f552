"""Control wells of a run: gathering them, and what their medians and MADs are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.config import AlignmentSection
from tasks.errors import UserError
from tasks.readouts.alignment.model import ControlNoise, PlateControls
from tasks.readouts.alignment.shrinkage import meet, shrink
from tasks.readouts.robust import control_moments, mad_sd, pairwise_variance

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Levels:
    """One kind of control on each of P plates.

    Attributes:
        median: Median of the wells, (P,) [instrument unit]; 0 where the plate has too few.
        median_variance: Its error variance, (P,) [instrument unit²]; the noise in it is pooled over the run. inf where
            the plate has too few; in multiples of the noise's variance where that is unknown.
        log_sd: log of a well's sd from the MAD, corrected for small n, (P,); 0 where the plate cannot tell.
        log_sd_variance: Its error variance, (P,); inf where the plate cannot tell.
        noise: Noise of a well over the run.
    """

    median: Array
    median_variance: Array
    log_sd: Array
    log_sd_variance: Array
    noise: ControlNoise


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


def control_levels(
    plates: Sequence[PlateControls], role: str, alignment: AlignmentSection, known: ControlNoise | None
) -> Levels:
    """Median and spread of one kind of control on every plate.

    Args:
        plates: P plates of one run.
        role: negcon or poscon.
        alignment: Uses min_controls and on_too_few.
        known: Noise that earlier plates of the run left behind; None: these plates tell it.

    Raises:
        UserError: A plate has too few of these controls or no spread among them (MAD = 0) and alignment.on_too_few is
            error, or fewer than two plates have enough.
    """
    groups = [plate.negcon if role == "negcon" else plate.poscon for plate in plates]
    lacking = [_lack(values, role, plate, alignment) for plate, values in zip(plates, groups, strict=True)]
    if known is None and 0 < sum(lacking) >= len(plates) - 1:
        raise UserError(
            f"the level of the run cannot be taken: fewer than two plates have enough {role}",
            where=", ".join(plate.where for plate, without in zip(plates, lacking, strict=True) if without),
            todo="Repeat these plates and upload them as their next attempts.",
        )
    medians, log_sd = np.zeros(len(plates)), np.zeros(len(plates))
    unit_variance, log_sd_variance = np.full(len(plates), np.inf), np.full(len(plates), np.inf)
    for index, values in enumerate(groups):
        if lacking[index]:
            continue
        medians[index], unit_variance[index] = np.median(values), 1.0
        if len(values) > 1:
            moments = control_moments(len(values))
            unit_variance[index], log_sd_variance[index] = moments.median_variance, moments.log_mad_variance
            log_sd[index] = np.log(mad_sd(values)) - moments.log_mad_bias
    usable = [values for values, without in zip(groups, lacking, strict=True) if not without]
    noise, relative = _noise(usable, log_sd, log_sd_variance, np.array(lacking), known)
    pooled = 1.0 if noise.variance is None else noise.variance
    return Levels(medians, unit_variance * pooled * relative**2, log_sd, log_sd_variance, noise)


def _noise(
    groups: Sequence[Array],
    log_sd: Array,
    log_sd_variance: Array,
    lacking: npt.NDArray[np.bool_],
    known: ControlNoise | None,
) -> tuple[ControlNoise, Array]:
    """Noise of the run and relative sd of each plate's wells, (P,).

    The plates' own MADs say how noisy they are relative to each other, the pairs of the whole run how noisy they are.
    """
    if known is not None:
        if known.log_sd is None:
            return known, np.ones(len(log_sd))
        return known, np.exp(meet(log_sd, log_sd_variance, known.log_sd).values)
    if not np.isfinite(log_sd_variance).any():
        return ControlNoise(variance=None, log_sd=None), np.ones(len(log_sd))
    shrunk = shrink(log_sd, log_sd_variance)
    relative = np.exp(shrunk.values)
    pooled, _ = pairwise_variance(values / sd for values, sd in zip(groups, relative[~lacking], strict=True))
    return ControlNoise(variance=pooled, log_sd=shrunk.level), relative


def _lack(values: Array, role: str, plate: PlateControls, alignment: AlignmentSection) -> bool:
    """Whether a plate goes without controls of its own, or the error that this is."""
    needed = max(1, alignment.min_controls)
    few, flat = len(values) < needed, len(values) > 1 and mad_sd(values) == 0.0
    if (few or flat) and alignment.on_too_few == "run":
        return True
    if few:
        raise UserError(
            f"too few {role} wells with a value",
            where=plate.where,
            got=len(values),
            expected=f"at least {needed} (alignment.min_controls)",
            todo="Repeat the plate and upload it as its next attempt, or set alignment.on_too_few to run.",
        )
    if flat:
        raise UserError(
            f"the {role} wells have no spread (MAD = 0)",
            where=plate.where,
            got=f"{len(values)} wells around {np.median(values):g}",
            expected="control wells that differ by their noise",
            todo="Look for a saturated detector or copied values; repeat the plate as its next attempt, or set "
            "alignment.on_too_few to run.",
        )
    return False
