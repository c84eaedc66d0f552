"""Each member's own last-layer posterior, sketched to few columns."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from tasks.ensembles.network import with_constant
from tasks.errors import NumericalError

PRIOR_VARIANCE = {"continuous": 1.0, "binary": 4.0}  # of the standardised target; of the logit


def last_layer_posterior(
    chunks: Iterable[tuple[torch.Tensor, torch.Tensor]], prior_variance: float, sketch: int, rng: np.random.Generator
) -> torch.Tensor:
    """Square root of the last-layer Laplace posteriors of all members, sketched to few columns.

    S_m = (Φ_mᵀ C_m Φ_m + λ_m I)⁻¹ with Φ_m (n, h+1) the activations and a constant; λ_m is such that the prior variance
    of the output, averaged over the labels, is `prior_variance`. With a random Q (M(h+1), r) of orthonormal columns and
    q = M(h+1), the blocks R_m = S_m^½ Q_m √(q/(rM)) give E[Σ_m,m′ Φ_m R_m R_m′ᵀ Φ_m′ᵀ] = mean_m Φ_m S_m Φ_mᵀ, exactly
    so when r = q.

    Args:
        chunks: Of the labels, a few at a time: (M, k, h) penultimate activations, and (M, k) second derivative of each
            label's negative log likelihood.
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
    precision, energy, n = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64), 0
    for activations, curvature in chunks:
        features = with_constant(activations).double()
        precision = precision + features.mT @ (curvature.double()[..., None] * features)
        energy = energy + features.square().sum(dim=(1, 2))
        n += features.shape[1]
    members, width = precision.shape[:2]
    precision = precision + (energy / n / prior_variance)[:, None, None] * torch.eye(width, dtype=torch.float64)
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
