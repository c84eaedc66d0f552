"""Metrics of where on the plate something happens: missing wells, rows, columns, rim."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tasks.readouts.quality.verdicts import Metric, informed, judged, uncomputed
from tasks.readouts.robust import mad_sd
from tasks.readouts.wells import is_edge

_NAMED = 8


def missing(wells: pd.DataFrame, threshold: float) -> Metric:
    """Share of used wells without a value, with their names. Wells of role other are not used."""
    used = wells[wells["role"] != "other"].sort_values(["row", "column"])
    finite = np.isfinite(used["value"].to_numpy(dtype=np.float64))
    if not len(used):
        return uncomputed("missing", 0, threshold, "no used well on this plate")
    names = used.loc[~finite, "well"].astype(str).tolist()
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    note = f": {', '.join(names[:_NAMED])}{more}" if names else ""
    return judged("missing", float(1.0 - finite.mean()), int(finite.sum()), threshold, at_least=False, note=note)


def plate_spread(wells: pd.DataFrame) -> Metric:
    """Robust sd of all used wells. A plate on which every well reads the same was not measured."""
    values = wells.loc[wells["role"] != "other", "value"].to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return informed("plate_spread", None, len(values), f"{len(values)} wells with a value")
    if np.ptp(values) == 0.0:
        reason = f"all {len(values)} wells read {values[0]:.6g}: instrument or export error?"
        return Metric(name="plate_spread", value=0.0, n=len(values), threshold=None, verdict="FAIL", reason=reason)
    return judged("plate_spread", mad_sd(values), len(values), None, at_least=True)


def line_effect(samples: pd.DataFrame, axis: Literal["row", "column"], threshold: float | None) -> Metric:
    """Share of the rank variance of sample wells that rows (columns) explain, less what chance would: in [0, 1].

    η²_H = (H − k + 1)/(n − k), H of Kruskal-Wallis. Only positions drawn at random tell plate effects from
    perturbations.

    Args:
        samples: Sample wells with a finite value.
        axis: row or column.
        threshold: Largest share, None to inform only.

    Source:
        Tomczak & Tomczak 2014, Trends in Sport Sciences 1:19.
    """
    name = f"{axis}_effect"
    n, lines = len(samples), samples[axis].nunique()
    if lines < 2 or n <= lines:
        return informed(name, None, n, f"{n} sample wells in {lines} {axis}s are too few")
    ranks = pd.Series(rankdata(samples["value"].to_numpy(dtype=np.float64)) - (n + 1) / 2)
    total = float((ranks**2).sum())
    if total == 0.0:
        return informed(name, None, n, "all sample wells are equal")
    groups = ranks.groupby(samples[axis].to_numpy())
    statistic = (n - 1) * float((groups.mean() ** 2 * groups.size()).sum()) / total
    value = min(1.0, max(0.0, (statistic - lines + 1) / (n - lines)))
    note = f": {axis}s explain {value:.0%} of the variation among samples, if these stand at random"
    return judged(name, value, n, threshold, at_least=False, note=note)


def edge_effect(samples: pd.DataFrame, fmt: int | None) -> Metric:
    """Median of the samples at the rim less that of the others, in robust sd of the others.

    Args:
        samples: Sample wells with a finite value.
        fmt: Wells of the plate, which tells where its rim is; None where it is not known.
    """
    if fmt is None:
        return informed("edge_effect", None, 0, "the format of the plate was not given")
    rim = np.array([is_edge(int(r), int(c), fmt) for r, c in zip(samples["row"], samples["column"], strict=True)], bool)
    values = samples["value"].to_numpy(dtype=np.float64)
    edge, inner = values[rim], values[~rim]
    if len(edge) < 4 or len(inner) < 4:
        reason = f"{len(edge)} sample wells at the rim and {len(inner)} inside: at least 4 of each needed"
        return informed("edge_effect", None, len(values), reason)
    spread = mad_sd(inner)
    if spread == 0.0:
        return informed("edge_effect", None, len(values), "MAD of the inner samples is 0")
    value = float(np.median(edge) - np.median(inner)) / spread
    chance = float(np.sqrt(np.pi / 2 * (1 / len(edge) + 1 / len(inner))))
    reason = (
        f"samples at the rim read {abs(value):.2g} sd {'above' if value > 0 else 'below'} the others; chance alone "
        f"gives ± {chance:.2g} (1 sd) where samples stand at random"
    )
    return informed("edge_effect", value, len(values), reason)
