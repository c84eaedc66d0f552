"""Strategy `adversarial-bim`: what lies next to where the ensemble could be made most uncertain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tasks.batches.claims import claim_nearest
from tasks.batches.pointwise import picks
from tasks.batches.pool import (
    BoolArray,
    ExhaustedStrategy,
    FloatArray,
    Gradient,
    IntArray,
    Picks,
    PoolView,
    check_supply,
    needed,
)

NAME = "adversarial-bim"


def pick_adversarial_bim(
    pool: PoolView,
    n: int,
    rng: np.random.Generator,
    *,
    step: Annotated[float, Field(gt=0, description="ε, step along the sign of the gradient [feature unit].")] = 0.05,
    reach: Annotated[float, Field(gt=0, description="γ: how far to go, as a share of the length of x.")] = 0.35,
    steps: Annotated[int, Field(ge=1, description="Most steps.")] = 100,
) -> Picks:
    """Move every open perturbation uphill in variance, and take the nearest ones to the most uncertain points found.

    The n most uncertain points claim, in that order, the nearest open perturbation that is not taken yet.

    Formula:
        x̃ ← x̃ + ε·sign(∇ var f(x̃)), from x̃ = x while ‖x̃ − x‖ < γ‖x‖ (ε = 0.05, γ = 0.35, at most 100 steps); then
        argmin_x ‖x − x̃‖ over the open perturbations, for the x̃ with the n largest var f(x̃)
    Cost:
        O(P · steps) gradients, then O(n P d); O(P + n d) memory and a chunk of features
    Fails:
        Points beside the data are where an ensemble is meaningless as well as uncertain; the nearest perturbation may
        be far. Steps are in the units of the features, so features of unequal scale are moved unequally. Models without
        a gradient (forests) cannot be used. Exhausted where moving finds no variance.
    Source:
        GeneDisco (Mehrjou et al. 2021), equation 13; Kurakin et al. 2016 (BIM). Its code deviates from its paper: it
        moves the first 100 perturbations alone and takes those with the smallest ‖x̃ − x‖; not followed

    Raises:
        ExhaustedStrategy: If n > P, or if fewer than n points have a positive variance.
        UserError: The pool view has no features or no gradient.
    """
    check_supply(pool, n, NAME)
    features, gradient = needed(pool.features, "features", NAME), needed(pool.gradient, "gradient", NAME)
    if n == 0:
        return picks(np.empty(0), np.empty(0), ())
    priority = rng.permutation(len(pool))
    moves = _Moves(gradient, step, reach, steps, n)
    points = _Points(np.empty((0, features.shape[1])), np.empty(0), np.empty(0, dtype=np.int64))
    for part in features.map(_move, moves, along=(pool.open, priority)):
        points = points.beside(part).highest(n)
    if points.height[-1] <= 0:
        raise ExhaustedStrategy(
            "no variance found",
            where=f"strategy {NAME}, pick {int(np.argmax(points.height <= 0)) + 1}",
            got="a variance of 0 or less",
            expected=f"{n} points with a positive variance",
            todo="Give the slot a smaller share, or part of it to the strategy random.",
        )
    rows, distance = claim_nearest(features, pool.open, points.place, rng.permutation(len(pool)))
    reasons = tuple(f"{d:.3g} from a point of variance {h:.3g}" for d, h in zip(distance, points.height, strict=True))
    return picks(rows, points.height, reasons)


@dataclass(frozen=True)
class _Moves:
    """How points move: `gradient` of the variance, step ε, reach γ, most steps; the `keep` highest are kept."""

    gradient: Gradient
    step: float
    reach: float
    steps: int
    keep: int


@dataclass(frozen=True)
class _Points:
    """The highest points found, highest first: place (k, d), height = variance (k,), priority among ties (k,)."""

    place: FloatArray
    height: FloatArray
    priority: IntArray

    def highest(self, keep: int) -> _Points:
        order = np.lexsort((self.priority, -self.height))[:keep]
        return _Points(self.place[order], self.height[order], self.priority[order])

    def beside(self, other: _Points) -> _Points:
        return _Points(
            np.concatenate([self.place, other.place]),
            np.concatenate([self.height, other.height]),
            np.concatenate([self.priority, other.priority]),
        )


def _move(chunk: npt.NDArray[Any], start: int, open_: BoolArray, priority: IntArray, moves: _Moves) -> _Points:
    """The highest points of a chunk of features, moved."""
    place = np.asarray(chunk)[open_].astype(np.float64)
    limit = moves.reach * np.linalg.norm(place, axis=1)
    shift = np.zeros_like(place)
    going = np.flatnonzero(limit > 0)
    for _ in range(moves.steps):
        if not len(going):
            break
        _, slope = moves.gradient(place[going] + shift[going])
        shift[going] += moves.step * np.sign(slope)
        still = (np.linalg.norm(shift[going], axis=1) < limit[going]) & slope.any(axis=1)
        going = going[still]
    moved = place + shift
    height = moves.gradient(moved)[0] if len(moved) else np.zeros(0)
    return _Points(moved, height, priority[open_]).highest(moves.keep)
