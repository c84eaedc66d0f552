"""Readout noise: variance of a well, error shared by a plate, and the covariance Σ_Y of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse
from pydantic import BaseModel, ConfigDict
from scipy.stats import chi2

from tasks.errors import UserError
from tasks.readouts.alignment import AlignmentFit, PlateFit
from tasks.readouts.robust import PAIR_EFFICIENCY, pairwise_variance

Array = npt.NDArray[np.float64]

#: Degrees of freedom from which replicates tell the well variance better than the controls do.
MIN_REPLICATE_DF = 20
_FLOOR_QUANTILE = 0.99


class NoiseModel(BaseModel):
    """Noise of the aligned readout.

    Attributes:
        well_variance: Variance of one well, independent of every other well [readout unit²].
        source: What it was estimated from; negcon also when the replicates fell below the floor.
        n: Degrees of freedom of that estimate.
        floor: Lower 1% confidence limit of the negative controls' variance; no estimate goes below [readout unit²].
        plates: Plate attempt key (barcode.attempt) -> error variance of its offset, the same for all its wells
            [readout unit²].
        scales: Plate attempt key -> error variance of the log of its scale, the same for all its wells.
        anchor: Aligned value at which an error of the scale does nothing [readout unit].
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    well_variance: float
    source: Literal["replicates", "negcon"]
    n: int
    floor: float
    plates: dict[str, float]
    scales: dict[str, float]
    anchor: float

    def shared_variance(self, plates: pd.Series[str], aligned: pd.Series[float]) -> pd.Series[float]:
        """Error variance that a value shares with its plate: v_p + (a − anchor)²·u_p; rows in, rows out.

        Args:
            plates: Plate attempt keys.
            aligned: Aligned values a [readout unit], with the same index.

        Returns:
            Variances [readout unit²], v_p of the plate's offset and u_p of the log of its scale.

        Raises:
            UserError: A plate attempt is not part of the model.
        """
        unknown = sorted(set(plates) - set(self.plates))
        if unknown:
            raise UserError("plate attempt without noise", got=", ".join(unknown), expected="a plate that was aligned")
        return plates.map(self.plates) + (aligned - self.anchor) ** 2 * plates.map(self.scales)


def plate_keys(table: pd.DataFrame) -> pd.Series[str]:
    """Key barcode.attempt of the plate attempt of each row."""
    return table["barcode"].astype(str) + "." + table["attempt"].astype(str)


def estimate_noise(aligned: pd.DataFrame, fits: Sequence[AlignmentFit]) -> NoiseModel:
    """Variance components of the aligned readout.

    With at least 20 degrees of freedom the well variance comes from replicate wells of one perturbation: Σ(y − ȳ)² has
    expectation (n − 1)σ² + Σ_p s_p (n_p − n_p²/n), n_p wells on plate p with shared error variance s_p. Else it is the
    robust variance of negative controls within plates. It never falls below the lower 1% confidence limit of the
    latter: a sample well holds at least the noise of a well with vehicle.

    Args:
        aligned: Aligned wells of all runs.
        fits: The alignments of these runs.

    Raises:
        UserError: A plate attempt is in two fits or in none, the fits have different anchors, or no plate has two
            negative controls that differ.
    """
    control_variance, control_df = _control_variance(aligned)
    floor = control_variance * control_df / float(chi2.ppf(_FLOOR_QUANTILE, control_df))
    model = NoiseModel(
        well_variance=control_variance, source="negcon", n=int(control_df), floor=floor, **_plate_errors(aligned, fits)
    )
    variance, df = _replicate_variance(aligned, model)
    if df < MIN_REPLICATE_DF:
        return model
    if variance < floor:
        return model.model_copy(update={"well_variance": floor})
    return model.model_copy(update={"well_variance": variance, "source": "replicates", "n": df})


def _plate_errors(aligned: pd.DataFrame, fits: Sequence[AlignmentFit]) -> dict[str, Any]:
    """Error variances of each plate attempt's offset and scale, as fields of the noise model."""
    anchors = sorted({fit.anchor for fit in fits})
    if len(anchors) != 1:
        raise UserError("alignments do not share one scale", got=f"anchors {anchors}", expected="one alignment method")
    fitted: dict[str, PlateFit] = {}
    for plate in sorted((plate for fit in fits for plate in fit.plates), key=lambda plate: plate.key):
        if plate.key in fitted:
            raise UserError("plate attempt aligned twice", where=plate.key, expected="one alignment for each attempt")
        fitted[plate.key] = plate
    missing = sorted(set(plate_keys(aligned)) - set(fitted))
    if missing:
        raise UserError("plate without an alignment", where=", ".join(missing), expected="a fit for each plate attempt")
    offsets = {key: plate.offset_variance for key, plate in fitted.items()}
    scales = {key: plate.scale_variance for key, plate in fitted.items()}
    return {"plates": offsets, "scales": scales, "anchor": anchors[0]}


def _control_variance(aligned: pd.DataFrame) -> tuple[float, float]:
    """Robust variance of negative controls within plates, and what it is worth in degrees of freedom."""
    controls = aligned[(aligned["role"] == "negcon") & np.isfinite(aligned["aligned"].to_numpy(dtype=np.float64))]
    groups = [group.to_numpy(dtype=np.float64) for _, group in controls["aligned"].groupby(plate_keys(controls))]
    variance, df = pairwise_variance(groups)
    if not variance > 0:
        raise UserError(
            "the noise of a well cannot be told",
            got=f"{len(controls)} negcon wells on {len(groups)} plates",
            expected="a plate with two negcon wells that differ",
        )
    return variance, PAIR_EFFICIENCY * df


