"""What calibration is told in: estimates with their intervals, points of a curve, and both together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, norm, rankdata

from tasks.ensembles.target import Kind

CONFIDENCE = 0.95
_Z = float(norm.ppf((1 + CONFIDENCE) / 2))

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval; where one of them is None, `why` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""


NOTHING = Estimate(None, why="no measurement")


@dataclass(frozen=True)
class CurvePoint:
    """What was promised, and the share that was observed with its 95% (Wilson) interval, among n."""

    nominal: float
    observed: float
    low: float
    high: float
    n: int

    @property
    def share(self) -> Estimate:
        """The observed share."""
        return Estimate(self.observed, self.low, self.high)


@dataclass(frozen=True)
class Calibration:
    """How well n predictions kept what they promised.

    Attributes:
        kind: Kind of the readout.
        n: Measurements.
        metrics: Estimates by name, in reading order.
        curve: Numbers: share of measurements inside the central predictive interval, by its level (calibration.py).
            Classes: observed share by predicted probability (class_calibration.py). Empty without a measurement.
    """

    kind: Kind
    n: int
    metrics: Mapping[str, Estimate]
    curve: tuple[CurvePoint, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists; nothing in them is NaN or infinite."""
        return asdict(self) | {"curve": [asdict(point) for point in self.curve]}


def share_of(nominal: float, held: int, n: int) -> CurvePoint:
    """The share held/n where `nominal` was promised; n ≥ 1."""
    interval = binomtest(held, n).proportion_ci(CONFIDENCE, method="wilson")
    return CurvePoint(nominal, held / n, float(interval.low), float(interval.high), n)


def mean_of(values: Floats) -> Estimate:
    """Mean of (n,) values with its normal interval."""
    if not len(values):
        return NOTHING
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, why="one measurement gives no interval")
    half = _Z * float(values.std(ddof=1)) / np.sqrt(len(values))
    return Estimate(mean, float(mean - half), float(mean + half))


def root_mean_square(values: Floats) -> Estimate:
    """Root mean square of (n,) values with its normal interval on the log scale, as squares are skewed."""
    mean = mean_of(values**2)
    if mean.value is None or mean.high is None or mean.value == 0:
        return Estimate(None if mean.value is None else float(np.sqrt(mean.value)), why=mean.why or "all are zero")
    root, factor = float(np.sqrt(mean.value)), float(np.exp((mean.high - mean.value) / (2 * mean.value)))
    return Estimate(root, root / factor, root * factor)


def rank_correlation(x: Floats, y: Floats) -> Estimate:
    """Spearman's rank correlation of an sd x (n,) and an error y (n,), ties by their mean rank.

    Source: Interval by Fisher's transform with the variance (1 + ρ²/2)/(n − 3) of Bonett & Wright 2000.
    """
    if len(x) < 2:
        return Estimate(None, why="fewer than 2 measurements")
    ranks = rankdata(x), rankdata(y)
    for rank, name in zip(ranks, ("sds", "errors"), strict=True):
        if np.ptp(rank) == 0:
            return Estimate(None, why=f"all {name} are equal")
    rho = float(np.clip(np.corrcoef(*ranks)[0, 1], -1.0, 1.0))
    if len(x) < 4:
        return Estimate(rho, why="fewer than 4 measurements give no interval")
    if abs(rho) > 1 - 1e-12:
        return Estimate(rho, why="the orders agree without exception: no interval")
    centre, half = np.arctanh(rho), _Z * np.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    return Estimate(rho, float(np.tanh(centre - half)), float(np.tanh(centre + half)))


def area_under_curve(score: Floats, event: npt.NDArray[np.bool_]) -> Estimate:
    """Probability that an event has a higher score than a non-event (AUROC), ties counting half; score and event (n,).

    Source: Interval from the variance of DeLong et al. 1988, cut at 0 and 1.
    """
    with_event, without = int(event.sum()), int((~event).sum())
    if not with_event or not without:
        return Estimate(None, why="no measurement" if not len(event) else "all are alike: nothing to tell apart")
    rank, first, second = rankdata(score), rankdata(score[event]), rankdata(score[~event])
    above = (rank[event] - first) / without  # of each event: the share of non-events below it
    below = 1.0 - (rank[~event] - second) / with_event
    area = float(above.mean())
    if min(with_event, without) < 2:
        return Estimate(area, why="only one of a kind: no interval")
    half = _Z * float(np.sqrt(above.var(ddof=1) / with_event + below.var(ddof=1) / without))
    if half == 0:
        return Estimate(area, why="told apart without exception: no interval")
    return Estimate(area, max(0.0, area - half), min(1.0, area + half))
