"""The noise model of a campaign, from its controls, its replicates and what the alignments say of their own error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2

from tasks.errors import UserError
from tasks.readouts.alignment import AlignmentFit, PlateFit
from tasks.readouts.between_plates import Component, plate_and_run
from tasks.readouts.noise import NoiseModel
from tasks.readouts.two_way import TwoWayFit, plate_keys, prepare
from tasks.readouts.variance_components import reagent_component, variance_components
from tasks.readouts.well_noise import MIN_REPLICATE_DF, WellNoise, replicate_noise

Array = npt.NDArray[np.float64]

#: Degrees of freedom between runs from which replicates can tell that runs differ more than alignment says.
MIN_RUN_DF = 4
_FLOOR_QUANTILE = 0.99
_EVIDENCE = 2.0


def estimate_noise(aligned: pd.DataFrame, fits: Sequence[AlignmentFit]) -> NoiseModel:
    """Variance components of the aligned readout.

    Wells: with at least 20 degrees of freedom from replicates of samples, as a function of the value (`well_noise`);
    else of negative controls within plates. Where both tell, the average does not fall below the lower 1% confidence
    limit of the controls': a sample well holds at least the noise of a well with vehicle. Where neither does, of single
    controls on plates that anchors tie, as their alignment has told it.
    Plates and runs: what the alignments say of their own error. Where replicates show more than that, by twice the
    standard error (and with 20 degrees of freedom between plates, 4 between runs), the difference is added to each.
    Reagents: where wells name them and perturbations have several.

    Args:
        aligned: Aligned wells of all runs.
        fits: The alignments of these runs.

    Raises:
        UserError: A plate attempt is in two fits or in none, the fits are of different methods, or neither replicates
            nor negative controls tell the noise of a well.
    """
    shared = _shared_errors(aligned, fits)
    wells = prepare(aligned[aligned["role"] == "sample"], "aligned")
    fit, told = replicate_noise(wells, lambda fit: _scale_excess(shared["scales"], fit))
    controls = aligned[aligned["role"] == "negcon"]
    model = NoiseModel(**_well_noise(controls, told, fit.df, fits), **shared)
    if told is not None:
        model = _with_unexplained(model, fit)
    own = model.well_variance(wells["y"])
    reagent = reagent_component(wells, own, model.plates, model.run_variances)
    return model if reagent is None else model.model_copy(update={"reagent": reagent.variance})


def _well_noise(
    controls: pd.DataFrame, told: WellNoise | None, df: int, fits: Sequence[AlignmentFit]
) -> dict[str, Any]:
    """Noise of a well, as fields of the noise model: from replicates, not below what the negative controls allow."""
    control = variance_components(controls).well
    if control is None or not control.variance > 0:
        if told is not None and told.average > 0:
            return _told(told, df, 0.0, told.variances)
        return _of_single_controls(controls, df, fits)
    floor = control.variance * control.df / float(chi2.ppf(_FLOOR_QUANTILE, control.df))
    level = float(controls["aligned"].median())
    if told is not None and told.average >= floor:
        nearest = int(np.argmin(np.abs(np.array(told.knots) - level)))
        return _told(told, df, floor, [max(v, floor) if k == nearest else v for k, v in enumerate(told.variances)])
    average = control.variance if told is None else floor
    fields = {"average": average, "knots": (level,), "variances": (average,)}
    return fields | {"source": "negcon", "n": control.df, "floor": floor}


def _of_single_controls(controls: pd.DataFrame, df: int, fits: Sequence[AlignmentFit]) -> dict[str, Any]:
    """Noise as runs with one control a plate have told it: what is left of them beside plates that samples tie."""
    single = [fit for fit in fits if fit.control_noise and controls["run"].eq(fit.run).any()]
    weights = [len(fit.plates) - 1 for fit in single]
    if not sum(weights):
        raise UserError(
            "the noise of a well cannot be told",
            got=f"{len(controls)} negcon wells and {df} degrees of freedom from replicates",
            expected=f"a plate with two negcon wells that differ, {MIN_REPLICATE_DF} degrees of freedom, or single "
            "negcon wells on plates that alignment.anchors tie",
        )
    average = float(np.average([float(fit.control_noise or 0.0) ** 2 for fit in single], weights=weights))
    fields = {"average": average, "knots": (float(controls["aligned"].median()),), "variances": (average,)}
    return fields | {"source": "negcon", "n": sum(weights), "floor": average}


def _told(told: WellNoise, df: int, floor: float, variances: Sequence[float]) -> dict[str, Any]:
    fields = {"average": told.average, "knots": told.knots, "variances": tuple(variances)}
    return fields | {"source": "replicates", "n": df, "floor": floor}


def _shared_errors(aligned: pd.DataFrame, fits: Sequence[AlignmentFit]) -> dict[str, Any]:
    """Error variances of each plate attempt's offset and scale and of each run, as fields of the noise model."""
    methods = sorted({fit.method for fit in fits})
    if len(methods) != 1:
        raise UserError("alignments do not share one scale", got=", ".join(methods), expected="one alignment method")
    fitted: dict[str, PlateFit] = {}
    runs: dict[str, str] = {}
    of_run = [(fit.run, plate) for fit in fits for plate in fit.plates]
    for run, plate in sorted(of_run, key=lambda pair: pair[1].key):
        if plate.key in fitted:
            raise UserError("plate attempt aligned twice", where=plate.key, expected="one alignment for each attempt")
        fitted[plate.key], runs[plate.key] = plate, run
    missing = sorted(set(plate_keys(aligned)) - set(fitted))
    if missing:
        raise UserError("plate without an alignment", where=", ".join(missing), expected="a fit for each plate attempt")
    return {
        "plates": {key: plate.offset_variance for key, plate in fitted.items()},
        "scales": {key: plate.scale_variance for key, plate in fitted.items()},
        "runs": runs,
        "run_variances": {fit.run: fit.run_offset_variance for fit in sorted(fits, key=lambda fit: fit.run)},
        "anchors": {fit.run: fit.anchor for fit in sorted(fits, key=lambda fit: fit.run)},
    }


