"""Strategy `random`: uniform over the pool, the yardstick of every other one."""

from __future__ import annotations

import numpy as np

from tasks.batches.pool import Picks, PoolView, check_supply

NAME = "random"


def pick_random(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Draw n of the P perturbations uniformly without replacement.

    Raises:
        ExhaustedStrategy: If n > P.
    """
    check_supply(pool, n, NAME)
    rows = rng.choice(len(pool), size=n, replace=False).astype(np.int64)
    return Picks(
        rows=rows,
        score=np.zeros(n),
        mode=np.full(n, -1, dtype=np.int64),
        reason=("drawn uniformly from the pool",) * n,
    )
