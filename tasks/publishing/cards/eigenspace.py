"""Cards on where the model is still unsure: the operators' spectra and the map of the eigenspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.batch import well_names
from tasks.publishing.cards.parts import Card, Figure
from tasks.publishing.cards.wording import as_text, for_plotly, percent, things
from tasks.publishing.report_data import ReportData

#: Name, colour and dash of each operator's line.
OPERATORS = {
    "reducible": ("reducible Ω", fig.BLUE, "solid"),
    "members": ("members Σ_F", fig.TEAL, "solid"),
    "cobias": ("cobias Δ", fig.ORANGE, "solid"),
    "noise": ("noise Σ_Y", fig.BROWN, "solid"),
    "total": ("Ω with noise", fig.INK, "dot"),
    "calibrated": ("calibrated Ω", fig.PURPLE, "dash"),
    "gradients": ("along gradients", fig.BLUE, "dot"),
    "difference": ("drop of Ω", fig.GREY, "dash"),
}
POINTED = 12
"""Spectra of so many modes at most are drawn with a mark a mode."""
GROUPS = {
    "pool": ("can be chosen", fig.GREY, 4.0),
    "observed": ("measured", fig.TEAL, 5.0),
    "audit": ("hidden audit", fig.PURPLE, 6.0),
    "chosen": ("in the next batch", fig.ORANGE, 8.0),
}


def spectrum_card(data: ReportData) -> Card:
    """Eigenvalues of the error operators on a log scale."""
    title = "Directions of the remaining error"
    if data.spectrum is None or data.spectrum.empty:
        return Card("spectrum", title, missing="No error operator was computed in this round.")
    traces, dropped, leading = [], 0, None
    for operator, (name, colour, dash) in OPERATORS.items():
        rows = data.spectrum[data.spectrum["operator"] == operator].sort_values("mode", kind="stable")
        values = rows["eigenvalue"].to_numpy(float)
        positive = np.isfinite(values) & (values > 0)
        dropped += int((~positive).sum())
        if not positive.any():
            continue
        leading = (name, values[positive]) if leading is None else leading
        modes = rows["mode"].to_numpy(int)[positive] + 1
        hover = "mode %{x}: %{y:.3g}<extra>" + name + "</extra>"
        mode = "lines+markers" if len(modes) <= POINTED else "lines"
        traces.append(
            fig.line(name, modes.tolist(), values[positive], colour, dash=dash, mode=mode, hovertemplate=hover)
        )
        traces[-1]["marker"] |= {"size": 6, "symbol": fig.SYMBOLS.get(colour, "circle")}
    if leading is None:
        return Card("spectrum", title, missing="Every eigenvalue is zero: the model sees no reducible error left.")
    name, values = leading
    rank = float(values.sum() ** 2 / (values**2).sum())
    five = float(np.sort(values)[::-1][:5].sum() / values.sum())
    modes_axis = fig.axis("mode", type="log", tickvals=[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    spec = fig.figure(traces, modes_axis, fig.axis("eigenvalue", type="log", tickformat="~g", dtick=1))
    note = f"{things(dropped, 'eigenvalue')} of zero or below cannot stand on a logarithmic axis." if dropped else ""
    return Card(
        "spectrum",
        title,
        f"The error ({name}) spreads over about {things(round(rank), 'direction')}; "
        f"the first five hold {percent(five, 0)}.",
        (Figure("spectrum", "Eigenvalues of the error operators by mode", spec, 340),),
        note=" ".join(part for part in (note, _parts(data), *trust(data.operator)) if part),
    )


def _parts(data: ReportData) -> str:
    """What the lines add up to, and how many modes one further label each could teach anything about."""
    assert data.spectrum is not None
    by_name = {str(name): rows["eigenvalue"].to_numpy(float) for name, rows in data.spectrum.groupby("operator")}
    if not {"noise", "reducible"} <= set(by_name) or not len(by_name["noise"]):
        return ""
    above = int((by_name["reducible"] > np.median(by_name["noise"])).sum())
    return (
        f"Reducible Ω is Σ_F and Δ; {things(above, 'mode stands', 'modes stand')} above the noise Σ_Y of one further "
        "label each, and are what a batch can learn most about."
    )


def trust(operator: Mapping[str, Any]) -> list[str]:
    """Sentences on what strategies saw, and how far each estimate behind it can be trusted."""
    said = []
    if chosen := operator.get("chosen"):
        said.append(f"Strategies see the {chosen['operator']} operator.")
        if chosen["why"]:
            said.append(f"The {chosen['asked']} one was asked for, but {chosen['why']}.")
    for name, what in (("cobias", "Cobias"), ("calibration", "Calibration"), ("difference", "Difference")):
        facts = operator.get(name)
        if facts is None:
            continue
        if "left out" in facts:
            said.append(f"{what}: left out, {facts['left out']}.")
            continue
        residuals = f"{facts['residuals']} residuals, worth {facts['effective_residuals']:.0f} independent ones"
        agreed = facts["stability"]["diagonals"]
        halves = "halves cannot be compared" if agreed is None else f"its halves agree with r = {agreed:.2f}"
        said.append(f"{what}: {residuals}; {halves}.")
    return said


def _reasons(data: ReportData) -> dict[str, list[str]]:
    """Why each perturbation of the batch was chosen, and its wells."""
    if data.batch is None:
        return {}
    wells = well_names(data.platemap)
    pairs = zip(data.batch["perturbation"].astype(str), data.batch["reason"], strict=True)
    return {name: [line for line in (as_text(reason), wells.get(name, "")) if line] for name, reason in pairs}


def eigenmap_card(data: ReportData) -> Card:
    """The first two coordinates of the eigenspace, what was chosen on top."""
    title = "Where perturbations lie" if data.batch is None else "Where the batch lies"
    if data.eigenmap is None or data.eigenmap.empty:
        return Card("eigenmap", title, missing="No coordinates in the eigenspace were computed in this round.")
    traces, notes, told = [], [], _reasons(data)
    for group, (name, colour, size) in GROUPS.items():
        rows = data.eigenmap[data.eigenmap["group"] == group]
        if rows.empty:
            continue
        shown = fig.thin(rows)
        notes.append(fig.thinned_note(rows).replace("points", f"points «{name}»"))
        text = [
            "<br>".join([for_plotly(p), *(for_plotly(line, 90) for line in told.get(str(p), ()))])
            for p in shown["perturbation"]
        ]
        traces.append(fig.points(name, shown["z1"], shown["z2"], text, colour, "%{text}<br>" + name, size))
        traces[-1]["marker"]["opacity"] = 0.9 if group == "chosen" else 0.6
    chosen = int((data.eigenmap["group"] == "chosen").sum())
    spec = fig.figure(traces, fig.axis("first mode"), fig.axis("second mode"))
    finding = "Far from the centre the model's error is large; points close together err together."
    if chosen:
        finding = f"{things(chosen, 'perturbation')} of the next batch among the rest. " + finding
    return Card(
        "eigenmap",
        title,
        finding,
        (Figure("eigenmap", "First two coordinates of the eigenspace by group", spec, 340),),
        note=" ".join(note for note in notes if note),
    )
