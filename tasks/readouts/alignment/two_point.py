"""Negative and positive controls to their nominal values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.campaigns.config import AlignmentSection, PlatesSection
from tasks.errors import UserError
from tasks.readouts.alignment.controls import control_levels
from tasks.readouts.alignment.model import PlateControls, RawFit


def fit_two_point(plates: Sequence[PlateControls], alignment: AlignmentSection, layout: PlatesSection) -> RawFit:
    """The line through both medians maps them to `plates.negcon.nominal` and `plates.poscon.nominal`.

    The line is described by its middle c = (m₋ + m₊)/2 and its span d = m₊ − m₋, whose errors are uncorrelated when
    both controls are equally noisy: Var(c) = (v₋ + v₊)/4, Var(log|d|) = (v₋ + v₊)/d² (delta method).

    Args:
        plates: Controls of the P plates of one run.
        alignment: Uses min_controls.
        layout: Uses the nominal values.

    Raises:
        UserError: A nominal value is missing or both are equal, too few controls, MAD = 0, equal medians, or one
            plate's positive controls lie on the other side of its negative controls than on the other plates.
    """
    low, high = _nominal_values(layout)
    negcon = control_levels(plates, "negcon", alignment.min_controls)
    poscon = control_levels(plates, "poscon", alignment.min_controls)
    span = poscon.median - negcon.median
    usual = 1.0 if np.median(np.sign(span)) >= 0 else -1.0
    for plate, difference in zip(plates, span, strict=True):
        if difference * usual <= 0:
            raise UserError(
                "positive and negative controls are equal or the other way round than on the run's other plates",
                where=plate.where,
                got=f"median poscon − median negcon = {difference:g}",
                expected="a difference of the same sign on every plate",
                todo="Look for swapped controls or a turned plate; repeat the plate as its next attempt.",
            )
    summed = negcon.median_variance + poscon.median_variance
    return RawFit(
        centre=(negcon.median + poscon.median) / 2,
        centre_variance=summed / 4,
        log_scale=np.log(np.abs(span / (high - low))),
        log_scale_variance=summed / span**2,
        sign=usual * float(np.sign(high - low)),
        anchor=(low + high) / 2,
    )


def _nominal_values(layout: PlatesSection) -> tuple[float, float]:
    low = layout.negcon.nominal
    high = layout.poscon.nominal if layout.poscon is not None else None
    if low is None or high is None or low == high:
        raise UserError(
            "two-point alignment needs two different nominal values",
            where="plates.negcon.nominal, plates.poscon.nominal",
            got=f"{low} and {high}",
            expected="the known aligned value of each control",
            todo="Give both, or set alignment.method to negcon.",
        )
    return low, high
