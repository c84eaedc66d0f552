"""Strategy `k-centre`: the core set of greedy k-centre in the operator's eigenspace."""

from __future__ import annotations

import numpy as np

from tasks.batches.nearest import Nearest, all_coincide
from tasks.batches.pointwise import picks
from tasks.batches.pool import FloatArray, IntArray, Picks, PoolView, check_supply, seeded_argmax
from tasks.batches.targets import squares
from tasks.threads import one_blas_thread

NAME = "k-centre"

# Farthest rows whose distances are kept up to date between two passes over the library.
FARTHEST = 8192


def pick_k_centre(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """The perturbation farthest from all that is known, again and again: no part of the eigenspace stays uncovered.

    The centres are all observed perturbations and the picks so far. Without observed perturbations the first pick has
    the largest norm. Ties are drawn by `rng`. The picks are those of a float64 loop over all pairs.

    Formula:
        argmax over x of min over centres c of ‖z(x) − z(c)‖
    Cost:
        O((n_obs + n) N r) multiply-adds at the rate of matrix products, less where the triangle inequality spares
        rows; memory some vectors of N
    Fails:
        Takes outliers first. Says at which pick everything left coincides with what was chosen
    Source:
        Sener and Savarese 2018, "Active learning for convolutional neural networks: a core-set approach", algorithm 1
        (k-centre greedy). GeneDisco's code counts only its last batch as centres; its paper (equation 8) and this all

    Raises:
        ExhaustedStrategy: If n > P, or if every perturbation left coincides with a centre.
    """
    check_supply(pool, n, NAME)
    with one_blas_thread():
        rows, square, first = _farthest_first(pool, n, rng)
    distance = np.sqrt(square).tolist()
    reasons = [f"{d:.3g} from the nearest that was chosen before" for d in distance]
    if first:
        reasons[:1] = [f"{d:.3g} from the origin, nothing being known" for d in distance[:1]]
    return picks(rows, np.sqrt(square), tuple(reasons))


def _farthest_first(pool: PoolView, n: int, rng: np.random.Generator) -> tuple[IntArray, FloatArray, bool]:
    """Rows, squared distances, and whether the first one is that from the origin."""
    farthest = _Farthest(Nearest(pool, pool.coordinates, pool.observed), rng)
    first = farthest.near.blank
    rows, square = np.empty(n, dtype=np.int64), np.empty(n)
    for pick in range(n):
        rows[pick], square[pick] = farthest.next(pick, n)
        if pick + 1 < n:
            farthest.add(int(rows[pick]))
    return rows, square, first


class _Farthest:
    """The farthest rows, kept up to date while centres are added; all others are nearer than `bar`.

    Distances only fall, so the others need no look until the farthest have come down to the bar.
    """

    def __init__(self, near: Nearest, rng: np.random.Generator) -> None:
        self.near, self._rng = near, rng
        self._waiting: list[int] = []
        self._choose()

    def _choose(self) -> None:
        square = self.near.square
        outside = max(len(square) - FARTHEST - 1, 0)
        self._bar = float(np.partition(square, outside)[outside]) if len(square) > FARTHEST else 0.0
        self._rows: IntArray = np.flatnonzero(square > self._bar).astype(np.int64)
        self._square: FloatArray = square[self._rows]
        self._points = self.near.points(self._rows)

    def next(self, pick: int, n: int) -> tuple[int, float]:
        """The farthest row, exact ties by chance, and its squared distance."""
        if self._waiting and self._square.max(initial=0.0) <= self._bar:
            self._settle()
        if len(self._square) and self._square.max() > 0:
            place = seeded_argmax(self._square, self._rng)
            return int(self._rows[place]), float(self._square[place])
        if self._bar <= 0:
            raise all_coincide(NAME, pick, n)
        # More rows are equally far than are kept.
        return seeded_argmax(self.near.square, self._rng), self._bar

    def add(self, row: int) -> None:
        """Make a row a centre."""
        if self.near.blank:
            self.near.begin(np.array([row]))
            self._choose()
            return
        self._waiting.append(row)
        place = np.flatnonzero(self._rows == row)
        if not len(place) or len(self._waiting) >= self.near.ahead(len(self._waiting) + 1):
            self._settle()
            return
        point = self._points[place]
        self._square = np.minimum(self._square, squares(self._points, point, np.square(point).sum(axis=1)))

    def _settle(self) -> None:
        for reach in self.near.reaches(np.array(self._waiting)):
            self.near.add(reach)
        self._waiting = []
        self._choose()
