"""What `bench fit` compares: the training of a campaign, the same members one after another, and bare products."""

from __future__ import annotations

import copy
import math
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tasks.campaigns.compute_settings import ComputeSection
from tasks.campaigns.ensemble_settings import MlpSettings
from tasks.checkpoints.pieces import cores
from tasks.checkpoints.progress import advanced
from tasks.ensembles.determinism import one_thread
from tasks.ensembles.fitting import fit_group
from tasks.ensembles.folds import held_out, labels_per_epoch
from tasks.ensembles.perceptrons import preparation
from tasks.ensembles.pieces import torch_device
from tasks.ensembles.problem import pose
from tasks.ensembles.target import Target
from tasks.ensembles.training import batch_size
from tasks.ensembles.training_set import TrainingSet

_SEED = 0
_SIDES = {"cpu": 1024, "cuda": 8192}  # rows and columns of the matrices that the rate is measured with
_PRODUCTS = 9


@dataclass(frozen=True)
class Training:
    """Members to be trained on made-up labels.

    Attributes:
        train: The labels.
        settings: Of the members.
        device: Where they are trained.
    """

    train: TrainingSet
    settings: MlpSettings
    device: torch.device

    @property
    def seen(self) -> int:
        """Labels that a member sees in an epoch."""
        return labels_per_epoch(self.train, self.settings, _SEED)

    @property
    def batch(self) -> int:
        """Labels a gradient step."""
        return batch_size(len(self.train), self.settings)

    @property
    def steps(self) -> int:
        """Gradient steps of an epoch."""
        return math.ceil(self.seen / self.batch)

    def in_precision(self, *, mixed: bool) -> Training:
        """The same in float32 or in mixed precision."""
        return replace(self, settings=self.settings.model_copy(update={"precision": "mixed" if mixed else "float32"}))

    def operations(self) -> int:
        """Additions and multiplications of all matrix products.

        A label that is learnt from costs a product forward, one for the gradient of the weights, and, but for the
        first layer, one for that of the inputs; a held-out label only the first.
        """
        widths = (self.train.features.shape[1], *self.settings.hidden, 1)
        layers: list[int] = [2 * a * b for a, b in pairwise(widths)]
        learnt, held = self.seen * (3 * sum(layers) - layers[0]), (len(self.train) - self.seen) * sum(layers)
        return self.settings.members * self.settings.epochs * (learnt + held)


def made_up_labels(labels: int, features: int) -> TrainingSet:
    """Labels sin(x_0) + x_1·x_2 + noise of sd 0.1 of independent normal features, of which so many are shown."""
    rng = np.random.default_rng(_SEED)
    x = rng.standard_normal((labels, max(features, 3)), dtype=np.float32)
    y = np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + 0.1 * rng.standard_normal(labels)
    return TrainingSet(x[:, :features], y, np.full(labels, 0.01))


def training(labels: int, features: int, members: int, hidden: int, epochs: int) -> Training:
    """Members of two plain hidden layers, as a module of torch can have them, and made-up labels."""
    settings = MlpSettings(
        members=members, hidden=(hidden, hidden), epochs=epochs, ranks=False, layer_rates=False, learning_rate=1e-3
    )
    return Training(made_up_labels(labels, features), settings, torch_device("auto"))


def train_together(this: Training) -> list[float]:
    """Least held-out loss of each member; groups of members are spread over the cores as a campaign spreads them."""
    groups = this.settings.groups(ComputeSection().group_members)
    losses: list[float] = []
    with ThreadPoolExecutor(cores()) as pool:
        futures = [pool.submit(fit_group, this.train, Target(), this.settings, _SEED, g, this.device) for g in groups]
        for future in futures:
            losses += np.nanmin(future.result().history, axis=1).tolist()
            advanced("fit", len(losses), this.settings.members)
    return losses


def train_one_by_one(this: Training) -> list[float]:
    """The same of members that are plain torch modules: same layers, steps, labels, kind of optimiser, best epoch kept.

    Torch takes as many threads as it likes.
    """
    encoded = preparation(this.train, Target(), this.settings)
    problem = pose(this.train, Target(), encoded, this.device, noise_head=False)
    masks, _ = held_out(this.train, this.settings, _SEED, range(this.settings.members))
    losses: list[float] = []
    for mask in torch.from_numpy(masks).to(this.device):
        learnt = problem.inputs[~mask], problem.targets[~mask]
        losses.append(_train_module(this, learnt, (problem.inputs[mask], problem.targets[mask])))
        advanced("one by one", len(losses), this.settings.members)
    return losses


def train_on_one_thread(this: Training) -> list[float]:
    """`train_one_by_one` with one thread a kernel."""
    with one_thread():
        return train_one_by_one(this)


def _train_module(this: Training, learnt: tuple[torch.Tensor, ...], stop_on: tuple[torch.Tensor, ...]) -> float:
    """Least loss of one member over the labels that it is stopped on."""
    (inputs, targets), (others, truth) = learnt, stop_on
    widths = (inputs.shape[1], *this.settings.hidden)
    hidden = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.SiLU())]
    model = nn.Sequential(*hidden, nn.Linear(widths[-1], 1)).to(this.device)
    optimiser = torch.optim.AdamW(model.parameters())
    mixed = torch.autocast(this.device.type, torch.bfloat16, enabled=this.settings.precision == "mixed")
    best, kept = math.inf, model.state_dict()
    for _ in range(this.settings.epochs):
        for rows in torch.randperm(len(inputs), device=this.device).tensor_split(this.steps):
            optimiser.zero_grad()
            with mixed:
                loss = functional.mse_loss(model(inputs[rows]).float(), targets[rows])
            torch.autograd.backward(loss)
            optimiser.step()
        with torch.no_grad(), mixed:
            found = float(functional.mse_loss(model(others).float(), truth))
        if found < best:
            best, kept = found, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return best


def product_rate(*, mixed: bool = False) -> float:
    """Additions and multiplications a second of large matrix products on all cores, or on the GPU."""
    device = torch_device("auto")
    side, kind = _SIDES[device.type], torch.bfloat16 if mixed else torch.float32
    first, second = (torch.rand(side, side, device=device, dtype=kind) for _ in range(2))
    _seconds(first, second)
    return 2 * side**3 / statistics.median(_seconds(first, second) for _ in range(_PRODUCTS))


def _seconds(first: torch.Tensor, second: torch.Tensor) -> float:
    started = time.perf_counter()
    (first @ second)[0, 0].item()  # waits for a GPU
    return time.perf_counter() - started
