"""What others do with the samples of a plate, for one-off screens: robust z-scores and B-scores.

Both take a plate's samples for a random sample of the library. Where perturbations are chosen they are none, and a
plate's centre goes along with the choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.errors import NumericalError, UserError
from tasks.readouts.alignment.controls import gather_controls
from tasks.readouts.alignment.model import AlignmentFit, PlateControls, PlateFit
from tasks.readouts.robust import control_moments, mad_sd, pairwise_variance
from tasks.readouts.two_way import plate_keys

Array = npt.NDArray[np.float64]

_POLISH = 1000
_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Polished:
    """A plate as overall + row + column + residual: scalar, (rows,), (columns,), (rows, columns) with NaN as given."""

    overall: float
    rows: Array
    columns: Array
    residual: Array


SampleMethod = Callable[[Array], Polished]


def fit_plate_median(grid: Array) -> Polished:
    """The plate's median, without row and column effects. (rows, columns) -> Polished."""
    overall = float(np.nanmedian(grid))
    return Polished(overall, np.empty(0), np.empty(0), grid - overall)


def fit_b_score(grid: Array) -> Polished:
    """Tukey's two-way median polish, rows first, until nothing changes. (rows, columns) -> Polished.

    Args:
        grid: Sample values by row and column, NaN where there is none.

    Raises:
        NumericalError: The polish does not end.

    Source:
        Brideau et al. 2003, Improved statistical methods for hit selection in high-throughput screening; Tukey 1977,
        Exploratory Data Analysis.
    """
    residual, overall = grid.copy(), 0.0
    used = [np.flatnonzero(np.isfinite(grid).any(axis=axis)) for axis in (1, 0)]
    effects = [np.zeros(grid.shape[0]), np.zeros(grid.shape[1])]
    rounding = _TOLERANCE * float(np.nanmax(np.abs(grid)))
    for _ in range(_POLISH):
        change = 0.0
        for axis in (0, 1):
            median = np.zeros(grid.shape[axis])
            median[used[axis]] = np.nanmedian(residual.take(used[axis], axis), axis=1 - axis)
            residual -= median[:, None] if axis == 0 else median
            effects[axis] += median
            change = max(change, float(np.abs(median).max()))
            middle = float(np.median(effects[axis][used[axis]]))
            effects[axis][used[axis]] -= middle
            overall += middle
        if change <= rounding:
            return Polished(overall, effects[0], effects[1], residual)
    raise NumericalError(f"the median polish of a plate does not end in {_POLISH} steps")


def fit_to_samples(
    method: SampleMethod,
    wells: pd.DataFrame,
    name: str,
    run: str,
    known: AlignmentFit | None,
    exclude: frozenset[str],
) -> AlignmentFit:
    """Fit every plate to its own samples: aligned is the residual over the residuals' 1.4826·MAD.

    The error of the offset is that of the median of so many samples; errors of row and column effects, which differ
    from well to well, are left out.

    Args:
        method: What is taken off before the spread is measured.
        wells: Table of wells of one run.
        name: Name of the method.
        run: Name of the run.
        known: Stored fit of the same run, whose plates stay as they are.
        exclude: Perturbations that are not looked at.

    Raises:
        UserError: A plate has fewer than two samples with a value, or no spread among them; names it.
    """
    before = () if known is None else known.plates
    fresh = wells[~plate_keys(wells).isin({plate.key for plate in before})]
    usable = (fresh["role"] == "sample") & np.isfinite(fresh["value"].to_numpy(dtype=np.float64))
    samples = fresh[usable & ~fresh["perturbation"].isin(exclude)]
    by_plate = dict(list(samples.groupby(["barcode", "attempt"])))
    controls = gather_controls(fresh)
    fits = [_fit_plate(method, plate, by_plate.get((plate.barcode, plate.attempt), samples[:0])) for plate in controls]
    noise, df = pairwise_variance(plate.negcon / fit.scale for plate, fit in zip(controls, fits, strict=True))
    plates = tuple(sorted((*before, *fits), key=lambda plate: (plate.barcode, plate.attempt)))
    if known is not None:
        return known.model_copy(update={"plates": plates})
    return AlignmentFit(
        method=name, run=run, anchor=0.0, plates=plates, control_noise=float(np.sqrt(noise)) if df else None
    )


def _fit_plate(method: SampleMethod, plate: PlateControls, samples: pd.DataFrame) -> PlateFit:
    values = samples["value"].to_numpy(dtype=np.float64)
    if len(values) < 2:
        raise UserError("too few samples with a value", where=plate.where, got=len(values), expected="at least 2")
    rows, columns = samples["row"].to_numpy(dtype=np.intp), samples["column"].to_numpy(dtype=np.intp)
    grid = np.full((rows.max() + 1, columns.max() + 1), np.nan)
    grid[rows, columns] = values
    found = method(grid)
    residual = found.residual[rows, columns]
    scale, moments = mad_sd(residual), control_moments(len(values))
    if scale <= 1e-12 * float(np.abs(values - found.overall).max()) or scale == 0.0:
        raise UserError(
            "the samples have no spread (MAD = 0)",
            where=plate.where,
            got=f"{len(values)} wells around {found.overall:g}",
            expected="sample wells that differ",
            todo="Look for copied values; b-score needs several samples in each row and column.",
        )
    return PlateFit(
        barcode=plate.barcode,
        attempt=plate.attempt,
        offset=found.overall,
        scale=scale,
        offset_variance=moments.median_variance,
        scale_variance=moments.log_mad_variance,
        n_negcon=len(plate.negcon),
        n_poscon=len(plate.poscon),
        shrinkage_offset=1.0,
        shrinkage_scale=1.0,
        row_effects=tuple(map(float, found.rows)),
        column_effects=tuple(map(float, found.columns)),
    )
