"""Each of some points claims the nearest row that is still free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.batches.pool import BoolArray, FloatArray, IntArray
from tasks.batches.targets import product
from tasks.errors import NumericalError
from tasks.operators.passes import to_numpy
from tasks.operators.rows import Rows

#: Near rows that are kept for each point, and points whose distances to a chunk are held at once.
_NEAR, _POINTS = 32, 64


def claim_nearest(
    features: Rows, open_: BoolArray, place: FloatArray, priority: IntArray
) -> tuple[IntArray, FloatArray]:
    """For each point in turn the nearest open row that no point before it has taken.

    Args:
        features: (N, d).
        open_: (N,) who may be taken, at least as many as there are points.
        place: (k, d) the points.
        priority: (N,) decides between rows that are equally near, the lowest first.

    Returns:
        (k,) rows and (k,) distances. O(k N d) for each pass; one pass unless many points want the same rows.
    """
    claimed: list[int] = []
    distance: list[float] = []
    left = open_.copy()
    while len(claimed) < len(place):
        # A point finds all its near rows taken only after so many others have claimed: then look again.
        near = _near(features, left, place[len(claimed) :], priority)
        for rows, square in zip(near.rows.tolist(), near.square.tolist(), strict=True):
            first = next((i for i, row in enumerate(rows) if row >= 0 and left[row]), None)
            if first is None:
                break
            left[rows[first]] = False
            claimed.append(rows[first])
            distance.append(float(np.sqrt(square[first])))
    return np.array(claimed, dtype=np.int64), np.array(distance)


@dataclass(frozen=True)
class _Near:
    """The nearest rows of each point, nearest first: rows (k, t), −1 for none; squared distances; priorities."""

    rows: IntArray
    square: FloatArray
    priority: IntArray

    def nearest(self, count: int) -> _Near:
        order = np.lexsort((self.priority, self.square), axis=1)[:, :count]
        return _Near(
            np.take_along_axis(self.rows, order, axis=1),
            np.take_along_axis(self.square, order, axis=1),
            np.take_along_axis(self.priority, order, axis=1),
        )

    def beside(self, other: _Near) -> _Near:
        return _Near(
            np.concatenate([self.rows, other.rows], axis=1),
            np.concatenate([self.square, other.square], axis=1),
            np.concatenate([self.priority, other.priority], axis=1),
        )


def _near(features: Rows, open_: BoolArray, place: FloatArray, priority: IntArray) -> _Near:
    best: _Near | None = None
    for part in features.map(_near_in_chunk, place, along=(open_, priority)):
        best = best.beside(part).nearest(_NEAR) if best else part
    if best is None:
        raise NumericalError("the features have no rows")
    return best


def _near_in_chunk(
    chunk: npt.NDArray[Any], start: int, open_: BoolArray, priority: IntArray, place: FloatArray
) -> _Near:
    """The nearest rows of a chunk for points (k, d); distances that decide are differences, not products."""
    inside = np.flatnonzero(open_)
    found = _Near(
        np.full((len(place), _NEAR), -1, dtype=np.int64),
        np.full((len(place), _NEAR), np.inf),
        np.zeros((len(place), _NEAR), dtype=np.int64),
    )
    if not len(inside):
        return found
    points = np.ascontiguousarray(to_numpy(chunk)[inside], dtype=np.float64)
    middle = place.mean(axis=0)
    inner = points - middle
    for begin in range(0, len(place), _POINTS):
        some = place[begin : begin + _POINTS]
        for number, may_be_near in enumerate(_candidates(inner, some - middle), begin):
            close = np.flatnonzero(may_be_near)
            exact = np.square(points[close] - place[number]).sum(axis=1)
            own = priority[inside[close]]
            first = np.lexsort((own, exact))[:_NEAR]
            found.rows[number, : len(first)] = start + inside[close[first]]
            found.square[number, : len(first)] = exact[first]
            found.priority[number, : len(first)] = own[first]
    return found


def _candidates(points: FloatArray, place: FloatArray) -> BoolArray:
    """(k, n) which of n points may be among the _NEAR nearest to each of k places, all that are equally near included.

    Both are differences from one middle, so that an offset that all share costs no digits.
    """
    length, own = np.square(points).sum(axis=1), np.square(place).sum(axis=1)
    rough = length - 2 * product(place, points.T)
    # Above the rounding of these products, of the differences from the middle and of the exact distances together.
    slack = (4 * points.shape[1] + 64) * 2.0**-53 * (own[:, None] + length)
    last = min(_NEAR, len(points)) - 1
    most = np.partition(rough + slack, last, axis=1)[:, last]
    return np.asarray(rough - slack <= most[:, None])
