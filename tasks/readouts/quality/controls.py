"""Metrics of the control wells of one plate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from tasks.campaigns.config import QualitySection
from tasks.readouts.quality.bootstrap import FEWEST_WELLS, Intervals, bootstrap_intervals
from tasks.readouts.quality.verdicts import Array, Direction, Metric, informed, judged, uncomputed
from tasks.readouts.robust import control_moments, mad_sd

Transform = Literal["none", "log2", "log10"]
_LOG_BASE = {"log2": 2.0, "log10": 10.0}


@dataclass(frozen=True)
class Controls:
    """Control wells of a plate.

    Attributes:
        negcon: Finite values of negcon, (n₋,).
        poscon: Finite values of poscon, (n₊,).
        planned_negcon: Negcon wells on the plate map.
        planned_poscon: Poscon wells on the plate map.
    """

    negcon: Array
    poscon: Array
    planned_negcon: int
    planned_poscon: int

    @classmethod
    def of(cls, wells: pd.DataFrame) -> Controls:
        """Controls of the table of wells of one plate."""
        values = {role: wells.loc[wells["role"] == role, "value"].to_numpy(np.float64) for role in ("negcon", "poscon")}
        finite = {role: np.asarray(found[np.isfinite(found)]) for role, found in values.items()}
        return cls(finite["negcon"], finite["poscon"], len(values["negcon"]), len(values["poscon"]))

    @property
    def n(self) -> int:
        """Control wells with a value."""
        return len(self.negcon) + len(self.poscon)

    @property
    def direction(self) -> Direction:
        """Sign of median poscon − median negcon; 0 where one of them has no value."""
        gap = self.gap
        return 0 if gap is None else 1 if gap > 0.0 else -1 if gap < 0.0 else 0

    @property
    def gap(self) -> float | None:
        """Median poscon − median negcon; None where one of them has no value."""
        if not len(self.negcon) or not len(self.poscon):
            return None
        return float(np.median(self.poscon) - np.median(self.negcon))


def control_metrics(
    controls: Controls, quality: QualitySection, min_controls: int, transform: Transform
) -> list[Metric]:
    """All metrics of the controls, in a fixed order."""
    planned = {"negcon": 1, "poscon": controls.planned_poscon}
    counts = [_count(role, getattr(controls, role), min_controls, planned[role]) for role in planned]
    return [
        *counts,
        _negcon_spread(controls.negcon, min_controls),
        _cost(controls.negcon),
        *_separation(controls, quality),
        _negcon_cv(controls.negcon, quality.max_negcon_cv, controls.planned_negcon, transform),
        _dynamic_range(controls),
    ]


def _count(role: str, values: Array, min_controls: int, planned: int) -> Metric:
    if not planned:
        return informed(f"{role}_wells", None, 0, f"no {role} on this plate")
    return judged(f"{role}_wells", float(len(values)), len(values), float(min_controls), at_least=True)


def _no_spread(values: Array, role: str) -> str | None:
    """Why the spread of a control is unknown or unusable; None when it is fine."""
    if len(values) < 2:
        return f"{len(values)} {role} wells with a value, at least 2 needed"
    if mad_sd(values) == 0.0:
        return f"MAD of {role} is 0: its wells repeat one value (saturated detector or copied values?)"
    return None


def _negcon_spread(negcon: Array, min_controls: int) -> Metric:
    """Robust sd of negcon. Where the campaign is content with one well there is none to be had."""
    problem = _no_spread(negcon, "negcon")
    if problem is None:
        return judged("negcon_spread", mad_sd(negcon), len(negcon), None, at_least=True)
    if len(negcon) < 2 and min_controls < 2:
        return informed("negcon_spread", None, len(negcon), problem)
    return Metric(name="negcon_spread", value=None, n=len(negcon), threshold=None, verdict="FAIL", reason=problem)


def _cost(negcon: Array) -> Metric:
    """Standard error of the plate's level as a share of one well's noise, from its negative controls alone.

    Source:
        sd of a median: √(π/2n) for many wells, simulated for few (`control_moments`).
    """
    n = len(negcon)
    if n == 0:
        return informed("control_cost", None, 0, "no negcon well with a value: nothing on this plate tells its level")
    share = 1.0 if n == 1 else float(np.sqrt(control_moments(n).median_variance))
    wells = "1 negcon well tells" if n == 1 else f"{n} negcon wells tell"
    many = float(np.sqrt(control_moments(16).median_variance))
    advice = "" if n >= 16 else f"; 16 wells would leave ± {many:.2f}"
    reason = (
        f"{wells} the plate's level to ± {share:.2f} of one well's noise (1 sd), an error that all samples of the "
        f"plate share{advice}; other plates of the run and anchors may lower it"
    )
    return informed("control_cost", share, n, reason)


def _separation(controls: Controls, quality: QualitySection) -> list[Metric]:
    """Robust Z′ and SSMD with their intervals."""
    limits = {"zprime": quality.min_zprime, "ssmd": quality.min_ssmd}
    if not controls.planned_poscon:
        return [informed(name, None, controls.n, "no poscon on this plate") for name in limits]
    few = min((controls.planned_negcon, "negcon"), (controls.planned_poscon, "poscon"))
    if few[0] < 2:
        reason = (
            f"{few[0]} {few[1]} well on the plate map is too few: the noise of a control shows only among 2 wells or "
            "more of one plate; the gap between the controls is compared with that of the other plates instead"
        )
        return [informed(name, None, controls.n, reason) for name in limits]
    problem = _no_spread(controls.negcon, "negcon") or _no_spread(controls.poscon, "poscon")
    if problem is None and controls.direction == 0:
        problem = "the medians of negcon and poscon are equal"
    if problem is not None:
        return [uncomputed(name, controls.n, limit, problem) for name, limit in limits.items()]
    gap = np.float64(abs(controls.gap or 0.0))
    low, high = mad_sd(controls.negcon), mad_sd(controls.poscon)
    values = {"zprime": float(1.0 - 3.0 * (low + high) / gap), "ssmd": float(gap / np.hypot(low, high))}
    few_wells = min(len(controls.negcon), len(controls.poscon)) < FEWEST_WELLS
    none = Intervals(None, None)
    found = none if few_wells else bootstrap_intervals(controls.negcon, controls.poscon, quality.interval)
    metrics = []
    for name, value in values.items():
        interval: tuple[float, float] | None = getattr(found, name)
        note = f" ({_pair(controls)}, {_interval_words(interval, quality.interval, few_wells)})"
        metrics.append(judged(name, value, controls.n, limits[name], at_least=True, note=note, interval=interval))
    return metrics


def _pair(controls: Controls) -> str:
    return f"{len(controls.poscon)} poscon against {len(controls.negcon)} negcon wells"


def _interval_words(interval: tuple[float, float] | None, level: float, few_wells: bool) -> str:
    if few_wells:
        return f"interval not possible with n < {FEWEST_WELLS} of a control"
    if interval is None:
        return "no interval: the controls take too few different values"
    return f"interval of {100 * level:g}%"


def _negcon_cv(negcon: Array, threshold: float | None, planned: int, transform: Transform) -> Metric:
    """Robust coefficient of variation of negcon, in the instrument's unit.

    s/|m| of untransformed values; √(exp((s·ln b)²) − 1) of values that are logs to base b, exact for lognormal ones.

    Source:
        Johnson, Kotz & Balakrishnan 1994, Continuous Univariate Distributions 1, chapter 14.
    """
    if planned < 2:
        return informed("negcon_cv", None, len(negcon), "fewer than 2 negcon wells on the plate map: no spread")
    problem = _no_spread(negcon, "negcon")
    if problem is None and transform == "none" and np.median(negcon) == 0.0:
        problem = "the median of negcon is 0"
    if problem is not None:
        return uncomputed("negcon_cv", len(negcon), threshold, problem)
    spread, note = mad_sd(negcon), ""
    if transform == "none":
        value = spread / abs(float(np.median(negcon)))
    else:
        value = float(np.sqrt(np.expm1((spread * np.log(_LOG_BASE[transform])) ** 2)))
        note = f", before {transform} was taken"
    return judged("negcon_cv", value, len(negcon), threshold, at_least=False, note=note)


def _dynamic_range(controls: Controls) -> Metric:
    if controls.gap is None:
        return informed("dynamic_range", None, controls.n, "needs a value of both negcon and poscon")
    gap = abs(controls.gap)
    return informed("dynamic_range", gap, controls.n, f"medians are {gap:.3g} apart ({_pair(controls)})")