def _replicate_variance(aligned: pd.DataFrame, model: NoiseModel) -> tuple[float, int]:
    """Well variance from replicates of one perturbation, and its degrees of freedom; (nan, 0) without replicates."""
    samples = aligned[(aligned["role"] == "sample") & np.isfinite(aligned["aligned"].to_numpy(dtype=np.float64))]
    table = samples[["perturbation", "aligned"]].assign(plate=plate_keys(samples))
    table = table.sort_values(
        ["perturbation", "plate", "aligned"], ignore_index=True
    )  # row order must not reach the bits
    groups = table.groupby("perturbation")["aligned"]
    df = len(table) - groups.ngroups
    if df < 1:
        return float("nan"), 0
    table["mean"], table["n"] = groups.transform("mean"), groups.transform("size")
    squares = float(((table["aligned"] - table["mean"]) ** 2).sum())
    on_plate = (
        table.groupby(["perturbation", "plate"])
        .agg(n_p=("n", "size"), n=("n", "first"), mean=("mean", "first"))
        .reset_index()
    )
    shared = model.shared_variance(on_plate["plate"], on_plate["mean"])
    expected = float((shared * (on_plate["n_p"] - on_plate["n_p"] ** 2 / on_plate["n"])).sum())
    return (squares - expected) / df, df


@dataclass(frozen=True, eq=False)
class SigmaY:
    """Covariance of the noise of n labels: Σ_Y = diag(d) + W diag(v) Wᵀ; never formed densely.

    Each of P plate attempts has two errors that its wells share, of its offset and of its scale. A label's share w of a
    plate stands in the offset's column as w, in the scale's column as w·(value − anchor).

    Attributes:
        diagonal_part: d, independent noise of each label, (n,) [readout unit²].
        weights: W, sparse (n, 2P): the offsets' columns, then the scales', plates by key.
        plate_variances: v, error variances of offsets [readout unit²] and log scales, (2P,); 0 for a binary readout.
    """

    diagonal_part: Array
    weights: scipy.sparse.csr_array
    plate_variances: Array

    def matvec(self, x: Array) -> Array:
        """Σ_Y x; (n,) or (n, k) -> the same shape."""
        scale, shared = (self.diagonal_part, self.plate_variances)
        if x.ndim == 2:
            scale, shared = scale[:, None], shared[:, None]
        return np.asarray(scale * x + self.weights @ (shared * (self.weights.T @ x)))

    def diagonal(self) -> Array:
        """Total noise variance of each label, (n,) [readout unit²]."""
        return np.asarray(self.diagonal_part + self.weights.power(2) @ self.plate_variances)

    def quadratic(self, phi: Array) -> Array:
        """Φᵀ Σ_Y Φ; (n, p) -> (p, p), symmetric."""
        projected = np.asarray(self.weights.T @ phi)
        shared = projected.T @ (self.plate_variances[:, None] * projected)
        return np.asarray(phi.T @ (self.diagonal_part[:, None] * phi) + shared)


def sigma_y(
    labels: pd.DataFrame,
    incidence: pd.DataFrame,
    noise: NoiseModel,
    perturbations: Sequence[str] | None = None,
    *,
    kind: Literal["continuous", "binary"],
) -> SigmaY:
    """Σ_Y of some labels, in the order asked for.

    Args:
        labels: Table of labels.
        incidence: Share of each label that comes from each plate attempt.
        noise: Noise of the readout.
        perturbations: Rows of Σ_Y, in order; all labels when None.
        kind: Kind of the readout. A binary label has variance p(1−p), which already holds the plates' share of the
            noise, so its plate blocks are 0.

    Raises:
        UserError: A perturbation is named twice, has no label or no incidence, or a plate attempt has no noise.
    """
    wanted = list(labels["perturbation"]) if perturbations is None else list(perturbations)
    _check_origin(wanted, labels, incidence, noise)
    row = {perturbation: index for index, perturbation in enumerate(wanted)}
    ordered = labels.set_index("perturbation").loc[wanted]
    chosen = incidence[incidence["perturbation"].isin(row)]
    keys = sorted(set(chosen["barcode"]))
    rows = chosen["perturbation"].map(row).to_numpy(dtype=np.int64)
    columns = chosen["barcode"].map({key: index for index, key in enumerate(keys)}).to_numpy(dtype=np.int64)
    share = chosen["weight"].to_numpy(dtype=np.float64)
    lever = share * (ordered["value"].to_numpy(dtype=np.float64)[rows] - noise.anchor)
    weights = scipy.sparse.coo_array(
        (np.concatenate([share, lever]), (np.tile(rows, 2), np.concatenate([columns, columns + len(keys)]))),
        shape=(len(wanted), 2 * len(keys)),
    ).tocsr()
    shared = np.array([noise.plates[key] for key in keys] + [noise.scales[key] for key in keys], dtype=np.float64)
    if kind == "binary":
        shared = np.zeros_like(shared)
    return SigmaY(ordered["variance"].to_numpy(dtype=np.float64), weights, shared)


def _check_origin(wanted: list[str], labels: pd.DataFrame, incidence: pd.DataFrame, noise: NoiseModel) -> None:
    """Every perturbation is named once, has a label and stands on plates whose noise is known."""
    if len(set(wanted)) != len(wanted):
        raise UserError("perturbations named twice", where="Σ_Y", expected="each label once")
    for name, known in (("label", set(labels["perturbation"])), ("incidence", set(incidence["perturbation"]))):
        absent = [perturbation for perturbation in wanted if perturbation not in known]
        if absent:
            raise UserError(
                f"perturbations without {name}", got=", ".join(absent[:5]), expected="measured perturbations"
            )
    unknown = sorted(set(incidence["barcode"]) - set(noise.plates))
    if unknown:
        raise UserError("plate attempt without noise", got=", ".join(unknown[:5]), expected="a plate that was aligned")
