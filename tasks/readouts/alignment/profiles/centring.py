"""Scales and centres of the plates of one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt
from scipy.linalg import helmert

from tasks.campaigns.config import AlignmentSection
from tasks.errors import UserError
from tasks.readouts.alignment.profiles.controls import PlateProfiles, ProfileLevels, listing
from tasks.readouts.alignment.profiles.model import RunState
from tasks.readouts.alignment.profiles.settling import RunLevels, settle_features
from tasks.readouts.alignment.profiles.spread import Mixing
from tasks.readouts.robust import pairwise_variance

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scales:
    """Scales of d features on P plates.

    Attributes:
        values: Raw units per scaled unit, (P, d) [instrument units].
        variances: Error variances of their logs, (P, d).
        kept: Share of each plate's own scale, (P, d).
        spread: Shrunk sds of control wells, (P, d) [instrument units].
        unit: The common scale of all runs, (d,) [instrument units].
        levels: The run's levels of the log sds.
    """

    values: Array
    variances: Array
    kept: Array
    spread: Array
    unit: Array
    levels: RunLevels


@dataclass(frozen=True, eq=False)
class Centres:
    """Centres of d features on P plates.

    Attributes:
        values: Raw profile that becomes 0, (P, d) [instrument units].
        kept: Share of each plate's own centre, (P, d).
        covariances: Covariances of the errors between plates, (d, P, P) [aligned units²].
        levels: The run's levels of the centres: raw, or mixed.
        noise: Variance of a control well within its plate, (d,); see `RunState`.
    """

    values: Array
    kept: Array
    covariances: Array
    levels: RunLevels
    noise: Array


def fit_scales(
    levels: ProfileLevels,
    features: Sequence[str],
    alignment: AlignmentSection,
    run: RunState | None,
    unit: Array | None,
) -> Scales:
    """One scale a plate and feature, or the common one.

    Args:
        levels: Spreads of the P plates.
        features: Names of the d features.
        alignment: Uses scale and shrinkage.
        run: What the run's first plates left behind; None: these are the first.
        unit: The common scale of an earlier run; None: this run's level becomes it.

    Raises:
        UserError: Features without spread on every plate of the run.
    """
    told = np.isfinite(levels.log_sd_variance).sum(axis=0) > 0
    if run is None and not told.all():
        raise constant_features(features, told)
    known = None if run is None else run.log_scale
    shrunk = settle_features(levels.log_sd, levels.log_sd_variance, shrinkage=True, levels=known)
    unit = np.exp(shrunk.levels.mean) if unit is None else unit
    if alignment.scale == "common":
        values, nothing = np.tile(unit, (len(levels.median), 1)), np.zeros_like(levels.median)
        return Scales(values, nothing, nothing, np.exp(shrunk.values), unit, shrunk.levels)
    settled = settle_features(levels.log_sd, levels.log_sd_variance, shrinkage=alignment.shrinkage, levels=known)
    variances = np.diagonal(settled.covariances, axis1=1, axis2=2).T
    return Scales(np.exp(settled.values), variances, settled.kept, np.exp(shrunk.values), unit, settled.levels)


def plate_contrasts(plates: Sequence[PlateProfiles], levels: ProfileLevels, scale: Array) -> Array:
    """Orthonormal contrasts of the scaled controls of each plate, (N, d): n wells give n − 1 rows of mean 0."""
    rows = [
        helmert(len(plate.values)) @ ((plate.values - levels.median[p]) / scale[p])
        for p, plate in enumerate(plates)
        if np.isfinite(levels.unit_variance[p, 0]) and len(plate.values) > 1
    ]
    return np.vstack(rows)


def fit_centres(
    plates: Sequence[PlateProfiles],
    levels: ProfileLevels,
    scales: Scales,
    features: Sequence[str],
    alignment: AlignmentSection,
    run: RunState | None,
    mixing: Mixing | None,
    origin: Array,
) -> Centres:
    """The median of the controls becomes 0: of every feature, or of every mixed one.

    Args:
        plates: Controls of the P plates.
        levels: Their medians and counts.
        scales: Their scales.
        features: Names of the d features.
        alignment: Uses shrinkage.
        run: What the run's first plates left behind; None: these are the first.
        mixing: Map from scaled to mixed rows.
        origin: Values that scaled rows are counted from when they are mixed, (d,).

    Raises:
        UserError: Features whose controls are nearly all equal.
    """
    told = np.isfinite(levels.unit_variance[:, 0])
    if mixing is None:
        rows, spread, far = [plate.values for plate in plates], scales.spread, np.zeros_like(levels.median)
    else:
        # Counted from the plate's own median: a scale far below the distance to the origin costs no digits.
        base = np.where(told[:, None], levels.median, origin)
        rows = [mixing.apply((plate.values - base[p]) / scales.values[p]) for p, plate in enumerate(plates)]
        spread, far = np.ones_like(base), _each(mixing.apply, (base - origin) / scales.values)
    medians = np.zeros_like(levels.median)
    for p in np.flatnonzero(told):
        medians[p] = np.median(rows[p], axis=0)
    noise = run.noise if run is not None else _pooled([rows[p] / spread[p] for p in np.flatnonzero(told)], features)
    settled = settle_features(
        far + medians,
        levels.unit_variance * noise * spread**2,
        shrinkage=alignment.shrinkage,
        levels=None if run is None else run.centre,
    )
    if mixing is None:
        size = scales.values.T
        errors = settled.covariances / (size[:, :, None] * size[:, None, :])
        return Centres(settled.values, settled.kept, errors, settled.levels, noise)
    raw = base + scales.values * _each(mixing.undo, medians + (settled.values - (far + medians)))
    return Centres(raw, settled.kept, settled.covariances, settled.levels, noise)


def _each(function: Callable[[Array], Array], rows: Array) -> Array:
    """A map of rows, one row at a time: how many there are must not reach the bits. (P, d) -> (P, d)."""
    return np.vstack([function(row[None, :]) for row in rows])


def _pooled(groups: Sequence[Array], features: Sequence[str]) -> Array:
    """Robust variance within plates of every column, (d,)."""
    columns = range(len(features))
    noise = np.array([pairwise_variance(group[:, j] for group in groups)[0] for j in columns])
    if not (noise > 0).all():
        raise constant_features(features, noise > 0)
    return noise


def constant_features(features: Sequence[str], told: npt.NDArray[np.bool_]) -> UserError:
    """The error for features whose controls say nothing about noise anywhere in the run."""
    return UserError(
        "features without spread among the negcon wells of the whole run",
        where="readout.features",
        got=listing(compress(features, ~told)),
        expected="control wells that differ by their noise",
        todo="Leave these features out.",
    )
