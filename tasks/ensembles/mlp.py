"""Deep ensemble: perceptrons from different starts, each stopped on other plates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import MlpSettings
from tasks.ensembles.determinism import Purpose, generator
from tasks.ensembles.ensemble import Ensemble, Part, Progress
from tasks.ensembles.folds import held_out, labels_per_epoch
from tasks.ensembles.models import Said
from tasks.ensembles.perceptrons import facts_of, preparation, say, with_geometry
from tasks.ensembles.problem import pose
from tasks.ensembles.target import Target
from tasks.ensembles.training import Group
from tasks.ensembles.training_set import TrainingSet
from tasks.errors import UserError


class Mlp:
    """M perceptrons, each from its own start, in its own order, with other labels left out.

    Source:
        Deep ensembles: Lakshminarayanan et al. 2017. Defaults of the training: Holzmüller et al. 2024.
    """

    def fit(
        self,
        train: TrainingSet,
        target: Target,
        settings: MlpSettings,
        seed: int,
        members: range,
        device: torch.device,
        progress: Progress | None = None,
    ) -> Part:
        """Train some members in batched products; each keeps the weights of the epoch with the least held-out loss.

        Raises:
            UserError: Targets of another kind; a noise head for classes; plates that cannot be held out.
            NumericalError: The loss of a member is never finite.
        """
        if settings.noise_head and target.kind != "continuous":
            raise UserError("a noise head is for continuous readouts", where="ensemble.noise_head", got=target.kind)
        problem = pose(train, target, preparation(train, target, settings), device, noise_head=settings.noise_head)
        masks, by = held_out(train, settings, seed, members)
        per_epoch = labels_per_epoch(train, settings, seed)
        rngs = [generator(seed, Purpose.MEMBER, member) for member in members]
        weights, history = Group(problem, masks, per_epoch, settings, rngs).train(progress)
        arrays = {name: value.cpu().numpy() for name, value in weights.items()}
        epochs = int(np.isfinite(history).sum(axis=1).max())
        facts = {"epochs": epochs, "samples": epochs * per_epoch * len(members), "device": device.type, "held_out": by}
        return Part(arrays | {"held_out": masks.astype(np.uint8)}, history, facts)

    def join(
        self,
        train: TrainingSet,
        target: Target,
        settings: MlpSettings,
        operators: OperatorsSection,
        seed: int,
        parts: Sequence[Part],
    ) -> Ensemble:
        """All members as one ensemble, with their last-layer posterior."""
        tensors = preparation(train, target, settings)
        for name in parts[0].arrays:
            tensors[name] = torch.from_numpy(np.concatenate([np.asarray(part.arrays[name]) for part in parts]))
        tensors = with_geometry(train, target, settings, operators, seed, tensors, noise_head=settings.noise_head)
        epochs = max(part.history.shape[1] for part in parts)
        history = np.concatenate(
            [
                np.pad(part.history, ((0, 0), (0, epochs - part.history.shape[1])), constant_values=math.nan)
                for part in parts
            ]
        )
        meta = {
            **facts_of(settings, noise_head=settings.noise_head),
            "best_epoch": [int(epoch) for epoch in np.nanargmin(history, axis=1)],
            "held_out_loss": [float(loss) for loss in np.nanmin(history, axis=1)],
            "held_out": parts[0].facts["held_out"],
        }
        return Ensemble(target, tensors, history, meta)

    def say(self, ensemble: Ensemble, features: torch.Tensor) -> Said:
        """What the members say about (k, d) features."""
        return say(ensemble, features)
