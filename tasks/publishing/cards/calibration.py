"""Card on calibration: do measurements fall where the model said they would?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm

from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.accuracy import ARM_COLOURS, ARM_NAMES, fig_name
from tasks.publishing.cards.parts import Card, Figure
from tasks.publishing.cards.wording import axis_unit, for_plotly, percent, things
from tasks.publishing.report_data import ReportData

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
FEWEST = 10


def calibration_card(data: ReportData) -> Card:
    """Predicted against measured for this round, and how often intervals held."""
    title = "Predicted before measured"
    forward = data.forward_of_round()
    if forward is None:
        return Card(
            "calibration",
            title,
            missing="This round brought no measurement that the model had predicted beforehand.",
            wide=True,
        )
    scatter = Figure("forward", "Predicted against measured values of this round", _scatter(data, forward), 360)
    if data.kind == "binary":
        finding, spec = _reliability(forward)
        label = "Share of positives against predicted probability"
    else:
        finding, spec = _coverage(forward)
        label = "Share of measurements inside intervals against their nominal level"
    figures = (scatter, Figure("coverage", label, spec, 360)) if spec else (scatter,)
    note = "Forward predictions: the model had not seen these perturbations. " + fig.thinned_note(forward)
    return Card("calibration", title, finding, figures, note=note.strip(), wide=True)


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


def _coverage(forward: pd.DataFrame) -> tuple[str, dict[str, Any] | None]:
    """Sentence and figure: share of measurements inside central predictive intervals."""
    usable = forward[np.isfinite(forward["sd"].to_numpy(float)) & (forward["sd"].to_numpy(float) > 0)]
    if len(usable) < FEWEST:
        return f"Only {things(len(usable), 'prediction')} with a standard deviation: too few to judge coverage.", None
    traces = [fig.rule("perfect", [LEVELS[0], LEVELS[-1]], [LEVELS[0], LEVELS[-1]])]
    groups = [
        ("all of this round", usable, fig.BLUE),
        ("random control", usable[usable["arm"] == "random"], fig.ORANGE),
    ]
    for name, group, colour in groups:
        if len(group) >= FEWEST and not (name == "random control" and len(group) == len(usable)):
            held = [_held(group, level) for level in LEVELS]
            traces.append(
                fig.line(name, LEVELS, held, colour, hovertemplate="%{x:.0%} interval held %{y:.1%}<extra></extra>")
            )
    share = _held(usable, 0.9)
    interval = binomtest(round(share * len(usable)), len(usable)).proportion_ci(0.95, method="wilson")
    if interval.high < 0.9:
        verdict = "fewer than claimed: the model is too sure of itself"
    elif interval.low > 0.9:
        verdict = "more than claimed: the model is more careful than it needs to be"
    else:
        verdict = "as claimed, within what chance explains"
    finding = f"90% intervals held {percent(share, 0)} of {things(len(usable), 'measurement')}, {verdict}."
    shares = {"tickformat": ".0%", "range": [0.0, 1.02]}
    spec = fig.figure(
        traces,
        fig.axis("interval claimed", tickformat=".0%", range=[0.47, 0.98]),
        fig.axis("measurements inside", **shares),
    )
    return finding, spec


def _held(group: pd.DataFrame, level: float) -> float:
    """Share of measurements inside the central interval of this level."""
    distance = np.abs(group["measured"].to_numpy(float) - group["predicted"].to_numpy(float)) / group["sd"].to_numpy(
        float
    )
    return float(np.mean(distance <= norm.ppf((1 + level) / 2)))


def _reliability(forward: pd.DataFrame) -> tuple[str, dict[str, Any] | None]:
    """Sentence and figure for classes: observed share of positives by predicted probability."""
    p, y = forward["predicted"].to_numpy(float), forward["measured"].to_numpy(float)
    right = float(np.mean((p > 0.5) == (y > 0.5)))
    brier = float(np.mean((p - y) ** 2))
    finding = f"{percent(right, 0)} of {things(len(p), 'class', 'classes')} predicted rightly; Brier score {brier:.3f}."
    if len(p) < FEWEST:
        return finding, None
    bins = np.clip((p * 5).astype(int), 0, 4)
    used = [index for index in range(5) if (bins == index).any()]
    x = [float(p[bins == index].mean()) for index in used]
    share = [float(y[bins == index].mean()) for index in used]
    sizes = [things(int((bins == index).sum()), "perturbation") for index in used]
    hover = "predicted %{x:.2f}, observed %{y:.2f}<br>%{customdata}<extra></extra>"
    traces = [
        fig.rule("perfect", [0, 1], [0, 1]),
        fig.line("this round", x, share, fig.BLUE, customdata=sizes, hovertemplate=hover),
    ]
    spec = fig.figure(
        traces,
        fig.axis("predicted probability", range=[-0.02, 1.02]),
        fig.axis("observed share of class 1", range=[-0.02, 1.02]),
    )
    return finding, spec
