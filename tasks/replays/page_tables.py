"""Cards of a replay's page that are tables, and the plot of ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from tasks.publishing.cards.figures import BLUE, INK, PALE_BLUE, axis, figure
from tasks.publishing.cards.parts import Card, Cell, Figure, Table, Tone
from tasks.replays.settings import CONTROL
from tasks.replays.statistics import LOGARITHMIC
from tasks.replays.summary import Answer, Compared, Measure, verdict

_TONES: dict[Answer, tuple[Tone, str]] = {"better": ("pass", "▲"), "worse": ("fail", "▼"), "unclear": ("muted", "")}


def percent(row: Mapping[Any, Any], measure: Measure, *, ends: bool = False) -> str:
    """A difference in words that need no logarithm: an error in percent of the control's, a share in points."""
    values = (row["low"], row["high"]) if ends else (row["difference"],)
    if not np.isfinite(values).all():
        return "no interval"
    log = measure.name in LOGARITHMIC
    shown = [f"{100 * (np.expm1(value) if log else value):+.1f}" for value in values]
    unit = "%" if log else " points"
    return " to ".join(shown).replace("-", "−") + unit


def overall_card(compared: Compared) -> Card:
    """Every arm over all screens."""
    measure = compared.measure
    rows = []
    for row in compared.overall.sort_values("difference", ascending=measure.low).to_dict("records"):
        tone, mark = _TONES[verdict(row, measure)]
        rows.append(
            (
                Cell(row["arm"]),
                Cell(percent(row, measure), tone, mark),
                Cell(percent(row, measure, ends=True)),
                Cell(_p(row["p"])),
                Cell(f"{row['difference']:+.3f}"),
            )
        )
    headers = ("arm", f"against {CONTROL}", "95% interval", "p, corrected", "difference")
    return Card(
        "overall",
        f"{measure.title}: all screens",
        finding="Mean over rounds, seeds and screens of the difference from random, paired by seed and split.",
        tables=(Table(headers, tuple(rows), numeric=(1, 2, 3, 4), listed=True),),
        note=_NOTE[measure.name in LOGARITHMIC],
        wide=True,
    )


_NOTE = {
    logarithmic: f"The last column is the {what}. p by Holm's method over the arms; the interval speaks of these "
    "screens, not of others."
    for logarithmic, what in ((True, "difference of natural logarithms"), (False, "plain difference"))
}


def against_card(compared: Compared) -> Card:
    """Every arm on every screen: mean over rounds, with its interval below."""
    measure = compared.measure
    screens = list(dict.fromkeys(compared.screens["screen"]))
    arms = list(dict.fromkeys(compared.screens["arm"]))
    found = {(row["screen"], row["arm"]): row for row in compared.screens.to_dict("records")}
    rows = []
    for arm in arms:
        cells = [Cell(arm)]
        for screen in screens:
            row = found.get((screen, arm))
            if row is None:
                cells.append(Cell("–", "muted"))
                continue
            tone, mark = _TONES[verdict(row, measure)]
            last = {"difference": row["last"]}
            hint = f"last round {percent(last, measure)}; p, corrected: {_p(row['p'])}; {int(row['seeds'])} seeds"
            cells.append(Cell(percent(row, measure), tone, mark, hint, percent(row, measure, ends=True)))
        rows.append(tuple(cells))
    better = "less is better" if measure.low else "more is better"
    return Card(
        f"against-{measure.name}",
        f"{measure.title}: by screen",
        finding=f"Difference from {CONTROL}, mean over the rounds; {better}.",
        tables=(Table(("arm", *screens), tuple(rows), numeric=tuple(range(1, len(screens) + 1)), stacked=True),),
        note="▲ better than random, ▼ worse: the interval lies on one side of no difference. Hover for the last round.",
        wide=True,
    )


