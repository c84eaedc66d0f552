"""Multilayer perceptrons: members trained together in batched matrix products."""

from __future__ import annotations

import numpy as np
import torch

from tasks.campaigns.config import EnsembleSection, OperatorsSection
from tasks.ensembles.determinism import one_thread
from tasks.ensembles.ensemble import Ensemble, Kind
from tasks.ensembles.network import output, penultimate, standardisation
from tasks.ensembles.posterior import PRIOR_VARIANCE, feature_projection, last_layer_posterior
from tasks.ensembles.training import Problem, Progress, standardised_problem, target_scaling, train_members
from tasks.ensembles.training_set import TrainingSet
from tasks.errors import UserError


def fit_mlp(
    train: TrainingSet,
    config: EnsembleSection,
    kind: Kind,
    operators: OperatorsSection,
    seed: int,
    progress: Progress | None = None,
) -> Ensemble:
    """Fit M perceptrons, each on its own bootstrap of the labels, from its own start, in its own order.

    AdamW with a cosine schedule; each member keeps the weights of the epoch at which the labels outside its bootstrap
    were predicted best. Labels are weighted by 1/(1 + v/v̄), v their variance and v̄ its mean: the precision when what
    the features cannot explain varies as much as the average label's noise. Same seed, same bits, whatever the number
    of threads (determinism.py).

    Args:
        train: n labels.
        config: Sizes and schedule.
        kind: continuous (squared error) or binary (cross-entropy on classes 0 and 1).
        operators: Whether and how the last-layer posterior is kept, and how many ensemble features.
        seed: Seed of every random choice.
        progress: Called now and then, from the calling thread, with (epochs done, epochs),
            summed over groups of members.

    Returns:
        The ensemble.

    Raises:
        UserError: Binary targets other than 0 and 1.
        NumericalError: The loss of a member is never finite.

    Source:
        Deep ensembles: Lakshminarayanan et al. 2017, with bagging: Breiman 1996. AdamW: Loshchilov & Hutter 2019.
    """
    _check_classes(train, kind)
    *rngs, sketch_rng = [
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(config.members + 1)
    ]
    with one_thread():
        scaling = standardisation(torch.from_numpy(train.features), config.clip) | target_scaling(train, kind)
        problem = standardised_problem(train, kind, scaling)
        weights, history = train_members(problem, config, rngs, progress)
        best = np.nanmin(history, axis=1)
        tensors = scaling | weights
        activations = penultimate(tensors, problem.inputs)
        tensors |= feature_projection(activations, operators.features)
        if operators.within == "last-layer":
            curvature = _curvature(problem, output(tensors, activations), torch.from_numpy(best))
            tensors["posterior"] = last_layer_posterior(
                activations, curvature, PRIOR_VARIANCE[kind], operators.sketch, sketch_rng
            )
    meta = {
        "model": "mlp",
        "kind": kind,
        "members": config.members,
        "hidden": list(config.hidden),
        "labels": len(train),
        "features": int(train.features.shape[1]),
        "seed": seed,
        "best_epoch": [int(epoch) for epoch in np.nanargmin(history, axis=1)],
        "held_out_loss": [float(loss) for loss in best],
    }
    return Ensemble(kind, {name: tensors[name] for name in sorted(tensors)}, history, meta)


def _check_classes(train: TrainingSet, kind: Kind) -> None:
    if kind == "binary" and not np.isin(train.targets, (0.0, 1.0)).all():
        raise UserError(
            "targets of a binary readout must be classes",
            where="training set",
            got=train.targets.min(),
            expected="0 or 1",
        )


def _curvature(problem: Problem, predictions: torch.Tensor, held_out_loss: torch.Tensor) -> torch.Tensor:
    """(M, n) second derivative of each label's negative log likelihood by the member's output."""
    if problem.kind == "binary":
        probability = torch.sigmoid(predictions)
        return problem.weights * probability * (1.0 - probability)
    return problem.weights / held_out_loss.float()[:, None]
