"""Variance components of a screen: wells within plates, plates within runs, runs, reagents of one perturbation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.readouts.between_plates import Component, plate_and_run
from tasks.readouts.two_way import fit_two_way, prepare

__all__ = ["Component", "VarianceComponents", "reagent_component", "variance_components"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class VarianceComponents:
    """Components of the noise; None where the design cannot tell one.

    Attributes:
        well: Independent noise of a well, with what a plate and what is in the well held fixed.
        plate: What the wells of one plate share, within its run. Where every run has one plate: plate and run together.
        run: What the wells of one run share.
        reagent: How the reagents of one perturbation differ.
    """

    well: Component | None
    plate: Component | None
    run: Component | None
    reagent: Component | None


def variance_components(table: pd.DataFrame, value: str = "aligned") -> VarianceComponents:
    """Variance components from wells that hold the same thing: controls, or replicates of samples.

    y = content + reagent + plate + run + well. Contents (perturbation, or the kind of control) are free, so it does not
    matter which were chosen. Wells: residuals of the two-way fit. Plates and runs: iterated MINQUE on the contrasts of
    plates that the wells tell, which is REML without its bound at 0; with unbalanced counts it weights a plate by what
    it is worth. Reagents: mean squares among the reagents of a perturbation, less what the other components put there.
    Outliers: wells beyond 4 sds count as 4, beyond 6 not at all; plates beyond 3 sds of their run count as 3; a normal
    distribution is given back what that takes. Runs and reagents are too few to tell an outlier and are not clipped.

    The work grows as the cube of the number of plates, and no matrix has more than plates x plates entries.

    Args:
        table: Wells with barcode, attempt, run, role, perturbation and `value`; `reagent` where there are several.
        value: Column to analyse. Rows without a number there, and rows of role empty or other, do not count.

    Source:
        Rao 1971, Estimation of variance and covariance components: MINQUE theory; Searle, Casella & McCulloch 1992,
        Variance Components, chapters 5 (Henderson) and 11 (iterated MINQUE is REML).
    """
    wells = prepare(table, value)
    fit = fit_two_way(wells)
    if fit.df < 1:
        return VarianceComponents(None, None, None, None)
    error = fit.variance * float(np.sqrt(2.0 / fit.df))
    well = Component(fit.variance, fit.variance, fit.df, error, len(fit.residual))
    plate, run = plate_and_run(fit)
    plates = dict.fromkeys(wells["plate"], 0.0 if plate is None else plate.variance)
    runs = dict.fromkeys(wells["run"], 0.0 if run is None else run.variance)
    variances = np.full(len(wells), fit.variance)
    return VarianceComponents(well, plate, run, reagent_component(wells, variances, plates, runs))


def reagent_component(
    wells: pd.DataFrame, well_variances: Array, plates: dict[str, float], runs: dict[str, float]
) -> Component | None:
    """How the reagents of one perturbation differ, with the other components known; None without two reagents.

    Args:
        wells: As `prepare` returns them.
        well_variances: Variance of each well, (N,) [unit²].
        plates: Shared variance of each plate [unit²].
        runs: Shared variance of each run [unit²].

    Returns:
        Σ n_k(ȳ_k − ȳ)² over the reagents k of every perturbation, less its expectation without reagents, over
        Σ (n − Σ n_k²/n). Not clipped: one reagent that is off its target is what this component is about.
    """
    table = wells.assign(own=well_variances)[wells["reagent"] != ""]
    table = table[table.groupby("content")["reagent"].transform("nunique") > 1]
    if table.empty:
        return None
    by = ["content", "reagent"]
    cells = table.groupby(by).agg(n_k=("y", "size"), mean=("y", "mean"), own=("own", "mean")).reset_index()
    whole = cells.groupby("content")
    cells["n"] = whole["n_k"].transform("sum")
    centre = (cells["n_k"] * cells["mean"]).groupby(cells["content"]).transform("sum") / cells["n"]
    observed = float((cells["n_k"] * (cells["mean"] - centre) ** 2).sum())
    expected = float((cells["own"] * (1 - cells["n_k"] / cells["n"])).sum())
    for level, variances in (("plate", plates), ("run", runs)):
        expected += float((_spread(table, level) * pd.Series(variances)).dropna().sum())
    weight = float((cells["n_k"] - cells["n_k"] ** 2 / cells["n"]).sum())
    df = len(cells) - whole.ngroups
    found = (observed - expected) / weight
    error = observed / weight * float(np.sqrt(2.0 / df))
    return Component(max(found, 0.0), found, df, error, len(cells))


def _spread(table: pd.DataFrame, level: str) -> pd.Series[float]:
    """Coefficient of each plate's (or run's) variance in the squares among reagents: Σ n_kp²/n_k − (Σ_k n_kp)²/n."""
    by_cell = table.groupby(["content", "reagent", level]).size()
    among = by_cell**2 / by_cell.groupby(["content", "reagent"]).transform("sum")
    by_whole = table.groupby(["content", level]).size()
    common = by_whole**2 / by_whole.groupby("content").transform("sum")
    return among.groupby(level).sum() - common.groupby(level).sum()
