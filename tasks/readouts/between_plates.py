"""How plates of a run differ, and runs: variance components from the contrasts of plates that wells tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.readouts.two_way import TwoWayFit, clipped_share

Array = npt.NDArray[np.float64]

#: Plates farther than this many sds from their run count as this far: one of 50 adds about a fifth.
PLATE_CLIP = 3.0
_STEPS = 60
_LEAST = 1e-9


@dataclass(frozen=True)
class Component:
    """One variance component.

    Attributes:
        variance: The component, never negative [unit²].
        untruncated: The same before negative values were set to 0; this one is unbiased [unit²].
        df: Degrees of freedom of the contrasts it was told from.
        standard_error: Standard error of `untruncated` [unit²].
        n: Wells, plates, runs or reagents that took part.
    """

    variance: float
    untruncated: float
    df: int
    standard_error: float
    n: int


def plate_and_run(fit: TwoWayFit) -> tuple[Component | None, Component | None]:
    """Components of plates and of runs, from the contrasts q ~ N(0, diag(v_p + σ²/λ) + v_r·WWᵀ); df >= 1."""
    membership = (fit.run[:, None] == np.arange(len(fit.runs))).astype(np.float64)
    loading = fit.basis.T @ membership  # W, (K, R)
    dimensions, told = len(fit.contrasts), int(np.linalg.matrix_rank(loading, tol=1e-6)) if loading.size else 0
    if dimensions == 0:
        return None, None
    if told == dimensions or told == 0:
        loading, told = loading[:, :0], 0  # no run is told, or each has one plate
    unit = float(np.mean(fit.contrasts**2) + np.mean(fit.variance / fit.information))
    found, covariance = _iterate(fit, loading, unit) if unit > 0 else (np.zeros(2), np.zeros((2, 2)))
    errors = np.sqrt(np.diag(covariance))
    plates, runs = ((part**2).sum(axis=axis) > 1e-9 for part, axis in ((fit.basis, 1), (loading, 0)))
    plate = _component(found[0], dimensions - told, errors[0], plates)
    return plate, _component(found[1], told, errors[1], runs) if told else None


def _iterate(fit: TwoWayFit, loading: Array, unit: float) -> tuple[Array, Array]:
    """Estimates (2,) and their covariance (2, 2), by steps until the weights are the estimates; worked in `unit`s."""
    q, noise = fit.contrasts / np.sqrt(unit), fit.variance / fit.information / unit
    found, covariance = np.array([0.5, 0.5 if loading.shape[1] else 0.0]), np.zeros((2, 2))
    kept, centre = q, np.zeros(len(fit.basis))
    for _ in range(_STEPS):
        before = np.maximum(found, 0.0)
        kept, centre = _clipped(q, fit.basis, loading, noise, before, kept, centre)
        found, covariance = _minque(kept, loading, noise, before, fit.df)
        if np.allclose(np.maximum(found, 0.0), before, rtol=1e-7, atol=1e-7 * float(noise.mean() + before.sum())):
            break  # any weights give an unbiased estimate; more steps only make it sharper
    return found * unit, covariance * unit**2


def _component(found: float, df: int, error: float, members: npt.NDArray[np.bool_]) -> Component:
    return Component(max(float(found), 0.0), float(found), df, float(error), int(np.count_nonzero(members)))


def _clipped(
    q: Array, basis: Array, loading: Array, noise: Array, weights: Array, last: Array, centre: Array
) -> tuple[Array, Array]:
    """Contrasts after plates beyond 3 sds of their run were drawn to 3 sds, (K,), and the plates' centres, (P,).

    The centre of plates that are tied together, which contrasts leave open, settles with them (Huber's location). Both
    go on from what the last weights gave.
    """
    bound = PLATE_CLIP * np.sqrt(basis**2 @ (weights[0] + noise))
    for _ in range(_STEPS):
        before = last
        shared = loading @ _run_effects(before, loading, noise, weights)
        clipped = np.clip(basis @ (q - shared) - centre, -bound, bound)
        kept = basis.T @ clipped
        centre = centre + clipped - basis @ kept
        last = kept / np.sqrt(clipped_share(PLATE_CLIP)) + shared
        if np.allclose(last, before, rtol=0.0, atol=1e-7 * float(bound.max())):
            break
    return last, centre


def _precision(variances: Array) -> Array:
    """1/variance, bounded where noise and plates both vanish; (K,)."""
    return np.asarray(1.0 / np.maximum(variances, _LEAST * max(float(variances.max()), _LEAST)))


def _run_effects(q: Array, loading: Array, noise: Array, weights: Array) -> Array:
    """Best prediction of the runs' effects, v_r·Wᵀ V⁻¹ q; (R,)."""
    precision = _precision(weights[0] + noise)
    gathered = loading.T * precision
    inner = np.eye(loading.shape[1]) + weights[1] * (gathered @ loading)
    return np.asarray(weights[1] * np.linalg.solve(inner, gathered @ q))


def _minque(q: Array, loading: Array, noise: Array, weights: Array, df: int) -> tuple[Array, Array]:
    """One step: qᵀV⁻¹V_jV⁻¹q equal to its expectation for every component j; estimates (2,), covariance (2, 2)."""
    v_plate, v_run = weights
    precision = _precision(v_plate + noise)
    gathered = precision[:, None] * loading
    solved = gathered @ np.linalg.inv(np.eye(loading.shape[1]) + v_run * (loading.T @ gathered))  # V⁻¹W
    inverse = np.diag(precision) - v_run * (solved @ gathered.T)
    weighted = inverse @ q
    runs = loading.shape[1] > 0
    traces = np.array([[(inverse**2).sum(), (solved**2).sum()], [(solved**2).sum(), ((loading.T @ solved) ** 2).sum()]])
    of_noise = np.array([((inverse**2) @ noise).sum(), (solved**2).sum(axis=1) @ noise])
    squares = np.array([weighted @ weighted, ((loading.T @ weighted) ** 2).sum()])
    found, covariance = np.zeros(2), np.zeros((2, 2))
    told = slice(0, 2 if runs else 1)
    system = np.linalg.inv(traces[told, told])
    found[told] = system @ (squares - of_noise)[told]
    # Twice the inverse is the sampling variance; the well variance, known to 2/df of its square, adds its own.
    from_noise = system @ of_noise[told]
    covariance[told, told] = 2.0 * system + 2.0 / df * np.outer(from_noise, from_noise)
    return found, covariance
