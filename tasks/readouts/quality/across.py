"""What only many plates together can tell about the controls of one: turned plates, failed positive controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tasks.readouts.quality.verdicts import Metric, PlateQuality, informed, judged, uncomputed

_SIDES = {1: "above", -1: "below"}
_FEWEST_PLATES = 3


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
    return quality.with_metric(metric)


def judge_gaps(qualities: Sequence[PlateQuality], min_gap_share: float | None) -> list[PlateQuality]:
    """Tell the plates whose positive control failed: their gap is much smaller than that of the plates beside them.

    Works with one well of each control a plate, where no Z′ can be had. A plate is compared with the median gap of its
    run, counted in the direction of that median; a run of fewer than 3 such plates with that of all plates judged here.
    The median stands as long as fewer than half of the plates failed.

    Args:
        qualities: Plates to be judged together.
        min_gap_share: Smallest share of that median (`quality.min_gap_share`); None to inform only.

    Returns:
        The plates in their order; those with both controls with the metric control_gap.
    """
    gaps = {index: gap for index, quality in enumerate(qualities) if (gap := _signed_gap(quality)) is not None}
    runs: dict[str, list[float]] = {}
    for index, gap in gaps.items():
        runs.setdefault(qualities[index].run, []).append(gap)
    judged_plates = list(qualities)
    for index, gap in gaps.items():
        beside, where = runs[qualities[index].run], "of its run"
        if len(beside) < _FEWEST_PLATES:
            beside, where = list(gaps.values()), "judged together, its run is too small"
        judged_plates[index] = qualities[index].with_metric(
            _gap_metric(qualities[index], gap, beside, where, min_gap_share)
        )
    return judged_plates


def _signed_gap(quality: PlateQuality) -> float | None:
    """Median poscon − median negcon [readout unit]; None where a control has no value."""
    size = quality.metric("dynamic_range")
    return None if size is None or size.value is None else quality.direction * size.value


def _gap_metric(
    quality: PlateQuality, gap: float, beside: list[float], where: str, min_gap_share: float | None
) -> Metric:
    size = quality.metric("dynamic_range")
    n = 0 if size is None else size.n
    if len(beside) < _FEWEST_PLATES:
        # Not a failure: no repeat of this plate could mend it.
        return informed("control_gap", None, n, f"fewer than {_FEWEST_PLATES} plates to compare with")
    median = float(np.median(beside))
    if median == 0.0:
        return uncomputed("control_gap", n, min_gap_share, f"the median gap of the {len(beside)} plates {where} is 0")
    share = gap / median
    note = f", as share of the median gap {median:.3g} of the {len(beside)} plates {where}"
    if min_gap_share is not None and share < min_gap_share:
        note += ": did the positive control fail?"
    return judged("control_gap", share, n, min_gap_share, at_least=True, note=note)
