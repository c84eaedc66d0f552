"""Cards on the work behind an ensemble: what was fitted, what it took, and where each piece ran."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tasks.publishing.cards.parts import Card, Cell, Table, Tone
from tasks.publishing.cards.wording import NOTHING, as_float, count, quantity, shorten, span, things
from tasks.publishing.report_data import ReportData

FOLD_FROM = 12
NAMES = {"fit": "fitting", "ensemble": "joining", "predict": "predicting"}


def fit_card(data: ReportData) -> Card:
    """What was fitted, and what it took."""
    title = "The fit in numbers"
    if data.work is None or data.work.empty:
        return Card("fit", title, missing="No piece of the fit was recorded.")
    rows = [(name, count(as_float(data.fit[name]))) for name in ("members", "labels", "features") if name in data.fit]
    rows += _epochs(data.losses) + _took(data.work)
    table = Table((), tuple((Cell(name), Cell(text)) for name, text in rows))
    fits = data.work[data.work["stage"] == "fit"]
    devices = ", ".join(sorted(set(fits["device"]) - {""})).upper()
    finding = f"Model {data.fit.get('model', NOTHING)}, fitted in {things(len(fits), 'piece')}"
    finding += f" on {devices}." if devices else "."
    note = "Times of pieces that ran side by side are added up. A sample is one label in one epoch of one member."
    return Card("fit", title, finding, tables=(table,), note=note)


def _epochs(losses: pd.DataFrame | None) -> list[tuple[str, str]]:
    """Epochs that the members ran, where there are epochs."""
    if losses is None or losses.empty:
        return []
    epochs = losses.groupby("member")["epoch"].max()
    told = span(epochs.tolist())
    return [("epochs run", told if epochs.nunique() == 1 else f"{told}, {round(epochs.median())} in the median")]


def _took(work: pd.DataFrame) -> list[tuple[str, str]]:
    """Time of each stage, speed and memory."""
    fits, seconds = work[work["stage"] == "fit"], work.groupby("stage", sort=False)["seconds"].sum()
    return [
        *((f"time of {NAMES[str(stage)]}", _duration(float(time))) for stage, time in seconds.items()),
        ("samples a second of fitting", _speed(fits["samples"].sum(min_count=1), fits["seconds"].sum())),
        ("largest memory of a process", _memory(work["peak_rss_gib"].max())),
        ("processes", count(work["worker"].nunique())),
    ]


def work_card(data: ReportData) -> Card:
    """Seconds, memory and worker of each piece of the fit and of the prediction."""
    title = "Where it ran"
    if data.work is None or data.work.empty:
        return Card("work", title, missing="No piece of the fit was recorded.", wide=True)
    rows = tuple(_row(row) for row in data.work.to_dict("records"))
    folded = f"All {len(rows)} pieces" if len(rows) > FOLD_FROM else ""
    headers = ("step", "process", "time", "samples a second", "peak memory", "this run")
    done = int(data.work["computed"].sum())
    finding = f"{count(done)} of {things(int(data.work['pieces'].sum()), 'piece')} computed in this run."
    note = (
        "A piece that was read from its checkpoint shows what it took when it was computed. Peak memory is that of the "
    )
    note += "whole process up to the end of the piece."
    table = Table(headers, rows, numeric=(2, 3, 4), folded=folded, listed=True)
    return Card("work", title, finding, tables=(table,), note=note, wide=True)


def _row(row: dict[Any, Any]) -> tuple[Cell, ...]:
    """One line of the table of pieces."""
    pieces, computed = int(row["pieces"]), int(row["computed"])
    step = str(row["step"]) + (f", members {row['members']}" if row["members"] else "")
    if row["stage"] == "predict":
        step += f", {things(pieces, 'chunk')}"
    status: tuple[str, Tone, str] = ("computed", "info", "●") if computed == pieces else ("read", "muted", "○")
    if 0 < computed < pieces:
        status = (f"{computed} of {pieces} computed", "info", "●")
    worker, device = str(row["worker"]), str(row["device"])
    return (
        Cell(step),
        Cell(shorten(worker, 40) + (f" ({device.upper()})" if device else ""), hint=worker),
        Cell(_duration(float(row["seconds"]))),
        Cell(_speed(row["samples"], row["seconds"])),
        Cell(_memory(row["peak_rss_gib"])),
        Cell(*status),
    )


def _speed(samples: float, seconds: float) -> str:
    """Samples a second; a dash where they were not counted."""
    known = as_float(samples)
    return NOTHING if known is None or seconds <= 0 else count(known / seconds)


def _memory(peak: float) -> str:
    known = as_float(peak)
    return NOTHING if known is None else f"{quantity(known, zeros=True)} GiB"


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{quantity(seconds, zeros=True)} s" if seconds >= 0.1 else "below 0.1 s"
