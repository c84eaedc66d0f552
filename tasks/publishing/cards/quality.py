"""Card on the plates of the round: every metric, its threshold and its verdict."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks.publishing.cards.parts import Card, Cell, Link, Table, Tone
from tasks.publishing.cards.wording import (
    NOTHING,
    as_float,
    as_text,
    listed,
    percent,
    quantity,
    sentence,
    shorten,
    things,
)
from tasks.publishing.report_data import ReportData

VERDICTS: dict[str, tuple[Tone, str]] = {"PASS": ("pass", "✓"), "FAIL": ("fail", "✕"), "INFO": ("muted", "")}
STATES: dict[str, tuple[Tone, str]] = {
    "passed": ("pass", "✓"),
    "failed": ("fail", "✕"),
    "refused": ("fail", "✕"),
    "missing": ("warn", "!"),
    "waived": ("warn", "!"),
    "abandoned": ("muted", "✕"),
    "repeated": ("muted", "↻"),
    "planned": ("muted", "…"),
    "received": ("info", "…"),
}

#: Names of the metrics, the ones people know first.
METRICS = {
    "zprime": "Z′",
    "ssmd": "SSMD",
    "negcon_cv": "negcon CV",
    "missing": "missing",
    "row_effect": "row effect",
    "column_effect": "column effect",
    "edge_effect": "edge effect",
    "replicate_agreement": "replicates",
    "control_gap": "gap share",
    "control_direction": "direction",
    "dynamic_range": "range",
    "negcon_spread": "negcon sd",
    "plate_spread": "plate sd",
    "control_cost": "level error",
    "negcon_wells": "negcon wells",
    "poscon_wells": "poscon wells",
}
Entry = tuple[str, int, str, str]  # barcode, attempt, state, reason
SHARES = ("negcon_cv", "missing", "row_effect", "column_effect", "control_gap")
COUNTS = ("negcon_wells", "poscon_wells")
MOST_COLUMNS = 8
"""Metrics of the table, so that it fits a page and a sheet of paper; the quality page has all of them."""
_BRACKETS = re.compile(r" \([^()]*\)")
AROUND_ONE = ("zprime", "edge_effect", "replicate_agreement", "control_cost")
#: Name of the link to the page with every plate.
PAGE = "quality page"


def quality_card(data: ReportData) -> Card:
    """Quality control of this round's plates; plates of earlier rounds folded away."""
    title = "Plate quality"
    if data.plate_states.empty and not data.quality:
        return Card("quality", title, missing="No plate has been received yet.", wide=True)
    judged = {_attempt_key(quality): quality for quality in data.quality}
    now: list[Entry] = []
    before: list[Entry] = []
    for row in data.plate_states.sort_values(["round", "barcode", "attempt"], kind="stable").itertuples():
        entry = (str(row.barcode), int(str(row.attempt)), str(row.state), as_text(row.reason))
        (now if row.round == data.round_index else before).append(entry)
    known = {(barcode, attempt) for barcode, attempt, _, _ in now + before}
    for (barcode, attempt), quality in judged.items():
        if (barcode, attempt) not in known:
            now.append((barcode, attempt, "passed" if quality["passed"] else "failed", ""))
    earlier = f"Earlier and later rounds: {things(len(before), 'plate attempt')}"
    tables = tuple(_table(*part, judged) for part in ((now, ""), (before, earlier)) if part[0])
    links = (Link("Every plate before and after alignment", data.links[PAGE]),) if PAGE in data.links else ()
    return Card("quality", title, _finding(now), tables=tables, links=links, note=_note(data), wide=True)


def _attempt_key(quality: Mapping[str, Any]) -> tuple[str, int]:
    """Barcode and attempt."""
    return str(quality["barcode"]), int(quality["attempt"])


def _finding(now: Sequence[Entry]) -> str:
    """How the plates of the round did, in one sentence."""
    states = [state for _, _, state, _ in now]
    if not now:
        return "No plate belongs to this round."
    passed, failed = (
        states.count("passed") + states.count("waived"),
        [code for code, _, state, _ in now if state == "failed"],
    )
    text = f"{passed} of {things(len(now), 'plate attempt')} of this round passed"
    return text + (f"; failed: {listed(failed)}." if failed else ".")


