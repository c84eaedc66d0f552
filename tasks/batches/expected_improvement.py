"""Strategy `expected-improvement`: each pick removes the most reducible variance from the library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks.batches.greedy import greedy, supplied
from tasks.batches.pool import FloatArray, Picks, PoolView, check_supply
from tasks.batches.posterior import posterior_of, unseen
from tasks.threads import one_blas_thread

NAME = "expected-improvement"

#: Keeps 0/0 of a known row without noise at 0.
_TINY = 1e-300


@dataclass(frozen=True)
class Removal:
    """The trace that a measurement removes.

    Attributes:
        measured: Count what is left of predicted measurements, noise included, as the paper does; a row that is picked
            then leaves the targets. Otherwise count what is left of the true values.
    """

    measured: bool = False

    @property
    def traced(self) -> bool:
        """It asks for n."""
        return True

    @property
    def leaves(self) -> bool:
        """Whether a row that is picked stops being a target."""
        return self.measured

    def score(self, d: FloatArray, n: FloatArray, noise: FloatArray) -> FloatArray:
        """Score (k,), see `Rule`."""
        if self.measured:
            n = n + noise * (2.0 * d + noise)
        return n / np.maximum(d + noise, _TINY)

    def ceiling(self, d: FloatArray, noise: FloatArray, top: float) -> FloatArray:
        """No less than any score (k,) to come, see `Rule`: n is at most top·d."""
        return self.score(d, top * d, noise)


@one_blas_thread()
def pick_expected_improvement(
    pool: PoolView,
    n: int,
    rng: np.random.Generator,
    *,
    target: Annotated[
        Literal["value", "measurement"],
        Field(description="value: variance of true values counts. measurement: of measurements, the paper's own rule."),
    ] = "value",
) -> Picks:
    """Pick, one after another, what removes the most reducible variance from the library when it is measured.

    The variance that is counted is that of the true values of all that the model has not seen, the picks included;
    `noise` makes a measurement worth less. `target: measurement` is the paper's own rule: what counts is the variance
    of predicted measurements, noise included, of what is not picked. With the same small noise for all the two agree;
    with noise that differs, the paper's rule is drawn to noisy perturbations. Picks are those of the dense algorithm in
    float64, in their order.

    Formula:
        argmax_i z_iᵀ A G A z_i / (z_iᵀ A z_i + σ²_i), A the posterior given the picks before, G = Σ_j z_j z_jᵀ

    Cost:
        O(N r²) once; a pick O(N r) at worst, and some thousand rows in place of N once bounds tell rows apart (where
        rows are all alike, a tenth of N). The same for every pick of the batch. Memory: nine vectors of N, and a copy
        of a quarter of the rows at most.

    Fails:
        When the covariance is wrong: it trusts it wholly. Without noise no more picks than modes: ExhaustedStrategy. A
        greedy batch need not be the best one: [[9, 3, 2], [3, 2, 3], [2, 3, 9]] gives 16.9 of 19.6
        (`expected-improvement-backward` finds it).

    Source:
        Nagpal and Knowles 2020, arXiv 2011.14015, "Active Learning in CNNs via Expected Improvement Maximization"
        (DEIMOS); the same as BAIT's forward step on centred predictions (Ash et al. 2021). The authors' code divides 0
        by 0 at rows picked before.

    Args:
        pool: The library.
        n: How many.
        rng: Draws ties.
        target: value: variance of true values; measurement: the paper's.

    Raises:
        ExhaustedStrategy: Fewer than n may be picked, or no perturbation left removes anything.
    """
    check_supply(pool, n, NAME)
    posterior = posterior_of(pool)
    left = posterior.trace()
    rule = Removal(target == "measurement")
    if rule.measured:
        left += float(pool.noise[unseen(pool)].sum())
    rows, score = greedy(pool.coordinates, pool.noise, pool.open, posterior, rule, n, rng)
    supplied(len(rows), n, NAME)
    return Picks(rows=rows, score=score, mode=np.full(n, -1, dtype=np.int64), reason=removal_reasons(score, left))


def removal_reasons(score: FloatArray, trace: float) -> tuple[str, ...]:
    """Why each pick was made: what it removes (n,) [readout unit squared], of what was left of `trace` before it."""
    before = trace - np.concatenate([[0.0], np.cumsum(score)])[:-1]
    return tuple(
        f"removes {s:.3g} ({s / b:.2%}) of the variance left in the library"
        for s, b in zip(score.tolist(), before.tolist(), strict=True)
    )
