"""Tables of inference set design's experiments, and which of the paper's claims they bear out."""

from __future__ import annotations

import numpy as np
from preprint_report import mean_and_half

NAMES = {"random": "random", "least-confidence": "least confidence", "query-by-committee": "committee"}
SIZES = {"mnist, plain": 60_000, "mnist, cropped": 60_000, "mnist, shuffled": 60_000, "qm9": 36_208}
ACTIVE = "least-confidence"
WAYS = {"oracle": "true accuracy reached", "audit": "audit", "equal": "audit, equal shares", "lemma": "lemma"}


class Played:
    """The campaigns that have been played."""

    def __init__(self, rows):
        self.rows = {(row["experiment"], row["strategy"], int(row["seed"])): row for row in rows}
        self.experiments = list(dict.fromkeys(row["experiment"] for row in rows))

    def of(self, experiment, strategy):
        """Rows of its seeds, by seed."""
        return [row for key, row in sorted(self.rows.items()) if key[:2] == (experiment, strategy)]

    def strategies(self, experiment):
        """Strategies that were played."""
        return [name for name in NAMES if self.of(experiment, name)]

    def curves(self, experiment, strategy, name):
        """(seeds, rounds) of a series, as long as the shortest campaign."""
        series = [np.array(row[name].split(), dtype=float) for row in self.of(experiment, strategy)]
        return np.array([values[: min(map(len, series))] for values in series])

    def gap(self, experiment, name, strategy=ACTIVE):
        """(seeds,) a strategy less random, mean over the rounds that both were played."""
        found = []
        for row in self.of(experiment, strategy):
            other = self.rows.get((experiment, "random", int(row["seed"])))
            if other:
                one, two = (np.array(each[name].split(), dtype=float) for each in (row, other))
                size = min(len(one), len(two))
                found.append(np.nanmean(one[1:size] - two[1:size]))
        return np.array(found)


def tables(rows):
    """Markdown: accuracies less random's of the same seed, mean over rounds (95% interval over seeds); by round."""
    played = Played(rows)
    head = "| percentage points beyond random | seeds | system | inference set | test | newest picks |"
    lines = [head, "|---" * 6 + "|"]
    for experiment in played.experiments:
        for strategy in played.strategies(experiment)[1:]:
            parts = [
                _points(played.gap(experiment, n, strategy)) for n in ("system", "inference", "test", "picks_right")
            ]
            seeds = len(played.of(experiment, strategy))
            lines.append(f"| {experiment}, {NAMES[strategy]} | {seeds} | " + " | ".join(parts) + " |")
    lines += ["", "| accuracy after rounds, % | system | inference set | test |", "|---" * 4 + "|"]
    for experiment in played.experiments:
        for strategy in played.strategies(experiment):
            names = ("system", "inference", "test")
            curves = [100 * played.curves(experiment, strategy, n).mean(axis=0) for n in names]
            rounds = [t for t in (0, 5, 10, 15, 20, 30) if t < len(curves[0])]
            said = [", ".join(f"{curve[t]:.1f}" for t in rounds) for curve in curves]
            after = "/".join(map(str, rounds))
            lines.append(f"| {experiment}, {NAMES[strategy]}, {after} | " + " | ".join(said) + " |")
    return "\n".join(lines)


def needed(rows):
    """Markdown: wells that each way of stopping needed, in % of the library, mean and range over seeds."""
    played = Played(rows)
    lines = ["| wells, % of N | γ | " + " | ".join(WAYS.values()) + " | false |", "|---" * (len(WAYS) + 3) + "|"]
    for experiment in played.experiments:
        for strategy in played.strategies(experiment):
            own = played.of(experiment, strategy)
            for gamma in (0.95, 0.9):
                parts = [_share(own, f"{way}_{gamma}", SIZES[experiment]) for way in WAYS]
                false = sum(int(row[f"{way}_{gamma}_false"] or 0) for row in own for way in list(WAYS)[1:])
                lines.append(f"| {experiment}, {NAMES[strategy]} | {gamma} | " + " | ".join(parts) + f" | {false} |")
    return "\n".join(lines)


def _share(own, column, size):
    found = [100 * int(row[column]) / size for row in own if row[column]]
    if not found:
        return "–"
    some = "" if len(found) == len(own) else f", {len(found)} of {len(own)}"
    spread = f" ({min(found):.0f}–{max(found):.0f})" if round(min(found)) < round(max(found)) else ""
    return f"{np.mean(found):.0f}{spread}{some}"


