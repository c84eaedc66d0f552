"""The hybrid screen: a value for every perturbation of the library, measured or predicted. Format: SCHEMA.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.campaigns.config import ReadoutSection
from tasks.errors import NumericalError, UserError
from tasks.publishing.plain import plain_mapping
from tasks.stopping.audit import correct

SCHEMA_VERSION = 3
LIMITS = ("tolerance", "threshold")
COVERAGE_SDS = 1.6448536269514722  # Φ⁻¹(0.95): half-width of a central 90% interval, in standard errors
PREDICTION_COLUMNS = ("mean", "epistemic_sd", "bias_sd", "aleatoric_sd")
LABEL_COLUMNS = ("perturbation", "value", "n", "variance", "plates", "round", "audit")
SCREEN_COLUMNS = (
    "value", "source", "standard_error", "lower", "upper", "epistemic", "bias", "aleatoric", "predicted", "measured",
    "n", "round", "plates", "audit", "correct", "flags",
)  # fmt: skip
CLASS_COLUMNS = ("probability_1",)  # of a classification alone, after the others

Floats = NDArray[np.float64]


def build_screen(
    library_obs: pd.DataFrame,
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    readout: ReadoutSection,
    certificate: Mapping[str, Any],
    provenance: Mapping[str, Any],
    flags: pd.Series[str] | None = None,
) -> ad.AnnData:
    """Put measurements and predictions together into one screen, a row per perturbation in library order.

    Args:
        library_obs: (N, ...) annotation of the library, index = perturbation id. Its columns are kept after ours; one
            with a name of ours becomes `library_<name>`.
        predictions: (N, 4) index = perturbation id; mean [readout unit, or probability], epistemic_sd, bias_sd,
            aleatoric_sd (noise of one measurement) in the same unit.
        labels: One row per measured perturbation: perturbation, value, n (wells), variance (of the value), plates
            ("P1;P2"), round, audit (still hidden from training); optionally shared_variance, the part of the error
            variance that the value shares with its plates, which is added.
        readout: Kind, unit, and when a prediction counts as correct.
        certificate: The decision that the screen rests on; nested dictionaries of str, bool, int, float.
        provenance: Where the screen comes from; the same types.
        flags: (N,) what `tasks.publishing.flags.flag_rows` says, indexed by perturbation. None: no row has any.

    Returns:
        AnnData (N, 1), X = value; see SCHEMA.md.

    Raises:
        UserError: Ids that are double, missing or unknown; columns that are missing.
        NumericalError: A value that is not finite or a variance below zero.
    """
    _check_ids(library_obs, predictions, labels)
    ids = library_obs.index
    guess = predictions.reindex(ids)[list(PREDICTION_COLUMNS)].astype(np.float64)
    known = labels.set_index("perturbation").reindex(ids)
    seen = ids.isin(labels["perturbation"])
    _check_numbers(guess, labels)
    obs = _obs_table(guess, known, seen, readout)
    obs["flags"] = "" if flags is None else flags.reindex(ids).to_numpy(object)
    if readout.kind == "binary":
        obs["probability_1"] = _class_probability(obs, seen)
    for name in library_obs.columns:
        obs[_free_name(str(name), obs, library_obs)] = library_obs[name].to_numpy()
    obs.index = pd.Index(ids.astype(str), name="perturbation")
    limits = {name: [np.nan if (given := getattr(readout, name)) is None else float(given)] for name in LIMITS}
    var = pd.DataFrame({"unit": [readout.unit], "kind": [readout.kind], **limits}, index=pd.Index(["readout"]))
    uns = {
        "schema_version": SCHEMA_VERSION,
        "certificate": plain_mapping(certificate, "certificate"),
        "provenance": plain_mapping(provenance, "provenance"),
    }
    return ad.AnnData(X=obs[["value"]].to_numpy(np.float64), obs=obs, var=var, uns=uns)


def published_parts(variance: Floats, kind: str) -> Floats:
    """Epistemic variance and squared bias (N, 2) of every prediction, as published; their sum is its squared error.

    Where honest residuals tell the squared error ê of a prediction, that is the sum: the members' disagreement as far
    as ê reaches, and the rest is bias, an error that the members have in common. A binary prediction is a probability,
    whose error no class tells: it keeps the diagonals of Σ_F and Δ.

    Args:
        variance: (N, 2) diagonals of Σ_F and Δ, or (N, 3) with ê behind them [readout unit squared].
        kind: Kind of the readout.
    """
    if variance.shape[1] == 2 or kind == "binary":
        return variance[:, :2]
    epistemic = np.minimum(variance[:, 0], variance[:, 2])
    return np.stack([epistemic, variance[:, 2] - epistemic], axis=1)


def _obs_table(
    guess: pd.DataFrame, known: pd.DataFrame, seen: NDArray[np.bool_], readout: ReadoutSection
) -> pd.DataFrame:
    """Our columns of obs. The standard error is that of `value` as an estimate of the noise-free readout."""
    mean = guess["mean"].to_numpy()
    measured = known["value"].to_numpy(np.float64, na_value=np.nan)
    variance = known["variance"].to_numpy(np.float64, na_value=np.nan)
    if "shared_variance" in known:
        variance = variance + known["shared_variance"].to_numpy(np.float64, na_value=np.nan)
    reducible = np.hypot(guess["epistemic_sd"].to_numpy(), guess["bias_sd"].to_numpy())
    value = np.where(seen, measured, mean)
    error = np.where(seen, np.sqrt(variance), reducible)
    lower, upper = _interval(value, error, seen, readout.kind)
    audit = known["audit"].eq(True).to_numpy(np.bool_)
    return pd.DataFrame(
        {
            "value": value,
            "source": pd.Categorical(np.where(seen, "measured", "predicted"), categories=["measured", "predicted"]),
            "standard_error": error,
            "lower": lower,
            "upper": upper,
            "epistemic": guess["epistemic_sd"].to_numpy(),
            "bias": guess["bias_sd"].to_numpy(),
            "aleatoric": guess["aleatoric_sd"].to_numpy(),
            "predicted": mean,
            "measured": measured,
            "n": known["n"].fillna(0).to_numpy(np.int32),
            "round": known["round"].fillna(-1).to_numpy(np.int32),
            "plates": known["plates"].fillna("").astype(str).to_numpy(),
            "audit": audit,
            "correct": _correct_where(audit, mean, measured, readout),
        },
        index=guess.index,
    )


def _interval(value: Floats, error: Floats, seen: NDArray[np.bool_], kind: str) -> tuple[Floats, Floats]:
    """Central 90% interval of the noise-free readout.

    A binary measurement is a class: its 90% set is that class alone, or both classes when noise flipped it with more
    than 10% probability (variance = p(1-p)). A binary prediction is a probability: its interval stays in [0, 1].
    """
    lower, upper = value - COVERAGE_SDS * error, value + COVERAGE_SDS * error
    if kind == "continuous":
        return lower, upper
    doubtful = error**2 > 0.1 * 0.9
    class_lower, class_upper = np.where(doubtful, 0.0, value), np.where(doubtful, 1.0, value)
    return np.where(seen, class_lower, np.clip(lower, 0, 1)), np.where(seen, class_upper, np.clip(upper, 0, 1))


def _class_probability(obs: pd.DataFrame, seen: NDArray[np.bool_]) -> Floats:
    """Probability of class 1: the model's where predicted; where measured, 1 less what noise has flipped of the class.

    A measured class has variance p(1 − p), with p the probability that noise flipped it, p ≤ 1/2.
    """
    flipped = (1.0 - np.sqrt(np.clip(1.0 - 4.0 * obs["standard_error"].to_numpy() ** 2, 0.0, 1.0))) / 2.0
    value = obs["value"].to_numpy()
    return np.where(seen, np.where(value > 0.5, 1.0 - flipped, flipped), value)


def _correct_where(audit: NDArray[np.bool_], mean: Floats, measured: Floats, readout: ReadoutSection) -> Any:
    """Whether the prediction of each hidden audit member is correct; missing for everything else."""
    verdict = pd.array([pd.NA] * len(audit), dtype="boolean")
    if audit.any():
        verdict[audit] = correct(mean[audit], measured[audit], readout)
    return verdict


def _check_ids(library_obs: pd.DataFrame, predictions: pd.DataFrame, labels: pd.DataFrame) -> None:
    """Every id once, nothing missing, nothing unknown."""
    for name, table, wanted in (
        ("predictions", predictions, PREDICTION_COLUMNS),
        ("labels", labels, LABEL_COLUMNS),
    ):
        absent = [column for column in wanted if column not in table.columns]
        if absent:
            raise UserError(f"{name} lacks {', '.join(absent)}", where="screen", expected=", ".join(wanted))
    ids = library_obs.index
    groups = (("library", ids), ("predictions", predictions.index), ("labels", pd.Index(labels["perturbation"])))
    for name, index in groups:
        if index.has_duplicates:
            raise UserError("a perturbation appears twice", where=name, got=repr(index[index.duplicated()][0]))
        strange = index.difference(ids)
        if len(strange):
            raise UserError("a perturbation is not in the library", where=name, got=repr(strange[0]))
    if len(predictions) != len(ids):
        missing = ids.difference(predictions.index)
        raise UserError(
            f"{len(missing)} perturbations have no prediction",
            where="predictions",
            got=f"none for {missing[0]!r}",
            expected=f"{len(ids)} rows, one per perturbation of the library",
        )


def _check_numbers(guess: pd.DataFrame, labels: pd.DataFrame) -> None:
    """Finite means and values, sds and variances at least zero."""
    spread = [name for name in ("variance", "shared_variance") if name in labels.columns]
    tables = (("predictions", guess, ["mean"], list(PREDICTION_COLUMNS[1:])), ("labels", labels, ["value"], spread))
    for where, table, centres, spreads in tables:
        for name in centres + spreads:
            column = table[name].to_numpy(np.float64)
            bad = ~np.isfinite(column) | (column < 0 if name in spreads else False)
            if bad.any():
                raise NumericalError(
                    f"{where}: {name} of {int(bad.sum())} perturbations is no usable number, the first {column[bad][0]}"
                )


def _free_name(name: str, obs: pd.DataFrame, library_obs: pd.DataFrame) -> str:
    """The name under which a column of the library enters the screen."""
    if name not in (*SCREEN_COLUMNS, *CLASS_COLUMNS):
        return name
    free = f"library_{name}"
    if free in library_obs.columns or free in obs.columns:
        raise UserError(f"the library has both {name!r} and {free!r}", where="library", todo=f"Rename {free!r}")
    return free
