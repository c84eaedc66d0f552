"""Quality of one plate: metrics with threshold, verdict and reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict
from scipy.stats import rankdata

from tasks.campaigns.config import QualitySection
from tasks.errors import UserError
from tasks.readouts.robust import mad_sd

Array = npt.NDArray[np.float64]
Verdict = Literal["PASS", "FAIL", "INFO"]
Direction = Literal[-1, 0, 1]

_SIDES = {1: "above", -1: "below"}


class Metric(BaseModel):
    """One metric of a plate.

    Attributes:
        name: Name of the metric.
        value: Its value; None when it could not be computed.
        n: Wells with a value that entered it.
        threshold: The limit it was compared with; None when it is for information only.
        verdict: PASS, FAIL or INFO (not judged).
        reason: One sentence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    value: float | None
    n: int
    threshold: float | None
    verdict: Verdict
    reason: str


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


def assess_plate(wells: pd.DataFrame, quality: QualitySection, *, min_controls: int = 2) -> PlateQuality:
    """Judge one plate attempt.

    Robust Z′ = 1 − 3·(s₊ + s₋)/|m₊ − m₋| and robust |SSMD| = |m₊ − m₋|/√(s₊² + s₋²), with medians m and s = 1.4826·MAD.
    A plate whose negative controls have no spread fails in any case, because it cannot be aligned.

    Args:
        wells: Table of wells of one plate attempt [instrument unit].
        quality: Thresholds; a threshold of None makes the metric INFO.
        min_controls: Wells with a value that each control on the plate map needs (`alignment.min_controls`).

    Raises:
        UserError: The wells are not those of exactly one plate attempt.

    Source:
        Z′: Zhang, Chung & Oldenburg 1999, J Biomol Screen 4:67. Robust SSMD: Zhang 2007, Genomics 89:552.
    """
    identity = sorted(set(zip(wells["barcode"], wells["attempt"], wells["run"], strict=True)))
    if len(identity) != 1:
        raise UserError("quality is judged plate by plate", got=f"{len(identity)} plate attempts", expected="one")
    negcon, poscon = _values(wells, "negcon"), _values(wells, "poscon")
    has_poscon = bool((wells["role"] == "poscon").any())
    metrics = (
        _count("negcon_wells", negcon, min_controls, planned=True),
        _count("poscon_wells", poscon, min_controls, planned=has_poscon),
        _negcon_spread(negcon),
        _separation("zprime", negcon, poscon, quality.min_zprime, has_poscon=has_poscon),
        _separation("ssmd", negcon, poscon, quality.min_ssmd, has_poscon=has_poscon),
        _negcon_cv(negcon, quality.max_negcon_cv),
        _missing(wells, quality.max_missing),
        _dynamic_range(negcon, poscon),
        _line_effect(wells, "row"),
        _line_effect(wells, "column"),
    )
    barcode, attempt, run = identity[0]
    reasons = tuple(f"{metric.name}: {metric.reason}" for metric in metrics if metric.verdict == "FAIL")
    return PlateQuality(
        barcode=str(barcode),
        attempt=int(attempt),
        run=str(run),
        metrics=metrics,
        passed=not reasons,
        reasons=reasons,
        direction=_direction(negcon, poscon),
    )


def judge_directions(
    qualities: Sequence[PlateQuality], poscon_reads: Literal["higher", "lower"] | None
) -> list[PlateQuality]:
    """Fail the plates whose controls are the wrong way round, which no metric of a single plate can tell.

    The right way is the configured one, else that of most plates that passed and have a direction.

    Args:
        qualities: Plates to be judged together: the more, the surer is their majority.
        poscon_reads: The configured way (`quality.poscon_reads`).

    Returns:
        The plates in their order; those the wrong way round with the failed metric control_direction. Without a
        configured way and without a majority nothing tells which plates are right, so all that have a direction fail.
    """
    balance = sum(quality.direction for quality in qualities if quality.passed)
    expected = int(np.sign(balance)) if poscon_reads is None else {"higher": 1, "lower": -1}[poscon_reads]
    rule = (
        "on most plates " + _SIDES.get(expected, "")
        if poscon_reads is None
        else f"quality.poscon_reads is {poscon_reads}"
    )
    return [
        _turned(quality, expected, rule) if quality.passed and quality.direction not in (0, expected) else quality
        for quality in qualities
    ]


def _turned(quality: PlateQuality, expected: int, rule: str) -> PlateQuality:
    found = f"positive control reads {_SIDES[quality.direction]} the negative control"
    if expected:
        reason = f"{found}, {rule}: controls swapped or plate turned? repeat the plate"
    else:
        reason = f"{found}, as many plates say the opposite: set quality.poscon_reads to higher or lower"
    metric = Metric(
        name="control_direction",
        value=float(quality.direction),
        n=sum(metric.n for metric in quality.metrics if metric.name in ("negcon_wells", "poscon_wells")),
        threshold=float(expected) if expected else None,
        verdict="FAIL",
        reason=reason,
    )
    metrics, reasons = (*quality.metrics, metric), (*quality.reasons, f"{metric.name}: {reason}")
    return quality.model_copy(update={"metrics": metrics, "passed": False, "reasons": reasons})


def _direction(negcon: Array, poscon: Array) -> Direction:
    if not len(negcon) or not len(poscon):
        return 0
    gap = float(np.median(poscon) - np.median(negcon))
    return 0 if gap == 0.0 else 1 if gap > 0.0 else -1


def _values(wells: pd.DataFrame, role: str) -> Array:
    values = wells.loc[wells["role"] == role, "value"].to_numpy(dtype=np.float64)
    return np.asarray(values[np.isfinite(values)])


