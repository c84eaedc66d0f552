"""The predictors: training, prediction, and their form in storage."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.ensembles.ensemble import Ensemble, ensemble_from_tensors, ensemble_to_tensors
    from tasks.ensembles.fitting import fit_ensemble
    from tasks.ensembles.models import Model
    from tasks.ensembles.predicting import interval, predict
    from tasks.ensembles.prediction import Prediction
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

_MODULES = {
    "MODELS": "registry",
    "Ensemble": "ensemble",
    "Kind": "target",
    "Model": "models",
    "Prediction": "prediction",
    "Target": "target",
    "TrainingSet": "training_set",
    "ensemble_from_tensors": "ensemble",
    "ensemble_to_tensors": "ensemble",
    "fit_ensemble": "fitting",
    "interval": "predicting",
    "predict": "predicting",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: torch and scikit-learn take seconds, and who plans a round needs neither."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
