"""M networks of one shape, computed together: every layer is one batched matrix product.

Names of the tensors (M members, e inputs, layer widths h_1 … h_L, h = h_L, c outputs of the network):
    weight.0 (M, e, h_1), bias.0 (M, 1, h_1), …, weight.L (M, h, c), bias.L (M, 1, c).
    target_mean, target_scale (C,): the readout's, so that the network works in standardised units.
    posterior (M, h+1, r): sketched square root of the last-layer posterior, absent when off; see posterior.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional

Tensors = Mapping[str, torch.Tensor]

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": functional.silu,
    "relu": functional.relu,
    "mish": functional.mish,
}


@dataclass(frozen=True)
class Shape:
    """What stands between the layers.

    Attributes:
        activation: Name in `ACTIVATIONS`.
        residual: A hidden layer of the same width as the one before adds its input.
    """

    activation: str = "silu"
    residual: bool = False


def initial_weights(
    widths: Sequence[int], output_bias: torch.Tensor, rngs: Sequence[np.random.Generator], *, random_bias: bool
) -> dict[str, torch.Tensor]:
    """Weights before training: He-normal, or of variance 1/fan-in with random biases; the output layer begins at 0.

    Args:
        widths: (e, h_1, …, h_L, c).
        output_bias: (c,) bias of the output.
        rngs: One generator a member, so that members do not depend on M.
        random_bias: Standard normal biases, which spread the units over the inputs.

    Returns:
        Tensors by name.
    """
    weights: dict[str, torch.Tensor] = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise(widths[:-1])):
        sd = math.sqrt((1.0 if random_bias else 2.0) / fan_in)
        draws = np.stack([rng.standard_normal((fan_in + 1, fan_out), dtype=np.float32) for rng in rngs])
        weights[f"weight.{layer}"] = torch.from_numpy(draws[:, :-1] * np.float32(sd))
        weights[f"bias.{layer}"] = torch.from_numpy(draws[:, -1:] * np.float32(random_bias))
    last, members = len(widths) - 2, len(rngs)
    weights[f"weight.{last}"] = torch.zeros(members, widths[-2], widths[-1])
    weights[f"bias.{last}"] = output_bias.float().expand(members, 1, widths[-1]).clone()
    return weights


def penultimate(
    tensors: Tensors,
    inputs: torch.Tensor,
    shape: Shape,
    drop: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Activations before the output layer.

    Args:
        tensors: Weights of the M members.
        inputs: Encoded features, (n, e) for all members or (M, n, e) for each its own.
        shape: What stands between the layers.
        drop: Applied to each hidden layer's activations; training leaves some out.

    Returns:
        (M, n, h).
    """
    values = inputs
    for layer in range(depth(tensors)):
        before = values
        values = _affine(values, tensors[f"weight.{layer}"], tensors[f"bias.{layer}"])
        values = ACTIVATIONS[shape.activation](values)
        values = values if drop is None else drop(values)
        if shape.residual and layer and values.shape == before.shape:
            values = values + before
    return values


def _affine(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(M, n, out) of values (M, n, in), or (n, in) for all members: those are one plain product, without copies."""
    if values.ndim == 3:
        return torch.baddbmm(bias, values, weight)
    members, width, out = weight.shape
    side_by_side = weight.permute(1, 0, 2).reshape(width, members * out)
    return torch.addmm(bias.view(1, -1), values, side_by_side).view(len(values), members, out).transpose(0, 1)


def output(tensors: Tensors, activations: torch.Tensor) -> torch.Tensor:
    """Outputs of the network (M, n, c): standardised readouts or logits, from the activations (M, n, h)."""
    last = depth(tensors)
    return torch.baddbmm(tensors[f"bias.{last}"], activations, tensors[f"weight.{last}"])


def depth(tensors: Tensors) -> int:
    """Number of hidden layers."""
    return sum(name.startswith("weight.") for name in tensors) - 1


def with_constant(activations: torch.Tensor) -> torch.Tensor:
    """Activations (M, n, h) with a column of ones appended: (M, n, h+1), the inputs of weights and bias."""
    return torch.cat([activations, torch.ones_like(activations[..., :1])], dim=-1)
