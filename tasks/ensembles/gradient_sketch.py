"""Gradients of the members' predictions by their weights, sketched to few columns: which errors go together.

Names of the tensors (G of the M members, layer l of input width i and output width o, q columns):
    gradient.input.l (G, i + 1, q), gradient.output.l (G, o, q): random projections.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from tasks.ensembles.network import ACTIVATIONS, Shape, depth

Tensors = Mapping[str, torch.Tensor]

MEMBERS = 4  # whose gradients are sketched: their kernels differ little, and the cost grows with them


def gradient_projections(tensors: Tensors, columns: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Random projections for the gradients of the first members, scaled so that the sketch estimates their mean kernel.

    Args:
        tensors: Weights of the M members.
        columns: q.
        rng: Draws.
    """
    projections: dict[str, torch.Tensor] = {}
    for layer in range(depth(tensors) + 1):
        members, width, out = tensors[f"weight.{layer}"].shape
        count = min(MEMBERS, members)
        into = rng.standard_normal((count, width + 1, columns), dtype=np.float32)
        into[:, :width] /= np.sqrt(np.float32(width))
        out_of = rng.standard_normal((count, out, columns), dtype=np.float32) / np.sqrt(np.float32(count * columns))
        projections[f"gradient.input.{layer}"] = torch.from_numpy(into)
        projections[f"gradient.output.{layer}"] = torch.from_numpy(out_of)
    return projections


def gradient_sketch(tensors: Tensors, inputs: torch.Tensor, shape: Shape, outputs: int) -> torch.Tensor:
    """Sketched gradients φ (n, q) of the prediction: φ(x)·φ(x′) ≈ mean_m ∇f_m(x)·∇f_m(x′) / fan-in of each layer.

    A layer's gradient is the outer product of its inputs a and of δ, the gradient by what it puts out; the elementwise
    product of a random projection of either is a projection of that. Weights count by 1/fan-in, biases by 1 (neural
    tangent parameterisation), as they do in training where `layer_rates` divides their rates.

    Args:
        tensors: Weights, and projections from `gradient_projections`.
        inputs: (n, e) encoded features.
        shape: What stands between the layers.
        outputs: Columns of the output that count; of several the gradient of their sum.

    Returns:
        (n, q), q = 0 without projections.

    Source:
        Sketch: Holzmüller, Zaverkin, Kästner & Steinwart 2023, A framework and benchmark for deep batch active learning
        for regression, section 4.3. Kernel: Jacot, Gabriel & Hongler 2018, Neural tangent kernel.
    """
    if "gradient.input.0" not in tensors:
        return inputs.new_zeros(len(inputs), 0)
    with torch.enable_grad():
        befores, afters, values = _layers(tensors, inputs.detach(), shape)
        deltas = torch.autograd.grad(values[..., :outputs].sum(), afters)
    total: torch.Tensor | None = None
    for layer, (before, delta) in enumerate(zip(befores, deltas, strict=True)):
        into, out_of = tensors[f"gradient.input.{layer}"], tensors[f"gradient.output.{layer}"]
        part = torch.baddbmm(into[:, -1:], before.detach(), into[:, :-1]) * (delta @ out_of)
        total = part.sum(dim=0) if total is None else total + part.sum(dim=0)
    assert total is not None
    return total


def _layers(
    tensors: Tensors, inputs: torch.Tensor, shape: Shape
) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
    """What goes into each layer (G, n, i), what comes out of it before the activation (G, n, o), and the output."""
    count = len(tensors["gradient.input.0"])
    values = inputs.expand(count, *inputs.shape)
    befores, afters = [], []
    last = depth(tensors)
    for layer in range(last + 1):
        before = values
        after = torch.baddbmm(tensors[f"bias.{layer}"][:count], before, tensors[f"weight.{layer}"][:count])
        if not layer:
            after.requires_grad_()  # the graph begins here: nobody asks for gradients of weights
        befores.append(before)
        afters.append(after)
        if layer == last:
            break
        values = ACTIVATIONS[shape.activation](after)
        if shape.residual and layer and values.shape == before.shape:
            values = values + before
    return befores, afters, afters[-1]
