"""The predictors: training, prediction, and their form in storage."""

from __future__ import annotations

from tasks.ensembles.ensemble import Ensemble, Kind, ensemble_from_tensors, ensemble_to_tensors
from tasks.ensembles.mlp import fit_mlp
from tasks.ensembles.predict import Prediction, predict
from tasks.ensembles.training_set import TrainingSet

MODELS = {"mlp": fit_mlp}

__all__ = [
    "MODELS",
    "Ensemble",
    "Kind",
    "Prediction",
    "TrainingSet",
    "ensemble_from_tensors",
    "ensemble_to_tensors",
    "fit_mlp",
    "predict",
]
