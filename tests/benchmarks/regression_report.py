"""Tables and figure of the regression replays."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.replays.settings import CONTROL
from tasks.replays.statistics import by_round, by_screen, over_screens, paired

FIGURES = {"rmse": "log RMSE", "error_99": "log 99% error", "mae": "log MAE"}
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")


def tidy(rows):
    """A row a round of a campaign, as the statistics of a replay take them."""
    parts = []
    for row in rows:
        columns = {name: [float(value) for value in row[name].split()] for name in ("labels", *FIGURES)}
        part = pd.DataFrame(columns)
        parts.append(part.assign(screen=row["set"], arm=row["arm"], seed=int(row["seed"]), round=range(len(part))))
    return pd.concat(parts, ignore_index=True)


def tables(rows, arms):
    """Differences from random by set and over all sets, for each figure."""
    table = tidy(rows)
    return "\n\n".join(_table(table, figure, title, arms) for figure, title in FIGURES.items())


def _table(table, figure, title, arms):
    differences = paired(table, figure)
    sets = list(dict.fromkeys(table["screen"]))
    single = {(row["screen"], row["arm"]): row for row in by_screen(differences).to_dict("records")}
    overall = {row["arm"]: row for row in over_screens(differences).to_dict("records")}
    lines = [f"| {title} less {CONTROL}'s | {' | '.join(sets)} | all |", "|---" * (len(sets) + 2) + "|"]
    for arm in [arm for arm in arms if arm in overall]:
        shown = [_cell(single.get((name, arm))) for name in sets]
        whole = _cell(overall[arm]) if overall[arm]["screens"] == len(sets) else "–"
        lines.append(f"| {arm} | {' | '.join(shown)} | {whole} |")
    return "\n".join(lines)


def _cell(row):
    if row is None:
        return "–"
    ends = "" if np.isnan(row["low"]) else f" ({row['low']:+.3f} to {row['high']:+.3f})"
    return f"{row['difference']:+.3f}{ends}".replace("-", "−")


def draw(rows, arms, path):
    """Difference of log RMSE from random by round, a panel a set."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams |= {
        "svg.hashsalt": "regression", "svg.fonttype": "none", "font.size": 8,
        "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    table = tidy(rows)
    rounds, sets = by_round(paired(table, "rmse")), list(dict.fromkeys(table["screen"]))
    figure, panels = plt.subplots(1, len(sets), figsize=(2.6 * len(sets), 3.2), layout="constrained", squeeze=False)
    others = [arm for arm in arms if arm != CONTROL]
    for panel, name in zip(panels[0], sets, strict=True):
        for arm, colour in zip(others, _COLOURS, strict=True):
            curve = rounds[(rounds["screen"] == name) & (rounds["arm"] == arm)]
            panel.plot(
                curve["round"], curve["difference"], color=colour, label=arm, lw=1.8 if arm == "default" else 1.0
            )
            panel.fill_between(curve["round"], curve["low"], curve["high"], color=colour, alpha=0.1, lw=0)
        panel.axhline(0, color="#999999", lw=0.8, ls=":")
        panel.set_title(name, loc="left", fontweight="bold")
        panel.set_xlabel("round")
    panels[0, 0].set_ylabel("log RMSE less random's")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
