"""The models that `ensemble.model` may name."""

from __future__ import annotations

from tasks.ensembles.dropout import Dropout
from tasks.ensembles.forest import Forest
from tasks.ensembles.mlp import Mlp
from tasks.ensembles.models import Model
from tasks.ensembles.process import GaussianProcess

MODELS: dict[str, Model] = {
    "mlp": Mlp(),
    "mc-dropout": Dropout(),
    "forest": Forest(),
    "gp": GaussianProcess(),
}
