"""Cards on the computation: what was recomputed and why, how training went, files to download, and the words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.parts import Card, Cell, Figure, Link, Table, Tone
from tasks.publishing.cards.wording import as_text, quantity, sentence, things
from tasks.publishing.report_data import ReportData

STATUS: dict[str, tuple[Tone, str]] = {"computed": ("info", "●"), "cached": ("muted", "○")}
FOLD_FROM = 25

TERMS = (
    (
        "Hybrid screen",
        "A value for every perturbation of the library: measured where there is a measurement, else predicted.",
    ),
    (
        "Audit set",
        "Perturbations drawn at random and measured, but hidden from the model until the strategy itself would "
        "choose them. Errors are counted on them, so the guarantee does not depend on the model.",
    ),
    (
        "Guaranteed correct",
        "A lower bound of the share of the screen that is correct, wrong with at most the allowed risk. Correct "
        "means within the tolerance, or the right class.",
    ),
    (
        "Target γ",
        "The share of the screen that has to be guaranteed correct before the campaign stops.",
    ),
    (
        "Random arm, random control",
        "The arm is the part of every batch that is drawn at random; it joins the audit set. Together they are the "
        "control with which strategic picks are compared.",
    ),
    (
        "Forward error",
        "Measured minus predicted, by a model that had not seen that perturbation.",
    ),
    (
        "Standard error",
        "Of a measured value: noise of its wells and of plate alignment. Of a predicted one: disagreement of the "
        "ensemble and bias of the model together.",
    ),
    (
        "Reducible Ω, Σ_F, Δ",
        "The part of the error that more data can remove: disagreement of the ensemble (Σ_F) plus bias (Δ). Each "
        "mode is a direction in which many perturbations err together.",
    ),
    (
        "Robust Z′",
        "1 − 3 (s₊ + s₋) / |m₊ − m₋| over the control wells, with medians m and s = 1.4826 MAD. Near 1 is excellent.",
    ),
    (
        "SSMD",
        "|m₊ − m₋| / √(s₊² + s₋²): distance of the controls in units of their spread.",
    ),
)


def losses_card(data: ReportData) -> Card:
    """Held-out loss of the members by epoch: median and the range of most members."""
    title = "Training of the ensemble"
    if data.losses is None or data.losses.empty:
        return Card("losses", title, missing="No training history: the ensemble was read from an earlier computation.")
    finite = data.losses[pd.to_numeric(data.losses["loss"], errors="coerce").notna()]
    bands = finite.groupby("epoch")["loss"].quantile(np.array([0.1, 0.5, 0.9])).unstack()
    epochs = [int(epoch) for epoch in bands.index]
    low, high = fig.rule("", epochs, bands[0.1], fig.BLUE), fig.rule("80% of the members", epochs, bands[0.9], fig.BLUE)
    for trace in (low, high):
        trace["line"] = {"width": 0, "color": fig.BLUE}
    low["showlegend"] = False
    high |= {"fill": "tonexty", "fillcolor": "rgba(37,99,168,0.16)"}
    median = fig.line("median member", epochs, bands[0.5], fig.BLUE, mode="lines") | {
        "hovertemplate": "epoch %{x}: %{y:.3g}<extra></extra>"
    }
    spec = fig.figure([low, high, median], fig.axis("epoch"), fig.axis("held-out loss", rangemode="tozero"))
    members = int(finite["member"].nunique())
    best = float(finite.groupby("member")["loss"].min().median())
    finding = f"{things(members, 'member')}; the best held-out loss of the median member is {quantity(best)}."
    return Card("losses", title, finding, (Figure("losses", "Held-out loss by epoch", spec, 280),))


def recomputed_card(data: ReportData) -> Card:
    """Every step of the round: computed anew and why, or read from its checkpoint."""
    title = "What was recomputed, and why"
    steps = data.recomputed
    if steps.empty:
        return Card("recomputed", title, missing="No step was recorded.")
    anew = int((steps["status"] == "computed").sum())
    rows = tuple(
        (Cell(str(node)), Cell(str(status), *STATUS.get(str(status), ("", ""))), Cell(sentence(as_text(reason))))
        for node, status, reason in zip(steps["node"], steps["status"], steps["reason"], strict=True)
    )
    finding = f"{things(anew, 'step')} computed, {len(steps) - anew} read from checkpoints."
    folded = f"All {len(steps)} steps" if len(steps) > FOLD_FROM else ""
    return Card("recomputed", title, finding, tables=(Table(("step", "status", "why"), rows, folded=folded),))


def downloads_card(data: ReportData) -> Card:
    """Files beside the report."""
    if not data.links:
        return Card("downloads", "Files", missing="No file was handed out beside this report.", wide=True)
    return Card("downloads", "Files", links=tuple(Link(name, href) for name, href in data.links.items()), wide=True)


def glossary_card() -> Card:
    """The words of the report in plain English."""
    return Card("glossary", "Words", terms=TERMS, wide=True)
