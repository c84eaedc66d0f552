"""Aligned wells become one label per perturbation, by stages: plates, runs, reagents, perturbation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm

from tasks.campaigns.config import ReadoutSection
from tasks.errors import UserError
from tasks.readouts.noise import NoiseModel
from tasks.readouts.sigma_y import sigma_y
from tasks.readouts.two_way import plate_keys

_CELL = ["perturbation", "reagent", "run", "plate"]


class Labels(NamedTuple):
    """Labels, where they come from, and every mean on the way.

    Attributes:
        table: perturbation, value, n, variance, plates; by perturbation. plates are barcodes joined by `;`.
        incidence: perturbation, barcode (plate attempt key), weight; by both. A label's weights sum to 1.
        levels: perturbation, level, reagent, group, value, n, variance; by perturbation, from the wells up. level is
            plate, run, reagent (where there are any) or perturbation, group the plate attempt key, the run, the reagent
            or the perturbation; n wells have the mean `value`, with error `variance` (everything up to that level).
    """

    table: pd.DataFrame
    incidence: pd.DataFrame
    levels: pd.DataFrame


def aggregate(aligned: pd.DataFrame, noise: NoiseModel, readout: ReadoutSection) -> Labels:
    """Average the wells of each perturbation: within plates, over the plates of a run, over runs, over reagents.

    Wells of one plate count the same. Plates of a run, and runs, count by 1/variance: σ²/n + s_p of a plate with n
    wells and shared error variance s_p, the run's own variance on top. σ² and s_p are taken at the mean of the
    perturbation, so no well counts more for its value. Reagents count the same, as each of them is one draw of what the
    perturbation does: a reagent off its target moves the label by its share, and the reagents' variance says so.

    A continuous label's variance is the independent part only, Σ w²σ² over wells, plus the reagents' variance over
    their number (what its plates and runs share is in Σ_Y). A binary label is 1 where the mean exceeds the threshold t.
    With se² the whole variance, p = Φ((mean − t)/se) and the variance is p(1 − p); min(p, 1 − p) is the probability
    that noise has flipped the class.

    Args:
        aligned: Aligned wells of all passed plates; with a column `reagent` where there are several. Wells without a
            value do not count.
        noise: Noise of a well and of each plate attempt.
        readout: Kind, and threshold of a binary readout [readout unit].

    Returns:
        Labels; the tables are empty when no sample well has a value. In `levels` values are means of wells, of a binary
        readout too.

    Raises:
        UserError: A plate attempt has no noise, or a binary readout no threshold.
    """
    plates = _plate_means(aligned, noise)
    runs = _average(plates, _CELL[:3], 1.0 / plates["variance"])
    runs["variance"] += runs["run"].map(noise.run_variances).astype(np.float64)
    reagents = _average(runs, _CELL[:2], 1.0 / runs["variance"])
    several = reagents["reagent"] != ""
    for part in ("own", "variance"):
        reagents[part] += np.where(several, noise.reagent, 0.0)
    whole = _average(reagents, _CELL[:1], pd.Series(1.0, index=reagents.index))
    incidence = _incidence(plates, runs, reagents)
    labels = whole[["perturbation", "value", "n", "own"]].rename(columns={"own": "variance"})
    labels["plates"] = labels["perturbation"].map(_barcodes(aligned, plates)).astype(object)
    if readout.kind == "binary":
        labels = _classify(labels, incidence, noise, readout)
    named = reagents[several]
    levels = [
        plates.assign(level="plate", group=plates["plate"]),
        runs.assign(level="run", group=runs["run"]),
        named.assign(level="reagent", group=named["reagent"]),
        whole.assign(level="perturbation", reagent="", group=whole["perturbation"]),
    ]
    return Labels(labels, incidence, _levels(levels))


def _plate_means(aligned: pd.DataFrame, noise: NoiseModel) -> pd.DataFrame:
    """Mean of the wells of each perturbation and reagent on each plate, with its own and its whole error variance."""
    samples = aligned[(aligned["role"] == "sample") & np.isfinite(aligned["aligned"].to_numpy(dtype=np.float64))]
    named = samples["reagent"].fillna("").astype(str) if "reagent" in samples else ""
    samples = samples.assign(plate=plate_keys(samples), reagent=named)
    unknown = sorted(set(samples["plate"]) - set(noise.plates))
    if unknown:
        raise UserError("plate attempt without noise", got=", ".join(unknown), expected="a plate that was aligned")
    samples["run"] = samples["plate"].map(noise.runs).astype(object)
    samples = samples.sort_values([*_CELL, "well"])  # row order must not reach the bits
    means = samples.groupby(_CELL)["aligned"].agg(["mean", "size"]).reset_index()
    cells: pd.DataFrame = means.rename(columns={"mean": "value", "size": "n"})
    centre = cells["perturbation"].map(samples.groupby("perturbation")["aligned"].mean()).astype(np.float64)
    cells["own"] = noise.well_variance(centre) / cells["n"]
    shared = noise.shared_variance(cells["plate"], centre).astype(np.float64)
    cells["variance"] = cells["own"] + shared
    return cells


def _average(parts: pd.DataFrame, by: list[str], weight: pd.Series[float]) -> pd.DataFrame:
    """Weighted mean of each group, its wells and error variances; each part's weight is left in its `weight`."""
    keys = [parts[name] for name in by]
    parts["weight"] = weight / weight.groupby(keys).transform("sum")
    summed = pd.DataFrame(
        {
            "value": parts["weight"] * parts["value"],
            "n": parts["n"],
            "own": parts["weight"] ** 2 * parts["own"],
            "variance": parts["weight"] ** 2 * parts["variance"],
        }
    )
    return summed.groupby(keys).sum().reset_index()


