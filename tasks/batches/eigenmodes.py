"""Strategy `eigenmodes`: for every direction of error, the perturbation that loads most on it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tasks.batches.pool import (
    BoolArray,
    ExhaustedStrategy,
    FloatArray,
    IntArray,
    Picks,
    PoolView,
    check_supply,
    largest_remainder,
)

NAME = "eigenmodes"


def pick_eigenmodes(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Per mode the largest unused |loading|.

    Up to as many picks as there are modes, each leading mode gives one. Beyond that the modes get places in
    proportion to their eigenvalues (largest remainder) and take turns, leading mode first. Equal eigenvalues and equal
    loadings are ordered by `rng`: inside a degenerate eigenspace the basis means nothing. O(P r) for fixed n.

    Raises:
        ExhaustedStrategy: If n > P, if no eigenvalue is positive, or if nothing unused loads on a mode that is due.
    """
    check_supply(pool, n, NAME)
    modes = _modes_in_order(pool.eigenvalues, rng)
    if n and not len(modes):
        raise ExhaustedStrategy(
            "the operator has no positive eigenvalue",
            where=f"strategy {NAME}, pick 1",
            got="0 modes",
            expected="at least 1",
            todo="Use the strategy random: the ensemble sees no reducible error in the pool.",
        )
    turns = _turns(pool.eigenvalues, modes, n, rng)
    priority = rng.permutation(len(pool))
    used = np.zeros(len(pool), dtype=bool)
    queues: dict[int, Iterator[int]] = {}
    rows = np.empty(n, dtype=np.int64)
    for position, mode in enumerate(turns.tolist()):
        if mode not in queues:
            queues[mode] = iter(_heaviest(pool.loadings[:, mode], n, priority).tolist())
        rows[position] = _next_unused(queues[mode], used, mode, position)
        used[rows[position]] = True
    score = np.abs(pool.loadings[rows, turns])
    share = pool.eigenvalues / pool.eigenvalues[pool.eigenvalues > 0].sum() if n else pool.eigenvalues
    return Picks(
        rows=rows,
        score=score,
        mode=turns,
        reason=tuple(
            f"largest unused loading {s:.3g} on mode {m} ({share[m]:.1%} of the error)"
            for s, m in zip(score.tolist(), turns.tolist(), strict=True)
        ),
    )


def _modes_in_order(eigenvalues: FloatArray, rng: np.random.Generator) -> IntArray:
    """Modes with a positive eigenvalue, largest first, equal ones by `rng`."""
    order = np.lexsort((rng.permutation(len(eigenvalues)), -eigenvalues))
    return order[eigenvalues[order] > 0].astype(np.int64)


def _turns(eigenvalues: FloatArray, modes: IntArray, n: int, rng: np.random.Generator) -> IntArray:
    """(n,) the mode of each pick."""
    if n <= len(modes):
        return modes[:n]
    places = largest_remainder(eigenvalues[modes], n, rng)
    turn = np.concatenate([np.arange(count) for count in places])
    mode = np.repeat(np.arange(len(modes)), places)
    return modes[mode[np.lexsort((mode, turn))]]


def _heaviest(loading: FloatArray, n: int, priority: IntArray) -> IntArray:
    """At least the n rows with the largest non-zero |loading|, in order; ties by `priority`.

    n suffice: no more than n − 1 of them can be used when the mode's turn comes.
    """
    weight = np.abs(loading)
    floor = np.partition(weight, len(weight) - n)[len(weight) - n]
    rows = np.flatnonzero((weight >= floor) & (weight > 0))
    return rows[np.lexsort((priority[rows], -weight[rows]))].astype(np.int64)


def _next_unused(queue: Iterator[int], used: BoolArray, mode: int, position: int) -> int:
    for row in queue:
        if not used[row]:
            return row
    raise ExhaustedStrategy(
        f"nothing unused loads on mode {mode}",
        where=f"strategy {NAME}, pick {position + 1}",
        got="only zero loadings",
        expected="a perturbation with a loading",
        todo="Give the slot a smaller share.",
    )
