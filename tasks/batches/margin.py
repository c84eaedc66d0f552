"""Strategy `margin`: where two classes are nearly as probable, or members lie far apart."""

from __future__ import annotations

import numpy as np

from tasks.batches.pointwise import pick_largest
from tasks.batches.pool import FloatArray, Picks, PoolView, needed
from tasks.batches.probabilities import mean_probabilities

NAME = "margin"


def pick_margin(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Take the smallest lead of the first class over the second, or the widest range of the members.

    Formula:
        Classes: argmax 1 − (p₁ − p₂), the two most probable classes of the mean over the members; summed over outputs.
        Continuous: argmax max_m f_m(x) − min_m f_m(x); of several outputs the root of the sum of squares
    Cost:
        O(P C) time for classes, O(P M) for continuous; O(P C) memory
    Fails:
        Classes: as least-confidence, and for two classes the same order. Continuous: the range grows with M and hangs
        on the two most extreme members. Exhausted where the rest is certain, or all members agree.
    Source:
        Scheffer et al. 2001; Roth and Small 2006. Continuous: GeneDisco (Mehrjou et al. 2021), section 3

    Raises:
        ExhaustedStrategy: If n > P, or if fewer than n perturbations have a positive score.
        UserError: Of a continuous readout the pool view has no members.
    """
    if pool.kind == "continuous":
        return pick_largest(
            pool, n, rng, NAME, _range(pool), lambda s, place: f"members {s:.3g} apart, number {place}", lacks="range"
        )
    ordered = np.sort(mean_probabilities(pool, NAME), axis=-1)
    score = (1.0 - (ordered[..., -1] - ordered[..., -2])).sum(axis=-1)
    return pick_largest(
        pool, n, rng, NAME, score, lambda s, place: f"lead misses 1 by {s:.3g}, number {place}", lacks="doubt"
    )


def _range(pool: PoolView) -> FloatArray:
    rows, said = np.flatnonzero(pool.open), needed(pool.members, "members", NAME)
    score = np.empty(len(rows))
    for start in range(0, len(rows), 65536):
        members = said[rows[start : start + 65536]]
        spread = members.max(axis=1).astype(np.float64) - members.min(axis=1)
        score[start : start + 65536] = spread if spread.ndim == 1 else np.sqrt(np.square(spread).sum(axis=1))
    return score