def reached_card(compared: Compared) -> Card:
    """Labels until an arm is as good as the control at its end."""
    table = compared.reached[compared.reached["arm"] != CONTROL]
    screens, arms = list(dict.fromkeys(table["screen"])), list(dict.fromkeys(table["arm"]))
    share = table.set_index(["screen", "arm"])["share"]
    rows = tuple((Cell(arm), *(_share(share.get((screen, arm), np.nan)) for screen in screens)) for arm in arms)
    return Card(
        "reached",
        f"Labels to be as good as {CONTROL} at its end",
        finding=f"Share of the labels that {CONTROL} used, by {compared.measure.title.lower()}.",
        tables=(Table(("arm", *screens), rows, numeric=tuple(range(1, len(screens) + 1)), stacked=True),),
        note="Read from the mean over seeds, between rounds by straight lines.",
    )


def ranks_card(compared: Compared) -> Card:
    """Mean ranks over the screens, and the difference from which they differ."""
    mean, p, critical = compared.ranks
    if not np.isfinite(critical):
        return Card("ranks", "Ranks over the screens", missing="Ranks need three arms and two screens.")
    names = list(mean.index)[::-1]
    bars = {
        "type": "scatter", "mode": "markers", "x": [float(mean[name]) for name in names], "y": names,
        "marker": {"color": BLUE, "size": 10}, "showlegend": False,
        "hovertemplate": "%{y}: mean rank %{x:.2f}<extra></extra>",
        "error_x": {"type": "constant", "value": critical / 2, "thickness": 3, "width": 0, "color": PALE_BLUE},
    }  # fmt: skip
    spec = figure([bars], axis("mean rank (1 is best)"), axis("") | {"tickfont": {"size": 12, "color": INK}})
    said = "differ" if p < 0.05 else "cannot be told apart"
    return Card(
        "ranks",
        "Ranks over the screens",
        finding="Arms whose bars overlap cannot be told apart by ranks (Nemenyi, 5%); all together they "
        f"{said} (Friedman, p = {p:.2g}).",
        figures=(Figure("ranks", "Mean rank of every arm with the critical difference", spec, 60 + 34 * len(names)),),
    )


def cost_card(costs: pd.DataFrame) -> Card:
    """What campaigns cost to compute."""
    if costs.empty:
        return Card("cost", "Seconds and memory", missing="No cell tells what it cost.")
    mean = costs.groupby(["screen", "arm"], sort=False).agg(seconds=("seconds", "mean"), memory=("peak_rss_gib", "max"))
    screens, arms = list(dict.fromkeys(costs["screen"])), list(dict.fromkeys(costs["arm"]))
    rows = []
    for arm in arms:
        cells = [Cell(arm)]
        for screen in screens:
            if (screen, arm) not in mean.index:
                cells.append(Cell("–", "muted"))
                continue
            each = mean.loc[(screen, arm)]
            cells.append(Cell(f"{each['seconds']:.0f} s", note=f"{each['memory']:.1f} GiB"))
        rows.append(tuple(cells))
    return Card(
        "cost",
        "Seconds and memory",
        finding="Of one campaign, all rounds: mean seconds, and the largest memory of the process that played it.",
        tables=(Table(("arm", *screens), tuple(rows), numeric=tuple(range(1, len(screens) + 1)), stacked=True),),
        note="As recorded when each was computed; other work on the machine counts with it.",
        wide=True,
    )


def words_card() -> Card:
    """What the words mean."""
    terms = (
        ("arm", "One way to choose batches: slots of strategies, and the operator whose eigenspace they see."),
        ("paired", "Arms share the split into pool and test, the first labels and the seeds, so that luck cancels."),
        ("99% quantile of the error", "The error that one of a hundred predictions exceeds: what happens in the tail."),
        ("hits found", "Measured so far, of the most extreme share of the pool."),
        ("system accuracy", "Share of the pool that is measured, or predicted within the tolerance (or right)."),
        ("interval", "Student's t over the seeds. It says how sure the difference is on this screen, not on others."),
    )  # fmt: skip
    return Card("words", "Words", terms=terms)


def _share(share: float) -> Cell:
    if not np.isfinite(share):
        return Cell("not reached", "muted")
    return Cell(f"{share:.0%}", "pass" if share < 1 else "")


def _p(p: float) -> str:
    if not np.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
