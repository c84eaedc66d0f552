"""What quality control says: one metric, one plate."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Array = npt.NDArray[np.float64]
Verdict = Literal["PASS", "FAIL", "INFO"]
Direction = Literal[-1, 0, 1]


class Metric(BaseModel):
    """One metric of a plate.

    Attributes:
        name: Name of the metric.
        value: Its value; None when it could not be computed.
        n: Wells with a value that entered it.
        threshold: The limit it was compared with; None when it is for information only.
        verdict: PASS, FAIL or INFO (not judged).
        reason: One sentence.
        low: Lower end of the interval of the value; None when there is none.
        high: Its upper end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    value: float | None
    n: int
    threshold: float | None
    verdict: Verdict
    reason: str
    low: float | None = None
    high: float | None = None


class PlateQuality(BaseModel):
    """The verdict on one plate attempt. It passes when no metric fails.

    Attributes:
        barcode: Barcode of the plate.
        attempt: Attempt, counted from 1.
        run: Plates processed together.
        metrics: All metrics, in a fixed order.
        passed: Whether the plate may be used.
        reasons: Reasons of the metrics that failed; empty when the plate passed.
        direction: Sign of median poscon − median negcon; 0 without poscon or without a gap.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    barcode: str
    attempt: int
    run: str
    metrics: tuple[Metric, ...]
    passed: bool
    reasons: tuple[str, ...]
    direction: Direction

    def metric(self, name: str) -> Metric | None:
        """The metric of this name, None when the plate has none."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def with_metric(self, metric: Metric) -> PlateQuality:
        """The plate with one more metric, which takes the place of one of the same name."""
        kept = tuple(other for other in self.metrics if other.name != metric.name)
        metrics = (*kept, metric)
        reasons = failures(metrics)
        return self.model_copy(update={"metrics": metrics, "passed": not reasons, "reasons": reasons})


def failures(metrics: tuple[Metric, ...]) -> tuple[str, ...]:
    """Reasons of the metrics that failed, each with the metric's name."""
    return tuple(f"{metric.name}: {metric.reason}" for metric in metrics if metric.verdict == "FAIL")


def judged(
    name: str,
    value: float,
    n: int,
    threshold: float | None,
    *,
    at_least: bool,
    note: str = "",
    interval: tuple[float, float] | None = None,
) -> Metric:
    """A metric compared with its threshold; without one it informs only. The note follows in the same sentence."""
    if not np.isfinite(value):
        return uncomputed(name, n, threshold, "the values are too large or too close together to compute it")
    low, high = (None, None) if interval is None else interval
    if threshold is None:
        verdict: Verdict = "INFO"
        reason = f"{value:.3g}, no threshold set{note}"
    else:
        good = value >= threshold if at_least else value <= threshold
        relation = ("at least" if at_least else "at most") if good else ("below" if at_least else "above")
        verdict, reason = "PASS" if good else "FAIL", f"{value:.3g} is {relation} {threshold:g}{note}"
    return Metric(name=name, value=value, n=n, threshold=threshold, verdict=verdict, reason=reason, low=low, high=high)


def informed(name: str, value: float | None, n: int, reason: str) -> Metric:
    """A metric that is not judged."""
    if value is not None and not np.isfinite(value):
        value, reason = None, "the values are too large or too close together to compute it"
    return Metric(name=name, value=value, n=n, threshold=None, verdict="INFO", reason=reason)


def uncomputed(name: str, n: int, threshold: float | None, reason: str) -> Metric:
    """A metric that could not be computed fails where a threshold asks for it."""
    verdict: Verdict = "INFO" if threshold is None else "FAIL"
    return Metric(name=name, value=None, n=n, threshold=threshold, verdict=verdict, reason=reason)
