"""Strategy `top-variance`: where the operator's diagonal is largest."""

from __future__ import annotations

import numpy as np

from tasks.batches.pool import ExhaustedStrategy, Picks, PoolView, check_supply

NAME = "top-variance"


def pick_top_variance(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Take the n perturbations with the largest reducible variance; ties drawn by `rng`.

    For a Gaussian the same order as BALD (Houlsby et al. 2011). It knows nothing of redundancy: neighbours that are
    uncertain for the same reason are all taken.

    Raises:
        ExhaustedStrategy: If n > P, or if fewer than n perturbations have a positive variance (the rest would be a
            blind draw).
    """
    check_supply(pool, n, NAME)
    order = np.lexsort((rng.permutation(len(pool)), -pool.variance))[:n].astype(np.int64)
    score = pool.variance[order]
    if n and score[-1] <= 0:
        raise ExhaustedStrategy(
            "no variance left to choose by",
            where=f"strategy {NAME}, pick {int(np.argmax(score <= 0)) + 1}",
            got="variance 0 or less",
            expected=f"{n} perturbations with a positive variance",
            todo="Give the slot a smaller share, or part of it to the strategy random.",
        )
    ranks = np.arange(1, n + 1)
    return Picks(
        rows=order,
        score=score,
        mode=np.full(n, -1, dtype=np.int64),
        reason=tuple(f"variance {s:.3g}, number {k} of {len(pool)}" for s, k in zip(score, ranks, strict=True)),
    )