def _incidence(plates: pd.DataFrame, runs: pd.DataFrame, reagents: pd.DataFrame) -> pd.DataFrame:
    """Share of each label that comes from each plate attempt."""
    upper = runs[[*_CELL[:3], "weight"]].merge(
        reagents[[*_CELL[:2], "weight"]], on=_CELL[:2], suffixes=("", "_reagent")
    )
    whole = plates.merge(upper, on=_CELL[:3], suffixes=("", "_run"))
    whole["weight"] = whole["weight"] * whole["weight_run"] * whole["weight_reagent"]
    shares = whole.groupby(["perturbation", "plate"])["weight"].sum().reset_index()
    return shares.rename(columns={"plate": "barcode"})


def _barcodes(aligned: pd.DataFrame, plates: pd.DataFrame) -> pd.Series[str]:
    """Barcodes of each perturbation, joined by `;`."""
    barcode = dict(zip(plate_keys(aligned), aligned["barcode"].astype(str), strict=True))
    found = plates["plate"].map(barcode).astype(object)
    return found.groupby(plates["perturbation"]).agg(lambda names: ";".join(sorted(set(names))))


def _levels(tables: list[pd.DataFrame]) -> pd.DataFrame:
    columns = ["perturbation", "level", "reagent", "group", "value", "n", "variance"]
    joined = pd.concat([table[columns] for table in tables], ignore_index=True)
    return joined.sort_values("perturbation", kind="stable", ignore_index=True)


def _classify(
    labels: pd.DataFrame, incidence: pd.DataFrame, noise: NoiseModel, readout: ReadoutSection
) -> pd.DataFrame:
    """Class of each perturbation, and the variance of that class."""
    threshold = readout.threshold
    if threshold is None:
        raise UserError("a binary readout needs a threshold", where="readout.threshold")
    error = np.sqrt(sigma_y(labels, incidence, noise, kind="continuous").diagonal())
    probability = norm.cdf((labels["value"] - threshold) / error)
    value = (labels["value"] > threshold).astype("float64")
    return labels.assign(value=value, variance=probability * (1.0 - probability))
