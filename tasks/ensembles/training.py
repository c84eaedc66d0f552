"""The training loop: a few members at once in batched products, AdamW, and the best epoch of each member."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from tasks.campaigns.ensemble_settings import NetworkSettings
from tasks.ensembles.ensemble import Progress
from tasks.ensembles.network import Shape, initial_weights, output, penultimate
from tasks.ensembles.problem import Problem
from tasks.errors import NumericalError

Weights = dict[str, torch.Tensor]

_BETAS = (0.9, 0.95)
_GAIN_RATE, _BIAS_RATE = 6.0, 0.1  # of the weights' learning rate
_ROWS = 4096  # held-out labels predicted at a time


def batch_size(labels: int, settings: NetworkSettings) -> int:
    """Labels a gradient step: as configured, or the power of two nearest to 1.6·√n between 16 and 1024."""
    if settings.batch_size is not None:
        return settings.batch_size
    return int(np.clip(2 ** round(math.log2(1.6 * math.sqrt(labels))), 16, 1024))


class Group:
    """A few members in training.

    Args:
        problem: n labels, on the device to train on.
        held_out: (m, n) labels that each member is stopped on.
        per_epoch: Labels a member sees in an epoch; the same for all members of an ensemble, so that a member does not
            depend on whom it is grouped with.
        settings: Sizes and schedule.
        rngs: A generator a member.
    """

    def __init__(
        self,
        problem: Problem,
        held_out: npt.NDArray[np.bool_],
        per_epoch: int,
        settings: NetworkSettings,
        rngs: list[np.random.Generator],
    ) -> None:
        self.problem, self.settings, self.rngs, self.per_epoch = problem, settings, rngs, per_epoch
        self.device = problem.inputs.device
        self.shape = Shape(settings.activation, settings.residual)
        self.kept = [self._labels(~mask, rng) for mask, rng in zip(held_out, rngs, strict=True)]
        self.stop_rows, self.stop_weights = self._stop_on(held_out)
        width = problem.inputs.shape[1]
        layers = (width, *settings.hidden, problem.outputs)
        start = initial_weights(layers, problem.output_bias(), rngs, random_bias=settings.layer_rates)
        self.weights = {name: value.to(self.device) for name, value in start.items()}
        if settings.layer_rates:
            self.weights["gain"] = torch.ones(len(rngs), 1, width, device=self.device)
        self.steps = math.ceil(per_epoch / batch_size(len(problem.targets), settings))
        self.optimiser, self.rates = self._optimiser()
        self.step = 0

    def train(self, progress: Progress | None = None) -> tuple[Weights, npt.NDArray[np.float64]]:
        """Weights of each member's best epoch, and the held-out losses (m, epochs run), NaN after a member stopped.

        Raises:
            NumericalError: The held-out loss of a member is never finite.
        """
        patience = self.settings.patience or self.settings.epochs
        best = {name: value.detach().clone() for name, value in self.weights.items()}
        best_loss = torch.full((len(self.rngs),), math.inf)
        waited = torch.zeros(len(self.rngs), dtype=torch.long)
        history: list[npt.NDArray[np.float64]] = []
        while len(history) < self.settings.epochs and bool((waited < patience).any()):
            self._epoch()
            loss = torch.where(waited < patience, self.held_out_loss().cpu(), torch.nan)
            history.append(loss.double().numpy())
            better = loss < best_loss  # a comparison with NaN is false: a stopped member keeps its best
            best_loss = torch.where(better, loss, best_loss)
            waited = torch.where(better, 0, waited + 1)
            for name, value in self.weights.items():
                best[name][better.to(self.device)] = value.detach()[better.to(self.device)]
            if progress is not None:
                progress(len(history), self.settings.epochs)
        if progress is not None:
            progress(self.settings.epochs, self.settings.epochs)
        losses = np.stack(history, axis=1)
        failed = np.flatnonzero(~np.isfinite(losses).any(axis=1))
        if len(failed):
            raise NumericalError(
                f"held-out loss of {len(failed)} of {len(self.rngs)} members never finite; lower ensemble.learning_rate"
            )
        return _fold_gain(best), losses

    @torch.no_grad()
    def held_out_loss(self) -> torch.Tensor:
        """(m,) weighted mean loss of each member over the labels that it is stopped on."""
        total = torch.zeros(len(self.rngs), device=self.device)
        for start in range(0, self.stop_rows.shape[1], _ROWS):
            rows, counts = self.stop_rows[:, start : start + _ROWS], self.stop_weights[:, start : start + _ROWS]
            total += (counts * self.problem.losses(self._forward(rows), rows, training=False)).sum(dim=1)
        weights = self.problem.weights[self.stop_rows].mean(dim=-1)
        return total / (self.stop_weights * weights).sum(dim=1)

    def _epoch(self) -> None:
        order = torch.from_numpy(np.stack([self._order(*pair) for pair in zip(self.kept, self.rngs, strict=True)]))
        drop = self._dropout() if self.settings.dropout else None
        mixed = self.settings.precision == "mixed"
        for rows in torch.tensor_split(order.to(self.device), self.steps, dim=1):
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed):
                predictions = self._forward(rows, drop)
            losses = self.problem.losses(predictions.float(), rows)
            self.optimiser.zero_grad()
            # A sum over members: no member's gradient depends on another.
            torch.autograd.backward(losses.mean(dim=1).sum())
            self._clip_gradients()
            self._set_rates()
            self.optimiser.step()
            self.step += 1

    def _forward(self, rows: torch.Tensor, drop: Callable[[torch.Tensor], torch.Tensor] | None = None) -> torch.Tensor:
        inputs = self.problem.inputs.index_select(0, rows.flatten()).view(*rows.shape, -1)
        weights = _fold_gain(self.weights)
        return output(weights, penultimate(weights, inputs, self.shape, drop))

    def _labels(self, kept: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.int64]:
        rows = np.flatnonzero(kept)
        return rng.choice(rows, size=len(rows)) if self.settings.bootstrap else rows

    def _order(self, labels: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """A member's labels of one epoch: its own in random order, the first ones again where it has fewer."""
        return np.resize(rng.permutation(labels), self.per_epoch)

    def _stop_on(self, held_out: npt.NDArray[np.bool_]) -> tuple[torch.Tensor, torch.Tensor]:
        """Held-out labels (m, k), filled up with label 0 at weight 0 where a member has fewer than k."""
        rows = np.zeros((len(held_out), held_out.sum(axis=1).max()), dtype=np.int64)
        weights = np.zeros(rows.shape, dtype=np.float32)
        for member, mask in enumerate(held_out):
            outside = np.flatnonzero(mask)
            rows[member, : len(outside)], weights[member, : len(outside)] = outside, 1.0
        return torch.from_numpy(rows).to(self.device), torch.from_numpy(weights).to(self.device)

    def _dropout(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Leaves out activations by each member's own random numbers."""
        keep = 1.0 - self.settings.dropout
        generators = [torch.Generator(self.device).manual_seed(int(rng.integers(2**63))) for rng in self.rngs]

        def drop(values: torch.Tensor) -> torch.Tensor:
            draws = [torch.rand(values.shape[1:], generator=one, device=self.device) for one in generators]
            return values * (torch.stack(draws) < keep) / keep

        return drop

    def _clip_gradients(self) -> None:
        if self.settings.gradient_clip is None:
            return
        gradients = [value.grad for value in self.weights.values() if value.grad is not None]
        norms = torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients]).sum(dim=0).sqrt()
        factors = (self.settings.gradient_clip / norms.clamp_min(1e-12)).clamp_max(1.0)
        for gradient in gradients:
            gradient.mul_(factors[:, None, None])

    def _optimiser(self) -> tuple[torch.optim.AdamW, list[float]]:
        """AdamW with a rate for each tensor; with layer rates a layer's is the configured one over √fan-in.

        That is the same as the neural tangent parametrisation (weights multiplied by 1/√fan-in in the network), since
        the steps of Adam do not depend on the scale of the gradient.
        """
        groups: dict[tuple[float, float], list[torch.Tensor]] = {}
        for name, value in self.weights.items():
            rate, decay = self.settings.learning_rate, 0.0
            if name.startswith("weight."):
                root = math.sqrt(value.shape[1]) if self.settings.layer_rates else 1.0
                rate, decay = rate / root, self.settings.weight_decay * root
            elif self.settings.layer_rates:
                rate *= _GAIN_RATE if name == "gain" else _BIAS_RATE
            groups.setdefault((rate, decay), []).append(value.requires_grad_(True))
        alike = [{"params": those, "lr": rate, "weight_decay": decay} for (rate, decay), those in groups.items()]
        return torch.optim.AdamW(alike, betas=_BETAS, fused=True), [rate for rate, _ in groups]

    def _set_rates(self) -> None:
        share = course(self.settings.schedule, (self.step + 0.5) / (self.steps * self.settings.epochs))
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * share


def course(schedule: str, done: float) -> float:
    """Share of the peak learning rate after a share `done` of training.

    Source: cos-log (four cycles, each twice as long as the one before): Holzmüller et al. 2024, eq. 2.
    """
    if schedule == "cos-log":
        return 0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + 15.0 * done)))
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0


def _fold_gain(weights: Weights) -> Weights:
    """The gains of the inputs taken into the first layer: prediction needs no more than plain layers."""
    plain = {name: value for name, value in weights.items() if name != "gain"}
    if "gain" in weights:
        plain["weight.0"] = weights["gain"].mT * plain["weight.0"]
    return plain
