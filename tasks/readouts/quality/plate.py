"""The judgement on one plate by itself."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.campaigns.config import QualitySection
from tasks.errors import UserError
from tasks.readouts.quality.controls import Controls, Transform, control_metrics
from tasks.readouts.quality.positions import edge_effect, line_effect, missing, plate_spread
from tasks.readouts.quality.verdicts import PlateQuality, failures


def assess_plate(
    wells: pd.DataFrame,
    quality: QualitySection,
    *,
    min_controls: int = 2,
    fmt: int | None = None,
    transform: Transform = "none",
    exclude: frozenset[str] = frozenset(),
) -> PlateQuality:
    """Judge one plate attempt.

    Robust Z′ = 1 − 3·(s₊ + s₋)/|m₊ − m₋| and robust |SSMD| = |m₊ − m₋|/√(s₊² + s₋²), with medians m and s = 1.4826·MAD,
    each with a bootstrap interval of level `quality.interval`. A plate whose negative controls have no spread fails in
    any case, as does one whose wells all read the same.

    Args:
        wells: Table of wells of one plate attempt [readout unit, after `readout.transform`].
        quality: Thresholds; a threshold of None makes the metric INFO.
        min_controls: Wells with a value that each control on the plate map needs (`alignment.min_controls`).
        fmt: Wells of the plate (`plates.format`): where its rim is. None: no edge effect is computed.
        transform: What was applied to the values (`readout.transform`); the CV of negcon is that of before.
        exclude: Perturbations whose readouts must not steer anything (hidden audit members): the effects of row,
            column and rim leave them out.

    Raises:
        UserError: The wells are not those of exactly one plate attempt.

    Source:
        Z′: Zhang, Chung & Oldenburg 1999, J Biomol Screen 4:67. Robust SSMD: Zhang 2007, Genomics 89:552.
    """
    identity = sorted(set(zip(wells["barcode"], wells["attempt"], wells["run"], strict=True)))
    if len(identity) != 1:
        raise UserError("quality is judged plate by plate", got=f"{len(identity)} plate attempts", expected="one")
    controls = Controls.of(wells)
    is_sample = (wells["role"] == "sample") & np.isfinite(wells["value"].to_numpy(dtype=np.float64))
    samples = wells[is_sample & ~wells["perturbation"].isin(exclude)]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # what is not finite is told as such
        metrics = (
            *control_metrics(controls, quality, min_controls, transform),
            missing(wells, quality.max_missing),
            plate_spread(wells[~wells["perturbation"].isin(exclude)]),
            line_effect(samples, "row", quality.max_row_effect),
            line_effect(samples, "column", quality.max_column_effect),
            edge_effect(samples, fmt),
        )
        direction = controls.direction
    barcode, attempt, run = identity[0]
    reasons = failures(metrics)
    return PlateQuality(
        barcode=str(barcode),
        attempt=int(attempt),
        run=str(run),
        metrics=metrics,
        passed=not reasons,
        reasons=reasons,
        direction=direction,
    )
