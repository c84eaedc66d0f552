"""Table and figure of the preprint's experiment."""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student

NOISE_NAMES = {"I": "I: no noise", "II": "II: independent", "III": "III: alike nearby"}
PAIRS = (
    ("error-drop, quadratic, eigen", "top-variance"),
    ("error-drop, quadratic, eigen", "error-drop, direct, eigen"),
    ("error-drop, quadratic, eigen", "error-drop, true, eigen"),
    ("error-drop, true, eigen", "bias-drop, true, eigen"),
    ("error-drop, true, eigen", "error-drop, true, pointwise"),
    ("error-drop, quadratic, eigen", "eigenmodes"),
    ("error-left, true, eigen", "error-drop, true, eigen"),
    ("error-left, true, eigen", "error-left, true, pointwise"),
    ("error-left, true, sampling", "error-left, true, eigen"),
    ("error-left, true, sampling", "expected-improvement"),
    ("expected-improvement", "eigenspace-clusters"),
    ("expected-improvement, known noise", "expected-improvement"),
)
_COLOURS = {
    "random": "#000000",
    "top-variance": "#0072b2",
    "expected-improvement": "#56b4e9",
    "eigenspace-clusters": "#009e73",
    "error-drop, true, eigen": "#d55e00",
    "error-drop, quadratic, eigen": "#e69f00",
    "error-left, true, eigen": "#8c510a",
    "error-left, true, sampling": "#cc79a7",
}


def table(rows, strategies, labels):
    """Markdown: error over random's of the same seed, geometric mean over the rounds and seeds, for each noise type."""
    cells = {(row["noise"], row["strategy"], row["seed"]): row for row in rows}
    noises = [noise for noise in NOISE_NAMES if any(key[0] == noise for key in cells)]
    head = "| strategy | " + " | ".join(NOISE_NAMES[n] for n in noises) + " | better in (I, II, III) |"
    lines = [head, "|---" * (len(noises) + 2) + "|"]
    for strategy in strategies:
        parts, wins = [], []
        for noise in noises:
            change = changes(cells, noise, strategy, labels)
            if strategy == "random" or len(change) < 2:
                parts.append("")
                continue
            parts.append(_ratio(change))
            wins.append(f"{np.sum(change < 0)}/{len(change)}")
        lines.append(f"| {strategy} | " + " | ".join(parts) + f" | {', '.join(wins)} |")
    return "\n".join(lines)


def comparisons(rows, labels):
    """Markdown: error of one strategy over another's of the same seed, for the claims that compare two."""
    cells = {(row["noise"], row["strategy"], row["seed"]): row for row in rows}
    lines = ["| one over the other | " + " | ".join(NOISE_NAMES.values()) + " |", "|---" * (len(NOISE_NAMES) + 1) + "|"]
    for one, other in PAIRS:
        found = [changes(cells, noise, one, labels, other) for noise in NOISE_NAMES]
        lines.append(f"| {one} / {other} | " + " | ".join(_ratio(change) for change in found) + " |")
    return "\n".join(lines)


def uncertainty(rows):
    """Markdown: calibration of the last ensemble, and what foretold the next drop; means over the seeds."""
    names = ("rms_sigma_f", "rms_sigma_y", "rank_f_y", "rank_f_bias", "cover_f", "cover_sd")
    names += ("drop_foretells", "left_foretells", "variance_foretells", "score_agrees")
    lines = ["| noise, strategy | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for noise in NOISE_NAMES:
        for strategy in (*_COLOURS, "error-left, calibrated, sampling"):
            own = [row for row in rows if (row["noise"], row["strategy"]) == (noise, strategy)]
            if own:
                values = [[float(row[name]) for row in own if row[name]] for name in names]
                said = " | ".join(f"{np.mean(value):.2f}" if value else "" for value in values)
                lines.append(f"| {noise}, {strategy} | {said} |")
    return "\n".join(lines)


def _ratio(change):
    if len(change) < 2:
        return ""
    mean, half = mean_and_half(change)
    return f"{np.exp(mean):.2f} ({np.exp(mean - half):.2f} to {np.exp(mean + half):.2f})"


def changes(cells, noise, strategy, labels, other="random"):
    """(seeds,) mean over the rounds of ln error, less another strategy's of the same seed."""
    found = []
    for seed in sorted({key[2] for key in cells}, key=int):
        own, base = (cells.get((noise, name, seed)) for name in (strategy, other))
        if own and base:
            found.append(np.mean([np.log(float(own[f"mse_{n}"]) / float(base[f"mse_{n}"])) for n in labels]))
    return np.array(found)


def mean_and_half(values):
    """Mean and half its 95% interval (Student's t over seeds)."""
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def draw(rows, strategies, labels, path):
    """Error by labels for some strategies above; all strategies beside random below."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.rcParams |= {"svg.hashsalt": "preprint", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    cells = {(row["noise"], row["strategy"], row["seed"]): row for row in rows}
    noises = [noise for noise in NOISE_NAMES if any(key[0] == noise for key in cells)]
    shape = {"height_ratios": [1, 1.5]}
    figure, axes = plt.subplots(2, len(noises), figsize=(10, 8.2), squeeze=False, sharey="row", gridspec_kw=shape)
    for column, noise in enumerate(noises):
        _curves(axes[0, column], cells, noise, labels)
        _beside_random(axes[1, column], cells, noise, strategies[1:], labels[2:])
        axes[0, column].set_title(NOISE_NAMES[noise], loc="left", fontweight="bold")
    axes[0, 0].set_ylabel("mean squared error over all points")
    axes[0, -1].legend(fontsize=6.5, frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    plt.close(figure)


def _curves(axes, cells, noise, labels):
    for strategy, colour in _COLOURS.items():
        own = [row for (n, name, _), row in cells.items() if n == noise and name == strategy]
        if own:
            logs = np.log([[float(row[f"mse_{n}"]) for n in labels] for row in own])
            width = 2.2 if strategy == "random" else 1.2
            axes.plot(labels, np.exp(logs.mean(axis=0)), color=colour, lw=width, label=strategy, marker="o", ms=2)
    axes.axvline(labels[1], color="#999999", lw=0.6, ls=":")
    axes.set(yscale="log", xlabel="labels (all at random up to the dotted line)")


def _beside_random(axes, cells, noise, strategies, labels):
    axes.axvline(1, color="#000000", lw=0.8)
    for place, strategy in enumerate(strategies):
        change = changes(cells, noise, strategy, labels)
        if len(change) < 2:
            continue
        mean, half = mean_and_half(change)
        colour = "#0072b2" if mean + half < 0 else "#d55e00" if mean - half > 0 else "#777777"
        axes.plot(np.exp(mean), place, "o", color=colour, ms=3.5)
        axes.plot(np.exp([mean - half, mean + half]), [place, place], color=colour, lw=1.4)
    axes.set(xscale="log", xlim=(0.3, 2.6), ylim=(len(strategies) - 0.4, -0.6), xlabel="error / random's error")
    axes.set_yticks(range(len(strategies)), strategies)
    axes.set_xticks([1 / 3, 1 / 2, 1, 2], ["1/3", "1/2", "1", "2"])
    axes.minorticks_off()
    axes.grid(axis="y", color="#eeeeee", lw=0.6)
