"""Strategy `error-sampling`: by chance, in proportion to the reducible error."""

from __future__ import annotations

import numpy as np

from tasks.batches.pointwise import draw_by_weight
from tasks.batches.pool import Picks, PoolView

NAME = "error-sampling"


def pick_error_sampling(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Draw without replacement in proportion to the reducible error.

    On the calibrated operator the diagonal is a direct estimate of the squared error without the noise; there this rule
    has beaten random where greedy ones did not. Chance spreads the batch as the error is spread.

    Formula:
        p(x) ∝ Ω(x, x), without replacement
    Cost:
        O(P + n log n) time, O(P) memory
    Fails:
        Chases noise on an operator from which σ²_Y was not subtracted. Exhausted where fewer than n perturbations have
        a positive variance.
    Source:
        Efraimidis and Spirakis 2006 (the draw); as an acquisition rule the power sampling of Kirsch et al. 2021
        with exponent 1

    Raises:
        ExhaustedStrategy: If n > P, or if fewer than n perturbations have a positive variance.
    """
    with np.errstate(divide="ignore"):
        weight = np.log(pool.variance[pool.open].clip(0.0))
    return draw_by_weight(pool, n, rng, NAME, weight, "reducible error")
