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

    Continuous: (σ²(ŷ) + reagents + v_p + (ŷ − a_p)²·u_p)/k + v_r, with σ² the variance of a well at the predicted value
    ŷ; v_p and u_p are error variances of a plate's offset and log scale and a_p its run's anchor, averaged over the
    plates so far (each of the k replicates stands on another plate); v_r is that of a run, which all replicates share.
    Binary: p(1 − p) of a class drawn with the predicted probability.

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
    offset, run = _mean(noise.plates), _mean(noise.run_variances)
    plate = offset + _of_scales(noise, predicted)
    total: Float64 = (noise.well_variance(predicted) + noise.reagent + plate) / replicates + run
    return total


def _of_scales(noise: NoiseModel, predicted: Float64) -> Float64:
    """Mean over plates of (ŷ − a_p)²·u_p, from its three moments; (N,) -> (N,)."""
    u = np.array([noise.scales[key] for key in sorted(noise.scales)])
    if not len(u):
        return np.zeros_like(predicted)
    a = np.array([noise.anchors[noise.runs[key]] for key in sorted(noise.scales)])
    middle = float(np.median(a))
    away = predicted - middle
    squared: Float64 = away**2 * u.mean() - 2.0 * away * (u * (a - middle)).mean() + (u * (a - middle) ** 2).mean()
    return squared


def _mean(variances: dict[str, float]) -> float:
    return float(np.mean([variances[name] for name in sorted(variances)])) if variances else 0.0
