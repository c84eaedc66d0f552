"""What all models made of perceptrons share: from fitted weights to an ensemble, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from tasks.campaigns.config import OperatorsSection
from tasks.campaigns.ensemble_settings import NetworkSettings
from tasks.ensembles.determinism import Purpose, generator
from tasks.ensembles.encoding import encode, fit_encoding
from tasks.ensembles.ensemble import Ensemble
from tasks.ensembles.gradient_sketch import gradient_projections, gradient_sketch
from tasks.ensembles.models import Said
from tasks.ensembles.network import Shape, output, penultimate
from tasks.ensembles.posterior import PRIOR_VARIANCE, last_layer_posterior
from tasks.ensembles.problem import Problem, pose, target_scaling, unsmoothed
from tasks.ensembles.target import Target
from tasks.ensembles.training_set import TrainingSet

Tensors = Mapping[str, torch.Tensor]

_CPU = torch.device("cpu")
_ROWS = 2048  # labels whose activations are held at once


def preparation(train: TrainingSet, target: Target, settings: NetworkSettings) -> dict[str, torch.Tensor]:
    """Encoding of the features, scaling of the readouts, their mean known variance: the same for all members."""
    known = {"label_variance": torch.from_numpy(train.variances.mean(axis=0)).float()}
    return fit_encoding(train.features, settings) | target_scaling(train, target) | known


def shape_of(settings: NetworkSettings) -> Shape:
    """What stands between the layers."""
    return Shape(settings.activation, settings.residual)


def with_geometry(
    train: TrainingSet,
    target: Target,
    settings: NetworkSettings,
    operators: OperatorsSection,
    seed: int,
    tensors: Tensors,
    *,
    noise_head: bool = False,
) -> dict[str, torch.Tensor]:
    """The tensors with the members' last-layer posterior and projections for gradients, as the configuration asks.

    The posterior is kept for continuous readouts (several outputs share one, their variances add up) and for one binary
    output; the heads of several classes are described by the members alone.
    """
    whole = dict(tensors)
    if operators.gradients:
        whole |= gradient_projections(tensors, operators.gradients, generator(seed, Purpose.GRADIENTS))
    if operators.within == "last-layer" and (target.kind == "continuous" or target == Target("binary")):
        problem = pose(train, target, tensors, _CPU, noise_head=noise_head)
        rng = generator(seed, Purpose.SKETCH)
        chunks = _curved(tensors, problem, shape_of(settings))
        whole["posterior"] = last_layer_posterior(chunks, PRIOR_VARIANCE[target.kind], operators.sketch, rng)
    return whole


def say(ensemble: Ensemble, features: torch.Tensor) -> Said:
    """What perceptrons say about (k, d) features.

    Binary: a member's posterior covariance is carried from its logit to its probability by the slope p(1 − p)
    (delta method).
    """
    tensors, target = ensemble.tensors, ensemble.target
    shape = Shape(ensemble.meta["activation"], bool(ensemble.meta["residual"]))
    encoded = encode(tensors, features)
    activations = penultimate(tensors, encoded, shape)
    outputs = output(tensors, activations).transpose(0, 1)
    values, logs = (outputs.chunk(2, dim=-1)) if ensemble.meta["noise_head"] else (outputs, outputs[..., :0])
    embedding = activations.transpose(0, 1)
    scale = tensors["target_scale"]
    if target.kind == "continuous":
        members = tensors["target_mean"] + scale * values
        within = _within(tensors, embedding) * scale.square().sum().sqrt()
    else:
        members = unsmoothed(torch.softmax(values, dim=-1)) if target.kind == "multi-class" else torch.sigmoid(values)
        within = _within(tensors, embedding, members[..., :1] * (1.0 - members[..., :1]))
    # What the head has learnt is the excess over the labels' known variances; a new label has both.
    noise = logs.exp().mean(dim=1) * scale**2 + tensors["label_variance"] if logs.shape[-1] else logs[:, 0]
    gradients = gradient_sketch(tensors, encoded, shape, values.shape[-1])
    return Said(members, within, noise, embedding.flatten(start_dim=1), gradients)


def _within(tensors: Tensors, embedding: torch.Tensor, slope: torch.Tensor | None = None) -> torch.Tensor:
    """Σ_m (φ_m, 1)·R_m, times the member's slope (k, M, 1) where there is one: (k, r), r = 0 without a posterior."""
    if "posterior" not in tensors:
        return embedding.new_zeros(len(embedding), 0)
    root = tensors["posterior"]
    weights, constants = root[:, :-1].flatten(0, 1), root[:, -1]
    if slope is None:
        return torch.addmm(constants.sum(dim=0), embedding.flatten(start_dim=1), weights)
    return (embedding * slope).flatten(start_dim=1) @ weights + slope[..., 0] @ constants


def facts_of(settings: NetworkSettings, *, noise_head: bool) -> dict[str, Any]:
    """What `say` must know of the settings."""
    return {
        "hidden": list(settings.hidden),
        "activation": settings.activation,
        "residual": settings.residual,
        "noise_head": noise_head,
    }


def _curved(tensors: Tensors, problem: Problem, shape: Shape) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Activations (M, k, h) and curvature (M, k) of the labels, a few at a time."""
    residual = _mean_square(tensors, problem, shape)
    for rows in torch.split(torch.arange(len(problem.inputs)), _ROWS):
        activations = penultimate(tensors, problem.inputs[rows], shape)
        outputs, weights = output(tensors, activations), problem.weights[rows].mean(dim=-1)
        if problem.target.kind == "binary":
            probability = torch.sigmoid(outputs[..., 0])
            yield activations, weights * probability * (1.0 - probability)
        elif problem.noise_head:
            variance = outputs.chunk(2, dim=-1)[1].exp() + problem.variances[rows]
            yield activations, (1.0 / variance).mean(dim=-1)
        else:
            yield activations, weights / residual[:, None]


def _mean_square(tensors: Tensors, problem: Problem, shape: Shape) -> torch.Tensor:
    """(M,) weighted mean square of each member's held-out residuals, standardised; of all where nothing is held out."""
    held = tensors["held_out"].bool()
    held = torch.where(held.any(dim=1, keepdim=True), held, torch.ones_like(held))
    total, count = torch.zeros(len(held)), torch.zeros(len(held))
    for rows in torch.split(torch.arange(len(problem.inputs)), _ROWS):
        predictions = output(tensors, penultimate(tensors, problem.inputs[rows], shape))
        if problem.target.kind == "continuous" and not problem.noise_head:
            losses = problem.losses(predictions, rows.expand(len(held), -1))
            total += (held[:, rows] * losses).sum(dim=1)
        count += (held[:, rows] * problem.weights[rows].mean(dim=-1)).sum(dim=1)
    return (total / count).clamp_min(1e-12)
