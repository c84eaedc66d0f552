"""What strategies that score every perturbation by itself share: the largest scores, and draws by weight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tasks.batches.pool import ExhaustedStrategy, FloatArray, Picks, PoolView, check_supply
from tasks.errors import NumericalError


def pick_largest(
    pool: PoolView,
    n: int,
    rng: np.random.Generator,
    name: str,
    score: FloatArray,
    reason: Callable[[float, int], str],
    floor: float = 0.0,
    lacks: str = "score",
) -> Picks:
    """The n largest scores, exact ties drawn by `rng`. O(P + n log n).

    Args:
        pool: The library.
        n: How many.
        rng: Draws ties.
        name: The strategy, for messages.
        score: (P,) of the open rows, ascending.
        reason: (score, place from 1) → one short sentence.
        floor: A score at or below it says nothing.
        lacks: What is missing where nothing is left above the floor, in words.

    Raises:
        ExhaustedStrategy: If n > P, or if fewer than n scores are above the floor (the rest would be a blind draw).
        NumericalError: If a score is not a number.
    """
    check_supply(pool, n, name)
    candidates = np.flatnonzero(pool.open)
    if np.isnan(score).any():
        raise NumericalError(f"strategy {name}: the score of row {candidates[np.isnan(score)][0]} is not a number")
    if n == 0:
        return picks(candidates[:0], np.zeros(0), ())
    threshold = np.partition(score, len(score) - n)[len(score) - n]
    kept = np.flatnonzero(score >= threshold)
    order = kept[np.lexsort((rng.permutation(len(kept)), -score[kept]))][:n]
    best = score[order]
    if best[-1] <= floor:
        raise ExhaustedStrategy(
            f"no {lacks} left to choose by",
            where=f"strategy {name}, pick {int(np.argmax(best <= floor)) + 1}",
            got=f"{lacks} {floor:g} or less" if np.isfinite(floor) else f"no {lacks}",
            expected=f"{n} perturbations with more",
            todo="Give the slot a smaller share, or part of it to the strategy random.",
        )
    return picks(candidates[order], best, tuple(reason(s, k + 1) for k, s in enumerate(best.tolist())))


def draw_by_weight(
    pool: PoolView, n: int, rng: np.random.Generator, name: str, log_weight: FloatArray, what: str
) -> Picks:
    """Draw n open rows one after another without replacement, each with probability ∝ its weight among those left.

    Row i gets the key log wᵢ − log Eᵢ, Eᵢ standard exponential, and the n largest keys win: the smallest of Eᵢ/wᵢ is i
    with probability wᵢ/Σw, and what is left is distributed as before.

    Args:
        pool: The library.
        n: How many.
        rng: Draws.
        name: The strategy, for messages.
        log_weight: (P,) of the open rows, ascending; −∞ is never drawn.
        what: What the weight is, in words.

    Returns:
        Picks in the order of the draw, scored by their probability at the first draw.

    Raises:
        ExhaustedStrategy: If n > P, or if fewer than n weights are positive.

    Source: Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir", algorithm A (exponential keys);
    Kool et al. 2019, "Stochastic beams and where to find them" (the same as Gumbel top-k).
    """
    check_supply(pool, n, name)
    keys = log_weight - np.log(rng.standard_exponential(len(log_weight)))
    drawn = pick_largest(pool, n, rng, name, keys, lambda *_: "", -np.inf, what)
    if n == 0:
        return drawn
    top = log_weight.max()
    total = np.exp(log_weight - top).sum()
    place = np.searchsorted(np.flatnonzero(pool.open), drawn.rows)
    share = np.exp(log_weight[place] - top) / total
    return picks(drawn.rows, share, tuple(f"drawn by its {what}, {s:.2g} of all" for s in share.tolist()))


def picks(rows: np.ndarray, score: FloatArray, reason: tuple[str, ...]) -> Picks:
    """Picks that stand for no eigenmode."""
    return Picks(rows.astype(np.int64), score, np.full(len(rows), -1, dtype=np.int64), reason)
