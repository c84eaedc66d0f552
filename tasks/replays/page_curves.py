"""Cards of a replay's page that are curves over the rounds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.publishing.cards.figures import (
    BLUE,
    BROWN,
    GREY,
    MUTED,
    ORANGE,
    PURPLE,
    TEAL,
    axis,
    band,
    figure,
    line,
    rule,
)
from tasks.publishing.cards.parts import Card, Figure
from tasks.replays.settings import CONTROL
from tasks.replays.statistics import LOGARITHMIC, interval
from tasks.replays.summary import Compared, Measure

_COLOURS = (BLUE, ORANGE, TEAL, PURPLE, BROWN, "#b0487a", "#4c7a34", "#475a9c", "#a1493a")


def colour_of(arm: str, arms: list[str]) -> str:
    """The control is grey, the others keep their colour on the whole page."""
    return GREY if arm == CONTROL else _COLOURS[[name for name in arms if name != CONTROL].index(arm) % len(_COLOURS)]


def curves_card(table: pd.DataFrame, measure: Measure, screen: str) -> Card:
    """Learning curves on one screen: mean over seeds and its interval."""
    here = table[table["screen"] == screen]
    arms = list(dict.fromkeys(table["arm"]))
    bands, lines = [], []
    for arm in [name for name in arms if name in set(here["arm"])]:
        labels, middle, low, high = [], [], [], []
        for count, group in here[here["arm"] == arm].groupby("labels"):
            mean, below, above = interval(group[measure.name].to_numpy(dtype=np.float64))
            labels.append(count)
            middle.append(mean)
            low.append(below if np.isfinite(below) else mean)
            high.append(above if np.isfinite(above) else mean)
        colour = colour_of(arm, arms)
        if measure.name in LOGARITHMIC:
            low = [max(value, 0.5 * centre) for value, centre in zip(low, middle, strict=True)]
        bands.append(band(labels, low, high, colour))
        lines.append(line(arm, labels, middle, colour, marker={"color": colour, "size": 5}))
    scale = {"type": "log"} if measure.name in LOGARITHMIC else {}
    title = f"{measure.title.lower()}" + (f" [{measure.unit}]" if measure.unit else "")
    spec = figure([*bands, *lines], axis("labels"), axis(title) | scale)
    return Card(
        f"curve-{measure.name}-{screen}",
        screen,
        finding=f"{measure.title} on perturbations that no arm could choose; mean over seeds, band: 95% interval.",
        figures=(Figure(f"curve-{screen}", f"{measure.title} by labels on {screen}", spec, 380),),
    )


def rounds_card(compared: Compared, screen: str) -> Card:
    """Difference from the control on one screen, round by round."""
    here = compared.rounds[compared.rounds["screen"] == screen]
    arms = list(dict.fromkeys(compared.rounds["arm"]))
    log = compared.measure.name in LOGARITHMIC

    def shown(values: pd.Series) -> list[float]:
        return [100 * (float(np.expm1(value)) if log else float(value)) for value in values]

    bands, lines = [], []
    for arm in [name for name in arms if name in set(here["arm"])]:
        rows = here[here["arm"] == arm].sort_values("round")
        rounds, middle = rows["round"].tolist(), shown(rows["difference"])
        low, high = (shown(rows[end].fillna(rows["difference"])) for end in ("low", "high"))
        colour = colour_of(arm, arms)
        bands.append(band(rounds, low, high, colour))
        lines.append(line(arm, rounds, middle, colour, marker={"color": colour, "size": 5}))
    ends = [int(here["round"].min()), int(here["round"].max())]
    zero = rule(CONTROL, ends, [0.0, 0.0], MUTED)
    unit = "%" if log else "points"
    spec = figure([*bands, *lines, zero], axis("round"), axis(f"difference from {CONTROL} [{unit}]"))
    return Card(
        f"rounds-{screen}",
        screen,
        finding=f"{compared.measure.title}: difference from {CONTROL}, paired by seed; band: 95% interval.",
        figures=(Figure(f"rounds-{screen}", f"Difference from random by round on {screen}", spec, 360),),
    )
