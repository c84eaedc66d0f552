"""MC dropout: one perceptron seen through masks that are drawn once and shared by all perturbations.

Its tensors are those of M perceptrons (network.py), each with its masks folded into the weights, and the encoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import DropoutSettings
from tasks.ensembles.determinism import Purpose, generator
from tasks.ensembles.ensemble import Ensemble, Part, Progress
from tasks.ensembles.folds import held_out, labels_per_epoch
from tasks.ensembles.models import Said
from tasks.ensembles.network import depth
from tasks.ensembles.perceptrons import facts_of, preparation, say, with_geometry
from tasks.ensembles.problem import pose
from tasks.ensembles.target import Target
from tasks.ensembles.training import Group
from tasks.ensembles.training_set import TrainingSet

Tensors = Mapping[str, torch.Tensor]


class Dropout:
    """One perceptron, trained with dropout, and M masks: the members.

    A mask is a function's, not a perturbation's: only then do the members' covariances between perturbations mean
    something.

    Source:
        Gal & Ghahramani, Dropout as a Bayesian approximation, 2016. Masks shared by all points: Nagpal & Knowles,
        Active learning in CNNs via expected improvement maximization, 2020, and Mehrjou et al., GeneDisco, 2022.
    """

    def fit(
        self,
        train: TrainingSet,
        target: Target,
        settings: DropoutSettings,
        seed: int,
        members: range,
        device: torch.device,
        progress: Progress | None = None,
    ) -> Part:
        """Train the network and draw the masks; mask j depends on the seed, j and the widths alone.

        All members have the same labels held out: those that the network was stopped on.

        Raises:
            UserError: Plates are to be held out and cannot be.
            NumericalError: The loss is never finite.
        """
        problem = pose(train, target, preparation(train, target, settings), device, noise_head=False)
        left_out, by = held_out(train, settings, seed, range(1))
        per_epoch = labels_per_epoch(train, settings, seed)
        rng = generator(seed, Purpose.MEMBER, 0)
        weights, history = Group(problem, left_out, per_epoch, settings, [rng]).train(progress)
        weights = {name: value.cpu() for name, value in weights.items()}
        masks = draw_masks(settings, seed, members)
        arrays = {name: value.numpy() for name, value in folded(weights, masks, settings.dropout).items()}
        arrays["held_out"] = np.repeat(left_out.astype(np.uint8), len(members), axis=0)
        epochs = history.shape[1]
        facts = {"epochs": epochs, "samples": epochs * per_epoch, "device": device.type, "held_out": by}
        return Part(arrays, history, facts)

    def join(
        self,
        train: TrainingSet,
        target: Target,
        settings: DropoutSettings,
        operators: OperatorsSection,
        seed: int,
        parts: Sequence[Part],
    ) -> Ensemble:
        """The masked networks as one ensemble, with their last-layer posterior; its history is the one network's."""
        (part,) = parts
        tensors = preparation(train, target, settings)
        tensors |= {name: torch.from_numpy(np.array(array)) for name, array in part.arrays.items()}
        tensors = with_geometry(train, target, settings, operators, seed, tensors)
        meta = {
            **facts_of(settings, noise_head=False),
            "best_epoch": [int(np.nanargmin(part.history))],
            "held_out_loss": [float(np.nanmin(part.history))],
            "held_out": part.facts["held_out"],
        }
        return Ensemble(target, tensors, part.history, meta)

    def say(self, ensemble: Ensemble, features: torch.Tensor) -> Said:
        """What the network says about (k, d) features through each of its masks."""
        return say(ensemble, features)


def draw_masks(settings: DropoutSettings, seed: int, members: range) -> list[torch.Tensor]:
    """Units that stay, (m, h) a hidden layer."""
    rngs = [generator(seed, Purpose.MASK, member) for member in members]
    return [
        torch.from_numpy(np.stack([rng.random(width) >= settings.dropout for rng in rngs])) for width in settings.hidden
    ]


def folded(weights: Tensors, masks: Sequence[torch.Tensor], rate: float) -> dict[str, torch.Tensor]:
    """Weights of M networks that compute what one network does with its activations masked and scaled.

    A unit left out gets no input and no bias: its activation is then 0, as it is for every activation that network.py
    offers. The scale 1/(1 − rate) of the units that stay goes into the next layer's weights. So it also holds where a
    residual layer adds its input: all of the sum is scaled alike.

    Args:
        weights: Of the one network: weight.l (1, in, out), bias.l (1, 1, out).
        masks: (M, h_l) units that stay, of each hidden layer.
        rate: Share that is left out.

    Returns:
        weight.l (M, in, out), bias.l (M, 1, out).
    """
    tensors: dict[str, torch.Tensor] = {}
    for layer in range(depth(weights) + 1):
        weight, bias = weights[f"weight.{layer}"], weights[f"bias.{layer}"]
        scaled = weight / (1.0 - rate) if layer else weight
        stays = masks[layer][:, None, :] if layer < len(masks) else torch.ones(len(masks[0]), 1, 1)
        tensors[f"weight.{layer}"], tensors[f"bias.{layer}"] = scaled * stays, bias * stays
    return tensors
