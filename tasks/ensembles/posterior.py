"""What a fit keeps beside the weights: each member's last-layer posterior, and the leading ensemble features."""

from __future__ import annotations

import numpy as np
import torch

from tasks.ensembles.network import with_constant
from tasks.errors import NumericalError

PRIOR_VARIANCE = {"continuous": 1.0, "binary": 4.0}  # of the standardised target; of the logit

_RANK = 1e-12  # components with less than this share of the first one's variance are rounding


def last_layer_posterior(
    activations: torch.Tensor, curvature: torch.Tensor, prior_variance: float, sketch: int, rng: np.random.Generator
) -> torch.Tensor:
    """Square root of the last-layer Laplace posteriors of all members, sketched to few columns.

    S_m = (Φ_mᵀ C_m Φ_m + λ_m I)⁻¹ with Φ_m (n, h+1) the activations and a constant; λ_m is such that the prior variance
    of the output, averaged over the labels, is `prior_variance`. With a random Q (M(h+1), r) of orthonormal columns and
    q = M(h+1), the blocks R_m = S_m^½ Q_m √(q/(rM)) give E[Σ_m,m′ Φ_m R_m R_m′ᵀ Φ_m′ᵀ] = mean_m Φ_m S_m Φ_mᵀ, exactly
    so when r = q.

    Args:
        activations: (M, n, h) penultimate activations of the labels.
        curvature: (M, n) second derivative of each label's negative log likelihood.
        prior_variance: Prior variance of the standardised output.
        sketch: Largest number of columns r.
        rng: Draws Q.

    Returns:
        (M, h+1, r) float32.

    Raises:
        NumericalError: A member's precision is not positive definite.

    Source:
        Last-layer Laplace: Daxberger et al., Laplace Redux, 2021, section 2.
    """
    features = with_constant(activations).double()
    members, n, width = features.shape
    precision = features.mT @ (curvature.double()[..., None] * features)
    energy = features.square().sum(dim=(1, 2)) / n
    precision += (energy / prior_variance)[:, None, None] * torch.eye(width, dtype=torch.float64)
    factor, failed = torch.linalg.cholesky_ex(precision)
    if bool(failed.any()):
        wrong = torch.nonzero(failed).flatten().tolist()
        raise NumericalError(f"the last-layer precision of members {wrong} is not positive definite")
    size = members * width
    columns = min(sketch, size)
    draws = torch.from_numpy(rng.standard_normal((size, columns)))
    basis = torch.linalg.qr(draws).Q.reshape(members, width, columns)
    root = torch.linalg.solve_triangular(factor.mT, basis, upper=True)
    scaled: torch.Tensor = root * (size / (columns * members)) ** 0.5
    return scaled.float()


def feature_projection(activations: torch.Tensor, n_features: int) -> dict[str, torch.Tensor]:
    """Projection of all members' activations to their leading principal components over the labels.

    The components keep their relative sizes (the first has unit variance over the labels), so that a ridge shrinks
    the small ones first.

    Args:
        activations: (M, n, h) penultimate activations of the labels.
        n_features: Largest number of components p.

    Returns:
        projection (M·h, p) and projection_mean (p,), to be subtracted after projecting.
    """
    members, n, width = activations.shape
    stacked = activations.permute(1, 0, 2).reshape(n, members * width).double()
    mean = stacked.mean(dim=0)
    variances, directions = _principal(stacked - mean)
    kept = variances > _RANK * variances[0]
    components = directions[:, kept][:, :n_features]
    largest = components.gather(0, components.abs().argmax(dim=0, keepdim=True))
    scale = variances[0].sqrt() if bool(kept.any()) else torch.ones((), dtype=torch.float64)
    projection = components * largest.sign() / scale
    return {"projection": projection.float(), "projection_mean": (mean @ projection).float()}


def _principal(centred: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Variances (q,), descending, and directions (width, q) of the rows, q = min(n, width); by the smaller Gram."""
    n, width = centred.shape
    if n >= width:
        values, vectors = torch.linalg.eigh(centred.mT @ centred)
        return values.flip(0) / n, vectors.flip(1)
    values, vectors = torch.linalg.eigh(centred @ centred.mT)
    values, vectors = values.flip(0), vectors.flip(1)
    lengths = values.clamp_min(torch.finfo(torch.float64).tiny).sqrt()
    return values / n, centred.mT @ vectors / lengths
