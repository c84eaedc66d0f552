"""Prediction over any number of perturbations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from tasks.ensembles.determinism import one_thread
from tasks.ensembles.ensemble import Ensemble
from tasks.ensembles.leading import leading_features
from tasks.ensembles.models import Said
from tasks.ensembles.out_of_fold import LEVELS
from tasks.ensembles.prediction import Float64, Prediction
from tasks.ensembles.registry import MODELS
from tasks.errors import UserError

_NORMAL_90 = 1.6448536269514722  # half of the 90% interval of a standard normal value


def predict(ensemble: Ensemble, features: npt.NDArray[np.floating], rows: int = 2048) -> Prediction:
    """Predict perturbations from their features, a few thousand rows at a time.

    Args:
        ensemble: M members fitted on d features.
        features: (n, d).
        rows: Rows computed at a time. Changes nothing beyond rounding.

    Returns:
        The prediction, float32.

    Raises:
        UserError: Another number of features than the ensemble was fitted on, or values that are not finite.
    """
    expected = int(ensemble.meta["features"])
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
    model = MODELS[ensemble.meta["model"]]
    device = next(iter(ensemble.tensors.values())).device
    with one_thread(), torch.no_grad():
        parts: list[list[torch.Tensor]] = []
        for chunk in torch.split(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)), rows):
            said = model.say(ensemble, chunk.to(device))
            members = said.members[..., 0] if ensemble.target.columns == 1 else said.members
            leading = leading_features(ensemble.tensors, said.embedding)
            gradients = members.new_zeros(len(members), 0) if said.gradients is None else said.gradients
            parts.append([members, said.within, leading, predictive_sd(ensemble, said), gradients])
    return Prediction(*(torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True)))


def interval(ensemble: Ensemble, said: Prediction, level: float) -> tuple[Float64, Float64]:
    """Interval of a new readout, as wide as out-of-fold residuals show it must be.

    Args:
        ensemble: Of a continuous readout.
        said: Its prediction of n perturbations.
        level: One of `LEVELS`.

    Returns:
        Lower and upper end (n, C) [readout unit].

    Raises:
        UserError: The ensemble has no out-of-fold residuals, or another level is asked for.
    """
    known = ensemble.meta["intervals"]
    if known is None or level not in LEVELS:
        raise UserError("no such interval", got=level if known else ensemble.target.kind, expected=f"one of {LEVELS}")
    factors = np.asarray(known["factors"])
    half = factors[LEVELS.index(level)] / factors[LEVELS.index(0.9)] * _NORMAL_90 * said.sd.astype(np.float64)
    mean = said.per_member.mean(axis=1)
    return mean - half, mean + half


def predictive_sd(ensemble: Ensemble, said: Said) -> torch.Tensor:
    """(k, C) sd of a new readout: √(noise + spread), scaled to hold 90% of the out-of-fold residuals."""
    known = ensemble.meta["intervals"]
    if known is None:
        return said.members.new_zeros(len(said.members), 0)
    noise = said.noise if said.noise.shape[1] else said.noise.new_tensor(known["noise_variance"])
    factor = said.noise.new_tensor(known["factors"][LEVELS.index(0.9)]) / _NORMAL_90
    spread = (said.members - said.members.mean(dim=1, keepdim=True)).square().sum(dim=1) / (ensemble.members - 1)
    return factor * (noise + spread).sqrt()
