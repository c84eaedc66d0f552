"""Tables and figure of the replays."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.replays.settings import CONTROL
from tasks.replays.statistics import LOGARITHMIC, by_round, by_screen, over_screens, paired

TITLES = {"rmse": "log RMSE", "error_99": "log 99% error", "mae": "log MAE", "hits_found": "hits found"}
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")


def tidy(rows, controls):
    """A row a round of a campaign, as the statistics of a replay take them; a part for each control.

    Args:
        rows: Lines of the results.
        controls: Arm → the random arm that it is compared with.
    """
    parts = []
    for row in rows:
        columns = {name: [float(v) for v in row[name].split()] for name in ("labels", *TITLES) if row.get(name)}
        part = pd.DataFrame(columns)
        parts.append(part.assign(screen=row["set"], arm=row["arm"], seed=int(row["seed"]), round=range(len(part))))
    table = pd.concat(parts, ignore_index=True)
    families = {control: [arm for arm in controls if controls[arm] == control] for control in controls.values()}
    return [
        table[table["arm"].isin(arms)].assign(arm=lambda t, c=control: t["arm"].replace({c: CONTROL}))
        for control, arms in families.items()
    ]


def tables(rows, controls, figures, versus=None):
    """Differences from random by set and over all sets, for each figure; then the control's own figures at its end.

    `versus`: two arms, of which the first is also compared with the second.
    """
    families = tidy(rows, controls)
    found = [_table(family, figure, controls) for family in families for figure in figures]
    if versus is not None:
        found.append(_duel(rows, *versus, figures))
    return "\n\n".join(found)


def _duel(rows, arm, other, figures):
    """One arm less another, paired by seed, a line a figure."""
    (table,) = tidy([row for row in rows if row["arm"] in (arm, other)], {other: other, arm: other})
    sets = list(dict.fromkeys(table["screen"]))
    lines = [f"| {arm} less {other} | {' | '.join(sets)} | all |", "|---" * (len(sets) + 2) + "|"]
    for figure in figures:
        differences = paired(table, figure)
        single = {row["screen"]: row for row in by_screen(differences).to_dict("records")}
        (whole,) = over_screens(differences, low_is_good=figure != "hits_found").to_dict("records")
        lines.append(f"| {TITLES[figure]} | {' | '.join(_cell(single.get(name)) for name in sets)} | {_cell(whole)} |")
    return "\n".join(lines)


def _table(table, figure, arms):
    differences = paired(table, figure)
    sets = list(dict.fromkeys(table["screen"]))
    single = {(row["screen"], row["arm"]): row for row in by_screen(differences).to_dict("records")}
    overall = {
        row["arm"]: row for row in over_screens(differences, low_is_good=figure != "hits_found").to_dict("records")
    }
    lines = [f"| {TITLES[figure]} less {CONTROL}'s | {' | '.join(sets)} | all |", "|---" * (len(sets) + 2) + "|"]
    last = table[table["arm"] == CONTROL].groupby(["screen", "seed"])[figure].last().groupby("screen").mean()
    lines.append(f"| {CONTROL} itself, at its end | {' | '.join(f'{last[name]:.3f}' for name in sets)} | |")
    for arm in [arm for arm in arms if arm in overall]:
        shown = [_cell(single.get((name, arm))) for name in sets]
        whole = _cell(overall[arm]) if overall[arm]["screens"] == len(sets) else "–"
        lines.append(f"| {arm} | {' | '.join(shown)} | {whole} |")
    ends = by_screen(differences).set_index(["screen", "arm"])["last"]
    lines.append(f"| *last round alone* |{' |' * (len(sets) + 1)}")
    for arm in [arm for arm in arms if arm in overall]:
        shown = [f"{ends[(name, arm)]:+.3f}".replace("-", "−") if (name, arm) in ends else "–" for name in sets]
        lines.append(f"| {arm} | {' | '.join(shown)} | |")
    return "\n".join(lines)


def _cell(row):
    if row is None:
        return "–"
    ends = "" if np.isnan(row["low"]) else f" ({row['low']:+.3f} to {row['high']:+.3f})"
    return f"{row['difference']:+.3f}{ends}".replace("-", "−")


def draw(rows, controls, figure, path):
    """Difference from random by round, a panel a set and a row a family of arms."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams |= {
        "svg.hashsalt": "replays", "svg.fonttype": "none", "font.size": 8,
        "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    families = tidy(rows, controls)
    sets = list(dict.fromkeys(families[0]["screen"]))
    size = (2.6 * min(len(sets), 4), 2.9 * len(families) * -(-len(sets) // 4))
    drawn, panels = plt.subplots(len(families) * -(-len(sets) // 4), min(len(sets), 4), figsize=size, squeeze=False)
    panels = panels.reshape(len(families), -1)
    for family, row in zip(families, panels, strict=True):
        _family(family, controls, figure, sets, row)
    drawn.tight_layout(rect=(0, 0.08, 1, 1))
    drawn.legend(*panels[0, 0].get_legend_handles_labels(), loc="lower center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, metadata={"Date": None})
    plt.close(drawn)


def _family(table, controls, figure, sets, panels):
    rounds = by_round(paired(table, figure))
    arms = [arm for arm in controls if arm in set(rounds["arm"])]
    for panel, name in zip(panels, sets, strict=False):
        for arm, colour in zip(arms, _COLOURS * 2, strict=False):
            curve = rounds[(rounds["screen"] == name) & (rounds["arm"] == arm)]
            panel.plot(
                curve["round"], curve["difference"], color=colour, label=arm, lw=1.8 if arm == "default" else 1.0
            )
            panel.fill_between(curve["round"], curve["low"], curve["high"], color=colour, alpha=0.1, lw=0)
        panel.axhline(0, color="#999999", lw=0.8, ls=":")
        panel.set_title(name, loc="left", fontweight="bold")
        panel.set_xlabel("round")
    for panel in panels[len(sets) :]:
        panel.set_visible(False)
    what = TITLES[figure] if figure in LOGARITHMIC else TITLES[figure] + " [share]"
    panels[0].set_ylabel(f"{what} less random's")
