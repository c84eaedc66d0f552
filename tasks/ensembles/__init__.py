"""The predictors: training, prediction, and their form in storage."""

from __future__ import annotations

from tasks.ensembles.ensemble import Ensemble, ensemble_from_tensors, ensemble_to_tensors
from tasks.ensembles.fitting import fit_ensemble
from tasks.ensembles.models import Model
from tasks.ensembles.predict import Prediction, interval, predict
from tasks.ensembles.registry import MODELS
from tasks.ensembles.target import Kind, Target
from tasks.ensembles.training_set import TrainingSet

__all__ = [
    "MODELS",
    "Ensemble",
    "Kind",
    "Model",
    "Prediction",
    "Target",
    "TrainingSet",
    "ensemble_from_tensors",
    "ensemble_to_tensors",
    "fit_ensemble",
    "interval",
    "predict",
]
