"""What a replay shows, as plain tables: one object that the page draws and JSON holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from tasks.replays.settings import CONTROL, ReplayConfig
from tasks.replays.statistics import LOGARITHMIC, by_round, by_screen, labels_to_reach, over_screens, paired, ranks


@dataclass(frozen=True)
class Measure:
    """A figure that arms are compared by.

    Attributes:
        name: Column of the figures.
        title: In words.
        unit: Of the figure itself.
        low: Whether less is better.
    """

    name: str
    title: str
    unit: str
    low: bool


_CONTINUOUS = (
    Measure("rmse", "Root mean squared error", "sds of the screen", True),
    Measure("error_99", "99% quantile of the error", "sds of the screen", True),
    Measure("mae", "Mean absolute error", "sds of the screen", True),
    Measure("hits_found", "Hits found", "share of all hits", False),
    Measure("system_accuracy", "System accuracy", "share of the pool", False),
    Measure("coverage_gap", "How far 90% intervals are from holding 90%", "share", True),
)
_BINARY = (
    Measure("accuracy", "Accuracy", "share right", False),
    Measure("rmse", "Root of the Brier score", "", True),
    Measure("system_accuracy", "System accuracy", "share of the pool", False),
    Measure("hits_found", "Hits found", "share of all hits", False),
)


def measures(config: ReplayConfig) -> tuple[Measure, ...]:
    """Figures of a replay; the first one is what the verdict is about."""
    return _BINARY if config.readout.kind == "binary" else _CONTINUOUS


@dataclass(frozen=True, eq=False)
class Compared:
    """One figure, compared.

    Attributes:
        measure: Which.
        screens: See `statistics.by_screen`.
        rounds: See `statistics.by_round`.
        overall: See `statistics.over_screens`.
        reached: See `statistics.labels_to_reach`.
        ranks: Mean rank by arm; p of Friedman's test; critical difference.
    """

    measure: Measure
    screens: pd.DataFrame
    rounds: pd.DataFrame
    overall: pd.DataFrame
    reached: pd.DataFrame
    ranks: tuple[pd.Series[float], float, float]


def compare(table: pd.DataFrame, measure: Measure) -> Compared:
    """Compare every arm with the control by one figure."""
    differences = paired(table, measure.name)
    return Compared(
        measure,
        by_screen(differences),
        by_round(differences),
        over_screens(differences, low_is_good=measure.low),
        labels_to_reach(table, measure.name, low_is_good=measure.low),
        ranks(table, measure.name, low_is_good=measure.low),
    )


Answer = Literal["better", "worse", "unclear"]


def verdict(row: Mapping[Any, Any], measure: Measure) -> Answer:
    """Whether an interval lies on one side of no difference."""
    low, high = row["low"], row["high"]
    if not (np.isfinite(low) and np.isfinite(high)) or low <= 0 <= high:
        return "unclear"
    return "better" if (high < 0) == measure.low else "worse"


def as_json(
    config: ReplayConfig, compared: Mapping[str, Compared], front: pd.DataFrame, costs: pd.DataFrame
) -> dict[str, Any]:
    """Everything that the page shows, for other programs."""
    return {
        "schema_version": 1,
        "control": CONTROL,
        "screens": [screen.name for screen in config.screens],
        "arms": [arm.name for arm in config.played],
        "seeds": [config.seeds.start, config.seeds.stop - 1],
        "figures": {
            name: {
                "low_is_good": each.measure.low,
                "difference": "of logarithms" if each.measure.name in LOGARITHMIC else "plain",
                "overall": _rows(each.overall),
                "screens": _rows(each.screens),
                "rounds": _rows(each.rounds),
                "labels_to_reach_control": _rows(each.reached),
                "ranks": {str(arm): round(float(rank), 4) for arm, rank in each.ranks[0].items()},
                "friedman_p": _number(each.ranks[1]),
                "critical_difference": _number(each.ranks[2]),
            }
            for name, each in compared.items()
        },
        "hits_front": _rows(front),
        "costs": _rows(costs.groupby(["screen", "arm"], sort=False)[["seconds", "peak_rss_gib"]].mean().reset_index()),
    }


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): _number(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None
