"""Strategy `eigenspace-clusters`: largest-cluster maximum distance in the operator's eigenspace."""

from __future__ import annotations

import heapq
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasks.batches.distances import Reach
from tasks.batches.nearest import AHEAD, Nearest, all_coincide
from tasks.batches.pool import FloatArray, IntArray, Picks, PoolView, check_supply, seeded_argmax
from tasks.batches.targets import Single, product
from tasks.threads import one_blas_thread

NAME = "eigenspace-clusters"

# Members among whom the next picks are guessed.
FOREMOST = 512


Coincident = Annotated[
    Literal["draw", "refuse"],
    Field(
        description="When all that is left coincides with what was chosen. draw: the rest by chance. refuse: an error."
    ),
]


Noise = Annotated[
    Literal["weigh", "ignore"],
    Field(
        description="weigh: a perturbation counts by how much of its error one label would remove, noise being what it "
        "is. ignore: as if labels had no noise."
    ),
]


def pick_eigenspace_clusters(
    pool: PoolView, n: int, rng: np.random.Generator, *, coincident: Coincident = "draw", noise: Noise = "weigh"
) -> Picks:
    """From the cluster with most error left around what is known, the perturbation farthest from its centre.

    Every perturbation belongs to its nearest centre; the centres are the observed perturbations and the picks so far
    (LCMD in mode TP). Each pick becomes a centre and takes over what is nearer to it. Without observed perturbations
    the first pick has the largest norm. Ties are drawn by `rng`. The distance in Z is the standard deviation of the
    difference of two errors, so the score is in readout units. Rows of Z are weighed so that their squared norm is not
    the error variance v but what one label with noise σ²_Y removes of it; without noise that is the same. The picks are
    those of a float64 loop over all pairs. Where all that is left coincides with what was chosen, distances cannot tell
    what is worth more: the rest is drawn by chance, and each such pick says so.

    Formula:
        argmax of d²(x) over the cluster with the largest Σ d², d(x) = min over centres c of ‖w(x)z(x) − w(c)z(c)‖,
        w² = v/(v + σ²_Y), so that ‖wz‖² = v²/(v + σ²_Y)
    Cost:
        O((n_obs + n) N r) multiply-adds at the rate of matrix products, less where the triangle inequality spares
        rows; memory some vectors of N.
    Fails:
        Where distances say nothing of errors, as with outliers in the features.
    Source:
        Holzmüller, Zaverkin, Kästner and Steinwart 2023, "A framework and benchmark for deep batch active learning
        for regression" (LCMD, mode TP). The weights are ours.

    Raises:
        ExhaustedStrategy: If n > P, or, asked to refuse, if every perturbation left coincides with a centre.
    """
    check_supply(pool, n, NAME)
    with one_blas_thread():
        clusters = _Clusters(Nearest(pool, pool.coordinates, pool.observed, _weights(pool, noise)), n, rng)
        picked: list[tuple[int, float, str]] = []
        while len(picked) < n and not clusters.used_up:
            picked.append(clusters.pick(n - len(picked)))
    if len(picked) < n:
        if coincident == "refuse":
            raise all_coincide(NAME, len(picked), n)
        picked += _draw(pool, [row for row, _, _ in picked], n, rng)
    return Picks(
        rows=np.array([row for row, _, _ in picked], dtype=np.int64),
        score=np.array([distance for _, distance, _ in picked]),
        mode=np.full(n, -1, dtype=np.int64),
        reason=tuple(reason for _, _, reason in picked),
    )


def _weights(pool: PoolView, noise: str) -> Single | None:
    """(N,) √(v/(v + σ²_Y))."""
    if noise == "ignore":
        return None
    variance = pool.variance.clip(0.0)
    total = variance + pool.noise
    weights: Single = np.sqrt(np.divide(variance, total, out=np.ones(len(pool)), where=total > 0)).astype(np.float32)
    return weights


def _draw(pool: PoolView, taken: list[int], n: int, rng: np.random.Generator) -> list[tuple[int, float, str]]:
    """What is missing to n picks, drawn uniformly."""
    left = np.setdiff1d(np.flatnonzero(pool.open), taken)
    rows = rng.choice(left, n - len(taken), replace=False)
    return [(int(row), 0.0, "coincides with what was chosen before, as all that is left: by chance") for row in rows]


