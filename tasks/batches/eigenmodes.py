"""Strategy `eigenmodes`: for every direction of error, the perturbation that loads most on it."""

from __future__ import annotations

from typing import Any

import array_api_compat
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

#: Rows looked up for a mode beyond twice its places: other modes may have used the first ones.
SPARE = 8


def pick_eigenmodes(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Per mode of the operator, the perturbation that loads most on it and is not picked yet.

    Up to as many picks as there are modes, each leading mode gives one. Beyond that the modes get places in
    proportion to their eigenvalues (largest remainder) and take turns, leading mode first. Equal eigenvalues and equal
    loadings are ordered by `rng`: inside a degenerate eigenspace the basis means nothing.

    Formula:
        argmax_i |U_ik| for mode k = 1, 2, …, i not picked before

    Cost:
        O(N r) and a sort of n; one pass over the coordinates. Memory: one vector of N.

    Fails:
        It knows nothing of redundancy inside a mode, and picks beyond the number of modes repeat directions.
        ExhaustedStrategy where no eigenvalue is positive or nothing unused loads on a mode that is due.

    Source:
        Scherer, Kirsch and Taylor-King 2025, arXiv 2509.04363. Taking the argmax of each mode alone, as is published,
        names the same perturbation for several modes; here the largest unused one is taken.

    Args:
        pool: The library.
        n: How many.
        rng: Orders ties.

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
    heaviest = _Heaviest(pool, turns, rng.permutation(len(pool)))
    rows = np.array([heaviest.take(mode, place) for place, mode in enumerate(turns.tolist())], dtype=np.int64)
    share = pool.eigenvalues / pool.eigenvalues.clip(0.0).sum() if n else pool.eigenvalues
    score = np.abs(pool.coordinates.take(rows)[np.arange(n), turns]) / np.sqrt(pool.eigenvalues[turns])
    return Picks(
        rows=rows,
        score=score.astype(np.float64),
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


class _Heaviest:
    """The open rows of each mode by |loading|: as many as were needed so far, looked up again when they run out.

    Args:
        pool: The library.
        turns: (n,) the mode of each pick.
        priority: (N,) order of equal loadings.
    """

    def __init__(self, pool: PoolView, turns: IntArray, priority: IntArray) -> None:
        self.pool, self.priority = pool, priority
        self.used: BoolArray = np.zeros(len(pool), dtype=bool)
        modes, places = np.unique(turns, return_counts=True)
        self.asked: dict[int, int] = {}
        self.queues: dict[int, list[int]] = {}
        if len(modes):
            self._look_up(modes, 2 * int(places.max()) + SPARE)

    def take(self, mode: int, place: int) -> int:
        """The heaviest unused row of a mode, used from now on.

        Raises:
            ExhaustedStrategy: No unused row loads on it. `place` is told as the pick that failed.
        """
        while True:
            queue = self.queues[mode]
            while queue:
                row = queue.pop()
                if not self.used[row]:
                    self.used[row] = True
                    return row
            if self.asked[mode] >= len(self.pool):
                raise ExhaustedStrategy(
                    f"nothing unused loads on mode {mode}",
                    where=f"strategy {NAME}, pick {place + 1}",
                    got="only zero loadings",
                    expected="a perturbation with a loading",
                    todo="Give the slot a smaller share.",
                )
            self._look_up(np.array([mode]), 4 * self.asked[mode])

    def _look_up(self, modes: IntArray, count: int) -> None:
        """Fill the queues of some modes with at least the `count` heaviest rows, the heaviest last."""
        parts = list(self.pool.coordinates.map(_heaviest, modes, count, along=(self.pool.open,)))
        which, rows, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
        for position, mode in enumerate(modes.tolist()):
            mine, size = rows[which == position], weight[which == position]
            if len(mine) > count:
                enough = size >= np.partition(size, len(size) - count)[len(size) - count]
                mine, size = mine[enough], size[enough]
            self.queues[mode] = mine[np.lexsort((-self.priority[mine], size))].tolist()
            self.asked[mode] = count


def _heaviest(
    chunk: Any, start: int, open_: BoolArray, modes: IntArray, count: int
) -> tuple[IntArray, IntArray, FloatArray]:
    """The `count` heaviest open rows of a chunk for each mode, ties included: which mode, row, |coordinate|."""
    columns = np.asarray(array_api_compat.to_device(chunk, "cpu"))[:, modes]
    weight = np.where(open_, np.abs(columns.T), 0)
    last = max(weight.shape[1] - count, 0)
    least = np.partition(weight, last, axis=1)[:, last : last + 1]
    which, rows = np.nonzero((weight >= least) & (weight > 0))
    return which, rows + start, weight[which, rows]
