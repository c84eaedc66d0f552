"""What must be known of a row beside its numbers: plates that failed, were waived or given up, vetoes, outliers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import chi2

FLAGS = ("failed", "waived", "abandoned", "vetoed", "outlier")
OUTLIER_LEVEL = 1e-3


def flag_rows(
    ids: Sequence[str],
    planned: pd.DataFrame,
    states: Mapping[str, str],
    vetoed: Sequence[str],
    outliers: Sequence[str],
) -> pd.Series[str]:
    """Flags of every perturbation, joined by `;` in the order of FLAGS, empty where there are none.

    Args:
        ids: The library's N perturbations.
        planned: Columns perturbation, barcode: the plates on which the released designs put each perturbation.
        states: failed, waived or abandoned, by barcode, of the plates that are not simply passed or awaited.
        vetoed: Perturbations that may not be chosen.
        outliers: What `outlying` gave.

    Returns:
        (N,) text, indexed by perturbation in the order of `ids`.
    """
    state = planned["barcode"].map(dict(states))
    named = {flag: set(planned.loc[state == flag, "perturbation"]) for flag in FLAGS[:3]}
    named |= {"vetoed": set(vetoed), "outlier": set(outliers)}
    texts = [";".join(flag for flag in FLAGS if one in named[flag]) for one in ids]
    return pd.Series(texts, index=pd.Index(ids), dtype=object)


def outlying(levels: pd.DataFrame, runs: Mapping[str, str]) -> list[str]:
    """Perturbations whose plates disagree more than the noise model explains.

    Within each run the plates' means are compared, and between runs the runs' means, reagent by reagent. Each sum of
    (mean − centre)²/variance is χ² with one degree of freedom less than means, and they add up. A perturbation is
    outlying below a probability of OUTLIER_LEVEL: one in a thousand is so by chance. Nothing can be said of one that
    stands on a single plate.

    Args:
        levels: Means on the way to a label (`tasks.readouts.replicates.Labels.levels`).
        runs: Run by plate attempt key.

    Returns:
        Their ids, sorted.
    """
    plates = levels[levels["level"] == "plate"]
    plates = plates.assign(run=plates["group"].map(dict(runs)).astype(object))
    parts = [
        _spread(plates, ["perturbation", "reagent", "run"]),
        _spread(levels[levels["level"] == "run"], ["perturbation", "reagent"]),
    ]
    both = pd.concat(parts).groupby("perturbation")[["chi2", "freedom"]].sum().astype(np.float64)
    both = both[both["freedom"] > 0]
    chance = chi2.sf(both["chi2"].to_numpy(), both["freedom"].to_numpy())
    return sorted(both.index[chance < OUTLIER_LEVEL])


def _spread(means: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """χ² of the means in each group about their weighted centre, and its degrees of freedom."""
    keys = [means[name] for name in by]
    weight = 1.0 / means["variance"].astype(np.float64)
    centre = (weight * means["value"]).groupby(keys).transform("sum") / weight.groupby(keys).transform("sum")
    terms = pd.DataFrame({"chi2": weight * (means["value"] - centre) ** 2, "n": 1.0})
    sums = terms.groupby(keys).sum()
    freedom = pd.DataFrame({"chi2": sums["chi2"], "freedom": sums["n"] - 1.0})
    return freedom.reset_index()[["perturbation", "chi2", "freedom"]]
