"""Strategy `expected-improvement-backward`: more picks than needed, then the least missed are dropped."""

from __future__ import annotations

import numpy as np

from tasks.batches.expected_improvement import Removal, removal_reasons
from tasks.batches.greedy import greedy, supplied
from tasks.batches.pool import FloatArray, IntArray, Picks, PoolView, check_supply
from tasks.batches.posterior import Posterior, posterior_of
from tasks.operators.rows import MemoryRows
from tasks.threads import one_blas_thread

NAME = "expected-improvement-backward"

#: Picks made for every one that is asked for.
SURPLUS = 2
#: While picks are dropped, a measurement counts as no more certain than this share of its row's variance: what an exact
#: one is worth cannot be told once its direction is known wholly.
EXACT = 1e-8


@one_blas_thread()
def pick_expected_improvement_backward(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Make twice the picks of `expected-improvement`, then drop, one after another, the one least missed.

    A greedy pick is made without those after it; looking back, some turn out to be superfluous. What remains is put in
    greedy order, so that scores and reasons mean the same as those of `expected-improvement`. If the pool or the modes
    end before twice the batch is reached, as many as there are.

    Formula:
        drop argmin_i z_iᵀ A G A z_i / (σ²_i − z_iᵀ A z_i), A the posterior given all picks still kept

    Cost:
        twice that of `expected-improvement`, and O(n r) for every pick dropped. Memory: the same.

    Fails:
        As `expected-improvement`; what it gains rests on the covariance too. Asking for a batch in parts gives another
        batch than asking for all of it.

    Source:
        Ash et al. 2021, "Gone Fishing: Neural Active Learning with Fisher Embeddings" (BAIT: oversample twice, then
        prune), on the operator's eigenspace. bmdal_reg's BAIT-FB gives up in its backward step when float32 lets σ² −
        zᵀAz fall below 0.

    Args:
        pool: The library.
        n: How many.
        rng: Draws ties.

    Raises:
        ExhaustedStrategy: Fewer than n may be picked, or fewer than n add anything.
    """
    check_supply(pool, n, NAME)
    start = posterior_of(pool)
    more = min(SURPLUS * n, pool.available)
    rule = Removal()
    forward, _ = greedy(pool.coordinates, pool.noise, pool.open, start.copy(), rule, more, rng)
    supplied(min(len(forward), n), n, NAME)
    points = pool.coordinates.take(forward).astype(np.float64)
    kept = _least_missed(points, pool.noise[forward], start, n)
    among, left = MemoryRows(points[kept]), start.trace()
    order, score = greedy(among, pool.noise[forward[kept]], np.ones(n, dtype=bool), start, rule, n, rng)
    supplied(len(order), n, NAME)
    return Picks(
        rows=forward[kept][order],
        score=score,
        mode=np.full(n, -1, dtype=np.int64),
        reason=removal_reasons(score, left),
    )


def _least_missed(points: FloatArray, noise: FloatArray, start: Posterior, n: int) -> IntArray:
    """Which n of the picks (m, r) are left when those least missed are dropped one after another, ascending.

    Args:
        points: (m, r) coordinates of the picks.
        noise: (m,) variance of their measurements.
        start: The posterior before any of them.
        n: How many to leave.
    """
    noise = np.maximum(noise, EXACT * np.square(points).sum(axis=1))
    given = start.copy()
    for z, variance in zip(points, noise.tolist(), strict=True):
        given.measure(z, variance)
    covariance = given.root @ given.root.T
    toward = points @ covariance
    d = np.einsum("ij,ij->i", toward, points)
    removed = np.einsum("ij,ij->i", toward @ given.gram, toward)
    kept = np.ones(len(points), dtype=bool)
    for _ in range(len(points) - n):
        # Where rounding leaves no room, the measurement alone knows its direction: hardly anything is missed more.
        room = np.maximum(noise - d, np.finfo(np.float64).eps * noise)
        drop = int(np.where(kept, removed / room, np.inf).argmin())
        kept[drop] = False
        b = covariance @ points[drop] / np.sqrt(room[drop])
        back = given.gram @ b
        c = covariance @ back
        covariance += np.outer(b, b)
        p, q = (points @ np.stack([b, c], axis=1)).T
        d += p * p
        removed += p * (2.0 * q + float(b @ back) * p)
    return np.flatnonzero(kept).astype(np.int64)
