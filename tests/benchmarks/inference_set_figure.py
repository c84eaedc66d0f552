"""Figure of inference set design's experiments."""

from __future__ import annotations

from inference_set_report import NAMES, SIZES, WAYS, Played

_COLOURS = {"random": "#000000", "least-confidence": "#d55e00", "query-by-committee": "#0072b2"}
_ROWS = {
    "system": "system accuracy",
    "inference": "accuracy, inference set",
    "test": "accuracy, test",
    "picks_right": "accuracy, newest picks",
}
_HARD = {"mnist, shuffled": "mnist, shuffled: 6, 8, 9", "qm9": "qm9: hard to predict"}
_MARKS = {"oracle": "|", "audit": "o", "equal": "x", "lemma": "^"}


def draw(rows, path):
    """Accuracies by wells above; below wells needed to certify, and the share of the hard ones measured."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams |= {
        "svg.hashsalt": "inference-set", "svg.fonttype": "none", "font.size": 8,
        "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    played = Played(rows)
    figure = plt.figure(figsize=(11, 11.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[4, 1.15])
    panels = above.subplots(len(_ROWS), len(played.experiments), squeeze=False)
    last = below.add_gridspec(1, 3, width_ratios=[2, 1, 1])
    for column, experiment in enumerate(played.experiments):
        for panel, (name, what) in zip(panels[:, column], _ROWS.items(), strict=True):
            _curves(panel, played, experiment, name)
            panel.set_ylabel("" if column else f"{what} [%]")
        panels[0, column].axhline(95, color="#999999", lw=0.7, ls=":")
        panels[0, column].set_title(experiment, loc="left", fontweight="bold")
        panels[-1, column].set_xlabel("wells [% of the library]")
    panels[0, -1].legend(frameon=False, loc="lower right", fontsize=7)
    for place, (experiment, what) in enumerate(_HARD.items(), start=1):
        if experiment in played.experiments:
            panel = below.add_subplot(last[place])
            _curves(panel, played, experiment, "hard_found")
            panel.plot([0, 100], [0, 100], color="#999999", lw=0.6, ls=":")
            panel.set(xlabel="wells [% of the library]", ylabel="of them measured [%]", ylim=(0, 101))
            panel.set_title(what, loc="left", fontweight="bold")
    _wells(below.add_subplot(last[0]), played)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    plt.close(figure)


def _curves(panel, played, experiment, name):
    """Each seed thin, their mean thick, by wells."""
    for strategy in played.strategies(experiment):
        colour = _COLOURS[strategy]
        wells = 100 * played.curves(experiment, strategy, "wells")[0] / SIZES[experiment]
        curves = 100 * played.curves(experiment, strategy, name)
        for curve in curves:
            panel.plot(wells, curve, color=colour, lw=0.5, alpha=0.4)
        panel.plot(wells, curves.mean(axis=0), color=colour, lw=1.6, label=NAMES[strategy])
    panel.set_xlim(0, 85)
    panel.grid(axis="y", color="#eeeeee", lw=0.6)


def _wells(panel, played):
    """Wells at certification of γ = 0.95, a mark a seed."""
    lines = [(experiment, name) for experiment in played.experiments for name in played.strategies(experiment)]
    for place, (experiment, strategy) in enumerate(lines):
        for shift, (way, mark) in zip((-0.24, -0.08, 0.08, 0.24), _MARKS.items(), strict=True):
            own = [row[f"{way}_0.95"] for row in played.of(experiment, strategy)]
            found = [100 * int(wells) / SIZES[experiment] for wells in own if wells]
            panel.plot(found, [place + shift] * len(found), mark, color=_COLOURS[strategy], mfc="none", ms=5)
    for way, mark in _MARKS.items():
        panel.plot([], [], mark, color="#444444", mfc="none", ms=5, label=WAYS[way])
    panel.set_yticks(range(len(lines)), [f"{experiment}, {NAMES[strategy]}" for experiment, strategy in lines])
    panel.invert_yaxis()
    panel.set(xlabel="wells [% of the library]", xlim=(0, 100))
    panel.grid(axis="x", color="#eeeeee", lw=0.6)
    panel.set_title("wells needed for a certificate at γ = 0.95", loc="left", fontweight="bold")
    panel.legend(frameon=False, fontsize=7, ncols=2, loc="upper right", borderpad=0)
