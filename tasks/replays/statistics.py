"""Does an arm beat the control? Differences paired by seed, with intervals, corrected for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from tasks.replays.settings import CONTROL

Array = npt.NDArray[np.float64]

#: Figures whose differences are of logarithms: an arm's error is so many times the control's.
LOGARITHMIC = ("rmse", "mae", "error_99", "error_max")
LEVEL = 0.95
_TINY = 1e-12


def paired(table: pd.DataFrame, figure: str) -> pd.DataFrame:
    """Difference of every arm from the control, campaign by campaign: same screen, split and first labels.

    Args:
        table: screen, arm, seed, round, and the figure; a row a round of a campaign.
        figure: Which one; the logarithm of an error is compared.

    Returns:
        screen, arm, seed, round, difference; without round 0, in which nothing was chosen yet, and without rounds that
        one of the two did not play.
    """
    value = table[figure].astype(np.float64)
    if figure in LOGARITHMIC:
        value = pd.Series(np.log(value.clip(lower=_TINY)), index=table.index)
    known = table[["screen", "arm", "seed", "round"]].assign(value=value)[table["round"] > 0].dropna()
    control = known[known["arm"] == CONTROL].drop(columns="arm")
    both = known[known["arm"] != CONTROL].merge(control, on=["screen", "seed", "round"], suffixes=("", "_control"))
    return both.assign(difference=both["value"] - both["value_control"])[
        ["screen", "arm", "seed", "round", "difference"]
    ]


def interval(values: Array, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean of paired differences (n,), and its interval; no interval for one.

    Student's t. That is the interval of a mixed model with a random effect of the seed, of which pairing leaves the
    differences alone; for the 5 to 20 seeds of a replay percentiles of a bootstrap are too narrow.
    """
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def by_round(differences: pd.DataFrame) -> pd.DataFrame:
    """screen, arm, round, difference, low, high, seeds."""
    return _summarised(differences, ["screen", "arm", "round"])


def by_screen(differences: pd.DataFrame) -> pd.DataFrame:
    """Mean over the rounds: screen, arm, difference, low, high, seeds, p (Holm), p_single, last (last round's mean).

    The p values are of two-sided t tests, corrected over all rows by Holm's method.
    """
    whole = differences.groupby(["screen", "arm", "seed"], sort=False)["difference"].mean().reset_index()
    found = _summarised(whole, ["screen", "arm"])
    last = differences[differences["round"] == differences.groupby("screen")["round"].transform("max")]
    ends = last.groupby(["screen", "arm"])["difference"].mean().rename("last").reset_index()
    groups = whole.groupby(["screen", "arm"], sort=False)["difference"]
    single = groups.agg(lambda each: _p_value(each.to_numpy())).rename("p_single").reset_index()
    found = found.merge(single, on=["screen", "arm"]).merge(ends, on=["screen", "arm"], how="left")
    return found.assign(p=holm(found["p_single"].to_numpy()))


def over_screens(differences: pd.DataFrame, *, low_is_good: bool) -> pd.DataFrame:
    """Mean over rounds, seeds and screens: arm, difference, low, high, screens, p (Holm), worst (screen's mean).

    The interval is of the mean over these screens, not over others: their campaigns vary, the screens do not. Degrees
    of freedom by Satterthwaite.
    """
    rows = []
    whole = differences.groupby(["screen", "arm", "seed"])["difference"].mean()
    for arm, of_arm in whole.groupby(level="arm", sort=False):
        groups = [values.to_numpy() for _, values in of_arm.groupby(level="screen")]
        means = np.array([group.mean() for group in groups])
        error, freedom = _pooled(groups)
        mean = float(means.mean())
        half = float(stats.t.ppf(0.5 + LEVEL / 2, freedom) * error) if freedom > 0 else float("nan")
        p = float(2 * stats.t.sf(abs(mean) / error, freedom)) if freedom > 0 and error > 0 else float("nan")
        rows.append(
            (arm, mean, mean - half, mean + half, len(groups), p, float(means.max() if low_is_good else means.min()))
        )
    columns = ["arm", "difference", "low", "high", "screens", "p_single", "worst"]
    found = pd.DataFrame(rows, columns=columns)
    return found.assign(p=holm(found["p_single"].to_numpy()))


