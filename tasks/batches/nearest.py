"""Who is nearest to which centre while centres are added, for the strategies that go by distance."""

from __future__ import annotations

import numpy as np

from tasks.batches.distances import Number, Reach, centred, nearest, reaches
from tasks.batches.pool import ExhaustedStrategy, FloatArray, IntArray, PoolView
from tasks.batches.targets import Single
from tasks.operators.rows import Rows

# Points that are asked about in one pass over the library, at most.
AHEAD = 64


class Nearest:
    """Nearest centre of every open row and squared distance to it; the centres are the observed rows and the picks.

    Without observed rows the origin stands in, until the first pick takes its place: there the operator sees no error.

    Args:
        pool: Who is open, and who is observed.
        rows: (N, r) where distances are measured: the pool's coordinates, or something else by strategy.
        observed: Rows that are centres from the start.
        weights: (N,) by which rows are multiplied; 1 where left out.

    Attributes:
        square: (N,) float64; 0 for centres, what coincides with one, and rows that may not be picked.
        centre: (N,) number of the centre: the observed rows ascending, then the picks in order.
        blank: Whether the origin stands in.
    """

    def __init__(self, pool: PoolView, rows: Rows, observed: IntArray, weights: Single | None = None) -> None:
        self._library, self._open = centred(rows, weights), pool.open
        self.blank = not len(observed)
        if self.blank:
            self._start(np.zeros((1, rows.shape[1])))
        else:
            self.begin(observed)

    def _start(self, centres: FloatArray) -> None:
        self._centres = centres
        self.square: FloatArray
        self.centre: Number
        self.square, self.centre = nearest(self._library, self._open, centres)

    def begin(self, centres: IntArray) -> None:
        """Start anew with some rows as the only centres."""
        self.blank = False
        self._start(self.points(centres))

    @property
    def count(self) -> int:
        """Centres so far, the origin included while it stands in."""
        return len(self._centres)

    def points(self, rows: IntArray) -> FloatArray:
        """(k, r) some rows in float64."""
        return self._library.points(rows)

    def reaches(self, rows: IntArray) -> list[Reach]:
        """For each of some rows, who is nearer to it than to its present centre; one pass over the library."""
        return reaches(self._library, self.square, self.centre, self._centres, self.points(rows))

    def still(self, reach: Reach) -> Reach:
        """What is left of an earlier reach, now that there are more centres."""
        kept = reach.square < self.square[reach.rows]
        return Reach(reach.point, reach.rows[kept], reach.square[kept])

    def add(self, reach: Reach) -> int:
        """Make a point a centre that takes over its reach; answers with the centre's number."""
        number, reach = self.count, self.still(reach)
        self._centres = np.concatenate([self._centres, reach.point[None]])
        self.square[reach.rows], self.centre[reach.rows] = reach.square, number
        return number

    def ahead(self, wanted: int) -> int:
        """How many points to ask about in one pass: few while each takes over much of the library."""
        return max(1, min(wanted, AHEAD, self.count // 8))


def all_coincide(strategy: str, pick: int, n: int) -> ExhaustedStrategy:
    """The error that says that distances cannot choose any more."""
    return ExhaustedStrategy(
        "every perturbation left coincides with one already chosen",
        where=f"strategy {strategy}, pick {pick + 1}",
        got=f"{pick} distinct perturbations",
        expected=f"at least {n}",
        todo="Give the slot a smaller share, or part of it to the strategy random.",
    )
