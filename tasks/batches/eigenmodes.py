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
from tasks.threads import one_blas_thread

NAME = "eigenmodes"

#: Rows looked up for a mode beyond twice its places: other modes may have used the first ones.
SPARE = 8


@one_blas_thread()
def pick_eigenmodes(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Per mode of the operator, the perturbation that loads most on it and is not picked yet.

    Up to as many picks as there are modes, each leading mode gives one. Beyond that the modes get places in
    proportion to their eigenvalues (largest remainder) and take turns, leading mode first. Equal eigenvalues and equal
    loadings are ordered by `rng`: inside a degenerate eigenspace the basis means nothing.

    Who is chosen already but not in the model yet goes along: where such a row is the largest unused one, it stands for
    the mode, whose turn is over. So a slot that is asked in parts goes on where it stopped, up to the number of modes
    with the picks it would have given at once; beyond it places are shared anew, and ties are drawn anew. Which slot or
    round chose a row is not known and does not matter: its measurement will come all the same.

    Formula:
        argmax_i |U_ik| for mode k = 1, 2, …, i not picked before

    Cost:
        O(N r) and a sort of n + n_pending; one pass over the coordinates. The turns are gone through anew at most
        n_pending / n + 1 times. Memory: one vector of N.

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
    rows, turns = _go_on(pool, modes, n, rng) if n else (modes[:0], modes[:0])
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


def _go_on(pool: PoolView, modes: IntArray, n: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """(n,) rows and (n,) modes: the first turns among the open and the pending that give n open ones."""
    priority, ties = rng.permutation(len(pool)), int(rng.integers(2**63))
    most = n + int(pool.pending.sum())
    places = int(np.bincount(_turns(pool.eigenvalues, modes, most, ties)).max())
    heaviest = _Heaviest(pool, modes[:most], places, priority)
    count = n
    while True:
        turns = _turns(pool.eigenvalues, modes, count, ties)
        heaviest.begin()
        rows = np.array([heaviest.take(mode) for mode in turns.tolist()], dtype=np.int64)
        new = np.flatnonzero(pool.open[rows])[:n]
        if len(new) == n:
            return rows[new], turns[new]
        count += n - len(new)


def _turns(eigenvalues: FloatArray, modes: IntArray, n: int, ties: int) -> IntArray:
    """(n,) the mode of each pick; the seed `ties` orders equal remainders."""
    if n <= len(modes):
        return modes[:n]
    places = largest_remainder(eigenvalues[modes], n, np.random.default_rng(ties))
    turn = np.concatenate([np.arange(count) for count in places])
    mode = np.repeat(np.arange(len(modes)), places)
    return modes[mode[np.lexsort((mode, turn))]]


class _Heaviest:
    """Open and pending rows of each mode by |loading|: as many as were needed so far, looked up again if they run out.

    Args:
        pool: The library.
        modes: (k,) the modes that may be asked for.
        places: About how often one of them is.
        priority: (N,) order of equal loadings.
    """

    def __init__(self, pool: PoolView, modes: IntArray, places: int, priority: IntArray) -> None:
        self.pool, self.priority = pool, priority
        self.rows: BoolArray = pool.open | pool.pending
        self.used: set[int] = set()
        self.asked: dict[int, int] = {}
        self.queues: dict[int, list[int]] = {}
        self.seen: dict[int, int] = {}
        self._look_up(modes, 2 * places + SPARE)

    def begin(self) -> None:
        """Nothing is used."""
        self.used = set()
        self.seen = dict.fromkeys(self.queues, 0)

    def take(self, mode: int) -> int:
        """The heaviest unused row of a mode, used from now on.

        Raises:
            ExhaustedStrategy: No unused row loads on it.
        """
        while True:
            queue = self.queues[mode]
            while self.seen[mode] < len(queue):
                row = queue[self.seen[mode]]
                self.seen[mode] += 1
                if row not in self.used:
                    self.used.add(row)
                    return row
            if self.asked[mode] >= len(self.pool):
                picked = int(self.pool.open[sorted(self.used)].sum())
                raise ExhaustedStrategy(
                    f"nothing unused loads on mode {mode}",
                    where=f"strategy {NAME}, pick {picked + 1}",
                    got="only zero loadings",
                    expected="a perturbation with a loading",
                    todo="Give the slot a smaller share.",
                )
            self._look_up(np.array([mode]), 4 * self.asked[mode])

    def _look_up(self, modes: IntArray, count: int) -> None:
        """Fill the queues of some modes with at least the `count` heaviest rows, the heaviest first."""
        parts = list(self.pool.coordinates.map(_heaviest, modes, count, along=(self.rows,)))
        which, rows, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
        for position, mode in enumerate(modes.tolist()):
            mine, size = rows[which == position], weight[which == position]
            if len(mine) > count:
                enough = size >= np.partition(size, len(size) - count)[len(size) - count]
                mine, size = mine[enough], size[enough]
            self.queues[mode] = mine[np.lexsort((self.priority[mine], -size))].tolist()
            self.asked[mode], self.seen[mode] = count, 0


def _heaviest(
    chunk: Any, start: int, some: BoolArray, modes: IntArray, count: int
) -> tuple[IntArray, IntArray, FloatArray]:
    """Of some rows of a chunk the `count` heaviest for each mode, ties included: which mode, row, |coordinate|."""
    columns = np.asarray(array_api_compat.to_device(chunk, "cpu"))[:, modes]
    weight = np.where(some, np.abs(columns.T), 0)
    last = max(weight.shape[1] - count, 0)
    least = np.partition(weight, last, axis=1)[:, last : last + 1]
    which, rows = np.nonzero((weight >= least) & (weight > 0))
    return which, rows + start, weight[which, rows]
