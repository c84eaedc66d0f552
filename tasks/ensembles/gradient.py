"""How the spread of an ensemble changes with the features, for strategies that move through feature space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tasks.campaigns.ensemble_settings import STEPPED
from tasks.ensembles.determinism import one_thread
from tasks.ensembles.ensemble import Ensemble
from tasks.ensembles.registry import MODELS
from tasks.errors import UserError

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class VarianceGradient:
    """Variance of the members, summed over outputs, and its gradient, at any features.

    Args:
        ensemble: Of any model but those in `STEPPED`.
        rows: Rows computed at a time. Changes nothing beyond rounding.

    Raises:
        UserError: The model has no gradient.
    """

    ensemble: Ensemble
    rows: int = 2048

    def __post_init__(self) -> None:
        model = self.ensemble.meta["model"]
        if model in STEPPED:
            raise UserError("the members have no gradient", got=model, expected="mlp, mc-dropout or gp")

    def __call__(self, features: npt.NDArray[np.floating]) -> tuple[Float64, Float64]:
        """Variance (k,) [readout unit squared] and gradient (k, d) at features (k, d) as the library gives them."""
        given = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
        with one_thread():
            parts = [self._at(part) for part in torch.split(given, self.rows)]
        variance, slope = (torch.cat(part).double().numpy() for part in zip(*parts, strict=True))
        return variance, slope

    def _at(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = features.requires_grad_()
        members = MODELS[self.ensemble.meta["model"]].say(self.ensemble, inputs).members
        variance = members.var(dim=1).sum(dim=-1)
        (slope,) = torch.autograd.grad(variance.sum(), inputs)
        return variance.detach(), slope
