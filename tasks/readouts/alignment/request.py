"""What is to be fitted: the new plates of one run, and what the fit may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.config import AlignmentSection, PlatesSection
from tasks.readouts.alignment.anchors import Lines, Ties, sample_medians, tie_plates
from tasks.readouts.alignment.controls import gather_controls
from tasks.readouts.alignment.model import AlignmentFit, ControlNoise, PlateControls, RawFit
from tasks.readouts.alignment.shrinkage import Shrunk
from tasks.readouts.two_way import plate_keys

Array = npt.NDArray[np.float64]
Method = Callable[[Sequence[PlateControls], AlignmentSection, PlatesSection, Mapping[str, ControlNoise]], RawFit]


@dataclass(frozen=True, eq=False)
class Request:
    """One fit.

    Attributes:
        wells: Wells that anchors may look at; none where no anchors are asked for.
        plates: Controls of the P plates to fit, by barcode and attempt.
        alignment: Method, anchors, shrinkage.
        layout: Nominal values.
        exclude: Perturbations that are not looked at.
        method: Fits plates to their controls.
    """

    wells: pd.DataFrame
    plates: Sequence[PlateControls]
    alignment: AlignmentSection
    layout: PlatesSection
    exclude: frozenset[str]
    method: Method

    @property
    def keys(self) -> list[str]:
        """Keys of the plates, in their order."""
        return [f"{plate.barcode}.{plate.attempt}" for plate in self.plates]

    def raw(self, known: Mapping[str, ControlNoise]) -> RawFit:
        """What the controls of each plate say before shrinkage."""
        return self.method(self.plates, self.alignment, self.layout, known)

    def ties(self, plates: Lines) -> Ties:
        """What the anchors say of some plates."""
        rows = self.wells[plate_keys(self.wells).isin(plates.keys)]
        return tie_plates(rows, plates, self.alignment.anchors, self.exclude)

    def level(self, raw: RawFit, lines: Lines) -> float:
        """Where plates are best described: where the samples lie that tie them, if a wrong scale takes ties along.

        And if a span tells the scale. The sd of a few controls errs too much for what is told of both to be normal.
        """
        if not (raw.at_own_scale and lines.scale_variance.any() and self.ties(lines).any):
            return raw.anchor
        medians = sample_medians(self.wells, self.keys, self.exclude)
        away = (medians - lines.centre) / (raw.sign * lines.scale)
        away = away[np.isfinite(away)]
        return raw.anchor + (float(np.median(away)) if len(away) else 0.0)

    def lines(self, raw: RawFit, log_scale: Shrunk | None) -> Lines:
        """The plates before they are tied: with their best scales, or all alike where scales are not known yet."""
        centre = np.where(np.isfinite(raw.centre_variance), raw.centre, np.nan)
        if log_scale is None or not np.isfinite(raw.log_scale_variance).any():  # no scale, or one for all
            scale = np.ones(len(centre)) if log_scale is None else np.exp(log_scale.values)
            return Lines(self.keys, scale, np.zeros(len(centre)), centre)
        return Lines(self.keys, np.exp(log_scale.values), log_scale.variances, centre)


def ask(
    method: Method,
    wells: pd.DataFrame,
    alignment: AlignmentSection,
    layout: PlatesSection,
    known: AlignmentFit | None,
    exclude: frozenset[str],
) -> Request:
    """Request for the plates that a known fit does not hold. Without anchors the samples are not even handed on."""
    fitted = set() if known is None else {plate.key for plate in known.plates}
    plates = gather_controls(wells[~plate_keys(wells).isin(fitted)])
    return Request(wells if alignment.anchors else wells[:0], plates, alignment, layout, exclude, method)
