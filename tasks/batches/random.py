"""Strategy `random`: uniform over the pool, the yardstick of every other one."""

from __future__ import annotations

import numpy as np

from tasks.batches.pointwise import picks
from tasks.batches.pool import Picks, PoolView, check_supply

NAME = "random"


def pick_random(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Draw uniformly without replacement.

    Formula:
        p(x) = 1/P for each of the P open perturbations, without replacement
    Cost:
        O(P) time and memory
    Fails:
        Never. It is what every other strategy must beat.
    Source:
        Simple random sampling

    Raises:
        ExhaustedStrategy: If n > P.
    """
    check_supply(pool, n, NAME)
    rows = rng.choice(np.flatnonzero(pool.open), size=n, replace=False)
    return picks(rows, np.zeros(n), ("drawn uniformly from the pool",) * n)
