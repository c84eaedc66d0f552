"""Wells as what they hold plus their plate: a robust least-squares fit, and what it leaves over.

Perturbations are free, so nothing depends on which of them were chosen or on what they do. They are absorbed: the
largest matrix has a row for each plate, never for each well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse
from scipy.stats import chi2

from tasks.errors import NumericalError
from tasks.readouts.absorbed import Absorbed, free_shares, plate_contrasts

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

#: Residuals beyond this many sds count as this many: an outlier cannot carry the variance away.
CLIP = 4.0
#: A residual beyond this many sds is no noise of a well (a bubble, a dead dispenser); the well does not count.
REJECT = 6.0
_STEPS = 1000
_TOLERANCE = 1e-7


@dataclass(frozen=True, eq=False)
class TwoWayFit:
    """y = content + plate + noise for N wells, G contents with two wells or more, on P plates.

    Attributes:
        plates: Keys of the plates, sorted, (P,).
        runs: Names of the runs, sorted, (R,).
        group: Group of each well, (N,).
        plate: Plate of each well, (N,).
        run: Run of each plate, (P,).
        residual: y − fit, (N,) [unit of y].
        free: Share 1 − h of a well's noise that its residual keeps, (N,).
        level: Mean of each group, (G,) [unit of y].
        variance: Variance of a well, averaged over the wells: Σ of clipped squared residuals over its expectation
            [unit²]; nan when df = 0.
        scale: The same with `relative` 1.
        df: Degrees of freedom of that variance.
        basis: Contrasts of plates that the wells tell, orthonormal, (P, K).
        information: Their information λ: noise adds variance/λ to a contrast, (K,).
        contrasts: The estimated plate effects on that basis, (K,) [unit of y].
    """

    plates: list[str]
    runs: list[str]
    group: Index
    plate: Index
    run: Index
    residual: Array
    free: Array
    level: Array
    variance: float
    scale: float
    df: int
    basis: Array
    information: Array
    contrasts: Array


def clipped_share(clip: float) -> float:
    """Mean of min(z², clip²) for a normal z: what clipping leaves of a normal variance."""
    return float(chi2.cdf(clip**2, 3) + clip**2 * chi2.sf(clip**2, 1))


def plate_keys(table: pd.DataFrame) -> pd.Series[str]:
    """Key barcode.attempt of the plate attempt of each row."""
    return table["barcode"].astype(str) + "." + table["attempt"].astype(str)


def prepare(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Wells with a value as columns content, reagent, plate, run, y, in an order that the rows' order cannot change."""
    known = table["role"].isin(["sample", "negcon", "poscon"]) & np.isfinite(table[value].to_numpy(dtype=np.float64))
    rows = table[known]
    sample = rows["role"] == "sample"
    reagent = rows["reagent"].fillna("").astype(str) if "reagent" in rows else pd.Series("", index=rows.index)
    wells = pd.DataFrame(
        {
            "content": rows["role"].where(~sample, "sample " + rows["perturbation"].astype(str)),
            "reagent": reagent.where(sample, ""),
            "plate": plate_keys(rows),
            "run": rows["run"].astype(str),
            "y": rows[value].astype(np.float64),
        }
    )
    return wells.sort_values(["content", "reagent", "plate", "y"], ignore_index=True)


