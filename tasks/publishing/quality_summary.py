"""What the quality page says of all plates together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.publishing.cards.parts import KeyFigure
from tasks.publishing.cards.quality import METRICS, shown
from tasks.publishing.cards.wording import as_float, count, listed, percent, sentence, things
from tasks.publishing.quality_table import COLUMNS, PlateRow


def finding(rows: Sequence[PlateRow]) -> str:
    """How the plates did, in one sentence."""
    if not rows:
        return "No plate has been received yet."
    used = sum(row.state in ("passed", "waived") for row in rows)
    parts = [f"{used} of {things(len(rows), 'plate attempt')} passed"]
    for state in ("failed", "refused", "missing"):
        mine = [row.title for row in rows if row.state == state]
        parts += [f"{state}: {listed(mine)}"] if mine else []
    return "; ".join(parts) + "."


def said_of_all(qualities: Sequence[Mapping[str, Any]]) -> list[str]:
    """What holds of every plate alike, read once: why a metric is not to be had, what the number of controls costs."""
    found: dict[str, list[str]] = {}
    cost = METRICS["control_cost"]
    for name in (*COLUMNS, "control_cost"):
        metrics = [metric for quality in qualities for metric in quality["metrics"] if metric["name"] == name]
        reasons = {str(metric["reason"]) for metric in metrics}
        alike = len(metrics) == len(qualities) and len(reasons) == 1
        if alike and (name == "control_cost" or all(metric["value"] is None for metric in metrics)):
            found.setdefault(reasons.pop(), []).append(METRICS[name])
    return [
        sentence(
            f"{'' if cost in names else 'no '}{listed(names)} on {'every' if cost in names else 'any'} plate: {reason}"
        )
        for reason, names in found.items()
    ]


def key_figures(rows: Sequence[PlateRow], qualities: Sequence[Mapping[str, Any]]) -> list[KeyFigure]:
    """Medians over plates of what people look at first; a figure that no plate has is left out."""
    found: dict[str, list[float]] = {}
    for quality in qualities:
        for metric in quality["metrics"]:
            value = as_float(metric.get("value"))
            if value is not None:
                found.setdefault(str(metric["name"]), []).append(value)
    failed = sum(row.state == "failed" for row in rows)
    figures = [KeyFigure("plates", count(len(rows)), f"{failed} failed", "warn" if failed else "")]
    for name, title, note in (
        ("zprime", "Z′", "median over plates"),
        ("negcon_cv", "negcon CV", "median over plates"),
        ("control_cost", "level error", "of one well's noise"),
        ("replicate_agreement", "replicates agree", "median rank correlation"),
    ):
        if name in found:
            figures.append(KeyFigure(title, shown(name, float(np.median(found[name]))), note))
    if "missing" in found:
        most = max(found["missing"])
        figures.append(
            KeyFigure("missing wells", percent(float(np.mean(found["missing"]))), f"at most {percent(most)}")
        )
    return figures
