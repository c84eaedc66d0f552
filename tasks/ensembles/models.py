"""The one interface of all models, and the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from tasks.campaigns.config import OperatorsSection
from tasks.ensembles.ensemble import Ensemble, Part, Progress
from tasks.ensembles.target import Target
from tasks.ensembles.training_set import TrainingSet


@dataclass(frozen=True)
class Said:
    """What M members say about k perturbations.

    Attributes:
        members: (k, M, C) prediction of each member [readout unit], or probability.
        within: (k, r) factor of the members' own posterior covariance, see `Prediction`; r = 0 without.
        noise: (k, C) variance of a readout as the model has learnt it [readout unit squared]; (k, 0) where the model
            does not learn noise.
        embedding: (k, q) what ensemble features are projected from.
        gradients: (k, g) sketched gradients by the weights, see `Prediction`; none for models without.
    """

    members: torch.Tensor
    within: torch.Tensor
    noise: torch.Tensor
    embedding: torch.Tensor
    gradients: torch.Tensor | None = None


class Model(Protocol):
    """A kind of ensemble: one module with these three functions. `settings` are the model's own class of settings.

    Which members are fitted together the settings say (`groups`), so that planning a round imports no model.
    """

    def fit(
        self,
        train: TrainingSet,
        target: Target,
        settings: Any,
        seed: int,
        members: range,
        device: torch.device,
        progress: Progress | None,
    ) -> Part:
        """Fit some members. A member's random numbers are its own: they depend on the seed and its index."""

    def join(
        self,
        train: TrainingSet,
        target: Target,
        settings: Any,
        operators: OperatorsSection,
        seed: int,
        parts: Sequence[Part],
    ) -> Ensemble:
        """All members as one ensemble; `joining.py` adds ensemble features and out-of-fold predictions."""

    def say(self, ensemble: Ensemble, features: torch.Tensor) -> Said:
        """What the members say about (k, d) features, checked already; on the device of the ensemble's tensors."""
