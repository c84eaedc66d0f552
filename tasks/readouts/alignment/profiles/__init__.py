"""Profiles (several features a well) onto one scale, fitted on negative control wells only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.campaigns.config import AlignmentSection, PlatesSection
from tasks.errors import UserError
from tasks.readouts.alignment.profiles.application import apply_profiles
from tasks.readouts.alignment.profiles.centring import fit_centres, fit_scales, plate_contrasts
from tasks.readouts.alignment.profiles.controls import gather_profiles, listing, plate_levels
from tasks.readouts.alignment.profiles.coral import fit_coral
from tasks.readouts.alignment.profiles.model import ProfileFit, ProfileSettings, RunState
from tasks.readouts.alignment.profiles.negcon import fit_negcon
from tasks.readouts.alignment.profiles.outcome import extended, first_outcome
from tasks.readouts.alignment.profiles.spread import Mixing
from tasks.readouts.alignment.profiles.tvn import fit_tvn
from tasks.readouts.ingest import feature_columns
from tasks.threads import one_blas_thread

__all__ = ["PROFILE_ALIGNMENTS", "ProfileFit", "apply_profiles", "fit_profiles"]

Array = npt.NDArray[np.float64]
ProfileAlignment = Callable[[Array, AlignmentSection, Mixing | None], Mixing | None]

#: Name in the configuration -> method. A new alignment is one file and one line here.
PROFILE_ALIGNMENTS: dict[str, ProfileAlignment] = {"negcon": fit_negcon, "tvn": fit_tvn, "coral": fit_coral}


@one_blas_thread()
def fit_profiles(
    wells: pd.DataFrame,
    alignment: AlignmentSection,
    plates: PlatesSection,
    output: str,
    known: ProfileFit | None = None,
) -> ProfileFit:
    """Fit centre and scale of every feature on every plate of one run, and how the run's features are mixed.

    Args:
        wells: Table of wells of all passed plates of one run, with feature columns. Sample wells are not looked at.
        alignment: Method, scale, shrinkage, regularisation, smallest number of controls, what to do with fewer.
        plates: Not used: no method needs nominal values.
        output: The feature that labels and model are about.
        known: A stored fit. Of the same run: its plates stay as they are, bit by bit, and new ones meet its levels and
            mixing unchanged. Of another run: gives the common scale, and the covariance that coral aims at.

    Returns:
        One centre and scale a plate attempt, by barcode and attempt. Error variances include that of the run's level;
        that of the mixing is left out.

    Raises:
        UserError: No plate or several runs, unknown method, anchors, other features or settings than the known fit
            has, a control well with holes, too few controls, features without spread; names plate and features.
    """
    run, settings = _run_of(wells), _settings(alignment)
    features = _features(wells, output, settings, known)
    if known is not None and known.run == run:
        return _extend(wells, alignment, known)
    controls = gather_profiles(wells, features)
    levels = plate_levels(controls, features, alignment)
    scales = fit_scales(levels, features, alignment, None, None if known is None else known.run_state.unit)
    contrasts = plate_contrasts(controls, levels, scales.values)
    mixing = PROFILE_ALIGNMENTS[alignment.method](contrasts, alignment, None if known is None else known.mixing)
    origin = levels.median[np.isfinite(levels.unit_variance[:, 0])].mean(axis=0)
    centres = fit_centres(controls, levels, scales, features, alignment, None, mixing, origin)
    position = features.index(output)
    return ProfileFit(
        settings=settings,
        features=features,
        output=output,
        outcome=first_outcome(run, settings.method, controls, scales, centres, mixing, position),
        centre=centres.values,
        scale=scales.values,
        run_state=RunState(scales.unit, origin, centres.noise, centres.levels, scales.levels),
        mixing=mixing,
    )


def _extend(wells: pd.DataFrame, alignment: AlignmentSection, known: ProfileFit) -> ProfileFit:
    """A stored fit with the plates that it does not hold yet."""
    fitted = {(plate.barcode, plate.attempt) for plate in known.outcome.plates}
    fresh = [key not in fitted for key in zip(wells["barcode"], wells["attempt"], strict=True)]
    if not any(fresh):
        return known
    features, state = known.features, known.run_state
    controls = gather_profiles(wells[fresh], features)
    levels = plate_levels(controls, features, alignment)
    scales = fit_scales(levels, features, alignment, state, state.unit)
    centres = fit_centres(controls, levels, scales, features, alignment, state, known.mixing, state.origin)
    return extended(known, controls, scales, centres)


def _run_of(wells: pd.DataFrame) -> str:
    runs = sorted({str(run) for run in wells["run"]})
    if len(runs) != 1:
        raise UserError("an alignment is fitted to the plates of one run", got=f"runs {runs}", expected="one run")
    return runs[0]


def _settings(alignment: AlignmentSection) -> ProfileSettings:
    if alignment.method not in PROFILE_ALIGNMENTS:
        raise UserError(
            "unknown alignment of several features",
            where="alignment.method",
            got=alignment.method,
            expected=" or ".join(sorted(PROFILE_ALIGNMENTS)),
        )
    if alignment.anchors:
        raise UserError(
            "anchors are for one feature",
            where="alignment.anchors",
            got=", ".join(alignment.anchors),
            expected="none with several features",
        )
    return ProfileSettings(
        method=alignment.method,
        scale=alignment.scale,
        shrinkage=alignment.shrinkage,
        regularisation=alignment.regularisation,
    )


def _features(wells: pd.DataFrame, output: str, settings: ProfileSettings, known: ProfileFit | None) -> tuple[str, ...]:
    """Features of the fit, in the known fit's order; they, the output and the settings must be the known fit's."""
    features = tuple(feature_columns(wells))
    if output not in features:
        raise UserError("the output is not among the features", where="readout.output", got=output)
    if known is None:
        return features
    where = f"run {_run_of(wells)}, known run {known.run}"
    if set(features) != set(known.features):
        lost, new = sorted(set(known.features) - set(features)), sorted(set(features) - set(known.features))
        raise UserError(
            "the features changed",
            where=where,
            got="; ".join(f"{word} {listing(names)}" for word, names in (("without", lost), ("with", new)) if names),
            expected="the features of the known alignment",
        )
    if (settings, output) != (known.settings, known.output):
        raise UserError(
            "the alignment's settings changed",
            where=where,
            got=f"{settings}, output={output}",
            expected=f"{known.settings}, output={known.output}",
        )
    return known.features
