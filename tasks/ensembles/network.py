"""M networks of one shape, computed together: every layer is one batched matrix product.

Names of the tensors of an ensemble (M members, d features, layer widths h_1 … h_L, h = h_L):
    feature_mean, feature_scale (d,); clip (): soft clip in sd, infinite when off; target_mean, target_scale ().
    weight.0 (M, d, h_1), bias.0 (M, 1, h_1), …, weight.L (M, h, 1), bias.L (M, 1, 1).
    posterior (M, h+1, r): sketched square root of the last-layer posterior, absent when off; see posterior.py.
    projection (M·h, p), projection_mean (p,): leading ensemble features; see posterior.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch

Tensors = Mapping[str, torch.Tensor]


def standardisation(features: torch.Tensor, clip: float | None) -> dict[str, torch.Tensor]:
    """Mean and scale of each feature (n, d); the scale of a constant column is infinite, so that it becomes 0."""
    values = features.double()
    scale = values.std(dim=0, correction=0)
    constant = (values == values[0]).all(dim=0)
    scale[constant] = math.inf
    return {
        "feature_mean": values.mean(dim=0).float(),
        "feature_scale": scale.float(),
        "clip": torch.tensor(math.inf if clip is None else clip),
    }


def standardise(tensors: Tensors, features: torch.Tensor) -> torch.Tensor:
    """Standardised features (n, d), softly clipped: c·tanh(z/c).

    Sparse features (a fingerprint bit that few molecules have) make outliers of dozens of sd, which uncertainty would
    chase for their size alone.
    """
    z = (features - tensors["feature_mean"]) / tensors["feature_scale"]
    clip = float(tensors["clip"])
    return z if math.isinf(clip) else clip * torch.tanh(z / clip)


def initial_weights(
    n_features: int, hidden: Sequence[int], bias: float, rngs: Sequence[np.random.Generator]
) -> dict[str, torch.Tensor]:
    """He-normal weights, zero biases except the output's; one generator a member, so members do not depend on M."""
    widths = (n_features, *hidden, 1)
    weights: dict[str, torch.Tensor] = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise(widths)):
        last = layer == len(widths) - 2
        sd = math.sqrt((1.0 if last else 2.0) / fan_in)
        draws = np.stack([rng.standard_normal((fan_in, fan_out), dtype=np.float32) for rng in rngs])
        weights[f"weight.{layer}"] = torch.from_numpy(draws * np.float32(sd))
        weights[f"bias.{layer}"] = torch.full((len(rngs), 1, fan_out), bias if last else 0.0)
    return weights


def penultimate(tensors: Tensors, inputs: torch.Tensor) -> torch.Tensor:
    """Activations before the output layer.

    Args:
        tensors: Weights of the M members.
        inputs: Standardised features, (n, d) for all members or (M, n, d) for each its own.

    Returns:
        (M, n, h).
    """
    weight = tensors["weight.0"]
    values = inputs if inputs.ndim == 3 else inputs.expand(len(weight), *inputs.shape)
    for layer in range(depth(tensors)):
        values = torch.baddbmm(tensors[f"bias.{layer}"], values, tensors[f"weight.{layer}"])
        values = torch.nn.functional.silu(values)
    return values


def output(tensors: Tensors, activations: torch.Tensor) -> torch.Tensor:
    """Standardised target or logit (M, n) from the activations (M, n, h)."""
    last = depth(tensors)
    return torch.baddbmm(tensors[f"bias.{last}"], activations, tensors[f"weight.{last}"]).squeeze(-1)


def depth(tensors: Tensors) -> int:
    """Number of hidden layers."""
    return sum(name.startswith("weight.") for name in tensors) - 1


def with_constant(activations: torch.Tensor) -> torch.Tensor:
    """Activations (M, n, h) with a column of ones appended: (M, n, h+1), the inputs of weights and bias."""
    return torch.cat([activations, torch.ones_like(activations[..., :1])], dim=-1)
