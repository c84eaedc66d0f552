"""Strategy `ucb`: what may be a strong hit."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from tasks.batches.pointwise import pick_largest
from tasks.batches.pool import Picks, PoolView
from tasks.batches.tails import Tail, hit_spread, hit_values

NAME = "ucb"


def pick_ucb(
    pool: PoolView,
    n: int,
    rng: np.random.Generator,
    *,
    beta: Annotated[float, Field(ge=0, description="Weight of the standard deviation; 0 is greedy-hits.")] = 1.0,
    tail: Annotated[Tail, Field(description="high, low, or both: far from 0.")] = "high",
    output: Annotated[int, Field(ge=0, description="Output, or class of a multi-class readout, from 0.")] = 0,
) -> Picks:
    """Take the perturbations that may be the strongest hits: prediction plus some standard deviations.

    Formula:
        argmax μ(x) + β·sd(x) (tail high), −μ(x) + β·sd(x) (low) or |μ(x)| + β·sd(x) (both); β = 1; sd² = Ω(x, x), of
        several outputs or classes the variance of the members for the one asked for
    Cost:
        O(P + n log n) time, for several outputs O(P M); O(P) memory
    Fails:
        Takes neighbours of one hit together. A large β is `top-variance`. `both`: as greedy-hits.
    Source:
        Auer 2002; Srinivas et al. 2010 (GP-UCB), equation 6

    Raises:
        ExhaustedStrategy: If n > P.
        UserError: No such output, tail both for classes, or no members in the pool view of several outputs.
    """
    value = hit_values(pool, NAME, tail, output)
    return pick_largest(
        pool,
        n,
        rng,
        NAME,
        value + beta * hit_spread(pool, NAME, output),
        lambda s, place: f"{tail} value up to {s:.3g} (β = {beta:g}), number {place}",
        -np.inf,
        "value",
    )
