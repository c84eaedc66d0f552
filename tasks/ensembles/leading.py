"""Leading ensemble features: principal components of what the members make of the labels.

Names of the tensors: projection (q, p) and projection_mean (p,), to be subtracted after projecting.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

MOST_LABELS = 2048  # define the components; more would not change them by much, and cost grows with the square

_RANK = 1e-12  # components with less than this share of the first one's variance are rounding


def feature_projection(embedding: torch.Tensor, n_features: int) -> dict[str, torch.Tensor]:
    """Projection of an embedding to its leading principal components over the labels.

    The components keep their relative sizes (the first has unit variance over the labels), so that a ridge shrinks
    the small ones first.

    Args:
        embedding: (n, q) of the labels.
        n_features: Largest number of components p.

    Returns:
        The tensors.
    """
    stacked = embedding.double()
    mean = stacked.mean(dim=0)
    variances, directions = _principal(stacked - mean)
    kept = variances > _RANK * variances[0]
    components = directions[:, kept][:, :n_features]
    largest = components.gather(0, components.abs().argmax(dim=0, keepdim=True))
    scale = variances[0].sqrt() if bool(kept.any()) else torch.ones((), dtype=torch.float64)
    projection = components * largest.sign() / scale
    return {"projection": projection.float(), "projection_mean": (mean @ projection).float()}


def leading_features(tensors: Mapping[str, torch.Tensor], embedding: torch.Tensor) -> torch.Tensor:
    """Leading features (n, p+1) of an embedding (n, q); the last one is 1."""
    leading = embedding @ tensors["projection"] - tensors["projection_mean"]
    return torch.cat([leading, torch.ones_like(embedding[:, :1])], dim=1)


def _principal(centred: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Variances (k,), descending, and directions (q, k) of the rows, k = min(n, q); by the smaller Gram."""
    n, width = centred.shape
    if n >= width:
        values, vectors = torch.linalg.eigh(centred.mT @ centred)
        return values.flip(0) / n, vectors.flip(1)
    values, vectors = torch.linalg.eigh(centred @ centred.mT)
    values, vectors = values.flip(0), vectors.flip(1)
    lengths = values.clamp_min(torch.finfo(torch.float64).tiny).sqrt()
    return values / n, centred.mT @ vectors / lengths
