"""Card on the forward error: strategic picks beside the random control, round by round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, chi2

from tasks.ensembles.estimates import CONFIDENCE
from tasks.publishing.calibration_data import SCREEN
from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.parts import Card, Figure
from tasks.publishing.cards.wording import (
    as_float,
    axis_unit,
    count,
    for_plotly,
    percent,
    quantity,
)
from tasks.publishing.report_data import ReportData

ARM_NAMES = {
    "strategy": "strategic picks",
    "random": "random control",
    "audit": "audit set",
    "initial": "initial design",
    SCREEN: "this screen",
}
ARM_COLOURS = {
    "strategic picks": fig.BLUE,
    "random control": fig.ORANGE,
    "audit set": fig.PURPLE,
    "initial design": fig.TEAL,
    "this screen": fig.PURPLE,
}


def error_name(data: ReportData) -> str:
    """What the forward error is called for this kind of readout."""
    return "RMSE" if data.kind == "continuous" else "error rate"


def error_by_arm(data: ReportData) -> pd.DataFrame | None:
    """Forward error by round and arm: round, arm, error, lower, upper (95%), n. None without forward residuals.

    Continuous: root mean squared residual. Binary: share on the wrong side of one half.
    """
    rows: list[dict[str, Any]] = []
    for one in (one for one in data.calibration if one.group != SCREEN):
        found = one.calibration.metrics["rmse" if data.kind == "continuous" else "accuracy"]
        ends = np.array([found.value, found.low, found.high], dtype=np.float64)
        error, lower, upper = ends if data.kind == "continuous" else 1 - ends[[0, 2, 1]]
        name = ARM_NAMES.get(one.group, one.group)
        row = {"round": one.round_index, "arm": name, "error": error, "lower": lower, "upper": upper}
        rows.append(row | {"n": one.calibration.n})
    return pd.DataFrame(rows) if rows else None


def learning_card(data: ReportData) -> Card:
    """Forward error by round, and the error on the same random perturbations in every round."""
    title = "Error on perturbations the model had not seen"
    table, controls = error_by_arm(data), control_errors(data)
    if table is None and controls is None:
        why = "No prediction has preceded a measurement yet; this begins with the first chosen batch."
        return Card("learning", title, missing=why, wide=True)
    figures, notes = [], []
    if table is not None:
        label = "Forward error by round and arm with 95% intervals"
        figures.append(Figure("learning", label, _forward(data, table)))
        notes.append(
            "Left: of each batch, predicted before it was measured. Strategic picks are chosen where error is "
            "expected, so their line should lie above the random control, which shows the error of a typical "
            "unmeasured perturbation."
        )
    if controls is not None:
        label = "Error on perturbations drawn at random in round 0, out of fold, with 95% intervals"
        figures.append(Figure("control", label, _control(data, controls)))
        notes.append(
            f"{'Right' if figures[1:] else 'Here'}: the same perturbations every round, drawn at random in round 0, "
            "each predicted by members that were not trained on it: what more labels did to the model."
        )
    notes.append("Bars and bands are 95% intervals.")
    finding = _learning_finding(data, table) if table is not None else "Forward errors begin with round 1."
    return Card("learning", title, finding, tuple(figures), note=" ".join(notes), wide=True)


def _forward(data: ReportData, table: pd.DataFrame) -> dict[str, Any]:
    """A line an arm; the interval of the random control is a band, so that bars of others can be seen against it."""
    ticks = [f"R{value}" for value in sorted(table["round"].unique())]
    traces = []
    for arm, group in table.groupby("arm", sort=False):
        trace = _arm_trace(data, str(arm), group)
        if arm == ARM_NAMES["random"] and len(group) > 1:
            low, high = (group[end].fillna(group["error"]) for end in ("lower", "upper"))
            traces.append(fig.band(trace["x"], low.tolist(), high.tolist(), fig.ORANGE))
            del trace["error_y"]
        traces.append(trace)
    rounds = fig.axis("round", type="category", categoryorder="array", categoryarray=ticks)
    return fig.figure(traces, rounds, _error_axis(data, f"forward {error_name(data)}"))


def _error_axis(data: ReportData, name: str) -> dict[str, Any]:
    error = fig.axis(f"{name}{axis_unit(data.unit, data.kind)}", rangemode="tozero")
    if data.kind == "binary":
        error["tickformat"] = ".0%"
    return error


def control_errors(data: ReportData) -> pd.DataFrame | None:
    """Error on the random control by round: round, n, error, lower, upper (95%). None where it is not known.

    The interval of a share is Wilson's; that of a root mean square takes errors as normal, n·error²/σ² ~ χ²(n).
    """
    rows = []
    for one in data.evidence.get("controls", ()):
        n, error = int(one["n"]), float(one["error"])
        if data.kind == "binary":
            ends = tuple(binomtest(round(error * n), n).proportion_ci(CONFIDENCE, method="wilson"))
        else:
            tails = (1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2
            ends = tuple(error * np.sqrt(n / chi2.ppf(tail, n)) for tail in tails)
        row = {"round": int(one["round_index"]), "n": n, "error": error}
        rows.append(row | {"lower": float(ends[0]), "upper": float(ends[1])})
    return pd.DataFrame(rows) if rows else None


def _control(data: ReportData, controls: pd.DataFrame) -> dict[str, Any]:
    """The random control, out of fold."""
    bars = fig.error_bars(controls["error"], controls["lower"], controls["upper"], fig.TEAL)
    digits = ".1%" if data.kind == "binary" else ".3g"
    hover = "%{x}: %{y:" + digits + "} on %{customdata} perturbations<extra></extra>"
    ticks, sizes = [f"R{value}" for value in controls["round"]], [count(n) for n in controls["n"]]
    trace = fig.line(
        "drawn at random in round 0", ticks, controls["error"], fig.TEAL, error_y=bars, customdata=sizes,
        hovertemplate=hover, showlegend=True,
    )  # fmt: skip
    trace["marker"]["symbol"] = "square"
    spec = fig.figure([trace], fig.axis("round", type="category"), _error_axis(data, f"{error_name(data)} out of fold"))
    spec["layout"]["showlegend"] = True
    return spec


def _arm_trace(data: ReportData, arm: str, group: pd.DataFrame) -> dict[str, Any]:
    """Error of one arm by round with its intervals."""
    name, colour = for_plotly(arm), ARM_COLOURS.get(arm, fig.GREY)
    bars = fig.error_bars(group["error"], group["lower"], group["upper"], colour)
    digits = ".1%" if data.kind == "binary" else ".3g"
    hover = "%{x}: %{y:" + digits + "} on %{customdata[0]} perturbations<br>95%: %{customdata[1]}<extra>"
    hover += fig_name(name) + "</extra>"
    rounds = [f"R{value}" for value in group["round"]]
    told = [
        [count(n), _interval(data, as_float(low), as_float(high))]
        for n, low, high in zip(group["n"], group["lower"], group["upper"], strict=True)
    ]
    trace = fig.line(name, rounds, group["error"], colour, error_y=bars, customdata=told, hovertemplate=hover)
    trace["marker"]["symbol"] = fig.SYMBOLS.get(colour, "circle")
    return trace


def _interval(data: ReportData, low: float | None, high: float | None) -> str:
    """Both ends, a dash where there are none."""
    if low is None or high is None:
        return "–"
    return f"{percent(low)} to {percent(high)}" if data.kind == "binary" else f"{quantity(low)} to {quantity(high)}"


def fig_name(name: str) -> str:
    """A name, escaped already, inside a hovertemplate, where %{ would begin a placeholder."""
    return name.replace("%{", "% {")


def _learning_finding(data: ReportData, table: pd.DataFrame) -> str:
    """The newest errors of the two arms in one sentence."""
    now = table[table["round"] == table["round"].max()].set_index("arm")
    told = {
        str(arm): percent(error) if data.kind == "binary" else quantity(float(error), data.unit)
        for arm, error in now["error"].items()
    }
    text = f"Round {int(table['round'].max())}: " + ", ".join(f"{arm} {value}" for arm, value in told.items())
    if not {"strategic picks", "random control"} <= set(told):
        return text + "."
    (low, high), (low_random, high_random) = (
        (float(now.at[arm, "lower"]), float(now.at[arm, "upper"])) for arm in ("strategic picks", "random control")
    )
    if not np.isfinite([low, high_random]).all():
        return text + ". Too few to compare the two."
    if low > high_random:
        return text + ". The strategy found perturbations that are harder than average."
    if high < low_random:
        return (
            text + ". The strategy picked perturbations that are easier than average: it is looking in the wrong place."
        )
    return text + ". The intervals overlap: no clear difference in this round."
