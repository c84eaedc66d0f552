"""What an alignment is made from, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Array = npt.NDArray[np.float64]


class PlateFit(BaseModel):
    """How one plate attempt is brought onto the common scale: aligned = (value − offset) / scale.

    Attributes:
        barcode: Barcode of the plate.
        attempt: Attempt, counted from 1.
        offset: Raw value that becomes 0 [instrument unit].
        scale: Raw units per aligned unit [instrument unit / readout unit]; negative when the readout runs downwards.
        offset_variance: Error variance shared by every well of the plate, at the fit's anchor [readout unit²].
        scale_variance: Error variance of log|scale|. A well at aligned value a has the further shared error variance
            (a − anchor)²·scale_variance.
        n_negcon: Negative control wells that had a value.
        n_poscon: Positive control wells that had a value.
        shrinkage_offset: Share of the plate's own offset that was kept: 1 is not shrunk, 0 is the run's mean.
        shrinkage_scale: The same for the scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    barcode: str
    attempt: int
    offset: float
    scale: float
    offset_variance: float
    scale_variance: float
    n_negcon: int
    n_poscon: int
    shrinkage_offset: float
    shrinkage_scale: float

    @property
    def key(self) -> str:
        """Key of the plate attempt in incidence and noise tables."""
        return f"{self.barcode}.{self.attempt}"


class AlignmentFit(BaseModel):
    """The alignment of one run; stored as JSON and applied to samples unchanged.

    Attributes:
        method: Name of the alignment.
        run: Plates that were processed together.
        anchor: Aligned value at which `offset_variance` holds [readout unit].
        plates: One fit per plate attempt, by barcode and attempt.
        control_noise: Robust sd of a negative control well within its plate [readout unit].
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str
    run: str
    anchor: float
    plates: tuple[PlateFit, ...]
    control_noise: float


@dataclass(frozen=True, eq=False)
class PlateControls:
    """Finite control values of one plate attempt, sorted [instrument unit]; (n₋,) and (n₊,)."""

    barcode: str
    attempt: int
    negcon: Array
    poscon: Array

    @property
    def where(self) -> str:
        """The plate in words, for messages."""
        return f"plate {self.barcode}, attempt {self.attempt}"


@dataclass(frozen=True, eq=False)
class RawFit:
    """What a method says of each of P plates before shrinkage.

    Attributes:
        centre: Raw value that becomes `anchor`, (P,) [instrument unit].
        centre_variance: Its error variance, (P,) [instrument unit²].
        log_scale: log of raw units per aligned unit, without sign, (P,).
        log_scale_variance: Its error variance, (P,); inf where the plate says nothing about its scale.
        sign: +1 or −1, the same for every plate.
        anchor: Aligned value of the centre [readout unit].
    """

    centre: Array
    centre_variance: Array
    log_scale: Array
    log_scale_variance: Array
    sign: float
    anchor: float