class _Clusters:
    """Members of each cluster and their spread Σ d², as centres are added.

    Two things make it fast without changing a pick. Spreads only fall, so a spread that was not summed anew is a bound,
    and is summed anew when it leads. And what a point takes over if it is picked later is among what it would take over
    now: the farthest members of the largest clusters are probably next, so the library is asked about many in one pass.
    """

    def __init__(self, near: Nearest, room: int, rng: np.random.Generator) -> None:
        self._near, self._rng, self._room = near, rng, room
        self._ahead: dict[int, Reach] = {}
        self._asked = AHEAD // 4
        self._group()

    def _group(self) -> None:
        near = self._near
        order = np.argsort(near.centre, kind="stable")
        order = order[near.square[order] > 0]
        self._members = np.split(order, np.searchsorted(near.centre[order], np.arange(1, near.count)))
        sums = np.bincount(near.centre, weights=near.square, minlength=near.count)
        # The order of a sum decides its last digits; 1e-9 is far above them.
        self._spread: FloatArray = np.concatenate([sums * (1 + 1e-9), np.zeros(self._room)])
        self._exact = self._spread == 0

    @property
    def used_up(self) -> bool:
        """Whether everything left coincides with a centre."""
        return bool(self._spread[self._largest()] <= 0)

    def pick(self, left: int) -> tuple[int, float, str]:
        """The next pick of so many that are missing, its distance, and why."""
        near, largest = self._near, self._largest()
        inside = self._inside(largest)
        row = int(inside[seeded_argmax(near.square[inside], self._rng)])
        distance = float(np.sqrt(near.square[row]))
        share = self._spread[largest] / self._spread.sum()
        known = "the origin, nothing being known" if near.blank else "what was chosen before"
        self._add(row, left)
        return row, distance, f"{distance:.3g} from {known}, in a cluster of {len(inside)} ({share:.1%})"

    def _largest(self) -> int:
        while True:
            leading = np.flatnonzero(self._spread == self._spread.max())
            if self._exact[leading].all():
                return int(leading[0] if len(leading) == 1 else self._rng.choice(leading))
            for number in leading[~self._exact[leading]].tolist():
                self._inside(number)

    def _inside(self, number: int) -> IntArray:
        """Members of a cluster, ascending; its spread is exact afterwards."""
        members = self._members[number]
        if not self._exact[number]:
            members = members[self._near.centre[members] == number]
            self._members[number], self._exact[number] = members, True
            self._spread[number] = self._near.square[members].sum()
        return members

    def _add(self, row: int, left: int) -> None:
        near = self._near
        if near.blank:
            near.begin(np.array([row]))
            self._group()
            return
        if row not in self._ahead:
            self._look_ahead(row, left)
        reach = near.still(self._ahead.pop(row))
        lost = np.bincount(near.centre[reach.rows], weights=near.square[reach.rows])
        losers = np.flatnonzero(lost)
        self._spread[losers] = self._spread[losers] * (1 + 1e-12) - lost[losers]
        self._exact[losers] = False
        number = near.add(reach)
        self._members.append(reach.rows[reach.square > 0])
        self._exact[number] = False
        self._inside(number)

    def _look_ahead(self, row: int, left: int) -> None:
        """Ask what this point and those that are probably next would take over."""
        self._ahead = {other: self._near.still(reach) for other, reach in self._ahead.items()}
        # Twice as many as were needed of the last ones.
        used = self._asked - len(self._ahead)
        rows = self._probable(row, self._near.ahead(min(2 * used, left)))
        self._ahead |= dict(zip(rows, self._near.reaches(np.array(rows)), strict=True))
        self._asked = len(self._ahead)

    def _probable(self, row: int, count: int) -> list[int]:
        """The next pick, and who would follow if only the foremost members took over from each other.

        Those who were asked about already are left out.
        """
        foremost = self._foremost(row)
        points = self._near.points(foremost)
        products = product(points, points.T)
        gaps = np.diag(products)[:, None] + np.diag(products) - 2 * products
        square, centre = self._near.square[foremost], self._near.centre[foremost].astype(np.int64)
        spread = np.concatenate([self._spread, np.zeros(len(foremost))])
        rows, place = [], 0
        for number in range(len(self._spread), len(spread)):
            if int(foremost[place]) not in self._ahead:
                rows.append(int(foremost[place]))
            taken = np.flatnonzero(gaps[place] < square)
            np.subtract.at(spread, centre[taken], square[taken])
            square[taken], centre[taken] = gaps[place, taken], number
            square[place], spread[number] = 0.0, square[taken].sum()
            left = np.flatnonzero(square)
            if len(rows) == count or not len(left):
                break
            # Of clusters that have foremost members left: another one can supply no guess.
            inside = left[centre[left] == centre[left][spread[centre[left]].argmax()]]
            place = int(inside[square[inside].argmax()])
        return rows

    def _foremost(self, row: int) -> IntArray:
        """This row, then the farthest members of the largest clusters, as if each pick took nothing but itself."""
        square = self._near.square
        largest = np.argsort(-self._spread, kind="stable")[:AHEAD].tolist()
        queue = [(-self._spread[number], rank, 0) for rank, number in enumerate(largest) if self._spread[number] > 0]
        far: dict[int, IntArray] = {}
        rows = [row]
        while queue and len(rows) < FOREMOST:
            spread, rank, taken = heapq.heappop(queue)
            if rank not in far:
                inside = self._inside(largest[rank])
                far[rank] = inside[np.argsort(-square[inside], kind="stable")[:FOREMOST]]
            if taken < len(far[rank]):
                following = int(far[rank][taken])
                rows += [following] if following != row else []
                heapq.heappush(queue, (spread + square[following], rank, taken + 1))
        return np.array(rows)
