"""Greedy selection, exact in float64: one measurement after another, each the best given those before.

Rows that cannot win for a while are left alone. What a row may still score is bounded by a ceiling that never rises,
taken when the row was last looked at; only rows whose ceiling is not below a threshold are carried along (the front),
and a pick is accepted while it scores at least that threshold. Then rows are looked at again, those alone whose ceiling
demands it. So picks are those of the algorithm that looks at every row for every pick.
"""

from __future__ import annotations

import numpy as np

from tasks.batches.front import TIE, Front, Look, Rule, squares
from tasks.batches.pool import BoolArray, ExhaustedStrategy, FloatArray, IntArray
from tasks.batches.posterior import KNOWN, Posterior, Step
from tasks.operators.rows import CHUNK, Rows, Vector, as_rows, in_order
from tasks.threads import one_blas_thread

#: The front is all rows with a ceiling of at least this share of the best score: few, and looked at again soon ...
KEEP = 0.95
#: ... and so many of the highest ceilings in any case.
ROOM = 4096
#: A front is made smaller when this share of it would do. It is a copy of its rows unless it is everybody.
SHRINK = 0.25
#: Bytes of a front that is converted to float64 once, not in every look.
FRONT_BYTES = 2**27


def greedy(
    rows: Rows,
    noise: FloatArray,
    free: BoolArray,
    posterior: Posterior,
    rule: Rule,
    n: int,
    rng: np.random.Generator,
) -> tuple[IntArray, FloatArray]:
    """Pick rows one after another, the best by a rule given those before.

    Args:
        rows: (N, r) coordinates.
        noise: (N,) variance of a measurement of each [readout unit squared].
        free: (N,) who may be picked.
        posterior: Before the first pick; it is conditioned on every pick.
        rule: What is best.
        n: How many.
        rng: Draws ties.

    Returns:
        (k,) rows in the order of choice, and their scores: k < n if no free row scores above 0 any more.
    """
    if n == 0:
        return np.empty(0, dtype=np.int64), np.empty(0)
    with one_blas_thread():
        search = _Search(rows, noise, free, posterior, rule, rng)
        picked: list[tuple[int, float]] = []
        while len(picked) < n and (best := search.best()) is not None:
            picked.append(best)
            if len(picked) < n:
                search.pick()
    found = np.array([row for row, _ in picked], dtype=np.int64)
    return found, np.array([score for _, score in picked], dtype=np.float64)


def supplied(found: int, n: int, strategy: str) -> None:
    """Stop a strategy that ran out of perturbations to choose by.

    Raises:
        ExhaustedStrategy: If found < n.
    """
    if found < n:
        raise ExhaustedStrategy(
            "every perturbation left is already determined by what was picked before",
            where=f"strategy {strategy}, pick {found + 1}",
            got=f"{found} perturbations that add anything",
            expected=f"{n}",
            todo="Give the slot a smaller share, or part of it to the strategy random.",
        )