def _points(change):
    if len(change) < 2:
        return ""
    mean, half = mean_and_half(100 * change)
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def claims(rows):
    """Markdown: what the paper claims, what was found, and the verdict, which follows from the numbers by a rule."""
    played = Played(rows)
    lines = ["| claim | where | found | |", "|---" * 4 + "|"]
    for claim in (_inference, _test, _perfect, _picks_turn, _hard, _sooner, _lower_bound):
        for experiment in played.experiments:
            if len(played.gap(experiment, "inference")) > 1 and (said := claim(played, experiment)):
                what, found, holds = said
                lines.append(f"| {what} | {experiment} | {found} | {'reproduced' if holds else '**not reproduced**'} |")
    return "\n".join(lines)


def _inference(played, experiment):
    change = played.gap(experiment, "inference")
    mean, half = mean_and_half(100 * change)
    return "inference set: active far above random (interval above 0)", f"{_points(change)} points", mean - half > 0


def _test(played, experiment):
    test, inference = (np.mean(played.gap(experiment, name)) for name in ("test", "inference"))
    found = f"{100 * test:+.1f} of {100 * inference:+.1f} points"
    return "test: active gains little (less than a third of the inference set's gain)", found, test < inference / 3


def _perfect(played, experiment):
    curve = played.curves(experiment, ACTIVE, "inference").mean(axis=0)
    wells = played.curves(experiment, ACTIVE, "wells")[0] / SIZES[experiment]
    limit = 0.3 if experiment == "qm9" else 1.0
    best = curve[wells <= limit].max()
    where = "30% of the library" if experiment == "qm9" else "the end"
    what = "inference set: active comes near 100% (99% at least; QM9: after 30%)"
    return what, f"{100 * best:.2f}% by {where}", best >= 0.99


def _picks_turn(played, experiment):
    one, two = (played.curves(experiment, strategy, "picks_right") for strategy in (ACTIVE, "random"))
    size = min(one.shape[1], two.shape[1])
    change = (one.mean(axis=0)[:size] - two.mean(axis=0)[:size])[1:]
    found = f"{100 * change[0]:+.0f} points at first, {100 * change[-1]:+.0f} in the end"
    turn = np.flatnonzero(change > 0)
    found += f", above from round {turn[0] + 1}" if len(turn) else ""
    return "newest picks: active below random, then above", found, bool(change[0] < 0 < change[-1])


def _hard(played, experiment):
    share = {name: played.curves(experiment, name, "hard_found").mean(axis=0) for name in ("random", ACTIVE)}
    if np.isnan(share[ACTIVE]).any():
        return None
    t = min(8 if experiment == "qm9" else 20, len(share[ACTIVE]) - 1)
    found = f"{100 * share[ACTIVE][t]:.0f}% of them, random {100 * share['random'][t]:.0f}%, after round {t}"
    if experiment == "qm9":
        what = "molecules hard to predict are measured first (twice random's share)"
        return what, found, share[ACTIVE][t] >= 2 * share["random"][t]
    wells, hard = (played.curves(experiment, ACTIVE, name) for name in ("wells", "hard_share"))
    most = ((hard * wells)[:, t] - (hard * wells)[:, 0]).mean() / (wells[0, t] - wells[0, 0])
    what = "shuffled digits are measured first (most of the wells of 20 rounds)"
    return what, f"{100 * most:.0f}% of the wells; {found}", most > 0.5


def _sooner(played, experiment):
    wells = {}
    for strategy in ("random", ACTIVE):
        wells[strategy] = [
            int(row["audit_0.95"] or row["wells"].split()[-1]) for row in played.of(experiment, strategy)
        ]
    less = 1 - np.mean(wells[ACTIVE]) / np.mean(wells["random"])
    what = "a certificate at γ = 0.95 costs active fewer wells (audit; in every seed)"
    every = max(wells[ACTIVE]) < min(wells["random"])
    return what, f"{100 * less:.0f}% fewer", every


def _lower_bound(played, experiment):
    picks = played.curves(experiment, ACTIVE, "picks_right")[:, 1:]
    rest = played.curves(experiment, ACTIVE, "inference")[:, 1:]
    held = (picks <= rest).mean()
    what = "lemma 1: the picks' accuracy is below that of what is left (95% of the rounds)"
    return what, f"in {100 * held:.0f}% of {picks.size} rounds", held >= 0.95
