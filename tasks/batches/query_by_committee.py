"""Strategy `query-by-committee`: where the members disagree."""

from __future__ import annotations

import numpy as np

from tasks.batches.pointwise import pick_largest
from tasks.batches.pool import FloatArray, Picks, PoolView, needed
from tasks.batches.probabilities import by_members, entropy

NAME = "query-by-committee"


def pick_query_by_committee(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Take the perturbations on which the members disagree most.

    Formula:
        Classes: argmax −Σ_c v_c log v_c, v_c the share of members whose most probable class is c (a tie of a member's
        classes is split). Continuous: argmax Σ_m (f_m(x) − mean f(x))²/(M − 1). Both summed over outputs
    Cost:
        O(P M C) time, O(P) memory
    Fails:
        Votes take few values, so many ties are drawn by chance; blind to how sure a vote is. Sees neither bias nor the
        members' own posteriors, which `top-variance` does. Exhausted where the rest is unanimous.
    Source:
        Seung et al. 1992; Dagan and Engelson 1995 (vote entropy); Burbidge et al. 2007 (variance)

    Raises:
        ExhaustedStrategy: If n > P, or if the members are unanimous on all but fewer than n.
        UserError: The pool view has no members.
    """
    if pool.kind == "continuous":
        score, what = _variance(pool), "variance of the members"
    else:
        score, what = by_members(pool, NAME, vote_entropy), "vote entropy"
    return pick_largest(
        pool, n, rng, NAME, score, lambda s, place: f"{what} {s:.3g}, number {place}", lacks="disagreement"
    )


def vote_entropy(members: FloatArray) -> FloatArray:
    """(k,) entropy [nat] of the members' votes, summed over outputs, from (k, M, T, C) probabilities."""
    first = members == members.max(axis=-1, keepdims=True)
    votes = (first / first.sum(axis=-1, keepdims=True)).mean(axis=1)
    return np.asarray(entropy(votes).sum(axis=-1))


def _variance(pool: PoolView) -> FloatArray:
    rows, said = np.flatnonzero(pool.open), needed(pool.members, "members", NAME)
    score = np.empty(len(rows))
    for start in range(0, len(rows), 16384):
        members = said[rows[start : start + 16384]].astype(np.float64)
        # Members that agree exactly have a variance of 0, not of rounding.
        agree = (members == members[:, :1]).all(axis=1)
        variance = np.where(agree, 0.0, members.var(axis=1, ddof=1))
        score[start : start + 16384] = variance if variance.ndim == 1 else variance.sum(axis=1)
    return score
