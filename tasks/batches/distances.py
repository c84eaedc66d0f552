"""Exact distances from many rows to some points, in one pass over the rows.

Products are taken in float32, where they are cheap, and only rule out: with a rigorous bound on their rounding, and the
triangle inequality. What they leave is computed from differences in float64, so that the answers are those of a
float64 loop over all pairs, whatever the chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.batches.pool import BoolArray, FloatArray, IntArray
from tasks.batches.targets import Single, Targets, product, squares, targets_of
from tasks.operators.passes import to_numpy
from tasks.operators.rows import Rows

Number = npt.NDArray[np.int32]

# Products in a block: 1 MiB of float32, which stays in a core's cache.
BLOCK = 262_144
# Centres that are looked at together when the nearest is sought; the nearest of one group rules rows out of the next.
GROUP = 1024


@dataclass(frozen=True)
class Reach:
    """Rows (k,) that are nearer to a point (r,) than to their centre, ascending, and their squared distances to it."""

    point: FloatArray
    rows: IntArray
    square: FloatArray


@dataclass(frozen=True)
class Centred:
    """Rows, a point amid them, and their squared distances to it.

    Differences from the middle are what float32 can hold best: what all rows share would drown what sets them apart.

    Attributes:
        rows: (N, r).
        weights: (N,) float32: distances are between w·z, computed where they are needed, in the type of the rows.
        middle: (r,) float32, about the mean of w·z.
        norms: (N,) ‖w·z − middle‖² in float64.
    """

    rows: Rows
    weights: Single
    middle: Single
    norms: FloatArray

    def points(self, rows: IntArray) -> FloatArray:
        """(k, r) some rows with their weights, in float64."""
        return _weighed(self.rows.take(rows), self.weights[rows]).astype(np.float64)


def centred(rows: Rows, weights: Single | None = None) -> Centred:
    """Two passes over the rows; without weights these are 1."""
    weights = np.ones(len(rows), dtype=np.float32) if weights is None else weights
    total = np.zeros(rows.shape[1])
    for part in rows.map(_sum_of_chunk, along=(weights,)):
        total += part
    middle = (total / max(len(rows), 1)).astype(np.float32)
    norms = np.concatenate([np.empty(0), *rows.map(_norms_of_chunk, middle, along=(weights,))])
    return Centred(rows, weights, middle, norms)


def _weighed(x: npt.NDArray[Any], weights: Single) -> npt.NDArray[Any]:
    product: npt.NDArray[Any] = x * weights[:, None]
    return product


def nearest(library: Centred, open_: BoolArray, centres: FloatArray) -> tuple[FloatArray, Number]:
    """The nearest centre of every open row; the first of those that are equally near.

    Args:
        library: N rows.
        open_: (N,) whose centre is sought; the others get distance 0.
        centres: (C, r), at least one.

    Returns:
        (N,) squared distance and (N,) number of the centre. O(N C r) products, less what the triangle inequality
        spares.
    """
    starts = range(0, len(centres), GROUP)
    groups = tuple(targets_of(centres[first : first + GROUP], centres[:first], library.middle) for first in starts)
    parts = list(library.rows.map(_nearest_in_chunk, groups, along=(library.weights, library.norms, open_)))
    return (
        np.concatenate([np.empty(0), *(square for square, _ in parts)]),
        np.concatenate([np.empty(0, dtype=np.int32), *(centre for _, centre in parts)]),
    )


def reaches(
    library: Centred, square: FloatArray, centre: Number, centres: FloatArray, points: FloatArray
) -> list[Reach]:
    """For each of some points the rows that are nearer to it than to their present centre.

    Args:
        library: N rows.
        square: (N,) squared distance of each row to its centre; rows at 0 are left out.
        centre: (N,) number of that centre.
        centres: (C, r).
        points: (K, r).

    Returns:
        K reaches. O(N K r) products, less what the triangle inequality spares.
    """
    targets = targets_of(points, centres, library.middle)
    parts = list(library.rows.map(_reaches_in_chunk, targets, along=(library.weights, library.norms, square, centre)))
    point, row, new = (np.concatenate([np.empty(0), *column]) for column in zip(*parts, strict=True))
    order = np.argsort(point, kind="stable")
    cuts = np.searchsorted(point[order], np.arange(1, len(points)))
    return [
        Reach(own, row[part].astype(np.int64), new[part])
        for own, part in zip(points, np.split(order, cuts), strict=True)
    ]


def _sum_of_chunk(chunk: Any, start: int, weights: Single) -> FloatArray:
    return np.asarray(_weighed(to_numpy(chunk), weights).sum(axis=0, dtype=np.float64))


def _norms_of_chunk(chunk: Any, start: int, weights: Single, middle: Single) -> FloatArray:
    x = _weighed(to_numpy(chunk), weights).astype(np.float64) - middle
    norms: FloatArray = np.einsum("ij,ij->i", x, x)
    return norms


def _blocks(
    chunk: Any, weights: Single, near: IntArray, targets: Targets
) -> Iterator[tuple[IntArray, npt.NDArray[Any], Single, Single]]:
    """Rows of the chunk by blocks: their numbers, themselves, [x − middle, 1, to be set], room for the products."""
    x = to_numpy(chunk)
    size, points = targets.packed.shape
    step = min(len(near), max(1, BLOCK // points))
    left = np.ones((step, size), dtype=np.float32)
    products = np.empty((step, points), dtype=np.float32)
    for first in range(0, len(near), max(step, 1)):
        rows = near[first : first + step]
        some = _weighed(x.take(rows, axis=0), weights[rows])
        np.subtract(some, targets.middle, out=left[: len(rows), : size - 2], casting="same_kind")
        yield rows, some, left[: len(rows)], products[: len(rows)]


def _reaches_in_chunk(
    chunk: Any, start: int, weights: Single, norms: FloatArray, square: FloatArray, centre: Number, targets: Targets
) -> tuple[IntArray, IntArray, FloatArray]:
    """Point, row of the library and squared distance of each pair that is nearer than the row's centre."""
    found = [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))]
    near = np.flatnonzero(square > targets.gap[centre])
    for rows, x, left, products in _blocks(chunk, weights, near, targets):
        left[:, -1] = -targets.bound(norms[rows], square[rows])
        product(left, targets.packed, products)
        row, point = np.divmod(np.flatnonzero(products >= 0), len(targets.exact))
        new = squares(x[row], targets.exact[point], targets.norms[point])
        kept = np.flatnonzero(new < square[rows[row]])
        found.append((point[kept], start + rows[row[kept]], new[kept]))
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))  # type: ignore[return-value]


