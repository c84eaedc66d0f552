"""What a strategy sees of the pool, what it answers, and how ties are broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from tasks.errors import NumericalError, UserError
from tasks.operators.rows import MemoryRows, Rows

T = TypeVar("T")
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Kind = Literal["continuous", "binary", "multi-class"]
#: Variance of the ensemble (k,) and its gradient (k, d) at features (k, d) as the library gives them.
Gradient = Callable[[npt.NDArray[np.floating]], tuple[FloatArray, FloatArray]]


class ExhaustedStrategy(UserError):
    """A strategy cannot supply as many perturbations as its slot asks for. Nothing is filled in its place."""


@dataclass(frozen=True)
class PoolView:
    """The library in the eigenspace of the chosen operator, and who may be picked.

    Those who may be picked (the pool) are all that have not been chosen yet, hidden audit members included: a strategy
    that could tell them apart would spoil the certificate. Those who may not are the observed and the vetoed ones.

    Args:
        coordinates: (N, r) Z = U₊Λ₊^½ [readout unit]; row products are the operator's positive part.
        eigenvalues: (r,) Λ₊, descending [readout unit squared].
        variance: (N,) diagonal of the operator [readout unit squared].
        predictions: (N,) mean over members [readout unit], or probability of class 1; (N, C) of several.
        members: (N, M) prediction of each member, or probability of class 1; (N, M, C) of several outputs or classes;
            for strategies that look at them.
        noise: (N,) σ²_Y, variance of a new measurement of each [readout unit squared]; zeros when left out.
        open: (N,) who may be picked; everybody when left out.
        pending: (N,) who has been chosen and is not in the model yet; nobody when left out.
        kind: What a readout is.
        features: (N, d) features as the library gives them, for strategies that look at them.
        embedding: (N, q) ensemble features, for strategies that look at them.
        gradient: Variance and its gradient at any features, for strategies that move through feature space.
        vetoed: (N,) who may not be picked and has not been chosen either; nobody when left out.

    Raises:
        NumericalError: Shapes disagree or a value is not finite.
    """

    coordinates: Rows
    eigenvalues: FloatArray
    variance: FloatArray
    predictions: FloatArray
    members: npt.NDArray[np.floating] | None = None
    noise: FloatArray = field(default_factory=lambda: np.empty(0))
    open: BoolArray = field(default_factory=lambda: np.empty(0, dtype=bool))
    pending: BoolArray = field(default_factory=lambda: np.empty(0, dtype=bool))
    kind: Kind = "continuous"
    features: Rows | None = None
    embedding: Rows | None = None
    gradient: Gradient | None = None
    vetoed: BoolArray = field(default_factory=lambda: np.empty(0, dtype=bool))

    def __post_init__(self) -> None:
        for name in ("coordinates", "features", "embedding"):
            if isinstance(given := getattr(self, name), np.ndarray):
                object.__setattr__(self, name, MemoryRows(given))
        size = len(self.coordinates)
        if not self.noise.size:
            object.__setattr__(self, "noise", np.zeros(size))
        if not self.open.size:
            object.__setattr__(self, "open", np.ones(size, dtype=bool))
        for name in ("pending", "vetoed"):
            if not getattr(self, name).size:
                object.__setattr__(self, name, np.zeros(size, dtype=bool))
        self._check(size)

    def _check(self, size: int) -> None:
        if self.coordinates.shape[1] != len(self.eigenvalues):
            raise NumericalError(f"pool view: {self.coordinates.shape[1]} coordinates of {len(self.eigenvalues)} modes")
        vectors = ("variance", "predictions", "members", "noise", "open", "pending", "vetoed")
        for name in (*vectors, "features", "embedding"):
            given: Any = getattr(self, name)
            if given is not None and given.shape[0] != size:
                raise NumericalError(f"pool view: {name} has {given.shape[0]} rows, expected {size}")
        for name in ("eigenvalues", "variance", "predictions", "noise"):
            if not np.isfinite(getattr(self, name)).all():
                raise NumericalError(f"pool view: {name} holds values that are not finite")

    def __len__(self) -> int:
        """Perturbations of the library (N)."""
        return len(self.coordinates)

    @property
    def available(self) -> int:
        """How many may be picked (P)."""
        return int(self.open.sum())

    @property
    def observed(self) -> IntArray:
        """Rows that have been chosen already, ascending."""
        return np.flatnonzero(~self.open & ~self.vetoed).astype(np.int64)

    def without(self, taken: BoolArray) -> PoolView:
        """The pool after `taken` (N,) was chosen: observed from now on, and pending. Nothing is copied."""
        return replace(self, open=self.open & ~taken, pending=self.pending | (taken & self.open))

    def forbidding(self, vetoed: BoolArray) -> PoolView:
        """The pool when `vetoed` (N,) may not be picked. Those of them who were open stay unknown."""
        return replace(self, open=self.open & ~vetoed, vetoed=self.vetoed | (vetoed & self.open))


@dataclass(frozen=True)
class Picks:
    """What a strategy chose, in its order of choice.

    Args:
        rows: (k,) rows of the library, unique.
        score: (k,) what the strategy maximised, 0 where it has no score.
        mode: (k,) eigenmode the pick stands for, -1 for none.
        reason: k short sentences for people.

    Raises:
        NumericalError: If lengths disagree or a row is picked twice.
    """

    rows: IntArray
    score: FloatArray
    mode: IntArray
    reason: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.rows) == len(self.score) == len(self.mode) == len(self.reason):
            raise NumericalError("picks: rows, score, mode and reason differ in length")
        if len(np.unique(self.rows)) != len(self.rows):
            raise NumericalError("picks: a perturbation was picked twice")


def check_supply(pool: PoolView, n: int, strategy: str) -> None:
    """Stop a strategy that is asked for more than the pool holds.

    Raises:
        ExhaustedStrategy: If n > P.
    """
    if n > pool.available:
        raise ExhaustedStrategy(
            "the pool is smaller than what the slot asks for",
            where=f"strategy {strategy}, pick {pool.available + 1}",
            got=f"{pool.available} perturbations",
            expected=f"at least {n}",
            todo="Ask for fewer perturbations.",
        )


def needed(part: T | None, name: str, strategy: str) -> T:
    """A part of the pool view that may be left out, for a strategy that needs it.

    Args:
        part: The part.
        name: What it is called.
        strategy: Who needs it.

    Raises:
        UserError: The view is without it.
    """
    if part is None:
        expected = f"a pool view with {name}"
        raise UserError(f"the strategy needs {name}", where=f"strategy {strategy}", expected=expected)
    return part


def seeded_argmax(values: FloatArray, rng: np.random.Generator) -> int:
    """Position of the largest of `values` (k,), exact ties drawn by `rng`."""
    best = np.flatnonzero(values == values.max())
    return int(best[0] if len(best) == 1 else rng.choice(best))


def largest_remainder(weights: Sequence[float] | FloatArray, total: int, rng: np.random.Generator) -> IntArray:
    """Share `total` whole places in proportion to non-negative `weights` (k,); equal remainders drawn by `rng`.

    Returns:
        (k,) places that sum to `total`, each within one of its exact share.

    Source: the method of largest remainders (Hamilton's).
    """
    exact = np.asarray(weights, dtype=np.float64)
    exact = exact / exact.sum() * total
    # 1e-9 keeps a share such as 0.3 · 10 = 2.9999999999999996 from losing the place it is owed.
    places: IntArray = np.floor(exact + 1e-9).astype(np.int64)
    remainder = np.round(exact - places, 9)
    order = np.lexsort((rng.permutation(len(places)), -remainder))
    places[order[: total - int(places.sum())]] += 1
    return places
