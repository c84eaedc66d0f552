"""Centres of a run's plates from their controls, from each other, and from what ties them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tasks.readouts.alignment.anchors import Component, Lines, components
from tasks.readouts.alignment.control_errors import CentreErrors
from tasks.readouts.alignment.model import AlignmentFit, RawFit, RunLevel
from tasks.readouts.alignment.offsets import Sites, meet_tied, shrink_tied, tied_only
from tasks.readouts.alignment.request import Request
from tasks.readouts.alignment.shrinkage import Shrunk, settle
from tasks.readouts.alignment.tails import Before
from tasks.readouts.alignment.units import Units, together

Array = npt.NDArray[np.float64]

_ROUNDS = 3
_FLAT = 1e6
_SURE = 1e-6


def first_centres(asked: Request, raw: RawFit, errors: CentreErrors, lines: Lines) -> tuple[Shrunk, int]:
    """Centres of the first plates of a run, and how many bridges tied them.

    Without ties and with errors that are normal this is plain shrinkage.

    Args:
        asked: Gives the ties.
        raw: Raw estimates of the P plates with their full errors.
        errors: Shape of these errors.
        lines: What is known of the plates' scales.
    """
    shrinkage, scale = asked.alignment.shrinkage, lines.scale
    ties = asked.ties(lines)
    if len(asked.plates) < 2 or not (ties.any or shrinkage):
        return settle(raw.centre, errors.variances(asked, raw), shrinkage=shrinkage), 0
    told = np.isfinite(raw.centre_variance)
    origin = float(np.median(raw.centre[told]))  # numbers near 0 keep the digits that far-away ones lose
    plain = Sites(raw.centre - origin, raw.centre_variance)
    ties = ties.counted_from(origin)
    units = Units(together(components(ties, scale), len(scale)), scale, errors.heavy(asked, raw), errors.tail)
    between = units.between(plain)
    if not ties.any and errors.tail is None and between.tail is None:
        return settle(raw.centre, raw.centre_variance, shrinkage=True), 0
    found = _shrink_robustly(plain, units, between, ties.information, ties.linear)
    if not shrinkage:
        sites = Sites(*_filled(plain, found.level))  # a plate without controls has the run's word instead
        sites, _, extra = units.as_normal(sites, [Before(0.0, np.inf, None)] * len(units.parts))
        found = _plus(replace(tied_only(sites, ties.information, ties.linear), level=found.level), extra)
        found = replace(found, kept=np.where(told, found.kept, 0.0))
    return _moved(found, origin, between.tail), ties.bridges


def _shrink_robustly(plain: Sites, units: Units, between: RunLevel, information: Array, linear: Array) -> Shrunk:
    """Shrinkage where controls may be outliers and so may plates."""
    found = shrink_tied(plain, np.ones(len(plain.values)), information, linear)
    if between.tail is None and units.tail is None:
        return found
    level = between
    for _ in range(_ROUNDS):  # what a plate is worth and the run's level depend on each other
        sites, trust, extra = units.as_normal(plain, [units.before(part, level, between.tail) for part in units.parts])
        found = shrink_tied(sites, trust, information, linear)
        level = found.level or between
    return _plus(found, extra)


def later_centres(
    asked: Request, raw: RawFit, errors: CentreErrors, lines: Lines, known: AlignmentFit, level: RunLevel
) -> Shrunk:
    """Centres of later plates; earlier ones are what they are, with the errors that they have.

    A plate that is tied to earlier ones has to lie right beside them. So the error that all plates of the run share is
    its own too, and its controls, which do not share it, err by it beside the others. Told with all plates at once,
    later controls would move the level of the run, which earlier plates cannot follow.

    Args:
        asked: Gives the ties.
        raw: Raw estimates of the later plates with their full errors.
        errors: Shape of these errors.
        lines: What is known of the later plates' scales.
        known: Fit of the earlier plates.
        level: What they left behind.
    """
    shrinkage = asked.alignment.shrinkage
    before = known.plates
    p, n = len(before), len(asked.plates)
    everyone = _with_earlier(known, lines)
    s, ties = everyone.scale, asked.ties(everyone)
    if not ties.any and (not shrinkage or (errors.tail is None and level.tail is None)):
        return settle(raw.centre, errors.variances(asked, raw), shrinkage=shrinkage, level=level)
    ties = ties.counted_from(level.mean)
    parts = together(components(ties, s), p + n)
    run = known.run_offset_variance * s**2
    shared = np.where(_tied_to_earlier(parts, p, n), run[p:], 0.0)
    own = np.array([plate.offset_variance for plate in before]) * s[:p] ** 2
    told = np.isfinite(raw.centre_variance)
    spread = np.full(n, level.between_variance + level.mean_variance)
    if not shrinkage:
        spread[told] = _FLAT * (spread[told] + raw.centre_variance[told])
    covariance = np.zeros((p + n, p + n))
    covariance[:p, :p] = np.diag(np.maximum(own, _SURE * (own + run[:p])))
    covariance[p:, p:] = np.diag(spread)
    mean = np.concatenate([everyone.centre[:p] - level.mean, np.zeros(n)])
    sites = Sites(
        np.concatenate([np.zeros(p), raw.centre - level.mean]),
        np.concatenate([np.full(p, np.inf), raw.centre_variance + shared]),
    )
    heavy = np.concatenate([np.full(p, False), errors.heavy(asked, raw)])
    units = Units(parts, s, heavy, errors.tail)
    untouched = replace(sites, variances=np.full(p + n, np.inf))
    without = meet_tied(untouched, ties.information, ties.linear, mean, covariance)
    ahead = [units.before_later(part, without, level, p, shrinkage=shrinkage) for part in units.parts]
    sites, trust, extra = units.as_normal(sites, ahead)
    covariance[p:, p:] += np.diag(level.between_variance * (1.0 / trust[p:] - 1.0))
    found = _plus(meet_tied(sites, ties.information, ties.linear, mean, covariance), extra)
    covariance = found.covariance[p:, p:] + np.sqrt(np.outer(shared, shared))
    return Shrunk(found.values[p:] + level.mean, covariance, found.kept[p:], level)


def _tied_to_earlier(parts: Sequence[Component], p: int, n: int) -> npt.NDArray[np.bool_]:
    """Which of n later plates move together with any of p earlier ones, (n,)."""
    found = np.zeros(p + n, dtype=np.bool_)
    for part in parts:
        found[part.plates] = part.plates.min() < p
    return found[p:]


def _with_earlier(known: AlignmentFit, later: Lines) -> Lines:
    """Earlier plates and later ones. Where all plates of a run have one scale, none is wrong beside another's."""
    before = known.plates
    one_scale = not later.scale_variance.any()
    return Lines(
        [*(plate.key for plate in before), *later.keys],
        np.concatenate([[abs(plate.scale) for plate in before], later.scale]),
        np.concatenate([[0.0 if one_scale else plate.scale_variance for plate in before], later.scale_variance]),
        np.concatenate([[plate.offset + known.anchor * plate.scale for plate in before], later.centre]),
    )


def _filled(sites: Sites, level: RunLevel | None) -> tuple[Array, Array]:
    told = np.isfinite(sites.variances)
    if level is None or told.all():
        return sites.values, sites.variances
    own = level.between_variance + level.mean_variance
    return np.where(told, sites.values, level.mean), np.where(told, sites.variances, own)


def _plus(found: Shrunk, extra: Array) -> Shrunk:
    return replace(found, covariance=found.covariance + extra)


def _moved(found: Shrunk, origin: float, tail: float | None) -> Shrunk:
    level = found.level
    if level is not None:
        level = level.model_copy(update={"mean": level.mean + origin, "tail": tail})
    return replace(found, values=found.values + origin, level=level)
