"""Points that rows are compared with: exact squared distances, and what rules a pair out without computing them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.batches.pool import FloatArray

Single = npt.NDArray[np.float32]

#: Squared distances below this share of a point's squared norm are rounding of the coordinates, not distance.
ROUNDING = 1e-12
#: A float32 can hold it.
LARGEST = 3e38


def squares(x: npt.NDArray[Any], points: FloatArray, norms: FloatArray) -> FloatArray:
    """(n,) ‖x_i − p_i‖² in float64; 0 where it is no more than rounding of the coordinates.

    Args:
        x: (n, r).
        points: (n, r), or one (1, r).
        norms: (n,) squared norms of the points, or one (1,).
    """
    difference = x - points
    square: FloatArray = np.einsum("ij,ij->i", difference, difference)
    square[square <= ROUNDING * norms] = 0.0
    return square


def product(a: npt.NDArray[Any], b: npt.NDArray[Any], out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
    """Matrix product (n, k) of finite matrices (n, m) and (m, k), into `out` where it is given."""
    # Kernels may compute on unused lanes too (OpenBLAS 0.3.31, one column): flags that those raise say nothing.
    with np.errstate(all="ignore"):
        return np.matmul(a, b, out=out)


@dataclass(frozen=True)
class Targets:
    """Points that rows are compared with.

    With x a row and p a point, both from the middle, and d² the row's present squared distance, ‖x − p‖² < d² is
    x·p − ‖p‖²/2 > (‖x‖² − d²)/2.

    Attributes:
        exact: (K, r).
        norms: (K,) squared norms, from the origin.
        middle: (r,) float32.
        packed: (r + 2, K) [p; slack − ‖p‖²/2; 1] in float32, from the middle, times `scale`.
        slack: (K,) the point's share of the bound on rounding, times `scale`.
        gap: (C,) for each earlier centre the squared half distance to the nearest of the points: no row within it can
            be nearer to one of them. One entry 0 when there are no centres.
        scale: A power of two that keeps squares inside float32.
    """

    exact: FloatArray
    norms: FloatArray
    middle: Single
    packed: Single
    slack: Single
    gap: FloatArray
    scale: float

    @property
    def unit(self) -> float:
        """Rounding of a product of r + 2 terms and of what goes into it, relative to the terms."""
        return (len(self.packed) + 16) * 2.0**-24

    def bound(self, norms: FloatArray, square: FloatArray) -> FloatArray:
        """(n,) what x·p − ‖p‖²/2 must reach for ‖x − p‖² < d², less the row's share of the bound on rounding."""
        inside = (norms - square) / 2 - self.unit * (2 * norms + square)
        return (inside * self.scale).clip(-LARGEST, LARGEST)


def targets_of(points: FloatArray, centres: FloatArray, middle: Single) -> Targets:
    """Points (K, r) to compare rows with whose present centres are among `centres` (C, r); `middle` (r,)."""
    inner = points - middle
    norms = np.einsum("ij,ij->i", inner, inner)
    scale = 2.0 ** -np.round(np.log2(largest) / 2) if (largest := norms.max(initial=0.0)) > 0 else 1.0
    packed = np.empty((points.shape[1] + 2, len(points)), dtype=np.float32)
    slack = (len(packed) + 16) * 2.0**-24 * norms
    packed[:-2] = inner.T * scale
    packed[-2] = (slack - norms / 2) * scale
    packed[-1] = 1.0
    return Targets(
        exact=points,
        norms=np.einsum("ij,ij->i", points, points),
        middle=middle,
        packed=packed,
        slack=(slack * scale).astype(np.float32),
        gap=_gap(inner, norms, centres - middle),
        scale=scale,
    )


def _gap(points: FloatArray, norms: FloatArray, centres: FloatArray) -> FloatArray:
    if not len(centres):
        return np.zeros(1)
    own = np.einsum("ij,ij->i", centres, centres)
    # The last term is far above the rounding of the three before it.
    square = own[:, None] + norms - 2 * product(centres, points.T) - 1e-12 * (own[:, None] + norms)
    return np.asarray(square.min(axis=1).clip(0) / 4, dtype=np.float64)
