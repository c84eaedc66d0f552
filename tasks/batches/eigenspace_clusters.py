"""Strategy `eigenspace-clusters`: largest-cluster maximum distance in the operator's eigenspace."""

from __future__ import annotations

import numpy as np

from tasks.batches.pool import (
    ExhaustedStrategy,
    FloatArray,
    IntArray,
    Picks,
    PoolView,
    check_supply,
    seeded_argmax,
)

NAME = "eigenspace-clusters"

# Squared distances below this share of the largest squared norm are rounding, not distance.
ROUNDING = 1e-12
# Entries of a block of distances to the observed set: 32 MiB of float64.
BLOCK = 4_194_304
# Gathering more than this share of the rows costs more than reading them all.
GATHER = 0.25


def pick_eigenspace_clusters(pool: PoolView, n: int, rng: np.random.Generator) -> Picks:
    """Largest-cluster maximum distance (LCMD) on Z, seeded with the observed set.

    Every perturbation belongs to its nearest centre; the centres are the observed perturbations and the picks so
    far. The next pick is the farthest member of the cluster with the largest sum of squared distances, and becomes a
    centre. Without observed perturbations the first pick has the largest norm. Ties are drawn by `rng`. The distance
    in Z is the standard deviation of the difference of two errors, so the score is in readout units.
    Time O((n_obs + n) P r), memory O(P) beyond the pool.

    Raises:
        ExhaustedStrategy: If n > P, or if every perturbation left coincides with a centre.

    Source: Holzmüller, Zaverkin, Kästner and Steinwart 2023, "A framework and benchmark for deep batch active
    learning for regression" (LCMD, mode TP).
    """
    check_supply(pool, n, NAME)
    clusters = _Clusters(pool.coordinates, pool.observed_coordinates, n)
    rows = np.empty(n, dtype=np.int64)
    score = np.empty(n)
    reasons = []
    for pick in range(n):
        sums = clusters.spread()
        largest = seeded_argmax(sums, rng)
        if sums[largest] <= 0:
            raise _coincident(pick, n)
        inside = np.flatnonzero(clusters.centre == largest)
        row = int(inside[seeded_argmax(clusters.distance[inside], rng)])
        rows[pick], score[pick] = row, np.sqrt(clusters.distance[row])
        share = sums[largest] / sums.sum()
        reasons.append(f"{score[pick]:.3g} from what was chosen before, in a cluster of {len(inside)} ({share:.1%})")
        clusters.add(row)
    return Picks(rows=rows, score=score, mode=np.full(n, -1, dtype=np.int64), reason=tuple(reasons))


class _Clusters:
    """Nearest centre (P,) and squared distance to it (P,) of every point, as centres are added.

    Without observed centres the origin stands in as centre 0 until the first point is added.
    """

    def __init__(self, points: FloatArray, observed: FloatArray, room: int) -> None:
        self.points = points
        self.norms: FloatArray = np.einsum("ij,ij->i", points, points)
        self.count = len(observed)
        self.centres = np.concatenate([observed, np.empty((room, points.shape[1]))])
        largest = max(self.norms.max(initial=0.0), np.square(observed).sum(axis=1).max(initial=0.0))
        self.rounding = ROUNDING * float(largest)
        self.centre: IntArray = np.zeros(len(points), dtype=np.int64)
        self.distance = self.norms.copy()
        if self.count:
            self._assign_nearest(observed)
        self.distance[self.distance <= self.rounding] = 0.0

    def _assign_nearest(self, observed: FloatArray) -> None:
        observed_norms = np.einsum("ij,ij->i", observed, observed)
        step = max(1, BLOCK // len(observed))
        for start in range(0, len(self.points), step):
            rows = slice(start, start + step)
            block = self.points[rows] @ observed.T
            block *= -2.0
            block += observed_norms
            self.centre[rows] = block.argmin(axis=1)
            self.distance[rows] = block[np.arange(len(block)), self.centre[rows]] + self.norms[rows]

    def spread(self) -> FloatArray:
        """Sum of squared distances in each cluster, one entry a centre."""
        return np.bincount(self.centre, weights=self.distance).astype(np.float64, copy=False)

    def add(self, row: int) -> None:
        """Make a point a centre and hand over the points that are nearer to it."""
        number, point = self.count, self.points[row]
        self.centres[number] = point
        self.count += 1
        if number == 0:
            self.distance.fill(np.inf)
            near: IntArray | slice = slice(None)
        else:
            near = self._may_change(point, number)
        new = self.points[near] @ point
        new *= -2.0
        new += self.norms[near]
        new += self.norms[row]
        new[new <= self.rounding] = 0.0
        nearer = np.flatnonzero(new < self.distance[near])
        changed = nearer if isinstance(near, slice) else near[nearer]
        self.distance[changed] = new[nearer]
        self.centre[changed] = number
        # Rounding must not leave the point a distance to itself.
        self.distance[row], self.centre[row] = 0.0, number

    def _may_change(self, point: FloatArray, number: int) -> IntArray | slice:
        """Points whose centre is more than half as far from them as the new one is from that centre.

        By the triangle inequality no other point can be nearer to the new centre.
        """
        gap = np.square(self.centres[:number] - point).sum(axis=1) / 4
        near = np.flatnonzero(self.distance >= gap[self.centre] * (1 - 1e-9))
        return slice(None) if len(near) > GATHER * len(self.points) else near


def _coincident(pick: int, n: int) -> ExhaustedStrategy:
    return ExhaustedStrategy(
        "every perturbation left coincides, in the eigenspace, with one already chosen",
        where=f"strategy {NAME}, pick {pick + 1}",
        got=f"{pick} distinct perturbations",
        expected=f"at least {n}",
        todo="Give the slot a smaller share, or part of it to the strategy random.",
    )
