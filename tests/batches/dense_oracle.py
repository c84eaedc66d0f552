"""Greedy selection as it is written down: the N×N covariance in float64, conditioned on one pick after another."""

import numpy as np
from scipy.linalg.blas import dger

from tasks.batches import PoolView


def pool_of(coordinates, noise, open_=None, pending=None, vetoed=None):
    """A pool of these coordinates (N, r) and noise (N,), with nothing else that a greedy strategy looks at."""
    size = len(coordinates)
    square = np.asarray(coordinates, dtype=np.float64) ** 2
    return PoolView(
        coordinates=coordinates,
        eigenvalues=square.sum(axis=0),
        variance=square.sum(axis=1),
        predictions=np.zeros(size),
        members=np.zeros((size, 2)),
        noise=np.broadcast_to(np.asarray(noise, dtype=np.float64), size).copy(),
        open=np.ones(size, dtype=bool) if open_ is None else open_,
        pending=np.zeros(size, dtype=bool) if pending is None else pending,
        vetoed=np.zeros(size, dtype=bool) if vetoed is None else vetoed,
    )


def heavy_tailed(size, rank, seed=0, tail=0.5, dtype=np.float32):
    """Coordinates as centred members give them, with a heavy-tailed scale for each row."""
    rng = np.random.default_rng(seed)
    members = rng.standard_normal((size, rank)) * np.exp(tail * rng.standard_normal((size, 1)))
    return ((members - members.mean(axis=1, keepdims=True)) / np.sqrt(rank - 1)).astype(dtype)


class Dense:
    """The covariance of all that the model has not seen: `variance` (k,) and `scores` by each rule."""

    def __init__(self, pool, measured=False):
        self.rows = np.flatnonzero(pool.open | pool.pending | pool.vetoed)
        points = pool.coordinates.take(self.rows).astype(np.float64)
        self.covariance = np.asfortranarray(points @ points.T)
        self.noise, self.free, self.measured = pool.noise[self.rows].copy(), pool.open[self.rows].copy(), measured
        self.known = 1e-10 * self.covariance.diagonal()
        self.inside = np.ones(len(self.rows), dtype=bool)
        for place in np.flatnonzero(pool.pending[self.rows]):
            if self.covariance[place, place] > self.known[place]:
                self.condition(place, leaves=False)
            self.free[place] = False

    def condition(self, place, leaves):
        total = self.covariance[place, place] + self.noise[place]
        column = self.covariance[:, place] / np.sqrt(total)
        self.covariance = dger(-1.0, column, column, a=self.covariance, overwrite_a=True)
        self.free[place] = False
        self.inside[place] = not leaves

    def removal(self):
        """The trace that each measurement removes; 0 for what may not be picked or is known."""
        variance = self.covariance.diagonal()
        square = np.square(self.covariance)
        total = square.sum(axis=0) if self.inside.all() else square[self.inside].sum(axis=0)
        if self.measured:
            # V = C + diag(σ²): the column of V squared, its own entry included.
            total = total + 2.0 * variance * self.noise + self.noise**2
        return self._where_open(total / np.maximum(variance + self.noise, 1e-300))

    def information(self):
        """d/σ² of each."""
        return self._where_open(self.covariance.diagonal() / self.noise)

    def _where_open(self, score):
        return np.where(self.free & (self.covariance.diagonal() > self.known), score, 0.0)

    def greedy(self, n, score="removal"):
        """Rows of the library in the order of choice."""
        chosen = []
        for _ in range(n):
            place = int(np.argmax(getattr(self, score)()))
            chosen.append(int(self.rows[place]))
            self.condition(place, self.measured)
        return chosen

    def follow(self, rows, scores, score="removal"):
        """Assert that each of the picks is the best one given those before, and scores what it says."""
        for row, said in zip(rows.tolist(), scores.tolist(), strict=True):
            now = getattr(self, score)()
            place = int(np.flatnonzero(self.rows == row)[0])
            np.testing.assert_allclose([now[place], said], now.max(), rtol=1e-6)
            self.condition(place, self.measured)

    def trace(self):
        return float(self.covariance.diagonal()[self.inside].sum())