def _table(entries: Sequence[Entry], folded: str, judged: Mapping[tuple[str, int], Mapping[str, Any]]) -> Table:
    """One row a plate attempt, one column a metric, as many as a page is wide."""
    names = _shown([judged[key] for code, attempt, _, _ in entries if (key := (code, attempt)) in judged])
    rows = []
    for barcode, attempt, state, reason in entries:
        quality = judged.get((barcode, attempt), {})
        metrics = {str(metric["name"]): metric for metric in quality.get("metrics", ())}
        why = _remark(reason) or "; ".join(reason_in_words(str(text)) for text in quality.get("reasons", ()))
        head = (
            Cell(shorten(barcode, 40), hint=barcode),
            Cell(str(attempt)),
            Cell(state, *STATES.get(state, ("", ""))),
            Cell("" if state == "passed" else sentence(why)),  # passed: all within their thresholds, as the signs say
        )
        rows.append((*head, *(_stacked(metric_cell(name, metrics.get(name))) for name in names)))
    headers = ["plate", "attempt", "state", "remark", *(METRICS.get(name, name) for name in names)]
    first = headers.index("remark")
    if not any(row[first].text for row in rows):
        del headers[first]
        rows = [row[:first] + row[first + 1 :] for row in rows]
    numeric = (1, *range(len(headers) - len(names), len(headers)))
    return Table(tuple(headers), tuple(rows), numeric, folded=folded, listed=True)


def _remark(reason: str) -> str:
    """Reasons of an attempt in words. What a metric's reason says in brackets stands with the metric."""
    parts = reason.split("; ")
    if not all(part.partition(": ")[0] in METRICS for part in parts):
        return reason
    return "; ".join(_BRACKETS.sub("", reason_in_words(part)) for part in parts)


def reason_in_words(reason: str) -> str:
    """The reason with the metric's name as the table shows it."""
    name, colon, rest = reason.partition(": ")
    return f"{METRICS.get(name, name)}{colon}{rest}" if colon else reason


def _stacked(cell: Cell) -> Cell:
    """The cell with its interval below its value."""
    value, bracket, interval = cell.text.partition(" [")
    return replace(cell, text=value, note=interval.rstrip("]").replace(", ", " to ")) if bracket else cell


def _shown(qualities: Sequence[Mapping[str, Any]]) -> list[str]:
    """Metrics that are judged, and of the others the first as long as there is room, in the order of METRICS.

    Counts of wells are judged too, but told by nothing else than their sign: they stand on the quality page.
    """
    names = [name for name in metric_names(qualities) if name not in COUNTS]
    judged = {
        str(metric["name"]) for quality in qualities for metric in quality["metrics"] if metric["verdict"] != "INFO"
    }
    kept = sorted(names, key=lambda name: name not in judged)[:MOST_COLUMNS]
    return [name for name in names if name in kept]


def metric_names(qualities: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of all metrics: the ones people know first, then whatever else there is."""
    present = dict.fromkeys(str(metric["name"]) for quality in qualities for metric in quality["metrics"])
    return [name for name in METRICS if name in present] + [name for name in present if name not in METRICS]


def metric_cell(name: str, metric: Mapping[str, Any] | None) -> Cell:
    """Value of a metric with its interval and verdict; threshold, wells and reason in the hint."""
    if metric is None:
        return Cell(NOTHING, "muted")
    tone, mark = VERDICTS.get(str(metric["verdict"]), ("", ""))
    threshold = as_float(metric.get("threshold"))
    parts = [
        f"threshold {threshold:g}" if threshold is not None else "",
        f"n = {metric['n']}",
        str(metric.get("reason") or ""),
    ]
    text = shown(name, as_float(metric.get("value")))
    low, high = as_float(metric.get("low")), as_float(metric.get("high"))
    if low is not None and high is not None:
        text += f" [{shown(name, low)}, {shown(name, high)}]"
    return Cell(text, tone, mark, "; ".join(part for part in parts if part))


def shown(name: str, value: float | None) -> str:
    """A share in percent, a figure around 1 with two decimals, anything else with three digits."""
    if value is not None and name in AROUND_ONE:
        return f"{value:.2f}".replace("-", "−")
    return percent(value).replace("-", "−") if name in SHARES else quantity(value)


def thresholds(qualities: Sequence[Mapping[str, Any]]) -> str:
    """Thresholds in force, in words; empty when there are none."""
    limits = {
        str(metric["name"]): as_float(metric.get("threshold"))
        for quality in qualities
        for metric in quality["metrics"]
        if metric["name"] != "control_direction"
    }
    told = [f"{METRICS.get(name, name)} {shown(name, limit)}" for name, limit in limits.items() if limit is not None]
    return f"Thresholds: {', '.join(told)}. Other metrics inform only." if told else ""


def _note(data: ReportData) -> str:
    """Thresholds, what stands below a value, and where the other metrics are."""
    qualities = data.quality
    bounded = any(as_float(metric.get("low")) is not None for quality in qualities for metric in quality["metrics"])
    parts = [thresholds(qualities), "Below a value: its bootstrap interval." if bounded else ""]
    left_out = len(metric_names(qualities)) > MOST_COLUMNS
    parts.append("More metrics stand on the plate quality page." if left_out and PAGE in data.links else "")
    return " ".join(part for part in parts if part)
