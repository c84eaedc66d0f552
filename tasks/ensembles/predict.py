"""Prediction over any number of perturbations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tasks.ensembles.determinism import one_thread
from tasks.ensembles.ensemble import Ensemble
from tasks.ensembles.network import output, penultimate, standardise, with_constant
from tasks.errors import UserError

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What an ensemble says about n perturbations.

    Attributes:
        members: (n, M) prediction of each member [readout unit], or probability of class 1.
        within: (n, r) factor of the members' own posterior covariance [readout unit]: within·withinᵀ sketches
            mean_m Φ_m S_m Φ_mᵀ. r = 0 when the ensemble was fitted without it.
        features: (n, p+1) leading ensemble features, the last one constant 1.
    """

    members: Float32
    within: Float32
    features: Float32

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """(n,) mean over the members."""
        mean: npt.NDArray[np.float64] = self.members.mean(axis=1, dtype=np.float64)
        return mean


def predict(ensemble: Ensemble, features: npt.NDArray[np.floating], rows: int = 4096) -> Prediction:
    """Predict perturbations from their features, a few thousand rows at a time.

    Binary: a member's posterior covariance is carried from its logit to its probability by the slope p(1 − p)
    (delta method).

    Args:
        ensemble: M members fitted on d features.
        features: (n, d).
        rows: Rows computed at a time. Changes nothing beyond rounding.

    Returns:
        The prediction, float32.

    Raises:
        UserError: Another number of features than the ensemble was fitted on, or values that are not finite.
    """
    expected = len(ensemble.tensors["feature_mean"])
    if features.ndim != 2 or features.shape[1] != expected:
        raise UserError(
            "the features do not fit the ensemble",
            where="prediction",
            got=f"shape {features.shape}",
            expected=f"(n, {expected})",
            todo="The library must keep the feature columns it had when the ensemble was fitted",
        )
    if not np.isfinite(features).all():
        row = int(np.argwhere(~np.isfinite(features).all(axis=1))[0][0])
        raise UserError("a feature is not finite", where=f"library row {row} of this chunk", expected="finite numbers")
    with one_thread(), torch.no_grad():
        chunks = torch.split(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)), rows)
        parts = [_predict_chunk(ensemble, chunk) for chunk in chunks]
    members, within, leading = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    return Prediction(members, within, leading)


def _predict_chunk(ensemble: Ensemble, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tensors = ensemble.tensors
    activations = penultimate(tensors, standardise(tensors, features))
    outputs = output(tensors, activations)
    if ensemble.kind == "binary":
        members = torch.sigmoid(outputs)
        slope = members * (1.0 - members)
    else:
        members = tensors["target_mean"] + tensors["target_scale"] * outputs
        slope = tensors["target_scale"].expand_as(outputs)
    if "posterior" in tensors:
        within = torch.einsum("mnh,mhr->nr", with_constant(activations) * slope[..., None], tensors["posterior"])
    else:
        within = outputs.new_zeros(len(features), 0)
    stacked = activations.permute(1, 0, 2).flatten(start_dim=1)
    leading = stacked @ tensors["projection"] - tensors["projection_mean"]
    return members.T, within, torch.cat([leading, torch.ones_like(leading[:, :1])], dim=1)
