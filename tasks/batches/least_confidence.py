"""Strategy `least-confidence`: where the most probable class is least probable."""

from __future__ import annotations

import numpy as np

from tasks.batches.pointwise import pick_largest
from tasks.batches.pool import Picks, PoolView
from tasks.batches.probabilities import mean_probabilities

NAME = "least-confidence"


def pick_least_confidence(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Take the perturbations of whose class the ensemble is least sure.

    The rule that the stopping rule `lemma` rests on. For a continuous readout others give this name to the standard
    deviation, which is `top-variance` here.

    Formula:
        argmax 1 − max_c p(c | x), p the mean over the members; summed over outputs
    Cost:
        O(P C + n log n) time, O(P C) memory
    Fails:
        Goes where classes overlap, also where more data cannot help, and takes near-duplicates together. Exhausted
        where the rest is certain.
    Source:
        Lewis and Gale 1994; Culotta and McCallum 2005

    Raises:
        ExhaustedStrategy: If n > P, or if the ensemble is certain of all but fewer than n.
        UserError: The readout is continuous.
    """
    score = (1.0 - mean_probabilities(pool, NAME).max(axis=-1)).sum(axis=-1)
    return pick_largest(
        pool, n, rng, NAME, score, lambda s, place: f"confidence misses 1 by {s:.3g}, number {place}", lacks="doubt"
    )