def _judged(name: str, value: float, n: int, threshold: float | None, *, at_least: bool) -> Metric:
    if threshold is None:
        return Metric(
            name=name, value=value, n=n, threshold=None, verdict="INFO", reason=f"{value:.3g}, no threshold set"
        )
    good = value >= threshold if at_least else value <= threshold
    relation = ("at least" if at_least else "at most") if good else ("below" if at_least else "above")
    reason = f"{value:.3g} is {relation} {threshold:g}"
    return Metric(name=name, value=value, n=n, threshold=threshold, verdict="PASS" if good else "FAIL", reason=reason)


def _uncomputed(name: str, n: int, threshold: float | None, reason: str) -> Metric:
    """A metric that could not be computed fails where a threshold asks for it."""
    verdict: Verdict = "INFO" if threshold is None else "FAIL"
    return Metric(name=name, value=None, n=n, threshold=threshold, verdict=verdict, reason=reason)


def _count(name: str, values: Array, min_controls: int, *, planned: bool) -> Metric:
    if not planned:
        return _uncomputed(name, 0, None, "no poscon on this plate")
    return _judged(name, float(len(values)), len(values), float(min_controls), at_least=True)


def _no_spread(values: Array, role: str) -> str | None:
    """Why the spread of a control is unknown or unusable; None when it is fine."""
    if len(values) < 2:
        return f"{len(values)} {role} wells with a value, at least 2 needed"
    if mad_sd(values) == 0.0:
        return f"MAD of {role} is 0: its wells repeat one value (saturated detector or copied values?)"
    return None


def _negcon_spread(negcon: Array) -> Metric:
    problem = _no_spread(negcon, "negcon")
    if problem is not None:
        return Metric(name="negcon_spread", value=None, n=len(negcon), threshold=None, verdict="FAIL", reason=problem)
    return _judged("negcon_spread", mad_sd(negcon), len(negcon), None, at_least=True)


def _separation(name: str, negcon: Array, poscon: Array, threshold: float | None, *, has_poscon: bool) -> Metric:
    n = len(negcon) + len(poscon)
    if not has_poscon:
        return _uncomputed(name, n, None, "no poscon on this plate")
    problem = _no_spread(negcon, "negcon") or _no_spread(poscon, "poscon")
    if problem is not None:
        return _uncomputed(name, n, threshold, problem)
    gap = abs(float(np.median(poscon) - np.median(negcon)))
    low, high = mad_sd(negcon), mad_sd(poscon)
    if name == "ssmd":
        return _judged(name, gap / float(np.hypot(low, high)), n, threshold, at_least=True)
    if gap == 0.0:
        return _uncomputed(name, n, threshold, "the medians of negcon and poscon are equal")
    return _judged(name, 1.0 - 3.0 * (low + high) / gap, n, threshold, at_least=True)


def _negcon_cv(negcon: Array, threshold: float | None) -> Metric:
    problem = _no_spread(negcon, "negcon")
    if problem is None and np.median(negcon) == 0.0:
        problem = "the median of negcon is 0"
    if problem is not None:
        return _uncomputed("negcon_cv", len(negcon), threshold, problem)
    return _judged("negcon_cv", mad_sd(negcon) / abs(float(np.median(negcon))), len(negcon), threshold, at_least=False)


def _missing(wells: pd.DataFrame, threshold: float) -> Metric:
    finite = np.isfinite(wells["value"].to_numpy(dtype=np.float64))
    return _judged("missing", float(1.0 - finite.mean()), int(finite.sum()), threshold, at_least=False)


def _dynamic_range(negcon: Array, poscon: Array) -> Metric:
    n = len(negcon) + len(poscon)
    if not len(negcon) or not len(poscon):
        return _uncomputed("dynamic_range", n, None, "needs a value of both negcon and poscon")
    gap = abs(float(np.median(poscon) - np.median(negcon)))
    return Metric(
        name="dynamic_range", value=gap, n=n, threshold=None, verdict="INFO", reason=f"medians are {gap:.3g} apart"
    )


def _line_effect(wells: pd.DataFrame, axis: Literal["row", "column"]) -> Metric:
    """Share of the rank variance of sample wells that rows (columns) explain, less what chance would: in [0, 1].

    Positions are drawn at random, so samples may be used here. η²_H = (H − k + 1)/(n − k), H of Kruskal-Wallis.

    Source:
        Tomczak & Tomczak 2014, Trends in Sport Sciences 1:19.
    """
    name = f"{axis}_effect"
    samples = wells[(wells["role"] == "sample") & np.isfinite(wells["value"].to_numpy(dtype=np.float64))]
    n, lines = len(samples), samples[axis].nunique()
    if lines < 2 or n <= lines:
        return _uncomputed(name, n, None, f"{n} sample wells in {lines} {axis}s are too few")
    ranks = pd.Series(rankdata(samples["value"].to_numpy(dtype=np.float64)) - (n + 1) / 2)
    total = float((ranks**2).sum())
    if total == 0.0:
        return _uncomputed(name, n, None, "all sample wells are equal")
    groups = ranks.groupby(samples[axis].to_numpy())
    statistic = (n - 1) * float((groups.mean() ** 2 * groups.size()).sum()) / total
    value = min(1.0, max(0.0, (statistic - lines + 1) / (n - lines)))
    reason = f"{axis}s explain {value:.0%} of the variation among samples"
    return Metric(name=name, value=value, n=n, threshold=None, verdict="INFO", reason=reason)
