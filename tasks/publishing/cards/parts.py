"""What a card is made of. Every text in here is plain text; the template escapes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Tone = Literal["", "pass", "warn", "fail", "info", "muted"]


@dataclass(frozen=True)
class Figure:
    """One plotly figure: `key` gives the element its id, `label` says in words what is drawn, `height` is in pixels."""

    key: str
    label: str
    spec: dict[str, Any]
    height: int = 320


@dataclass(frozen=True)
class Cell:
    """One cell of a table; `mark` is a sign before the text, so that colour is never the only signal.

    `hint` shows when the pointer rests on the cell, `note` stands below the text.
    """

    text: str
    tone: Tone = ""
    mark: str = ""
    hint: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table; columns named in `numeric` (by position) are set right-aligned.

    On a narrow page the first cell of a `stacked` table stands above the others of its row, and a row of a `listed` one
    becomes a list of headers and cells.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[int, ...] = ()
    caption: str = ""
    folded: str = ""
    """Not empty: the table stands folded away under this summary."""
    stacked: bool = False
    listed: bool = False


@dataclass(frozen=True)
class Link:
    """A file beside the report, and what it is."""

    name: str
    href: str
    what: str = ""


@dataclass(frozen=True)
class Swatch:
    """One entry of the legend of the plate pictures."""

    name: str
    colour: str
    count: str = ""


@dataclass(frozen=True)
class PlatePicture:
    """One plate as SVG paths, a unit square a well.

    `paths` are (colour, path data) pairs; `labels` are (x, y, text) at the rim; `payload` is what the pointer reads:
    rows, columns, groups, and per well (row-major) its name, why it was chosen, and the index of its group.
    """

    key: str
    barcode: str
    shown: str
    summary: str
    rows: int
    columns: int
    paths: tuple[tuple[str, str], ...]
    labels: tuple[tuple[float, float, str], ...]
    payload: dict[str, Any]


Status = Literal["FAIL", "WARN", "INFO", "PASS"]


@dataclass(frozen=True)
class Check:
    """One health check: what was looked at, what was found, and what to do about it.

    `todo` is never empty where the status is FAIL or WARN.
    """

    name: str
    status: Status
    finding: str
    todo: str = ""


@dataclass(frozen=True)
class Card:
    """One card: title, finding in one sentence, evidence. `missing` says why there is nothing to draw."""

    key: str
    title: str
    finding: str = ""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    plates: tuple[PlatePicture, ...] = ()
    legend: tuple[Swatch, ...] = ()
    links: tuple[Link, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()
    checks: tuple[Check, ...] = ()
    note: str = ""
    missing: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """Cards under one heading of the report."""

    key: str
    title: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class KeyFigure:
    """One number of the strip below the verdict."""

    name: str
    value: str
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Verdict:
    """The banner: what was decided, why, and what needs a person. Shares are in percent of the scale's width.

    `health` counts the health checks by their outcome.
    """

    tone: Tone
    label: str
    headline: str
    reason: str
    facts: tuple[tuple[str, str], ...]
    attention: tuple[str, ...]
    bound: float | None
    estimate: float | None
    gamma: float
    figures: tuple[KeyFigure, ...]
    health: tuple[tuple[Status, int], ...]
