"""Noise that may have heavy tails: how large it is, how heavy its tail, and what single values are then worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

Array = npt.NDArray[np.float64]

#: Degrees of freedom that are tried for errors, beside a normal: all with a variance.
ERROR_TAILS = (3.0, 4.0, 6.0, 10.0, 20.0)
#: The same for how plates differ, which may be wilder: a failed plate is anywhere.
PLATE_TAILS = (1.0, 2.0, *ERROR_TAILS)
#: log likelihood that a tail must gain over the normal, as a test at 1% asks.
_WORTH = 3.0
#: Steps away from a peak, in its widths: fine near it, and far.
_STEPS = np.sinh(np.linspace(-5.0, 5.0, 61))
_FEW = 4
#: Densities that are computed at once, so that they stay in a core's cache.
_BLOCK = 131_072
#: Neither the values nor what was known before ever count for less than this.
_LEAST = 1e-3


@dataclass(frozen=True, eq=False)
class Group:
    """n values around one unknown level; inside this module also g such groups.

    Attributes:
        values: The values, (n,) or (g, n).
        known: Variance of each that is known, of the same shape.
        unit: Multiple of the unknown variance that each has on top, of the same shape.
    """

    values: Array
    known: Array
    unit: Array


@dataclass(frozen=True)
class Noise:
    """Maximum likelihood of the values' errors.

    Attributes:
        variance: The unknown variance (squared scale of the t distribution).
        tail: Degrees of freedom of the t distribution; None: normal.
        df: Contrasts that told it, Σ(n − 1).
    """

    variance: float
    tail: float | None
    df: int


def fit_noise(groups: Sequence[Group], *, excess: bool = False, tails: Sequence[float] = ERROR_TAILS) -> Noise:
    """Size and tail of errors, by the likelihood of differences within groups.

    Value i of a group is level + e_i, e_i ~ t_ν with scale² known_i + s²·unit_i. The level is integrated out under a
    flat prior, as restricted maximum likelihood does, so that pairs count as they should. s² and ν maximise what is
    left; ν is finite only where that gains more than three units of log likelihood.

    Args:
        groups: Groups of values; those with one value say nothing.
        excess: Whether `known` may be all there is: then s² is 0 unless it gains as much.
        tails: Degrees of freedom to choose from.

    Source:
        Lange, Little & Taylor 1989, Robust statistical modeling using the t distribution; Patterson & Thompson 1971,
        Recovery of inter-block information (restricted likelihood).
    """
    telling = [group for group in groups if len(group.values) > 1]
    stacks = _stacked(telling)
    best: tuple[float, float, float | None] = (-np.inf, 0.0, None)
    for tail in (None, *tails):
        variance, log_likelihood = _best_variance(stacks, tail)
        candidates = [(log_likelihood - _WORTH * excess, variance)]
        if excess:
            candidates.append((_total(stacks, 0.0, tail), 0.0))
        for score, size in candidates:
            if score - _WORTH * (tail is not None) > best[0]:
                best = (score - _WORTH * (tail is not None), size, tail)
    return Noise(best[1], best[2], sum(len(group.values) - 1 for group in telling))


def _stacked(groups: Sequence[Group]) -> list[Group]:
    """Groups of one size together: some arrays are computed with as fast as one group's."""
    same: dict[int, list[Group]] = {}
    for group in groups:
        same.setdefault(len(group.values), []).append(group)
    stacks = []
    for n, members in same.items():
        step = max(1, _BLOCK // (n * len(_STEPS) * (n if n <= _FEW else 1)))
        for first in range(0, len(members), step):
            part = members[first : first + step]
            columns = zip(*((group.values, group.known, group.unit) for group in part), strict=True)
            stacks.append(Group(*(np.stack(column) for column in columns)))
    return stacks


def _best_variance(stacks: Sequence[Group], tail: float | None) -> tuple[float, float]:
    """s² of the largest likelihood, and that log likelihood."""
    spread = [(stack.values - np.median(stack.values, axis=1, keepdims=True)) ** 2 / stack.unit for stack in stacks]
    positive = np.concatenate([np.empty(0), *(square[square > 0] for square in spread)])
    if not len(positive):
        return 0.0, -np.inf
    size = float(np.log(np.median(positive)))
    found = minimize_scalar(
        lambda log_s: -_total(stacks, float(np.exp(log_s)), tail),
        bounds=(size - 8.0, size + 8.0),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x)), -float(found.fun)


def _total(stacks: Sequence[Group], variance: float, tail: float | None) -> float:
    return float(
        sum(_restricted(stack.values, np.sqrt(stack.known + variance * stack.unit), tail).sum() for stack in stacks)
    )


