"""Σ_Y of measurements that are still to be made: what a new label of each perturbation would be worth."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tasks.operators.linear import Float64
from tasks.readouts.noise import NoiseModel


def measurement_noise(
    noise: NoiseModel, predicted: Float64, replicates: int, kind: Literal["continuous", "binary"]
) -> Float64:
    """Variance of a new label of each perturbation, measured as the campaign measures.

    Continuous: (σ²(ŷ) + reagents + v_p + (ŷ − anchor)²·u_p)/k + v_r, with σ² the variance of a well at the predicted
    value ŷ, v_p and u_p the mean error variances of a plate's offset and log scale (each of the k replicates stands on
    another plate), v_r that of a run, which all replicates share. Binary: p(1 − p) of a class drawn with the predicted
    probability.

    Args:
        noise: Noise of the readout.
        predicted: ŷ (N,), or probability of class 1.
        replicates: k.
        kind: Kind of the readout.

    Returns:
        (N,) [readout unit squared].
    """
    if kind == "binary":
        return predicted * (1.0 - predicted)
    offset, scale, run = (_mean(part) for part in (noise.plates, noise.scales, noise.run_variances))
    plate = offset + np.square(predicted - noise.anchor) * scale
    total: Float64 = (noise.well_variance(predicted) + noise.reagent + plate) / replicates + run
    return total


def _mean(variances: dict[str, float]) -> float:
    return float(np.mean([variances[name] for name in sorted(variances)])) if variances else 0.0
