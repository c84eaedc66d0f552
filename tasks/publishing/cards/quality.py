"""Card on the plates of the round: every metric, its threshold and its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.publishing.cards.parts import Card, Cell, Table, Tone
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
    "waived": ("warn", "!"),
    "abandoned": ("muted", "✕"),
    "repeated": ("muted", "↻"),
    "planned": ("muted", "…"),
    "received": ("info", "…"),
}

METRICS = {
    "zprime": "Z′",
    "ssmd": "SSMD",
    "negcon_cv": "negcon CV",
    "missing": "missing",
    "dynamic_range": "range",
    "row_effect": "row effect",
    "column_effect": "column effect",
    "negcon_spread": "negcon sd",
    "negcon_wells": "negcon wells",
    "poscon_wells": "poscon wells",
}
Entry = tuple[str, int, str, str]  # barcode, attempt, state, reason
SHARES = ("negcon_cv", "missing", "row_effect", "column_effect")


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
    tables = tuple(
        _table(entries, judged, folded)
        for entries, folded in (
            (now, ""),
            (before, f"Earlier and later rounds: {things(len(before), 'plate attempt')}"),
        )
        if entries
    )
    return Card("quality", title, _finding(now), tables=tables, note=_note(data.quality), wide=True)


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


def _table(entries: Sequence[Entry], judged: Mapping[tuple[str, int], Mapping[str, Any]], folded: str) -> Table:
    """One row a plate attempt, one column a metric."""
    names = _metric_names([judged[key] for code, attempt, _, _ in entries if (key := (code, attempt)) in judged])
    rows = []
    for barcode, attempt, state, reason in entries:
        quality = judged.get((barcode, attempt), {})
        metrics = {str(metric["name"]): metric for metric in quality.get("metrics", ())}
        tone, mark = STATES.get(state, ("", ""))
        why = reason or "; ".join(_in_words(str(text)) for text in quality.get("reasons", ()))
        head = (
            Cell(shorten(barcode, 40), hint=barcode),
            Cell(str(attempt)),
            Cell(state, tone, mark),
            Cell(sentence(why)),
        )
        rows.append((*head, *(_metric_cell(name, metrics.get(name)) for name in names)))
    headers = ("plate", "attempt", "state", "remark", *(METRICS.get(name, name) for name in names))
    return Table(headers, tuple(rows), numeric=(1, *range(4, 4 + len(names))), folded=folded)


def _in_words(reason: str) -> str:
    """The reason with the metric's name as the table shows it."""
    name, colon, rest = reason.partition(": ")
    return f"{METRICS.get(name, name)}{colon}{rest}" if colon else reason


def _metric_names(qualities: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of all metrics: the ones people know first, then whatever else there is."""
    present = dict.fromkeys(str(metric["name"]) for quality in qualities for metric in quality["metrics"])
    return [name for name in METRICS if name in present] + [name for name in present if name not in METRICS]


def _metric_cell(name: str, metric: Mapping[str, Any] | None) -> Cell:
    """Value of a metric with its verdict; threshold, wells and reason in the hint."""
    if metric is None:
        return Cell(NOTHING, "muted")
    tone, mark = VERDICTS.get(str(metric["verdict"]), ("", ""))
    threshold = as_float(metric.get("threshold"))
    parts = [
        f"threshold {threshold:g}" if threshold is not None else "",
        f"n = {metric['n']}",
        str(metric.get("reason") or ""),
    ]
    return Cell(_shown(name, as_float(metric.get("value"))), tone, mark, "; ".join(part for part in parts if part))


def _shown(name: str, value: float | None) -> str:
    """A share in percent, anything else with three digits."""
    return percent(value) if name in SHARES else quantity(value)


def _note(qualities: Sequence[Mapping[str, Any]]) -> str:
    """Thresholds in force, in words."""
    limits = {
        str(metric["name"]): as_float(metric.get("threshold")) for quality in qualities for metric in quality["metrics"]
    }
    told = [f"{METRICS.get(name, name)} {_shown(name, limit)}" for name, limit in limits.items() if limit is not None]
    return f"Thresholds: {', '.join(told)}. Other metrics inform only." if told else ""
