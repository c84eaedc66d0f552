"""Strategy `maximum-entropy`: where the readout is most uncertain, for whatever reason."""

from __future__ import annotations

import numpy as np

from tasks.batches.pointwise import pick_largest
from tasks.batches.pool import Picks, PoolView
from tasks.batches.probabilities import entropy, mean_probabilities

NAME = "maximum-entropy"


def pick_maximum_entropy(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Take the perturbations whose readout has the largest predictive entropy.

    Formula:
        Classes: argmax −Σ_c p(c | x) log p(c | x), p the mean over the members; summed over outputs.
        Continuous: argmax ½ log 2πe(Ω(x, x) + σ²_Y(x))
    Cost:
        O(P C + n log n) time, O(P C) memory
    Fails:
        Counts noise as if it could be learnt: goes where classes overlap and where wells are noisy. With equal noise
        the order of `top-variance`. Exhausted where the rest is certain.
    Source:
        Shannon 1948; Settles 2009, section 3.1; Dagan and Engelson 1995

    Raises:
        ExhaustedStrategy: If n > P, or if the readout of all but fewer than n is certain.
    """

    def reason(score: float, place: int) -> str:
        return f"predictive entropy {score:.3g} nat, number {place}"

    if pool.kind != "continuous":
        score = entropy(mean_probabilities(pool, NAME)).sum(axis=-1)
        return pick_largest(pool, n, rng, NAME, score, reason, lacks="entropy")
    with np.errstate(divide="ignore"):
        # A variance of 0 is an entropy of −∞: certain.
        score = 0.5 * np.log(2 * np.pi * np.e * (pool.variance + pool.noise)[pool.open].clip(0.0))
    return pick_largest(pool, n, rng, NAME, score, reason, -np.inf, "entropy")
