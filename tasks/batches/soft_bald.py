"""Strategy `soft-bald`: by chance, in proportion to a power of what would be learnt."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from tasks.batches.pointwise import draw_by_weight
from tasks.batches.pool import Picks, PoolView
from tasks.batches.probabilities import by_members, mutual_information

NAME = "soft-bald"


def pick_soft_bald(
    pool: PoolView,
    n: int,
    rng: np.random.Generator,
    *,
    temperature: Annotated[float, Field(gt=0, description="T: towards 0 the largest win, large is uniform.")] = 0.9,
) -> Picks:
    """Draw without replacement in proportion to a power of the information.

    Formula:
        p(x) ∝ I(x)^(1/T), without replacement; I = Ω(x, x) for continuous readouts, for classes
        I = H(mean p) − mean H(p) over the members [nat]; T = 0.9
    Cost:
        O(P + n log n) time, for classes O(P M C); O(P) memory
    Fails:
        Close to uniform where the information hardly differs, close to greedy for small T. Exhausted where fewer than n
        perturbations have a positive information (members that agree).
    Source:
        GeneDisco (Mehrjou et al. 2021), equation 7: a softmax of log I at temperature T, which is this power. Its code
        takes the exponential twice (softmax of exp(log I / T)), nearly uniform for small variances; not followed.
        Power sampling: Kirsch et al. 2021, "A simple baseline for batch active learning"

    Raises:
        ExhaustedStrategy: If n > P, or if fewer than n perturbations have a positive information.
        UserError: Of a readout of classes the pool view has no members.
    """
    if pool.kind == "continuous":
        information = pool.variance[pool.open].clip(0.0)
    else:
        information = by_members(pool, NAME, mutual_information)
    with np.errstate(divide="ignore"):
        weight = np.log(information) / temperature
    return draw_by_weight(pool, n, rng, NAME, weight, "information")
