"""Strategy `greedy-hits`: the best predictions."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from tasks.batches.pointwise import pick_largest
from tasks.batches.pool import Picks, PoolView
from tasks.batches.tails import Tail, hit_values

NAME = "greedy-hits"


def pick_greedy_hits(
    pool: PoolView,
    n: int,
    rng: np.random.Generator,
    *,
    tail: Annotated[Tail, Field(description="high, low, or both: far from 0.")] = "high",
    output: Annotated[int, Field(ge=0, description="Output, or class of a multi-class readout, from 0.")] = 0,
) -> Picks:
    """Take the perturbations that are predicted to be the strongest hits.

    Formula:
        argmax μ(x) (tail high), −μ(x) (low) or |μ(x)| (both), μ the mean over the members; of classes a probability
    Cost:
        O(P + n log n) time, O(P) memory
    Fails:
        Explores nothing: it finds more of what is known and may miss a whole class of hits; what it measures is a poor
        training set. `both` takes 0 for the level of no effect, as readouts centred on the negative control have it.
    Source:
        Pure exploitation; GeneDisco (Mehrjou et al. 2021) counts hits in both tails

    Raises:
        ExhaustedStrategy: If n > P.
        UserError: No such output, or tail both for classes.
    """
    value = hit_values(pool, NAME, tail, output)
    return pick_largest(
        pool, n, rng, NAME, value, lambda s, place: f"predicted {tail} value {s:.3g}, number {place}", -np.inf, "value"
    )
