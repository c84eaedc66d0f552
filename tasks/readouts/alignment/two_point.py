"""Negative and positive controls to their nominal values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tasks.campaigns.config import AlignmentSection, PlatesSection
from tasks.errors import UserError
from tasks.readouts.alignment.controls import control_levels
from tasks.readouts.alignment.model import ControlNoise, PlateControls, RawFit

Array = npt.NDArray[np.float64]


def fit_two_point(
    plates: Sequence[PlateControls],
    alignment: AlignmentSection,
    layout: PlatesSection,
    known: Mapping[str, ControlNoise],
) -> RawFit:
    """The line through both medians maps them to `plates.negcon.nominal` and `plates.poscon.nominal`.

    The line is described by its span d = m₊ − m₋ and the point c = m₋ + w·d, w = v₋/(v₋ + v₊), nearer to the control
    that is known better, where the errors of both are uncorrelated: Var(c) = (1 − w)²v₋ + w²v₊, Var(log|d|) = (v₋ +
    v₊)/d² (delta method). w is the run's; 1/2 where the noise is unknown.

    Args:
        plates: Controls of the P plates of one run.
        alignment: Uses min_controls and on_too_few.
        layout: Uses the nominal values.
        known: Noise that earlier plates of the run left behind, by role.

    Raises:
        UserError: A nominal value is missing or both are equal, too few controls, MAD = 0, equal medians, or one
            plate's positive controls lie on the other side of its negative controls than on the other plates; only one
            kind of control stands twice on a plate, so that the other's noise cannot be told.
    """
    low, high = _nominal_values(layout)
    negcon = control_levels(plates, "negcon", alignment, known.get("negcon"))
    poscon = control_levels(plates, "poscon", alignment, known.get("poscon"))
    _check_noise(negcon.noise, poscon.noise)
    below, above = negcon.median_variance, poscon.median_variance
    tells = np.isfinite(below + above)
    known_noise = negcon.noise.variance is not None and tells.any()
    w = float(np.median(below[tells] / (below[tells] + above[tells]))) if known_noise else 0.5
    span = np.where(tells, poscon.median - negcon.median, np.nan)
    usual = -1.0 if (span < 0).sum() > (span > 0).sum() else 1.0
    _check_directions(plates, span, usual)
    return RawFit(
        centre=np.where(tells, negcon.median + w * span, 0.0),
        centre_variance=(1.0 - w) ** 2 * below + w**2 * above,
        log_scale=np.where(tells, np.log(np.abs(span / (high - low))), 0.0),
        log_scale_variance=np.where(tells, (below + above) / span**2, np.inf),
        sign=usual * float(np.sign(high - low)),
        anchor=low + w * (high - low),
        noise={"negcon": negcon.noise, "poscon": poscon.noise},
        ends={"negcon": (negcon.median, below), "poscon": (poscon.median, above)},
        at_own_scale=True,
    )


def _check_directions(plates: Sequence[PlateControls], span: Array, usual: float) -> None:
    for plate, difference in zip(plates, span, strict=True):
        if difference * usual <= 0:
            raise UserError(
                "positive and negative controls are equal or the other way round than on the run's other plates",
                where=plate.where,
                got=f"median poscon − median negcon = {difference:g}",
                expected="a difference of the same sign on every plate",
                todo="Look for swapped controls or a turned plate; repeat the plate as its next attempt.",
            )


def _check_noise(negcon: ControlNoise, poscon: ControlNoise) -> None:
    if (negcon.variance is None) != (poscon.variance is None):
        role = "negcon" if negcon.variance is None else "poscon"
        raise UserError(
            f"the noise of {role} cannot be told: no plate of the run has two of them",
            expected="two wells on at least one plate",
            todo="Add control wells to the plates, or set alignment.method to negcon.",
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