def _nearest_in_chunk(
    chunk: Any, start: int, weights: Single, norms: FloatArray, open_: BoolArray, groups: tuple[Targets, ...]
) -> tuple[FloatArray, Number]:
    square = np.where(open_, np.inf, 0.0)
    centre = np.zeros(len(square), dtype=np.int32)
    first = 0
    for targets in groups:
        near = np.flatnonzero(square > targets.gap[centre])
        for rows, x, left, products in _blocks(chunk, weights, near, targets):
            product(left[:, :-1], targets.packed[:-1], products)
            better, point, new = _best_of_group(products, x, norms[rows], square[rows], targets)
            square[rows[better]], centre[rows[better]] = new, first + point
        first += len(targets.exact)
    return square, centre


def _best_of_group(
    products: Single, x: npt.NDArray[Any], norms: FloatArray, square: FloatArray, targets: Targets
) -> tuple[IntArray, IntArray, FloatArray]:
    """Rows that are nearer to one of the points, that point (the first of equals), and their squared distances."""
    best = products.argmax(axis=1)
    every = np.arange(len(products))
    top = products[every, best]
    promising = np.flatnonzero(top >= targets.bound(norms, square))
    new = squares(x[promising], targets.exact[best[promising]], targets.norms[best[promising]])
    # Where another point comes within rounding of the best one, exact distances decide.
    least = top - 2 * (targets.slack[best] + 2 * targets.unit * targets.scale * norms)
    products[every, best] = -np.inf
    doubtful = np.flatnonzero(products[promising].max(axis=1) >= least[promising])
    products[every, best] = top
    rows = promising[doubtful]
    best[rows], new[doubtful] = _exact_best(products[rows] >= least[rows, None], x[rows], targets)
    kept = np.flatnonzero(new < square[promising])
    return promising[kept], best[promising[kept]], new[kept]


def _exact_best(rivals: npt.NDArray[np.bool_], x: npt.NDArray[Any], targets: Targets) -> tuple[IntArray, FloatArray]:
    """The nearest of the points (n, K) that each row may be nearest to, the first of equals; and its distance."""
    row, point = np.nonzero(rivals)
    exact = squares(x[row], targets.exact[point], targets.norms[point])
    order = np.lexsort((point, exact, row))
    first = order[np.searchsorted(row[order], np.arange(len(x)))]
    return point[first].astype(np.int64), exact[first]
