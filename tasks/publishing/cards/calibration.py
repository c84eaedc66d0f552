"""Card on calibration: do measurements fall where the model said they would?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.ensembles.estimates import Estimate
from tasks.publishing.calibration_data import SCREEN, Judged
from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.accuracy import ARM_COLOURS, ARM_NAMES, fig_name
from tasks.publishing.cards.calibration_table import metrics_table
from tasks.publishing.cards.parts import Card, Figure
from tasks.publishing.cards.wording import axis_unit, for_plotly, listed, percent, things
from tasks.publishing.report_data import ReportData

FEWEST = 10  # measurements of a group from which on it is drawn
FEWEST_CLASSES = 50  # of a curve of ten bins
MEANING = {
    "fewer than promised": " The model is too sure of itself.",
    "more than promised": " The model is more careful than it needs to be.",
}


def calibration_card(data: ReportData) -> Card:
    """Predicted against measured for this round, how often intervals held, and every metric."""
    title = "Predicted before measured"
    judged = [one for one in data.calibration if one.round_index == data.round_index]
    if not judged:
        return Card(
            "calibration",
            title,
            missing="Nothing has been measured yet that a model had not seen: no audit member, no new pick.",
            wide=True,
        )
    drawn = [one for one in judged if one.calibration.n >= FEWEST]
    figures, notes = [], []
    forward = data.forward_of_round()
    if forward is not None:
        label = "Predicted against measured values of this round"
        figures.append(Figure("forward", label, _scatter(data, forward), 380))
        notes += ["Forward predictions: made before the measurement was seen.", fig.thinned_note(forward)]
    curves = [one for one in drawn if data.kind != "binary" or one.calibration.n >= FEWEST_CLASSES]
    if curves:
        label = "Share of measurements inside intervals against their nominal level, with 95% bands"
        if data.kind == "binary":
            label = "Observed share of class 1 against its predicted probability, with 95% bands"
        figures.append(Figure("coverage", label, _curves(data, curves), 380))
        notes.append("Bands are 95% intervals of what was observed.")
    if any(one.group == SCREEN for one in judged):
        notes.append(
            "“This screen” judges the predictions that this run publishes, at the audit members still hidden from its "
            "model."
        )
        if data.kind == "continuous":
            notes.append("Their sd counts the bias too, that of the forward predictions the ensemble and noise alone.")
    notes.append("Wells of one plate share an error, so that true intervals are somewhat wider than those shown.")
    return Card(
        "calibration",
        title,
        _finding(data.kind, drawn or judged, bool(drawn)),
        tuple(figures),
        (metrics_table(data, judged),),
        note=" ".join(note for note in notes if note),
        wide=True,
    )


def _scatter(data: ReportData, forward: pd.DataFrame) -> dict[str, Any]:
    """Predicted (x) against measured (y), the diagonal, and the tolerance band where there is one."""
    shown = fig.thin(forward)
    unit = axis_unit(data.unit, data.kind)
    both = pd.concat([forward["predicted"], forward["measured"]]).to_numpy(float)
    ends = np.array([np.nanmin(both), np.nanmax(both)])
    traces = []
    if data.tolerance is not None and data.kind == "continuous":
        traces.append(fig.rule(f"within ±{data.tolerance:g}", ends, ends + data.tolerance, fig.GREEN, "dot"))
        traces.append(fig.rule("", ends, ends - data.tolerance, fig.GREEN, "dot") | {"showlegend": False})
    if data.kind == "continuous":
        traces.append(fig.rule("equal", ends, ends) | {"showlegend": False})
    for arm, group in shown.groupby("arm", sort=True):
        name = ARM_NAMES.get(str(arm), for_plotly(arm))
        hover = "%{text}<br>predicted %{x:.3g}<br>measured %{y:.3g}<br>" + fig_name(name)
        text = [for_plotly(p) for p in group["perturbation"]]
        height = group["measured"].to_numpy(float)
        if data.kind == "binary":  # two classes: spread them a little, or the points hide each other
            height = height + np.random.default_rng(0).uniform(-0.06, 0.06, len(height))
            hover = "%{text}<br>predicted %{x:.3g}<br>" + fig_name(name)
        colour = ARM_COLOURS.get(name, fig.GREY)
        traces.append(fig.points(name, group["predicted"], height, text, colour, hover))
    measured = fig.axis("measured" + unit, nticks=7)
    if data.kind == "binary":
        measured |= {"tickvals": [0, 1], "ticktext": ["class 0", "class 1"]}
    return fig.figure(traces, fig.axis("predicted" + unit, nticks=7), measured)


def _curves(data: ReportData, drawn: Sequence[Judged]) -> dict[str, Any]:
    """What was observed against what was promised, a line with its band for each group."""
    traces: list[dict[str, Any]] = [fig.rule("as promised", [0, 1], [0, 1])]
    hover = "%{x:.0%} interval held %{y:.1%}<br>%{customdata}<extra></extra>"
    if data.kind == "binary":
        hover = "predicted %{x:.2f}, observed %{y:.2f}<br>%{customdata}<extra></extra>"
    for one in drawn:
        name = ARM_NAMES.get(one.group, for_plotly(one.group))
        colour, curve = ARM_COLOURS.get(name, fig.GREY), one.calibration.curve
        x = [point.nominal for point in curve]
        said = [
            f"{fig_name(name)}, {percent(point.low, 0)} to {percent(point.high, 0)} of {point.n:,}" for point in curve
        ]
        traces.append(fig.band(x, [point.low for point in curve], [point.high for point in curve], colour))
        held = [point.observed for point in curve]
        trace = fig.line(name, x, held, colour, customdata=said, hovertemplate=hover)
        trace["marker"] |= {"size": 5, "symbol": fig.SYMBOLS.get(colour, "circle")}
        traces.append(trace)
    share = {"range": [-0.02, 1.02], "tickformat": ".0%"}
    x_name, y_name = "interval promised", "measurements inside"
    if data.kind == "binary":
        x_name, y_name = "predicted probability of class 1", "observed share of class 1"
    return fig.figure(traces, fig.axis(x_name, **share), fig.axis(y_name, **share))


def _finding(kind: str, judged: Sequence[Judged], enough: bool) -> str:
    """One sentence on what was promised and held, and one on what that says of the model."""
    if not enough:
        n = max(one.calibration.n for one in judged)
        return f"Only {things(n, 'measurement')} that the model had not seen: too few to judge what it promised."
    if kind == "binary":
        told = [f"{_name(one)} {percent(one.calibration.metrics['accuracy'].value, 0)}" for one in judged]
        return f"Predicted rightly: {listed(told)}."
    held = [one.calibration.metrics["coverage_90"] for one in judged]
    verdicts = [_against(share) for share in held]
    told = [f"{percent(share.value, 0)} on {_name(one)}" for share, one in zip(held, judged, strict=True)]
    meaning = MEANING.get(verdicts[0], "")  # of the first group: the control, where there is one
    if len(set(verdicts)) == 1:
        return f"90% intervals held {listed(told)}: {verdicts[0]}.{meaning}"
    told = [f"{text} ({verdict})" for text, verdict in zip(told, verdicts, strict=True)]
    return f"90% intervals held {listed(told)}.{meaning}"


def _name(one: Judged) -> str:
    name = ARM_NAMES.get(one.group, one.group)
    return name if one.group in (SCREEN, "strategy") else f"the {name}"


def _against(held: Estimate) -> str:
    """Whether a share of 90% intervals differs from 90% by more than chance."""
    if held.high is not None and held.high < 0.9:
        return "fewer than promised"
    if held.low is not None and held.low > 0.9:
        return "more than promised"
    return "as promised, within chance"
