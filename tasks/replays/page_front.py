"""Cards of a replay's page on what a good model costs in hits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tasks.publishing.cards.figures import MUTED, axis, error_bars, figure, line, rule
from tasks.publishing.cards.parts import Card, Figure
from tasks.replays.page_curves import colour_of


def front_card(front: pd.DataFrame, screen: str) -> Card:
    """Hits against model error on one screen, a point an arm; a line joins those that no other one beats in both."""
    arms = list(dict.fromkeys(front["arm"]))
    here = front[front["screen"] == screen]
    best = here[here["best"]].sort_values("error")
    joined = rule("not beaten in both", best["error"], best["hits"], MUTED)
    traces = [joined, *(_point(row, colour_of(row["arm"], arms)) for row in here.to_dict("records"))]
    names = ", ".join(best["arm"])
    return Card(
        f"front-{screen}",
        screen,
        finding="After the last round. Further left the model is better, further up more hits were measured. Not "
        f"beaten by another arm in both: {names}.",
        figures=(
            Figure(
                f"front-{screen}",
                f"Hits found by model error on {screen}",
                figure(
                    traces, axis("root mean squared error [sds of the screen]"), axis("hits found", tickformat=".0%")
                ),
                400,
            ),
        ),
    )


def _point(row: Mapping[Any, Any], colour: str) -> dict[str, Any]:
    across, up = (
        error_bars([row[name]], [row[f"{name}_low"]], [row[f"{name}_high"]], colour) for name in ("error", "hits")
    )
    return line(
        row["arm"],
        [row["error"]],
        [row["hits"]],
        colour,
        mode="markers",
        error_x=across,
        error_y=up,
        hovertemplate="error %{x:.3f}, hits %{y:.1%}",
        marker={"color": colour, "size": 10, "symbol": "circle" if row["best"] else "circle-open"},
    )
