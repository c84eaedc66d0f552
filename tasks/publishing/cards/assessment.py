"""Card on whether active selection is worth it: the verdict, its evidence, and the replay behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.publishing.cards import figures as fig
from tasks.publishing.cards.parts import Card, Cell, Figure, Table, Tone
from tasks.publishing.cards.wording import count, things
from tasks.publishing.report_data import ReportData

TITLE = "Is active selection worth it?"
VERDICTS: Mapping[str, tuple[Tone, str]] = {
    "active": ("pass", "for the strategy"),
    "random": ("warn", "for random order"),
    "fix the assay first": ("fail", "fix the assay first"),
    "": ("muted", "to know"),
}
MARKS: Mapping[str, str] = {"active": "✓", "random": "≈", "fix the assay first": "✗", "": ""}
FEWEST = 10
"""Measurements from which on R² on what nobody had chosen is told."""


def assessment_card(data: ReportData) -> Card:
    """What the training labels say of the strategy; the audit is set beside it, for reading alone."""
    told = data.assessment
    if not told:
        return Card("assessment", TITLE, missing="It was not asked in this round.", wide=True)
    figures = (_figure(told),) if told["pairs"] else ()
    return Card(
        "assessment",
        TITLE,
        f"Verdict: {told['verdict']}. {told['why']}",
        figures=figures,
        tables=(_evidence(told["findings"]),),
        note=" ".join(part for part in (told["random_why"], _rests_on(told), _unchosen(data)) if part),
        wide=True,
    )


def _figure(told: Mapping[str, Any]) -> Figure:
    """Difference of every split, and their mean with its interval."""
    pairs, mean = told["pairs"], told["difference"]
    ticks = [f"split {pair['repeat'] + 1}" for pair in pairs]
    hover = "%{x}: %{y:+.3f}<br>%{customdata}<extra></extra>"
    errors = [f"strategy {pair['active']:.3g}, random {pair['random']:.3g}" for pair in pairs]
    splits = fig.line(
        "one split", ticks, [pair["difference"] for pair in pairs], fig.GREY, mode="markers", customdata=errors,
        hovertemplate=hover,
    )  # fmt: skip
    ends = [mean["value"] if mean[end] is None else mean[end] for end in ("value", "low", "high")]
    bars = fig.error_bars([ends[0]], [ends[1]], [ends[2]], fig.BLUE)
    whole = fig.line("mean, 95%", ["all"], [ends[0]], fig.BLUE, mode="markers", error_y=bars)
    whole["marker"] |= {"size": 10, "symbol": "diamond"}
    zero = fig.rule("", [*ticks, "all"], [0.0] * (len(ticks) + 1)) | {"showlegend": False}
    axis = (
        "Δ log RMSE (below 0: strategy better)" if told["measure"] == "log RMSE" else "Δ error rate (below 0: better)"
    )
    spec = fig.figure([zero, splits, whole], fig.axis("", type="category"), fig.axis(axis))
    title = "Error of the hybrid screen: strategy less random order, by split of the training labels"
    return Figure("assessment", title, spec, 280)


def _evidence(findings: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for one in findings:
        tone, says = VERDICTS[one["speaks_for"]]
        rows.append((Cell(one["name"]), Cell(says, tone, MARKS[one["speaks_for"]]), Cell(one["sentence"])))
    return Table(("evidence", "speaks", "what was found"), tuple(rows), listed=True)


def _rests_on(told: Mapping[str, Any]) -> str:
    if not told["pairs"]:
        return "It reads training labels alone, never the hidden audit."
    pair = told["pairs"][0]
    return (
        f"Each split: models of {things(pair['labels'], 'label')}, in the strategy's order and in random order, tested "
        f"on {count(pair['tested'])} others of the random first plates; fewer members and epochs than the campaign's. "
        "It reads training labels alone, never the hidden audit."
    )


def _unchosen(data: ReportData) -> str:
    """R² on what nobody had chosen: for people, as the verdict may not read it."""
    now = data.forward_of_round()
    drawn = None if now is None or data.kind != "continuous" else now[now["arm"] == "random"]
    if drawn is None or len(drawn) < FEWEST:
        return ""
    measured, predicted = drawn["measured"].to_numpy(float), drawn["predicted"].to_numpy(float)
    spread = float(np.square(measured - measured.mean()).sum())
    if spread <= 0:
        return ""
    score = 1 - float(np.square(measured - predicted).sum()) / spread
    return f"Beside it, for reading: R² {score:.2f} on {count(len(drawn))} hidden perturbations.".replace("-", "−")
