"""Centre and scale on the negative controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.campaigns.config import AlignmentSection, PlatesSection
from tasks.readouts.alignment.controls import control_levels
from tasks.readouts.alignment.model import ControlNoise, PlateControls, RawFit


def fit_negcon(
    plates: Sequence[PlateControls],
    alignment: AlignmentSection,
    layout: PlatesSection,
    known: Mapping[str, ControlNoise],
) -> RawFit:
    """The median negative control becomes 0, a negative control's sd (from the MAD) becomes 1.

    Args:
        plates: Controls of the P plates of one run.
        alignment: Uses min_controls and on_too_few.
        layout: Not used by this method.
        known: Noise that earlier plates of the run left behind, by role.

    Raises:
        UserError: Too few negative controls, or MAD = 0; names the plate.
    """
    levels = control_levels(plates, "negcon", alignment, known.get("negcon"))
    return RawFit(
        centre=levels.median,
        centre_variance=levels.median_variance,
        log_scale=levels.log_sd,
        log_scale_variance=levels.log_sd_variance,
        sign=1.0,
        anchor=0.0,
        noise={"negcon": levels.noise},
    )
