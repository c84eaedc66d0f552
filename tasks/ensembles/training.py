"""The training loop: bootstrap, AdamW with a cosine schedule, early stopping of each member."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from tasks.campaigns.config import EnsembleSection
from tasks.ensembles.ensemble import Kind
from tasks.ensembles.network import initial_weights, output, penultimate, standardise
from tasks.ensembles.training_set import TrainingSet
from tasks.errors import NumericalError

GROUP = 4  # members a thread trains together; never the number of cores, which may not change a bit

_REPORT_SECONDS = 0.2

Weights = dict[str, torch.Tensor]
Progress = Callable[[int, int], None]
Generators = Sequence[np.random.Generator]


@dataclass(frozen=True)
class Problem:
    """Standardised inputs (n, d) and targets (n,), and the labels' weights (n,) with mean 1."""

    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    kind: Kind

    def losses(self, predictions: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Weighted loss of predictions (m, k) of the labels at rows (m, k)."""
        loss = binary_cross_entropy_with_logits if self.kind == "binary" else mse_loss
        return self.weights[rows] * loss(predictions, self.targets[rows], reduction="none")


def target_scaling(train: TrainingSet, kind: Kind) -> dict[str, torch.Tensor]:
    """Mean and scale of the targets; classes stay as they are."""
    mean, sd = (float(train.targets.mean()), float(train.targets.std())) if kind == "continuous" else (0.0, 1.0)
    return {"target_mean": torch.tensor(mean), "target_scale": torch.tensor(sd if sd > 0 else 1.0)}


def standardised_problem(train: TrainingSet, kind: Kind, scaling: dict[str, torch.Tensor]) -> Problem:
    """The labels as the networks see them."""
    targets = (torch.tensor(train.targets) - scaling["target_mean"].double()) / scaling["target_scale"].double()
    mean_variance = train.variances.mean()
    weights = 1.0 / (1.0 + train.variances / mean_variance) if mean_variance > 0 else np.ones(len(train))
    return Problem(
        inputs=standardise(scaling, torch.from_numpy(train.features)),
        targets=targets.float(),
        weights=torch.from_numpy(weights / weights.mean()).float(),
        kind=kind,
    )


def train_members(
    problem: Problem, config: EnsembleSection, rngs: Generators, progress: Progress | None
) -> tuple[Weights, npt.NDArray[np.float64]]:
    """Train one member a generator, a few members to a thread.

    Returns:
        Weights of each member's best epoch, and the held-out losses (M, epochs run), NaN after a member has stopped.

    Raises:
        NumericalError: The held-out loss of a member is never finite.
    """
    groups = [_Group(problem, config, rngs[start : start + GROUP]) for start in range(0, len(rngs), GROUP)]
    with ThreadPoolExecutor(min(len(groups), _cores()), initializer=torch.set_num_threads, initargs=(1,)) as threads:
        pending = futures = [threads.submit(group.train) for group in groups]
        while pending:
            pending = list(wait(pending, timeout=_REPORT_SECONDS).not_done)
            if progress is not None:  # from this thread: a caller's progress bar or logger may depend on it
                progress(sum(group.done for group in groups), config.epochs * len(groups))
        results = [future.result() for future in futures]
    weights = {name: torch.cat([best[name] for best, _ in results]) for name in results[0][0]}
    epochs = max(losses.shape[1] for _, losses in results)
    history = np.full((len(rngs), epochs), np.nan)
    for start, (_, losses) in zip(range(0, len(rngs), GROUP), results, strict=True):
        history[start : start + len(losses), : losses.shape[1]] = losses
    failed = np.flatnonzero(~np.isfinite(history).any(axis=1))
    if len(failed):
        raise NumericalError(f"held-out loss of members {failed.tolist()} never finite; lower ensemble.learning_rate")
    return weights, history


class _Group:
    """A few members in training: weights (m, in, out), each with its own bootstrap."""

    def __init__(self, problem: Problem, config: EnsembleSection, rngs: Generators) -> None:
        n, d = problem.inputs.shape
        self.problem, self.config, self.rngs = problem, config, rngs
        draws = [_bootstrap(n, rng) for rng in rngs]
        self.bootstrap = torch.from_numpy(np.stack(draws))
        self.held_out, self.held_out_weights = _held_out(draws, n)
        bias = _logit_of_base_rate(problem) if problem.kind == "binary" else 0.0
        self.weights = initial_weights(d, config.hidden, bias, rngs)
        self.done = 0  # epochs, for a progress bar; a group that stops early has done them all
        self.steps = math.ceil(n / config.batch_size)
        self.optimiser = _optimiser(self.weights, config)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, T_max=self.steps * config.epochs)

    def train(self) -> tuple[Weights, npt.NDArray[np.float64]]:
        """Weights of each member's best epoch, and the held-out losses (m, epochs run)."""
        best = {name: value.detach().clone() for name, value in self.weights.items()}
        best_loss = torch.full((len(self.rngs),), math.inf)
        waited = torch.zeros(len(self.rngs), dtype=torch.long)
        history: list[npt.NDArray[np.float64]] = []
        while len(history) < self.config.epochs and bool((waited < self.config.patience).any()):
            self._epoch()
            loss = torch.where(waited < self.config.patience, self._held_out_loss(), torch.nan)
            history.append(loss.double().numpy())
            better = loss < best_loss  # a comparison with NaN is false: a stopped member keeps its best
            best_loss = torch.where(better, loss, best_loss)
            waited = torch.where(better, 0, waited + 1)
            for name, value in self.weights.items():
                best[name][better] = value.detach()[better]
            self.done += 1
        self.done = self.config.epochs
        return best, np.stack(history, axis=1)

    def _epoch(self) -> None:
        n = self.bootstrap.shape[1]
        order = torch.from_numpy(np.stack([rng.permutation(n) for rng in self.rngs]))
        for rows in torch.tensor_split(self.bootstrap.gather(1, order), self.steps, dim=1):
            losses = self.problem.losses(self._predict(rows), rows)
            self.optimiser.zero_grad()
            torch.autograd.backward(
                losses.mean(dim=1).sum()
            )  # a sum over members: no member's gradient depends on another
            self.optimiser.step()
            self.schedule.step()

    @torch.no_grad()
    def _held_out_loss(self) -> torch.Tensor:
        """(m,) weighted mean loss of each member over the labels outside its bootstrap."""
        total = torch.zeros(len(self.rngs))
        for rows, weights in zip(
            torch.split(self.held_out, 1024, 1), torch.split(self.held_out_weights, 1024, 1), strict=True
        ):
            total += (weights * self.problem.losses(self._predict(rows), rows)).sum(dim=1)
        return total / (self.held_out_weights * self.problem.weights[self.held_out]).sum(dim=1)

    def _predict(self, rows: torch.Tensor) -> torch.Tensor:
        return output(self.weights, penultimate(self.weights, self.problem.inputs[rows]))


def _bootstrap(n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw n labels with replacement, again until at least one is left out (with few labels all may come up)."""
    while True:
        draws = rng.integers(n, size=n)
        if len(np.unique(draws)) < n:
            return draws


def _held_out(draws: Sequence[npt.NDArray[np.int64]], n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels outside each bootstrap (m, k), filled up with label 0 at weight 0 where a member has fewer than k."""
    outside = [np.setdiff1d(np.arange(n), drawn) for drawn in draws]
    rows = np.zeros((len(draws), max(map(len, outside))), dtype=np.int64)
    weights = np.zeros(rows.shape, dtype=np.float32)
    for member, left in enumerate(outside):
        rows[member, : len(left)] = left
        weights[member, : len(left)] = 1.0
    return torch.from_numpy(rows), torch.from_numpy(weights)


def _logit_of_base_rate(problem: Problem) -> float:
    n = len(problem.targets)
    rate = (float(problem.targets.sum()) + 0.5) / (n + 1)  # half a label of each class keeps one class alone finite
    return math.log(rate / (1.0 - rate))


def _optimiser(weights: Weights, config: EnsembleSection) -> torch.optim.AdamW:
    for value in weights.values():
        value.requires_grad_(True)
    groups = [
        {
            "params": [w for name, w in weights.items() if name.startswith("weight.")],
            "weight_decay": config.weight_decay,
        },
        {"params": [b for name, b in weights.items() if name.startswith("bias.")], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
