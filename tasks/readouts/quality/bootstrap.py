"""Intervals of Z′ and SSMD: control wells are drawn again with replacement, within negcon and within poscon."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from tasks.readouts.quality.verdicts import Array
from tasks.readouts.robust import MAD_TO_SD

#: Wells of each control below which a 95% interval holds the truth in clearly fewer than 90% of plates (see README).
FEWEST_WELLS = 8
_RESAMPLES = 2000


@dataclass(frozen=True)
class Intervals:
    """Bootstrap intervals of one plate; an end that is not finite makes that interval None."""

    zprime: tuple[float, float] | None
    ssmd: tuple[float, float] | None


def bootstrap_intervals(negcon: Array, poscon: Array, level: float) -> Intervals:
    """Percentile intervals of robust Z′ and SSMD.

    The seed comes from the values themselves, so the same plate has the same interval wherever and in whatever order of
    its wells it is computed.

    Args:
        negcon: (n₋,) finite values.
        poscon: (n₊,) finite values, in the same unit.
        level: Level of the interval, in (0, 1).

    Source:
        Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval, several samples).
    """
    low, high = np.sort(negcon) + 0.0, np.sort(poscon) + 0.0  # + 0.0: no negative zeros
    digest = hashlib.sha256(low.tobytes() + b"|" + high.tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:16], "big"))
    m0, s0 = _centre_and_spread(low[rng.integers(0, len(low), (_RESAMPLES, len(low)))])
    m1, s1 = _centre_and_spread(high[rng.integers(0, len(high), (_RESAMPLES, len(high)))])
    gap = np.abs(m1 - m0)
    with np.errstate(divide="ignore", invalid="ignore"):
        zprime, ssmd = 1.0 - 3.0 * (s0 + s1) / gap, gap / np.hypot(s0, s1)
    return Intervals(_between(zprime, level), _between(ssmd, level))


def _centre_and_spread(draws: Array) -> tuple[Array, Array]:
    """Median and 1.4826·MAD of each resample: (B, n) -> (B,), (B,)."""
    centre = np.median(draws, axis=1)
    return centre, MAD_TO_SD * np.median(np.abs(draws - centre[:, None]), axis=1)


def _between(values: Array, level: float) -> tuple[float, float] | None:
    """The two order statistics that enclose the level; resamples of equal controls (0/0) count on both sides."""
    lower = np.sort(np.where(np.isnan(values), -np.inf, values))
    upper = np.sort(np.where(np.isnan(values), np.inf, values))
    last = len(values) - 1
    tail = int((1.0 - level) / 2.0 * last)
    ends = float(lower[tail]), float(upper[last - tail])
    return ends if np.isfinite(ends).all() else None
