"""What a strategy sees of the pool, what it answers, and how ties are broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tasks.errors import NumericalError, UserError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class ExhaustedStrategy(UserError):
    """A strategy cannot supply as many perturbations as its slot asks for. Nothing is filled in its place."""


@dataclass(frozen=True)
class PoolView:
    """The pool in the eigenspace of the chosen operator.

    The pool holds every perturbation that has not been chosen yet, hidden audit members included: a strategy that
    could tell them apart would spoil the certificate.

    Args:
        index: (P,) rows of the library that are in the pool, unique.
        coordinates: (P, r) Z = U₊Λ₊^½, in readout units; row products are the operator's positive part.
        loadings: (P, r) U₊, no unit.
        eigenvalues: (r,) Λ₊ in descending order, readout units squared.
        variance: (P,) diagonal of the operator, readout units squared.
        predictions: (P,) mean over members, readout units or probability.
        members: (P, M) predictions of the members.
        observed_coordinates: (n_obs, r) coordinates, in the same eigenspace, of what has been chosen already.
        features: (P, d) features, for strategies that look at them.

    Raises:
        NumericalError: If shapes disagree or a value is not finite.
    """

    index: IntArray
    coordinates: FloatArray
    loadings: FloatArray
    eigenvalues: FloatArray
    variance: FloatArray
    predictions: FloatArray
    members: npt.NDArray[np.floating]
    observed_coordinates: FloatArray
    features: npt.NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        size, rank = len(self.index), len(self.eigenvalues)
        shapes = {
            "coordinates": (self.coordinates.shape, (size, rank)),
            "loadings": (self.loadings.shape, (size, rank)),
            "variance": (self.variance.shape, (size,)),
            "predictions": (self.predictions.shape, (size,)),
            "members": (self.members.shape[:1], (size,)),
            "observed_coordinates": (self.observed_coordinates.shape[1:], (rank,)),
            "features": ((size,) if self.features is None else self.features.shape[:1], (size,)),
        }
        for name, (found, wanted) in shapes.items():
            if found != wanted:
                raise NumericalError(f"pool view: {name} has shape {found}, expected {wanted}")
        for name in ("coordinates", "loadings", "eigenvalues", "variance", "predictions", "observed_coordinates"):
            if not np.isfinite(getattr(self, name)).all():
                raise NumericalError(f"pool view: {name} holds values that are not finite")

    def __len__(self) -> int:
        """Perturbations in the pool (P)."""
        return len(self.index)

    def without(self, taken: BoolArray) -> PoolView:
        """The pool after `taken` (P,) was chosen: those rows leave and count as observed from now on."""
        if not taken.any():
            return self
        left = ~taken
        return replace(
            self,
            index=self.index[left],
            coordinates=self.coordinates[left],
            loadings=self.loadings[left],
            variance=self.variance[left],
            predictions=self.predictions[left],
            members=self.members[left],
            observed_coordinates=np.concatenate([self.observed_coordinates, self.coordinates[taken]]),
            features=None if self.features is None else self.features[left],
        )


@dataclass(frozen=True)
class Picks:
    """What a strategy chose, in its order of choice.

    Args:
        rows: (k,) positions in the pool view, unique.
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


Strategy = Callable[[PoolView, int, np.random.Generator], Picks]


def check_supply(pool: PoolView, n: int, strategy: str) -> None:
    """Stop a strategy that is asked for more than the pool holds.

    Raises:
        ExhaustedStrategy: If n > P.
    """
    if n > len(pool):
        raise ExhaustedStrategy(
            "the pool is smaller than what the slot asks for",
            where=f"strategy {strategy}, pick {len(pool) + 1}",
            got=f"{len(pool)} perturbations",
            expected=f"at least {n}",
            todo="Ask for fewer perturbations.",
        )


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
