"""Runs of a finished screen onto one scale, one number or many a well."""

from __future__ import annotations

import pandas as pd

from tasks.readouts.alignment import AlignmentFit, apply_alignment, fit_alignment
from tasks.readouts.alignment.profiles import ProfileFit, apply_profiles, fit_profiles
from tasks.readouts.layouts import ScreenLayout
from tasks.readouts.screens.config import ScreenConfig


def align_runs(
    wells: pd.DataFrame, config: ScreenConfig, layout: ScreenLayout
) -> tuple[pd.DataFrame, list[AlignmentFit]]:
    """Align every run. With several features a well the first run, by name, gives the scale of the others.

    Args:
        wells: Table of wells of the plates that are used.
        config: Method and nominal values.
        layout: Where the control wells are.

    Returns:
        The wells with `aligned`, and with the features aligned where there are several; the fits by run, none when
        there is no plate.

    Raises:
        UserError: An alignment cannot be fitted.
    """
    if wells.empty:
        return wells.assign(aligned=pd.Series(dtype="float64")), []
    plates = config.plates.with_wells(layout.platemap)
    fits: list[AlignmentFit] = []
    tables: list[pd.DataFrame] = []
    first: ProfileFit | None = None
    for _, run in wells.groupby("run", sort=True):
        if config.readout.output is None:
            fit = fit_alignment(run, config.alignment, plates)
            tables.append(apply_alignment(run, fit))
        else:
            profiles = fit_profiles(run, config.alignment, plates, config.readout.output, first)
            first, fit = first or profiles, profiles.outcome
            tables.append(apply_profiles(run, profiles))
        fits.append(fit)
    return pd.concat(tables, ignore_index=True), fits
