"""Strategy `in-order`: the library from its first row on."""

from __future__ import annotations

import numpy as np

from tasks.batches.pointwise import picks
from tasks.batches.pool import Picks, PoolView, check_supply

NAME = "in-order"


def pick_in_order(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Take the next open perturbations in the order of the library.

    How a screen is done without a model, plate by plate, and how a campaign follows a list that people made.

    Formula:
        The n open rows with the smallest row number
    Cost:
        O(N) time and memory
    Fails:
        Misleads wherever the library is sorted by something: the model then learns one corner at a time. The seed
        changes nothing.
    Source:
        The order of the library's file

    Raises:
        ExhaustedStrategy: If n > P.
    """
    check_supply(pool, n, NAME)
    rows = np.flatnonzero(pool.open)[:n]
    return picks(rows, np.zeros(n), tuple(f"row {row} of the library, next in order" for row in rows.tolist()))
