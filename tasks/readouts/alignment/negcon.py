"""Centre and scale on the negative controls."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.campaigns.config import AlignmentSection, PlatesSection
from tasks.readouts.alignment.controls import control_levels
from tasks.readouts.alignment.model import PlateControls, RawFit


def fit_negcon(plates: Sequence[PlateControls], alignment: AlignmentSection, layout: PlatesSection) -> RawFit:
    """The median negative control becomes 0, a negative control's sd (from the MAD) becomes 1.

    Args:
        plates: Controls of the P plates of one run.
        alignment: Uses min_controls.
        layout: Not used by this method.

    Raises:
        UserError: Too few negative controls, or MAD = 0; names the plate.
    """
    levels = control_levels(plates, "negcon", alignment.min_controls)
    return RawFit(
        centre=levels.median,
        centre_variance=levels.median_variance,
        log_scale=levels.log_sd,
        log_scale_variance=levels.log_sd_variance,
        sign=1.0,
        anchor=0.0,
    )