def _scale_excess(variances: dict[str, float], fit: TwoWayFit) -> Array:
    """What errors of the plates' scales are expected to add to each squared residual, (N,) [readout unit²].

    The plate's part of (a − anchor)·ε is taken up by the fit; left is (a − ā_p)²·u_p, ā_p the mean value on the plate.
    """
    value = fit.level[fit.group]
    counts = np.bincount(fit.plate)
    centre = np.bincount(fit.plate, value) / counts
    scales = np.array([variances[key] for key in fit.plates])
    added = (value - centre[fit.plate]) ** 2 * scales[fit.plate]
    mean = np.bincount(fit.group, added) / np.bincount(fit.group)
    return np.asarray(mean[fit.group] * fit.free)


def _with_unexplained(model: NoiseModel, fit: TwoWayFit) -> NoiseModel:
    """The model with what replicates show between plates and between runs beyond the error of alignment."""
    plate, run = plate_and_run(fit)
    value = pd.Series(np.bincount(fit.plate, fit.level[fit.group]) / np.bincount(fit.plate))
    said = float(model.shared_variance(pd.Series(fit.plates), value).mean())
    between_plates = _unexplained(plate, said, MIN_REPLICATE_DF)
    between_runs = _unexplained(run, float(np.mean([model.run_variances[run] for run in fit.runs])), MIN_RUN_DF)
    return model.model_copy(
        update={
            "plates": {key: variance + between_plates for key, variance in model.plates.items()},
            "run_variances": {run: variance + between_runs for run, variance in model.run_variances.items()},
        }
    )


def _unexplained(found: Component | None, said: float, min_df: int) -> float:
    """What a component holds beyond what is said of it, if that is more than twice its standard error."""
    if found is None or found.df < min_df:
        return 0.0
    # The standard error if `said` were the truth: it grows with the component itself.
    error = found.standard_error + (said - found.variance) * float(np.sqrt(2.0 / found.df))
    beyond = found.variance - said
    return beyond if beyond > _EVIDENCE * max(error, 0.0) else 0.0
