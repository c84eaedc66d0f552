"""Strategy `max-determinant`: each pick tells most about the function, given those before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.batches.greedy import greedy, supplied
from tasks.batches.pool import FloatArray, Picks, PoolView, check_supply
from tasks.batches.posterior import posterior_of
from tasks.threads import one_blas_thread

NAME = "max-determinant"

#: Noise below this share of the largest variance counts as that much: what is measured exactly tells infinitely much.
EXACT = 1e-12


@dataclass(frozen=True)
class Information:
    """The variance of a row over that of its measurement.

    Attributes:
        floor: The least that noise counts as [readout unit squared].
    """

    floor: float

    @property
    def traced(self) -> bool:
        """It does not ask for n."""
        return False

    @property
    def leaves(self) -> bool:
        """It knows no targets."""
        return False

    def score(self, d: FloatArray, n: FloatArray, noise: FloatArray) -> FloatArray:
        """Score (k,), see `Rule`."""
        ratio: FloatArray = d / np.maximum(noise, self.floor)
        return ratio

    def ceiling(self, d: FloatArray, noise: FloatArray, top: float) -> FloatArray:
        """The score (k,) itself: variances only fall."""
        return self.score(d, d, noise)


@one_blas_thread()
def pick_max_determinant(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Pick, one after another, what tells most about the error as a whole, given those before.

    The greedy log-determinant of the factor plus noise, less that of the noise: mutual information between measurements
    and function, which is BatchBALD where everything is normal. Without noise (or with the same for all) it takes the
    largest variance that is left, each time. Scores are nats; noise of less than 1e-12 of the largest variance counts
    as that much.

    Formula:
        argmax_i ½ ln(1 + z_iᵀ A z_i / σ²_i), A the posterior given the picks before

    Cost:
        O(N r) once and O(r²) a pick, and a pass over those rows only whose variance when last seen may still win.
        Memory: seven vectors of N, and a copy of a quarter of the rows at most.

    Fails:
        It looks for what is uncertain, not for what tells about others: outliers come first. Without noise no more
        picks than modes: ExhaustedStrategy (published implementations fill up at random there, and say so in a status
        string at most).

    Source:
        Kirsch, van Amersfoort and Gal 2019, "BatchBALD", for a Gaussian; `maxdet` of Holzmüller et al. 2023, where
        noise is the same for all.

    Args:
        pool: The library.
        n: How many.
        rng: Draws ties.

    Raises:
        ExhaustedStrategy: Fewer than n may be picked, or every perturbation left is known from the picks before.
    """
    check_supply(pool, n, NAME)
    posterior = posterior_of(pool, traced=False)
    rule = Information(max(EXACT * float(pool.variance.max(initial=0.0)), np.finfo(np.float64).tiny))
    rows, ratio = greedy(pool.coordinates, pool.noise, pool.open, posterior, rule, n, rng)
    supplied(len(rows), n, NAME)
    variance = ratio * np.maximum(pool.noise[rows], rule.floor)
    score = 0.5 * np.log1p(ratio)
    return Picks(
        rows=rows,
        score=score,
        mode=np.full(n, -1, dtype=np.int64),
        reason=tuple(
            f"variance {v:.3g} given the picks before, {s:.3g} nats"
            for v, s in zip(variance.tolist(), score.tolist(), strict=True)
        ),
    )
