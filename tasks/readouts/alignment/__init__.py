"""Plates of a run onto one scale, fitted on control wells only.

Chosen perturbations are no random sample of the library, so nothing here ever looks at a sample well: a plate median
over samples would drift with the selection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from tasks.campaigns.config import AlignmentSection, PlatesSection
from tasks.errors import UserError
from tasks.readouts.alignment.controls import gather_controls
from tasks.readouts.alignment.model import AlignmentFit, PlateControls, PlateFit, RawFit
from tasks.readouts.alignment.negcon import fit_negcon
from tasks.readouts.alignment.shrinkage import Shrunk, shrink, unshrunk
from tasks.readouts.alignment.two_point import fit_two_point
from tasks.readouts.robust import pairwise_variance

__all__ = ["ALIGNMENTS", "AlignmentFit", "PlateFit", "apply_alignment", "fit_alignment"]

Alignment = Callable[[Sequence[PlateControls], AlignmentSection, PlatesSection], RawFit]

#: Name in the configuration -> method. A new alignment is one file and one line here.
ALIGNMENTS: dict[str, Alignment] = {"negcon": fit_negcon, "two-point": fit_two_point}


def fit_alignment(wells: pd.DataFrame, alignment: AlignmentSection, plates: PlatesSection) -> AlignmentFit:
    """Fit offset and scale of every plate of one run.

    Args:
        wells: Table of wells of all passed plates of one run. Sample wells are ignored.
        alignment: Method, shrinkage, smallest number of controls.
        plates: Nominal values of the controls.

    Returns:
        One fit per plate attempt. `offset_variance` is the error variance of the plate's offset in aligned units,
        shared by every well of the plate; after shrinkage it includes the error of the run's mean.

    Raises:
        UserError: No plate or several runs, unknown method, too few controls, MAD = 0; names the plate and the way out.
    """
    runs = sorted(set(wells["run"]))
    if len(runs) != 1:
        raise UserError("an alignment is fitted to the plates of one run", got=f"runs {runs}", expected="one run")
    if alignment.method not in ALIGNMENTS:
        raise UserError(
            "unknown alignment",
            where="alignment.method",
            got=alignment.method,
            expected=" or ".join(sorted(ALIGNMENTS)),
        )
    controls = gather_controls(wells)
    raw = ALIGNMENTS[alignment.method](controls, alignment, plates)
    step = shrink if alignment.shrinkage else unshrunk
    centre, log_scale = step(raw.centre, raw.centre_variance), step(raw.log_scale, raw.log_scale_variance)
    _check_scales(log_scale, controls)
    scale = raw.sign * np.exp(log_scale.values)
    fits = tuple(
        PlateFit(
            barcode=plate.barcode,
            attempt=plate.attempt,
            offset=float(centre.values[p] - raw.anchor * scale[p]),
            scale=float(scale[p]),
            offset_variance=float(centre.variances[p] / scale[p] ** 2),
            scale_variance=float(log_scale.variances[p]),
            n_negcon=len(plate.negcon),
            n_poscon=len(plate.poscon),
            shrinkage_offset=float(centre.kept[p]),
            shrinkage_scale=float(log_scale.kept[p]),
        )
        for p, plate in enumerate(controls)
    )
    noise, _ = pairwise_variance(plate.negcon / abs(fit.scale) for plate, fit in zip(controls, fits, strict=True))
    return AlignmentFit(
        method=alignment.method, run=str(runs[0]), anchor=raw.anchor, plates=fits, control_noise=float(np.sqrt(noise))
    )


def _check_scales(log_scale: Shrunk, controls: Sequence[PlateControls]) -> None:
    """Without shrinkage a plate with a single control has no scale of its own."""
    for plate, variance in zip(controls, log_scale.variances, strict=True):
        if not np.isfinite(variance):
            raise UserError(
                "one control well gives no scale",
                where=plate.where,
                expected="two wells, or alignment.shrinkage: true, which takes the run's scale",
            )


def apply_alignment(wells: pd.DataFrame, fit: AlignmentFit) -> pd.DataFrame:
    """Bring wells onto the common scale.

    Args:
        wells: Table of wells; every plate attempt in it must have been fitted.
        fit: The stored alignment.

    Returns:
        The same rows with the column `aligned` (value − offset)/scale [readout unit]; NaN where the value is missing.

    Raises:
        UserError: A plate attempt is not part of the fit.
    """
    known = {plate.key: plate for plate in fit.plates}
    keys = wells["barcode"].astype(str) + "." + wells["attempt"].astype(str)
    unknown = sorted(set(keys) - set(known))
    if unknown:
        raise UserError(
            "plate without an alignment",
            where=f"run {fit.run}",
            got=", ".join(unknown),
            expected="only plates that the alignment was fitted on",
        )
    offset = keys.map({key: plate.offset for key, plate in known.items()}).to_numpy(dtype=np.float64)
    scale = keys.map({key: plate.scale for key, plate in known.items()}).to_numpy(dtype=np.float64)
    return wells.assign(aligned=(wells["value"].to_numpy(dtype=np.float64) - offset) / scale)
