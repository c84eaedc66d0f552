"""The labels as a network sees them: encoded, standardised, weighted; and the loss of each kind of readout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from tasks.ensembles.encoding import Tensors, encode
from tasks.ensembles.target import Target
from tasks.ensembles.training_set import TrainingSet

_LEAST_VARIANCE = 1e-6  # of a standardised readout, as the noise head may claim it
_BETA = 0.5
SMOOTHING = 0.05  # share of a class label that training spreads over all classes; `unsmoothed` takes it back


@dataclass(frozen=True)
class Problem:
    """What is learned.

    Attributes:
        inputs: (n, e) encoded features.
        targets: (n, T) standardised readouts, or classes.
        weights: (n, T) weights of the labels, mean 1 a column.
        variances: (n, T) variance of each standardised readout.
        target: Kind and columns of the readout.
        noise_head: The network gives C means, then C log variances.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    variances: torch.Tensor
    target: Target
    noise_head: bool = False

    @property
    def outputs(self) -> int:
        """Outputs of the network c."""
        return self.target.columns * (2 if self.noise_head else 1)

    def losses(self, predictions: torch.Tensor, rows: torch.Tensor, *, training: bool = True) -> torch.Tensor:
        """Weighted loss (m, k) of outputs (m, k, c) for the labels at rows (m, k), mean over the readout's columns."""
        targets, weights = self.targets[rows], self.weights[rows]
        if self.target.kind == "multi-class":
            flat = functional.cross_entropy(
                predictions.flatten(0, 1),
                targets[..., 0].long().flatten(),
                reduction="none",
                label_smoothing=SMOOTHING if training else 0.0,
            )
            return weights[..., 0] * flat.view(rows.shape)
        if self.target.kind == "binary":
            each = functional.binary_cross_entropy_with_logits(predictions, targets, reduction="none")
        elif self.noise_head:
            return self._noise_losses(predictions, targets, rows, training).mean(dim=-1)
        else:
            each = (predictions - targets).square()
        return (weights * each).mean(dim=-1)

    def output_bias(self) -> torch.Tensor:
        """(c,) outputs before anything is learned: the mean readout, or the logits of the base rates."""
        if self.target.kind == "continuous":
            return torch.zeros(self.outputs)
        n = len(self.targets)
        if self.target.kind == "binary":
            rate = (self.targets.sum(dim=0) + 0.5) / (n + 1)  # half a label of each class keeps one class alone finite
            return torch.log(rate / (1 - rate)).cpu()
        counts = torch.bincount(self.targets[:, 0].long(), minlength=self.target.columns)
        return torch.log((counts + 0.5) / (n + 0.5 * self.target.columns)).cpu()

    def _noise_losses(
        self, predictions: torch.Tensor, targets: torch.Tensor, rows: torch.Tensor, training: bool
    ) -> torch.Tensor:
        """Gaussian negative log likelihood; in training times variance^β, so that noisy regions still teach the mean.

        Source: Seitzer et al., On the pitfalls of heteroscedastic uncertainty estimation, ICLR 2022, eq. 5.
        """
        mean, log_variance = predictions.chunk(2, dim=-1)
        variance = log_variance.exp() + self.variances[rows] + _LEAST_VARIANCE
        loss = 0.5 * (variance.log() + (mean - targets).square() / variance)
        return loss * variance.detach() ** _BETA if training else loss


def unsmoothed(probabilities: torch.Tensor) -> torch.Tensor:
    """Probabilities (…, C) as they would be without label smoothing.

    The smoothed loss is least at q = (1 − s)·p + s/C; this gives p back, kept above a twentieth of s/C.

    Source: label smoothing: Szegedy et al., Rethinking the Inception architecture, 2016, section 7.
    """
    least = SMOOTHING / probabilities.shape[-1]
    raw = ((probabilities - least) / (1 - SMOOTHING)).clamp_min(least / 20)
    return raw / raw.sum(dim=-1, keepdim=True)


def target_scaling(train: TrainingSet, target: Target) -> dict[str, torch.Tensor]:
    """Mean and scale (C,) of the readouts; classes stay as they are."""
    if target.kind != "continuous":
        return {"target_mean": torch.zeros(target.columns), "target_scale": torch.ones(target.columns)}
    mean, sd = train.targets.mean(axis=0), train.targets.std(axis=0)
    sd = np.where(sd > 0, sd, 1.0)
    return {"target_mean": torch.from_numpy(mean).float(), "target_scale": torch.from_numpy(sd).float()}


def pose(train: TrainingSet, target: Target, tensors: Tensors, device: torch.device, *, noise_head: bool) -> Problem:
    """The labels as the networks see them, on a device.

    Labels have the weights of the training set; with a noise head the likelihood takes the variances itself.
    """
    scale = tensors["target_scale"].double().numpy()[: train.targets.shape[1]]
    mean = tensors["target_mean"].double().numpy()[: train.targets.shape[1]]
    return Problem(
        inputs=encode(tensors, torch.from_numpy(train.features)).to(device),
        targets=torch.from_numpy((train.targets - mean) / scale).float().to(device),
        weights=torch.from_numpy(train.weights / train.weights.mean(axis=0)).float().to(device),
        variances=torch.from_numpy(train.variances / scale**2).float().to(device),
        target=target,
        noise_head=noise_head,
    )
