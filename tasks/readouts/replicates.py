"""Aligned wells become one label per perturbation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from tasks.campaigns.config import ReadoutSection
from tasks.errors import UserError
from tasks.readouts.noise import NoiseModel, plate_keys


def aggregate(aligned: pd.DataFrame, noise: NoiseModel, readout: ReadoutSection) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Average the wells of each perturbation, over all its plates.

    A continuous label is the mean of n wells; its variance is the independent part only, σ²/n (what its plates share
    is in Σ_Y). A binary label is 1 where the mean exceeds the threshold t. With se² = σ²/n + Σ_p w_p² s_p, s_p the
    variance shared with plate p, p = Φ((mean − t)/se) and the variance is p(1 − p); min(p, 1 − p) is the probability
    that noise has flipped the class.

    Args:
        aligned: Aligned wells of all passed plates. Wells without a value do not count.
        noise: Noise of a well and of each plate attempt.
        readout: Kind, and threshold of a binary readout [readout unit].

    Returns:
        labels (perturbation, value, n, variance, plates), by perturbation; plates are barcodes joined by `;`.
        incidence (perturbation, barcode, weight), by perturbation and plate attempt key; weights of a label sum to 1.
        Both are empty when no sample well has a value.

    Raises:
        UserError: A plate attempt of a binary readout has no noise.
    """
    samples = aligned[(aligned["role"] == "sample") & np.isfinite(aligned["aligned"].to_numpy(dtype=np.float64))]
    samples = samples.assign(plate=plate_keys(samples)).sort_values(["perturbation", "plate", "well"])
    groups = samples.groupby("perturbation")
    labels = pd.DataFrame({"value": groups["aligned"].mean(), "n": groups.size()})
    labels["variance"] = noise.well_variance / labels["n"]
    labels["plates"] = groups["barcode"].agg(lambda barcodes: ";".join(sorted(set(barcodes))))
    incidence = _incidence(samples)
    if readout.kind == "binary":
        labels = _classify(labels, incidence, noise, readout)
    return labels.reset_index(), incidence


def _incidence(samples: pd.DataFrame) -> pd.DataFrame:
    counts = samples.groupby(["perturbation", "plate"]).size().rename("weight").reset_index()
    counts["weight"] = counts["weight"] / counts.groupby("perturbation")["weight"].transform("sum")
    return counts.rename(columns={"plate": "barcode"})


def _classify(
    labels: pd.DataFrame, incidence: pd.DataFrame, noise: NoiseModel, readout: ReadoutSection
) -> pd.DataFrame:
    """Class of each perturbation, and the variance of that class."""
    threshold = readout.threshold
    if threshold is None:
        raise UserError("a binary readout needs a threshold", where="readout.threshold")
    plate_variance = noise.shared_variance(incidence["barcode"], incidence["perturbation"].map(labels["value"]))
    shared = (incidence["weight"] ** 2 * plate_variance).groupby(incidence["perturbation"]).sum()
    error = np.sqrt(labels["variance"] + shared.reindex(labels.index))
    probability = norm.cdf((labels["value"] - threshold) / error)
    value = (labels["value"] > threshold).astype("float64")
    return labels.assign(value=value, variance=probability * (1.0 - probability))
