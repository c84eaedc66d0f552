"""Parts of an ensemble joined: out-of-fold predictions, interval factors, ensemble features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import EnsembleSection
from tasks.ensembles.determinism import one_thread
from tasks.ensembles.ensemble import Ensemble, Part
from tasks.ensembles.leading import MOST_LABELS, feature_projection
from tasks.ensembles.models import Said
from tasks.ensembles.out_of_fold import interval_factors, out_of_fold
from tasks.ensembles.registry import MODELS
from tasks.ensembles.target import Target
from tasks.ensembles.training_set import TrainingSet

_ROWS = 2048  # labels whose activations are held at once


def join_parts(
    train: TrainingSet,
    target: Target,
    settings: EnsembleSection,
    operators: OperatorsSection,
    seed: int,
    parts: Sequence[Part],
) -> Ensemble:
    """All members as one ensemble: with out-of-fold predictions, interval factors and ensemble features.

    Args:
        train: The n labels that the parts were fitted on.
        target: What is predicted.
        settings: Of the model.
        operators: Whether and how posteriors are kept, and how many ensemble features.
        seed: Of the ensemble.
        parts: The fitted groups, in order.
    """
    model = MODELS[settings.model]
    with one_thread(), torch.no_grad():
        bare = model.join(train, target, settings, operators, seed, parts)
        said = [model.say(bare, rows) for rows in torch.split(torch.from_numpy(train.features), _ROWS)]
        members = torch.cat([one.members for one in said]).numpy()
        step = max(1, -(-len(train) // MOST_LABELS))
        embedding = torch.cat([one.embedding for one in said])[::step]
        tensors = dict(bare.tensors) | feature_projection(embedding, operators.features)
        honest, intervals = _honest(bare, train, members, said)
        tensors |= {name: torch.from_numpy(array) for name, array in honest.items()}
    meta = {
        "model": settings.model,
        "kind": target.kind,
        "columns": target.columns,
        "members": members.shape[1],
        "labels": len(train),
        "features": int(train.features.shape[1]),
        "seed": seed,
        "intervals": intervals,
        **bare.meta,
    }
    return replace(bare, tensors={name: tensors[name] for name in sorted(tensors)}, meta=meta)


def _honest(
    bare: Ensemble, train: TrainingSet, members: np.ndarray[Any, Any], said: Sequence[Said]
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any] | None]:
    """Out-of-fold predictions, and for continuous readouts the noise and the interval factors they show."""
    if "loo.mean" in bare.tensors:  # a model that knows them in closed form
        mean, spread = bare.tensors["loo.mean"].double().numpy(), bare.tensors["loo.variance"].double().numpy()
        honest = {
            "out_of_fold.mean": mean.astype(np.float32),
            "out_of_fold.variance": spread.astype(np.float32),
            "out_of_fold.count": np.ones(len(mean), dtype=np.float32),
        }
    else:
        honest = out_of_fold(members, bare.tensors["held_out"].numpy())
        mean = honest["out_of_fold.mean"].astype(np.float64)
        spread = members.var(axis=1, ddof=1, dtype=np.float64)
    if bare.target.kind != "continuous" or not np.isfinite(mean).all(axis=1).any():
        return honest, None
    noise = torch.cat([one.noise for one in said]).double().numpy()
    variance, factors = interval_factors(train.targets - mean, spread, noise if noise.size else None)
    return honest, {"noise_variance": variance, "factors": factors}