def _restricted(x: Array, scale: Array, tail: float | None) -> Array:
    """Log likelihood of each group, its level integrated out; (g, n), (g, n) -> (g,)."""
    if tail is None:
        w = 1.0 / scale**2
        total = w.sum(axis=1)
        mean = (w * x).sum(axis=1) / total
        squares = (w * (x - mean[:, None]) ** 2).sum(axis=1)
        constant = (x.shape[1] - 1) * np.log(2 * np.pi)
        return np.asarray(0.5 * (np.log(w).sum(axis=1) - np.log(total) - squares - constant))
    level = _nodes(x, scale)
    log_density = _log_t(x, scale, level, tail).sum(axis=1)
    top = log_density.max(axis=1)
    return np.asarray(top + np.log(np.trapezoid(np.exp(log_density - top[:, None]), level, axis=1)))


@dataclass(frozen=True)
class Before:
    """What is known of a level before its values: t_ν(mean, scale² variance), or normal without ν.

    Attributes:
        mean: Centre.
        variance: Squared scale; inf: nothing is known.
        tail: Degrees of freedom ν; None: normal.
    """

    mean: float
    variance: float
    tail: float | None


@dataclass(frozen=True, eq=False)
class Worth:
    """What values with heavy tails say of their common level, as normal values would.

    Attributes:
        shares: What each value's precision is multiplied with, (n,); an outlier has little.
        shift: What has to be added to every value.
        before: What the precision of what was known before is multiplied with; little for a level that is an outlier.
        extra: Variance of the level beyond that of the normal one: which of two peaks is right.
    """

    shares: Array
    shift: float
    before: float
    extra: float


def normal_worth(group: Group, tail: float | None, before: Before) -> Worth:
    """Normal values, and a normal level before them, that lead to the same mean of the level.

    The level's posterior is integrated numerically: values that contradict each other or what was known give one with
    two peaks. Values weigh among each other by E[(ν + 1)/(ν + z²)], and so does what was known.

    Args:
        group: Values around one level; their squared scales are `known`.
        tail: Degrees of freedom of their errors; None: normal.
        before: What is known of the level.

    Source:
        Weights of the t distribution: Lange, Little & Taylor 1989.
    """
    x, scale = group.values, np.sqrt(group.known)
    wide, middle = np.array([np.sqrt(before.variance)]), np.array([before.mean])
    informed = bool(np.isfinite(wide[0]))
    level = _nodes(x, scale)
    if informed:
        level = np.sort(np.concatenate([level, middle + wide * _STEPS]))
    log_density = _log_t(x, scale, level, tail).sum(axis=0)
    if informed:
        log_density = log_density + _log_t(middle, wide, level, before.tail)[0]
    mass = np.exp(log_density - log_density.max()) * np.gradient(level)
    mass /= mass.sum()
    after = float(mass @ level)
    spread = float(mass @ (level - after) ** 2)
    precision = (_weights(x, scale, level, tail) @ mass) / scale**2
    trust = float(_weights(middle, wide, level, before.tail)[0] @ mass) if informed else 0.0
    was, total = trust / before.variance, float(precision.sum())
    own = float(precision @ x / total)
    if not informed:
        return Worth(precision * group.known, after - own, trust, max(0.0, spread - 1.0 / total))
    away = own - before.mean
    gained = total
    if abs(away) > np.sqrt(spread):  # else the ratio of two small numbers; there the weights alone are right
        kept = float(np.clip((after - before.mean) / away, _LEAST, 1.0 - _LEAST))
        gained = was * kept / (1.0 - kept)
    return Worth(precision * group.known * gained / total, 0.0, trust, max(0.0, spread - 1.0 / (gained + was)))


def _weights(x: Array, scale: Array, level: Array, tail: float | None) -> Array:
    """(ν + 1)/(ν + z²); (n,), (n,), (m,) -> (n, m)."""
    z2 = ((x[:, None] - level) / scale[:, None]) ** 2
    return np.ones_like(z2) if tail is None else np.asarray((tail + 1) / (tail + z2))


def _nodes(x: Array, scale: Array) -> Array:
    """Levels to integrate over: the density may peak at each of a few values, and has one narrow peak around many.

    (…, n), (…, n) -> (…, m).
    """
    n, width = x.shape[-1], scale.max(axis=-1, keepdims=True)
    peaks = x
    if n > _FEW:
        peaks, width = np.median(x, axis=-1, keepdims=True), width / np.sqrt(n)
    return np.sort((peaks[..., None] + width[..., None] * _STEPS).reshape(*x.shape[:-1], -1), axis=-1)


def _log_t(x: Array, scale: Array, level: Array, tail: float | None) -> Array:
    """Log density of t_ν, or of the normal without ν; (…, n), (…, n), (…, m) -> (…, n, m)."""
    z2 = ((x[..., None] - level[..., None, :]) / scale[..., None]) ** 2
    if tail is None:
        return np.asarray(-0.5 * (np.log(2 * np.pi) + z2) - np.log(scale)[..., None])
    constant = gammaln((tail + 1) / 2) - gammaln(tail / 2) - 0.5 * np.log(tail * np.pi)
    return np.asarray(constant - np.log(scale)[..., None] - (tail + 1) / 2 * np.log1p(z2 / tail))
