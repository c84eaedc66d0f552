"""Intervals of assessed numbers: of repeats that share labels, and by bootstrap over perturbations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, t

from tasks.ensembles.estimates import CONFIDENCE, Estimate

Float64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DRAWS = 999
MOST_POINTS = 4000
"""Perturbations that a bootstrap works on: more make its interval no more than a rounding narrower."""


def mean_of_repeats(values: Float64, tested: float) -> Estimate:
    """Mean of (k,) repeats with the corrected t interval.

    Repeats learn from overlapping labels, so they vary less than new data would: s²/k is replaced by
    s²·(1/k + tested/(1 − tested)).

    Args:
        values: Of the repeats.
        tested: Share of the labels that a repeat holds out.

    Source:
        Nadeau and Bengio 2003, Inference for the generalization error, section 3.
    """
    if not len(values):
        return Estimate(None, why="no repeat")
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, why="one repeat gives no interval")
    variance = float(values.var(ddof=1)) * (1 / len(values) + tested / (1 - tested))
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * np.sqrt(variance))
    return Estimate(mean, mean - half, mean + half)


def bootstrap(statistic: Callable[[Ints], Float64], n: int, seed: int) -> Estimate:
    """A statistic of n perturbations with its percentile interval.

    Args:
        statistic: Gets rows (draws, n) and gives the statistic of each draw (draws,); NaN where it is not defined.
        n: Perturbations.
        seed: Of the draws.

    Source:
        Efron and Tibshirani 1993, An introduction to the bootstrap, chapter 13.
    """
    whole = float(statistic(np.arange(n)[None])[0])
    if not np.isfinite(whole):
        return Estimate(None, why="not defined for these perturbations")
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([statistic(rng.integers(n, size=(step, n))) for step in _steps(n)])
    if not np.isfinite(drawn).all():
        return Estimate(whole, why="not defined for every draw")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(whole, float(low), float(high))


def rank_correlation(x: Float64, y: Float64, seed: int) -> Estimate:
    """Spearman's rank correlation of x and y (n,), ties by their mean rank, with a bootstrap interval."""
    if len(x) < 4:
        return Estimate(None, why=f"{len(x)} measurements, 4 are needed")
    if len(x) > MOST_POINTS:
        kept = np.random.default_rng(seed).choice(len(x), MOST_POINTS, replace=False)
        x, y = x[kept], y[kept]

    def statistic(rows: Ints) -> Float64:
        a, b = (rankdata(values[rows], axis=1) for values in (x, y))
        a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in (a, b))
        size = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
        found: Float64 = np.divide((a * b).sum(axis=1), size, out=np.full(len(size), np.nan), where=size > 0)
        return found

    return bootstrap(statistic, len(x), seed)


def ratio(above: Float64, below: Float64, seed: int) -> Estimate:
    """1 − Σ above/Σ below over n perturbations, with a bootstrap interval."""

    def statistic(rows: Ints) -> Float64:
        total = below[rows].sum(axis=1)
        share: Float64 = np.divide(above[rows].sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)
        return np.asarray(1.0 - share)

    return bootstrap(statistic, len(above), seed)


def _steps(n: int) -> list[int]:
    """Draws that are made at once, so that no more than 2²² numbers are in memory."""
    step = max(1, 2**22 // max(n, 1))
    return [min(step, DRAWS - start) for start in range(0, DRAWS, step)]
