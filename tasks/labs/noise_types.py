"""A screen whose truth is known everywhere, measured with noise of type I, II or III.

The truth is the two-dimensional surface that cobias-covariance active learning was first shown on. The noise types are
those of the same authors: I none, II independent from point to point, III alike in nearby points of one experiment.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.errors import UserError

Float64 = npt.NDArray[np.float64]
NoiseType = Literal["I", "II", "III"]

NOISE_TYPES: tuple[NoiseType, ...] = ("I", "II", "III")

_WIDTH = 2 * np.pi


@dataclass(frozen=True)
class NoisySurface:
    """sin(1.5 x₁)·sin(1.5 x₂) on a square grid over [0, 2π]², and how an experiment measures it.

    The noise's standard deviation grows in a straight line with x₁, alike in types II and III, so that these two differ
    in nothing but the correlation. An experiment (all that is measured together: a round, a plate) draws its noise
    once for the whole grid: in type III ε(x) = sd(x)·g(x), g a stationary normal field with correlation
    exp(−|x − x′|²/2ℓ²); another experiment draws another field.

    Args:
        noise: I, II or III.
        side: Points along each side of the grid; N = side².
        least_sd: Noise at x₁ = 0 [readout unit; the truth has a standard deviation of 0.49].
        largest_sd: Noise at x₁ = 2π [readout unit].
        correlation_length: ℓ of type III [as x; a bump of the truth is 2.1 wide].

    Raises:
        UserError: An unknown noise type, a grid of fewer than two points a side, or a negative sd or length.

    Source:
        Surface and grid of 50 × 50: Scherer et al. 2024, as released with RelationRx/pyrelational (`AIAUSynth`). Noise
        types: Scherer, Kirsch & Taylor-King 2025 (arXiv 2509.04363); their amplitudes and correlations are not known to
        us, these are ours.
    """

    noise: NoiseType
    side: int = 50
    least_sd: float = 0.05
    largest_sd: float = 0.45
    correlation_length: float = 0.7

    def __post_init__(self) -> None:
        if self.noise not in NOISE_TYPES:
            raise UserError("unknown noise type", where="noisy surface", got=self.noise, expected="I, II or III")
        if self.side < 2:
            raise UserError("a grid needs two points a side", where="noisy surface", got=self.side)
        if min(self.least_sd, self.largest_sd) < 0 or self.correlation_length <= 0:
            got = (self.least_sd, self.largest_sd, self.correlation_length)
            raise UserError("noise cannot be negative", where="noisy surface", got=got, expected="sd ≥ 0, length > 0")

    def __len__(self) -> int:
        """Points of the grid N."""
        return self.side**2

    @cached_property
    def points(self) -> Float64:
        """(N, 2) points x, x₂ running fastest."""
        axis = np.linspace(0.0, _WIDTH, self.side)
        return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)

    @cached_property
    def truth(self) -> Float64:
        """(N,) μ_Y, the readout without noise."""
        return np.asarray(np.sin(1.5 * self.points[:, 0]) * np.sin(1.5 * self.points[:, 1]))

    @cached_property
    def sd(self) -> Float64:
        """(N,) σ_Y, standard deviation of one measurement; 0 everywhere in type I."""
        if self.noise == "I":
            return np.zeros(len(self))
        share = self.points[:, 0] / _WIDTH
        return self.least_sd + share * (self.largest_sd - self.least_sd)

    def covariance(self, rows: npt.NDArray[np.integer]) -> Float64:
        """Σ_Y (k, k) of measurements of some points in one experiment; between experiments it is 0."""
        sd, points = self.sd[rows], self.points[rows]
        if self.noise != "III":
            return np.diag(np.square(sd))
        distance = np.square(points[:, None] - points[None]).sum(axis=2)
        return np.asarray(np.outer(sd, sd) * np.exp(-distance / (2 * self.correlation_length**2)))

    def measure(self, rows: npt.NDArray[np.integer], rng: np.random.Generator) -> Float64:
        """Readouts (k,) of different points, measured together in one experiment.

        The generator is asked for the noise of the whole grid, so a point's noise does not depend on what else is
        measured.

        Raises:
            UserError: A point is measured twice: type II has no second noise for it.
        """
        if len(np.unique(rows)) != len(rows):
            raise UserError("a point can be measured once in an experiment", where="noisy surface", got="a repeat")
        field = rng.standard_normal((self.side, self.side))
        if self.noise == "III":
            field = self._root @ field @ self._root.T
        return np.asarray(self.truth[rows] + self.sd[rows] * field.ravel()[rows])

    @cached_property
    def _root(self) -> Float64:
        """R (side, side) with RRᵀ the correlation along one axis: the field's is the product of both axes'.

        An eigendecomposition, as the correlation is singular but for rounding.
        """
        axis = np.linspace(0.0, _WIDTH, self.side)
        gap = np.square(axis[:, None] - axis[None])
        values, vectors = np.linalg.eigh(np.exp(-gap / (2 * self.correlation_length**2)))
        return np.asarray(vectors * np.sqrt(values.clip(0.0)))
