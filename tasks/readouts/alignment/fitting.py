"""One run fitted on its controls: raw estimates → how much they err → scales → centres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tasks.errors import UserError
from tasks.readouts.alignment.anchors import Lines
from tasks.readouts.alignment.centres import first_centres, later_centres
from tasks.readouts.alignment.control_errors import (
    CentreErrors,
    errors_from_ties,
    errors_from_wells,
    noise_from_ties,
    untold,
)
from tasks.readouts.alignment.model import AlignmentFit, PlateFit, RawFit, RunLevel, RunSettings
from tasks.readouts.alignment.offsets import shared_variance
from tasks.readouts.alignment.request import Request
from tasks.readouts.alignment.shrinkage import Shrunk, settle
from tasks.readouts.alignment.told import Told
from tasks.readouts.robust import pairwise_variance

Array = npt.NDArray[np.float64]


def fit_first(asked: Request, name: str, run: str, level: float | None = None) -> AlignmentFit:
    """Fit the first plates of a run.

    Args:
        asked: The plates, and what may be looked at.
        name: Name of the method.
        run: Name of the run.
        level: Aligned value at which plates are described; None: where samples tie them, else the method's own.

    Raises:
        UserError: What the method raises; or the noise of the controls cannot be told.
    """
    raw = asked.raw({})
    if not raw.noise_known and raw.ends:
        raw = asked.raw(noise_from_ties(asked, raw))
    errors = None
    if not raw.noise_known:
        alike = asked.lines(raw, None)
        errors = errors_from_ties(asked, raw, alike)
        if errors is None:
            raise untold(asked)
        raw = errors.added_to(raw, alike.scale)
    raw = _fairly_weighted(raw, None)
    log_scale = _first_log_scales(asked, raw, errors)
    # What samples tell depends on the scales as they are, to which the shrunk ones come closest in any case.
    one_scale = None if errors is None else log_scale.level
    lines = asked.lines(raw, settle(raw.log_scale, raw.log_scale_variance, shrinkage=True, level=one_scale))
    if errors is None:
        errors = errors_from_ties(asked, raw, lines) or errors_from_wells(asked, raw)
        raw = errors.added_to(raw, lines.scale)
    centre, bridges, log_scale, level = _tied(asked, raw, errors, lines, log_scale, level)
    scale = np.exp(log_scale.values)
    run_variance = shared_variance(centre.covariance, scale)
    return AlignmentFit(
        method=name,
        run=run,
        anchor=level,
        plates=_plate_fits(asked, raw.sign, level, centre, log_scale, run_variance),
        control_noise=_control_noise(asked, raw, scale, errors),
        run_offset_variance=run_variance,
        bridges=bridges,
        settings=RunSettings(
            controls=raw.noise,
            log_scale=log_scale.level,
            centre=centre.level,
            excess_variance=errors.excess,
            tail=errors.tail,
            tail_of=errors.tail_of,
        ),
    )


def extend(asked: Request, known: AlignmentFit) -> AlignmentFit:
    """A stored fit with further plates of its run; what it holds stays as it is, bit by bit.

    Args:
        asked: The later plates, and what may be looked at.
        known: The stored fit, with settings.

    Raises:
        UserError: What the method raises; or the later plates' controls are the other way round.
    """
    settings = known.settings
    if settings is None or settings.centre is None or settings.log_scale is None:
        return _join(known, fit_first(asked, known.method, known.run, known.anchor))
    raw = _turned_as(known, asked, asked.raw(settings.controls))
    errors = CentreErrors(settings.excess_variance, settings.tail, settings.tail_of, 0)
    if not raw.noise_known:
        raw = errors.added_to(raw, np.ones(len(asked.plates)))
    raw = _fairly_weighted(raw, settings.log_scale)
    log_scale = settle(
        raw.log_scale, raw.log_scale_variance, shrinkage=asked.alignment.shrinkage, level=settings.log_scale
    )
    lines = asked.lines(raw, settle(raw.log_scale, raw.log_scale_variance, shrinkage=True, level=settings.log_scale))
    if raw.noise_known:
        raw = errors.added_to(raw, lines.scale)
    raw = raw.at(known.anchor, np.exp(log_scale.values), log_scale.variances)
    centre = later_centres(asked, raw, errors, _moved(lines, raw), known, settings.centre)
    return _with(known, _plate_fits(asked, raw.sign, known.anchor, centre, log_scale, known.run_offset_variance))


def _tied(
    asked: Request, raw: RawFit, errors: CentreErrors, lines: Lines, log_scale: Shrunk, level: float | None
) -> tuple[Shrunk, int, Shrunk, float]:
    """Centres, how many bridges tied them, scales, and the level at which the centres are."""
    tied = asked.level(raw, lines)
    scale, shared = np.exp(log_scale.values), shared_variance(log_scale.covariance, np.ones(len(asked.plates)))
    there = raw.at(tied, scale, log_scale.variances - shared)
    centre, bridges = first_centres(asked, there, errors, _moved(lines, there))
    told = Told(there, tied - raw.anchor, log_scale, shared, centre)
    level = told.level if level is None else level
    return told.centre_at(level), bridges, told.log_scale, level


def _moved(lines: Lines, raw: RawFit) -> Lines:
    """Lines of plates that are described at another level now."""
    return replace(lines, centre=np.where(np.isfinite(raw.centre_variance), raw.centre, np.nan))


def _join(known: AlignmentFit, fit: AlignmentFit) -> AlignmentFit:
    """A plate alone leaves no level behind: those that come next are fitted together, and leave theirs."""
    more = fit.run_offset_variance - known.run_offset_variance
    plates = [
        plate.model_copy(update={"offset_variance": max(0.0, plate.offset_variance + more)}) for plate in fit.plates
    ]
    return _with(known.model_copy(update={"settings": fit.settings}), plates)


def _with(known: AlignmentFit, plates: Sequence[PlateFit]) -> AlignmentFit:
    together = sorted((*known.plates, *plates), key=lambda plate: (plate.barcode, plate.attempt))
    return known.model_copy(update={"plates": tuple(together)})


def _turned_as(known: AlignmentFit, asked: Request, raw: RawFit) -> RawFit:
    """Later plates with the direction of the earlier ones, which their own controls may not contradict."""
    turned = any(plate.scale * raw.sign < 0 for plate in known.plates)
    if turned and np.isfinite(raw.log_scale_variance).any():
        raise UserError(
            "positive and negative controls are the other way round than on the run's earlier plates",
            where=", ".join(plate.where for plate in asked.plates),
            expected="a difference of the same sign on every plate",
            todo="Look for swapped controls or turned plates; repeat them as their next attempts.",
        )
    return replace(raw, sign=-raw.sign if turned else raw.sign)


def _fairly_weighted(raw: RawFit, level: RunLevel | None) -> RawFit:
    """Errors of log scales at the scales that plates have once shrunk: a span too wide by chance would seem surer."""
    if not raw.at_own_scale:
        return raw
    shrunk = settle(raw.log_scale, raw.log_scale_variance, shrinkage=True, level=level).values
    return replace(raw, log_scale_variance=raw.log_scale_variance * np.exp(2.0 * (raw.log_scale - shrunk)))


def _first_log_scales(asked: Request, raw: RawFit, errors: CentreErrors | None) -> Shrunk:
    """Log scales of the plates; where no plate has a spread of its own, the sd of a control is everyone's scale."""
    alignment = asked.alignment
    told = np.isfinite(raw.log_scale_variance)
    if errors is not None and not told.any():
        level = RunLevel(mean=float(np.log(errors.excess) / 2), mean_variance=0.5 / errors.df, between_variance=0.0)
        return settle(raw.log_scale, raw.log_scale_variance, shrinkage=True, level=level)
    if not told.all() and not alignment.shrinkage and alignment.on_too_few == "error":
        raise UserError(
            "one control well gives no scale",
            where=asked.plates[int(np.argmin(told))].where,
            expected="two wells, or alignment.shrinkage: true, which takes the run's scale",
        )
    return settle(raw.log_scale, raw.log_scale_variance, shrinkage=alignment.shrinkage)


