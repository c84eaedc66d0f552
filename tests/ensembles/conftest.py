"""A small learnable problem and ensembles fitted on it once."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pytest

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import MlpSettings
from tasks.ensembles import Ensemble, Kind, Target, TrainingSet, fit_ensemble

SMALL = {"members": 5, "hidden": (16, 8), "epochs": 30}


class Labels(Protocol):
    def __call__(self, n: int, seed: int, noise: float = 0.1) -> TrainingSet: ...


class Fit(Protocol):
    def __call__(self, train: TrainingSet, kind: Kind = "continuous", seed: int = 1, **config: Any) -> Ensemble: ...


def smooth_labels(n: int, seed: int, noise: float = 0.1) -> TrainingSet:
    """Labels 3 + 2·sin(x_0) + x_1 + noise on 5 features: one constant, one heavy-tailed; ten plates."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5))
    x[:, 3] = 7.0
    x[:, 4] = rng.standard_t(2, size=n)
    y = 3 + 2 * np.sin(x[:, 0]) + x[:, 1] + noise * rng.normal(size=n)
    return TrainingSet(x, y, np.full(n, noise**2), np.arange(10) == rng.integers(10, size=n)[:, None])


def fit_small(train: TrainingSet, kind: Kind = "continuous", seed: int = 1, **config: Any) -> Ensemble:
    keys = ("within", "sketch", "features")
    operators = {"sketch": 32, "features": 6} | {key: config.pop(key) for key in keys if key in config}
    columns = config.pop("columns", train.targets.shape[1])
    settings = MlpSettings(**{**SMALL, **config})
    return fit_ensemble(train, Target(kind, columns), settings, OperatorsSection(**operators), seed)


@pytest.fixture(scope="session")
def labels() -> Labels:
    return smooth_labels


@pytest.fixture(scope="session")
def fit() -> Fit:
    return fit_small


@pytest.fixture(scope="session")
def train() -> TrainingSet:
    return smooth_labels(300, seed=0)


@pytest.fixture(scope="session")
def classes(train: TrainingSet) -> TrainingSet:
    return TrainingSet(train.features, train.targets > 3.5, np.zeros(len(train)), train.plates)


@pytest.fixture(scope="session")
def ensemble(train: TrainingSet) -> Ensemble:
    return fit_small(train)


@pytest.fixture(scope="session")
def classifier(classes: TrainingSet) -> Ensemble:
    return fit_small(classes, "binary")
