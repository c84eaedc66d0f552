"""What an alignment is made from, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Array = npt.NDArray[np.float64]


class PlateFit(BaseModel):
    """How one plate attempt is brought onto the common scale: aligned = (value − offset − row − column) / scale.

    The error of the offset has two independent parts: one of the plate's own, and one that all plates of the run have
    in common. Its variance is offset_variance + run_offset_variance (in `AlignmentFit`), its covariance with another
    plate of the run run_offset_variance.

    Attributes:
        barcode: Barcode of the plate.
        attempt: Attempt, counted from 1.
        offset: Raw value that becomes 0 [instrument unit].
        scale: Raw units per aligned unit [instrument unit / readout unit]; negative when the readout runs downwards.
        offset_variance: Error variance shared by every well of this plate and no other, at the fit's anchor
            [readout unit²].
        scale_variance: Error variance of log|scale|. A well at aligned value a has the further shared error variance
            (a − anchor)²·scale_variance.
        n_negcon: Negative control wells that had a value.
        n_poscon: Positive control wells that had a value.
        shrinkage_offset: Weight of the plate's own controls in its offset: 1 is not shrunk, 0 is what the run or its
            anchors say.
        shrinkage_scale: The same for the scale.
        row_effects: What each row adds, from row A on [instrument unit]; empty: nothing.
        column_effects: The same for columns.
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
    row_effects: tuple[float, ...] = ()
    column_effects: tuple[float, ...] = ()

    @property
    def key(self) -> str:
        """Key of the plate attempt in incidence and noise tables."""
        return f"{self.barcode}.{self.attempt}"


class RunLevel(BaseModel):
    """What a run says of a plate that has not been looked at: mean, with its error, and how plates differ.

    Attributes:
        mean: Mean over plates.
        mean_variance: Its error variance.
        between_variance: Variance between plates.
        tail: Degrees of freedom where plates differ with heavy tails (the variance is then the squared scale); None:
            normal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mean: float
    mean_variance: float
    between_variance: float
    tail: float | None = None


class ControlNoise(BaseModel):
    """Noise of one kind of control over a run.

    Attributes:
        variance: Variance of a well on a plate whose relative sd is 1 [instrument unit²]; None: no plate has two wells,
            and ties do not tell it.
        log_sd: Level of the plates' log sd [log instrument unit]; None where it was not told from several plates.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    variance: float | None
    log_sd: RunLevel | None


class RunSettings(BaseModel):
    """What a run leaves behind for its later plates.

    Attributes:
        controls: Role -> noise of that control.
        log_scale: Level of the plates' log scale.
        centre: Level of the plates' centre [instrument unit].
        excess_variance: What a plate's centre errs beyond what the noise of its control wells explains [aligned
            unit²]; where that noise is not known, the variance of a single control well [instrument unit²].
        tail: Degrees of freedom of these errors; None: normal.
        tail_of: Whose errors have that tail: whole centres, or single wells (the median of three outvotes one).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    controls: dict[str, ControlNoise]
    log_scale: RunLevel | None
    centre: RunLevel | None
    excess_variance: float
    tail: float | None
    tail_of: Literal["centres", "wells"]


class AlignmentFit(BaseModel):
    """The alignment of one run; stored as JSON and applied to samples unchanged.

    Attributes:
        method: Name of the alignment.
        run: Plates that were processed together.
        anchor: Aligned value at which `offset_variance` holds [readout unit].
        plates: One fit per plate attempt, by barcode and attempt.
        control_noise: Robust sd of a negative control well within its plate [readout unit]; None where no plate has two
            and the method does without.
        run_offset_variance: Variance of the error that the offsets of all plates of the run have in common
            [readout unit²], on top of each plate's own.
        bridges: Perturbations that stand on several plates of the run and tied these together.
        settings: What later plates of the run are fitted with; None for methods that look at each plate alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str
    run: str
    anchor: float
    plates: tuple[PlateFit, ...]
    control_noise: float | None
    run_offset_variance: float = 0.0
    bridges: int = 0
    settings: RunSettings | None = None


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
        centre_variance: Its error variance, (P,) [instrument unit²]; inf where the plate says nothing.
        log_scale: log of raw units per aligned unit, without sign, (P,).
        log_scale_variance: Its error variance, (P,); inf where the plate says nothing about its scale.
        sign: +1 or −1, the same for every plate.
        anchor: Aligned value of the centre [readout unit].
        noise: Role -> noise of that control. Where its variance is None, both error variances above are in multiples of
            the unknown variance of a control well.
        ends: Role -> medians of that control and their error variances (as above), each (P,), where one control of each
            kind tells another point of a plate's line; then anchors can tell their noise apart.
        at_own_scale: Whether `log_scale_variance` is the variance of a difference over its own square (delta method).
    """

    centre: Array
    centre_variance: Array
    log_scale: Array
    log_scale_variance: Array
    sign: float
    anchor: float
    noise: dict[str, ControlNoise]
    ends: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    at_own_scale: bool = False

    def at(self, level: float, scale: Array, scale_variance: Array) -> RawFit:
        """The same lines described at another aligned value: each goes through its centre with its scale.

        The errors of a centre there and of its scale are no longer independent; what they share is left out.

        Args:
            level: The aligned value [readout unit].
            scale: Scales that the plates will have, without sign, (P,).
            scale_variance: Error variances of their logs, (P,).
        """
        away = (level - self.anchor) * scale
        return replace(
            self,
            centre=self.centre + self.sign * away,
            centre_variance=self.centre_variance + away**2 * scale_variance,
            anchor=level,
        )

    @property
    def noise_known(self) -> bool:
        """Whether pairs of controls on one plate told how noisy they are."""
        return all(noise.variance is not None for noise in self.noise.values())
