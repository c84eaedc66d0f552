"""Card on the course of calibration over the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.publishing.calibration_data import SCREEN, Judged
from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.accuracy import ARM_COLOURS, ARM_NAMES, fig_name
from tasks.publishing.cards.calibration import FEWEST
from tasks.publishing.cards.calibration_table import metric_text
from tasks.publishing.cards.parts import Card, Figure
from tasks.publishing.cards.wording import axis_unit, for_plotly, things
from tasks.publishing.report_data import ReportData

# Metric, its name on the axis, the value that stands for "as promised" or "says nothing".
NUMBERS = (
    ("coverage_90", "inside 90% intervals", 0.9),
    ("crps", "CRPS", None),
    ("rank_correlation", "rank correlation, sd and error", 0.0),
)
CLASSES = (
    ("expected_calibration_error", "expected calibration error", 0.0),
    ("nll", "log loss", None),
    ("auroc", "AUROC of confidence", 0.5),
)


def course_card(data: ReportData) -> Card:
    """Coverage, a proper score and the rank correlation by round and arm."""
    title = "Calibration, round by round"
    judged = [one for one in data.calibration if one.group != SCREEN and one.calibration.n >= FEWEST]
    rounds = sorted({one.round_index for one in judged})
    if len(rounds) < 2:
        had = f"{things(len(rounds), 'round')} so far" if rounds else "no round yet"
        return Card(
            "course", title, missing=f"The course begins with the second round of predictions: {had}.", wide=True
        )
    metrics = CLASSES if data.kind == "binary" else NUMBERS
    figures = tuple(
        Figure(
            f"course-{metric}", f"{name} by round, with 95% intervals", _course(data, judged, metric, name, ideal), 280
        )
        for metric, name, ideal in metrics
    )
    note = "Bars are 95% intervals. Each round judges the model of the round before on what was measured since. "
    note += f"Groups of fewer than {FEWEST} measurements are left out."
    return Card("course", title, _finding(judged, metrics), figures, note=note, wide=True)


def _course(data: ReportData, judged: Sequence[Judged], metric: str, name: str, ideal: float | None) -> dict[str, Any]:
    """One metric by round, a line for each arm."""
    share, rounds = metric.startswith("coverage"), sorted({one.round_index for one in judged})
    ticks = [f"R{number}" for number in rounds]
    traces = [] if ideal is None else [fig.rule("", ticks, [ideal] * len(ticks)) | {"showlegend": False}]
    for group in dict.fromkeys(one.group for one in sorted(judged, key=lambda one: one.group)):
        mine = [one for one in judged if one.group == group]
        found = [one.calibration.metrics[metric] for one in mine]
        arm = ARM_NAMES.get(group, for_plotly(group))
        colour = ARM_COLOURS.get(arm, fig.GREY)
        values, low, high = ([getattr(one, end) for one in found] for end in ("value", "low", "high"))
        sizes = [things(one.calibration.n, "measurement") for one in mine]
        hover = "%{x}: %{y:" + (".1%" if share else ".3g") + "}<br>%{customdata}<extra>" + fig_name(arm) + "</extra>"
        x = [f"R{one.round_index}" for one in mine]
        bars = fig.error_bars(_numbers(values), _numbers(low), _numbers(high), colour)
        trace = fig.line(arm, x, _numbers(values), colour, error_y=bars, customdata=sizes, hovertemplate=hover)
        trace["marker"]["symbol"] = fig.SYMBOLS.get(colour, "circle")
        traces.append(trace)
    unit = axis_unit(data.unit, data.kind) if metric == "crps" else ""
    shares = {"tickformat": ".0%"} if share else {}
    return fig.figure(traces, fig.axis("round", type="category"), fig.axis(name + unit, **shares))


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _finding(judged: Sequence[Judged], metrics: Sequence[tuple[str, str, float | None]]) -> str:
    """From the first to the newest round, on the control where it was large enough."""
    groups = {one.group for one in judged}
    group = "random" if "random" in groups else sorted(groups)[0]
    mine = [one for one in judged if one.group == group]
    before, now = mine[0].calibration.metrics, mine[-1].calibration.metrics
    told = [
        f"{name} {metric_text(metric, before[metric].value)} → {metric_text(metric, now[metric].value)}"
        for metric, name, _ in metrics
    ]
    arm = ARM_NAMES.get(group, group)
    return f"From round {mine[0].round_index} to {mine[-1].round_index}, {arm}: {'; '.join(told)}."
