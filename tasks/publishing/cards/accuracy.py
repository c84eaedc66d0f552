"""Cards on how accurate the screen is: the bound by round, and the forward error by round and arm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tasks.publishing.calibration_data import SCREEN
from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.parts import Card, Figure
from tasks.publishing.cards.wording import (
    as_float,
    axis_unit,
    count,
    for_plotly,
    percent,
    percent_floor,
    quantity,
    things,
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


def bound_card(data: ReportData) -> Card:
    """Guaranteed and estimated accuracy against the target, one step a look."""
    title = "Accuracy of the screen, look by look"
    history = data.history
    if history.empty:
        return Card("bound", title, missing="No look at the audit set has been taken yet.")
    several = bool(history["round"].duplicated().any())
    ticks = [
        f"R{round_}·{run}" if several else f"R{round_}"
        for round_, run in zip(history["round"], history["run"], strict=True)
    ]
    hover = "%{x}<br>%{y:.1%} with %{customdata} wells<extra>%{fullData.name}</extra>"
    wells = [count(as_float(value)) for value in history["wells_used"]]
    traces = [
        fig.line("guaranteed", ticks, history["bound"], fig.BLUE, customdata=wells, hovertemplate=hover),
        fig.line("estimate", ticks, history["estimate"], fig.GREY, dash="dot", customdata=wells, hovertemplate=hover),
        fig.line("target γ", ticks, history["gamma"], fig.GREEN, dash="dash", mode="lines", hoverinfo="skip"),
    ]
    traces[1]["marker"]["symbol"] = "circle-open"
    shares = pd.concat([history["bound"], history["estimate"], history["gamma"]]).astype(float)
    low = max(0.0, float(np.floor(np.nanmin(shares) * 20 - 0.5) / 20))
    axis = "round and run of the look" if several else "round of the look"
    spec = fig.figure(
        traces, fig.axis(axis, type="category"), fig.axis("correct in the screen", tickformat=".0%", range=[low, 1.005])
    )
    first, last = as_float(history["bound"].iloc[0]), as_float(history["bound"].iloc[-1])
    finding = f"{percent_floor(last)} is guaranteed correct after {things(len(history), 'look')}"
    finding += (
        f", up from {percent_floor(first)} at the first." if len(history) > 1 and (last or 0) > (first or 0) else "."
    )
    return Card(
        "bound",
        title,
        finding,
        (Figure("bound", "Guaranteed and estimated accuracy against the target by look", spec),),
        note="The guarantee assumes nothing about the model: it counts errors on audit members drawn at random.",
    )


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
    """Forward error by round: strategic picks beside the random control."""
    title = "Error on perturbations the model had not seen"
    table = error_by_arm(data)
    if table is None:
        return Card(
            "learning",
            title,
            missing="No prediction has preceded a measurement yet; this begins with the first chosen batch.",
        )
    traces = [_arm_trace(data, str(arm), group) for arm, group in table.groupby("arm", sort=False)]
    error = fig.axis(f"forward {error_name(data)}{axis_unit(data.unit, data.kind)}", rangemode="tozero")
    if data.kind == "binary":
        error["tickformat"] = ".0%"
    spec = fig.figure(traces, fig.axis("round", type="category"), error)
    return Card(
        "learning",
        title,
        _learning_finding(data, table),
        (Figure("learning", "Forward error by round and arm with 95% intervals", spec),),
        note="Bars are 95% intervals. Strategic picks are chosen where error is expected, so their line should lie "
        "above the random control, which shows the error of a typical unmeasured perturbation.",
    )


def _arm_trace(data: ReportData, arm: str, group: pd.DataFrame) -> dict[str, Any]:
    """Error of one arm by round with its intervals."""
    name, colour = for_plotly(arm), ARM_COLOURS.get(arm, fig.GREY)
    bars = fig.error_bars(group["error"], group["lower"], group["upper"], colour)
    digits = ".1%" if data.kind == "binary" else ".3g"
    hover = "%{x}: %{y:" + digits + "} on %{customdata} perturbations<extra>" + fig_name(name) + "</extra>"
    rounds, sizes = [f"R{value}" for value in group["round"]], [count(n) for n in group["n"]]
    trace = fig.line(name, rounds, group["error"], colour, error_y=bars, customdata=sizes, hovertemplate=hover)
    trace["marker"]["symbol"] = fig.SYMBOLS.get(colour, "circle")
    return trace


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