def _plate_fits(
    asked: Request, sign: float, anchor: float, centre: Shrunk, log_scale: Shrunk, run_variance: float
) -> tuple[PlateFit, ...]:
    """The fits, with the run's common error taken out of each plate's own."""
    scale = sign * np.exp(log_scale.values)
    own = np.maximum(centre.variances / scale**2 - run_variance, 0.0)
    return tuple(
        PlateFit(
            barcode=plate.barcode,
            attempt=plate.attempt,
            offset=float(centre.values[p] - anchor * scale[p]),
            scale=float(scale[p]),
            offset_variance=float(own[p]),
            scale_variance=float(log_scale.variances[p]),
            n_negcon=len(plate.negcon),
            n_poscon=len(plate.poscon),
            shrinkage_offset=float(centre.kept[p]),
            shrinkage_scale=float(log_scale.kept[p]),
        )
        for p, plate in enumerate(asked.plates)
    )


def _control_noise(asked: Request, raw: RawFit, scale: Array, errors: CentreErrors) -> float:
    """Robust sd of a negative control well within its plate [readout unit]."""
    variance, df = pairwise_variance(plate.negcon / s for plate, s in zip(asked.plates, scale, strict=True))
    if df:
        return float(np.sqrt(variance))
    told = raw.noise["negcon"].variance
    return float(np.sqrt((errors.excess if told is None else told) / np.median(scale**2)))
