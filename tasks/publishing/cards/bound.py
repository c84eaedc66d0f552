"""Cards on the certificate: the bound against γ look by look, the risk it cost, and what every rule says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.parts import Card, Cell, Figure, Table
from tasks.publishing.cards.wording import (
    NOTHING,
    as_float,
    count,
    listed,
    percent,
    percent_floor,
    plain_percent,
    sentence,
    things,
)
from tasks.publishing.report_data import ReportData


def bound_card(data: ReportData) -> Card:
    """Guaranteed and estimated accuracy against the target, and the risk spent, one step a look."""
    title = "Accuracy of the screen, look by look"
    history = data.history
    if history.empty:
        return Card("bound", title, missing="No look at the audit set has been taken yet.", wide=True)
    several = bool(history["round"].duplicated().any())
    ticks = [
        f"R{round_}·{run}" if several else f"R{round_}"
        for round_, run in zip(history["round"], history["run"], strict=True)
    ]
    axis = "round and run of the look" if several else "round of the look"
    figures = [
        Figure("bound", "Guaranteed and estimated accuracy against the target by look", _bounds(history, ticks, axis))
    ]
    note = "The guarantee assumes nothing about the model: it counts errors on audit members drawn at random."
    if np.isfinite(history["risk_spent"].astype(float)).all():
        label = "Risk spent by all looks so far, against what is allowed"
        figures.append(Figure("risk", label, _risk(data, ticks, axis)))
        note += " Every look may be wrong and costs its share of the risk; together they stay below what is allowed."
    else:
        note += " Earlier runs did not record the risk that they spent."
    return Card("bound", title, _finding(data, history), tuple(figures), note=note, wide=True)


def _bounds(history: pd.DataFrame, ticks: Sequence[str], axis: str) -> dict[str, Any]:
    """Bound, estimate and target by look."""
    hover = "%{x}<br>%{y:.1%} with %{customdata} wells<extra>%{fullData.name}</extra>"
    wells = [count(as_float(value)) for value in history["wells_used"]]
    traces = [
        fig.line("guaranteed", ticks, history["bound"], fig.BLUE, customdata=wells, hovertemplate=hover),
        fig.line("estimate", ticks, history["estimate"], fig.GREY, dash="dot", customdata=wells, hovertemplate=hover),
        _limit(fig.line("target γ", ticks, history["gamma"], fig.GREEN, dash="dash", mode="lines", hoverinfo="skip")),
    ]
    traces[1]["marker"]["symbol"] = "circle-open"
    shares = pd.concat([history["bound"], history["estimate"], history["gamma"]]).astype(float)
    low = max(0.0, float(np.floor(np.nanmin(shares) * 20 - 0.5) / 20))
    share = fig.axis("correct in the screen", tickformat=".0%", range=[low, 1.005])
    return fig.figure(traces, fig.axis(axis, type="category"), share)


def _risk(data: ReportData, ticks: Sequence[str], axis: str) -> dict[str, Any]:
    """Risk spent by all looks up to each, and what is allowed."""
    history, allowed = data.history, float(data.decision["risk"])
    here = [percent(as_float(value), 2) for value in history["risk_this_look"]]
    bars = {
        "type": "bar",
        "name": "spent so far",
        "x": list(ticks),
        "y": fig.rounded(history["risk_spent"]),
        "marker": {"color": fig.PALE_BLUE},
        "width": 0.6,
        "customdata": here,
        "hovertemplate": "%{x}: %{y:.2%} spent so far<br>the bound of this look: %{customdata}<extra></extra>",
    }
    limit = _limit(fig.rule("allowed", ticks, [allowed] * len(ticks), fig.RED))
    share = fig.axis("probability of being wrong", tickformat=".2~%", range=[0, allowed * 1.12], nticks=6)
    return fig.figure([bars, limit], fig.axis(axis, type="category"), share)


def _limit(line: dict[str, Any]) -> dict[str, Any]:
    """The line of a limit; a dash where one look alone gives it no length."""
    if len(line["x"]) > 1:
        return line
    colour = line["line"]["color"]
    return line | {"mode": "markers", "marker": {"symbol": "line-ew-open", "size": 70, "color": colour}}


def _finding(data: ReportData, history: pd.DataFrame) -> str:
    first, last = as_float(history["bound"].iloc[0]), as_float(history["bound"].iloc[-1])
    finding = f"{percent_floor(last)} is guaranteed correct after {things(len(history), 'look')}"
    if len(history) > 1 and (last or 0) > (first or 0):
        finding += f", up from {percent_floor(first)} at the first"
    spent, allowed = as_float(data.decision["risk_spent"]), as_float(data.decision["risk"])
    return f"{finding}. {percent(spent)} of the {plain_percent(allowed)} risk allowed is spent."


def rules_card(data: ReportData) -> Card:
    """What every stopping rule says, whoever decides."""
    title = "What every stopping rule says"
    rules = data.decision["rules"]
    if not rules:
        return Card("rules", title, missing="The decision does not record what the other rules found.", wide=True)
    rows = []
    for name in sorted(rules, key=lambda name: (not rules[name]["decides"], rules[name]["bound"] is None)):
        rule = rules[name]
        bound, risk = as_float(rule["bound"]), as_float(rule["risk"])
        at = "" if bound is None else f"risk {percent(risk, 2)}"
        rows.append(
            (
                Cell(name, note="decides" if rule["decides"] else "shown only"),
                Cell("stop", "pass", "■") if rule["stop"] else Cell("go on", "info", "▷"),
                Cell(percent_floor(bound) if bound is not None else NOTHING, note=at),
                Cell(sentence(str(rule["reason"])), note=sentence(str(rule["assumption"]))),
                Cell(sentence(str(rule["would_change"]))),
            )
        )
    stops = [name for name, rule in rules.items() if rule["stop"] and not rule["decides"]]
    finding = f"The campaign goes by “{data.decision['rule']}”."
    if stops and not data.decision["stop"]:
        does = "does" if len(stops) == 1 else "do"
        finding += f" {listed(sorted(stops)).capitalize()} would stop, but {does} not decide."
    headers = ("rule", "says", "bound", "why, and on what assumption", "what would change it")
    table = Table(headers, tuple(rows), numeric=(2,), listed=True)
    return Card("rules", title, finding, tables=(table,), wide=True)
