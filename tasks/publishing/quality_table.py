"""The overview of the quality page: one row a plate attempt, what failed first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.publishing.cards.parts import Cell
from tasks.publishing.cards.quality import METRICS, STATES, metric_cell, reason_in_words
from tasks.publishing.cards.wording import as_float, sentence, shorten

#: Metrics with a column of their own; all others stand below the plate's picture.
COLUMNS = (
    "zprime",
    "ssmd",
    "negcon_cv",
    "missing",
    "row_effect",
    "column_effect",
    "edge_effect",
    "replicate_agreement",
    "control_gap",
)
_WORST_FIRST = ("failed", "refused", "missing", "repeated", "abandoned", "waived", "received", "planned", "passed")
_BRACKETS = re.compile(r" \([^()]*\)")
_UNUSED = ("failed", "refused", "missing", "repeated", "abandoned")


@dataclass(frozen=True)
class PlateRow:
    """One plate attempt.

    Attributes:
        key: barcode.attempt.
        anchor: Id of the place where it is drawn.
        title: Name as it is shown.
        barcode: Barcode.
        attempt: Attempt.
        run: Run.
        state: State, as passed or failed.
        sign: The state as a cell.
        remark: Why.
        cells: Metrics of the overview, with their number for sorting, None where there is none.
        metrics: Name, cell and reason of every metric.
        drawn: Whether its wells are in the page.
    """

    key: str
    anchor: str
    title: str
    barcode: str
    attempt: int
    run: str
    state: str
    sign: Cell
    remark: str
    cells: tuple[tuple[Cell, float | None], ...]
    metrics: tuple[tuple[str, Cell, str], ...]
    drawn: bool

    @property
    def failed(self) -> bool:
        """Whether the readouts of this attempt are not used."""
        return self.state in _UNUSED


def column_names(qualities: Sequence[Mapping[str, Any]]) -> list[str]:
    """Metrics of the overview that have a value on any plate."""
    metrics = [metric for quality in qualities for metric in quality["metrics"]]
    present = {str(metric["name"]) for metric in metrics if metric["value"] is not None or metric["verdict"] == "FAIL"}
    return [name for name in COLUMNS if name in present]


def plate_rows(
    attempts: Sequence[tuple[str, int, str]],
    qualities: Sequence[Mapping[str, Any]],
    states: Mapping[str, tuple[str, str]],
    drawable: Mapping[str, int],
    most_wells: int,
) -> list[PlateRow]:
    """Rows in run order.

    Args:
        attempts: Barcode, attempt and run of every plate, in run order.
        qualities: Their qualities as JSON.
        states: Plate attempt to state and note; where absent the quality decides.
        drawable: Plate attempt to its number of wells.
        most_wells: Wells drawn at most; plates that failed come first.
    """
    judged = {f"{quality['barcode']}.{quality['attempt']}": quality for quality in qualities}
    names = column_names(qualities)
    stated = [_state(f"{barcode}.{attempt}", judged, states) for barcode, attempt, _ in attempts]
    order = sorted(range(len(attempts)), key=lambda number: (_rank(stated[number][0]), number))
    drawn, left = set(), most_wells
    for number in order:
        key = f"{attempts[number][0]}.{attempts[number][1]}"
        left -= drawable.get(key, 0)
        if left >= 0 and key in drawable:
            drawn.add(key)
    return [_row(number, attempt, judged, stated[number], names, drawn) for number, attempt in enumerate(attempts)]


def worst_first(rows: Sequence[PlateRow]) -> list[PlateRow]:
    """Failed plates first, then in run order."""
    return sorted(rows, key=lambda row: _rank(row.state))


def _rank(state: str) -> int:
    return _WORST_FIRST.index(state) if state in _WORST_FIRST else len(_WORST_FIRST)


def _state(key: str, judged: Mapping[str, Mapping[str, Any]], states: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """State and remark of a plate. What a reason says in brackets stands with the metric, not in the remark."""
    quality = judged.get(key)
    reasons = [] if quality is None else [str(reason) for reason in quality["reasons"]]
    found = "; ".join(_BRACKETS.sub("", reason_in_words(reason)) for reason in reasons)
    if key in states:
        state, note = states[key]
        return state, found if note in ("", "; ".join(reasons)) else note
    return ("received", "not judged") if quality is None else ("passed" if quality["passed"] else "failed", found)


def _row(
    number: int,
    attempt: tuple[str, int, str],
    judged: Mapping[str, Mapping[str, Any]],
    stated: tuple[str, str],
    names: Sequence[str],
    drawn: set[str],
) -> PlateRow:
    barcode, repeat, run = attempt
    key = f"{barcode}.{repeat}"
    metrics = {str(metric["name"]): metric for metric in judged.get(key, {}).get("metrics", ())}
    tone, mark = STATES.get(stated[0], ("", ""))
    ordered = [name for name in METRICS if name in metrics] + [name for name in metrics if name not in METRICS]
    return PlateRow(
        key=key,
        anchor=f"plate-{number}",
        title=shorten(barcode, 40),
        barcode=barcode,
        attempt=repeat,
        run=run,
        state=stated[0],
        sign=Cell(stated[0], tone, mark),
        remark=sentence(stated[1]) if stated[0] != "passed" else "",
        cells=tuple(
            (metric_cell(name, metrics.get(name)), as_float(metrics.get(name, {}).get("value"))) for name in names
        ),
        metrics=tuple(
            (METRICS.get(name, name), metric_cell(name, metrics[name]), sentence(str(metrics[name]["reason"])))
            for name in ordered
        ),
        drawn=key in drawn,
    )