def fit_two_way(wells: pd.DataFrame, relative: Array | None = None) -> TwoWayFit:
    """Huber's M-estimate of contents and plates, with the scale that the clipped residuals themselves give.

    Each step clips residuals at 4 sds and fits fit + clipped residual by least squares, until the scale stands still;
    what clipping takes from normal noise (0.01%) is given back. Wells that then lie beyond 6 sds are left out, once,
    and all is fitted again. This holds for up to 6% of outliers.

    Variances are `relative` times one scale: where noise depends on the value, an outlier among quiet wells must not
    hide behind noisy ones, nor noisy wells pass for outliers.

    Args:
        wells: As `prepare` returns them. Contents with a single well say nothing and are left out.
        relative: Expected variance of each well, up to a factor, (rows of wells,); equal when None.

    Returns:
        The fit, of the wells that took part; with no content twice it has no rows, df = 0.

    Raises:
        NumericalError: The scale does not settle.

    Source:
        Huber & Dutter 1974, Numerical solutions of robust regression problems (modified residuals); Huber 1981,
        Robust Statistics, section 7.8.
    """
    wells = wells.assign(relative=1.0 if relative is None else relative)
    first = _fit(wells)
    if first.df < 1 or first.scale == 0.0:
        return first
    wells = _replicated(wells)
    allowed = first.scale * wells["relative"].to_numpy(dtype=np.float64) * np.maximum(first.free, 1e-12)
    gross = first.residual**2 > REJECT**2 * allowed
    return _fit(wells[~gross]) if gross.any() else first


def _codes(names: pd.Series[str]) -> tuple[Index, list[str]]:
    """Position of each name among the sorted names, and these."""
    codes, known = pd.factorize(names.to_numpy(dtype=object), sort=True)
    return codes.astype(np.intp), [str(name) for name in known]


def _replicated(wells: pd.DataFrame) -> pd.DataFrame:
    return wells[wells.groupby(["content", "reagent"])["y"].transform("size") > 1]


def _fit(wells: pd.DataFrame) -> TwoWayFit:
    """The fit with all wells."""
    wells = _replicated(wells)
    group = wells.groupby(["content", "reagent"]).ngroup().to_numpy().astype(np.intp)
    groups = int(group.max(initial=-1)) + 1
    plate, plates = _codes(wells["plate"])
    run_of = wells.drop_duplicates("plate").set_index("plate")["run"].reindex(plates)
    run, runs = _codes(run_of)
    counts = scipy.sparse.coo_array((np.ones(len(wells)), (group, plate)), shape=(groups, len(plates))).tocsr()
    counts.sort_indices()
    basis, information = plate_contrasts(counts)
    free = free_shares(counts, basis, information)
    y = wells["y"].to_numpy(dtype=np.float64)
    df = len(wells) - groups - len(information)
    fit = Absorbed(counts, basis, information, group, plate)
    relative = wells["relative"].to_numpy(dtype=np.float64)
    residual, level, contrasts, scale = _settle(fit, y, free * relative, df)
    return TwoWayFit(
        plates,
        runs,
        group,
        plate,
        run,
        residual,
        free,
        level,
        scale * float(np.average(relative, weights=free)) if df > 0 else float("nan"),
        scale,
        df,
        basis,
        information,
        contrasts,
    )


def clipped_variance(residual: Array, free: Array, variance: float) -> float:
    """One step of the scale: Σ min(r², 4²·f·variance) over its normal expectation, f the free shares; (N,), (N,)."""
    bound = CLIP**2 * variance * free
    return float(np.minimum(residual**2, bound).sum() / (clipped_share(CLIP) * free.sum()))


def _settle(fit: Absorbed, y: Array, free: Array, df: int) -> tuple[Array, Array, Array, float]:
    """Residuals, levels, contrasts and variance when clipping and scale agree."""
    fitted, level, contrasts = fit.solve(y)
    residual = y - fitted
    if df < 1:
        return residual, level, contrasts, float("nan")
    variance = float(residual @ residual) / df
    rounding = 1e-24 * float(y @ y) / len(y)
    for _ in range(_STEPS):
        if variance <= rounding:
            return residual, level, contrasts, 0.0
        bound = CLIP * np.sqrt(variance * free)
        fitted, level, contrasts = fit.solve(fitted + np.clip(residual, -bound, bound))
        residual = y - fitted
        before, variance = variance, clipped_variance(residual, free, variance)
        if abs(variance - before) <= _TOLERANCE * before:
            return residual, level, contrasts, variance
    raise NumericalError(f"the variance of a well does not settle in {_STEPS} steps; last {before:g}, {variance:g}")
