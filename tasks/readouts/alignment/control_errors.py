"""How much the controls' centres err, and whether their errors have heavy tails."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.errors import UserError
from tasks.readouts.alignment.anchors import Lines, components
from tasks.readouts.alignment.model import ControlNoise, RawFit
from tasks.readouts.alignment.request import Request
from tasks.readouts.alignment.tails import Group, fit_noise

Array = npt.NDArray[np.float64]

#: Fewer differences between tied plates than this say nothing of how much the controls err.
MIN_CONTRASTS = 5
_NAMED = 3
#: The median of more wells than this outvotes an outlier: its error is taken as normal.
_OUTVOTED = 2
#: A control whose noise vanishes beside the other's has this share of both: nothing is known without error.
_LEAST_SHARE = 0.01


@dataclass(frozen=True)
class CentreErrors:
    """Errors of the centres of a run's plates.

    Attributes:
        excess: What centres err beyond the noise of their wells [aligned unit²]; where that noise is not known, the
            variance of a well [instrument unit²].
        tail: Degrees of freedom of the errors; None: normal.
        tail_of: Whose errors have this tail: whole centres, whatever they are made of, or single wells.
        df: Differences between tied plates that told `excess`.
    """

    excess: float
    tail: float | None
    tail_of: Literal["centres", "wells"]
    df: int

    def added_to(self, raw: RawFit, scale: Array) -> RawFit:
        """The raw fit with what its centres really err; the plates' scales, (P,), matter where noise is known."""
        if raw.noise_known:
            return replace(raw, centre_variance=raw.centre_variance + self.excess * scale**2)
        return replace(
            raw,
            centre_variance=raw.centre_variance * self.excess,
            log_scale_variance=raw.log_scale_variance * self.excess,
        )

    def heavy(self, asked: Request, raw: RawFit) -> npt.NDArray[np.bool_]:
        """Plates whose centres have the tail, (P,)."""
        few = _counts(asked, raw) <= _OUTVOTED
        return np.full_like(few, True) if self.tail_of == "centres" else few

    def variances(self, asked: Request, raw: RawFit) -> Array:
        """Error variances of the centres, (P,): for t_ν errors ν/(ν − 2) times the squared scale."""
        if self.tail is None:
            return raw.centre_variance
        return np.where(self.heavy(asked, raw), self.tail / (self.tail - 2.0), 1.0) * raw.centre_variance


def errors_from_ties(asked: Request, raw: RawFit, plates: Lines) -> CentreErrors | None:
    """Errors of centres from plates that are tied to each other; None with fewer than `MIN_CONTRASTS` differences.

    Once the offsets that the ties give are taken off, the centres of tied plates differ by their errors alone, however
    much plates differ.

    Args:
        asked: Gives the ties.
        raw: Raw estimates of the P plates.
        plates: What is known of their scales.
    """
    if not asked.alignment.anchors:
        return None
    told = np.isfinite(raw.centre_variance)
    groups = []
    scale = plates.scale
    for part in components(asked.ties(plates), scale):
        here = told[part.plates]
        of, s = part.plates[here], scale[part.plates[here]]
        own, known = raw.centre_variance[of], part.variances[here]
        known, unit = (known + own, s**2) if raw.noise_known else (known, own)
        groups.append(Group((raw.centre[of] - part.offsets[here]) / s, known / s**2, unit / s**2))
    if sum(len(group.values) - 1 for group in groups) < MIN_CONTRASTS:
        return None
    found = fit_noise(groups, excess=raw.noise_known)
    if not raw.noise_known and found.variance == 0.0:
        raise UserError(
            "the controls have no spread",
            where=", ".join(plate.where for plate in asked.plates),
            expected="control wells that differ by their noise",
            todo="Look for a saturated detector or copied values.",
        )
    return CentreErrors(found.variance, found.tail, "centres", found.df)


def noise_from_ties(asked: Request, raw: RawFit) -> dict[str, ControlNoise]:
    """Noise of each kind of single controls, from plates that are tied to each other; nothing where too few are.

    How much plates truly differ in scale counts as noise of the control that lies farther from the samples.
    """
    found: dict[str, float] = {}
    for role, (medians, variances) in raw.ends.items():
        end = replace(raw, centre=np.where(np.isfinite(variances), medians, 0.0), centre_variance=variances)
        errors = errors_from_ties(asked, end, asked.lines(end, None))
        if errors is None:
            return {}
        found[role] = errors.excess
    least = _LEAST_SHARE * sum(found.values())
    return {role: ControlNoise(variance=max(variance, least), log_sd=None) for role, variance in found.items()}


def errors_from_wells(asked: Request, raw: RawFit) -> CentreErrors:
    """Without ties: what pairs of wells on a plate tell is all; their tail matters where plates have one or two."""
    if not (_counts(asked, raw) <= _OUTVOTED).any():
        return CentreErrors(0.0, None, "wells", 0)
    groups = []
    for role, noise in sorted(raw.noise.items()):
        sd = np.sqrt(noise.variance or 1.0)
        for plate in asked.plates:
            values = (plate.negcon if role == "negcon" else plate.poscon) / sd
            if len(values) > 1:
                groups.append(Group(values, np.zeros(len(values)), np.ones(len(values))))
    return CentreErrors(0.0, fit_noise(groups).tail, "wells", 0)


def untold(asked: Request) -> UserError:
    """Single controls on plates that nothing ties: their noise and the plates' differences cannot be told apart."""
    tied = bool(asked.alignment.anchors)
    return UserError(
        "the noise of the controls cannot be told: no plate of the run has two of a kind, and "
        + ("too few plates are tied to others" if tied else "nothing ties its plates to each other"),
        where=_some_plates(asked),
        expected=f"two wells on one plate at least, or {MIN_CONTRASTS} differences between tied plates",
        todo="Give repeated plates the run of the plates that they were processed with; or add control wells."
        if tied
        else "Add control wells; or set alignment.anchors to bridges (perturbations that stand on several plates) or "
        "samples.",
    )


def _some_plates(asked: Request) -> str:
    """The first plates in words, and how many more there are."""
    more = len(asked.plates) - _NAMED
    return ", ".join(plate.where for plate in asked.plates[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _counts(asked: Request, raw: RawFit) -> npt.NDArray[np.intp]:
    """Controls of the rarer kind on each plate, (P,)."""
    return np.array(
        [min(len(plate.negcon if role == "negcon" else plate.poscon) for role in raw.noise) for plate in asked.plates]
    )
