"""Tables and figures of DEIMOS's experiments."""

from __future__ import annotations

import numpy as np

THRESHOLDS = (0.97, 0.975)
_COLOURS = {
    "random": "#000000",
    "maximum-entropy": "#0072b2",
    "batch-bald": "#009e73",
    "k-centre": "#e69f00",
    "expected-improvement": "#d55e00",
}
_STYLE = {"svg.hashsalt": "deimos", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}


def tables(rows, line, mnist):
    """Markdown: error in one dimension before and after; acquisitions that MNIST needed."""
    lines = ["| 1-D, mean squared error | before | after, median (range) | seeds lowered |", "|---|---|---|---|"]
    for strategy in line:
        before, after = np.array([_curve(row)[1] for row in _of(rows, "1-D", strategy)]).T
        spread = f"{np.median(after):.3f} ({after.min():.3f} to {after.max():.3f})"
        lines.append(f"| {strategy} | {np.median(before):.3f} | {spread} | {np.sum(after < before)}/{len(after)} |")
    for experiment in sorted({row["experiment"] for row in rows if row["experiment"].startswith("MNIST")}):
        last = min(_curve(row)[0][-1] for row in rows if row["experiment"] == experiment)
        head = f"| {experiment} at a time | 0.97 | 0.975 | mean accuracy up to {last} ± standard error |"
        lines += ["", head, "|---|---|---|---|"]
        for strategy in mnist:
            played = _of(rows, experiment, strategy)
            if played:
                means = [
                    np.mean([figure for n, figure in zip(*_curve(row), strict=True) if n <= last]) for row in played
                ]
                needed = " | ".join(_needed(played, threshold) for threshold in THRESHOLDS)
                lines.append(f"| {strategy} | {needed} | {np.mean(means):.4f} ± {_error(means):.4f} |")
    return "\n".join(lines)


def _needed(played, threshold):
    """Median of the acquisitions at the first test that reached the threshold, quartiles, and in how many seeds."""
    needed = []
    for row in played:
        acquisitions, accuracies = _curve(row)
        reached = np.flatnonzero(np.array(accuracies) >= threshold)
        needed.append(acquisitions[reached[0]] if len(reached) else np.inf)
    low, middle, high = np.quantile(needed, [0.25, 0.5, 0.75], method="inverted_cdf")
    most = f"> {_curve(played[0])[0][-1]}"
    say = [most if not np.isfinite(value) else f"{value:.0f}" for value in (middle, low, high)]
    return f"{say[0]} ({say[1]} to {say[2]}), {np.isfinite(needed).sum()}/{len(needed)}"


def draw_mnist(rows, strategies, path):
    """Accuracy by acquisitions, mean over seeds and its standard error, one panel a batch size."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.rcParams |= _STYLE
    experiments = sorted({row["experiment"] for row in rows if row["experiment"].startswith("MNIST")})
    figure, axes = plt.subplots(1, len(experiments), figsize=(9, 3.6), squeeze=False, sharey=True)
    for panel, experiment in zip(axes[0], experiments, strict=True):
        for strategy in strategies:
            curves = [_curve(row) for row in _of(rows, experiment, strategy)]
            if not curves:
                continue
            accuracies, colour = np.array([accuracies for _, accuracies in curves]), _COLOURS[strategy]
            mean, error = accuracies.mean(axis=0), accuracies.std(axis=0, ddof=1) / np.sqrt(len(accuracies))
            panel.plot(curves[0][0], mean, color=colour, lw=1.4, label=strategy)
            panel.fill_between(curves[0][0], mean - error, mean + error, color=colour, alpha=0.15, lw=0)
        for threshold in THRESHOLDS:
            panel.axhline(threshold, color="#999999", lw=0.6, ls=":")
        panel.set(xlabel="acquisitions after the first 10 labels", xlim=(0, 500), ylim=(0.85, 1.0))
        panel.set_title(f"{experiment} at a time", loc="left", fontweight="bold")
    axes[0, 0].set_ylabel("accuracy, 7 against 9")
    axes[0, -1].legend(frameon=False, fontsize=7, loc="lower right")
    _save(figure, path, plt)


def draw_line(line, path):
    """The 1-D example: expected improvement and the batch on the left, the new fit on the right."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.rcParams |= _STYLE
    figure, axes = plt.subplots(
        2, 2, figsize=(9, 4.6), sharex=True, sharey="row", gridspec_kw={"height_ratios": [3, 1]}
    )
    shades = plt.get_cmap("autumn")(np.linspace(0.0, 0.75, len(line.picked)))
    titles = ("before: the batch, in its order from red to yellow", "after: fitted anew with the batch")
    for column, (members, title) in enumerate(zip((line.before, line.after), titles, strict=True)):
        panel, mean, sd = axes[0, column], members.mean(axis=1), members.std(axis=1, ddof=1)
        panel.fill_between(line.grid, mean - sd, mean + sd, color="#56b4e9", alpha=0.4, lw=0, label="prediction ± 1 sd")
        panel.plot(line.grid, mean, color="#0072b2", lw=1.2)
        panel.plot(line.grid, line.truth, color="#000000", lw=0.9, ls="--", label="truth")
        panel.plot(line.points, line.readouts, ".", color="#444444", ms=4, label="labels")
        if column:
            panel.scatter(
                line.grid[line.picked], line.acquired[line.picked], c=shades, s=22, zorder=3, label="acquired"
            )
        else:
            low = panel.get_ylim()[0]
            panel.scatter(line.grid[line.picked], np.full(len(line.picked), low), c=shades, s=26, marker="^", zorder=3)
        panel.set_title(title, loc="left", fontweight="bold")
        panel.legend(frameon=False, fontsize=7)
    axes[0, 0].set_ylabel("readout")
    axes[1, 0].plot(line.grid, line.score, color="#009e73", lw=1.2)
    axes[1, 0].vlines(line.grid[line.picked], 0, line.score[line.picked], colors=shades, lw=1.2)
    axes[1, 0].set(ylabel="expected\nimprovement", xlabel="x", ylim=(0, None))
    axes[1, 1].axis("off")
    axes[0, 1].tick_params(labelbottom=True)
    axes[0, 1].set_xlabel("x")
    _save(figure, path, plt)


def _save(figure, path, plt):
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    plt.close(figure)


def _of(rows, experiment, strategy):
    return [row for row in rows if (row["experiment"], row["strategy"]) == (experiment, strategy)]


def _curve(row):
    return [int(n) for n in row["acquisitions"].split()], [float(value) for value in row["figures"].split()]


def _error(values):
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