class _Search:
    """The state between picks: an upper bound on the variance of every row, and the front.

    Attributes:
        d: (N,) variance of each row when it was last looked at.
        threshold: No row outside the front scores as much.
        place: Where the row that `best` found stands in the front.
    """

    def __init__(
        self,
        rows: Rows,
        noise: FloatArray,
        free: BoolArray,
        posterior: Posterior,
        rule: Rule,
        rng: np.random.Generator,
    ) -> None:
        self.rows, self.noise, self.posterior, self.rule, self.rng = rows, noise, posterior, rule, rng
        self.d = np.concatenate([np.empty(0), *rows.map(squares)])
        self.known = np.where(free, KNOWN * self.d, np.inf)
        self.priority: IntArray | None = None
        self.place = 0
        self._describe()
        first = np.array([self._ceiling(self).argmax()])
        self._carry(rows.take(first), first, np.inf)
        self.front.look(self._asked(np.inf))

    def best(self) -> tuple[int, float] | None:
        """The best row and its score, or None if no row scores above 0."""
        while True:
            if self.front.top * (1 - TIE) < self.threshold:
                self._look_again()
            if self.front.top > 0:
                self.place = int(self.front.best[self._first(self.front.ids[self.front.best])])
                if not self.front.worn(self.place):
                    return int(self.front.ids[self.place]), self.front.top
            elif self.front.fresh:
                return None
            self._describe()
            self.front.look(self._asked(np.inf))

    def pick(self) -> None:
        """Measure the row that `best` found."""
        front, row = self.front, self.front.ids[self.place]
        z = front.rows.take(np.array([self.place]))[0].astype(np.float64)
        self.known[row] = front.known[self.place] = np.inf
        keep = max(self.threshold, KEEP * front.top)
        step = self.posterior.measure(z, float(self.noise[row]), self.rule.leaves)
        smaller = SHRINK * len(front.ids)
        if smaller < ROOM:
            front.look(self._asked(np.inf, step))
            return
        if self.rule.traced:
            self.top = self.posterior.top()
        front.look(self._asked(keep, step))
        if front.kept <= smaller and keep <= front.top * (1 - TIE):
            self._shrink(keep)

    def _first(self, ids: IntArray) -> int:
        """Which of tied rows: by an order drawn once, so that it does not matter when rows were looked at."""
        if len(ids) == 1:
            return 0
        if self.priority is None:
            self.priority = self.rng.permutation(len(self.d))
        return int(self.priority[ids].argmin())

    def _describe(self) -> None:
        """The posterior as it is now, for fresh looks; with an older `top` ceilings are too high, never too low."""
        if self.rule.traced:
            self.values, self.basis = self.posterior.eigenspace()
        else:
            self.values, self.basis = np.zeros(self.rows.shape[1]), self.posterior.root
        self.top = float(self.values.max(initial=0.0))

    def _ceiling(self, of: _Search | Front) -> FloatArray:
        """No less than what rows (k,) can score now or later; −1 for those that may not be picked."""

        def one(start: int) -> FloatArray:
            rows = slice(start, start + CHUNK)
            ceiling = self.rule.ceiling(of.d[rows], of.noise[rows], self.top)
            return np.where(of.known[rows] < np.inf, ceiling, -1.0)

        return np.concatenate([np.empty(0), *in_order(one, range(0, len(of.d), CHUNK))])

    def _asked(self, keep: float, step: Step | None = None) -> Look:
        return Look(self.rule, step, self.values, self.basis, self.top, keep)

    def _look_again(self) -> None:
        """A front of all that may score KEEP of the present best; of everybody where that is unknown, or too many."""
        best = self.front.top
        self.d[self.front.ids] = self.front.d
        self._describe()
        ceiling = self._ceiling(self)
        keep = self._lowered(KEEP * best, ceiling)
        ids = np.flatnonzero(ceiling >= keep)
        if best > 0 and len(ids) <= SHRINK * len(self.d):
            self._carry(self.rows.take(ids), ids, keep)
        else:
            self._carry(self.rows, np.arange(len(self.d)), -np.inf)
        self.front.look(self._asked(np.inf))

    def _shrink(self, keep: float) -> None:
        """Carry on with those of the front that may score `keep`."""
        front = self.front
        self.d[front.ids] = front.d
        ceiling = self._ceiling(front)
        keep = max(self.threshold, self._lowered(keep, ceiling))
        inside = np.flatnonzero(ceiling >= keep)
        self._carry(front.rows.take(inside), front.ids[inside], keep)
        self.front.succeed(front, inside)

    def _lowered(self, keep: float, ceiling: FloatArray) -> float:
        """A threshold that leaves room for some more than those that may score `keep`, if these are few."""
        if len(ceiling) <= ROOM or np.count_nonzero(ceiling >= keep) >= ROOM:
            return keep
        return min(keep, float(np.partition(ceiling, len(ceiling) - ROOM)[len(ceiling) - ROOM]))

    def _carry(self, rows: Rows | Vector, ids: IntArray, threshold: float) -> None:
        """A front of `rows` (k, r), which are those of `ids` (k,)."""
        if 8 * len(ids) * self.rows.shape[1] <= FRONT_BYTES:
            rows = np.asarray(rows if isinstance(rows, np.ndarray) else rows.take(ids), dtype=np.float64)
        self.front = Front(as_rows(rows), ids, self.noise[ids], self.known[ids])
        self.threshold = threshold
