"""Plotly figures as plain dictionaries, in one restrained style. Rounded, so that a report is small and exact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

INK, MUTED, LINE, PAPER = "#1d2733", "#5a6775", "#e3e8ed", "#ffffff"
BLUE, ORANGE, TEAL, PURPLE, GREY = "#2563a8", "#c9691c", "#1b8276", "#7b559f", "#9aa5b1"
BROWN = "#8a6d1d"
PALE_BLUE = "#a9bfd8"
GREEN, RED = "#1d7a46", "#b3261e"
SERIES = (BLUE, TEAL, PURPLE, BROWN, "#b0487a", "#4c7a34")
SYMBOLS = {BLUE: "circle", ORANGE: "diamond", TEAL: "square", PURPLE: "triangle-up", GREY: "circle"}
FONT = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
POINT_LIMIT = 3000


def rounded(values: Iterable[Any], digits: int = 6) -> list[float | None]:
    """Numbers for JSON at so many significant digits; None where there is no finite number."""
    array = np.asarray(list(values), dtype=np.float64)
    return [float(f"{x:.{digits}g}") if np.isfinite(x) else None for x in array]


def axis(title: str, **more: Any) -> dict[str, Any]:
    """One axis: thin lines, no zero line, its title in words."""
    base: dict[str, Any] = {
        "title": {"text": title, "font": {"size": 12, "color": MUTED}, "standoff": 8},
        "gridcolor": LINE,
        "linecolor": LINE,
        "zeroline": False,
        "automargin": True,
        "tickfont": {"size": 11, "color": MUTED},
    }
    return base | more


def figure(traces: Sequence[dict[str, Any]], x: dict[str, Any], y: dict[str, Any], **layout: Any) -> dict[str, Any]:
    """A figure in the report's style, the legend below the plot so that a narrow page keeps its width."""
    base: dict[str, Any] = {
        "xaxis": x,
        "yaxis": y,
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "margin": {"l": 56, "r": 16, "t": 12, "b": 44},
        "font": {"family": FONT, "size": 12, "color": INK},
        "hovermode": "closest",
        "autosize": True,
        "hoverlabel": {"bgcolor": INK, "font": {"color": PAPER, "size": 12}, "namelength": 40},
        "showlegend": sum(trace.get("showlegend", True) for trace in traces) > 1,
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 11.5}},
    }
    return {"data": list(traces), "layout": base | layout}


def line(
    name: str, x: Iterable[Any], y: Iterable[Any], colour: str, *, dash: str = "solid", **more: Any
) -> dict[str, Any]:
    """A line with markers; x may be text or numbers."""
    base: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(x),
        "y": rounded(y),
        "line": {"color": colour, "width": 2, "dash": dash},
        "marker": {"color": colour, "size": 7},
    }
    return base | more


def rule(name: str, x: Iterable[Any], y: Iterable[Any], colour: str = MUTED, dash: str = "dash") -> dict[str, Any]:
    """A reference line without markers."""
    return line(name, x, y, colour, dash=dash, mode="lines", hoverinfo="skip") | {
        "line": {"color": colour, "width": 1.4, "dash": dash}
    }


def error_bars(value: Iterable[Any], low: Iterable[Any], high: Iterable[Any], colour: str) -> dict[str, Any]:
    """Bars of a line from low to high; none where there is no interval."""
    centre, below, above = (np.asarray(list(ends), dtype=np.float64) for ends in (value, low, high))
    return {
        "type": "data",
        "symmetric": False,
        "thickness": 1.2,
        "width": 4,
        "color": colour,
        "array": rounded(above - centre),
        "arrayminus": rounded(centre - below),
    }


def band(x: Sequence[Any], low: Iterable[Any], high: Iterable[Any], colour: str) -> dict[str, Any]:
    """A pale band from low to high, without a name or a hover label."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*x, *reversed(x)],
        "y": rounded([*high, *reversed(list(low))]),
        "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},0.13)",
        "line": {"width": 0, "color": colour},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def points(
    name: str, x: Iterable[Any], y: Iterable[Any], text: Sequence[str], colour: str, hover: str, size: float = 6
) -> dict[str, Any]:
    """A cloud of points; `text` is already escaped for plotly, `hover` is a hovertemplate."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": rounded(x),
        "y": rounded(y),
        "text": list(text),
        "hovertemplate": hover + "<extra></extra>",
        "marker": {
            "color": colour,
            "size": size,
            "opacity": 0.72,
            "symbol": SYMBOLS.get(colour, "circle"),
            "line": {"width": 0.5, "color": PAPER},
        },
    }


def thin(table: pd.DataFrame, limit: int = POINT_LIMIT) -> pd.DataFrame:
    """At most `limit` rows, drawn uniformly with a fixed seed and kept in their order."""
    if len(table) <= limit:
        return table
    chosen = np.random.default_rng(0).choice(len(table), size=limit, replace=False)
    return table.iloc[np.sort(chosen)]


def thinned_note(table: pd.DataFrame, limit: int = POINT_LIMIT) -> str:
    """A sentence when `thin` leaves points out, else nothing."""
    return f"{limit:,} of {len(table):,} points are drawn." if len(table) > limit else ""
