"""The operator's posterior in its eigenspace: what is left of the error once some perturbations have been measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from tasks.batches.pool import BoolArray, FloatArray, PoolView
from tasks.operators.rows import Rows

#: Rows converted to float64 at a time: they and their products stay in the processor's cache.
BLOCK = 4096
#: A row whose variance fell below this share of what it was is known: what is left of it is rounding.
KNOWN = 1e-10


@dataclass(frozen=True)
class Step:
    """What one measurement changes.

    For any perturbation with coordinates z, p = zᵀa and q = zᵀc: its variance d falls by p², and n, the trace that it
    could remove times its predictive variance, changes by g·p² − 2pq.

    Attributes:
        a: (r,) A z_i/√(d_i + s_i) for the measured i.
        c: (r,) A G a.
        g: aᵀ G a; less s_i²/(d_i + s_i) if the measured one left the targets.
    """

    a: FloatArray
    c: FloatArray
    g: float


class Posterior:
    """Covariance A (r, r) of the weights of the eigenspace: Z A Zᵀ is the operator, given what was measured.

    A is kept as a root R, A = R Rᵀ: whatever is measured, variances are sums of squares and never negative.

    Args:
        gram: (r, r) G = Σ z zᵀ over the target perturbations [readout unit squared]; trace(A G) is their reducible
        variance.
    """

    def __init__(self, gram: FloatArray) -> None:
        self.gram = gram.copy()
        self.root: FloatArray = np.eye(len(gram))

    def copy(self) -> Posterior:
        """One that can be conditioned without changing this one."""
        other = Posterior(self.gram)
        other.root = self.root.copy()
        return other

    def trace(self) -> float:
        """Reducible variance of all targets together [readout unit squared]."""
        return float(np.einsum("ij,ij->", self.root, self.gram @ self.root))

    def variance(self, z: FloatArray) -> float:
        """zᵀ A z, of a perturbation with coordinates z (r,) [readout unit squared]."""
        return float(np.square(self.root.T @ z).sum())

    def eigenspace(self) -> tuple[FloatArray, FloatArray]:
        """Values (r,) ascending and basis (r, r): d = Σ y_j² and n = Σ values_j y_j² for y = basisᵀz.

        The largest value bounds n/d from above, for every z and after any further measurement.
        """
        values, vectors = np.linalg.eigh(self.root.T @ self.gram @ self.root)
        return values.clip(0.0), self.root @ vectors

    def top(self) -> float:
        """The largest of the values of `eigenspace`."""
        return float(np.linalg.eigvalsh(self.root.T @ self.gram @ self.root)[-1].clip(0.0))

    def measure(self, z: FloatArray, noise: float, leaves: bool = False) -> Step:
        """Condition on one measurement, and say what that changes for others. O(r²).

        Args:
            z: (r,) coordinates of what is measured; its variance is more than rounding, or the noise is.
            noise: Variance of the measurement [readout unit squared].
            leaves: The measured perturbation stops being a target (its readout replaces it).

        Source: Potter's square root update (Bierman 1977, "Factorization methods for discrete sequential estimation").
        """
        v = self.root.T @ z
        total = float(v @ v) + noise
        toward = self.root @ v
        a = toward / np.sqrt(total)
        back = self.gram @ a
        c = self.root @ (self.root.T @ back)
        g = float(a @ back)
        self.root -= np.outer(toward, v / (total + np.sqrt(noise * total)))
        if leaves:
            self.gram -= np.outer(z, z)
            g -= noise**2 / total
        return Step(a, c, g)


def posterior_of(pool: PoolView, traced: bool = True) -> Posterior:
    """The posterior before a strategy picks: targets are all that the model has not seen, given what is pending.

    What was picked before but is not in the model yet (`pool.pending`) is measured first and stays a target, so that
    asking for a batch in parts gives what asking for all of it gives.

    Args:
        pool: The library (N).
        traced: Without it G is zero, for rules that look at variances alone.
    """
    rank = len(pool.eigenvalues)
    gram = gram_of(pool.coordinates, unseen(pool)) if traced else np.zeros((rank, rank))
    posterior = Posterior(gram)
    pending = np.flatnonzero(pool.pending)
    for z, noise in zip(pool.coordinates.take(pending).astype(np.float64), pool.noise[pending], strict=True):
        if posterior.variance(z) > KNOWN * (z @ z):
            posterior.measure(z, float(noise))
    return posterior


def unseen(pool: PoolView) -> BoolArray:
    """(N,) whose measurements the model has not seen: who may be picked, may never be, or waits for a plate."""
    return pool.open | pool.vetoed | pool.pending


def gram_of(rows: Rows, which: BoolArray) -> FloatArray:
    """Σ z zᵀ (r, r) over the rows that `which` (N,) names, in float64."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for part in rows.map(_gram, along=(which,)):
        total += part
    return total


def blocks(chunk: Any) -> Iterator[tuple[slice, FloatArray]]:
    """A chunk in float64, some rows at a time, and where they stand in it."""
    for start in range(0, len(chunk), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, np.asarray(array_api_compat.to_device(chunk[rows], "cpu")).astype(np.float64, copy=False)


def _gram(chunk: Any, start: int, which: BoolArray) -> FloatArray:
    total = np.zeros((chunk.shape[1], chunk.shape[1]))
    for rows, block in blocks(chunk):
        asked = which[rows]
        inside = block if asked.all() else block[asked]
        total += inside.T @ inside
    return total
