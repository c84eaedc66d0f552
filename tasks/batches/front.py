"""The rows that a greedy search carries along, and what it asks of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tasks.batches.pool import FloatArray, IntArray
from tasks.batches.posterior import Step, blocks
from tasks.operators.rows import Rows

#: Scores within this share of each other are a tie: it is rounding that tells them apart.
TIE = 1e-12
#: What fell below this share since it was computed afresh has lost digits: it is the difference of larger numbers.
WORN = 1e-5


class Rule(Protocol):
    """What makes one row better than another. A frozen value, for it may go to another process."""

    @property
    def traced(self) -> bool:
        """Whether it asks for n; otherwise n is 0."""

    @property
    def leaves(self) -> bool:
        """Whether a row that is picked stops being a target."""

    def score(self, d: FloatArray, n: FloatArray, noise: FloatArray) -> FloatArray:
        """Score (k,) of rows of variance d (k,), whose n is as in `Step`. Never negative."""

    def ceiling(self, d: FloatArray, noise: FloatArray, top: float) -> FloatArray:
        """No less than the score (k,) that rows can have now or later, rising in d; n/d is `top` at most."""


@dataclass(frozen=True)
class Look:
    """What is asked of a chunk of rows: bring d and n up to date, and say which rows are best.

    Attributes:
        rule: That scores them.
        step: The measurement since d and n were computed; None to compute them afresh from `values` and `basis`.
        values: (r,) see `Posterior.eigenspace`; zeros for a rule that does not ask for n.
        basis: (r, r).
        top: n/d is this at most.
        keep: Rows of which the ceiling is not below are counted.
    """

    rule: Rule
    step: Step | None
    values: FloatArray
    basis: FloatArray
    top: float
    keep: float


@dataclass(frozen=True)
class Found:
    """What a look found in a chunk.

    Attributes:
        d: (k,) variance of its rows.
        n: (k,) see `Step`.
        rows: Its best rows, ties included.
        scores: Their scores.
        kept: Rows that a smaller front would keep.
    """

    d: FloatArray
    n: FloatArray
    rows: IntArray
    scores: FloatArray
    kept: int


class Front:
    """The rows that are carried along: their d and n are current.

    Attributes:
        top: The best score; 0 if no free row scores.
        best: Rows of the front that score as much.
        kept: How many a smaller front would keep.
        fresh: Whether the last look was afresh.

    Args:
        rows: (k, r) coordinates.
        ids: (k,) which rows of the library these are.
        noise: (k,).
        known: (k,) a row of no more variance counts as known: never picked. Infinite for rows that may not be picked.
    """

    def __init__(self, rows: Rows, ids: IntArray, noise: FloatArray, known: FloatArray) -> None:
        self.rows, self.ids, self.noise, self.known = rows, ids, noise, known
        self.d, self.n = np.zeros(len(ids)), np.zeros(len(ids))
        self.before = self.d, self.n
        self.top, self.kept, self.fresh = 0.0, len(ids), False
        self.best: IntArray = np.empty(0, dtype=np.int64)

    def look(self, asked: Look) -> None:
        """Bring d and n up to date; find the best rows."""
        start, self.kept = 0, 0
        best, scores = [np.empty(0, dtype=np.int64)], [np.empty(0)]
        old = () if asked.step is None else (self.d, self.n)
        for part in self.rows.map(_look, asked, along=(self.noise, self.known, *old)):
            end = start + len(part.d)
            self.d[start:end], self.n[start:end] = part.d, part.n
            best.append(part.rows + start)
            scores.append(part.scores)
            start, self.kept = end, self.kept + part.kept
        all_scores = np.concatenate(scores)
        self.top = float(all_scores.max(initial=0.0))
        self.best = np.concatenate(best)[all_scores >= self.top * (1 - TIE)]
        self.fresh = asked.step is None
        if self.fresh:
            self.before = self.d.copy(), self.n.copy()

    def worn(self, place: int) -> bool:
        """Whether a row's d or n has lost digits to the steps since the last look afresh."""
        return any(
            bool(now[place] < WORN * then[place]) for now, then in zip((self.d, self.n), self.before, strict=True)
        )

    def succeed(self, front: Front, inside: IntArray) -> None:
        """Take over what a larger front knows of the rows `inside` it (k,), its best ones among them."""
        self.d, self.n = front.d[inside], front.n[inside]
        self.before = front.before[0][inside], front.before[1][inside]
        self.top, self.best = front.top, np.searchsorted(inside, front.best)


def _look(chunk: Any, start: int, noise: FloatArray, known: FloatArray, *rest: Any) -> Found:
    """What `Look` asks of a chunk of rows (k, r), for `Rows.map`. `rest` is it, and before it d and n if it steps."""
    asked: Look = rest[-1]
    d, n = _afresh(chunk, asked) if asked.step is None else _stepped(chunk, rest[0], rest[1], asked.step)
    unknown = d > known
    d, n = d * unknown, n * unknown
    score = asked.rule.score(d, n, noise) * unknown
    best = score.max(initial=0.0)
    rows = np.flatnonzero(score >= best * (1 - TIE)) if best > 0 else np.empty(0, dtype=np.int64)
    kept = np.count_nonzero(asked.rule.ceiling(d, noise, asked.top) >= asked.keep) if asked.keep < np.inf else len(d)
    return Found(d, n, rows, score[rows], int(kept))


def _afresh(chunk: Any, asked: Look) -> tuple[FloatArray, FloatArray]:
    d, n = np.empty(len(chunk)), np.zeros(len(chunk))
    for rows, block in blocks(chunk):
        square = np.square(block @ asked.basis)
        d[rows] = square.sum(axis=1)
        if asked.rule.traced:
            n[rows] = square @ asked.values
    return d, n


def _stepped(chunk: Any, d: FloatArray, n: FloatArray, step: Step) -> tuple[FloatArray, FloatArray]:
    toward = np.stack([step.a, step.c], axis=1)
    p, q = np.empty(len(chunk)), np.empty(len(chunk))
    for rows, block in blocks(chunk):
        p[rows], q[rows] = (block @ toward).T
    return d - p * p, n + p * (step.g * p - 2.0 * q)


def squares(chunk: Any, start: int) -> FloatArray:
    """Squared length (k,) of the rows of a chunk."""
    square = np.empty(len(chunk))
    for rows, block in blocks(chunk):
        square[rows] = np.einsum("ij,ij->i", block, block)
    return square