def holm(p: Array) -> Array:
    """(n,) p values corrected for n comparisons; nan stays and does not count.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    corrected = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def ranks(table: pd.DataFrame, figure: str, *, low_is_good: bool) -> tuple[pd.Series[float], float, float]:
    """Mean rank of every arm over the screens, 1 the best, by the figure's mean over rounds and seeds.

    Returns:
        Mean ranks by arm, ascending; p of Friedman's test that all arms are alike; critical difference of two mean
        ranks (Nemenyi, 5%). The last two are nan with fewer than three arms or two screens.

    Source: Demšar 2006, Statistical comparisons of classifiers over multiple data sets.
    """
    value = table[table["round"] > 0]
    whole = value.groupby(["screen", "arm"])[figure].mean().unstack().dropna(axis=1)
    placed = whole.rank(axis=1, ascending=low_is_good)
    mean = placed.mean().sort_values(kind="stable")
    screens, arms = placed.shape
    if arms < 3 or screens < 2:
        return mean, float("nan"), float("nan")
    p = float(stats.friedmanchisquare(*(whole[arm] for arm in whole)).pvalue)
    q = float(stats.studentized_range.ppf(LEVEL, arms, np.inf)) / np.sqrt(2.0)
    return mean, p, q * float(np.sqrt(arms * (arms + 1) / (6.0 * screens)))


def labels_to_reach(table: pd.DataFrame, figure: str, *, low_is_good: bool) -> pd.DataFrame:
    """Labels until an arm is as good as the control at its end: screen, arm, share (of the control's labels), reached.

    The target is the control's mean over seeds in its last round; an arm's mean over seeds is read between rounds by
    straight lines. An arm that does not reach it has share nan.
    """
    mean = table.groupby(["screen", "arm", "round"])[[figure, "labels"]].mean().reset_index()
    rows = []
    for (screen, arm), curve in mean.groupby(["screen", "arm"], sort=False):
        control = mean[(mean["screen"] == screen) & (mean["arm"] == CONTROL)].iloc[-1]
        rows.append((screen, arm, _reached(curve, figure, float(control[figure]), low_is_good) / control["labels"]))
    return pd.DataFrame(rows, columns=["screen", "arm", "share"])


def _reached(curve: pd.DataFrame, figure: str, target: float, low_is_good: bool) -> float:
    sign = 1.0 if low_is_good else -1.0
    value, labels = sign * curve[figure].to_numpy(), curve["labels"].to_numpy(dtype=np.float64)
    there = np.flatnonzero(value <= sign * target)
    if not len(there):
        return float("nan")
    first = int(there[0])
    if first == 0 or value[first - 1] == value[first]:
        return float(labels[first])
    share = (value[first - 1] - sign * target) / (value[first - 1] - value[first])
    return float(labels[first - 1] + share * (labels[first] - labels[first - 1]))


def _summarised(differences: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    rows = []
    for key, group in differences.groupby(list(by), sort=False):
        mean, low, high = interval(group["difference"].to_numpy())
        rows.append((*key, mean, low, high, len(group)))
    return pd.DataFrame(rows, columns=[*by, "difference", "low", "high", "seeds"])


def _pooled(groups: Sequence[Array]) -> tuple[float, float]:
    """Standard error of the mean of the groups' means, and its degrees of freedom; 0 where a group has one value."""
    if any(len(group) < 2 for group in groups):
        return float("nan"), 0.0
    parts = np.array([group.var(ddof=1) / len(group) for group in groups])
    total = parts.sum()
    if not total > 0:
        return 0.0, 0.0
    freedom = total**2 / sum(part**2 / (len(group) - 1) for part, group in zip(parts, groups, strict=True))
    return float(np.sqrt(total)) / len(groups), float(freedom)


def _p_value(values: Array) -> float:
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    if not error > 0:
        return float("nan")
    return float(2 * stats.t.sf(abs(values.mean()) / error, len(values) - 1))
