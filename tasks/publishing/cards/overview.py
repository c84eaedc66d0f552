"""Cards on the published screen: distribution of values, predicted against measured, extremes."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import pandas as pd

from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.parts import Card, Cell, Figure, Table
from tasks.publishing.cards.wording import axis_unit, count, for_plotly, percent, quantity, shorten, things
from tasks.publishing.report_data import ReportData

BINS = 40
SHOWN_EXTREMES = 8


def distribution_card(data: ReportData) -> Card:
    """How the values of the screen are distributed, measured and predicted apart."""
    screen = data.screen
    title = "Values of the screen"
    if screen.empty:
        return Card("distribution", title, missing="The screen is empty.")
    values = screen["value"].to_numpy(float)
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    centres, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
    traces: list[dict[str, Any]] = []
    for source, colour in (("predicted", fig.PALE_BLUE), ("measured", fig.TEAL)):
        counts = np.histogram(values[(screen["source"] == source).to_numpy()], bins=edges)[0]
        hover = "around %{x:.3g}: %{y:,} " + source + "<extra></extra>"
        traces.append(
            {
                "type": "bar",
                "name": source,
                "x": fig.rounded(centres),
                "y": counts.tolist(),
                "width": width * 0.94,
                "marker": {"color": colour},
                "hovertemplate": hover,
            }
        )
    spec = fig.figure(
        traces, fig.axis(html.escape(_value_name(data), quote=False)), fig.axis("perturbations"), barmode="stack"
    )
    measured = int((screen["source"] == "measured").sum())
    error = (
        float(np.median(screen.loc[screen["source"] == "predicted", "standard_error"]))
        if measured < len(screen)
        else None
    )
    finding = f"{count(measured)} values are measured, {count(len(screen) - measured)} predicted"
    finding += (
        f"; the median standard error of a prediction is {quantity(error, _unit(data))}." if error is not None else "."
    )
    label = "Histogram of the values, measured and predicted"
    return Card("distribution", title, finding, (Figure("distribution", label, spec),))


def agreement_card(data: ReportData) -> Card:
    """Predicted against measured for everything measured; only hidden audit members are an honest test."""
    title = "Predicted and measured in the screen"
    known = data.screen[data.screen["source"] == "measured"]
    if known.empty:
        return Card("agreement", title, missing="Nothing has been measured yet.")
    audit = known["audit"].to_numpy(bool)
    ends = np.array([np.nanmin(known[["predicted", "measured"]]), np.nanmax(known[["predicted", "measured"]])])
    traces = [fig.rule("equal", ends, ends) | {"showlegend": False}] if data.kind == "continuous" else []
    notes = []
    groups = (("seen in training", ~audit, fig.GREY, 4.5), ("hidden audit members", audit, fig.PURPLE, 6.5))
    for name, mask, colour, size in groups:
        rows = known[mask]
        if rows.empty:
            continue
        shown = fig.thin(rows)
        notes.append(fig.thinned_note(rows).replace("points", f"points «{name}»"))
        hover = "%{text}<br>predicted %{x:.3g}<br>measured %{y:.3g}<br>" + name
        text = [for_plotly(p) for p in shown.index]
        height = shown["measured"].to_numpy(float)
        if data.kind == "binary":
            height = height + np.random.default_rng(0).uniform(-0.06, 0.06, len(height))
        traces.append(fig.points(name, shown["predicted"], height, text, colour, hover, size))
    measured = fig.axis("measured" + axis_unit(data.unit, data.kind), nticks=7)
    if data.kind == "binary":
        measured |= {"tickvals": [0, 1], "ticktext": ["class 0", "class 1"]}
    spec = fig.figure(traces, fig.axis("predicted" + axis_unit(data.unit, data.kind), nticks=7), measured)
    notes.append("Points seen in training show the fit, not the accuracy; the hidden audit members show the accuracy.")
    return Card(
        "agreement",
        title,
        _agreement(data, known, audit),
        (Figure("agreement", "Predicted against measured values of the screen", spec),),
        note=" ".join(n for n in notes if n),
    )


def _agreement(data: ReportData, known: pd.DataFrame, audit: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    """Accuracy on the hidden audit members in one sentence."""
    hidden = known[audit]
    if hidden.empty:
        return "No audit member is still hidden, so nothing here is an honest test of the model."
    if "correct" in hidden and hidden["correct"].notna().any():
        right = hidden["correct"].dropna().astype(bool)
        within = f" (within {quantity(data.tolerance, _unit(data))})" if data.tolerance is not None else ""
        members = things(len(right), "hidden audit member")
        return f"{percent(float(right.mean()), 0)} of {members} predicted correctly{within}."
    return f"{things(len(hidden), 'audit member')} still hidden from the model."


def extremes_card(data: ReportData) -> Card:
    """The perturbations at the ends of the scale, measured or predicted."""
    screen = data.screen
    if data.kind == "binary":
        unseen = screen[screen["source"] == "predicted"]
        title = "Most likely class 1, not measured yet"
        if unseen.empty:
            return Card("extremes", title, missing="Every perturbation has been measured.")
        return Card("extremes", title, tables=(_top(data, unseen, False, ""),), wide=True)
    if screen.empty:
        return Card("extremes", "Lowest and highest values", missing="The screen is empty.", wide=True)
    tables = (_top(data, screen, False, "Highest"), _top(data, screen, True, "Lowest"))
    return Card(
        "extremes",
        "Lowest and highest values",
        "Ends of the scale. Confirm a predicted value before following it up.",
        tables=tables,
        wide=True,
    )


def _top(data: ReportData, screen: pd.DataFrame, ascending: bool, caption: str) -> Table:
    """The first few perturbations in this order."""
    order = screen.sort_values("value", ascending=ascending, kind="stable").head(SHOWN_EXTREMES)
    rows = []
    for perturbation, row in order.iterrows():
        interval = f"{quantity(float(row['lower']), zeros=True)} to {quantity(float(row['upper']), zeros=True)}"
        source = Cell("measured", "pass", "●") if row["source"] == "measured" else Cell("predicted", "info", "○")
        name = Cell(shorten(str(perturbation), 48), hint=str(perturbation))
        rows.append((name, source, Cell(quantity(float(row["value"]), zeros=True)), Cell(interval)))
    return Table(
        ("perturbation", "source", _value_name(data), "90% interval"), tuple(rows), numeric=(2, 3), caption=caption
    )


def _unit(data: ReportData) -> str:
    return data.unit if data.kind == "continuous" else ""


def _value_name(data: ReportData) -> str:
    """Name of the value with its unit."""
    return "probability of class 1" if data.kind == "binary" else f"value [{data.unit}]" if data.unit else "value"
