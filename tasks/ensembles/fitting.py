"""Fit some members, or a whole ensemble in this process (for notebooks and tests; a campaign spreads its pieces)."""

from __future__ import annotations

import torch

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import EnsembleSection
from tasks.ensembles.determinism import one_thread
from tasks.ensembles.ensemble import Ensemble, Part, Progress
from tasks.ensembles.joining import join_parts
from tasks.ensembles.registry import MODELS
from tasks.ensembles.target import Target
from tasks.ensembles.training_set import TrainingSet


def fit_group(
    train: TrainingSet,
    target: Target,
    settings: EnsembleSection,
    seed: int,
    members: range,
    device: torch.device,
    progress: Progress | None = None,
) -> Part:
    """Fit some members of an ensemble: one piece of work. Same seed, same bits on a kind of processor.

    Args:
        train: n labels.
        target: What is predicted.
        settings: The model and its settings.
        seed: Of the ensemble.
        members: Indices of the members; one of the model's groups.
        device: Where to compute.
        progress: Called now and then with (done, total).

    Raises:
        UserError: Targets of another kind, or settings that do not go with them.
        NumericalError: A member could not be fitted.
    """
    train.check(target)
    with one_thread():
        return MODELS[settings.model].fit(train, target, settings, seed, members, device, progress)


def fit_ensemble(
    train: TrainingSet,
    target: Target,
    settings: EnsembleSection,
    operators: OperatorsSection,
    seed: int,
    progress: Progress | None = None,
    size: int = 4,
) -> Ensemble:
    """Fit a whole ensemble in this process, one group after the other; one after the other.

    Args:
        train: n labels.
        target: What is predicted.
        settings: Of the model.
        operators: See `join_groups`.
        seed: Of every random choice.
        progress: Called with (done, total) of all groups together.
        size: Members a group.
    """
    groups = settings.groups(size)

    def tell(number: int) -> Progress | None:
        return None if progress is None else lambda done, of: progress(number * of + done, len(groups) * of)

    cpu = torch.device("cpu")
    parts = [fit_group(train, target, settings, seed, group, cpu, tell(number)) for number, group in enumerate(groups)]
    return join_parts(train, target, settings, operators, seed, parts)
