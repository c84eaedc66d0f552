"""Strategy `top-variance`: where the operator's diagonal is largest."""

from __future__ import annotations

import numpy as np

from tasks.batches.pointwise import pick_largest
from tasks.batches.pool import Picks, PoolView

NAME = "top-variance"


def pick_top_variance(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Take the perturbations with the largest reducible variance.

    For a Gaussian the same order as BALD, ½ log(1 + Ω(x,x)/σ²), and as the standard deviation that others call least
    confidence. Several outputs count by the sum of their variances.

    Formula:
        argmax Ω(x, x), the diagonal of the chosen operator
    Cost:
        O(P + n log n) time, O(P) memory
    Fails:
        Knows nothing of redundancy: neighbours that are uncertain for one reason are all taken, and outliers first.
        Exhausted where fewer than n perturbations have a positive variance.
    Source:
        Houlsby et al. 2011 (BALD), for a Gaussian; MacKay 1992

    Raises:
        ExhaustedStrategy: If n > P, or if fewer than n perturbations have a positive variance.
    """
    size = pool.available
    return pick_largest(
        pool,
        n,
        rng,
        NAME,
        pool.variance[pool.open],
        lambda score, place: f"variance {score:.3g}, number {place} of {size}",
        lacks="variance",
    )
