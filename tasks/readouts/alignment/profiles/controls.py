"""Control profiles of a run: gathering and checking them, and their medians and spreads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.config import AlignmentSection
from tasks.errors import UserError
from tasks.readouts.robust import MAD_TO_SD, control_moments

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlateProfiles:
    """Negative control wells of one plate attempt, by well: (n, d) [instrument units], all finite."""

    barcode: str
    attempt: int
    values: Array

    @property
    def key(self) -> tuple[str, int]:
        """Barcode and attempt."""
        return self.barcode, self.attempt

    @property
    def where(self) -> str:
        """The plate in words, for messages."""
        return f"plate {self.barcode}, attempt {self.attempt}"


@dataclass(frozen=True, eq=False)
class ProfileLevels:
    """Levels of d features on each of P plates; what a plate cannot tell is 0 with variance inf.

    Attributes:
        median: Medians, (P, d) [instrument units].
        unit_variance: Error variance of a median for wells of variance 1, (P, 1); inf: the plate has too few wells.
        log_sd: log of a well's sd from the MAD, corrected for small n, (P, d).
        log_sd_variance: Its error variance, (P, d).
    """

    median: Array
    unit_variance: Array
    log_sd: Array
    log_sd_variance: Array


def feature_values(wells: pd.DataFrame, features: Sequence[str], *, whole: bool) -> Array:
    """The features of wells, (n, d); a well without any value stays, as a row of NaN.

    Args:
        wells: Rows of the table of wells.
        features: The d features.
        whole: A well with some values but not all is an error.

    Raises:
        UserError: An infinite value, or a well with holes; names plate, well and features.
    """
    values: Array = wells[list(features)].to_numpy(dtype=np.float64)
    missing = np.isnan(values)
    bad = np.isinf(values)
    if whole:
        bad |= missing & ~missing.all(axis=1, keepdims=True)
    if bad.any():
        row = int(np.flatnonzero(bad.any(axis=1))[0])
        at = wells.iloc[row]
        raise UserError(
            "a well has features without a finite value",
            where=f"plate {at['barcode']}, attempt {at['attempt']}, well {at['well']}",
            got=listing(compress(features, bad[row])),
            expected="a number for every feature, or for none",
            todo="Exclude the well, or leave the feature out of readout.features.",
        )
    return values


def gather_profiles(wells: pd.DataFrame, features: Sequence[str]) -> list[PlateProfiles]:
    """Negative controls of each plate attempt, by barcode and attempt. Sample wells are not looked at.

    Raises:
        UserError: As `feature_values`.
    """
    controls = wells[wells["role"] == "negcon"].sort_values(["barcode", "attempt", "well"])
    values = feature_values(controls, features, whole=True)
    plate = list(zip(controls["barcode"], controls["attempt"], strict=True))
    measured = np.isfinite(values).sum(axis=1) > 0
    rows: dict[tuple[str, int], list[int]] = {}
    for index, key in enumerate(plate):
        if measured[index]:
            rows.setdefault(key, []).append(index)
    keys = sorted(set(zip(wells["barcode"], wells["attempt"], strict=True)))
    return [PlateProfiles(str(key[0]), int(key[1]), values[rows.get(key, [])]) for key in keys]


def plate_levels(
    plates: Sequence[PlateProfiles], features: Sequence[str], alignment: AlignmentSection
) -> ProfileLevels:
    """Median and spread of every feature on every plate.

    Args:
        plates: P plates of one run.
        features: Names of the d features.
        alignment: Uses min_controls, on_too_few and shrinkage.

    Raises:
        UserError: Under on_too_few: error, a plate with too few controls or features of MAD 0; names them.
    """
    shape = (len(plates), len(features))
    median, log_sd = np.zeros(shape), np.zeros(shape)
    unit_variance, log_sd_variance = np.full((len(plates), 1), np.inf), np.full(shape, np.inf)
    for p, plate in enumerate(plates):
        n = len(plate.values)
        if not _enough(plate, alignment):
            continue
        median[p] = np.median(plate.values, axis=0)
        if n == 1:
            unit_variance[p] = 1.0
            continue
        moments = control_moments(n)
        unit_variance[p] = moments.median_variance
        spread: Array = MAD_TO_SD * np.median(np.abs(plate.values - median[p]), axis=0)
        told = spread > 0.0
        if not told.all() and alignment.on_too_few == "error":
            raise UserError(
                "features without spread among the negcon wells (MAD = 0)",
                where=plate.where,
                got=listing(compress(features, ~told)),
                expected="control wells that differ by their noise",
                todo="Leave them out of readout.features, or set alignment.on_too_few to run.",
            )
        log_sd[p, told] = np.log(spread[told]) - moments.log_mad_bias
        log_sd_variance[p, told] = moments.log_mad_variance
    return ProfileLevels(median, unit_variance, log_sd, log_sd_variance)


def _enough(plate: PlateProfiles, alignment: AlignmentSection) -> bool:
    """Whether a plate's controls can speak for it; an error where they must."""
    n, needed = len(plate.values), max(1, alignment.min_controls)
    alone = n == 1 and not alignment.shrinkage and alignment.scale == "plate"
    if (n >= needed and not alone) or alignment.on_too_few == "run":
        return n >= needed
    raise UserError(
        "too few negcon wells with values",
        where=plate.where,
        got=n,
        expected=f"at least {max(2, needed) if alone else needed} (alignment.min_controls)",
        todo="Repeat the plate as its next attempt, or set alignment.on_too_few to run.",
    )


def listing(names: Iterable[str]) -> str:
    """The first five names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
